use async_trait::async_trait;
use time::OffsetDateTime;

use super::StoreError;
use crate::types::{BookedEntry, Credits, Direction, Entry, EntryKind, UserId};

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Booking {
    /// Its key or its reference has another entry already, which asked for something else.
    Conflict,
    /// It is booked, now.
    Done(BookedEntry),
    /// The balance, which is less than it takes.
    Insufficient(Credits),
    /// The balance would be above [`Credits::MAX`].
    Overflow,
    /// It was booked before, under its key or its reference: as it was then.
    Replayed(BookedEntry),
    /// No account has the id.
    UnknownUser,
}

impl Booking {
    /// For stores: why an entry does not fit a balance.
    pub const fn refused(entry: &Entry, balance: Credits) -> Self {
        match entry.direction {
            Direction::Credit => Self::Overflow,
            Direction::Debit => Self::Insufficient(balance),
        }
    }
}

/// A balance and when it last moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Balance {
    /// Whose.
    pub user_id: UserId,
    /// The sum of all entries.
    pub balance: Credits,
    /// UTC; of an account without entries, when it was made.
    pub updated_at: OffsetDateTime,
}

/// Which part of a history to read.
#[derive(Debug, Clone, Copy)]
pub struct History {
    /// Whose.
    pub user_id: UserId,
    /// Only of this kind.
    pub kind: Option<EntryKind>,
    /// Only entries of a lower number: what came later does not move the page.
    pub before: Option<i64>,
    /// At most.
    pub limit: u32,
}

/// A part of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryPage {
    /// The highest number first.
    pub entries: Vec<BookedEntry>,
    /// How many entries of that kind there are, on all pages.
    pub total: u64,
}

/// The account of one user as it is written, for checks that take nothing for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerAccount {
    /// Whose; the account of the user may be gone.
    pub user_id: UserId,
    /// In hundredths.
    pub balance: i64,
    /// How many entries it has.
    pub entries: i64,
}

/// One entry as it is written, for checks that take nothing for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerLine {
    /// Whose.
    pub user_id: UserId,
    /// Among the entries of that user.
    pub number: i64,
    /// In hundredths; below zero when it took.
    pub change: i64,
    /// In hundredths.
    pub new_balance: i64,
}

/// Balances and the ledger that they are the sum of.
///
/// # Rules beside those of every [`Store`](super::Store)
/// 1. At every commit, a balance is the sum of its entries, it is not below zero, and the entries of a user are numbered from 1 without a gap.
/// 2. An entry is never changed or deleted, by whatever program. Only its description goes, with the account of its user.
/// 3. Of entries with one key of one caller, or with one reference of one user and kind, one is booked, also when they come at once.
/// 4. A refused entry leaves no trace: its key and its reference are still free. So is the key of one that is answered by its reference.
/// 5. Without an account of the user nothing is booked, replayed or read; the ledger stays for [`ledger_lines`](Self::ledger_lines).
///
/// The suite `credits` in `auth_core::contract` checks all of it.
#[async_trait]
pub trait CreditStore: Send + Sync + 'static {
    /// Books an entry and moves the balance, in one conditional write.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for every method below.
    async fn book(&self, entry: Entry) -> Result<Booking, StoreError>;

    /// The balance of a user; `None` without an account.
    async fn balance(&self, user: UserId) -> Result<Option<Balance>, StoreError>;

    /// A part of the history of a user; `None` without an account.
    async fn history(&self, history: History) -> Result<Option<HistoryPage>, StoreError>;

    /// The next accounts after a user, in the order of their ids; those of deleted users too.
    async fn ledger_accounts(
        &self,
        after: Option<UserId>,
        limit: u32,
    ) -> Result<Vec<LedgerAccount>, StoreError>;

    /// The next entries after a place, in the order of users and numbers; those of deleted users too.
    async fn ledger_lines(
        &self,
        after: Option<(UserId, i64)>,
        limit: u32,
    ) -> Result<Vec<LedgerLine>, StoreError>;
}
