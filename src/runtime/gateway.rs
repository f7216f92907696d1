//! The running gateway: the snapshot in force, and what belongs to the process.

mod life;

use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::compile::compile;
use crate::config::model::{Config, Listener, Server};
use crate::config::{ConfigErrors, Loaded, Problems};
use crate::observe::metrics::{Configured, Metrics};
use crate::policy::authn::remote::Rules;

use super::clock::Clock;
use super::log::Log;
use super::refresh::refresh;
use super::shared_modes::SharedModes;
use super::snapshot::Snapshot;
use super::upstream::Resolver;
use super::validator::{self, Validator};

pub use life::{Connected, Phase};

/// The running gateway.
pub struct Gateway {
    snapshot: ArcSwap<Snapshot>,
    /// Every metric.
    pub metrics: Metrics,
    /// Standard output.
    pub log: Log,
    /// The time.
    pub clock: Clock,
    /// Worker threads.
    pub workers: usize,
    phase: watch::Sender<Phase>,
    connections: AtomicUsize,
    /// Once true it stays so: an issuer that a reload adds takes no traffic away.
    was_ready: AtomicBool,
    reload: ArcSwap<Reload>,
    /// Made on the control runtime, where it works.
    resolver: OnceLock<Resolver>,
    /// Modes from the store.
    pub shared_modes: SharedModes,
}

/// How the last reload went.
#[derive(Debug, Clone, Default)]
pub struct Reload {
    /// Why it was refused.
    pub error: Option<String>,
    /// When, in seconds since the Unix epoch; `None`: there was none.
    pub unix_s: Option<i64>,
}

