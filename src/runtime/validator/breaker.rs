//! Keeps an auth service that does not answer from costing every request its timeout.
//!
//! After [`THRESHOLD`] failures in a row nobody is sent there for a pause, which doubles up to [`LONGEST_PAUSE`]; then one look-up
//! tries, and its success lets all others through again. The time is an argument.

use std::time::Duration;

use parking_lot::Mutex;

use crate::runtime::clock::nanos;

/// Failed attempts without a success between them.
const THRESHOLD: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A circuit breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    inner: Mutex<Inner>,
    /// A look-up that tries takes no longer: then another may.
    patience_ns: u64,
}

#[derive(Debug)]
struct Inner {
    state: State,
    succeeded_ns: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until_ns: u64, pause: Duration },
    Trying { until_ns: u64, pause: Duration },
}

impl Breaker {
    /// Closed; a look-up takes `timeout` at most.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: State::Closed { failures: 0 },
                succeeded_ns: None,
            }),
            patience_ns: nanos(timeout),
        }
    }

    /// Whether a look-up may begin.
    pub(super) fn admits(&self, now_ns: u64) -> bool {
        let mut inner = self.inner.lock();
        match inner.state {
            State::Closed { .. } => true,
            State::Open { until_ns, pause } | State::Trying { until_ns, pause } => {
                let admitted = now_ns >= until_ns;
                if admitted {
                    let until_ns = now_ns.saturating_add(self.patience_ns);
                    inner.state = State::Trying { until_ns, pause };
                }
                admitted
            }
        }
    }

    /// Whether nobody is let through.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.inner.lock().state, State::Open { .. })
    }

    /// An answer came.
    pub(super) fn succeeded(&self, now_ns: u64) {
        *self.inner.lock() = Inner {
            state: State::Closed { failures: 0 },
            succeeded_ns: Some(now_ns),
        };
    }

    /// An attempt failed.
    pub(super) fn failed(&self, now_ns: u64) {
        self.count(1, now_ns);
    }

    /// A look-up that began at `began_ns` had no answer in all its time. Unless others had one meanwhile, that says enough.
    pub(super) fn timed_out(&self, began_ns: u64, now_ns: u64) {
        let alone = self.inner.lock().succeeded_ns.is_none_or(|then| then < began_ns);
        self.count(if alone { THRESHOLD } else { 1 }, now_ns);
    }

    fn count(&self, more: u32, now_ns: u64) {
        let mut inner = self.inner.lock();
        let open = |pause| State::Open {
            until_ns: now_ns.saturating_add(nanos(pause)),
            pause,
        };
        inner.state = match inner.state {
            State::Closed { failures } if failures.saturating_add(more) >= THRESHOLD => open(FIRST_PAUSE),
            State::Closed { failures } => State::Closed {
                failures: failures.saturating_add(more),
            },
            // It was under way when the breaker opened, and says nothing new.
            still @ State::Open { .. } => still,
            State::Trying { pause, .. } => open((pause * 2).min(LONGEST_PAUSE)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn breaker() -> Breaker {
        Breaker::new(Duration::from_secs(2))
    }

    #[test]
    fn three_failures_in_a_row_open_it_and_a_success_between_them_does_not() {
        let breaker = breaker();
        for now in 1..10 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded(now);
        }
        assert!(breaker.admits(10));
        (0..3).for_each(|_| breaker.failed(10));
        assert!(breaker.is_open() && !breaker.admits(10 + SECOND - 1));
    }

    #[test]
    fn after_a_pause_one_tries_alone_and_its_failure_doubles_the_pause() {
        let breaker = breaker();
        (0..3).for_each(|_| breaker.failed(0));
        let mut now = SECOND;
        for pause in [2, 4, 5, 5] {
            assert!(breaker.admits(now), "one tries");
            assert!(!breaker.admits(now) && !breaker.is_open(), "alone");
            breaker.failed(now);
            assert!(!breaker.admits(now + pause * SECOND - 1));
            now += pause * SECOND;
        }
        assert!(breaker.admits(now));
        breaker.succeeded(now);
        assert!(breaker.admits(now) && breaker.admits(now));
    }

    #[test]
    fn one_that_tries_and_never_comes_back_is_followed_by_another() {
        let breaker = breaker();
        (0..3).for_each(|_| breaker.failed(0));
        assert!(breaker.admits(SECOND) && !breaker.admits(2 * SECOND));
        assert!(breaker.admits(3 * SECOND));
    }

    #[test]
    fn a_time_out_opens_it_unless_others_were_answered_meanwhile() {
        let silent = breaker();
        silent.timed_out(0, 2 * SECOND);
        assert!(silent.is_open());
        let alive = breaker();
        alive.succeeded(SECOND);
        alive.timed_out(SECOND / 2, 2 * SECOND);
        assert!(!alive.is_open());
    }

    #[test]
    fn failures_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() {
        let breaker = breaker();
        (0..30).for_each(|_| breaker.failed(0));
        assert!(breaker.admits(SECOND));
    }
}
