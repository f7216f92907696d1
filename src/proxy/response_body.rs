//! A response body on its way to the client. When hyper drops it the exchange is over: the record is written, and the upstream's
//! connection kept if it ended cleanly.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep};

use crate::runtime::upstream::{Connection, InFlight};

use super::expiry::Expiry;
use super::record::Record;

/// A response body.
pub struct ResponseBody {
    source: Source,
    /// INVARIANT: declared last, so that it is dropped, and written, when all else is done. `None`: a tunnel has it.
    record: Option<Box<Record>>,
}

enum Source {
    /// The gateway's own answer.
    Own(Option<Bytes>),
    /// The upstream's, with what is given back at its end.
    Upstream(FromUpstream),
}

/// What comes from the upstream.
pub struct FromUpstream {
    body: Incoming,
    lease: Lease,
    ended: bool,
    /// `stream_idle_timeout`, armed while the upstream is waited for.
    idle: Option<Idle>,
    /// When it ends for sure.
    ends: Option<Expiry>,
    expired: bool,
}

struct Idle {
    timeout: Duration,
    sleep: Pin<Box<Sleep>>,
    /// The upstream was asked and has nothing yet. A client that does not read is not the upstream's silence.
    waiting: bool,
}

impl Idle {
    fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            sleep: Box::pin(sleep(timeout)),
            waiting: false,
        }
    }

    /// The upstream has nothing: ready when that has lasted too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.waiting {
            self.waiting = true;
            self.sleep.as_mut().reset(Instant::now() + self.timeout);
        }
        self.sleep.as_mut().poll(cx)
    }
}

/// The place in an upstream that a request holds, and its connection.
pub struct Lease {
    /// The place.
    pub place: InFlight,
    /// Whose pool.
    pub worker: usize,
    /// The connection; `None`: it became a tunnel.
    pub connection: Option<Connection>,
}

/// Why a response body ended early.
#[derive(Debug)]
pub enum StreamFault {
    /// The upstream broke off.
    Upstream(hyper::Error),
    /// It was silent for longer than `stream_idle_timeout`.
    Silent,
    /// The token that let it in has expired, and the client was told of more bytes.
    Expired,
}

impl std::fmt::Display for StreamFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Upstream(error) => write!(f, "the upstream broke off: {error}"),
            Self::Silent => f.write_str("the upstream was silent for too long"),
            Self::Expired => f.write_str("the token that let the request in has expired"),
        }
    }
}

impl std::error::Error for StreamFault {}

impl ResponseBody {
    /// The gateway's own words.
    #[must_use]
    pub fn own(record: Box<Record>, text: Bytes) -> Self {
        let source = Source::Own((!text.is_empty()).then_some(text));
        Self {
            source,
            record: Some(record),
        }
    }

    /// Nothing: a tunnel follows, which keeps the record.
    #[must_use]
    pub fn none() -> Self {
        Self {
            source: Source::Own(None),
            record: None,
        }
    }

    /// The upstream's.
    #[must_use]
    pub fn upstream(record: Box<Record>, body: FromUpstream) -> Self {
        Self {
            source: Source::Upstream(body),
            record: Some(record),
        }
    }
}

impl ResponseBody {
    /// Keeps back the gateway's own words, for HEAD; their length in bytes, if there are any.
    pub fn silence(&mut self) -> Option<usize> {
        match &mut self.source {
            Source::Own(text) => text.take().map(|text| text.len()),
            Source::Upstream(_) => None,
        }
    }
}

impl FromUpstream {
    /// `idle_timeout` zero: it may be silent for as long as it likes.
    #[must_use]
    pub(super) fn new(body: Incoming, lease: Lease, idle_timeout: Duration, ends: Option<Expiry>) -> Self {
        let idle = (!idle_timeout.is_zero()).then(|| Idle::new(idle_timeout));
        Self {
            body,
            lease,
            ended: false,
            idle,
            ends,
            expired: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        if self.ends.as_mut().is_some_and(|ends| ends.poll(cx).is_ready()) {
            self.ends = None;
            self.expired = true;
        }
        if self.expired {
            // A stream without a length just ends; one that is shorter than it said is broken off.
            let promised = self.body.size_hint().exact().is_some_and(|left| left > 0);
            return Poll::Ready(promised.then_some(Err(StreamFault::Expired)));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            let Some(idle) = &mut self.idle else {
                return Poll::Pending;
            };
            ready!(idle.poll(cx));
            return Poll::Ready(Some(Err(StreamFault::Silent)));
        };
        if let Some(idle) = &mut self.idle {
            idle.waiting = false;
        }
        self.ended = frame.is_none();
        Poll::Ready(frame.map(|frame| frame.map_err(StreamFault::Upstream)))
    }
}

impl Drop for FromUpstream {
    fn drop(&mut self) {
        let lease = &mut self.lease;
        let clean = self.ended || self.body.is_end_stream();
        if let (true, Some(endpoint), Some(connection)) = (clean, lease.place.endpoint(), lease.connection.take()) {
            endpoint.keep(lease.worker, connection);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        let this = self.get_mut();
        let frame = match &mut this.source {
            Source::Own(text) => text.take().map(|text| Ok(Frame::data(text))),
            Source::Upstream(body) => {
                let frame = ready!(body.poll(cx));
                if let (true, Some(record)) = (body.expired, &mut this.record) {
                    record.expired();
                }
                frame
            }
        };
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        if let (Some(record), Some(data)) = (&mut this.record, data) {
            record.sent(data);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(text) => text.is_none(),
            Source::Upstream(body) => body.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Upstream(body) => body.body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_silent(idle: &mut Idle) -> bool {
        std::future::poll_fn(|cx| Poll::Ready(idle.poll(cx).is_ready())).await
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_time_that_the_upstream_was_waited_for_is_its_silence() {
        let second = Duration::from_secs(1);
        let mut idle = Idle::new(5 * second);
        // The client reads nothing for a while.
        tokio::time::advance(10 * second).await;
        assert!(!is_silent(&mut idle).await);
        tokio::time::advance(4 * second).await;
        assert!(!is_silent(&mut idle).await);
        tokio::time::advance(2 * second).await;
        assert!(is_silent(&mut idle).await);
    }
}
