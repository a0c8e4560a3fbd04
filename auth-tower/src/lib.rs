//! Accounts and sessions as one tower [`Layer`](tower_layer::Layer) or [`Service`](tower_service::Service): mounted whole into any Rust host.
//!
//! - [`AuthRouter`] mounts the endpoints that [`routes`] names; a new version of this crate brings new and repaired ones.
//! - [`require`] guards the host's own routes with the same checks.
//! - Nothing here knows a web framework: axum, hyper and tests use the same object, over any body type.
//!
//! ```
//! use std::convert::Infallible;
//!
//! use auth_core::Auth;
//! use auth_tower::{AuthRouter, ClientIp};
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, service_fn};
//!
//! # fn mount(auth: &Auth) {
//! let app = ServiceBuilder::new()
//!     .layer(AuthRouter::new(auth).client_ip(ClientIp::peer()).into_layer())
//!     .service(service_fn(|_: Request<String>| async {
//!         Ok::<_, Infallible>(Response::new("home".to_owned()))
//!     }));
//! # }
//! ```

mod answered;
mod body;
mod client_ip;
mod endpoints;
mod internal_keys;
pub mod mount;
mod openapi;
mod proof;
pub mod rate_limit;
mod read;
mod refusal;
mod request_id;
pub mod require;
mod respond;
mod router;
#[cfg(test)]
mod testing;

pub use answered::Answered;
pub use body::{AuthBody, BoxError};
pub use client_ip::{ClientIp, InvalidProxies, PeerAddr, TrustedProxies};
pub use http;
pub use internal_keys::{InternalKeys, InvalidKey};
pub use mount::AuthLayer;
pub use openapi::openapi;
pub use proof::{AuthenticatedUser, InternalCaller, Operator, VerifiedUser};
pub use rate_limit::RateLimits;
pub use read::Input;
pub use refusal::Refusal;
pub use request_id::RequestId;
pub use router::{
    AuthFuture, AuthRouter, AuthService, Class, Endpoint, InvalidPrefix, Prefix, RouteInfo, routes,
};
