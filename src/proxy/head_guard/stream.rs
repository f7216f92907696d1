//! The guarded stream itself: what hyper reads and writes, and the lingering close.
//!
//! Bytes go from the socket straight into hyper's buffer and are judged there; what hyper may not have yet is taken out
//! again. So a whole head, and all of a body, is never copied, and the guard's own buffer stays empty unless a head comes
//! in pieces, or another one right behind it.
//!
//! May depend on: the parent module's seam, the judging of heads and bodies, the clock.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use crate::proxy::small_write;

use super::body::{Body, Then};
use super::clock::{Clock, Due};
use super::head::{HeadJudge, Room};
use super::refusal::Refusal;
use super::request_line::stand_in;
use super::{Limits, Mark, Quiet, Seam};

/// Bytes held behind an upgrade that is not settled; then the socket has to wait.
const MAX_UNDECIDED_BYTES: usize = 16 * 1024;

/// How long, and for how many bytes, a closing connection still listens. Long enough for the response to arrive before
/// the reset that unread input provokes (RFC 9112 §9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// How long a connection that was made just before a drain may take to send its first byte. Its client was told that it is
/// connected, and is about to ask.
pub const FIRST_BYTE_TIME: Duration = Duration::from_secs(1);

pub(super) struct Guarded<S> {
    stream: S,
    limits: Limits,
    seam: Arc<Seam>,
    phase: Phase,
    /// What has come and hyper has not got.
    held: BytesMut,
    /// So many of the held bytes are hyper's.
    released: usize,
    end_of_input: bool,
    /// hyper's last write or flush had to wait: the response is not out yet.
    writing: bool,
    closing: Closing,
    clock: Clock,
}

/// What the next bytes are.
enum Phase {
    Head(HeadJudge),
    Body {
        body: Body,
        upgrade: bool,
    },
    /// Behind a request that asks for an upgrade: not known before the handler's answer is.
    Undecided,
    Tunnel,
    /// Behind a refused head: nothing.
    Refused,
    /// Behind a framing error: it.
    Broken(&'static str),
}

enum Closing {
    Open,
    /// Our side is shut. `patient`: bytes are outstanding, so wait for them.
    Lingering {
        left: usize,
        patient: bool,
    },
    Closed,
}

impl<S> Guarded<S> {
    pub(super) fn new(stream: S, limits: Limits, seam: Arc<Seam>) -> Self {
        Self {
            stream,
            limits,
            seam,
            phase: Phase::Head(HeadJudge::default()),
            held: BytesMut::new(),
            released: 0,
            end_of_input: false,
            writing: false,
            closing: Closing::Open,
            clock: Clock::new(Due::Head(Instant::now() + limits.header_timeout)),
        }
    }

    /// How many of `bytes`, the next ones of the connection, hyper may have: at most one head and its body. On refusal
    /// none, and the stand-in is held for it instead.
    fn admit(&mut self, bytes: &[u8]) -> usize {
        let mut admitted = 0;
        if let Phase::Head(judge) = &mut self.phase {
            let room = Room {
                head: self.limits.max_head_bytes,
                target: self.limits.max_target_bytes,
            };
            match judge.read(bytes, room) {
                Ok(None) => return 0,
                Ok(Some((end, framing))) => {
                    self.seam.release(
                        Mark {
                            refusal: None,
                            bytes: end,
                        },
                        framing.upgrade,
                    );
                    self.clock.due = Due::Never;
                    self.phase = Phase::Body {
                        body: framing.body(self.limits.max_head_bytes),
                        upgrade: framing.upgrade,
                    };
                    admitted = end;
                }
                Err(refusal) => {
                    self.refuse(refusal, bytes);
                    return 0;
                }
            }
        }
        if let Phase::Body { body, upgrade } = &mut self.phase {
            let taken = body.take(bytes.get(admitted..).unwrap_or_default());
            admitted += taken.count;
            match taken.then {
                Then::More => {}
                Then::End if *upgrade => self.phase = Phase::Undecided,
                Then::End => self.phase = Phase::Head(HeadJudge::default()),
                Then::Broken(fault) => self.phase = Phase::Broken(fault),
            }
        }
        admitted
    }

    /// Puts the stand-in in the place of a head of which `bytes` have come.
    fn refuse(&mut self, refusal: Refusal, bytes: &[u8]) {
        self.seam.release(
            Mark {
                refusal: Some(refusal),
                bytes: bytes.len(),
            },
            false,
        );
        self.clock.due = Due::Never;
        self.phase = Phase::Refused;
        self.held = BytesMut::from(&*stand_in(bytes, self.limits.max_target_bytes));
        self.released = self.held.len();
    }

    fn admit_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let admitted = self.admit(&held);
        if let Phase::Refused = self.phase {
            return;
        }
        self.held = held;
        self.released = admitted;
    }

    /// Takes what was read into `buf` from `start` on; leaves there what hyper may have.
    fn admit_read(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        let read = buf.filled().get(start..).unwrap_or_default();
        if !self.held.is_empty() || matches!(self.phase, Phase::Undecided) {
            self.held.extend_from_slice(read);
            buf.set_filled(start);
            return;
        }
        let admitted = self.admit(read);
        if !matches!(self.phase, Phase::Refused) {
            self.held.extend_from_slice(read.get(admitted..).unwrap_or_default());
        }
        buf.set_filled(start + admitted);
    }

