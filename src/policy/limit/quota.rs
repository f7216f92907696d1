//! So much in so much time: the numbers of a rate, and GCRA, which spreads them. Pure arithmetic.

use std::fmt;

use super::Measure;

pub(super) const SECOND_NS: u64 = 1_000_000_000;

/// So many units in so much time, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Units a window: requests, or tokens.
    pub count: u32,
    /// The window, in seconds.
    pub window_s: u64,
    /// Units at once, after a pause.
    pub burst: u32,
}

/// What is left after a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Further units that would be admitted at once.
    pub remaining: u32,
    /// The time that they are to last for, in seconds, rounded up; `None`: time alone brings none back.
    pub window_s: Option<u64>,
}

impl Left {
    /// `until_next_ns`: how long nothing more becomes available; `steady_ns`: how long the remaining units last at the steady rate.
    ///
    /// A client that divides the one by the other must not find a rate that the limit does not have
    /// (draft-ietf-httpapi-ratelimit-headers-11 §8.5), so the longer of both is told.
    pub(super) fn lasting(remaining: u64, until_next_ns: u64, steady_ns: u64) -> Self {
        Self {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            window_s: Some(until_next_ns.max(steady_ns).div_ceil(SECOND_NS)),
        }
    }
}

impl Left {
    /// As it would be had one unit less been taken.
    #[must_use]
    pub fn with_one_more(self, measure: &Measure) -> Self {
        let remaining = self.remaining.saturating_add(1);
        let quota = match measure {
            Measure::Gcra(quota) | Measure::SlidingWindow(quota) => quota,
            Measure::Concurrent(_) => return Self { remaining, ..self },
        };
        let steady_s = u64::from(remaining)
            .saturating_mul(quota.interval_ns())
            .div_ceil(SECOND_NS);
        Self {
            remaining,
            window_s: self.window_s.map(|seconds| seconds.max(steady_s)),
        }
    }
}

/// How long until a request would be admitted, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait(pub u64);

impl Wait {
    /// Nobody knows how long: a second.
    pub const UNKNOWN: Self = Self(SECOND_NS);

    /// In seconds, rounded up, at least 1: `Retry-After`.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        let seconds = self.0.div_ceil(SECOND_NS);
        if seconds == 0 { 1 } else { seconds }
    }
}

impl fmt::Display for Quota {
    /// The rate as in the config: `120/min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        match self.window_s {
            1 => write!(f, "{count}/s"),
            60 => write!(f, "{count}/min"),
            3600 => write!(f, "{count}/hour"),
            86_400 => write!(f, "{count}/day"),
            seconds => write!(f, "{count}/{seconds}s"),
        }
    }
}

impl Quota {
    /// The window in nanoseconds.
    #[must_use]
    pub const fn window_ns(&self) -> u64 {
        self.window_s.saturating_mul(SECOND_NS)
    }

    /// Nanoseconds between two units at the steady rate; at least 1. Rounded up: never a unit more than the rate.
    #[must_use]
    pub const fn interval_ns(&self) -> u64 {
        let count = if self.count == 0 { 1 } else { self.count as u64 };
        let interval = self.window_ns().div_ceil(count);
        if interval == 0 { 1 } else { interval }
    }

    /// GCRA (ITU-T I.371) in its virtual-scheduling form: `tat` is the theoretical arrival time of the next unit of a steady
    /// stream, `0` for a bucket never used. Gives the new `tat`. A `cost` of 0 asks whether one unit would be admitted, and takes none.
    ///
    /// # Errors
    /// How long until the request would be admitted.
    pub fn admit(&self, tat: u64, cost: u32, now_ns: u64) -> Result<(u64, Left), Wait> {
        let interval = self.interval_ns();
        let tolerance = interval.saturating_mul(u64::from(self.burst));
        let start = tat.max(now_ns);
        let wanted = start.saturating_add(interval.saturating_mul(u64::from(cost.max(1))));
        let excess = wanted.saturating_sub(now_ns).saturating_sub(tolerance);
        if excess > 0 {
            return Err(Wait(excess));
        }
        let (tat, ahead) = if cost == 0 {
            (tat, start - now_ns)
        } else {
            (wanted, wanted - now_ns)
        };
        Ok((tat, self.left(ahead)))
    }

    /// What is left when the theoretical arrival time is so far ahead.
    #[must_use]
    pub fn left(&self, ahead_ns: u64) -> Left {
        let interval = self.interval_ns();
        let tolerance = interval.saturating_mul(u64::from(self.burst));
        let free = tolerance.saturating_sub(ahead_ns);
        let remaining = free.checked_div(interval).unwrap_or(0);
        let steady = remaining.saturating_mul(interval);
        Left::lasting(remaining, interval - (free - steady), steady)
    }

    /// The `tat` after so many units were spent that nobody could ask for before: it may run into debt.
    #[must_use]
    pub fn spend(&self, tat: u64, amount: u32, now_ns: u64) -> u64 {
        let spent = self.interval_ns().saturating_mul(u64::from(amount));
        tat.max(now_ns).saturating_add(spent)
    }

