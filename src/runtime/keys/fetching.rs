//! Who waits for a fetch of an issuer's keys, and who may ask for one: all wait for the same one, and strangers buy one in
//! [`REFETCH_PAUSE`] at most.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

/// Between two fetches that unknown key ids ask for.
pub(in crate::runtime) const REFETCH_PAUSE: Duration = Duration::from_secs(10);

/// The fetches of one issuer's keys.
#[derive(Debug)]
pub(super) struct Fetching {
    /// Counts finished fetches, good or bad.
    finished: watch::Sender<u64>,
    /// INVARIANT: changed together with `finished`, under this lock.
    state: Mutex<State>,
    /// Somebody asks the refresher for a fetch.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// A fetch is under way or was asked for.
    under_way: bool,
    /// When somebody last asked for one.
    asked_ns: Option<u64>,
}

impl Fetching {
    /// After so many that a predecessor finished.
    pub(super) fn after(finished: u64) -> Self {
        Self {
            finished: watch::Sender::new(finished),
            state: Mutex::default(),
            wanted: Notify::new(),
        }
    }

    pub(super) fn finished(&self) -> u64 {
        *self.finished.borrow()
    }

    pub(super) fn begin(&self) {
        self.state.lock().under_way = true;
    }

    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.under_way = false;
        self.finished.send_modify(|count| *count += 1);
    }

    /// Waits until somebody asks for a fetch.
    pub(super) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Waits, up to `patience`, for a fetch that ends after the first `seen`; asks for one at `ask_at_ns` if none is under way
    /// and the last one that was asked for is long enough ago. `false`: there is none to wait for, or it took too long.
    pub(super) async fn again(&self, seen: u64, ask_at_ns: Option<u64>, patience: Duration) -> bool {
        let mut finished = self.finished.subscribe();
        {
            let mut state = self.state.lock();
            if *finished.borrow_and_update() != seen {
                // It came between the judgement and the question.
                return true;
            }
            if let Some(now_ns) = ask_at_ns.filter(|now_ns| state.may_ask(*now_ns)) {
                state.under_way = true;
                state.asked_ns = Some(now_ns);
                self.wanted.notify_one();
            }
            // The first fetch is about to begin, if it has not.
            if !state.under_way && seen > 0 {
                return false;
            }
        }
        let next = tokio::time::timeout(patience, finished.changed()).await;
        next.is_ok_and(|changed| changed.is_ok())
    }
}

impl State {
    fn may_ask(&self, now_ns: u64) -> bool {
        let since = |asked_ns| Duration::from_nanos(now_ns.saturating_sub(asked_ns));
        !self.under_way && self.asked_ns.is_none_or(|asked_ns| since(asked_ns) >= REFETCH_PAUSE)
    }
}
