//! Access tokens and mailed tokens as JWTs (RFC 7519, RFC 9068, RFC 8725), signed by a ring of keys.

mod ring;
mod seal;
mod signing_keys;

pub(crate) use ring::{Access, KeyRing};
pub(crate) use seal::{Sealed, exposed};
pub use signing_keys::{Algorithm, KeyError, SigningKeys};
