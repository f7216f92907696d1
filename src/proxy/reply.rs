//! An upstream's answer under way: over HTTP/1.1 on a connection of its own, or on a stream of HTTP/2.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;

use crate::protocol::exchange::{Exchange, Fault};
use crate::runtime::http2_connections::Http2Stream;
use crate::runtime::request_body::RequestBody;
use crate::runtime::upstream::Connection;

/// An answer whose head has come.
#[derive(Debug)]
pub enum Reply {
    /// Boxed: it is handed on from future to future.
    Http1(Box<Exchange<RequestBody>>),
    /// hyper drives the stream; its place is given back when this is dropped.
    Http2(Incoming, Http2Stream),
}

impl Reply {
    /// The next of the body; `None`: it has ended, cleanly.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self {
            Self::Http1(exchange) => exchange.poll_frame(cx),
            Self::Http2(body, _) => Pin::new(body).poll_frame(cx).map_err(|_| Fault::Broken),
        }
    }

    /// Sends the request's body on while nobody asks for the answer's next.
    pub fn poll_upload(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Http1(exchange) => exchange.poll_upload(cx),
            Self::Http2(..) => {}
        }
    }

    /// Whether all of the body has come.
    #[must_use]
    pub fn is_end(&self) -> bool {
        match self {
            Self::Http1(exchange) => exchange.is_end(),
            Self::Http2(body, _) => body.is_end_stream(),
        }
    }

    /// How long the rest of the body is, if that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Http1(exchange) => exchange.length(),
            Self::Http2(body, _) => body.size_hint().exact(),
        }
    }

    /// The connection, if it is this answer's own and may be used again (hardening r33).
    #[must_use]
    pub fn into_connection(self) -> Option<Connection> {
        match self {
            Self::Http1(exchange) => exchange.into_connection().map(Connection::Http1),
            Self::Http2(..) => None,
        }
    }
}
