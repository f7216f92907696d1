//! Whether an endpoint is believed to work: what requests met there, and what health checks say.
//!
//! Time is an argument, in nanoseconds of the clock that never goes back.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;

use crate::runtime::clock::nanos;
use crate::runtime::pause::doubled;

/// Failures in a row after which an endpoint pauses.
const FAILURES: u32 = 3;

/// The first pause; each further one that follows without a success is twice as long.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is believed of an endpoint.
#[derive(Debug)]
pub struct Standing {
    /// What health checks say; true where there are none.
    healthy: AtomicBool,
    /// Exchanges that failed since the last that did not.
    failures: AtomicU32,
    pauses: AtomicU32,
    /// Zero: it does not pause.
    paused_until_ns: AtomicU64,
    /// A request was let through at the end of a pause, and has not told yet.
    on_trial: AtomicBool,
    /// `gateway_upstream_up`.
    up: IntGauge,
}

/// What changed of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It was believed to work, and is no more.
    Down,
    /// It works again.
    Up,
}

impl Standing {
    /// It works, as far as anybody knows.
    #[must_use]
    pub fn new(up: IntGauge) -> Self {
        Self {
            healthy: AtomicBool::new(true),
            failures: AtomicU32::new(0),
            pauses: AtomicU32::new(0),
            paused_until_ns: AtomicU64::new(0),
            on_trial: AtomicBool::new(false),
            up,
        }
    }

    /// Whether it takes requests now.
    #[must_use]
    pub(super) fn takes_requests(&self, now_ns: u64) -> bool {
        // Zero for all that did not fail, which costs no look at anything else.
        self.paused_until_ns.load(Ordering::Relaxed) <= now_ns && self.healthy.load(Ordering::Relaxed)
    }

    /// Whether this request may go there. At the end of a pause one request is let through, and what becomes of it decides for
    /// the others.
    #[must_use]
    pub(super) fn admits(&self, now_ns: u64) -> bool {
        let until = self.paused_until_ns.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        // Until it has told, or forever if it never does, the others wait for one more pause.
        let again = now_ns.saturating_add(self.pause_ns());
        let admitted = until <= now_ns
            && self
                .paused_until_ns
                .compare_exchange(until, again, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if admitted {
            self.on_trial.store(true, Ordering::Relaxed);
        }
        admitted
    }

    /// A response came from there.
    pub fn succeeded(&self) -> Change {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return Change::None;
        }
        self.failures.store(0, Ordering::Relaxed);
        self.pauses.store(0, Ordering::Relaxed);
        let paused = self.paused_until_ns.swap(0, Ordering::Relaxed) != 0;
        self.tell(paused.then_some(true))
    }

    /// It could not be connected to, broke off before it answered, spoke nonsense or was too slow.
    pub fn failed(&self, now_ns: u64) -> Change {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let pauses = self.paused_until_ns.load(Ordering::Relaxed) != 0;
        // What was under way when a pause began says nothing new; the one that was let through at its end does.
        let lasts = pauses && self.on_trial.swap(false, Ordering::Relaxed);
        if !lasts && (pauses || failures < FAILURES) {
            return Change::None;
        }
        self.pauses.fetch_add(1, Ordering::Relaxed);
        let until = now_ns.saturating_add(self.pause_ns());
        self.paused_until_ns.store(until, Ordering::Relaxed);
        self.tell((!lasts).then_some(false))
    }

    /// A health check's word, once it has changed its mind.
    pub fn checked(&self, healthy: bool) -> Change {
        let was = self.healthy.swap(healthy, Ordering::Relaxed);
        if healthy {
            // It need not sit out a pause for what is over.
            self.failures.store(0, Ordering::Relaxed);
            self.pauses.store(0, Ordering::Relaxed);
            self.paused_until_ns.store(0, Ordering::Relaxed);
        }
        self.tell((was != healthy).then_some(healthy))
    }

    fn pause_ns(&self) -> u64 {
        nanos(doubled(FIRST_PAUSE, LONGEST_PAUSE, self.pauses.load(Ordering::Relaxed)))
    }

    fn tell(&self, changed: Option<bool>) -> Change {
        let paused = self.paused_until_ns.load(Ordering::Relaxed) != 0;
        let up = self.healthy.load(Ordering::Relaxed) && !paused;
        self.up.set(i64::from(up));
        match changed {
            None => Change::None,
            Some(true) => Change::Up,
            Some(false) => Change::Down,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn standing() -> Standing {
        Standing::new(IntGauge::new("up", "up").unwrap())
    }

    fn failing_from(now_ns: u64) -> Standing {
        let standing = standing();
        for _ in 1..FAILURES {
            assert_eq!(standing.failed(now_ns), Change::None);
            assert!(standing.takes_requests(now_ns));
        }
        assert_eq!(standing.failed(now_ns), Change::Down);
        standing
    }

    #[test]
    fn failures_in_a_row_pause_it_and_one_success_between_them_does_not() {
        let standing = failing_from(0);
        assert!(!standing.takes_requests(SECOND - 1));
        assert!(standing.takes_requests(SECOND));
        assert_eq!(standing.up.get(), 0);

        let standing = self::standing();
        for _ in 0..10 {
            standing.failed(0);
            standing.failed(0);
            standing.succeeded();
        }
        assert!(standing.takes_requests(0));
    }

    #[test]
    fn one_request_is_let_through_after_a_pause_and_decides() {
        let standing = failing_from(0);
        assert!(standing.admits(SECOND));
        assert!(!standing.admits(SECOND) && !standing.takes_requests(SECOND));
        assert_eq!(standing.succeeded(), Change::Up);
        assert!(standing.admits(SECOND) && standing.admits(SECOND));
        assert_eq!(standing.up.get(), 1);
    }

    #[test]
    fn each_pause_that_helped_nothing_is_twice_as_long_up_to_a_bound() {
        let standing = failing_from(0);
        let mut now = SECOND;
        for pause in [2, 4, 8, 16, 32, 60, 60] {
            assert!(standing.admits(now));
            assert_eq!(standing.failed(now), Change::None);
            assert!(!standing.takes_requests(now + pause * SECOND - 1));
            now += pause * SECOND;
            assert!(standing.takes_requests(now));
        }
        standing.succeeded();
        for _ in 0..FAILURES {
            standing.failed(now);
        }
        assert!(
            standing.takes_requests(now + SECOND),
            "a success forgives what was before"
        );
    }

    #[test]
    fn what_was_under_way_when_a_pause_began_does_not_lengthen_it() {
        let standing = failing_from(0);
        for _ in 0..100 {
            assert_eq!(standing.failed(0), Change::None);
        }
        assert!(standing.takes_requests(SECOND));
    }

    #[test]
    fn a_request_that_never_told_costs_one_more_pause() {
        let standing = failing_from(0);
        assert!(standing.admits(SECOND));
        assert!(!standing.admits(2 * SECOND - 1));
        assert!(standing.admits(2 * SECOND));
    }

    #[test]
    fn health_checks_take_it_out_and_bring_it_back_at_once() {
        let standing = failing_from(0);
        assert_eq!(standing.checked(false), Change::Down);
        assert_eq!(standing.checked(false), Change::None);
        assert!(!standing.takes_requests(100 * SECOND));
        assert_eq!(standing.checked(true), Change::Up);
        assert!(standing.takes_requests(0));
    }
}