    /// The `tat` after one unit that was charged at `charged_ns` is given back.
    ///
    /// What time has given back already is not given twice: the steady rate has returned at most the time that has passed since.
    #[must_use]
    pub fn refund(&self, tat: u64, charged_ns: u64, now_ns: u64) -> u64 {
        let passed = now_ns.saturating_sub(charged_ns);
        tat.saturating_sub(self.interval_ns().saturating_sub(passed))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use governor::clock::FakeRelativeClock;
    use governor::{Quota as GovernorQuota, RateLimiter};
    use proptest::prelude::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    const PER_MINUTE: Quota = Quota {
        count: 5,
        window_s: 60,
        burst: 5,
    };

    #[test]
    fn a_burst_is_admitted_at_once_and_the_next_when_its_interval_has_passed() {
        let mut tat = 0;
        for remaining in (0..5).rev() {
            let (next, left) = PER_MINUTE.admit(tat, 1, 100 * SECOND_NS).unwrap();
            assert_eq!(left.remaining, remaining);
            tat = next;
        }
        let refused = PER_MINUTE.admit(tat, 1, 100 * SECOND_NS).unwrap_err();
        assert_eq!((refused, refused.seconds()), (Wait(12 * SECOND_NS), 12));
        assert!(PER_MINUTE.admit(tat, 1, 112 * SECOND_NS - 1).is_err());
        assert!(PER_MINUTE.admit(tat, 1, 112 * SECOND_NS).is_ok());
    }

    #[test]
    fn what_is_left_lasts_as_long_as_the_rate_says_and_nothing_until_the_next() {
        let after = |used: u64, now_ns| {
            let tat = 100 * SECOND_NS + used * PER_MINUTE.interval_ns();
            PER_MINUTE
                .admit(tat, 0, now_ns)
                .map(|(_, left)| (left.remaining, left.window_s))
        };
        assert_eq!(after(0, 100 * SECOND_NS), Ok((5, Some(60))));
        assert_eq!(after(1, 100 * SECOND_NS), Ok((4, Some(48))));
        assert_eq!(after(1, 101 * SECOND_NS), Ok((4, Some(48))));
        assert_eq!(after(5, 100 * SECOND_NS), Err(Wait(12 * SECOND_NS)));
        let (_, last) = PER_MINUTE.admit(148 * SECOND_NS, 1, 100 * SECOND_NS).unwrap();
        assert_eq!(
            (last.remaining, last.window_s),
            (0, Some(12)),
            "as Retry-After would say"
        );
    }

    #[test]
    fn looking_takes_nothing() {
        let (tat, _) = PER_MINUTE.admit(0, 1, SECOND_NS).unwrap();
        for _ in 0..100 {
            let (same, left) = PER_MINUTE.admit(tat, 0, SECOND_NS).unwrap();
            assert_eq!((same, left.remaining), (tat, 4));
        }
    }

    #[test]
    fn what_was_spent_beyond_the_allowance_is_a_debt() {
        let tat = PER_MINUTE.spend(0, 12, 100 * SECOND_NS);
        let refused = PER_MINUTE.admit(tat, 0, 100 * SECOND_NS).unwrap_err();
        assert_eq!(refused, Wait((12 - 5 + 1) * 12 * SECOND_NS));
    }

    #[test]
    fn retry_after_is_never_less_than_a_second() {
        assert_eq!(Wait(0).seconds(), 1);
        assert_eq!(Wait(1_000_000_001).seconds(), 2);
    }

    #[test]
    fn a_rate_that_does_not_divide_is_never_exceeded() {
        let odd = Quota {
            count: 3_000_000_000,
            window_s: 1,
            burst: 1,
        };
        assert_eq!(odd.interval_ns(), 1);
        let odd = Quota {
            count: 7,
            window_s: 60,
            burst: 7,
        };
        assert!(odd.interval_ns() * 7 >= odd.window_ns());
    }

    proptest! {
        #[test]
        fn it_admits_exactly_what_governor_admits(
            count in 1u32..50, burst in 1u32..20, gaps in prop::collection::vec(0u64..2_000, 1..200)
        ) {
            let quota = Quota { count, window_s: 1, burst };
            let clock = FakeRelativeClock::default();
            let reference = RateLimiter::direct_with_clock(
                GovernorQuota::with_period(Duration::from_nanos(quota.interval_ns())).unwrap()
                    .allow_burst(NonZeroU32::new(burst).unwrap()),
                clock.clone(),
            );
            let start = 1_000_000_000_000u64;
            let (mut now, mut tat) = (start, 0);
            for gap in gaps {
                clock.advance(Duration::from_millis(gap));
                now += gap * 1_000_000;
                let ours = quota.admit(tat, 1, now);
                prop_assert_eq!(ours.is_ok(), reference.check().is_ok(), "at {}", now - start);
                if let Ok((next, _)) = ours { tat = next; }
            }
        }

        /// The one thing that a refund must never do. Each step charges, or gives a charge back later than it was made.
        #[test]
        fn refunds_let_nobody_exceed_burst_and_rate(
            burst in 1u32..6, steps in prop::collection::vec((0u64..800, any::<bool>(), 0usize..8), 1..150)
        ) {
            let quota = Quota { count: 4, window_s: 1, burst };
            let (mut now, mut tat) = (1_000_000_000_000u64, 0);
            let mut kept: Vec<u64> = Vec::new();
            for (gap, give_back, which) in steps {
                now += gap * 1_000_000;
                if give_back {
                    if which < kept.len() {
                        let charged = kept.swap_remove(which);
                        tat = quota.refund(tat, charged, now);
                    }
                } else if let Ok((next, _)) = quota.admit(tat, 1, now) {
                    tat = next;
                    kept.push(now);
                }
            }
            kept.sort_unstable();
            for (first, from) in kept.iter().enumerate() {
                for (last, to) in kept.iter().enumerate().skip(first) {
                    let admitted = (last - first + 1) as u64;
                    let allowed = u64::from(burst) + (to - from) / quota.interval_ns();
                    prop_assert!(admitted <= allowed, "{} in {} ns", admitted, to - from);
                }
            }
        }
    }
}
