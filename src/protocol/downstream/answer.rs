//! An answer on its way to the client: its head, framed as the client can read it, and its body piece by piece.
//!
//! May depend on: the rest of the room.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{StatusCode, response};
use hyper::ext::ReasonPhrase;

use super::super::body::Next;
use super::super::outbox::{self, Framing, Misframed};
use super::super::response_head::has_no_body;
use super::{Downstream, MAX_DISCARD, Phase, Spelling};

/// What follows an answer on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The next request.
    Next,
    /// The end.
    Close,
}

impl Downstream {
    /// The head of the answer to the request under way; `length` of its body, if that is known. `last`: no request shall follow.
    pub fn answer(&mut self, head: &response::Parts, spelling: Option<&Spelling>, length: Option<u64>, last: bool) {
        self.framing = self.framing_of(head, length);
        let asked = self.asked;
        // Its body will not be asked for any more.
        self.asked.expects_continue = false;
        self.persists = asked.keep_alive
            && !last
            && !matches!(self.phase, Phase::Deaf)
            && !matches!(self.framing, Framing::UntilClose)
            && !self.leaves_body_behind(asked.expects_continue)
            && !says_close(&head.headers);
        let tunnel = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let keeps_length = match &self.framing {
            Framing::Nothing => asked.head || head.status == StatusCode::NOT_MODIFIED,
            Framing::Length(length) => outbox::said_length(&head.headers) == Some(*length),
            Framing::Chunked { .. } | Framing::UntilClose => false,
        };
        let text = self.outbox.text();
        status_line(text, head);
        outbox::fields(text, &head.headers, spelling, |name| match *name {
            header::CONTENT_LENGTH => !keeps_length,
            header::CONNECTION => !tunnel,
            header::TRANSFER_ENCODING => true,
            _ => false,
        });
        match &self.framing {
            Framing::Length(length) if !keeps_length => outbox::content_length(text, *length),
            Framing::Nothing if asked.head && outbox::said_length(&head.headers).is_none() => {
                // Of an upstream's answer to HEAD nobody knows how long it would have been.
                if let Some(length @ 1..) = length {
                    outbox::content_length(text, length);
                }
            }
            Framing::Chunked { .. } => outbox::field(text, b"transfer-encoding", b"chunked"),
            Framing::Nothing | Framing::Length(_) | Framing::UntilClose => {}
        }
        if tunnel {
        } else if !self.persists {
            outbox::field(text, b"connection", b"close");
        } else if !asked.http11 {
            outbox::field(text, b"connection", b"keep-alive");
        }
        if !head.headers.contains_key(header::DATE) {
            outbox::date(text);
        }
        text.extend_from_slice(b"\r\n");
    }

    /// RFC 9112 §6.3. Trailers go to a client that takes them, as far as they are declared.
    fn framing_of(&self, head: &response::Parts, length: Option<u64>) -> Framing {
        if self.asked.head || has_no_body(head.status) {
            return Framing::Nothing;
        }
        match length {
            Some(length) => Framing::Length(length),
            None if !self.asked.http11 => Framing::UntilClose,
            None => Framing::Chunked {
                declared: if self.asked.takes_trailers {
                    outbox::declared_trailers(&head.headers)
                } else {
                    Vec::new()
                },
            },
        }
    }

    /// Whether so much of the request's body is still to come that the connection is better given up. A client that waits for a
    /// 100 may send it or not (RFC 9110 §10.1.1), so nobody could tell what comes next.
    fn leaves_body_behind(&self, expects_continue: bool) -> bool {
        match &self.phase {
            Phase::Body(body) => expects_continue || body.length().is_some_and(|left| left > MAX_DISCARD),
            Phase::Head(_) | Phase::Deaf => false,
        }
    }

    /// Whether another piece of the body may be pushed before what there is has been written.
    pub fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// Some of the body.
    ///
    /// # Errors
    /// It is longer than its head had said.
    pub fn push(&mut self, data: Bytes) -> Result<(), Overrun> {
        match self.framing {
            // Nobody takes it: an answer to HEAD.
            Framing::Nothing => Ok(()),
            Framing::Length(_) | Framing::Chunked { .. } | Framing::UntilClose => {
                self.outbox.push(&mut self.framing, data).map_err(|Misframed| Overrun)
            }
        }
    }

    /// The body has ended.
    ///
    /// # Errors
    /// It is shorter than its head had said.
    pub fn finish(&mut self, trailers: Option<&HeaderMap>) -> Result<(), Overrun> {
        self.outbox
            .finish(&mut self.framing, trailers)
            .map_err(|Misframed| Overrun)
    }

    /// Writes what there is.
    ///
    /// # Errors
    /// The client is gone, or has taken nothing for `idle_timeout` (hardening r38).
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.outbox.sent();
        let flushed = self.outbox.poll_flush(&mut self.stream, cx);
        if flushed.is_ready() || self.outbox.sent() > before {
            self.clock.stop_idle();
        }
        if flushed.is_pending() || self.outbox.sent() > before {
            self.clock.stop_last_words();
        }
        if let Poll::Ready(flushed) = flushed {
            return Poll::Ready(flushed);
        }
        self.clock.start_idle(self.limits.idle_timeout);
        ready!(self.clock.poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// What follows the answer, now that it is out. Of a chunked body what has come is dropped; a client that is not through with
    /// it by then is not waited for.
    pub fn after(&mut self, cx: &mut Context<'_>) -> After {
        if !self.persists {
            return After::Close;
        }
        while let Phase::Body(body) = &mut self.phase {
            if body.length().is_some() {
                break;
            }
            match body.next(&mut self.held) {
                Next::Data(_) | Next::Trailers(_) => {}
                Next::End => self.phase = Phase::Head(super::HeadJudge::default()),
                Next::Broken(_) => return After::Close,
                Next::Starved => match self.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) if self.held.len() < super::MAX_AHEAD => {}
                    Poll::Ready(_) | Poll::Pending => return After::Close,
                },
            }
        }
        After::Next
    }
}

/// A body was longer or shorter than its head had said.
#[derive(Debug)]
pub struct Overrun;

fn status_line(text: &mut Vec<u8>, head: &response::Parts) {
    text.reserve(512);
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(head.status.as_str().as_bytes());
    text.push(b' ');
    let reason = if head.extensions.is_empty() {
        None
    } else {
        head.extensions.get().map(ReasonPhrase::as_bytes)
    };
    let reason = reason.or_else(|| head.status.canonical_reason().map(str::as_bytes));
    text.extend_from_slice(reason.unwrap_or_default());
    text.extend_from_slice(b"\r\n");
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value == "close")
}
