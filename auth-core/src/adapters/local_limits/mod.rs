//! Limits within one process.

mod generations;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use self::generations::Generations;
use crate::{
    ports::{
        Attempt, AttemptLimiter, Quota, RateLimiter, SLOW, Standing, WINDOW, WRONG_FROM_A_NETWORK,
        WRONG_IN_A_ROW,
    },
    types::{Digest, Network},
};

/// Budgets and counts in the memory of this process: at most 96 MiB of it, however many addresses and names there are. Clones share them.
///
/// When there are more than that within a minute (budgets) or a quarter of an hour (wrong passwords), the oldest are forgotten first: 229,376 budgets and
/// 57,344 counts are kept at the least. Each counted password costs a hash, which bounds how many can come.
#[derive(Clone)]
pub struct LocalLimits(Arc<Mutex<Kept>>);

struct Kept {
    /// In nanoseconds, by [`Quota::take`].
    budgets: Generations<(&'static str, Network), u64>,
    wrong: Generations<(Digest, Network), Wrong>,
    rows: Generations<Digest, Row>,
}

/// When the last wrong passwords came from a network, as a ring: the oldest is overwritten.
#[derive(Default)]
struct Wrong {
    at: [Option<OffsetDateTime>; WRONG_FROM_A_NETWORK],
    next: usize,
}

/// Wrong passwords in a row.
#[derive(Default)]
struct Row {
    wrong: u32,
    last: Option<OffsetDateTime>,
}

// Seven eighths of a power of two: tables of this size are full.
const BUDGETS: usize = 229_376;
const COUNTS: usize = 57_344;
/// How long wrong passwords in a row are remembered: a slow guesser has to wait for longer than for a month of checks.
const ROW: Duration = Duration::days(30);

impl LocalLimits {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            budgets: Generations::new(BUDGETS, Duration::MINUTE),
            wrong: Generations::new(COUNTS, WINDOW),
            rows: Generations::new(COUNTS, ROW),
        })))
    }

    /// A panic under the lock leaves at worst one count undone.
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for LocalLimits {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalLimits(..)")
    }
}

#[async_trait]
impl RateLimiter for LocalLimits {
    async fn take(
        &self,
        budget: &'static str,
        client: Network,
        quota: Quota,
        now: OffsetDateTime,
    ) -> Standing {
        let mut kept = self.lock();
        let full_at = kept.budgets.touch((budget, client), now);
        let nanoseconds = u64::try_from(now.unix_timestamp_nanos()).unwrap_or(0);
        // A new entry was full at the epoch.
        let (next, standing) = quota.take(Some(*full_at), nanoseconds);
        *full_at = next;
        standing
    }
}

#[async_trait]
impl AttemptLimiter for LocalLimits {
    async fn wait(&self, attempt: &Attempt) -> Option<Duration> {
        self.lock().wait(attempt)
    }

    async fn settle(&self, attempt: &Attempt, is_right: bool) -> Option<Duration> {
        let mut kept = self.lock();
        let wait = kept.wait(attempt);
        if wait.is_none() {
            kept.count(attempt, is_right);
        }
        wait
    }

    async fn forget(&self, attempt: &Attempt) {
        let mut kept = self.lock();
        kept.rows.remove(&attempt.account);
        kept.wrong.remove(&(attempt.account, attempt.network));
    }
}

impl Kept {
    fn wait(&self, attempt: &Attempt) -> Option<Duration> {
        let from_there = self
            .wrong
            .get(&(attempt.account, attempt.network))
            // The oldest of the last ones stands where the next one will.
            .and_then(|wrong| wrong.at[wrong.next])
            .map(|oldest| oldest + WINDOW);
        let in_a_row = self
            .rows
            .get(&attempt.account)
            .filter(|row| row.wrong >= WRONG_IN_A_ROW)
            .and_then(|row| row.last)
            .map(|last| last + SLOW);
        from_there
            .max(in_a_row)
            .map(|until| until - attempt.now)
            .filter(|wait| wait.is_positive())
    }

    fn count(&mut self, attempt: &Attempt, is_right: bool) {
        let now = attempt.now;
        if is_right {
            self.rows.remove(&attempt.account);
            return;
        }
        let row = self.rows.touch(attempt.account, now);
        row.wrong = row.wrong.saturating_add(1);
        row.last = Some(now);
        let wrong = self.wrong.touch((attempt.account, attempt.network), now);
        wrong.at[wrong.next] = Some(now);
        wrong.next = (wrong.next + 1) % WRONG_FROM_A_NETWORK;
    }
}
