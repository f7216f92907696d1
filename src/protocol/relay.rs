//! Bytes both ways between two streams, untouched, once they speak something else than HTTP. A relay that has nothing to carry
//! holds no buffer, so that a socket that is silent for hours costs little more than itself.
//!
//! May depend on: the room that connections share, and how long a side that says no more counts as there.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use super::downstream::LAST_WORDS_TIME;
use super::scratch::{self, Flow};

/// The bytes under way between a client and an upstream.
#[derive(Debug)]
pub struct Relay {
    from_client: Way,
    from_upstream: Way,
    ending: Option<Pin<Box<Sleep>>>,
}

/// How long a side may take nothing of what there is for it. Zero: for ever.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// The client.
    pub client: Duration,
    /// The upstream.
    pub upstream: Duration,
}

impl Relay {
    /// Of streams of which these bytes were read before.
    #[must_use]
    pub fn new(from_client: Bytes, from_upstream: Bytes) -> Self {
        Self {
            from_client: Way::new(from_client),
            from_upstream: Way::new(from_upstream),
            ending: None,
        }
    }

    /// Bytes that the client sent.
    #[must_use]
    pub const fn from_client(&self) -> u64 {
        self.from_client.carried
    }

    /// Bytes that the upstream sent.
    #[must_use]
    pub const fn from_upstream(&self) -> u64 {
        self.from_upstream.carried
    }

    /// Ready when both sides have ended, or either is broken, takes nothing, or outlives the other: how a conversation ends is its
    /// own protocol's affair.
    pub fn poll<C, U>(&mut self, cx: &mut Context<'_>, client: &mut C, upstream: &mut U, patience: Patience) -> Poll<()>
    where
        C: AsyncRead + AsyncWrite + Unpin,
        U: AsyncRead + AsyncWrite + Unpin,
    {
        let there = self.from_client.poll(cx, client, upstream, patience.upstream);
        let back = self.from_upstream.poll(cx, upstream, client, patience.client);
        match (there, back) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(()),
            (Poll::Ready(Err(_)), _) | (_, Poll::Ready(Err(_))) => return Poll::Ready(()),
            (Poll::Pending, _) | (_, Poll::Pending) => {}
        }
        if !self.from_client.has_ended() && !self.from_upstream.has_ended() {
            return Poll::Pending;
        }
        let ending = self.ending.get_or_insert_with(|| Box::pin(sleep(LAST_WORDS_TIME)));
        ending.as_mut().poll(cx)
    }
}

/// One direction.
#[derive(Debug)]
struct Way {
    /// What was read and not taken yet.
    held: BytesMut,
    flow: Flow,
    carried: u64,
    stage: Stage,
    /// Something was written since the last flush.
    unflushed: bool,
    /// Runs while the other side takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Its source has no more to say.
    Ending,
    /// And that was told.
    Ended,
}

impl Way {
    fn new(ahead: Bytes) -> Self {
        Self {
            carried: ahead.len() as u64,
            held: BytesMut::from(ahead),
            flow: Flow::Few,
            stage: Stage::Open,
            unflushed: false,
            stalled: None,
        }
    }

    fn has_ended(&self) -> bool {
        self.stage != Stage::Open
    }

    /// Ready when all was said, or it cannot be.
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W, patience: Duration) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        loop {
            while !self.held.is_empty() {
                match Pin::new(&mut *to).poll_write(cx, &self.held)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(count) => {
                        self.held.advance(count);
                        self.unflushed = true;
                        self.stalled = None;
                    }
                    Poll::Pending => return self.poll_stalled(cx, patience),
                }
            }
            match self.stage {
                Stage::Ended => return Poll::Ready(Ok(())),
                Stage::Ending => match Pin::new(&mut *to).poll_shutdown(cx)? {
                    Poll::Ready(()) => self.stage = Stage::Ended,
                    Poll::Pending => return self.poll_stalled(cx, patience),
                },
                Stage::Open => match scratch::poll_fill(from, cx, &mut self.held, &mut self.flow)? {
                    Poll::Ready(0) => self.stage = Stage::Ending,
                    Poll::Ready(count) => self.carried += count as u64,
                    Poll::Pending => {
                        // Room for a large message is not kept until the next.
                        (self.held, self.flow) = (BytesMut::new(), Flow::Few);
                        return self.poll_flushed(cx, to, patience);
                    }
                },
            }
        }
    }

    /// There is nothing to carry; what was written goes out for sure.
    fn poll_flushed<W>(&mut self, cx: &mut Context<'_>, to: &mut W, patience: Duration) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        if self.unflushed {
            if Pin::new(to).poll_flush(cx)?.is_pending() {
                return self.poll_stalled(cx, patience);
            }
            (self.unflushed, self.stalled) = (false, None);
        }
        Poll::Pending
    }

    /// The other side takes nothing: an error when that has lasted too long (hardening r38).
    fn poll_stalled(&mut self, cx: &mut Context<'_>, patience: Duration) -> Poll<io::Result<()>> {
        if patience.is_zero() {
            return Poll::Pending;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}
