//! The sliding window: never more than so many in any window of that length, to the letter. Pure; depends on `quota` only.
//!
//! It remembers when each unit was taken. That is exact, and as large as the count; so above [`EXACT`] a window, units of one step
//! (the window's 128th part) are remembered as one, as if all of them were taken with the last: a place may come free that much
//! later than it could, never sooner.

use std::collections::VecDeque;

use super::quota::{Left, Quota, Wait};

/// Up to so many a window each is remembered by itself; above, so many steps are. A full key is 2 KiB at most.
const EXACT: u32 = 128;

/// Units taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    /// When the last of them was taken.
    at_ns: u64,
    count: u32,
}

/// What one caller took in the last window.
#[derive(Debug, Default)]
pub struct Window {
    /// Oldest first. INVARIANT: times do not decrease, counts are not 0, `total` is their sum.
    runs: VecDeque<Run>,
    total: u64,
    /// From then on it is as one never used.
    idle_ns: u64,
}

impl Window {
    /// Whether forgetting it changes nothing.
    #[must_use]
    pub const fn is_idle(&self, now_ns: u64) -> bool {
        self.idle_ns <= now_ns
    }

    /// Takes `cost` units, and tells when they count as taken. 0 asks whether one could be taken, and takes none.
    ///
    /// # Errors
    /// How long until the request would be admitted.
    pub fn admit(&mut self, quota: &Quota, cost: u32, now_ns: u64) -> Result<(u64, Left), Wait> {
        let cost = u64::from(cost);
        let taken = self.taken(quota, now_ns);
        let over = (taken + cost.max(1)).saturating_sub(u64::from(quota.count));
        if over > 0 {
            return Err(self.until_free(quota, over, now_ns));
        }
        let at_ns = self.take(quota, cost, now_ns);
        let Wait(until_next) = self.until_free(quota, 1, now_ns);
        Ok((at_ns, Self::left(quota, taken + cost, until_next)))
    }

    /// What is left when so many units are taken, and the first of them is over in so much time.
    #[must_use]
    pub fn left(quota: &Quota, taken: u64, until_next_ns: u64) -> Left {
        let remaining = u64::from(quota.count).saturating_sub(taken);
        Left::lasting(remaining, until_next_ns, remaining.saturating_mul(quota.interval_ns()))
    }

    /// Units taken within one step of this length, in nanoseconds, are one run.
    #[must_use]
    pub fn step_ns(quota: &Quota) -> u64 {
        if quota.count > EXACT {
            (quota.window_ns() / u64::from(EXACT)).max(1)
        } else {
            1
        }
    }

    /// Notes units that nobody could ask for before: the window may then hold more than its count.
    pub fn spend(&mut self, quota: &Quota, amount: u32, now_ns: u64) {
        self.taken(quota, now_ns);
        self.take(quota, u64::from(amount), now_ns);
    }

    /// Gives one unit back that counts as taken at `at_ns`; one that is over already is not there any more.
    pub fn refund(&mut self, quota: &Quota, at_ns: u64) {
        // A run's time only moves on, within its step: the unit is in the first one that is not before it, if in any.
        let place = self.runs.partition_point(|run| run.at_ns < at_ns);
        let step = Self::step_ns(quota);
        let Some(run) = self.runs.get_mut(place).filter(|run| run.at_ns / step == at_ns / step) else {
            return;
        };
        run.count -= 1;
        self.total -= 1;
        if run.count == 0 {
            self.runs.remove(place);
        }
    }

    /// Forgets what is over; what is left is what counts now.
    fn taken(&mut self, quota: &Quota, now_ns: u64) -> u64 {
        while let Some(run) = self.runs.front().filter(|run| is_over(run, quota, now_ns)) {
            self.total -= u64::from(run.count);
            self.runs.pop_front();
        }
        self.total
    }

    fn take(&mut self, quota: &Quota, units: u64, now_ns: u64) -> u64 {
        let Some(count) = u32::try_from(units).ok().filter(|count| *count > 0) else {
            return now_ns;
        };
        // Workers read the clock before they come here, so that one may be a little late.
        let at_ns = self.runs.back().map_or(now_ns, |last| last.at_ns.max(now_ns));
        self.total += units;
        self.idle_ns = self.idle_ns.max(at_ns.saturating_add(quota.window_ns()));
        let step = Self::step_ns(quota);
        match self.runs.back_mut() {
            Some(last) if last.at_ns / step == at_ns / step => {
                last.at_ns = at_ns;
                last.count = last.count.saturating_add(count);
            }
            _ => self.runs.push_back(Run { at_ns, count }),
        }
        at_ns
    }

    /// Until so many units more are free, of those that count; a whole window where none is taken.
    fn until_free(&self, quota: &Quota, units: u64, now_ns: u64) -> Wait {
        let mut freed = 0;
        let run = self.runs.iter().find(|run| {
            freed += u64::from(run.count);
            freed >= units
        });
        let free_ns = run.map_or(now_ns, |run| run.at_ns).saturating_add(quota.window_ns());
        Wait(free_ns.saturating_sub(now_ns))
    }
}

/// A unit that was taken at `t` does not count at `t + window`: that window begins after it.
const fn is_over(run: &Run, quota: &Quota, now_ns: u64) -> bool {
    run.at_ns.saturating_add(quota.window_ns()) <= now_ns
}

#[cfg(test)]
mod tests;
