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
        Attempt, AttemptLimiter, Quota, REMEMBERED, RateLimiter, SLOW, Standing, WINDOW,
        WRONG_FROM_A_NETWORK, WRONG_IN_A_ROW,
    },
    types::{Digest, Network},
};

/// Budgets and counts in the memory of this process: at most 64 MiB of it, however many addresses and names there are. Clones share them.
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
    /// Where a right password came from.
    known: Generations<(Digest, Network), ()>,
}

/// When the last wrong passwords came from a network, as a ring: the oldest is overwritten.
#[derive(Default)]
struct Wrong {
    at: [Seconds; WRONG_FROM_A_NETWORK],
    next: usize,
}

impl Wrong {
    /// The oldest of the last ones stands where the next one will.
    fn oldest(&self) -> Seconds {
        self.at[self.next]
    }

    fn add(&mut self, now: Seconds) {
        self.at[self.next] = now;
        self.next = (self.next + 1) % WRONG_FROM_A_NETWORK;
    }
}

/// Wrong passwords in a row.
#[derive(Default)]
struct Row {
    wrong: u32,
    last: Seconds,
}

/// A time in four bytes, because there are many: whole seconds since 1970, so a wait is up to one shorter. 0 is never.
#[derive(Clone, Copy, Default)]
struct Seconds(u32);

impl Seconds {
    fn of(time: OffsetDateTime) -> Self {
        Self(u32::try_from(time.unix_timestamp()).unwrap_or(u32::MAX))
    }

    /// How long `now` is before the end of a time that began here.
    fn left_of(self, length: Duration, now: OffsetDateTime) -> Option<Duration> {
        let began = OffsetDateTime::UNIX_EPOCH + Duration::seconds(i64::from(self.0));
        let left = began + length - now;
        (self.0 > 0 && left.is_positive()).then_some(left)
    }
}

// Seven eighths of a power of two: tables of this size are full.
const BUDGETS: usize = 229_376;
const COUNTS: usize = 57_344;

impl LocalLimits {
    /// Nothing is counted yet.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Kept {
            budgets: Generations::new(BUDGETS, Duration::MINUTE),
            wrong: Generations::new(COUNTS, WINDOW),
            rows: Generations::new(COUNTS, REMEMBERED),
            known: Generations::new(COUNTS, REMEMBERED),
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
        let here = (attempt.account, attempt.network);
        let from_there = self
            .wrong
            .get(&here)
            .and_then(|wrong| wrong.oldest().left_of(WINDOW, attempt.now));
        let in_a_row = self
            .rows
            .get(&attempt.account)
            .filter(|row| row.wrong >= WRONG_IN_A_ROW && self.known.get(&here).is_none())
            .and_then(|row| row.last.left_of(SLOW, attempt.now));
        from_there.max(in_a_row)
    }

    fn count(&mut self, attempt: &Attempt, is_right: bool) {
        let here = (attempt.account, attempt.network);
        if is_right {
            self.rows.remove(&attempt.account);
            self.known.touch(here, attempt.now);
            return;
        }
        let now = Seconds::of(attempt.now);
        let row = self.rows.touch(attempt.account, attempt.now);
        row.wrong = row.wrong.saturating_add(1);
        row.last = now;
        self.wrong.touch(here, attempt.now).add(now);
    }
}
