//! The body of the request under way, as whoever forwards it takes it; what nobody takes is dropped.
//!
//! May depend on: the rest of the room.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use super::super::body::Next;
use super::super::request_head::HeadJudge;
use super::{BodyLength, Downstream, Phase};

/// The body of the request under way on a client's connection.
#[derive(Debug)]
pub struct RequestStream {
    connection: Arc<Mutex<Downstream>>,
    /// Bytes still to come, if that is known.
    left: Option<u64>,
    ended: bool,
}

/// A request's body broke off, or could not be framed.
#[derive(Debug)]
pub struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's body broke off")
    }
}

impl std::error::Error for Cut {}

impl RequestStream {
    /// The body of the request that has just arrived on `connection`.
    #[must_use]
    pub const fn new(connection: Arc<Mutex<Downstream>>, length: BodyLength) -> Self {
        let left = match length {
            BodyLength::Known(length) => Some(length),
            BodyLength::Chunked => None,
        };
        Self {
            connection,
            left,
            ended: false,
        }
    }
}

impl http_body::Body for RequestStream {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let this = self.get_mut();
        if this.is_end_stream() {
            return Poll::Ready(None);
        }
        let frame = ready!(this.connection.lock().poll_body(cx));
        match &frame {
            Some(Ok(frame)) => {
                let count = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.left = this.left.map(|left| left.saturating_sub(count));
            }
            Some(Err(Cut)) | None => this.ended = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Downstream {
    /// Reads and drops the rest of a body that nobody wanted; whether a head may follow.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            let Phase::Body(body) = &mut self.phase else {
                return Poll::Ready(matches!(self.phase, Phase::Head(_)));
            };
            match body.next(&mut self.held) {
                Next::Data(_) | Next::Trailers(_) => {}
                Next::End => self.phase = Phase::Head(HeadJudge::default()),
                Next::Broken(_) => self.phase = Phase::Deaf,
                Next::Starved => match self.poll_fill(cx) {
                    Poll::Ready(Ok(0) | Err(_)) => self.phase = Phase::Deaf,
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => {
                        self.clock.start_head(self.limits.header_timeout);
                        ready!(self.clock.poll(cx));
                        self.phase = Phase::Deaf;
                    }
                },
            }
        }
    }

    /// The next of the body of the request under way.
    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        loop {
            let Phase::Body(body) = &mut self.phase else {
                return Poll::Ready(match self.phase {
                    Phase::Head(_) => None,
                    Phase::Deaf | Phase::Body(_) => Some(Err(Cut)),
                });
            };
            match body.next(&mut self.held) {
                Next::Data(data) => {
                    if body.length() == Some(0) {
                        self.phase = Phase::Head(HeadJudge::default());
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Next::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Next::End => self.phase = Phase::Head(HeadJudge::default()),
                Next::Broken(_) => self.phase = Phase::Deaf,
                Next::Starved => {
                    if std::mem::take(&mut self.asked.expects_continue) {
                        // What cannot be written now goes with the answer.
                        self.outbox.text().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                        let _ = self.outbox.poll_flush(&mut self.stream, cx);
                    }
                    match ready!(self.poll_fill(cx)) {
                        Ok(0) | Err(_) => {
                            self.end_of_input = true;
                            self.phase = Phase::Deaf;
                        }
                        Ok(_) => {}
                    }
                }
            }
        }
    }
}
