//! Counters of limits, in this process and, in `store`, of several together. The arithmetic is `policy::limit`'s; here is the
//! memory of it.

mod store;
mod table;

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};

use crate::compile::LimitSpec;
use crate::observe::metrics::LimitMetrics;
use crate::policy::digest::key_of;
use crate::policy::limit::{Answer, Ask, Charge, Grant, Left, LimitId, Measure, Meter, Place, Wait, Window, in_flight};

use super::store::Store;
use store::Shared;
use table::Table;

/// The counters of one limit.
#[derive(Debug)]
pub struct Counters {
    spec: LimitSpec,
    metrics: LimitMetrics,
    /// Here, also while the store is away.
    tally: Tally,
    /// In the store.
    shared: Option<Shared>,
}

/// What is remembered of a key.
#[derive(Debug)]
enum Tally {
    /// Theoretical arrival times.
    Arrivals(Table<u64>),
    /// What was taken in the last window.
    Windows(Table<Window>),
    /// Requests in flight.
    InFlight(Table<u32>),
}

impl Counters {
    /// None counted yet; `store` is where limits count that gateways share.
    #[must_use]
    pub fn new(spec: LimitSpec, metrics: LimitMetrics, store: Option<&Arc<Store>>) -> Self {
        let tally = match spec.rate {
            Measure::Gcra(_) => Tally::Arrivals(Table::new(spec.max_keys)),
            Measure::SlidingWindow(_) => Tally::Windows(Table::new(spec.max_keys)),
            Measure::Concurrent(_) => Tally::InFlight(Table::new(spec.max_keys)),
        };
        let shared = spec.in_store.zip(store).map(|(on_error, store)| {
            let meaning = key_of(spec.meaning().as_bytes());
            Shared::new(store.clone(), on_error, &spec.name, meaning)
        });
        Self {
            spec,
            metrics,
            tally,
            shared,
        }
    }

    /// What they count.
    #[must_use]
    pub const fn spec(&self) -> &LimitSpec {
        &self.spec
    }

    /// Whether these are the counts of `spec`, kept in `store` if it says so.
    #[must_use]
    pub(super) fn are_of(&self, spec: &LimitSpec, store: Option<&Arc<Store>>) -> bool {
        self.spec == *spec && self.shared.as_ref().is_none_or(|shared| shared.is_in(store))
    }

    /// Keys in use.
    #[must_use]
    pub fn keys(&self) -> usize {
        match &self.tally {
            Tally::Arrivals(table) => table.len(),
            Tally::Windows(table) => table.len(),
            Tally::InFlight(table) => table.len(),
        }
    }

    /// Whether further keys share one bucket.
    #[must_use]
    pub(super) fn is_full(&self) -> bool {
        self.keys() >= self.spec.max_keys
    }

    /// Sets the gauge of keys in use; to be called before metrics are read.
    pub fn measure(&self) {
        self.metrics.keys.set(i64::try_from(self.keys()).unwrap_or(i64::MAX));
    }

    /// Requests let pass so far.
    #[must_use]
    pub fn allowed(&self) -> u64 {
        self.metrics.allowed.get()
    }

