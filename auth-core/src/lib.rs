//! Accounts, sessions and mailed tokens without a framework.

pub mod adapters;
mod auth;
#[cfg(feature = "testing")]
pub mod contract;
mod error;
mod features;
mod jwt;
mod mail;
mod passwords;
pub mod payments;
pub mod ports;
mod sweep;
pub mod types;
mod workers;

pub use auth::{Auth, AuthBuilder, BuildError, RefreshToken, Tokens};
pub use auth_templates::{TemplateError, Templates};
pub use error::{Error, InvalidField};
pub use features::{
    Callback, ChangeEmail, ChangePassword, LinkIdentity, Linking, Login, LogoutScope, NewUser,
    Refresh, Register, Registration, SignIn, SignedIn, StartSignIn, TemplateReport, Verified,
    VerifiedStatus,
};
pub use jwt::{Algorithm, KeyError, SigningKeys};
pub use mail::{Links, LinksError, MailQueue, MailWorkers, WorkerState};
pub use passwords::{Hashing, HashingError};
pub use time;
pub use uuid;
