//! After a 101: bytes both ways, untouched, until either side ends, or the token does that let them in.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, copy, sink};
use tokio::time::timeout;

use crate::protocol::exchange::Exchange;
use crate::protocol::relay::{Patience, Relay};
use crate::protocol::stream::Stream;
use crate::runtime::gateway::{Gateway, Phase};
use crate::runtime::request_body::RequestBody;

use super::expiry::{self, CLOSE_1008, ENDED_WITH_ITS_TOKEN, Expiry, Frames};
use super::record::Record;
use super::response_body::Lease;

/// How long a frame that has begun, and a client that is told why, may take.
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
                let client = Stream::Other(Box::new(TokioIo::new(client)));
                self.run(client, Bytes::new(), record).await;
            }
            drop(open);
        });
    }

    /// Copies to and from the client, which has sent `ahead` already, until both sides have ended; then the record is written.
    pub async fn run(mut self, client: Stream, ahead: Bytes, mut record: Box<Record>) {
        let gateway = record.client.worker.gateway.clone();
        let patience = Patience {
            client: record.client.admitted.listener.config.idle_timeout,
            upstream: self.lease.place.upstream().spec.config.body_idle_timeout,
        };
        let mut relay = Relay::new(ahead, std::mem::take(&mut self.ahead));
        let mut client = Front {
            stream: client,
            curtain: self.ends.is_some().then(Arc::default),
        };
        let curtain = client.curtain.clone();
        let mut upstream = self.stream;
        let expired = {
            let copying = std::future::poll_fn(|cx| relay.poll(cx, &mut client, &mut upstream, patience));
            converse(copying, curtain, self.ends, &gateway).await
        };
        if expired {
            record.ended_early(ENDED_WITH_ITS_TOKEN);
            drop(upstream);
            say_goodbye(client).await;
        }
        record.tunnel_in = relay.from_client();
        record.bytes_out = relay.from_upstream();
        drop(self.lease);
        drop(record);
    }
}

/// Copies both ways until that ends, the process does, or its time is over: `true`.
async fn converse(
    copying: impl Future<Output = ()>,
    curtain: Option<Arc<Curtain>>,
    mut ends: Option<Expiry>,
    gateway: &Gateway,
) -> bool {
    let mut copying = std::pin::pin!(copying);
    tokio::select! {
        () = &mut copying => return false,
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
async fn say_goodbye(mut client: Front) {
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

/// The client's side, whose time may end.
struct Front {
    stream: Stream,
    curtain: Option<Arc<Curtain>>,
}

impl AsyncRead for Front {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Front {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        let Some(curtain) = self.curtain.clone() else {
            return Pin::new(&mut self.stream).poll_write(cx, buf);
        };
        let Some(buf) = curtain.lets_through(buf) else {
            return Poll::Ready(Err(std::io::ErrorKind::ConnectionAborted.into()));
        };
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        if let Poll::Ready(Ok(sent)) = &polled {
            curtain.frames.lock().sent(buf.get(..*sent).unwrap_or_default());
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