    /// Requests refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.metrics.denied.get()
    }

    /// Forgets every key whose allowance is whole again: it counts as one never seen.
    pub fn sweep(&self, now_ns: u64) {
        match &self.tally {
            Tally::Arrivals(table) => table.sweep(|tat| *tat <= now_ns),
            Tally::Windows(table) => table.sweep(|window| window.is_idle(now_ns)),
            Tally::InFlight(table) => table.sweep(|running| *running == 0),
        }
    }

    fn charge(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Grant, Wait> {
        let (key, cost) = (ask.key, ask.cost());
        let (judged, overflow) = match (&self.tally, &ask.plan.measure) {
            (Tally::Arrivals(table), Measure::Gcra(quota)) => table.with(key, |tat| {
                let (next, left) = quota.admit(*tat, cost, now_ns)?;
                *tat = next;
                Ok((now_ns, left))
            }),
            (Tally::Windows(table), Measure::SlidingWindow(quota)) => {
                table.with(key, |window| window.admit(quota, cost, now_ns))
            }
            (Tally::InFlight(table), Measure::Concurrent(most)) => table.with(key, |running| {
                let left = in_flight(*most, *running, cost)?;
                *running += cost;
                Ok((now_ns, left))
            }),
            (Tally::Arrivals(_) | Tally::Windows(_) | Tally::InFlight(_), _) => return Err(MISMATCH),
        };
        let (at_ns, left) = judged?;
        let charge = Charge {
            limit: ask.limit.id,
            key,
            at_ns,
            place: if overflow { Place::Overflow } else { Place::Own },
        };
        Ok(Grant { charge, left })
    }

    fn peek(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Left, Wait> {
        match (&self.tally, &ask.plan.measure) {
            (Tally::Arrivals(table), Measure::Gcra(quota)) => {
                table.look(ask.key, |tat| quota.admit(*tat, 0, now_ns).map(|(_, left)| left))
            }
            (Tally::Windows(table), Measure::SlidingWindow(quota)) => {
                table.look(ask.key, |window| window.admit(quota, 0, now_ns).map(|(_, left)| left))
            }
            (Tally::InFlight(table), Measure::Concurrent(most)) => {
                table.look(ask.key, |running| in_flight(*most, *running, 0))
            }
            (Tally::Arrivals(_) | Tally::Windows(_) | Tally::InFlight(_), _) => Err(MISMATCH),
        }
    }

    fn refund(&self, charge: &Charge, measure: &Measure, now_ns: u64) {
        let (key, at_ns) = (charge.key, charge.at_ns);
        let shared = match charge.place {
            Place::Own => false,
            Place::Overflow => true,
            Place::Store => {
                return self.in_store(|shared| shared.later("refund", charge, measure, at_ns / 1000));
            }
            Place::Nowhere => return,
        };
        match (&self.tally, measure) {
            (Tally::Arrivals(table), Measure::Gcra(quota)) => {
                table.again(key, shared, |tat| *tat = quota.refund(*tat, at_ns, now_ns));
            }
            (Tally::Windows(table), Measure::SlidingWindow(quota)) => {
                table.again(key, shared, |window| window.refund(quota, at_ns));
            }
            (Tally::InFlight(table), Measure::Concurrent(_)) => {
                table.again(key, shared, |running| *running = running.saturating_sub(1));
                table.forget(key, |running| *running == 0);
            }
            (Tally::Arrivals(_) | Tally::Windows(_) | Tally::InFlight(_), _) => {}
        }
    }

    fn spend(&self, charge: &Charge, measure: &Measure, amount: u32, now_ns: u64) {
        match charge.place {
            Place::Own | Place::Overflow => {}
            Place::Store => return self.in_store(|shared| shared.later("spend", charge, measure, amount.into())),
            Place::Nowhere => return,
        }
        match (&self.tally, measure) {
            (Tally::Arrivals(table), Measure::Gcra(quota)) => {
                table.with(charge.key, |tat| *tat = quota.spend(*tat, amount, now_ns));
            }
            (Tally::Windows(table), Measure::SlidingWindow(quota)) => {
                table.with(charge.key, |window| window.spend(quota, amount, now_ns));
            }
            (Tally::Arrivals(_) | Tally::Windows(_) | Tally::InFlight(_), _) => {}
        }
    }

    fn in_store(&self, tell: impl FnOnce(&Shared)) {
        if let Some(shared) = &self.shared {
            tell(shared);
        }
    }
}

/// Plans and counters of a limit are made together and measure alike. Were it otherwise, they would refuse.
const MISMATCH: Wait = Wait::UNKNOWN;

/// The counters of a snapshot's limits, by place.
#[derive(Debug, Clone, Default)]
pub struct Meters(pub Vec<Arc<Counters>>);

impl Meters {
    fn of(&self, limit: LimitId) -> Option<&Counters> {
        self.0.get(limit.0).map(|counters| &**counters)
    }

    fn charge(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Grant, Wait> {
        self.of(ask.limit.id)
            .map_or(Err(MISMATCH), |counters| counters.charge(ask, now_ns))
    }

    /// Tells the metrics what came of a request's limits: all let it pass, or those that are named did not.
    fn count(&self, asks: &[Ask<'_>], answer: &Answer) {
        let counters = |ask: &Ask<'_>| self.of(ask.limit.id);
        match answer {
            Ok(_) => asks.iter().filter_map(counters).for_each(|of| of.metrics.allowed.inc()),
            Err(refusals) => refusals
                .iter()
                .filter_map(|(place, _)| counters(asks.get(*place)?))
                .for_each(|of| of.metrics.denied.inc()),
        }
    }

    fn judge(&self, asks: &[Ask<'_>], now_ns: u64) -> Answer {
        // Of several limits none may be charged, not even for a moment, if another refuses: somebody else could miss that place.
        if asks.len() > 1 {
            let judged = asks.iter().enumerate();
            let refusals: SmallVec<_> = judged
                .filter_map(|(place, ask)| Some((place, self.look(ask, now_ns).err()?)))
                .collect();
            if !refusals.is_empty() {
                return Err(refusals);
            }
        }
        let mut grants: SmallVec<[Grant; 2]> = SmallVec::new();
        for (place, ask) in asks.iter().enumerate() {
            match self.charge(ask, now_ns) {
                Ok(grant) => grants.push(grant),
                // Another worker was faster.
                Err(wait) => {
                    for (ask, grant) in asks.iter().zip(&grants) {
                        self.refund(&grant.charge, &ask.plan.measure, now_ns);
                    }
                    return Err(smallvec![(place, wait)]);
                }
            }
        }
        Ok(grants)
    }

    /// Judges without counting anything, in metrics neither.
    pub(super) fn look(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Left, Wait> {
        self.of(ask.limit.id)
            .map_or(Err(MISMATCH), |counters| counters.peek(ask, now_ns))
    }
}

impl Meter for Meters {
    fn admit(&self, asks: &[Ask<'_>], now_ns: u64) -> Answer {
        let answer = self.judge(asks, now_ns);
        self.count(asks, &answer);
        answer
    }

    fn peek(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Left, Wait> {
        let judged = self.look(ask, now_ns);
        if judged.is_err()
            && let Some(counters) = self.of(ask.limit.id)
        {
            counters.metrics.denied.inc();
        }
        judged
    }

    fn refund(&self, charge: &Charge, measure: &Measure, now_ns: u64) {
        if let Some(counters) = self.of(charge.limit) {
            counters.refund(charge, measure, now_ns);
        }
    }

    fn spend(&self, charge: &Charge, measure: &Measure, amount: u32, now_ns: u64) {
        if let Some(counters) = self.of(charge.limit) {
            counters.spend(charge, measure, amount, now_ns);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
