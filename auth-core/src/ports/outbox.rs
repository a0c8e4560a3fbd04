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
}

/// The state of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MailCounts {
    /// Waiting or claimed.
    pub queued: u64,
    /// Given up.
    pub dead: u64,
}
