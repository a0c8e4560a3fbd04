//! The layer that puts the endpoints before a host's own service.
//!
//! 1. A request whose path is one of ours is answered here, whatever its method, and the host's service never sees it.
//! 2. Every other request goes to the host's service as it came: same body, same extensions.
//! 3. The layer is ready when the host's service is.
//!
//! # Deployment
//! What must cover our endpoints too (CORS, tracing, a header timeout) goes *outside* of this layer. A router that strips a prefix before
//! this layer runs has to be told apart from [`AuthRouter::prefix`](crate::AuthRouter::prefix): paths are compared as they arrive.

mod future;
mod layer;
mod service;

pub use self::{future::MountFuture, layer::AuthLayer, service::Mount};