    /// Hands over what is released and fits.
    fn deliver(&mut self, buf: &mut ReadBuf<'_>) {
        let count = self.released.min(buf.remaining());
        buf.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        self.released -= count;
        if self.held.is_empty() {
            // An idle connection shall hold no memory, and the usual request needs none.
            self.held = BytesMut::new();
        }
    }

    fn note_write(&mut self, pending: bool) {
        self.writing = pending;
        if !pending {
            self.clock.stop_idle();
        }
    }

    /// Where a head is due and the socket has nothing: waits for it as long as it may take. Ready: it is refused, or the
    /// connection has ended.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let begun = matches!(&self.phase, Phase::Head(judge) if judge.begun(self.held.len()));
        if begun {
            self.clock.start_head(self.limits.header_timeout);
        } else {
            match self.seam.quiet(cx.waker()) {
                Quiet::Busy => self.clock.due = Due::Never,
                Quiet::Draining if !self.writing => {
                    self.end_of_input = true;
                    return Poll::Ready(());
                }
                Quiet::DrainingUnused => self.clock.hasten(FIRST_BYTE_TIME),
                // While the last response is not out, the end of input would cut it off: the client has to take
                // some of it in this time.
                Quiet::Idle | Quiet::Draining => {
                    self.clock.start_idle(self.limits.idle_timeout);
                }
            }
        }
        ready!(self.clock.poll(cx));
        if begun {
            let held = std::mem::take(&mut self.held);
            self.refuse(Refusal::TimedOut, &held);
        } else {
            self.end_of_input = true;
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let start = buf.filled().len();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.released > 0 {
                this.deliver(buf);
                return Poll::Ready(Ok(()));
            }
            match this.phase {
                Phase::Head(_) => {
                    ready!(this.seam.poll_taken(cx.waker()));
                    this.admit_held();
                }
                Phase::Body { .. } => this.admit_held(),
                Phase::Undecided => match this.seam.poll_settled(cx.waker()) {
                    Poll::Ready(true) => {
                        this.released = this.held.len();
                        this.phase = Phase::Tunnel;
                    }
                    Poll::Ready(false) => {
                        this.phase = Phase::Head(HeadJudge::default());
                        continue;
                    }
                    Poll::Pending if this.held.len() >= MAX_UNDECIDED_BYTES => {
                        return Poll::Pending;
                    }
                    // The client is gone only for what it has sent before.
                    Poll::Pending if this.end_of_input && !this.held.is_empty() => {
                        return Poll::Pending;
                    }
                    Poll::Pending => {}
                },
                Phase::Tunnel => return Pin::new(&mut this.stream).poll_read(cx, buf),
                // The handler's answer and the closing come next, whatever the client does: nothing to wake for.
                Phase::Refused => return Poll::Pending,
                Phase::Broken(fault) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
            }
            if this.released > 0 || matches!(this.phase, Phase::Tunnel | Phase::Broken(_)) {
                continue;
            }
            if this.end_of_input {
                return Poll::Ready(Ok(()));
            }
            match Pin::new(&mut this.stream).poll_read(cx, buf)? {
                Poll::Ready(()) if buf.filled().len() == start => this.end_of_input = true,
                Poll::Ready(()) => {
                    this.admit_read(buf, start);
                    if buf.filled().len() > start {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Pending if matches!(this.phase, Phase::Head(_)) => {
                    ready!(this.poll_patience(cx))
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.note_write(written.is_pending());
        written
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = small_write::poll_write_vectored(Pin::new(&mut this.stream), cx, bufs);
        this.note_write(written.is_pending());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        this.writing = flushed.is_pending();
        flushed
    }

    /// Shuts our side, then reads and drops what the client still sends, so that no reset overtakes the response.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Closing::Open = this.closing {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.closing = if this.end_of_input || matches!(this.phase, Phase::Tunnel) {
                Closing::Closed
            } else {
                let between = matches!(this.phase, Phase::Head(_) | Phase::Undecided) && this.held.is_empty();
                Closing::Lingering {
                    left: LINGER_BYTES,
                    patient: !between,
                }
            };
            this.clock.due = Due::Linger(Instant::now() + LINGER_TIME);
        }
        while let Closing::Lingering { left, patient } = &mut this.closing {
            let mut dropped = [MaybeUninit::uninit(); 4096];
            let mut dropped = ReadBuf::uninit(&mut dropped);
            match Pin::new(&mut this.stream).poll_read(cx, &mut dropped) {
                Poll::Ready(Ok(())) if dropped.filled().is_empty() => this.closing = Closing::Closed,
                Poll::Ready(Ok(())) if dropped.filled().len() >= *left => this.closing = Closing::Closed,
                Poll::Ready(Ok(())) => {
                    *left -= dropped.filled().len();
                    *patient = true;
                }
                Poll::Ready(Err(_gone)) => this.closing = Closing::Closed,
                Poll::Pending => {
                    if *patient {
                        ready!(this.clock.poll(cx));
                    }
                    this.closing = Closing::Closed;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests;
