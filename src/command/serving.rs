//! A gateway's life in this process: sockets, workers, the admin port and the control tasks; then the drain.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::AbortHandle;

use crate::admin::Admin;
use crate::config::model::Config;
use crate::proxy::worker::{self, Listener};
use crate::proxy::{listener, probe};
use crate::runtime::gateway::{Gateway, Phase};

use super::sockets::{ADMIN, Inherited};

/// Between sweeps of limits' counters; one that is full is swept more often, since newcomers share a bucket until it is not.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
const SWEEP_INTERVAL_WHEN_FULL: Duration = Duration::from_secs(1);

/// Between looks at whether this gateway is ready to take over.
const READY_LOOK: Duration = Duration::from_millis(20);

/// Between looks at whether the last connection has ended.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// A gateway that serves.
pub(super) struct Serving {
    /// The gateway.
    pub(super) gateway: Arc<Gateway>,
    /// By listener: name and bound address.
    pub(super) listeners: Vec<(String, SocketAddr)>,
    /// The admin port.
    pub(super) admin: SocketAddr,
    /// Every listening socket once more, by name: for a gateway that takes over.
    pub(super) sockets: Vec<(String, TcpListener)>,
    admin_port: AbortHandle,
    workers: Vec<JoinHandle<()>>,
}

/// To whom a gateway that drains leaves its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaving {
    /// Nobody: load balancers may need `drain_delay` to learn of it.
    ForGood,
    /// Another listens on its sockets already.
    ToSuccessor,
}

impl Serving {
    /// Learns what must be known before a request is judged, binds everything that is not `inherited`, then starts; what follows
    /// another gateway, once it is ready. On the control runtime.
    ///
    /// # Errors
    /// What could not be bound or started, by name.
    pub(super) async fn start(gateway: Arc<Gateway>, mut inherited: Inherited) -> io::Result<Self> {
        gateway.start_refreshing();
        let follows = inherited.are_served();
        let config = gateway.snapshot().config.clone();
        let admin = inherited.take(ADMIN, config.admin.address).pop();
        let admin = Admin::bind(config.admin.address, admin)
            .await
            .map_err(|error| named("admin", config.admin.address, error))?;
        let address = admin.address;
        let mut sockets = vec![(ADMIN.to_owned(), admin.socket()?)];
        let admin_port = tokio::spawn(answer_probes(admin, gateway.clone(), follows)).abort_handle();
        // A port that is not open sends a client elsewhere; one that is, by what is not known yet, would judge it wrongly.
        gateway.knows_what_is_shared().await;
        while follows && !gateway.has_tried_keys() {
            tokio::time::sleep(READY_LOOK).await;
        }
        let bound = bind(&gateway, &config, &mut inherited)?;
        inherited.close_the_rest();
        for (listener, socket) in &bound {
            sockets.push((listener.config.name.clone(), socket.try_clone()?));
        }
        let mut listeners: Vec<_> = bound
            .iter()
            .map(|(listener, _)| (listener.config.name.clone(), listener.address))
            .collect();
        listeners.dedup();
        let workers = start_workers(&gateway, bound)?;
        gateway.enter(Phase::Serving);
        tokio::spawn(sweep(gateway.clone()));
        tokio::spawn(probe::watch(gateway.clone()));
        for (name, address) in &listeners {
            tracing::info!(listener = %name, address = %address, "listening");
        }
        tracing::info!(address = %address, "admin listening");
        Ok(Self {
            gateway,
            listeners,
            admin: address,
            sockets,
            admin_port,
            workers,
        })
    }

    /// Drains: not ready, still accepting for `drain_delay`; then what is in flight may finish within `drain_timeout`.
    /// `hurry` cuts it short.
    pub(super) async fn drain(self, leaving: Leaving, hurry: impl Future<Output = ()>) {
        let server = self.gateway.snapshot().config.server.clone();
        let sockets = self.sockets;
        let calmly = async {
            match leaving {
                Leaving::ForGood => {
                    self.gateway.enter(Phase::Leaving);
                    tokio::time::sleep(server.drain_delay).await;
                }
                // The port is the successor's: a probe must not find the one that leaves.
                Leaving::ToSuccessor => self.admin_port.abort(),
            }
            self.gateway.enter(Phase::Draining);
            drop(sockets);
            let all_ended = async {
                while self.gateway.connections() > 0 {
                    tokio::time::sleep(DRAIN_LOOK).await;
                }
            };
            if tokio::time::timeout(server.drain_timeout, all_ended).await.is_err() {
                tracing::warn!(connections = self.gateway.connections(), "drain timed out");
            }
        };
        tokio::select! {
            () = calmly => {}
            () = hurry => {}
        }
        self.gateway.enter(Phase::Ended);
        for worker in self.workers {
            if worker.join().is_err() {
                tracing::error!("a worker had crashed");
            }
        }
        self.gateway.export_last_spans().await;
    }
}

/// Where another gateway answers still, a probe must not find the one that is not ready.
async fn answer_probes(admin: Admin, gateway: Arc<Gateway>, follows: bool) {
    if follows {
        gateway.reached(Phase::Serving).await;
    }
    admin.serve(gateway).await;
}

/// Each socket with its listener; those of one listener follow each other.
type Bound = Vec<(Arc<Listener>, TcpListener)>;

fn bind(gateway: &Gateway, config: &Config, inherited: &mut Inherited) -> io::Result<Bound> {
    let mut bound = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let passed = inherited.take(&listener.name, listener.address);
        let sockets = if passed.is_empty() {
            listener::bind(listener.address, gateway.workers)
        } else {
            listener::adopt(&passed, gateway.workers)
        };
        let sockets = sockets.map_err(|error| named(&listener.name, listener.address, error))?;
        let address = sockets.first().map_or(Ok(listener.address), TcpListener::local_addr)?;
        let metrics = gateway.metrics.listener(&listener.name);
        let listener = Arc::new(Listener::new(index, listener.clone(), address, metrics));
        bound.extend(sockets.into_iter().map(|socket| (listener.clone(), socket)));
    }
    Ok(bound)
}

/// Deals the sockets out: one of each listener a worker, or several, where the gateway before had more workers.
fn start_workers(gateway: &Arc<Gateway>, bound: Bound) -> io::Result<Vec<JoinHandle<()>>> {
    let mut hands: Vec<Bound> = std::iter::repeat_with(Vec::new).take(gateway.workers).collect();
    for (place, socket) in bound.into_iter().enumerate() {
        if let Some(hand) = place
            .checked_rem(gateway.workers)
            .and_then(|worker| hands.get_mut(worker))
        {
            hand.push(socket);
        }
    }
    let hands = hands.into_iter().enumerate();
    hands
        .map(|(index, hand)| worker::start(index, gateway.clone(), hand))
        .collect()
}

fn named(name: &str, address: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: cannot listen on {address}: {error}"))
}

async fn sweep(gateway: Arc<Gateway>) {
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(SWEEP_INTERVAL_WHEN_FULL).await;
        let all = last.elapsed() >= SWEEP_INTERVAL;
        if all {
            last = Instant::now();
        }
        gateway.sweep(all);
    }
}
