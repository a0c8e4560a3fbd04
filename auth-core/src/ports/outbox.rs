use async_trait::async_trait;
use time::OffsetDateTime;

use super::StoreError;
use crate::types::{MailId, QueuedMail};

/// A mail that one worker holds until `lease`.
#[derive(Debug, Clone)]
pub struct ClaimedMail {
    /// The mail.
    pub mail: QueuedMail,
    /// Tries before this one.
    pub attempts: u32,
    /// UTC; another worker may claim it afterwards. It names the claim.
    pub lease: OffsetDateTime,
}

/// The queue of mails. See [`Store`](super::Store) for the rules.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Claims due mails, the oldest first, until `lease`. Two workers never hold one mail at once.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for every method below.
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<ClaimedMail>, StoreError>;

    /// Deletes a sent mail. `false` when the claim is no longer ours.
    async fn mail_sent(&self, mail: MailId, lease: OffsetDateTime) -> Result<bool, StoreError>;

    /// Counts a failed try; the mail is due again at `retry_at`, or is a dead letter, which stays visible, with `None`.
    /// `false` when the claim is no longer ours.
    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<bool, StoreError>;

    /// How many mails wait and how many are dead letters.
    async fn mail_counts(&self) -> Result<MailCounts, StoreError>;

    /// The dead letters, those that were written first before the others; also ones that this version cannot read.
    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError>;

    /// Puts dead letters back into the queue, as if they had been written at `now` and never tried; says how many.
    async fn retry_dead_mails(
        &self,
        which: DeadMails,
        now: OffsetDateTime,
    ) -> Result<u64, StoreError>;

    /// Deletes dead letters; says how many.
    async fn drop_dead_mails(&self, which: DeadMails) -> Result<u64, StoreError>;

    /// Calls `wake` when a mail may have been committed by somebody else, another process or a host in its own transaction, until it is dropped. It may
    /// call too often, and calls once when it begins to hear. A store that hears of nothing returns at once; workers also look by themselves.
    async fn watch_mails(&self, wake: &(dyn Fn() + Send + Sync)) -> Result<(), StoreError>;
}

/// The state of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Waiting or claimed.
    pub queued: u64,
    /// Given up.
    pub dead: u64,
    /// UTC; when the oldest of the queued ones was written.
    pub oldest: Option<OffsetDateTime>,
}

/// A dead letter, for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadMail {
    /// Names it.
    pub id: MailId,
    /// The recipient, as it is stored.
    pub to: String,
    /// What it says, by the name of its letter.
    pub template: String,
    /// Tries, all of which failed.
    pub attempts: u32,
    /// Why the last one failed.
    pub reason: String,
    /// UTC; when it was written.
    pub created_at: OffsetDateTime,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadMails {
    /// Every one.
    All,
    /// This one, if it is dead.
    One(MailId),
}
