//! What Stripe tells us, and what we ask of it: one file a feature, each with its own `impl Billing`.

mod checkout;
mod customer;
mod event;
mod fields;
mod keys;
mod money;
mod payment_methods;
#[cfg(feature = "stripe")]
mod provider;
mod setup_intent;
mod signature;
mod subscription;
mod webhook;

pub use checkout::{CreateCheckout, Item};
pub use keys::Once;
#[cfg(feature = "stripe")]
pub use provider::{StripeProvider, StripeProviderError};
pub use setup_intent::Setup;
pub use signature::{Signature, SigningSecrets, SigningSecretsError};
pub use subscription::{CreateSubscription, Subscribed};
pub use webhook::{Delivered, Mode, Stripe, WebhookError};
