//! A request's body on a stream of HTTP/2, as fast as the upstream takes it (RFC 9113 §5.2): a future of its own, polled by whoever
//! waits for the answer's head, and from then on by a task, for an answer may come and go on while the body does.
//!
//! May depend on: request bodies, pieces, `standstill`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Reason, SendStream};
use http_body::Body;

use crate::protocol::exchange::Fault;
use crate::proxy::standstill::Standstill;
use crate::runtime::http2_connections::{Piece, Written};
use crate::runtime::request_body::RequestBody;

/// A body on its way. Ends when all of it was written or the upstream wants no more, which its answer tells; or with what it failed of,
/// and then its stream is reset.
pub(super) struct Upload {
    body: RequestBody,
    stream: SendStream<Piece>,
    /// Taken from the client, and waits for the upstream's window to open; whether it is the last.
    held: Option<(Bytes, bool)>,
    /// Frames that the client sent.
    frames: u64,
    /// Bytes that the connection was given, whether it could write them or not.
    handed: u64,
    written: Arc<Written>,
    /// All of it was handed on.
    whole: bool,
    /// How long nothing may move.
    idle: Duration,
    /// That the client sends nothing is a fault.
    urgent: bool,
    stall: Standstill,
}

impl Upload {
    /// Begins it. Until it is told otherwise it waits no longer for the client than for the upstream.
    pub(super) fn new(body: RequestBody, stream: SendStream<Piece>, idle: Duration) -> Self {
        Self {
            body,
            stream,
            held: None,
            frames: 0,
            handed: 0,
            written: Arc::default(),
            whole: false,
            idle,
            urgent: true,
            stall: Standstill::default(),
        }
    }

    /// That the client sends nothing is no fault any more: the answer has begun, and both may talk for hours.
    pub(super) fn without_haste(mut self) -> Self {
        self.urgent = false;
        self
    }

    /// Hands on what there is and the upstream's window lets through. Ready: that was all, or it takes no more.
    fn poll_hand(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        // Also what was handed on is waited for no longer once the stream is reset.
        if self.stream.poll_reset(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        while !self.whole {
            if self.held.is_some() && !ready!(self.poll_window(cx)) {
                return Poll::Ready(Ok(()));
            }
            if let Some((data, last)) = self.held.take() {
                if self.hand(data, last).is_err() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            self.frames += 1;
            let sent = match frame.map(|frame| frame.map(http_body::Frame::into_data)) {
                None => self.hand(Bytes::new(), true),
                Some(Err(_)) => return Poll::Ready(Err(self.gives_up(Fault::RequestBody))),
                Some(Ok(Ok(data))) => {
                    let last = self.body.is_end_stream();
                    if !data.is_empty() {
                        // No more than is needed to be told: what is reserved and not used is missed by other streams.
                        self.stream.reserve_capacity(1);
                        self.held = Some((data, last));
                        continue;
                    }
                    if !last {
                        continue;
                    }
                    self.hand(data, last)
                }
                Some(Ok(Err(frame))) => {
                    self.whole = true;
                    self.stream.reserve_capacity(0);
                    self.stream.send_trailers(frame.into_trailers().unwrap_or_default())
                }
            };
            if sent.is_err() {
                return Poll::Ready(Ok(()));
            }
        }
        self.written.poll(cx, self.handed).map(Ok)
    }

    /// Ready when some of what is held may go, `false`: when none ever will.
    fn poll_window(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        while self.stream.capacity() == 0 {
            match ready!(self.stream.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Poll::Ready(false),
            }
        }
        Poll::Ready(true)
    }

    fn hand(&mut self, data: Bytes, last: bool) -> Result<(), h2::Error> {
        self.whole = last;
        self.handed += data.len() as u64;
        self.stream.send_data(Piece::new(data, self.written.clone()), last)
    }

    fn gives_up(&mut self, fault: Fault) -> Fault {
        self.stream.send_reset(Reason::CANCEL);
        fault
    }
}

impl Future for Upload {
    type Output = Result<(), Fault>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        let this = self.get_mut();
        if let Poll::Ready(ended) = this.poll_hand(cx) {
            return Poll::Ready(ended);
        }
        let written = this.written.bytes();
        let waits_for_upstream = this.held.is_some() || written < this.handed;
        if !waits_for_upstream && !this.urgent {
            this.stall.clear();
            return Poll::Pending;
        }
        ready!(this.stall.poll(cx, this.frames.wrapping_add(written), this.idle));
        Poll::Ready(Err(this.gives_up(if waits_for_upstream {
            Fault::TimedOut
        } else {
            Fault::Starved
        })))
    }
}
