//! The head guard: a stream wrapper between a connection and hyper's HTTP/1 server. This file is its seam; one head is
//! judged in `head` (its first line in `request_line`), bodies are framed in `body`, reading and writing are in
//! `stream`, timers in `clock`.
//!
//! hyper accepts what the contract refuses: it drops a Content-Length that stands beside a Transfer-Encoding, takes bare
//! LF, merges equal Content-Lengths, cuts `#…` off, and answers what even it refuses by itself, without a hook. So hyper
//! sees a head only after it was judged here. A refused head is replaced by a minimal one that hyper takes, with a mark
//! that the request handler reads: even a malformed request goes the one natural way.
//!
//! ```text
//! socket ── HeadGuard ── hyper ── handler
//!               │ marks             │ Heads::take, Heads::settle_upgrade, Exchange
//!               └─────── Seam ──────┘
//! ```
//!
//! hyper keeps its defaults: no `header_read_timeout` (the guard has the timers), `max_headers` unset (its parser's tables
//! then stay on the stack), `max_buf_size` no smaller than [`MAX_HEAD_BYTES`].
//!
//! May depend on: hyper's and tokio's I/O traits; nothing of the crate.

mod body;
mod clock;
mod head;
mod octets;
mod refusal;
mod request_line;
mod stream;

pub use head::{Framing, judge_head, judge_head_within};
pub use refusal::{Fault, Refusal};
pub use request_line::is_target;
pub use stream::FIRST_BYTE_TIME;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};

use stream::Guarded;

/// Most header fields of one head. hyper's own default, as Envoy's and about HAProxy's: one more is
/// [`Refusal::HeadTooLarge`].
pub const MAX_HEADERS: usize = 100;

/// Upper bound of [`Limits::max_head_bytes`]: what fits hyper's read buffer (its default, 408 KiB), with room to spare.
pub const MAX_HEAD_BYTES: usize = 400 * 1024;

/// Upper bound of [`Limits::max_target_bytes`]: what `http::Uri` can hold, less the rest of the request line.
pub const MAX_TARGET_BYTES: usize = u16::MAX as usize - 1 - request_line::REQUEST_LINE_ROOM;

/// What a client may send, and how long it may take. Larger sizes than the `MAX_…` above count as those.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a whole request head, its last empty line included; also of a chunked body's trailers. Beyond: 431.
    pub max_head_bytes: usize,
    /// Bytes of a request target; the request line may be 64 bytes longer. Beyond: 414.
    pub max_target_bytes: usize,
    /// From the first byte of a head to its last (408); from the connection's start to the end of its first head, or
    /// until it is closed without a word if no byte came.
    pub header_timeout: Duration,
    /// From the end of an exchange to the next head's first byte; then the connection ends without a word.
    pub idle_timeout: Duration,
}

/// A client's connection, as hyper is to see it. One for each connection; cleartext or inside TLS.
pub struct HeadGuard<S> {
    // hyper's read cursor can only be filled in place by unsafe code. TokioIo has it, so the guard speaks tokio's traits.
    io: TokioIo<Guarded<S>>,
}

