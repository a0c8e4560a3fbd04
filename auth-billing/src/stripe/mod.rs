//! What Stripe tells us.

mod event;
mod fields;
mod money;
mod signature;
mod webhook;

pub use signature::{Signature, SigningSecrets, SigningSecretsError};
pub use webhook::{Delivered, Mode, Stripe, WebhookError};
