//! The life of the process: its phases, what it waits for before it serves, when it is ready, and the connections that it still has.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Gateway;

/// A store that hangs holds the first connection up for this long at most, as an issuer does readiness.
const SHARED_PATIENCE: Duration = Duration::from_secs(5);

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Learns what it must know first; nothing is accepted yet.
    Starting,
    /// Serves.
    Serving,
    /// Told to stop: not ready any more, still accepting.
    Leaving,
    /// Accepts nothing; what is in flight may finish.
    Draining,
    /// Ends what is left.
    Ended,
}

impl Gateway {
    /// Moves on in life; never back.
    pub fn enter(&self, phase: Phase) {
        self.phase.send_if_modified(|current| {
            let later = phase > *current;
            if later {
                *current = phase;
            }
            later
        });
    }

    /// Waits until the process has come that far in its life.
    pub async fn reached(&self, phase: Phase) {
        // The sender is ours: it cannot be gone.
        let _ = self.phase.subscribe().wait_for(|current| *current >= phase).await;
    }

    /// Whether the process has come that far in its life.
    #[must_use]
    pub fn has_reached(&self, phase: Phase) -> bool {
        *self.phase.borrow() >= phase
    }

    /// Waits until this gateway judges by what it shares with others, the modes of routes and what is revoked, or cannot.
    ///
    /// INVARIANT: what runs `shared_modes::keep` and follows `shared_modes.changed` runs already.
    pub async fn knows_what_is_shared(&self) {
        let snapshot = self.snapshot();
        if snapshot.store.is_none() {
            return;
        }
        let known = async {
            self.shared_modes.looked().await;
            if let Some(revocations) = &snapshot.revocations {
                revocations.tried().await;
            }
        };
        if tokio::time::timeout(SHARED_PATIENCE, known).await.is_err() {
            tracing::warn!("Redis takes too long: serving without what gateways share");
        }
    }

    /// Whether requests may be sent here: serving, and every issuer's keys were tried.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Serving && self.has_tried_keys()
    }

    /// Whether every issuer's keys were tried.
    #[must_use]
    pub fn has_tried_keys(&self) -> bool {
        if !self.was_ready.load(Ordering::Relaxed) {
            let tried = self.snapshot.load().keys.iter().all(|keys| keys.tried());
            self.was_ready.store(tried, Ordering::Relaxed);
        }
        self.was_ready.load(Ordering::Relaxed)
    }

    /// Counts a connection in.
    #[must_use]
    pub fn connected(self: &Arc<Self>) -> Connected {
        self.connections.fetch_add(1, Ordering::AcqRel);
        Connected { gateway: self.clone() }
    }

    /// Connections and tunnels that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Acquire)
    }
}

/// An open connection, counted out when dropped.
pub struct Connected {
    gateway: Arc<Gateway>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gateway.connections.fetch_sub(1, Ordering::AcqRel);
    }
}
