//! HTTP/2 connections of one worker to one endpoint: its requests share them, as few as the endpoint's bound of streams allows.

mod piece;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use h2::client::SendRequest;
use parking_lot::Mutex;

pub use piece::{Piece, Written};

/// Connections at most. When the streams of all are taken, further requests wait for one.
const MAX_CONNECTIONS: usize = 8;

/// The connections.
#[derive(Debug, Default)]
pub struct Http2Connections {
    open: Mutex<Vec<Arc<Shared>>>,
    /// Held while one is made, so that a burst of requests makes one and not a burst.
    pub making: tokio::sync::Mutex<()>,
}

/// What a connection tells of itself while it runs.
#[derive(Debug)]
pub struct Standing {
    /// Streams that the endpoint takes at once.
    pub bound: AtomicUsize,
    /// It has ended.
    pub ended: AtomicBool,
}

#[derive(Debug)]
struct Shared {
    sender: SendRequest<Piece>,
    /// Of the other side; `None`: it has none.
    address: Option<IpAddr>,
    streams: AtomicUsize,
    standing: Arc<Standing>,
    /// When the last stream ended.
    since: Mutex<Instant>,
    /// It takes no further stream.
    retired: AtomicBool,
}

/// A place for one stream, given back when this is dropped.
#[derive(Debug)]
pub struct Http2Stream {
    shared: Arc<Shared>,
}

impl Http2Connections {
    /// A place on the connection with the fewest streams, none of those to where the name does not point any more; `None`: one more
    /// connection is to be made.
    #[must_use]
    pub fn take(&self, still_has: impl Fn(IpAddr) -> bool) -> Option<Http2Stream> {
        let mut open = self.open.lock();
        // A connection that is left here ends with its last stream.
        open.retain(|shared| !shared.is_over() && shared.address.is_none_or(&still_has));
        let shared = open
            .iter()
            .min_by_key(|shared| shared.streams.load(Ordering::Relaxed))?;
        let free = shared.streams.load(Ordering::Relaxed) < shared.standing.bound.load(Ordering::Relaxed);
        (free || open.len() >= MAX_CONNECTIONS).then(|| Http2Stream::on(shared))
    }

    /// Adds a connection to a host at this address, and takes the first place on it.
    #[must_use]
    pub fn add(&self, sender: SendRequest<Piece>, address: Option<IpAddr>, standing: Arc<Standing>) -> Http2Stream {
        let shared = Arc::new(Shared {
            sender,
            address,
            streams: AtomicUsize::new(0),
            standing,
            since: Mutex::new(Instant::now()),
            retired: AtomicBool::new(false),
        });
        let stream = Http2Stream::on(&shared);
        self.open.lock().push(shared);
        stream
    }

    /// Closes those that were idle for that long, or go to where the name does not point any more.
    pub fn sweep(&self, idle: Duration, still_has: impl Fn(IpAddr) -> bool) {
        let in_use =
            |shared: &Shared| shared.streams.load(Ordering::Relaxed) > 0 || shared.since.lock().elapsed() < idle;
        let stays = |shared: &Shared| shared.address.is_none_or(&still_has) && in_use(shared);
        self.open.lock().retain(|shared| !shared.is_over() && stays(shared));
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.retired.load(Ordering::Relaxed) || self.standing.ended.load(Ordering::Relaxed)
    }
}

impl Http2Stream {
    /// Sends one request on it.
    #[must_use]
    pub fn sender(&self) -> SendRequest<Piece> {
        self.shared.sender.clone()
    }

    /// Its connection takes no further stream: the other side is about to close it, or has. Those under way may finish.
    pub fn retire(&self) {
        self.shared.retired.store(true, Ordering::Relaxed);
    }

    fn on(shared: &Arc<Shared>) -> Self {
        shared.streams.fetch_add(1, Ordering::Relaxed);
        Self { shared: shared.clone() }
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        *self.shared.since.lock() = Instant::now();
        self.shared.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
