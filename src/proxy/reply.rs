//! An upstream's answer under way: over HTTP/1.1 on a connection of its own, or on a stream of HTTP/2.

use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

use crate::protocol::exchange::{Exchange, Fault};
use crate::runtime::request_body::RequestBody;
use crate::runtime::upstream::Connection;

use super::send_http2::Http2Answer;

/// An answer whose head has come.
#[derive(Debug)]
pub enum Reply {
    /// Boxed: it is handed on from future to future.
    Http1(Box<Exchange<RequestBody>>),
    /// Its stream goes on by itself; it ends, and its place is given back, when this is dropped.
    Http2(Http2Answer),
}

impl Reply {
    /// The next of the body; `None`: it has ended, cleanly.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Self::Http1(exchange) => exchange.poll_frame(cx),
            Self::Http2(answer) => answer.poll_frame(cx),
        }
    }

    /// Sends the request's body on while nobody asks for the answer's next.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(exchange) => exchange.poll_upload(cx),
            Self::Http2(_) => {}
        }
    }

    /// Whether all of the body has come.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.is_end(),
            Self::Http2(answer) => answer.is_end(),
        }
    }

    /// How long the rest of the body is, if that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Http1(exchange) => exchange.length(),
            Self::Http2(answer) => answer.length(),
        }
    }

    /// The connection, if it is this answer's own and may be used again (hardening r33).
    #[must_use]
    pub fn into_connection(self) -> Option<Connection> {
        match self {
            Self::Http1(exchange) => exchange.into_connection().map(Connection::Http1),
            Self::Http2(_) => None,
        }
    }
}
