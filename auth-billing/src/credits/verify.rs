use std::{collections::VecDeque, fmt};

use auth_core::{
    Error,
    ports::{CreditStore, LedgerAccount, LedgerLine},
    types::UserId,
    uuid::Uuid,
};

/// Accounts, and entries, that are held at once.
const PAGE: u32 = 1000;

/// Where a ledger is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Breach {
    /// The balance is not the sum of the entries.
    Balance {
        /// Whose.
        user: UserId,
        /// What is written, in hundredths.
        balance: i64,
        /// What the entries sum up to, in hundredths.
        sum: i128,
    },
    /// The balance after an entry is not the one before it and what it moved, or is below zero; or it moved nothing.
    Entry {
        /// Whose.
        user: UserId,
        /// Which.
        number: i64,
    },
    /// Entries are missing.
    Missing {
        /// Whose.
        user: UserId,
        /// The first that is missing.
        number: i64,
    },
    /// There are entries, but no account.
    NoAccount {
        /// Whose.
        user: UserId,
    },
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Balance { user, balance, sum } => write!(
                f,
                "user {user}: the balance is {} and the entries sum up to {}",
                Shown(i128::from(*balance)),
                Shown(*sum)
            ),
            Self::Entry { user, number } => write!(
                f,
                "user {user}: entry {number} does not follow from the one before it"
            ),
            Self::Missing { user, number } => write!(f, "user {user}: entry {number} is missing"),
            Self::NoAccount { user } => {
                write!(f, "user {user}: there are entries, but no balance")
            }
        }
    }
}

/// Hundredths that may be of any sign and size.
struct Shown(i128);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let magnitude = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", magnitude / 100, magnitude % 100)
    }
}

/// What a check of the ledger saw.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checked {
    /// Balances.
    pub accounts: u64,
    /// Entries.
    pub entries: u64,
    /// What was not as it should be.
    pub breaches: u64,
}

/// Checks that every balance is the sum of its entries, that each entry follows from the one before it, and that none is missing; also of accounts that
/// were deleted. Breaches are told as they are found; a page at a time is held, whatever the size of the ledger.
///
/// What is booked meanwhile is no breach: an account is compared with the entries that it had when it was read.
///
/// # Errors
/// [`Error::Unavailable`] or [`Error::Internal`].
pub async fn check_ledger(
    store: &dyn CreditStore,
    tell: impl FnMut(Breach) + Send,
) -> Result<Checked, Error> {
    let mut check = Check {
        store,
        lines: VecDeque::new(),
        read_to: None,
        seen: Checked::default(),
        tell,
    };
    let mut after = None;
    loop {
        let accounts = store.ledger_accounts(after, PAGE).await?;
        // Entries that were read ahead may be older than the accounts of this page.
        check.forget_what_is_read_ahead(after);
        for account in &accounts {
            check.account(account).await?;
        }
        match accounts.last() {
            Some(last) => after = Some(last.user_id),
            None => break,
        }
    }
    check.entries_without_account(None).await?;
    Ok(check.seen)
}

struct Check<'a, T> {
    store: &'a dyn CreditStore,
    /// Read and not yet looked at.
    lines: VecDeque<LedgerLine>,
    /// The last place that was read.
    read_to: Option<(UserId, i64)>,
    seen: Checked,
    tell: T,
}

impl<T: FnMut(Breach) + Send> Check<'_, T> {
    async fn account(&mut self, account: &LedgerAccount) -> Result<(), Error> {
        let user = account.user_id;
        self.entries_without_account(Some(user)).await?;
        self.seen.accounts += 1;
        let (mut sum, mut balance, mut expected) = (0_i128, 0_i128, 1_i64);
        while let Some(line) = self.next_line(|line| line.user_id == user).await? {
            // Booked since the account was read.
            if line.number > account.entries {
                continue;
            }
            self.seen.entries += 1;
            if line.number > expected {
                self.tell(Breach::Missing {
                    user,
                    number: expected,
                });
            }
            expected = line.number.saturating_add(1);
            let change = i128::from(line.change);
            let new_balance = i128::from(line.new_balance);
            if change == 0 || new_balance < 0 || new_balance != balance + change {
                self.tell(Breach::Entry {
                    user,
                    number: line.number,
                });
            }
            sum += change;
            balance = new_balance;
        }
        if expected <= account.entries {
            self.tell(Breach::Missing {
                user,
                number: expected,
            });
        }
        if i128::from(account.balance) != sum || account.balance < 0 {
            self.tell(Breach::Balance {
                user,
                balance: account.balance,
                sum,
            });
        }
        Ok(())
    }

    /// Looks at what comes before an account, or, without one, after all.
    async fn entries_without_account(&mut self, before: Option<UserId>) -> Result<(), Error> {
        let mut last = None;
        while let Some(line) = self
            .next_line(|line| before.is_none_or(|before| line.user_id < before))
            .await?
        {
            if last == Some(line.user_id) {
                continue;
            }
            last = Some(line.user_id);
            if !self.has_account(line.user_id).await? {
                self.tell(Breach::NoAccount { user: line.user_id });
            }
        }
        Ok(())
    }

    /// Whether there is one by now: it may have been made since its page was read.
    async fn has_account(&self, user: UserId) -> Result<bool, Error> {
        let before = Uuid::from_u128(user.as_uuid().as_u128().saturating_sub(1));
        let next = self
            .store
            .ledger_accounts(Some(UserId::from_uuid(before)), 1)
            .await?;
        Ok(next.first().is_some_and(|account| account.user_id == user))
    }

    async fn next_line(
        &mut self,
        is_wanted: impl Fn(&LedgerLine) -> bool,
    ) -> Result<Option<LedgerLine>, Error> {
        if self.lines.is_empty() {
            let page = self.store.ledger_lines(self.read_to, PAGE).await?;
            if let Some(last) = page.last() {
                self.read_to = Some((last.user_id, last.number));
            }
            self.lines = page.into();
        }
        let is_next = self.lines.front().is_some_and(is_wanted);
        Ok(is_next.then(|| self.lines.pop_front()).flatten())
    }

    fn forget_what_is_read_ahead(&mut self, after: Option<UserId>) {
        self.lines.clear();
        self.read_to = after.map(|user| (user, i64::MAX));
    }

    fn tell(&mut self, breach: Breach) {
        self.seen.breaches += 1;
        (self.tell)(breach);
    }
}
