//! Credits: balances that other services add to and use, over a ledger that takes nothing back; and payments, which add to them.
//!
//! 1. A balance is the sum of its ledger at every commit, and never below zero.
//! 2. A movement is one atomic step: it is booked as a whole, or it is refused and leaves no trace.
//! 3. A movement that comes again, under its idempotency key or its reference, has one effect and the same answer.
//! 4. What was paid is granted once, and what was given back is taken back, in whatever order the payment provider tells it.
//! 5. Entries are never changed or deleted. They outlive the account, without what may name a person.
//!
//! ```
//! use auth_billing::{Billing, Movement, Origin};
//! use auth_core::types::{Amount, Caller, IdempotencyKey, ReferenceId, UserId};
//!
//! # async fn example(billing: Billing, user: UserId) -> Result<(), Box<dyn std::error::Error>> {
//! let origin = Origin::of(Caller::parse("sign-up")?);
//! let welcome = Movement {
//!     reference: Some(ReferenceId::parse("welcome")?),
//!     ..Movement::of(user, Amount::parse("10.00")?)
//! };
//! let receipt = billing.add(welcome, &origin).await?;
//! println!("{} now", receipt.booked.new_balance);
//! # Ok(())
//! # }
//! ```

mod billing;
mod catalogue;
mod credits;
mod meters;
mod stripe;

pub use billing::Billing;
pub use catalogue::{Catalogue, CatalogueError, Interval, Pack, Plan};
pub use credits::{
    Breach, Checked, Movement, Origin, Receipt, Transactions, TransactionsPage, check_ledger,
};
pub use stripe::{
    Abandoned, CreateCheckout, CreateSubscription, Delivered, Difference, Item, Mode, Once,
    ReconcileError, Reconciled, Setup, Signature, SigningSecrets, SigningSecretsError, Stripe,
    Subscribed, WebhookError, event_kinds,
};
#[cfg(feature = "stripe")]
pub use stripe::{StripeProvider, StripeProviderError};
