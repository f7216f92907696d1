//! After a 101: bytes both ways, untouched, until either side ends.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};
use tokio::sync::Notify;

use crate::runtime::gateway::Phase;

use super::record::Record;
use super::response_body::Lease;

/// After one side has ended, the other may go on for this long.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Two connections that are about to become one.
pub struct Tunnel {
    /// The client's.
    pub client: OnUpgrade,
    /// The upstream's.
    pub upstream: OnUpgrade,
    /// The upstream's place, held as long as the tunnel.
    pub lease: Lease,
}

impl Tunnel {
    /// Copies in a task of its own, which writes the record when both sides have ended.
    pub fn start(self, mut record: Box<Record>) {
        let worker = record.client.worker.clone();
        let open = worker.gateway.connected();
        tokio::spawn(async move {
            let Self {
                client,
                upstream,
                lease,
            } = self;
            if let (Ok(client), Ok(upstream)) = tokio::join!(client, upstream) {
                let ended = Arc::new(Notify::new());
                let mut client = Side::new(client, &ended);
                let mut upstream = Side::new(upstream, &ended);
                let (from_client, from_upstream) = (client.read.clone(), upstream.read.clone());
                tokio::select! {
                    // How a tunnel ends is its own protocol's affair.
                    _ = copy_bidirectional(&mut client, &mut upstream) => {}
                    () = long_after(&ended) => {}
                    () = worker.gateway.reached(Phase::Ended) => {}
                }
                record.tunnel_in = from_client.load(Ordering::Relaxed);
                record.bytes_out = from_upstream.load(Ordering::Relaxed);
            }
            drop(lease);
            drop(record);
            drop(open);
        });
    }
}

/// A side that has gone for good looks like one that will only say no more: the other gets some time, not for ever.
async fn long_after(ended: &Notify) {
    ended.notified().await;
    tokio::time::sleep(LAST_WORDS).await;
}

/// A side of the tunnel, and the bytes it brought.
struct Side {
    io: TokioIo<Upgraded>,
    read: Arc<AtomicU64>,
    /// Told when it has no more to say.
    ended: Arc<Notify>,
}

impl Side {
    fn new(io: Upgraded, ended: &Arc<Notify>) -> Self {
        Self {
            io: TokioIo::new(io),
            read: Arc::default(),
            ended: ended.clone(),
        }
    }
}

impl AsyncRead for Side {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buf);
        let came = u64::try_from(buf.filled().len() - before).unwrap_or(u64::MAX);
        self.read.fetch_add(came, Ordering::Relaxed);
        if came == 0 && polled.is_ready() {
            self.ended.notify_one();
        }
        polled
    }
}

impl AsyncWrite for Side {
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
