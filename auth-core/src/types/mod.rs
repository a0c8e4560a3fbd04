//! Domain types: valid once they exist.

mod account;
mod client;
mod code_challenge;
mod credits;
mod digest;
mod email;
mod id;
mod identity;
mod ledger;
mod mailed_token;
mod network;
mod password;
mod payment;
mod record;
mod redirect_uri;
mod secret;
mod session;
mod username;

pub use account::{Account, AccountKey, CredentialsVersion, NewAccount, SignInMethod, User};
pub use client::Client;
pub use code_challenge::CodeChallenge;
pub use credits::{Amount, Credits};
pub use digest::Digest;
pub use email::Email;
pub use id::{AuditId, EntryId, MailId, SessionId, UserId};
pub use identity::{Adoption, IdentityKey, IdentityLink, NewIdentity, ProviderName};
pub use ledger::{
    BookedEntry, Caller, Description, Direction, Entry, EntryKind, IdempotencyKey, ReferenceId,
};
pub use mailed_token::{Change, NewMailedToken, Purpose, Throttle};
pub use network::Network;
pub use password::{Password, PasswordAttempt, PasswordHash};
pub use payment::{
    Dispute, EntryIds, EventOutcome, FailedPayment, KeptDispute, KeptEvent, KeptPayment,
    KeptPurchase, Link, PaidPart, Payer, PaymentEvent, PaymentFact, PaymentRef, Price, Processed,
    Purchase, Subscription, SubscriptionChange, SubscriptionEnd, Term,
};
pub use record::{AuditEntry, AuditEvent, Letter, PaidPeriod, PendingToken, QueuedMail, Record};
pub use redirect_uri::RedirectUri;
pub use secret::Secret;
pub use session::{NewSession, Session};
pub use username::Username;

/// Why a raw value is not of a domain type: a stable code and a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Invalid {
    /// Stable and `snake_case`.
    pub code: &'static str,
    /// A sentence that helps; never repeats the value.
    pub message: &'static str,
}

impl Invalid {
    /// A reason with its code.
    pub const fn new(code: &'static str, message: &'static str) -> Self {
        Self { code, message }
    }
}
