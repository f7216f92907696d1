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
use crate::policy::limit::{BucketKey, Limit, LimitId, Meter, Quota};
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
    /// `[auth_failures]`.
    pub limit: &'g Limit,
    /// The address.
    pub key: BucketKey,
}

/// A look-up that is counted as a failure; not any more when this is dropped, unless it was one.
#[derive(Debug)]
pub(super) struct Guess {
    guesses: Arc<Guesses>,
    meters: Meters,
    limit: LimitId,
    key: BucketKey,
    quota: Quota,
    wrong: bool,
}

impl Allowance<'_> {
    /// Counts a look-up.
    ///
    /// # Errors
    /// 429: the address has failed too often.
    pub(super) async fn take(&self, clock: Clock) -> Result<Guess, Denial> {
        let quota = self.limit.plan.quota;
        loop {
            let settled = self.guesses.settled.notified();
            tokio::pin!(settled);
            // Before the look: what settles in between is not missed.
            settled.as_mut().enable();
            {
                let mut pending = self.guesses.pending.lock();
                let now_ns = clock.monotonic_ns();
                let refusal = match self.meters.peek(self.limit.id, self.key, &quota, now_ns) {
                    Ok(()) => match self.meters.charge(self.limit.id, self.key, &quota, now_ns) {
                        Ok(_) => {
                            *pending.entry(self.key).or_insert(0) += 1;
                            return Ok(self.guess(quota));
                        }
                        Err(wait) => wait,
                    },
                    Err(wait) => wait,
                };
                if !pending.contains_key(&self.key) {
                    return Err(limited(self.limit, refusal.seconds()));
                }
            }
            settled.await;
        }
    }

    fn guess(&self, quota: Quota) -> Guess {
        Guess {
            guesses: self.guesses.clone(),
            meters: self.meters.clone(),
            limit: self.limit.id,
            key: self.key,
            quota,
            wrong: false,
        }
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
            self.meters.refund(self.limit, self.key, &self.quota);
        }
        if let Some(count) = pending.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&self.key);
            }
        }
        drop(pending);
        self.guesses.settled.notify_waiters();
    }
}
