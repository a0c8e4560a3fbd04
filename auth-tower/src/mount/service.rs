use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use super::MountFuture;
use crate::{
    body::{AuthBody, BoxError},
    router::{AuthFuture, Dispatch},
};

/// A host's service with the endpoints before it.
#[derive(Clone)]
pub struct Mount<S> {
    dispatch: Arc<Dispatch>,
    inner: S,
}

impl<S> Mount<S> {
    pub(super) const fn new(dispatch: Arc<Dispatch>, inner: S) -> Self {
        Self { dispatch, inner }
    }
}

impl<S: fmt::Debug> fmt::Debug for Mount<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}

impl<S, B, R> Service<Request<B>> for Mount<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    R: Body<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<AuthBody>;
    type Error = S::Error;
    type Future = MountFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Some(hit) = self.dispatch.paths.find(request.uri().path()) else {
            // Called at once, so it is the one that was ready.
            return MountFuture::inner(self.inner.call(request));
        };
        // Whatever the inner service reserved to become ready (a permit, a slot) is not used by us: a clone has reserved nothing.
        let unready = self.inner.clone();
        self.inner = unready;
        let dispatch = Arc::clone(&self.dispatch);
        MountFuture::ours(AuthFuture::new(async move {
            dispatch.answer(Some(hit), request).await
        }))
    }
}
