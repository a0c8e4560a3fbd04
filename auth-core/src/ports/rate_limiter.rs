use std::num::NonZeroU32;

use async_trait::async_trait;
use time::{Duration, OffsetDateTime};

use crate::types::Network;

/// Counts what clients ask for against their budgets.
///
/// It never fails: one that shares its budgets over a network falls back to budgets of its own when that is down.
#[async_trait]
pub trait RateLimiter: Send + Sync + 'static {
    /// Takes one from the budget that `client` has under that name, if there is one left.
    async fn take(
        &self,
        budget: &'static str,
        client: Network,
        quota: Quota,
        now: OffsetDateTime,
    ) -> Standing;
}

/// A budget: so many at once, refilled evenly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    burst: NonZeroU32,
    window: Duration,
}

impl Quota {
    /// So many within a minute, and as many at once.
    pub const fn per_minute(burst: NonZeroU32) -> Self {
        Self {
            burst,
            window: Duration::MINUTE,
        }
    }

    /// How many at once.
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    /// How long an empty budget takes to be full again.
    pub const fn window(self) -> Duration {
        self.window
    }

    /// How long one takes to come back, in nanoseconds.
    pub fn interval(self) -> u64 {
        let window = u64::try_from(self.window.whole_nanoseconds()).unwrap_or(u64::MAX);
        (window / u64::from(self.burst())).max(1)
    }

    /// The generic cell rate algorithm: what is kept of a budget is the moment when it will be full. Of the moment that was kept and of now, in
    /// nanoseconds, it makes the moment to keep, and the standing.
    pub fn take(self, full_at: Option<u64>, now: u64) -> (u64, Standing) {
        let (interval, burst) = (self.interval(), u64::from(self.burst()));
        let whole = interval.saturating_mul(burst);
        // What lies further ahead was written under another clock or quota.
        let owed = full_at.unwrap_or(now).saturating_sub(now).min(whole);
        let is_admitted = owed + interval <= whole;
        let owed = if is_admitted { owed + interval } else { owed };
        (now + owed, self.standing(is_admitted, owed))
    }

    /// How a budget stands that will be full in so many nanoseconds.
    pub fn standing(self, is_admitted: bool, owed: u64) -> Standing {
        let interval = self.interval();
        let whole = interval.saturating_mul(u64::from(self.burst()));
        let left = whole.saturating_sub(owed);
        let next = i64::try_from(interval - left % interval).unwrap_or(i64::MAX);
        Standing {
            is_admitted,
            remaining: u32::try_from(left / interval).unwrap_or(u32::MAX),
            next: Duration::nanoseconds(next),
        }
    }
}

/// How a budget stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The request was within the budget. One that was not takes nothing from it.
    pub is_admitted: bool,
    /// How many more are, now.
    pub remaining: u32,
    /// Until there is one more.
    pub next: Duration,
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use time::Duration;

    use super::{Quota, Standing};

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_passes_and_then_what_is_refilled() {
        let quota = Quota::per_minute(NonZeroU32::new(100).unwrap());
        let mut full_at = None;
        let mut take = |now| {
            let (kept, standing) = quota.take(full_at, now);
            full_at = Some(kept);
            standing
        };
        for taken in 1..=100 {
            let standing = take(SECOND);
            assert!(standing.is_admitted);
            assert_eq!(standing.remaining, 100 - taken);
        }
        let refused = Standing {
            is_admitted: false,
            remaining: 0,
            next: Duration::milliseconds(600),
        };
        assert_eq!([take(SECOND), take(SECOND)], [refused; 2]);
        assert!(!take(SECOND + SECOND * 6 / 10 - 1).is_admitted);
        assert!(take(SECOND + SECOND * 6 / 10).is_admitted);
        assert!(!take(SECOND + SECOND * 6 / 10).is_admitted);
        // A minute later it is whole again, and no more than whole after a year.
        for later in [SECOND * 62, SECOND * 31_000_000] {
            let admitted = (0..300).filter(|_| take(later).is_admitted).count();
            assert_eq!(admitted, 100);
        }
        // A clock that was set back locks nobody out for longer than a window.
        let back = take(SECOND);
        assert!(
            !back.is_admitted && back.next <= Duration::MINUTE,
            "{back:?}"
        );
    }

    #[test]
    fn odd_numbers_lose_nothing() {
        for burst in [1, 7, 59, 1_000_003, u32::MAX] {
            let quota = Quota::per_minute(NonZeroU32::new(burst).unwrap());
            let (kept, standing) = quota.take(None, SECOND);
            assert!(standing.is_admitted);
            assert_eq!(standing.remaining, burst - 1);
            assert_eq!(kept, SECOND + quota.interval());
        }
    }
}
