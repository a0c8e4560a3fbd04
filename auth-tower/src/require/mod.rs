//! Guards for the host's own routes: the checks of our endpoints, as layers.
//!
//! 1. [`authenticated`] lets a request pass with a valid access token of a live session, once, in `Authorization: Bearer`; the host's
//!    service finds an [`AuthenticatedUser`](crate::AuthenticatedUser) in the request's extensions.
//! 2. [`verified`] asks for a verified e-mail address as well, and gives a [`VerifiedUser`](crate::VerifiedUser).
//! 3. [`internal`] lets a request pass with one of the [`InternalKeys`], once, in `X-API-Key`, and gives an
//!    [`InternalCaller`](crate::InternalCaller).
//! 4. Any other request is answered as our endpoints answer it, 401, 403 or 503, and the host's service never sees it.
//!
//! # Deployment
//! The token is checked against the store on each request, so a logout counts at once on every replica. An `OPTIONS` request of a browser
//! (CORS preflight) carries no token: a CORS layer goes outside of the guard.
//!
//! # Example
//! ```
//! use std::convert::Infallible;
//!
//! use auth_core::Auth;
//! use auth_tower::{VerifiedUser, require};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # fn guarded(auth: &Auth) {
//! let reports = ServiceBuilder::new()
//!     .layer(require::verified(auth))
//!     .service(service_fn(|request: Request<String>| async move {
//!         let name = match request.extensions().get::<VerifiedUser>() {
//!             Some(who) => who.user().username.to_string(),
//!             None => unreachable!("the guard is outside of this service"),
//!         };
//!         Ok::<_, Infallible>(Response::new(format!("Reports of {name}")))
//!     }));
//! # }
//! ```

mod future;
mod layer;
mod service;

use auth_core::Auth;

pub use self::{future::RequireFuture, layer::RequireLayer, service::Require};
use crate::internal_keys::InternalKeys;

/// Lets users with a live session pass.
///
/// # Security
/// Their e-mail address may be unproven, and somebody else's: [`verified`] is the safer choice.
pub fn authenticated(auth: &Auth) -> RequireLayer {
    RequireLayer::new(layer::Guard::Authenticated(auth.clone()))
}

/// Lets users with a live session and a verified e-mail address pass.
pub fn verified(auth: &Auth) -> RequireLayer {
    RequireLayer::new(layer::Guard::Verified(auth.clone()))
}

/// Lets other services pass.
pub fn internal(keys: &InternalKeys) -> RequireLayer {
    RequireLayer::new(layer::Guard::Internal(keys.clone()))
}