impl<S> HeadGuard<S> {
    /// Guards `stream`; the clock of its first head starts now. `Heads` goes to the connection's request handler.
    pub fn new(stream: S, limits: Limits) -> (Self, Heads) {
        let limits = Limits {
            max_head_bytes: limits.max_head_bytes.min(MAX_HEAD_BYTES),
            max_target_bytes: limits.max_target_bytes.min(MAX_TARGET_BYTES),
            ..limits
        };
        let seam = Arc::new(Seam::default());
        let guarded = Guarded::new(stream, limits, Arc::clone(&seam));
        (
            Self {
                io: TokioIo::new(guarded),
            },
            Heads { seam },
        )
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Read for HeadGuard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Write for HeadGuard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        Write::is_write_vectored(&self.io)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The request handler's side of the seam; one for each connection, cheap to clone.
#[derive(Clone)]
pub struct Heads {
    seam: Arc<Seam>,
}

impl Heads {
    /// The mark of the head that hyper has just parsed. To be called exactly once for each request, before anything else;
    /// until then the guard lets no further head through. A request without a mark is refused.
    pub fn take(&self) -> Head {
        let mut state = self.seam.state.lock();
        let Mark { refusal, bytes } = state.mark.take().unwrap_or(Mark {
            refusal: Some(Refusal::Malformed(Fault::Unmarked)),
            bytes: 0,
        });
        state.exchanges += 1;
        state.unblock();
        drop(state);
        Head {
            refusal,
            bytes,
            exchange: Exchange {
                seam: Arc::clone(&self.seam),
            },
        }
    }

    /// What follows an HTTP/1.1 request with an `Upgrade` header: after `true` (just before a 101 is returned) bytes pass
    /// through untouched for good; after `false` requests are read on. Without effect for any other request. An
    /// [`Exchange`] that ends unsettled has declined.
    pub fn settle_upgrade(&self, tunnel: bool) {
        self.seam.state.lock().settle_upgrade(tunnel);
    }

    /// From now on the connection ends (for hyper: end of input) as soon as it is between requests. A head of which a
    /// byte has come may still be finished, and is answered; so is the first of a connection that was only just made, if it
    /// comes soon.
    pub fn drain(&self) {
        let mut state = self.seam.state.lock();
        state.draining = true;
        state.wake();
    }
}

/// One request head, as the guard saw it.
#[must_use]
pub struct Head {
    /// Why the request is to be refused; hyper then has a stand-in with `Connection: close` that at best keeps its method
    /// and path, and nothing that follows on the connection is read.
    pub refusal: Option<Refusal>,
    /// Bytes of the head on the wire; of a refused one, those that had come.
    pub bytes: usize,
    /// To be kept until the response's body has ended.
    pub exchange: Exchange,
}

/// A request under way. Keep it inside the response's body, which hyper drops at its end: while it lives, the connection
/// is not idle.
pub struct Exchange {
    seam: Arc<Seam>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.seam.state.lock();
        state.exchanges -= 1;
        if state.exchanges == 0 {
            state.settle_upgrade(false);
        }
        // The idle clock needs no waking: with the response's end hyper turns to the next head, and so reads.
        if state.draining {
            state.wake();
        }
    }
}

/// What the guard and the handler share.
#[derive(Default)]
struct Seam {
    state: Mutex<SeamState>,
}

#[derive(Default)]
struct SeamState {
    // INVARIANT: one slot. The next head is released only when it is empty, so marks and requests cannot drift apart.
    mark: Option<Mark>,
    exchanges: usize,
    /// A head has come.
    used: bool,
    upgrade: Upgrade,
    draining: bool,
    /// The connection's task, as it last waited for something that the handler does.
    waker: Option<Waker>,
    /// The guard waits for the handler alone: no socket will wake it.
    blocked: bool,
}

struct Mark {
    refusal: Option<Refusal>,
    bytes: usize,
}

#[derive(Clone, Copy, Default)]
enum Upgrade {
    #[default]
    NotAsked,
    Asked,
    Settled {
        tunnel: bool,
    },
}

/// What an empty-handed guard may expect of the handler.
enum Quiet {
    /// A request is under way.
    Busy,
    /// Nothing is.
    Idle,
    /// Nothing is, and nothing more shall be.
    Draining,
    /// Nothing more shall be, but for the first request, which a client that was just let in is about to send.
    DrainingUnused,
}

impl Seam {
    /// Announces the head that hyper gets next.
    fn release(&self, mark: Mark, upgrade: bool) {
        let mut state = self.state.lock();
        debug_assert!(state.mark.is_none(), "a mark would be lost");
        state.mark = Some(mark);
        state.used = true;
        state.upgrade = if upgrade { Upgrade::Asked } else { Upgrade::NotAsked };
    }

    /// Whether the last mark is still to be taken; `waker` is woken when it is.
    fn poll_taken(&self, waker: &Waker) -> Poll<()> {
        let mut state = self.state.lock();
        match state.mark {
            None => Poll::Ready(()),
            Some(_) => {
                state.block(waker);
                Poll::Pending
            }
        }
    }

    /// Whether the upgrade was settled, and how; `waker` is woken when it is.
    fn poll_settled(&self, waker: &Waker) -> Poll<bool> {
        let mut state = self.state.lock();
        match state.upgrade {
            Upgrade::NotAsked => Poll::Ready(false),
            Upgrade::Settled { tunnel } => Poll::Ready(tunnel),
            Upgrade::Asked => {
                state.block(waker);
                Poll::Pending
            }
        }
    }

    /// What goes on; `waker` is woken when that becomes [`Quiet::Draining`].
    fn quiet(&self, waker: &Waker) -> Quiet {
        let mut state = self.state.lock();
        state.remember(waker);
        if state.exchanges > 0 || state.mark.is_some() {
            Quiet::Busy
        } else if state.draining && state.used {
            Quiet::Draining
        } else if state.draining {
            Quiet::DrainingUnused
        } else {
            Quiet::Idle
        }
    }
}

impl SeamState {
    fn settle_upgrade(&mut self, tunnel: bool) {
        if let Upgrade::Asked = self.upgrade {
            self.upgrade = Upgrade::Settled { tunnel };
            self.unblock();
        }
    }

    fn block(&mut self, waker: &Waker) {
        self.remember(waker);
        self.blocked = true;
    }

    fn unblock(&mut self) {
        if std::mem::take(&mut self.blocked) {
            self.wake();
        }
    }

    fn remember(&mut self, waker: &Waker) {
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            self.waker = Some(waker.clone());
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests;
