//! A client's connection: its requests, one after the other. Their bodies are read in `body`, answers are written in `answer`, the
//! end is in `close`.
//!
//! A head is judged before anything of it is parsed; what is refused arrives as a refusal, so that even a malformed request goes
//! the one natural way. Behind a refused head nothing is read.
//!
//! May depend on: the rest of this room.

mod answer;
mod body;
mod close;

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{Method, Request, Version};
use tokio::time::Instant;

use super::body::Body;
use super::clock::{Clock, Due};
use super::fields::Spelling;
use super::outbox::{Framing, Outbox};
use super::refusal::{Fault, Refusal};
use super::request_head::{HeadJudge, RequestHead, Room};
use super::request_line::told_of;
use super::scratch::{self, Flow};
use super::stream::Stream;
use super::{MAX_HEAD_BYTES, MAX_TARGET_BYTES};

pub use answer::{After, Overrun};
pub use body::{Cut, RequestStream};

use close::Closing;

/// Bytes taken from a client that sends on before its request is answered; then its socket has to wait.
const MAX_AHEAD: usize = 16 * 1024;

/// The rest of a body that nobody wants is read and dropped up to this many bytes, so that the connection can go on.
const MAX_DISCARD: u64 = 64 * 1024;

/// How long a connection that was made just before a drain may take to send its first byte. Its client was told that it is
/// connected, and is about to ask.
pub const FIRST_BYTE_TIME: Duration = Duration::from_secs(1);

/// A client that says no more may still read (RFC 9112 §9.6), or have gone: what tells the two apart is whether it takes what is
/// written to it. While nothing is written it counts as there for so long.
pub const LAST_WORDS_TIME: Duration = Duration::from_secs(5);

/// What a client may send, and how long it may take. Sizes above the room's `MAX_…` count as those.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a whole request head, its last empty line included; also of a chunked body's trailers. Beyond: 431.
    pub max_head_bytes: usize,
    /// Bytes of a request target; the request line may be 64 bytes longer. Beyond: 414.
    pub max_target_bytes: usize,
    /// From the first byte of a head to its last (408); from the connection's start to the end of its first head, or until it is
    /// closed without a word if no byte came.
    pub header_timeout: Duration,
    /// From the end of an exchange to the next head's first byte; then the connection ends without a word.
    pub idle_timeout: Duration,
}

/// A request as it came.
#[derive(Debug)]
pub struct Arrival {
    /// Its head; of a refused one what can be told of it.
    pub request: Request<()>,
    /// How its names were written, if that is kept.
    pub spelling: Option<Spelling>,
    /// Why it is to be refused.
    pub refusal: Option<Refusal>,
    /// Whether a body follows, and how long it is.
    pub body: Option<BodyLength>,
}

/// How long a body is, as its head says.
#[derive(Debug, Clone, Copy)]
pub enum BodyLength {
    /// So many bytes, at least one.
    Known(u64),
    /// As its chunks say.
    Chunked,
}

/// One client's connection.
#[derive(Debug)]
pub struct Downstream {
    stream: Stream,
    limits: Limits,
    keep_spelling: bool,
    phase: Phase,
    /// What has come and was not taken yet.
    held: BytesMut,
    flow: Flow,
    end_of_input: bool,
    /// A head has come.
    used: bool,
    clock: Clock,
    asked: Asked,
    outbox: Outbox,
    framing: Framing,
    /// The connection goes on behind the answer that is under way.
    persists: bool,
    closing: Closing,
}

/// What the next bytes are.
#[derive(Debug)]
enum Phase {
    Head(HeadJudge),
    Body(Body),
    /// Behind a refused head, or what could not be framed: nothing.
    Deaf,
}

/// What the request under way has to say about its answer.
#[derive(Debug, Default, Clone, Copy)]
struct Asked {
    http11: bool,
    head: bool,
    keep_alive: bool,
    takes_trailers: bool,
    /// The body comes when it is asked for.
    expects_continue: bool,
}

impl Downstream {
    /// A connection whose first head's clock starts now; `ahead` was read of it before.
    #[must_use]
    pub fn new(stream: Stream, ahead: &[u8], limits: Limits, keep_spelling: bool) -> Self {
        let limits = Limits {
            max_head_bytes: limits.max_head_bytes.min(MAX_HEAD_BYTES),
            max_target_bytes: limits.max_target_bytes.min(MAX_TARGET_BYTES),
            ..limits
        };
        Self {
            stream,
            limits,
            keep_spelling,
            phase: Phase::Head(HeadJudge::default()),
            held: BytesMut::from(ahead),
            flow: Flow::Few,
            end_of_input: false,
            used: false,
            clock: Clock::new(Due::Head(Instant::now() + limits.header_timeout)),
            asked: Asked::default(),
            outbox: Outbox::default(),
            framing: Framing::Nothing,
            persists: true,
            closing: Closing::Open,
        }
    }

