use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use super::StoreError;
use crate::types::{MailId, QueuedMail};

/// How long a mail is tried, from its first claim on.
pub const GIVE_UP_AFTER: Duration = Duration::DAY;
/// For how long a mail is put off at first that this version cannot read.
pub const PUT_OFF: Duration = Duration::MINUTE;
/// For how long at last.
pub const LONGEST_PUT_OFF: Duration = Duration::minutes(15);
/// How often one call looks into the queue, at the most, when it finds mails that it cannot read.
pub const LOOKS: u32 = 16;
/// Up to how many mails that wait, and how many dead letters, are counted.
pub const MOST_COUNTED: u32 = 10_000;
/// Why a mail is a dead letter that a version put off for as long as mails are tried.
pub const UNREADABLE: &str = "no version that works on the queue can read it";
/// Why a mail is a dead letter whose claims were all lost.
pub const LOST: &str = "its workers died or lost the store, again and again";

/// When a mail is looked at again that this version cannot read: after as long as nobody could so far, within bounds. `None` when it is given up.
pub fn put_off(now: OffsetDateTime, first_try_at: OffsetDateTime) -> Option<OffsetDateTime> {
    let end = first_try_at.saturating_add(GIVE_UP_AFTER);
    let pause = (now - first_try_at).clamp(PUT_OFF, LONGEST_PUT_OFF);
    (now < end).then(|| end.min(now.saturating_add(pause)))
}

/// A mail that one worker holds until `lease`.
#[derive(Debug, Clone)]
pub struct ClaimedMail {
    /// The mail.
    pub mail: QueuedMail,
    /// Tries, this one too.
    pub attempts: u32,
    /// UTC; when it was claimed for the first time.
    pub first_try_at: OffsetDateTime,
    /// Another worker may claim it afterwards, by the clock that the store goes by. It names the claim.
    pub lease: OffsetDateTime,
}

/// What a worker gets.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    /// To be sent.
    pub mails: Vec<ClaimedMail>,
    /// Became dead letters by the way.
    pub given_up: Vec<MailId>,
    /// Others may be due: the call stopped looking, at a failure after it had found these, or because mails that nobody could read were too many.
    pub more: bool,
}

/// The queue of mails. See [`Store`](super::Store) for the rules.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Claims up to `limit` due mails for a time, those first that have been due for longest, and counts a try of each. Two workers never hold one mail at
    /// once. A database that several machines share measures `lease` by its own clock.
    ///
    /// A claim that ends unmarked is lost: its mail is due again after `lease`, then after twice as much, and so on up to 32 times. Once
    /// [`GIVE_UP_AFTER`] has gone by since the first claim, it is a dead letter instead ([`LOST`]). A mail that was marked as failed gets its try however
    /// late it is claimed.
    ///
    /// A mail that this version cannot read is none of the `limit`: it is put off ([`put_off`]), for a newer version, without counting a try, and
    /// is a dead letter ([`UNREADABLE`]) when that has gone on for [`GIVE_UP_AFTER`]. However many of them are due, a call ends after [`LOOKS`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Backend`], as for every method below.
    async fn claim_mails(
        &self,
        now: OffsetDateTime,
        lease: Duration,
        limit: u32,
    ) -> Result<Claims, StoreError>;

    /// Deletes a sent mail. `false` when the claim is no longer ours.
    async fn mail_sent(&self, mail: MailId, lease: OffsetDateTime) -> Result<bool, StoreError>;

    /// Ends a failed try; the mail is due again at `retry_at`, or is a dead letter, which stays visible, with `None`.
    /// `false` when the claim is no longer ours.
    async fn mail_failed(
        &self,
        mail: MailId,
        lease: OffsetDateTime,
        retry_at: Option<OffsetDateTime>,
        reason: &str,
    ) -> Result<bool, StoreError>;

    /// How many mails wait and how many are dead letters, each up to [`MOST_COUNTED`]: a look at a long queue must not be what makes it longer.
    async fn mail_counts(&self) -> Result<MailCounts, StoreError>;

    /// The dead letters, those that were written first before the others; also ones that this version cannot read.
    async fn dead_mails(&self, limit: u32) -> Result<Vec<DeadMail>, StoreError>;

    /// Puts dead letters back into the queue, as if they had been queued at `now` and never tried; says how many. They keep the date of their cause.
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
    /// Waiting or claimed; [`MOST_COUNTED`] when there are as many or more.
    pub queued: u64,
    /// Given up; [`MOST_COUNTED`] when there are as many or more.
    pub dead: u64,
    /// UTC; when the one that waits for longest was queued. Where there are more than are counted, it is the oldest of those that are due first.
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

#[cfg(test)]
mod tests {
    use time::{Duration, OffsetDateTime};

    use super::put_off;

    #[test]
    fn what_nobody_can_read_is_looked_at_ever_less_often_and_for_a_day() {
        let begin = OffsetDateTime::UNIX_EPOCH;
        let looks: Vec<_> = std::iter::successors(Some(begin), |now| put_off(*now, begin))
            .map(|now| (now - begin).whole_minutes())
            .collect();
        assert_eq!(looks[..8], [0, 1, 2, 4, 8, 16, 31, 46]);
        assert_eq!(looks.last(), Some(&(24 * 60)));
        assert!(looks.len() < 110, "{}", looks.len());
        assert_eq!(put_off(begin + Duration::DAY, begin), None);
    }
}
