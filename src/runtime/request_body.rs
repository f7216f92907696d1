//! A request body on its way to the upstream: counted, bounded, and kept where it may be sent again.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::runtime::Handle;

use crate::protocol::downstream::{Cut, RequestStream};

/// The body of a client's request, as it comes.
#[derive(Debug)]
pub enum ClientBody {
    /// No body.
    Empty,
    /// On an HTTP/1 connection.
    Http1(RequestStream),
    /// On a stream of an HTTP/2 connection.
    Http2(StreamBody),
}

/// The body of a stream. What nobody has taken of it when it is dropped is read and thrown away for a while: were the stream reset at
/// once, what its client sends meanwhile would come on a stream that is gone, which is a breach of the rules, and too many of those end the
/// connection with all its other streams.
#[derive(Debug)]
pub struct StreamBody(Option<Incoming>);

/// So long, and so many bytes: what a client may send before it hears of an answer.
const DISCARD_TIME: Duration = Duration::from_secs(1);
const MAX_DISCARD: usize = 256 << 10;

impl StreamBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx).map_err(|_| Cut),
            None => Poll::Ready(None),
        }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        let unfinished = self.0.take().filter(|body| !body.is_end_stream());
        if let (Some(body), Ok(runtime)) = (unfinished, Handle::try_current()) {
            runtime.spawn(tokio::time::timeout(DISCARD_TIME, discard(body)));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = MAX_DISCARD;
    while left > 0 {
        let Some(Ok(frame)) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else {
            return;
        };
        left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
    }
}

impl ClientBody {
    /// Of an HTTP/2 request.
    #[must_use]
    pub fn http2(body: Incoming) -> Self {
        if body.is_end_stream() {
            Self::Empty
        } else {
            Self::Http2(StreamBody(Some(body)))
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => body.poll(cx),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.0.as_ref().is_none_or(Body::is_end_stream),
        }
    }

    fn length(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.0.as_ref().map_or_else(SizeHint::default, Body::size_hint),
        }
    }
}

/// What is sent upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// No body.
    Empty,
    /// The client's.
    Flowing(Flowing),
    /// The client's once more: it was kept whole.
    Again(std::vec::IntoIter<Bytes>),
}

/// A request that may be sent twice is, if its body is no longer than this, and its length was said: so much is kept of it until an
/// answer begins.
const MAX_KEPT: u64 = 64 << 10;

/// A body that comes from the client.
#[derive(Debug)]
pub struct Flowing {
    client: ClientBody,
    progress: Arc<Progress>,
    /// Bytes; zero: any number.
    max: u64,
    /// The trailers that may pass; `None`: whoever sends it knows which were declared.
    trailers: Option<Vec<HeaderName>>,
}

/// How far a body has come.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    fault: parking_lot::Mutex<Option<BodyFault>>,
    /// Of a body that may be sent again.
    kept: Option<parking_lot::Mutex<Kept>>,
}

/// What was sent of a body; the bytes are shared with whoever sends them.
#[derive(Debug)]
struct Kept {
    pieces: Vec<Bytes>,
    /// Bytes still to come. INVARIANT: zero only once the pieces are the whole body.
    left: u64,
}

/// Why a body ended early. The client's doing, each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// Longer than the route allows.
    TooLarge,
    /// The client broke off, or framed it wrongly.
    Broken,
}

impl std::fmt::Display for BodyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the request body is too large",
            Self::Broken => "the request body broke off",
        })
    }
}

impl std::error::Error for BodyFault {}

impl RequestBody {
    /// Lets only these trailers pass: HTTP/2 would send any (hardening r01).
    pub fn limit_trailers(&mut self, declared: Vec<HeaderName>) {
        match self {
            Self::Empty | Self::Again(_) => {}
            Self::Flowing(flowing) => flowing.trailers = Some(declared),
        }
    }

    /// Wraps the client's body; `max` bytes, zero: any number. One of a request that `may_be_repeated` is kept if it is small.
    #[must_use]
    pub fn of(client: ClientBody, max: u64, may_be_repeated: bool) -> (Self, Option<Arc<Progress>>) {
        if let ClientBody::Empty = client {
            return (Self::Empty, None);
        }
        let length = client
            .length()
            .exact()
            .filter(|length| may_be_repeated && *length <= MAX_KEPT);
        let kept = length.map(|left| Kept {
            pieces: Vec::new(),
            left,
        });
        let progress = Arc::new(Progress {
            kept: kept.map(parking_lot::Mutex::new),
            ..Progress::default()
        });
        let flowing = Flowing {
            client,
            progress: progress.clone(),
            max,
            trailers: None,
        };
        (Self::Flowing(flowing), Some(progress))
    }
}

impl Progress {
    /// Bytes that went through.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Whether the body will be kept, to be sent again.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.kept.is_some()
    }

    /// The whole body once more; `None`: it was not kept, or is not whole.
    #[must_use]
    pub fn again(&self) -> Option<RequestBody> {
        let kept = self.kept.as_ref()?.lock();
        (kept.left == 0).then(|| RequestBody::Again(kept.pieces.clone().into_iter()))
    }

    /// It will not be sent again.
    pub fn forget(&self) {
        if let Some(kept) = &self.kept {
            *kept.lock() = Kept {
                pieces: Vec::new(),
                left: u64::MAX,
            };
        }
    }

    fn keep(&self, frame: &Frame<Bytes>) {
        let Some(kept) = &self.kept else { return };
        let mut kept = kept.lock();
        match frame.data_ref() {
            Some(data) => {
                kept.left = kept.left.checked_sub(data.len() as u64).unwrap_or(u64::MAX);
                kept.pieces.push(data.clone());
            }
            // What comes behind the body is not kept.
            None => kept.left = u64::MAX,
        }
    }

    /// Why it ended early, if it did.
    #[must_use]
    pub fn fault(&self) -> Option<BodyFault> {
        *self.fault.lock()
    }

    fn fail(&self, fault: BodyFault) -> BodyFault {
        *self.fault.lock() = Some(fault);
        fault
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Flowing(flowing) => flowing.poll(cx),
            Self::Again(pieces) => Poll::Ready(pieces.next().map(|piece| Ok(Frame::data(piece)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Flowing(flowing) => flowing.client.is_end(),
            Self::Again(pieces) => pieces.as_slice().is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Flowing(flowing) => flowing.client.length(),
            Self::Again(pieces) => SizeHint::with_exact(pieces.as_slice().iter().map(|piece| piece.len() as u64).sum()),
        }
    }
}

impl Flowing {
    fn without_undeclared(&self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let (Some(declared), Some(trailers)) = (&self.trailers, frame.trailers_mut()) {
            let undeclared: Vec<HeaderName> = trailers
                .keys()
                .filter(|name| !declared.contains(name))
                .cloned()
                .collect();
            for name in undeclared {
                trailers.remove(name);
            }
        }
        frame
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = match ready!(self.client.poll(cx)) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(self.progress.fail(BodyFault::Broken)))),
            Some(Ok(frame)) => frame,
        };
        let frame = self.without_undeclared(frame);
        self.progress.keep(&frame);
        let length = frame.data_ref().map_or(0, Bytes::len);
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let bytes = self
            .progress
            .bytes
            .fetch_add(length, Ordering::Relaxed)
            .saturating_add(length);
        if self.max > 0 && bytes > self.max {
            return Poll::Ready(Some(Err(self.progress.fail(BodyFault::TooLarge))));
        }
        Poll::Ready(Some(Ok(frame)))
    }
}
