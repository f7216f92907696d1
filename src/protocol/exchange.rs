//! One request and its response on a connection to an upstream, driven by whoever waits for the response: no task, no queue.
//!
//! Both directions go on at once: while the response is waited for or read, the request's body flows as the upstream takes it. A
//! connection comes out of an exchange again only if both messages ended cleanly (RFC 9112 §9.3).
//!
//! May depend on: the rest of this room.

mod fault;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Method, Version};
use http_body::Frame;
use tokio::time::Instant;

use super::body::{Body, Next};
use super::clock::Due;
use super::outbox::{Framing, Outbox};
pub use super::response_head::ResponseHead;
use super::response_head::{Judged, ResponseJudge};
use super::scratch::{self, Flow};
use super::stream::Stream;
use super::turn::in_turn;
use super::upstream::{Connection, Outgoing, framing_of, write_head};
pub use fault::Fault;

/// Interim responses before the final one; more are nonsense.
const MAX_INTERIM: u8 = 32;

/// How long an exchange may stand still. Zero: for ever.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// While the request's body flows.
    pub body_idle: Duration,
    /// From the last byte of the request to the response's head.
    pub response: Duration,
}

/// One request and its response, with the request's body.
#[derive(Debug)]
pub struct Exchange<B> {
    connection: Connection,
    outbox: Outbox,
    upload: Upload<B>,
    /// What has come and was not taken yet.
    held: BytesMut,
    flow: Flow,
    answer: Answer,
    to_head: bool,
    keep_spelling: bool,
    interim: u8,
    /// How long the upstream may take nothing of the request's body, also once it has begun to answer.
    body_idle: Duration,
}

#[derive(Debug)]
enum Upload<B> {
    /// The body flows.
    Flowing {
        body: B,
        framing: Framing,
        /// It was asked for more and has none.
        starved: bool,
        /// Nothing was taken of it.
        whole: bool,
    },
    /// All of the request is in the outbox, or written.
    Whole,
    /// The upstream takes no more of it.
    Refused,
}

#[derive(Debug)]
enum Answer {
    Head(ResponseJudge),
    Body {
        body: Body,
        keep_alive: bool,
    },
    /// Cleanly.
    Ended {
        keep_alive: bool,
    },
    Failed,
}

impl<B> Exchange<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
{
    /// Begins a request; nothing is written before the response is waited for.
    #[must_use]
    pub fn begin(mut connection: Connection, request: Outgoing<'_>, body: B) -> Self {
        let mut outbox = Outbox::default();
        let framing = framing_of(&request.head.headers, &body);
        write_head(outbox.text(), &request, &framing);
        let upload = match framing {
            Framing::Nothing => Upload::Whole,
            Framing::Length(_) | Framing::Chunked { .. } | Framing::UntilClose => Upload::Flowing {
                body,
                framing,
                starved: false,
                whole: true,
            },
        };
        connection.clock.due = Due::Never;
        Self {
            connection,
            outbox,
            upload,
            held: BytesMut::new(),
            // Answers to one HTTP/2 client wait side by side, up to a hundred of them (hardening r37).
            flow: if request.head.version == Version::HTTP_2 {
                Flow::Sparing
            } else {
                Flow::Few
            },
            answer: Answer::Head(ResponseJudge::default()),
            to_head: request.head.method == Method::HEAD,
            keep_spelling: request.spelling.is_some(),
            interim: 0,
            body_idle: Duration::ZERO,
        }
    }

    /// The body, of a request of which nothing was sent; `None`: there is none, or it is not whole.
    pub fn into_body(self) -> Option<B> {
        match self.upload {
            Upload::Flowing { body, whole: true, .. } => Some(body),
            Upload::Flowing { .. } | Upload::Whole | Upload::Refused => None,
        }
    }

