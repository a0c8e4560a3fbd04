use async_trait::async_trait;
use time::OffsetDateTime;

use super::{AuditLog, IdentityStore, Outbox, SessionStore, UserStore};

/// One place for users, sessions, mails and the audit log, so that what belongs together commits together.
///
/// # Rules for every method of a store
/// 1. It is one atomic fact: all of its writes are visible together, or none is.
/// 2. A [`Record`](crate::types::Record) is written with the change it belongs to. When a method answers that nothing changed
///    (`false`, [`Redeemed::Refused`](super::Redeemed) …), its record is not written either, unless the method says so.
/// 3. A condition is part of the write (`update … where …`), never a look beforehand.
/// 4. Times are kept to the microsecond, and come in as arguments: a store never asks a clock.
///
/// The suites in `auth_core::contract` (feature `testing`) check all of it.
#[async_trait]
pub trait Store: UserStore + IdentityStore + SessionStore + Outbox + AuditLog {
    /// Answers when the store can serve, for health checks.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when it cannot.
    async fn ping(&self) -> Result<(), StoreError>;

    /// Deletes what time has ended: expired sessions and their tokens, mailed tokens past `now` and older than an hour (the throttle counts them
    /// until then), marks of spent secrets past `now`, and accounts made before `unverified_before` whose address was never proven.
    ///
    /// The one method that is many facts: each row goes whole, and a database deletes in small batches, so that a sweep of millions holds nobody up. What
    /// went before an error stays gone. An account that something of the host holds (a foreign key without cascade) stays, and holds no other.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`].
    async fn sweep(
        &self,
        now: OffsetDateTime,
        unverified_before: OffsetDateTime,
    ) -> Result<Swept, StoreError>;
}

/// What a sweep deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    /// Accounts never verified.
    pub accounts: u64,
    /// Accounts never verified that something of the host holds: they are still there.
    pub held: u64,
    /// Sessions past their end.
    pub sessions: u64,
    /// Marks of spent secrets past their end.
    pub spent: u64,
    /// Mailed tokens past their end.
    pub tokens: u64,
}

/// What is unique among accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unique {
    /// The address.
    Email,
    /// An identity at a provider, or the one that an account may have of each.
    Identity,
    /// The username.
    Username,
}

impl Unique {
    /// The name of the field.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Identity => "identity",
            Self::Username => "username",
        }
    }
}

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store answered something that it should never answer: a bug, or damaged data.
    #[error("the store failed")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another account has it. Nothing was written.
    #[error("the {} is taken", .0.as_str())]
    Taken(Unique),
    /// The store cannot be reached or is too busy. Nothing is known to be written; the same call may pass later.
    #[error("the store is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
