//! A connection to an upstream between requests, and a request's head as it is written to one.
//!
//! May depend on: clocks, the outbox, streams.

use std::cell::Cell;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Waker};

use http::header::{self, HeaderMap, HeaderValue};
use http::request;
use tokio::io::{AsyncRead, ReadBuf};

use super::clock::{Clock, Due};
use super::fields::Spelling;
use super::outbox::{self, Framing};
use super::stream::Stream;

/// A connection to an upstream, ready for one request.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: Stream,
    /// Of the other side; `None`: it has none.
    address: Option<IpAddr>,
    /// Kept with the connection, so that a request seldom touches the timer wheel.
    pub(super) clock: Clock,
}

impl Connection {
    /// A fresh one, to a host at this address.
    #[must_use]
    pub fn new(stream: Stream, address: Option<IpAddr>) -> Self {
        Self {
            address,
            stream,
            clock: Clock::new(Due::Never),
        }
    }

    /// The other side's address; `None`: it has none.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Whether it may be used again: the other side has neither closed it nor said anything unasked, as far as is known here.
    /// What it says between two requests is no answer to the second (hardening r33).
    #[must_use]
    pub fn is_quiet(&mut self) -> bool {
        let mut byte = [0; 1];
        let mut cx = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut self.stream).poll_read(&mut cx, &mut ReadBuf::new(&mut byte));
        read.is_pending()
    }
}

/// A request as it goes on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'r> {
    /// Method, target and headers; they frame the body.
    pub head: &'r request::Parts,
    /// How the client wrote the headers' names; `None`: lower case.
    pub spelling: Option<&'r Spelling>,
    /// Stands in place of the headers' own.
    pub host: Option<&'r HeaderValue>,
}

/// INVARIANT: what frames the body is written from the framing that is used. The headers may lack it, for `Connection` can name
/// them away (hardening r04), and must not say anything else.
pub(super) fn write_head(text: &mut Vec<u8>, request: &Outgoing<'_>, framing: &Framing) {
    let Outgoing { head, spelling, host } = request;
    text.extend_from_slice(head.method.as_str().as_bytes());
    text.push(b' ');
    let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    text.extend_from_slice(target.as_bytes());
    text.extend_from_slice(b" HTTP/1.1\r\n");
    if let Some(host) = host {
        outbox::field(text, host_name(*spelling).as_bytes(), host.as_bytes());
    }
    let said = outbox::said_length(&head.headers);
    let keeps_length = match framing {
        Framing::Length(length) => said == Some(*length),
        Framing::Nothing => said == Some(0),
        Framing::Chunked { .. } | Framing::UntilClose => false,
    };
    let takes_trailers = Cell::new(false);
    outbox::fields(text, &head.headers, *spelling, |name| match *name {
        header::HOST => host.is_some(),
        header::CONTENT_LENGTH => !keeps_length,
        header::TRANSFER_ENCODING => true,
        header::TE => {
            takes_trailers.set(true);
            false
        }
        _ => false,
    });
    if takes_trailers.get() {
        // RFC 9110 §10.1.4: TE is for this hop, and says so.
        outbox::field(text, connection_name(*spelling).as_bytes(), b"TE");
    }
    match framing {
        Framing::Length(length) if !keeps_length => outbox::content_length(text, *length),
        Framing::Chunked { .. } => outbox::field(text, b"transfer-encoding", b"chunked"),
        Framing::Length(_) | Framing::Nothing | Framing::UntilClose => {}
    }
    text.extend_from_slice(b"\r\n");
}

/// The name of a `Host` that is ours.
#[must_use]
pub const fn host_name(spelling: Option<&Spelling>) -> &'static str {
    if spelling.is_some() { "Host" } else { "host" }
}

/// The name of a `Connection` that is ours.
#[must_use]
pub const fn connection_name(spelling: Option<&Spelling>) -> &'static str {
    if spelling.is_some() { "Connection" } else { "connection" }
}

/// So long, or in chunks if nobody knows.
pub(super) fn framing_of(headers: &HeaderMap, body: &impl http_body::Body) -> Framing {
    match body.size_hint().exact() {
        Some(0) => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked {
            declared: outbox::declared_trailers(headers),
        },
    }
}
