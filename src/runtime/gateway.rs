//! The running gateway: the snapshot in force, and what belongs to the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::compile::compile;
use crate::config::{ConfigErrors, Loaded, Problems};
use crate::observe::metrics::Metrics;
use crate::observe::output::Output;

use super::clock::Clock;
use super::refresh::refresh;
use super::snapshot::Snapshot;

/// The running gateway.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    /// Every metric.
    pub metrics: Metrics,
    /// Standard output.
    pub output: Output,
    /// The time.
    pub clock: Clock,
    /// Worker threads.
    pub workers: usize,
    phase: watch::Sender<Phase>,
    connections: AtomicUsize,
    reload: ArcSwap<Reload>,
}

/// How the last reload went.
#[derive(Debug, Clone, Default)]
pub struct Reload {
    /// Why it was refused.
    pub error: Option<String>,
    /// When, in seconds since the Unix epoch; `None`: there was none.
    pub unix_s: Option<i64>,
}

/// Where the process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
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
    /// Puts a first config in force.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(loaded: Loaded, metrics: Metrics, output: Output, workers: usize) -> Result<Self, ConfigErrors> {
        let clock = Clock::start();
        let snapshot = Self::compiled(loaded, None, &metrics, clock, workers)?;
        metrics
            .config_generation
            .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        Ok(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            output,
            clock,
            workers,
            phase: watch::Sender::new(Phase::Serving),
            connections: AtomicUsize::new(0),
            reload: ArcSwap::default(),
        })
    }

    fn compiled(
        loaded: Loaded,
        previous: Option<&Snapshot>,
        metrics: &Metrics,
        clock: Clock,
        workers: usize,
    ) -> Result<Snapshot, ConfigErrors> {
        let mut problems = Problems::new(loaded.sources);
        let Some(compiled) = compile(&loaded.config, &mut problems) else {
            return Err(problems.into_errors());
        };
        Ok(Snapshot::new(
            loaded.config,
            compiled,
            previous,
            metrics,
            clock,
            workers,
        ))
    }

    /// Puts another config in force, whole or not at all. What listens and how many work stays as it began.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub fn replace(&self, loaded: Loaded) -> Result<(), ConfigErrors> {
        let previous = self.snapshot.load_full();
        let snapshot = Self::compiled(loaded, Some(&previous), &self.metrics, self.clock, self.workers)?;
        self.metrics
            .config_generation
            .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        self.refresh(&snapshot, Some(&previous));
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }

    /// Notes how a reload went.
    pub fn reloaded(&self, error: Option<String>) {
        let counter = if error.is_none() {
            &self.metrics.reloads_succeeded
        } else {
            &self.metrics.reloads_failed
        };
        counter.inc();
        let unix_s = Some(self.clock.now().unix_s);
        self.reload.store(Arc::new(Reload { error, unix_s }));
    }

    /// How the last reload went.
    #[must_use]
    pub fn last_reload(&self) -> Arc<Reload> {
        self.reload.load_full()
    }

    /// Starts keeping the keys of the first config fresh; on the control runtime.
    pub fn start_refreshing(&self) {
        self.refresh(&self.snapshot.load(), None);
    }

    fn refresh(&self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        for keys in &snapshot.keys {
            let running = previous.is_some_and(|old| old.keys.iter().any(|other| Arc::ptr_eq(other, keys)));
            if !running {
                tokio::spawn(refresh(Arc::downgrade(keys)));
            }
        }
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

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

    /// Whether requests may be sent here: serving, and every issuer's keys were tried.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.phase.borrow() == Phase::Serving && self.snapshot.load().keys.iter().all(|keys| keys.tried())
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

    /// What is done again and again: forgets idle keys of limits.
    pub fn sweep(&self) {
        let now_ns = self.clock.monotonic_ns();
        for counters in &self.snapshot.load().meters.0 {
            counters.sweep(now_ns);
        }
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
