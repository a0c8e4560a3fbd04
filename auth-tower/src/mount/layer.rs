use std::{fmt, sync::Arc};

use tower_layer::Layer;

use super::Mount;
use crate::router::Dispatch;

/// Puts the endpoints before a service; [`AuthRouter::into_layer`](crate::AuthRouter::into_layer) makes it.
#[derive(Clone)]
pub struct AuthLayer {
    dispatch: Arc<Dispatch>,
}

impl AuthLayer {
    pub(crate) const fn new(dispatch: Arc<Dispatch>) -> Self {
        Self { dispatch }
    }
}

impl fmt::Debug for AuthLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthLayer(..)")
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Mount<S>;

    fn layer(&self, inner: S) -> Mount<S> {
        Mount::new(Arc::clone(&self.dispatch), inner)
    }
}
