//! The time, in one place: everything else is told it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::policy::facts::Now;

/// Tells the time of day and a time that never goes back.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// Starts the monotonic time at one hour, so that "an hour ago" can be said from the beginning.
    #[must_use]
    pub fn start() -> Self {
        let now = Instant::now();
        Self {
            origin: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now),
        }
    }

    /// Nanoseconds on the clock that never goes back.
    #[must_use]
    pub fn monotonic_ns(&self) -> u64 {
        nanos(self.origin.elapsed())
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ns(&self) -> u64 {
        nanos(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn unix_ms(&self) -> i64 {
        i64::try_from(self.unix_ns() / 1_000_000).unwrap_or(i64::MAX)
    }

    /// Both, for a judgement.
    #[must_use]
    pub fn now(&self) -> Now {
        Now {
            unix_s: self.unix_ms().div_euclid(1000),
            monotonic_ns: self.monotonic_ns(),
        }
    }
}

/// As the clock counts; whatever is longer than five centuries is five centuries long.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
