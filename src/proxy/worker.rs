//! A worker: a thread with a runtime of its own, its listening sockets and its connections. Workers share no queue and no lock.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config::model;
use crate::observe::metrics::{ListenerMetrics, Refused};
use crate::observe::output::LineBuffer;
use crate::protocol::downstream::Limits;
use crate::runtime::gateway::{Gateway, Phase};

use super::arrival;

/// Between closings of upstream connections that were idle for too long.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// After an accept failed for want of descriptors, so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The longest request target, in bytes.
const MAX_TARGET_BYTES: usize = 16 * 1024;

/// TLS handshakes under way at one listener; each may hold 64 KiB of what a stranger sends (hardening r38).
const MAX_HANDSHAKES: usize = 4096;

/// Polls of tasks after which a worker looks what has come, though not all are done. tokio's 61 would cut a turn in pieces (ADR 16)
/// wherever more connections than that are at work; a poll takes microseconds, so nothing waits for more than about one millisecond.
const POLLS_BETWEEN_EVENTS: u32 = 256;

/// What a worker's connections share.
pub struct Worker {
    /// Its place.
    pub index: usize,
    /// The gateway.
    pub gateway: Arc<Gateway>,
    /// Its lines on their way to standard output.
    pub lines: LineBuffer,
}

/// A listener, shared by the workers.
#[derive(Debug)]
pub struct Listener {
    /// Its place in the config.
    pub index: usize,
    /// As configured at the start.
    pub config: model::Listener,
    /// Where it is bound.
    pub address: SocketAddr,
    /// Its metrics.
    pub metrics: ListenerMetrics,
    /// Places for TLS handshakes under way.
    pub handshakes: Semaphore,
    connections: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

impl Listener {
    /// No connection yet.
    #[must_use]
    pub fn new(index: usize, config: model::Listener, address: SocketAddr, metrics: ListenerMetrics) -> Self {
        Self {
            index,
            config,
            address,
            metrics,
            handshakes: Semaphore::new(MAX_HANDSHAKES),
            connections: AtomicUsize::new(0),
            by_address: Mutex::default(),
        }
    }

    /// Limits of a request head.
    #[must_use]
    pub fn head_limits(&self) -> Limits {
        Limits {
            max_head_bytes: self.config.max_header_bytes,
            max_target_bytes: MAX_TARGET_BYTES.min(self.config.max_header_bytes),
            header_timeout: self.config.header_timeout,
            idle_timeout: self.config.idle_timeout,
        }
    }

    /// A place for a connection from `peer`; of one that speaks `for_others` the address is not counted.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn admit(self: &Arc<Self>, peer: IpAddr, for_others: bool) -> Result<Admitted, Refused> {
        let mut admitted = Admitted {
            listener: self.clone(),
            peer,
            counted: false,
        };
        // Counted first: dropping `admitted` counts it out again.
        self.metrics.connections.inc();
        if self.connections.fetch_add(1, Ordering::AcqRel) >= self.config.max_connections {
            return Err(Refused::MaxConnections);
        }
        if !for_others {
            admitted.count()?;
        }
        Ok(admitted)
    }
}

/// A connection's place at its listener.
#[derive(Debug)]
pub struct Admitted {
    /// The listener.
    pub listener: Arc<Listener>,
    /// The other end, or whom it says that it speaks for.
    pub peer: IpAddr,
    /// It counts at its address.
    counted: bool,
}

impl Admitted {
    /// It is `client`'s connection, which a proxy hands on.
    ///
    /// # Errors
    /// The bound that is reached.
    pub fn stands_for(&mut self, client: IpAddr) -> Result<(), Refused> {
        self.peer = client;
        self.count()
    }

    fn count(&mut self) -> Result<(), Refused> {
        let bound = self.listener.config.max_connections_per_address;
        if bound == 0 {
            return Ok(());
        }
        self.counted = true;
        let mut by_address = self.listener.by_address.lock();
        let count = by_address.entry(self.peer).or_default();
        *count += 1;
        if *count > bound {
            return Err(Refused::MaxConnectionsPerAddress);
        }
        Ok(())
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.listener.metrics.connections.dec();
        self.listener.connections.fetch_sub(1, Ordering::AcqRel);
        if self.counted {
            let mut by_address = self.listener.by_address.lock();
            if let Some(count) = by_address.get_mut(&self.peer) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    by_address.remove(&self.peer);
                }
            }
        }
    }
}

/// Starts a worker's thread. It ends when the gateway's life does, or when its last connection has.
///
/// # Errors
/// The thread or its runtime could not be made.
pub fn start(
    index: usize,
    gateway: Arc<Gateway>,
    sockets: Vec<(Arc<Listener>, std::net::TcpListener)>,
) -> io::Result<JoinHandle<()>> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().event_interval(POLLS_BETWEEN_EVENTS).build()?;
    let lines = gateway.log.buffer();
    let worker = Arc::new(Worker { index, gateway, lines });
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            runtime.block_on(work(worker, sockets));
        })
}

async fn work(worker: Arc<Worker>, sockets: Vec<(Arc<Listener>, std::net::TcpListener)>) {
    for (listener, socket) in sockets {
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                tokio::spawn(accept(worker.clone(), listener, socket));
            }
            Err(error) => tracing::error!(listener = %listener.config.name, error = %error, "listening failed"),
        }
    }
    let mut sweep = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        tokio::select! {
            _ = sweep.tick() => {
                for upstream in &worker.gateway.snapshot().upstreams {
                    upstream.sweep(worker.index);
                }
            }
            () = worker.gateway.reached(Phase::Ended) => return,
        }
    }
}

async fn accept(worker: Arc<Worker>, listener: Arc<Listener>, socket: TcpListener) {
    let mut draining = pin!(worker.gateway.reached(Phase::Draining));
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = socket.accept() => accepted,
            // What already waits in the queue is accepted before: closing the socket would reset it.
            () = &mut draining => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or the client has gone already.
                tracing::warn!(listener = %listener.config.name, error = %error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let peer = peer.ip().to_canonical();
        let admitted = match listener.admit(peer, arrival::hands_on(&worker, &listener, peer)) {
            Ok(admitted) => admitted,
            Err(bound) => {
                listener.metrics.count_refused(bound);
                continue;
            }
        };
        // Small answers must not wait for the acknowledgement of the last (RFC 896).
        let _ = stream.set_nodelay(true);
        // Counted from now on, not from its first byte: its client was told that it is connected, and a drain waits for it.
        let open = worker.gateway.connected();
        let serving = arrival::serve(worker.clone(), admitted, stream);
        tokio::spawn(async move {
            serving.await;
            drop(open);
        });
    }
}