    /// The next request; `None`: there is none, the connection is to be closed. When `draining`, only one of which a byte has come,
    /// or the first of a connection that was only just made, if it comes soon.
    pub fn poll_arrival(&mut self, cx: &mut Context<'_>, draining: bool) -> Poll<Option<Arrival>> {
        loop {
            if let Phase::Body(_) = self.phase
                && !ready!(self.poll_discard(cx))
            {
                return Poll::Ready(None);
            }
            let Phase::Head(judge) = &mut self.phase else {
                return Poll::Ready(None);
            };
            if !self.held.is_empty() {
                let room = Room {
                    head: self.limits.max_head_bytes,
                    target: self.limits.max_target_bytes,
                };
                match judge.read(&self.held, room) {
                    Ok(Some((end, framing))) => {
                        let body = framing.body(self.limits.max_head_bytes);
                        return Poll::Ready(Some(self.arrive(end, body)));
                    }
                    Err(refusal) => return Poll::Ready(Some(self.refuse(refusal))),
                    Ok(None) => {}
                }
            }
            if self.end_of_input {
                return Poll::Ready(None);
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0)) => self.end_of_input = true,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_gone)) => return Poll::Ready(None),
                Poll::Pending => return self.poll_patience(cx, draining),
            }
        }
    }

    /// A sound head of `end` bytes.
    fn arrive(&mut self, end: usize, body: Body) -> Arrival {
        let Phase::Head(judge) = std::mem::replace(&mut self.phase, Phase::Deaf) else {
            return self.refuse(Refusal::Malformed(Fault::Incomplete));
        };
        let head = if end == self.held.len() {
            std::mem::take(&mut self.held).freeze()
        } else {
            self.held.split_to(end).freeze()
        };
        let Some(RequestHead {
            request,
            spelling,
            keep_alive,
            expects_continue,
            takes_trailers,
        }) = judge.request(&head, self.keep_spelling)
        else {
            return self.refuse(Refusal::Malformed(Fault::RequestLine));
        };
        self.clock.due = Due::Never;
        self.used = true;
        self.asked = Asked {
            http11: request.version() == Version::HTTP_11,
            head: *request.method() == Method::HEAD,
            keep_alive,
            takes_trailers,
            expects_continue,
        };
        let length = match &body {
            Body::Length(0) => None,
            Body::Length(length) => Some(BodyLength::Known(*length)),
            Body::Chunked(_) | Body::UntilClose => Some(BodyLength::Chunked),
        };
        self.phase = match length {
            None => Phase::Head(HeadJudge::default()),
            Some(_) => Phase::Body(body),
        };
        Arrival {
            request,
            spelling,
            refusal: None,
            body: length,
        }
    }

    fn refuse(&mut self, refusal: Refusal) -> Arrival {
        self.clock.due = Due::Never;
        self.phase = Phase::Deaf;
        let request = told_of(&self.held, self.limits.max_target_bytes);
        self.asked = Asked {
            http11: request.version() == Version::HTTP_11,
            head: *request.method() == Method::HEAD,
            ..Asked::default()
        };
        Arrival {
            request,
            spelling: None,
            refusal: Some(refusal),
            body: None,
        }
    }

    /// Where a head is due and the socket has nothing: waits for it as long as it may take. Ready: it is refused, or the connection
    /// has ended.
    fn poll_patience(&mut self, cx: &mut Context<'_>, draining: bool) -> Poll<Option<Arrival>> {
        let begun = matches!(&self.phase, Phase::Head(judge) if judge.begun(self.held.len()));
        if begun {
            self.clock.start_head(self.limits.header_timeout);
        } else if draining && self.used {
            return Poll::Ready(None);
        } else if draining {
            self.clock.hasten(FIRST_BYTE_TIME);
        } else {
            self.clock.start_idle(self.limits.idle_timeout);
        }
        ready!(self.clock.poll(cx));
        Poll::Ready(begun.then(|| self.refuse(Refusal::TimedOut)))
    }

    /// Ready when the client has gone, or says no more and nothing was written to it for [`LAST_WORDS_TIME`], while its whole request
    /// is under way. To be asked when all is written that there is. What the client sends on is kept for later, up to a bound.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while matches!(self.phase, Phase::Head(_)) && !self.end_of_input && self.held.len() < MAX_AHEAD {
            match ready!(self.poll_fill(cx)) {
                Ok(0) => self.end_of_input = true,
                Ok(_) => {}
                Err(_gone) => return Poll::Ready(()),
            }
        }
        if !self.end_of_input {
            return Poll::Pending;
        }
        self.clock.start_last_words(LAST_WORDS_TIME);
        self.clock.poll(cx)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        scratch::poll_fill(&mut self.stream, cx, &mut self.held, &mut self.flow)
    }
}

#[cfg(test)]
mod tests;
