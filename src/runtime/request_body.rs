//! A request body on its way to the upstream: counted, bounded, its progress told to whoever records the request.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use hyper::body::Incoming;

use crate::protocol::downstream::{Cut, RequestStream};

/// The body of a client's request, as it comes.
#[derive(Debug)]
pub enum ClientBody {
    /// No body.
    Empty,
    /// On an HTTP/1 connection.
    Http1(RequestStream),
    /// On a stream of an HTTP/2 connection.
    Http2(Incoming),
}

impl ClientBody {
    /// Of an HTTP/2 request.
    #[must_use]
    pub fn http2(body: Incoming) -> Self {
        if body.is_end_stream() {
            Self::Empty
        } else {
            Self::Http2(body)
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(|_| Cut),
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
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
}

/// A body that comes from the client.
#[derive(Debug)]
pub struct Flowing {
    client: ClientBody,
    progress: Arc<Progress>,
    /// Bytes; zero: any number.
    max: u64,
}

/// How far a body has come.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    fault: parking_lot::Mutex<Option<BodyFault>>,
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
    /// Wraps the client's body; `max` bytes, zero: any number.
    #[must_use]
    pub fn of(client: ClientBody, max: u64) -> (Self, Option<Arc<Progress>>) {
        if let ClientBody::Empty = client {
            return (Self::Empty, None);
        }
        let progress = Arc::new(Progress::default());
        let flowing = Flowing {
            client,
            progress: progress.clone(),
            max,
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
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Flowing(flowing) => flowing.client.is_end(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Flowing(flowing) => match &flowing.client {
                ClientBody::Empty => SizeHint::with_exact(0),
                ClientBody::Http1(body) => body.size_hint(),
                ClientBody::Http2(body) => body.size_hint(),
            },
        }
    }
}

impl Flowing {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = match ready!(self.client.poll(cx)) {
            None => return Poll::Ready(None),
            Some(Err(_)) => return Poll::Ready(Some(Err(self.progress.fail(BodyFault::Broken)))),
            Some(Ok(frame)) => frame,
        };
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
