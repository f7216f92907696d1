//! After a 101: bytes both ways, untouched, until either side ends, or the token does that let them in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, copy_bidirectional, sink};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::protocol::exchange::Exchange;
use crate::protocol::stream::Stream;
use crate::runtime::gateway::{Gateway, Phase};
use crate::runtime::request_body::RequestBody;

use super::expiry::{self, CLOSE_1008, Expiry, Frames};
use super::record::Record;
use super::response_body::Lease;

/// After one side has ended, the other may go on for this long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The upstream's side of a connection that is about to become one with the client's.
pub struct Tunnel {
    stream: Stream,
    /// What came behind the 101.
    ahead: Bytes,
    /// The upstream's place, held as long as the tunnel.
    lease: Lease,
    /// When it ends for sure.
    ends: Option<Expiry>,
}

impl Tunnel {
    /// After the head of a 101.
    #[must_use]
    pub(super) fn new(exchange: Exchange<RequestBody>, lease: Lease, ends: Option<Expiry>) -> Self {
        let (stream, ahead) = exchange.into_stream();
        Self {
            stream,
            ahead,
            lease,
            ends,
        }
    }

    /// Copies in a task of its own, once the client's stream is ready.
    pub fn start(self, client: OnUpgrade, record: Box<Record>) {
        let open = record.client.worker.gateway.connected();
        tokio::spawn(async move {
            if let Ok(client) = client.await {
                self.run(TokioIo::new(client), Bytes::new(), record).await;
            }
            drop(open);
        });
    }

    /// Copies to and from the client, which has sent `ahead` already, until both sides have ended; then the record is written.
    pub async fn run<S>(self, client: S, ahead: Bytes, mut record: Box<Record>)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let worker = record.client.worker.clone();
        let ended = Arc::new(Notify::new());
        let mut client = Side::new(client, ahead, &ended);
        let mut upstream = Side::new(self.stream, self.ahead, &ended);
        let (from_client, from_upstream) = (client.read.clone(), upstream.read.clone());
        client.curtain = self.ends.is_some().then(Arc::default);
        if converse(&mut client, &mut upstream, self.ends, &ended, &worker.gateway).await {
            record.expired();
            drop(upstream);
            say_goodbye(client).await;
        }
        record.tunnel_in = from_client.load(Ordering::Relaxed);
        record.bytes_out = from_upstream.load(Ordering::Relaxed);
        drop(self.lease);
        drop(record);
    }
}

/// Copies both ways until either side ends, the process does, or its time is over: `true`.
async fn converse<C, U>(
    client: &mut Side<C>,
    upstream: &mut Side<U>,
    mut ends: Option<Expiry>,
    ended: &Notify,
    gateway: &Gateway,
) -> bool
where
    C: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let curtain = client.curtain.clone();
    let mut copying = std::pin::pin!(copy_bidirectional(client, upstream));
    tokio::select! {
        // How a tunnel ends is its own protocol's affair.
        _ = &mut copying => return false,
        () = long_after(ended) => return false,
        () = gateway.reached(Phase::Ended) => return false,
        () = expiry::passed(&mut ends) => {}
    }
    if let Some(curtain) = curtain
        && !curtain.falls()
    {
        // The frame that has begun ends first: what is said within one is part of it.
        let _ = timeout(LAST_WORDS, copying).await;
    }
    true
}

/// Tells a WebSocket's client why, and waits until it has heard it: a connection that is closed over unread bytes is reset.
async fn say_goodbye<S: AsyncRead + AsyncWrite + Unpin>(mut client: Side<S>) {
    let between = client
        .curtain
        .take()
        .is_some_and(|curtain| curtain.frames.lock().is_between());
    let goodbye = async {
        if between {
            client.write_all(&CLOSE_1008).await?;
        }
        client.shutdown().await?;
        copy(&mut client, &mut sink()).await
    };
    let _ = timeout(LAST_WORDS, goodbye).await;
}

/// What ends a stream of WebSocket frames between two of them.
#[derive(Default)]
struct Curtain {
    frames: Mutex<Frames>,
    falling: AtomicBool,
}

impl Curtain {
    /// No frame begins from now on. Whether the client is between two already.
    fn falls(&self) -> bool {
        self.falling.store(true, Ordering::Relaxed);
        self.frames.lock().is_between()
    }

    /// What may still be sent of these bytes; `None`: nothing any more.
    fn lets_through<'b>(&self, bytes: &'b [u8]) -> Option<&'b [u8]> {
        if !self.falling.load(Ordering::Relaxed) {
            return Some(bytes);
        }
        let rest = self.frames.lock().rest_of_frame(bytes);
        bytes.get(..rest).filter(|rest| !rest.is_empty())
    }
}

/// A side that has gone for good looks like one that will only say no more: the other gets some time, not for ever.
async fn long_after(ended: &Notify) {
    ended.notified().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// A side of the tunnel, and the bytes it brought.
struct Side<S> {
    io: S,
    /// What was read of it before.
    ahead: Bytes,
    read: Arc<AtomicU64>,
    /// Told when it has no more to say.
    ended: Arc<Notify>,
    /// Of the client's side, where its time may end.
    curtain: Option<Arc<Curtain>>,
}

impl<S> Side<S> {
    fn new(io: S, ahead: Bytes, ended: &Arc<Notify>) -> Self {
        Self {
            io,
            ahead,
            read: Arc::default(),
            ended: ended.clone(),
            curtain: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Side<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = if self.ahead.is_empty() {
            Pin::new(&mut self.io).poll_read(cx, buf)
        } else {
            let count = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead.split_to(count));
            Poll::Ready(Ok(()))
        };
        let came = u64::try_from(buf.filled().len() - before).unwrap_or(u64::MAX);
        self.read.fetch_add(came, Ordering::Relaxed);
        if came == 0 && polled.is_ready() {
            self.ended.notify_one();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Side<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let Some(curtain) = self.curtain.clone() else {
            return Pin::new(&mut self.io).poll_write(cx, buf);
        };
        let Some(buf) = curtain.lets_through(buf) else {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into()));
        };
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        if let Poll::Ready(Ok(sent)) = &polled {
            curtain.frames.lock().sent(buf.get(..*sent).unwrap_or_default());
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
