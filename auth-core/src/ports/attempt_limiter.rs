use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use crate::types::{Digest, Network};

/// How many wrong passwords one network may send for one account within [`WINDOW`].
pub const WRONG_FROM_A_NETWORK: usize = 10;
/// How long a wrong password counts for its network.
pub const WINDOW: Duration = Duration::minutes(15);
/// How many wrong passwords in a row, from wherever they come, slow an account down (NIST SP 800-63B-4 §3.2.2).
pub const WRONG_IN_A_ROW: u32 = 100;
/// How often a password of such an account is checked.
pub const SLOW: Duration = Duration::MINUTE;
/// How long wrong passwords in a row are remembered, which a slow guesser would have to wait for, and the networks of right ones.
pub const REMEMBERED: Duration = Duration::days(30);

/// Who tries a password of which account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// Of the account's id, or of a name that it may have.
    pub account: Digest,
    /// From where.
    pub network: Network,
    /// UTC.
    pub now: OffsetDateTime,
}

/// Counts wrong passwords.
///
/// 1. After [`WRONG_FROM_A_NETWORK`] wrong ones within [`WINDOW`], nothing is told any more of that account's password to that network until
///    one of them is older than that. Other networks are not concerned.
/// 2. After [`WRONG_IN_A_ROW`] wrong ones from anywhere without a right one between them, one check is told of every [`SLOW`]. Whoever is many could
///    take every one of them, so networks from which a right one came within [`REMEMBERED`] are excepted (NIST SP 800-63B-4 §3.2.2): there rule 1 alone
///    holds, and the owner is not kept out.
/// 3. Nobody is locked out for ever, and an account that does not exist behaves as one that does.
///
/// Each check is asked about twice: before it, so that no work is done for nothing, and after it, in one atomic step that counts it and says whether its
/// outcome may be told. So of many checks at once no more are told than of as many one by one, and none is held back because others are under way.
///
/// It never fails: one that shares its counts over a network falls back to counts of its own when that is down.
#[async_trait]
pub trait AttemptLimiter: Send + Sync + 'static {
    /// How long nothing would be told to this attempt; `None` when its password may be checked.
    async fn wait(&self, attempt: &Attempt) -> Option<Duration>;

    /// Counts a check that was made. When others were faster, the answer is as of [`wait`](Self::wait), nothing is counted, and the outcome must not be
    /// told, whichever it is.
    async fn settle(&self, attempt: &Attempt, is_right: bool) -> Option<Duration>;

    /// Forgets the wrong ones of the account in a row, and of that network: somebody proved to be its owner in another way.
    async fn forget(&self, attempt: &Attempt);
}
