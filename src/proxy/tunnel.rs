//! After a 101: bytes both ways, untouched, until either side ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::sync::Notify;

use crate::protocol::exchange::Exchange;
use crate::protocol::stream::Stream;
use crate::runtime::gateway::Phase;
use crate::runtime::request_body::RequestBody;

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
}

impl Tunnel {
    /// After the head of a 101.
    #[must_use]
    pub fn new(exchange: Exchange<RequestBody>, lease: Lease) -> Self {
        let (stream, ahead) = exchange.into_stream();
        Self { stream, ahead, lease }
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
        tokio::select! {
            // How a tunnel ends is its own protocol's affair.
            _ = copy_bidirectional(&mut client, &mut upstream) => {}
            () = long_after(&ended) => {}
            () = worker.gateway.reached(Phase::Ended) => {}
        }
        record.tunnel_in = from_client.load(Ordering::Relaxed);
        record.bytes_out = from_upstream.load(Ordering::Relaxed);
        drop(self.lease);
        drop(record);
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
}

impl<S> Side<S> {
    fn new(io: S, ahead: Bytes, ended: &Arc<Notify>) -> Self {
        Self {
            io,
            ahead,
            read: Arc::default(),
            ended: ended.clone(),
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
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
