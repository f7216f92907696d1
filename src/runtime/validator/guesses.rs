//! `[auth_failures]` in front of an auth service: each look-up takes a place in its address' allowance until it turns out to be no
//! failure, so that a flood of guesses that arrive together cannot ask more often than the limit allows.
//!
//! Somebody whose places are taken by look-ups still under way waits for them: only failures that were counted refuse.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::policy::denial::Denial;
use crate::policy::judge::limited;
use crate::policy::limit::{Ask, BucketKey, Limit, Meter};
use crate::runtime::clock::Clock;
use crate::runtime::meters::Meters;

/// Look-ups under way, by the address that they are for. It has as many entries as there are such look-ups.
#[derive(Debug, Default)]
pub struct Guesses {
    pending: Mutex<HashMap<BucketKey, u32>>,
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

/// A look-up that may turn out to be a failure: until this is dropped its place in the allowance is taken.
#[derive(Debug)]
pub(super) struct Guess {
    guesses: Arc<Guesses>,
    meters: Meters,
    limit: Arc<Limit>,
    key: BucketKey,
    clock: Clock,
}

impl Allowance<'_> {
    /// Takes a place in the allowance, as soon as there is one or there is none to wait for.
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
                let others = pending.get(&self.ask.key).copied().unwrap_or(0);
                let left = self.meters.look(&self.ask, clock.monotonic_ns());
                match left {
                    Ok(left) if left.remaining > others => {
                        pending.insert(self.ask.key, others.saturating_add(1));
                        return Ok(Guess {
                            guesses: self.guesses.clone(),
                            meters: self.meters.clone(),
                            limit: self.ask.limit.clone(),
                            key: self.ask.key,
                            clock,
                        });
                    }
                    Err(wait) if others == 0 => {
                        // The refusal is to be seen in the limit's metrics.
                        let _ = self.meters.peek(&self.ask, clock.monotonic_ns());
                        return Err(limited(self.ask.limit, wait.seconds()));
                    }
                    Ok(_) | Err(_) => {}
                }
            }
            settled.await;
        }
    }
}

impl Guess {
    /// The credential does not hold: it is counted. The place was kept for it.
    pub(super) fn was_wrong(self) {
        let ask = Ask {
            limit: &self.limit,
            plan: &self.limit.plan,
            key: self.key,
        };
        // Counted it is; that there was place for it was seen before.
        let _ = self.meters.admit(&[ask], self.clock.monotonic_ns());
    }
}

impl Drop for Guess {
    fn drop(&mut self) {
        let mut pending = self.guesses.pending.lock();
        match pending.get_mut(&self.key) {
            Some(others) if *others > 1 => *others -= 1,
            Some(_) => {
                pending.remove(&self.key);
            }
            None => {}
        }
        drop(pending);
        self.guesses.settled.notify_waiters();
    }
}
