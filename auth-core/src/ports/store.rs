use async_trait::async_trait;
use time::OffsetDateTime;

use super::{AuditLog, IdentityStore, Outbox, SessionStore, UserStore};
use crate::types::UserId;

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

    /// Deletes rows of one kind that time has ended, at most `limit`, and says how many: fewer than `limit` when there are no more. What somebody works on
    /// just now may be left to the next sweep.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for the next two.
    async fn sweep(
        &self,
        what: Sweepable,
        now: OffsetDateTime,
        limit: u32,
    ) -> Result<u64, StoreError>;

    /// The accounts made before a moment whose address was never proven: at most `limit`, in order, the first one after `after`.
    async fn unverified_accounts(
        &self,
        made_before: OffsetDateTime,
        after: Option<AccountPlace>,
        limit: u32,
    ) -> Result<Vec<AccountPlace>, StoreError>;

    /// Deletes those of the accounts whose address is still not proven, all of them or, when one is held, none. What somebody works on just now may be left
    /// to a later sweep.
    async fn delete_unverified(&self, accounts: &[UserId]) -> Result<Removal, StoreError>;
}

/// The connections of a store to its database at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Connections {
    /// Open: idle or in use.
    pub open: usize,
    /// Open and not in use.
    pub idle: usize,
    /// The most there may be.
    pub most: usize,
}

/// What is deleted when its time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweepable {
    /// Tokens that were mailed, past their end and older than an hour: the throttle counts them until then.
    MailedTokens,
    /// Sessions past their end, with their refresh tokens.
    Sessions,
    /// Marks of spent secrets past their end.
    SpentSecrets,
}

/// The place of an account in the order in which accounts are swept: the oldest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct AccountPlace {
    /// UTC; when it was made.
    pub created_at: OffsetDateTime,
    /// Orders accounts of one moment.
    pub id: UserId,
}

/// What became of accounts that were to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// So many are gone.
    Gone(u64),
    /// Something of the host refers to one of them and does not let it go (a foreign key without cascade): all are still there.
    Held,
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
