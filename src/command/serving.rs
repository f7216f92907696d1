//! A gateway's life in this process: sockets, workers, the admin port and the control tasks; then the drain.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::admin::Admin;
use crate::config::model::Config;
use crate::proxy::listener;
use crate::proxy::worker::{self, Listener};
use crate::runtime::gateway::{Gateway, Phase};

/// Between sweeps of limits' counters.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

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
    workers: Vec<JoinHandle<()>>,
}

impl Serving {
    /// Binds everything, then starts. On the control runtime.
    ///
    /// # Errors
    /// What could not be bound or started, by name.
    pub(super) async fn start(gateway: Gateway) -> io::Result<Self> {
        let gateway = Arc::new(gateway);
        let config = gateway.snapshot().config.clone();
        let admin = Admin::bind(config.admin.address)
            .await
            .map_err(|error| named("admin", config.admin.address, error))?;
        let (listeners, mut sockets) = bind(&gateway, &config)?;
        let mut workers = Vec::with_capacity(gateway.workers);
        for index in 0..gateway.workers {
            let own = sockets
                .iter_mut()
                .filter_map(|(listener, sockets)| Some((listener.clone(), sockets.pop()?)));
            workers.push(worker::start(index, gateway.clone(), own.collect())?);
        }
        gateway.start_refreshing();
        tokio::spawn(sweep(gateway.clone()));
        let address = admin.address;
        tokio::spawn(admin.serve(gateway.clone()));
        for (name, address) in &listeners {
            tracing::info!(listener = %name, address = %address, "listening");
        }
        tracing::info!(address = %address, "admin listening");
        Ok(Self {
            gateway,
            listeners,
            admin: address,
            workers,
        })
    }

    /// Drains: not ready, still accepting for `drain_delay`; then what is in flight may finish within `drain_timeout`.
    /// `hurry` cuts it short.
    pub(super) async fn drain(self, hurry: impl Future<Output = ()>) {
        let server = self.gateway.snapshot().config.server.clone();
        let calmly = async {
            self.gateway.enter(Phase::Leaving);
            tokio::time::sleep(server.drain_delay).await;
            self.gateway.enter(Phase::Draining);
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
    }
}

type Bound = Vec<(Arc<Listener>, Vec<std::net::TcpListener>)>;

fn bind(gateway: &Gateway, config: &Config) -> io::Result<(Vec<(String, SocketAddr)>, Bound)> {
    let mut addresses = Vec::new();
    let mut bound = Vec::new();
    for (index, listener) in config.listeners.iter().enumerate() {
        let sockets = listener::bind(listener.address, gateway.workers)
            .map_err(|error| named(&listener.name, listener.address, error))?;
        let address = sockets
            .first()
            .map_or(Ok(listener.address), std::net::TcpListener::local_addr)?;
        addresses.push((listener.name.clone(), address));
        let metrics = gateway.metrics.listener(&listener.name);
        bound.push((
            Arc::new(Listener::new(index, listener.clone(), address, metrics)),
            sockets,
        ));
    }
    Ok((addresses, bound))
}

fn named(name: &str, address: SocketAddr, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name}: cannot listen on {address}: {error}"))
}

async fn sweep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP_INTERVAL).await;
        gateway.sweep();
    }
}
