use auth_core::Auth;
use http::request::Parts;
use tower_layer::Layer;

use super::Require;
use crate::{internal_keys::InternalKeys, proof, respond::Problem};

/// Lets a request pass with its proof, or answers it; the functions of [this module](super) make it.
#[derive(Debug, Clone)]
pub struct RequireLayer {
    guard: Guard,
}

#[derive(Debug, Clone)]
pub(super) enum Guard {
    Authenticated(Auth),
    Internal(InternalKeys),
    Verified(Auth),
}

impl RequireLayer {
    pub(super) const fn new(guard: Guard) -> Self {
        Self { guard }
    }
}

impl<S> Layer<S> for RequireLayer {
    type Service = Require<S>;

    fn layer(&self, inner: S) -> Require<S> {
        Require::new(self.guard.clone(), inner)
    }
}

impl Guard {
    /// Puts the proof into the request's extensions.
    pub(super) async fn admit(&self, parts: &mut Parts) -> Result<(), Problem> {
        match self {
            Self::Authenticated(auth) => {
                let proof = proof::authenticated(auth, &parts.headers).await?;
                parts.extensions.insert(proof);
            }
            Self::Internal(keys) => {
                let proof = proof::internal(keys, &parts.headers)?;
                parts.extensions.insert(proof);
            }
            Self::Verified(auth) => {
                let proof = proof::verified(auth, &parts.headers).await?;
                parts.extensions.insert(proof);
            }
        }
        Ok(())
    }
}
