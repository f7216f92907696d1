//! The retry budget of an upstream: retries may add a fifth to its requests, so that they cannot bury an upstream that fails
//! because it is overloaded. Attempts at endpoints that could not be connected to burden nobody and are not counted.

use std::sync::atomic::{AtomicU32, Ordering};

/// What one retry costs; a request brings 1.
const RETRY: u32 = 5;

/// Retries that may be spent at once at the start: few requests must not mean no retries.
const AT_FIRST: u32 = 20;

/// Retries that may be saved up while all is well: as many as requests may be under way to an endpoint that freezes.
const RESERVE: u32 = 128;

/// What may be spent on retries.
#[derive(Debug)]
pub struct RetryBudget(AtomicU32);

impl RetryBudget {
    /// With what there is at first.
    #[must_use]
    pub(super) const fn at_first() -> Self {
        Self(AtomicU32::new(AT_FIRST * RETRY))
    }

    /// A request came.
    pub fn earn(&self) {
        // A look only, as long as nothing fails. Two that come at once may overdraw the reserve by one: no harm.
        if self.0.load(Ordering::Relaxed) < RESERVE * RETRY {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether one more retry may be made.
    #[must_use]
    pub fn spend(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |saved| saved.checked_sub(RETRY))
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retries_of(budget: &RetryBudget, requests: u32) -> u32 {
        let retried = |_: &u32| {
            budget.earn();
            budget.spend()
        };
        u32::try_from((0..requests).filter(retried).count()).unwrap_or(u32::MAX)
    }

    #[test]
    fn when_everything_fails_a_fifth_is_tried_again() {
        let budget = RetryBudget::at_first();
        assert_eq!(retries_of(&budget, AT_FIRST), AT_FIRST);
        let retries = retries_of(&budget, 1000);
        assert!((200..=210).contains(&retries), "{retries}");
    }

    #[test]
    fn what_is_saved_up_grows_while_all_is_well_and_not_beyond_the_reserve() {
        let budget = RetryBudget::at_first();
        (0..10 * RESERVE * RETRY).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), RESERVE as usize);
    }
}