    /// Sends the request and waits for the response's head.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn head(&mut self, patience: Patience) -> Result<ResponseHead, Fault> {
        self.body_idle = patience.body_idle;
        in_turn().await;
        std::future::poll_fn(|cx| self.poll_head(cx, patience)).await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>, patience: Patience) -> Poll<Result<ResponseHead, Fault>> {
        let moved = self.poll_send(cx)?;
        loop {
            if let Some(head) = self.judge()? {
                return Poll::Ready(Ok(head));
            }
            match self.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) if self.outbox.sent() > 0 => return Poll::Ready(Err(Fault::Broken)),
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Fault::Unsent)),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending => break,
            }
        }
        self.watch(moved, patience);
        ready!(self.connection.clock.poll(cx));
        Poll::Ready(Err(match self.upload {
            Upload::Flowing { starved: true, .. } => Fault::Starved,
            Upload::Flowing { .. } | Upload::Whole | Upload::Refused => Fault::TimedOut,
        }))
    }

    /// Sets what is due: the body's next move, or the response.
    fn watch(&mut self, moved: bool, patience: Patience) {
        let clock = &mut self.connection.clock;
        let timeout = match self.upload {
            Upload::Flowing { .. } => patience.body_idle,
            Upload::Whole if !self.outbox.is_empty() => patience.body_idle,
            Upload::Whole | Upload::Refused => patience.response,
        };
        if timeout.is_zero() {
            clock.due = Due::Never;
        } else if moved || matches!(clock.due, Due::Never) {
            clock.due = Due::Answer(Instant::now() + timeout);
        }
    }

    /// The next of the response's body; `None`: it has ended, cleanly.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if let Err(fault) = self.send_on(cx) {
            return self.fails(fault);
        }
        loop {
            let (body, keep_alive) = match &mut self.answer {
                Answer::Body { body, keep_alive } => (body, keep_alive),
                // It failed while only the request went on: what came of the response is not all of it.
                Answer::Failed => return Poll::Ready(Some(Err(Fault::Broken))),
                Answer::Head(_) | Answer::Ended { .. } => return Poll::Ready(None),
            };
            match body.next(&mut self.held) {
                Next::Data(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Next::Trailers(trailers) => return Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                Next::End => {
                    self.answer = Answer::Ended {
                        keep_alive: *keep_alive,
                    };
                    return Poll::Ready(None);
                }
                Next::Broken(fault) => return self.fails(Fault::Nonsense(fault)),
                Next::Starved => match ready!(self.poll_fill(cx)) {
                    Ok(0)
                        if matches!(
                            self.answer,
                            Answer::Body {
                                body: Body::UntilClose,
                                ..
                            }
                        ) =>
                    {
                        self.answer = Answer::Ended { keep_alive: false };
                    }
                    Ok(0) | Err(_) => return self.fails(Fault::Broken),
                    Ok(_) => {}
                },
            }
        }
    }

    fn fails(&mut self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.answer = Answer::Failed;
        Poll::Ready(Some(Err(fault)))
    }

    /// Sends on while nobody asks for the response's next: the client may be slow to take it and still be sending.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Err(_fault) = self.send_on(cx) {
            self.answer = Answer::Failed;
        }
    }

    /// Sends on while the response is under way, unless the upstream takes nothing for too long. That the client sends nothing is no
    /// fault any more: both may talk for hours.
    fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), Fault> {
        let moved = self.poll_send(cx)?;
        let clock = &mut self.connection.clock;
        if self.outbox.is_empty() || self.body_idle.is_zero() {
            clock.due = Due::Never;
            return Ok(());
        }
        if moved || matches!(clock.due, Due::Never) {
            clock.due = Due::Answer(Instant::now() + self.body_idle);
        }
        match clock.poll(cx) {
            Poll::Ready(()) => Err(Fault::TimedOut),
            Poll::Pending => Ok(()),
        }
    }

    /// Whether the response has come to its end.
    pub fn is_end(&self) -> bool {
        match &self.answer {
            Answer::Ended { .. } => true,
            Answer::Body { body, .. } => body.length() == Some(0),
            Answer::Head(_) | Answer::Failed => false,
        }
    }

    /// How long the rest of the response's body is, if that is known.
    pub const fn length(&self) -> Option<u64> {
        match &self.answer {
            Answer::Body { body, .. } => body.length(),
            Answer::Ended { .. } => Some(0),
            Answer::Head(_) | Answer::Failed => None,
        }
    }

    /// The connection, if it may be used again: request and response ended cleanly, and nothing came behind (hardening r33).
    pub fn into_connection(self) -> Option<Connection> {
        let ended = match &self.answer {
            Answer::Ended { keep_alive } => *keep_alive,
            Answer::Body { body, keep_alive } => body.length() == Some(0) && *keep_alive,
            Answer::Head(_) | Answer::Failed => false,
        };
        let clean = ended && self.held.is_empty() && self.outbox.is_empty() && matches!(self.upload, Upload::Whole);
        clean.then_some(self.connection)
    }

    /// The stream, after a 101, and what came behind it.
    pub fn into_stream(self) -> (Stream, Bytes) {
        (self.connection.stream, self.held.freeze())
    }

    /// Moves as much of the request as can be moved; whether any was.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let mut moved = false;
        loop {
            moved |= self.poll_load(cx)?;
            if self.outbox.is_empty() {
                return Ok(moved);
            }
            let before = self.outbox.sent();
            let flushed = self.outbox.poll_flush(&mut self.connection.stream, cx);
            moved |= self.outbox.sent() > before;
            match flushed {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => return Ok(moved),
                Poll::Ready(Err(_)) if self.outbox.sent() == 0 => return Err(Fault::Unsent),
                Poll::Ready(Err(_)) => {
                    // It may have answered before it stopped to listen.
                    self.upload = Upload::Refused;
                    self.outbox = Outbox::default();
                    return Ok(moved);
                }
            }
        }
    }

    /// Takes what the request's body has, as far as there is room for it; whether it had any.
    fn poll_load(&mut self, cx: &mut Context<'_>) -> Result<bool, Fault> {
        let mut moved = false;
        while let Upload::Flowing {
            body,
            framing,
            starved,
            whole,
        } = &mut self.upload
        {
            if !self.outbox.has_room() {
                break;
            }
            let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
                *starved = true;
                break;
            };
            (*starved, *whole, moved) = (false, false, true);
            let loaded = match frame.transpose().map_err(|_| Fault::RequestBody)?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.outbox.push(framing, data).map_err(|_| Fault::RequestBody)?;
                    continue;
                }
                Some(Err(frame)) => self.outbox.finish(framing, frame.trailers_ref()),
                None => self.outbox.finish(framing, None),
            };
            loaded.map_err(|_| Fault::RequestBody)?;
            self.upload = Upload::Whole;
        }
        Ok(moved)
    }

    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        scratch::poll_fill(&mut self.connection.stream, cx, &mut self.held, &mut self.flow)
    }

    /// The final head, if it has come; interim ones are dropped: nobody waits for them.
    fn judge(&mut self) -> Result<Option<ResponseHead>, Fault> {
        loop {
            let Answer::Head(judge) = &mut self.answer else {
                return Ok(None);
            };
            let Some(end) = judge.read(&self.held).map_err(Fault::Nonsense)? else {
                return Ok(None);
            };
            let judge = std::mem::take(judge);
            let text = self.held.split_to(end).freeze();
            let judged = judge.response(&text, self.to_head, self.keep_spelling);
            let judged = judged.ok_or(Fault::Nonsense("invalid head"))?;
            let status = judged.head.response.status();
            if status.is_informational() && status != http::StatusCode::SWITCHING_PROTOCOLS {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(Fault::Nonsense("too many interim responses"));
                }
                continue;
            }
            let Judged { head, body, keep_alive } = judged;
            self.answer = Answer::Body { body, keep_alive };
            self.connection.clock.due = Due::Never;
            return Ok(Some(head));
        }
    }
}
