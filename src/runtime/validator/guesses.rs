//! `[auth_failures]` in front of an auth service: a look-up counts as a failure until it turns out to be none, so that a flood of
//! guesses that arrive together cannot ask more often than the limit allows.
//!
//! Somebody whose allowance is taken by look-ups still under way waits for them: only failures that were counted refuse.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::policy::denial::Denial;
use crate::policy::judge::limited;
use crate::policy::limit::{Ask, BucketKey, Charge, Limit, Meter, Wait};
use crate::runtime::clock::Clock;
use crate::runtime::meters::Meters;

/// Look-ups under way, by the address that they are for. It has as many entries as there are such look-ups.
#[derive(Debug, Default)]
pub struct Guesses {
    pending: Mutex<HashMap<BucketKey, usize>>,
    settled: Notify,
}

/// Whose failures are counted, and where.
#[derive(Clone, Copy)]
pub struct Allowance<'g> {
    /// Look-ups under way.
    pub guesses: &'g Arc<Guesses>,
    /// The counters.
    pub meters: &'g Meters,
    /// `[auth_failures]`, for one address.
    pub ask: Ask<'g>,
}

/// A look-up that is counted as a failure; not any more when this is dropped, unless it was one.
#[derive(Debug)]
pub(super) struct Guess {
    guesses: Arc<Guesses>,
    meters: Meters,
    limit: Arc<Limit>,
    charge: Charge,
    clock: Clock,
    wrong: bool,
}

impl Allowance<'_> {
    /// Counts a look-up.
    ///
    /// # Errors
    /// 429: the address has failed too often.
    pub(super) async fn take(&self, clock: Clock) -> Result<Guess, Denial> {
        loop {
            let settled = self.guesses.settled.notified();
            tokio::pin!(settled);
            // Before the look: what settles in between is not missed.
            settled.as_mut().enable();
            {
                let mut pending = self.guesses.pending.lock();
                let now_ns = clock.monotonic_ns();
                let waits = self.meters.look(&self.ask, now_ns).is_err() && pending.contains_key(&self.ask.key);
                if !waits {
                    let charge = self.count(now_ns)?;
                    *pending.entry(self.ask.key).or_insert(0) += 1;
                    return Ok(Guess {
                        guesses: self.guesses.clone(),
                        meters: self.meters.clone(),
                        limit: self.ask.limit.clone(),
                        charge,
                        clock,
                        wrong: false,
                    });
                }
            }
            settled.await;
        }
    }

    fn count(&self, now_ns: u64) -> Result<Charge, Denial> {
        let wait = match self.meters.admit(&[self.ask], now_ns) {
            Ok(grants) => match grants.into_iter().next() {
                Some(grant) => return Ok(grant.charge),
                None => Wait::UNKNOWN,
            },
            Err(refusals) => refusals.first().map_or(Wait::UNKNOWN, |(_, wait)| *wait),
        };
        Err(limited(self.ask.limit, wait.seconds()))
    }
}

impl Guess {
    /// The credential does not hold: it stays counted.
    pub(super) fn was_wrong(mut self) {
        self.wrong = true;
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        let mut pending = self.guesses.pending.lock();
        if !self.wrong {
            let now_ns = self.clock.monotonic_ns();
            self.meters.refund(&self.charge, &self.limit.plan.measure, now_ns);
        }
        if let Some(count) = pending.get_mut(&self.charge.key) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.charge.key);
            }
        }
        drop(pending);
        self.guesses.settled.notify_waiters();
    }
}
