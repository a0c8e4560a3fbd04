//! Accounts, sessions and mailed tokens without a framework.
//!
//! # Metrics
//! This crate and its neighbours count what they do through the facade [`metrics`](https://docs.rs/metrics). A recorder is the host's to install, before it
//! opens a store and builds an [`Auth`]: what was built earlier counts for nobody.

pub mod adapters;
mod auth;
#[cfg(feature = "testing")]
pub mod contract;
mod error;
mod features;
mod jwt;
mod mail;
mod meters;
mod passwords;
pub mod payments;
pub mod ports;
mod sweep;
mod to_its_end;
pub mod types;
mod workers;

pub use auth::{Auth, AuthBuilder, BuildError, RefreshToken, Tokens};
pub use auth_templates::{TemplateError, Templates};
pub use error::{Error, InvalidField};
pub use features::{
    Callback, CallbackError, ChangeEmail, ChangePassword, LinkIdentity, Linking, Login,
    LogoutScope, NewUser, Refresh, Register, Registration, SignIn, SignedIn, StartSignIn,
    TemplateReport, Verified, VerifiedStatus,
};
pub use jwt::{Algorithm, KeyError, SigningKeys};
pub use mail::{Links, LinksError, MailQueue, MailWorkers, WorkerState};
pub use passwords::{Hashing, HashingError};
pub use time;
pub use to_its_end::to_its_end;
pub use uuid;
