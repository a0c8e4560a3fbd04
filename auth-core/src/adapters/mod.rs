//! Ready implementations of the ports.

mod local_limits;
mod memory;
#[cfg(feature = "oidc")]
mod oidc;
#[cfg(feature = "redis")]
mod redis_limits;
#[cfg(feature = "smtp")]
mod smtp;

pub use local_limits::LocalLimits;
pub use memory::MemoryStore;
#[cfg(feature = "oidc")]
pub use oidc::{OidcError, OidcProvider};
#[cfg(feature = "redis")]
pub use redis_limits::{InvalidRedis, RedisLimits};
#[cfg(feature = "smtp")]
pub use smtp::{InvalidSender, Sender, SmtpEncryption, SmtpError, SmtpMailer, SmtpMailerBuilder};