impl Gateway {
    /// Puts a first config in force.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new(loaded: Loaded, metrics: Metrics, log: Log, workers: usize) -> Result<Self, ConfigErrors> {
        let clock = Clock::start();
        let snapshot = Self::compiled(loaded, None, &metrics, clock, workers)?;
        metrics
            .config_generation
            .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        Ok(Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            metrics,
            log,
            clock,
            workers,
            phase: watch::Sender::new(Phase::Starting),
            connections: AtomicUsize::new(0),
            was_ready: AtomicBool::new(false),
            reload: ArcSwap::default(),
            resolver: OnceLock::new(),
            shared_modes: SharedModes::default(),
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

    /// Puts another config in force, whole or not at all. What needs a restart stays as it began, and is said.
    ///
    /// # Errors
    /// Everything that is wrong with it; nothing has changed then.
    pub fn replace(&self, mut loaded: Loaded) -> Result<(), ConfigErrors> {
        let previous = self.snapshot.load_full();
        for key in keep_what_was_started(&mut loaded.config, &previous.config) {
            tracing::warn!(key = %key, "config change needs a restart");
        }
        let snapshot = Self::compiled(loaded, Some(&previous), &self.metrics, self.clock, self.workers)?;
        self.metrics
            .config_generation
            .set(i64::try_from(snapshot.generation).unwrap_or(i64::MAX));
        self.refresh(&snapshot, Some(&previous));
        self.log.apply(&snapshot.config.log);
        let snapshot = Arc::new(snapshot);
        self.snapshot.store(snapshot.clone());
        self.forget_metrics_but_of(&snapshot);
        Ok(())
    }

    /// Series of what the config no longer has would say that it is still there.
    fn forget_metrics_but_of(&self, snapshot: &Snapshot) {
        let endpoints: Vec<(&str, Vec<String>)> = snapshot
            .upstreams
            .iter()
            .map(|upstream| {
                let endpoints = upstream.endpoints.iter().map(|endpoint| endpoint.name.to_string());
                (&*upstream.spec.name, endpoints.collect())
            })
            .collect();
        self.metrics.retain(&Configured {
            routes: snapshot.policy.routes.iter().map(|route| &*route.name).collect(),
            upstreams: endpoints
                .iter()
                .map(|(name, endpoints)| (*name, endpoints.as_slice()))
                .collect(),
            limits: snapshot
                .meters
                .0
                .iter()
                .map(|counters| &*counters.spec().name)
                .collect(),
            issuers: snapshot.policy.issuers.iter().map(|issuer| &*issuer.name).collect(),
            dependencies: snapshot
                .validators
                .api_keys
                .iter()
                .map(|validator| &*validator.spec().name)
                .collect(),
            store: snapshot.store.is_some(),
            listeners: snapshot
                .config
                .listeners
                .iter()
                .map(|listener| listener.name.as_str())
                .collect(),
        });
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

    /// Starts keeping fresh what the first config needs to know of others; on the control runtime.
    pub fn start_refreshing(&self) {
        self.refresh(&self.snapshot.load(), None);
    }

    fn refresh(&self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        self.refresh_keys(snapshot, previous);
        self.keep_resolved(snapshot, previous);
        let exporting = previous.and_then(|old| old.telemetry.as_ref());
        if let Some(telemetry) = &snapshot.telemetry
            && !exporting.is_some_and(|old| Arc::ptr_eq(old, telemetry))
        {
            tokio::spawn(telemetry.clone().export());
        }
    }

    /// The names of upstreams that `previous` did not have.
    fn keep_resolved(&self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        let servers = &snapshot.config.server.nameservers;
        let resolver = self.resolver.get_or_init(|| Resolver::new(servers));
        for upstream in &snapshot.upstreams {
            let running = previous.is_some_and(|old| old.upstreams.iter().any(|other| Arc::ptr_eq(other, upstream)));
            for endpoint in upstream.endpoints.iter().filter(|_| !running) {
                if let (Some(name), Some(addresses)) = (endpoint.url.name(), &endpoint.addresses) {
                    tokio::spawn(resolver.clone().keep(name.to_owned(), Arc::downgrade(addresses)));
                }
            }
        }
    }

    fn refresh_keys(&self, snapshot: &Snapshot, previous: Option<&Snapshot>) {
        for old in previous.into_iter().flat_map(|previous| &previous.keys) {
            if !snapshot.keys.iter().any(|keys| Arc::ptr_eq(keys, old)) {
                old.retire();
            }
        }
        for keys in &snapshot.keys {
            let running = previous.is_some_and(|old| old.keys.iter().any(|other| Arc::ptr_eq(other, keys)));
            if !running {
                tokio::spawn(refresh(Arc::downgrade(keys)));
            }
        }
        if let Some(validator) = &snapshot.validators.api_keys {
            start_asking(validator);
        }
        snapshot.validators.tokens.iter().flatten().for_each(start_asking);
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Sends what waits of spans; once no request is left.
    pub async fn export_last_spans(&self) {
        if let Some(telemetry) = &self.snapshot().telemetry {
            telemetry.finish().await;
        }
    }

    /// What is done again and again: forgets idle keys of limits, of all or of those that are full.
    pub fn sweep(&self, all: bool) {
        let now_ns = self.clock.monotonic_ns();
        for counters in self
            .snapshot
            .load()
            .meters
            .0
            .iter()
            .filter(|counters| all || counters.is_full())
        {
            counters.sweep(now_ns);
        }
    }
}

/// One that was carried over is at it already.
fn start_asking<R: Rules>(validator: &Arc<Validator<R>>) {
    if let Some(queue) = validator.queue() {
        tokio::spawn(validator::serve(Arc::downgrade(validator), queue));
    }
}

/// Puts back what a running process cannot change, and names what differed: sockets are bound and threads started once. Whom a
/// listener believes is judged per request, and its certificates are shown per connection: those do change.
fn keep_what_was_started(new: &mut Config, running: &Config) -> Vec<String> {
    let mut kept = Vec::new();
    let mut keep = |key: &str, differs: bool| {
        if differs {
            kept.push(key.to_owned());
        }
    };
    let server = Server {
        use_jwt_auth: new.server.use_jwt_auth,
        ..running.server.clone()
    };
    keep("server", new.server != server);
    keep("admin", new.admin != running.admin);
    let is_known = |listener: &Listener| running.listeners.iter().any(|known| known.name == listener.name);
    for added in new.listeners.iter().filter(|listener| !is_known(listener)) {
        keep(&format!("listeners.{}", added.name), true);
    }
    // INVARIANT: a running socket finds its routes by the listener's place, which therefore never changes.
    let mut listeners = running.listeners.clone();
    for listener in &mut listeners {
        let Some(changed) = new.listeners.iter().find(|changed| changed.name == listener.name) else {
            keep(&format!("listeners.{}", listener.name), true);
            continue;
        };
        listener.trusted_proxies.clone_from(&changed.trusted_proxies);
        listener.client_address_from = changed.client_address_from;
        listener.certificates.clone_from(&changed.certificates);
        listener.client_auth.clone_from(&changed.client_auth);
        keep(&format!("listeners.{}", listener.name), listener != changed);
    }
    new.server = server;
    new.admin = running.admin.clone();
    new.listeners = listeners;
    kept
}
