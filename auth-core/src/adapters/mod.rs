//! Ready implementations of the ports.

mod memory;
#[cfg(feature = "smtp")]
mod smtp;

pub use memory::MemoryStore;
#[cfg(feature = "smtp")]
pub use smtp::{InvalidSender, Sender, SmtpEncryption, SmtpError, SmtpMailer, SmtpMailerBuilder};
