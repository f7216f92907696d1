//! A bounded table of counts: sharded, and when it is full of live keys all further ones share one place.
//!
//! Nobody is evicted, and nobody gets a fresh allowance by coming under another name (hardening r39). Depends on `policy` for keys.

use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;

use crate::policy::limit::BucketKey;

/// Counts by key.
#[derive(Debug)]
pub(super) struct Table<S> {
    live: DashMap<BucketKey, S>,
    /// INVARIANT: at least the length of `live`, and never above `most`.
    count: AtomicUsize,
    most: usize,
    /// Where keys count that find no place.
    overflow: Mutex<S>,
}

impl<S: Default> Table<S> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            live: DashMap::new(),
            count: AtomicUsize::new(0),
            most,
            overflow: Mutex::default(),
        }
    }

    /// Keys in use.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether further keys find no place.
    pub(super) fn is_full(&self) -> bool {
        self.len() >= self.most
    }

    /// Changes the count of a key, and tells whether that was the shared one.
    pub(super) fn with<T>(&self, key: BucketKey, change: impl FnOnce(&mut S) -> T) -> (T, bool) {
        match self.live.entry(key) {
            Entry::Occupied(mut entry) => (change(entry.get_mut()), false),
            Entry::Vacant(entry) if self.takes_one_more() => (change(&mut entry.insert(S::default())), false),
            Entry::Vacant(_) => (change(&mut self.overflow.lock()), true),
        }
    }

    /// Looks at the count of a key, and makes no place for it.
    pub(super) fn look<T>(&self, key: BucketKey, look: impl FnOnce(&mut S) -> T) -> T {
        match self.live.get_mut(&key) {
            Some(mut state) => look(&mut state),
            None if !self.is_full() => look(&mut S::default()),
            None => look(&mut self.overflow.lock()),
        }
    }

    /// Changes the count where it was changed before; one that was forgotten since was idle, and needs no change.
    pub(super) fn again(&self, key: BucketKey, shared: bool, change: impl FnOnce(&mut S)) {
        if shared {
            change(&mut self.overflow.lock());
        } else if let Some(mut state) = self.live.get_mut(&key) {
            change(&mut state);
        }
    }

    /// Forgets a key, if it is idle.
    pub(super) fn forget(&self, key: BucketKey, is_idle: impl FnOnce(&S) -> bool) {
        if self.live.remove_if(&key, |_, state| is_idle(state)).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets every idle key: it counts as one never seen.
    pub(super) fn sweep(&self, is_idle: impl Fn(&S) -> bool) {
        let mut gone = 0;
        self.live.retain(|_, state| {
            let idle = is_idle(state);
            gone += usize::from(idle);
            !idle
        });
        self.count.fetch_sub(gone, Ordering::Relaxed);
    }

    fn takes_one_more(&self) -> bool {
        let below = |count| (count < self.most).then_some(count + 1);
        self.count
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, below)
            .is_ok()
    }
}
