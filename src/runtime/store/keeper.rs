//! Keeps the store connected: the only one who waits for a store that is away.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::{Kept, Link, StoreError};

/// Between two looks at a store that nobody complained about.
const LOOK: Duration = Duration::from_secs(1);

/// Before the first attempt to connect again; doubled with each that fails.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Between attempts at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Starts a thread that keeps `kept` connected until `ended`, and runs what else is spawned on its runtime.
pub(super) fn start(kept: Arc<Kept>, ended: oneshot::Receiver<()>) -> Option<Handle> {
    let started = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .and_then(|runtime| {
            let handle = runtime.handle().clone();
            let watched = kept.clone();
            let work = move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = keep(&watched) => {}
                        _dropped = ended => {}
                    }
                });
                watched.link.store(None);
            };
            std::thread::Builder::new().name("redis".to_owned()).spawn(work)?;
            Ok(handle)
        });
    match started {
        Ok(handle) => Some(handle),
        Err(error) => {
            kept.is_away(&StoreError::Broken(error.to_string()));
            None
        }
    }
}

async fn keep(kept: &Kept) {
    let mut pause = FIRST_PAUSE;
    loop {
        let reason = match Link::open(&kept.spec.servers).await {
            Ok(link) => {
                pause = FIRST_PAUSE;
                watch(kept, &link).await
            }
            Err(error) => error,
        };
        kept.is_away(&reason);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Lets requests use the connection for as long as it answers; then, why it does not.
///
/// One that answers the keeper and not requests is given back less and less often: a part of a Cluster may hang that the keeper
/// does not see, and each request that finds out has waited.
async fn watch(kept: &Kept, link: &Link) -> StoreError {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Err(error) = link.ping(kept.spec.timeout).await {
            return error;
        }
        kept.is_up(link);
        tokio::select! {
            () = kept.suspected.notified() => {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            () = tokio::time::sleep(LOOK) => pause = FIRST_PAUSE,
        }
    }
}

impl Kept {
    fn is_up(&self, link: &Link) {
        self.metrics.up.set(1);
        if self.link.load().is_none() {
            self.link.store(Some(Arc::new(link.clone())));
        }
        if !self.error.load().is_empty() {
            self.error.store(Arc::default());
            tracing::info!("Redis connected");
        }
        let _ = self.tried.set(());
    }

    fn is_away(&self, reason: &StoreError) {
        self.link.store(None);
        self.metrics.up.set(0);
        let reason = reason.to_string();
        // Said once for each reason, not at each attempt.
        if *self.error.load_full() != reason {
            tracing::warn!(reason = %reason, "Redis unavailable");
            self.error.store(Arc::new(reason));
        }
        let _ = self.tried.set(());
    }
}
