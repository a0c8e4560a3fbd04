use auth_core::{
    Error,
    ports::History,
    types::{BookedEntry, EntryKind, UserId},
};

use crate::Billing;

/// Which part of a history to show.
#[derive(Debug, Clone, Copy)]
pub struct Transactions {
    /// Whose.
    pub user: UserId,
    /// Only of this kind.
    pub kind: Option<EntryKind>,
    /// Where the page before ended: its [`next_cursor`](TransactionsPage::next_cursor).
    pub cursor: Option<i64>,
    /// The most on this page.
    pub limit: u32,
}

/// A page of a history.
#[derive(Debug, Clone)]
pub struct TransactionsPage {
    /// The newest first.
    pub entries: Vec<BookedEntry>,
    /// Where the next page begins; `None` when this is the last one.
    pub next_cursor: Option<i64>,
    /// How many there are of the kind, on all pages.
    pub total: u64,
}

impl Billing {
    /// A page of the history of a user, the newest first. Entries that come in between do not move the pages.
    ///
    /// # Errors
    /// [`Error::UserNotFound`].
    pub async fn transactions(&self, page: Transactions) -> Result<TransactionsPage, Error> {
        let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
        let history = History {
            user_id: page.user,
            kind: page.kind,
            before: page.cursor,
            // One more tells whether there is another page.
            limit: page.limit.saturating_add(1),
        };
        let found = self.store.history(history).await?;
        let mut found = found.ok_or(Error::UserNotFound)?;
        let has_more = found.entries.len() > limit;
        found.entries.truncate(limit);
        Ok(TransactionsPage {
            next_cursor: found
                .entries
                .last()
                .filter(|_| has_more)
                .map(|last| last.number),
            entries: found.entries,
            total: found.total,
        })
    }
}
