//! Counters of limits, in this process: sharded, bounded, swept.
//!
//! A limit that is full of live keys counts all further ones in one bucket: nobody is evicted, and nobody gets a fresh allowance
//! by coming under another name (hardening r39).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;

use crate::compile::LimitSpec;
use crate::observe::metrics::LimitMetrics;
use crate::policy::limit::{BucketKey, Left, LimitId, Meter, Quota, Wait};

/// The counters of one limit.
#[derive(Debug)]
pub struct Counters {
    spec: LimitSpec,
    metrics: LimitMetrics,
    /// Key → theoretical arrival time. About 50 bytes a key.
    live: DashMap<BucketKey, u64>,
    count: AtomicUsize,
    overflow: Mutex<u64>,
}

impl Counters {
    /// None counted yet.
    #[must_use]
    pub fn new(spec: LimitSpec, metrics: LimitMetrics) -> Self {
        Self {
            spec,
            metrics,
            live: DashMap::new(),
            count: AtomicUsize::new(0),
            overflow: Mutex::new(0),
        }
    }

    /// What they count.
    #[must_use]
    pub const fn spec(&self) -> &LimitSpec {
        &self.spec
    }

    /// Keys in use.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Requests refused so far.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.metrics.denied.get()
    }

    /// Forgets every key whose allowance is whole again: it counts as one never seen.
    pub fn sweep(&self, now_ns: u64) {
        self.live.retain(|_, tat| *tat > now_ns);
        self.count.store(self.live.len(), Ordering::Relaxed);
        self.metrics.keys.set(i64::try_from(self.keys()).unwrap_or(i64::MAX));
    }

    /// Applies `change` to the key's theoretical arrival time, or to the shared one's when the limit is full.
    fn with<T>(&self, key: BucketKey, change: impl FnOnce(&mut u64) -> T) -> T {
        match self.live.entry(key) {
            Entry::Occupied(mut entry) => change(entry.get_mut()),
            Entry::Vacant(entry) if self.keys() < self.spec.max_keys => {
                self.count.fetch_add(1, Ordering::Relaxed);
                change(&mut entry.insert(0))
            }
            Entry::Vacant(_) => change(&mut self.overflow.lock()),
        }
    }

    fn charge(&self, key: BucketKey, quota: &Quota, now_ns: u64) -> Result<Left, Wait> {
        let judged = self.with(key, |tat| {
            let (next, left) = quota.admit(*tat, now_ns)?;
            *tat = next;
            Ok(left)
        });
        let counted = if judged.is_ok() {
            &self.metrics.allowed
        } else {
            &self.metrics.denied
        };
        counted.inc();
        judged
    }

    fn refund(&self, key: BucketKey, quota: &Quota) {
        self.with(key, |tat| *tat = tat.saturating_sub(quota.interval_ns()));
    }

    fn peek(&self, key: BucketKey, quota: &Quota, now_ns: u64) -> Result<(), Wait> {
        let tat = match self.live.get(&key) {
            Some(tat) => *tat,
            None if self.keys() < self.spec.max_keys => return Ok(()),
            None => *self.overflow.lock(),
        };
        quota.admit(tat, now_ns).map(|_| ())
    }
}

/// The counters of a snapshot's limits, by place.
#[derive(Debug, Clone, Default)]
pub struct Meters(pub Vec<Arc<Counters>>);

impl Meters {
    fn of(&self, limit: LimitId) -> Option<&Counters> {
        self.0.get(limit.0).map(|counters| &**counters)
    }
}

/// A limit without counters cannot be: ids and counters are made together. Were it so, it would refuse.
const NO_COUNTERS: Wait = Wait(1_000_000_000);

impl Meter for Meters {
    fn charge(&self, limit: LimitId, key: BucketKey, quota: &Quota, now_ns: u64) -> Result<Left, Wait> {
        self.of(limit)
            .map_or(Err(NO_COUNTERS), |counters| counters.charge(key, quota, now_ns))
    }

    fn refund(&self, limit: LimitId, key: BucketKey, quota: &Quota) {
        if let Some(counters) = self.of(limit) {
            counters.refund(key, quota);
        }
    }

    fn peek(&self, limit: LimitId, key: BucketKey, quota: &Quota, now_ns: u64) -> Result<(), Wait> {
        self.of(limit)
            .map_or(Err(NO_COUNTERS), |counters| counters.peek(key, quota, now_ns))
    }
}
