use std::sync::{Arc, Mutex, PoisonError};

use auth_core::{
    ports::Clock,
    time::{Duration, OffsetDateTime},
};

/// A clock that tests move. Clones are one clock.
///
/// Of itself it moves on by a microsecond with each look at it, so that what comes later is later. It starts between two
/// microseconds, so that what is kept with less precision shows.
#[derive(Debug, Clone)]
pub struct MovableClock(Arc<Mutex<OffsetDateTime>>);

impl Default for MovableClock {
    fn default() -> Self {
        // 2026-01-01T00:00:00.123456789Z
        let start = OffsetDateTime::from_unix_timestamp_nanos(1_767_225_600_123_456_789);
        Self(Arc::new(Mutex::new(start.unwrap())))
    }
}

impl MovableClock {
    /// Moves the clock on, or back by a negative duration.
    pub fn advance(&self, by: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += by;
    }
}

impl Clock for MovableClock {
    fn now(&self) -> OffsetDateTime {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now += Duration::MICROSECOND;
        *now
    }
}
