//! What Stripe tells us, and what we ask of it: one file a feature, each with its own `impl Billing`.

mod abandoned;
mod checkout;
mod customer;
mod event;
mod fields;
mod keys;
mod money;
mod payment_methods;
#[cfg(feature = "stripe")]
mod provider;
mod reconcile;
mod setup_intent;
mod signature;
mod subscription;
mod webhook;

pub use abandoned::Abandoned;
pub use checkout::{CreateCheckout, Item};
pub use event::event_kinds;
pub use keys::Once;
#[cfg(feature = "stripe")]
pub use provider::{StripeProvider, StripeProviderError};
pub use reconcile::{Difference, ReconcileError, Reconciled};
pub use setup_intent::Setup;
pub use signature::{Signature, SigningSecrets, SigningSecretsError};
pub use subscription::{CreateSubscription, Subscribed};
pub use webhook::{Delivered, Mode, Stripe, WebhookError};

/// An error with its sources, for a log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
