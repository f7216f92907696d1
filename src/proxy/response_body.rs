//! A response body on its way to the client. When it is dropped the exchange is over: the record is written, and the upstream's
//! connection kept if it ended cleanly.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::protocol::Spelling;
use crate::protocol::exchange::Fault;
use crate::runtime::upstream::InFlight;

use super::expiry::{ENDED_WITH_ITS_TOKEN, Expiry};
use super::record::Record;
use super::reply::Reply;
use super::tunnel::Tunnel;

/// A response body.
pub struct ResponseBody {
    source: Source,
    /// How the names of its head were written.
    spelling: Option<Spelling>,
    /// INVARIANT: declared last, so that it is dropped, and written, when all else is done. `None`: a tunnel has it.
    record: Option<Box<Record>>,
}

enum Source {
    /// The gateway's own answer.
    Own(Option<Bytes>),
    /// The upstream's, with what is given back at its end.
    Upstream(FromUpstream),
    /// Nothing: the connection becomes a tunnel.
    Tunnel(Tunnel),
}

/// What comes from the upstream.
pub struct FromUpstream {
    /// `None`: it was given back.
    reply: Option<Reply>,
    lease: Lease,
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

/// The place in an upstream that a request holds.
pub struct Lease {
    /// The place.
    pub place: InFlight,
    /// Whose pool.
    pub worker: usize,
}

/// Why a response body ended early.
#[derive(Debug)]
pub enum StreamFault {
    /// The upstream broke off.
    Upstream(Fault),
    /// It was silent for longer than `stream_idle_timeout`.
    Silent,
    /// The token that let it in has expired, and the client was told of more bytes.
    Expired,
}

impl StreamFault {
    /// The exact cause, for the log.
    #[must_use]
    const fn detail(&self) -> &'static str {
        match self {
            Self::Upstream(Fault::TimedOut) => "upstream_takes_nothing",
            Self::Upstream(Fault::RequestBody | Fault::Starved) => "request_body_failed",
            Self::Upstream(Fault::Unsent | Fault::Broken | Fault::Nonsense(_)) => "upstream_broke_off",
            Self::Silent => "upstream_silent",
            Self::Expired => ENDED_WITH_ITS_TOKEN,
        }
    }
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
        Self::new(source, None, record)
    }

    /// The upstream's.
    #[must_use]
    pub fn upstream(record: Box<Record>, body: FromUpstream, spelling: Option<Spelling>) -> Self {
        Self::new(Source::Upstream(body), spelling, record)
    }

    /// None: a tunnel follows the head.
    #[must_use]
    pub fn tunnel(record: Box<Record>, tunnel: Tunnel, spelling: Option<Spelling>) -> Self {
        Self::new(Source::Tunnel(tunnel), spelling, record)
    }

    /// Nothing: a tunnel has begun, and keeps the record.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            source: Source::Own(None),
            spelling: None,
            record: None,
        }
    }

    fn new(source: Source, spelling: Option<Spelling>, record: Box<Record>) -> Self {
        Self {
            source,
            spelling,
            record: Some(record),
        }
    }

    /// How the names of the response's head were written; `None`: lower case.
    #[must_use]
    pub const fn spelling(&self) -> Option<&Spelling> {
        self.spelling.as_ref()
    }

    /// Whether a tunnel follows the head.
    #[must_use]
    pub const fn is_tunnel(&self) -> bool {
        matches!(self.source, Source::Tunnel(_))
    }

    /// The tunnel that follows the head, and the record that it is to be written to.
    #[must_use]
    pub fn into_tunnel(self) -> Option<(Tunnel, Box<Record>)> {
        match self.source {
            Source::Tunnel(tunnel) => Some((tunnel, self.record?)),
            Source::Own(_) | Source::Upstream(_) => None,
        }
    }

    /// Sends the request's body on while the client takes nothing of the response.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Source::Upstream(FromUpstream { reply: Some(reply), .. }) = &mut self.source {
            reply.poll_upload(cx);
        }
    }
}

impl ResponseBody {
    /// Keeps back the gateway's own words, for HEAD; their length in bytes, if there are any.
    pub fn silence(&mut self) -> Option<usize> {
        match &mut self.source {
            Source::Own(text) => text.take().map(|text| text.len()),
            Source::Upstream(_) | Source::Tunnel(_) => None,
        }
    }
}

impl FromUpstream {
    /// `idle_timeout` zero: it may be silent for as long as it likes.
    #[must_use]
    pub(super) fn new(reply: Reply, lease: Lease, idle_timeout: Duration, ends: Option<Expiry>) -> Self {
        let idle = (!idle_timeout.is_zero()).then(|| Idle::new(idle_timeout));
        Self {
            reply: Some(reply),
            lease,
            idle,
            ends,
            expired: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        let Some(reply) = &mut self.reply else {
            return Poll::Ready(None);
        };
        if self.ends.as_mut().is_some_and(|ends| ends.poll(cx).is_ready()) {
            self.ends = None;
            self.expired = true;
        }
        if self.expired {
            // A stream without a length just ends; one that is shorter than it said is broken off.
            let promised = reply.length().is_some_and(|left| left > 0);
            return Poll::Ready(promised.then_some(Err(StreamFault::Expired)));
        }
        let Poll::Ready(frame) = reply.poll_frame(cx) else {
            let Some(idle) = &mut self.idle else {
                return Poll::Pending;
            };
            ready!(idle.poll(cx));
            return Poll::Ready(Some(Err(StreamFault::Silent)));
        };
        if let Some(idle) = &mut self.idle {
            idle.waiting = false;
        }
        Poll::Ready(frame.map(|frame| frame.map_err(StreamFault::Upstream)))
    }
}

impl Drop for FromUpstream {
    fn drop(&mut self) {
        let connection = self.reply.take().and_then(Reply::into_connection);
        if let (Some(endpoint), Some(connection)) = (self.lease.place.endpoint(), connection) {
            endpoint.keep(self.lease.worker, connection);
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
                let early = match &frame {
                    Some(Err(fault)) => Some(fault.detail()),
                    Some(Ok(_)) | None => body.expired.then_some(ENDED_WITH_ITS_TOKEN),
                };
                if let (Some(detail), Some(record)) = (early, &mut this.record) {
                    record.ended_early(detail);
                }
                frame
            }
            Source::Tunnel(_) => None,
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
            Source::Upstream(body) => body.reply.as_ref().is_none_or(Reply::is_end),
            Source::Tunnel(_) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, |text| text.len() as u64)),
            Source::Upstream(body) => {
                let length = body.reply.as_ref().and_then(Reply::length);
                length.map_or_else(SizeHint::default, SizeHint::with_exact)
            }
            Source::Tunnel(_) => SizeHint::with_exact(0),
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
