//! A new HTTP/2 connection to an endpoint, within explicit bounds, and a request as it goes over one.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::header::{self, HeaderName};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, Request, Uri, Version};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::runtime::http2_connections::{Http2Connections, Http2Stream};
use crate::runtime::request_body::RequestBody;

/// Bytes of an answer that may wait for its client, of one stream and of all: a client that reads slowly shall not hold the others'.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of a request's body that wait to be sent.
const MAX_SEND_BUFFER: usize = 32 << 10;
/// Bytes of the head of an answer.
const MAX_HEADER_LIST: u32 = 128 << 10;

/// Speaks HTTP/2 on a fresh stream (RFC 9113 §3.4): by prior knowledge, or because TLS agreed on it.
///
/// # Errors
/// The other side does not speak it.
pub async fn handshake<S>(stream: S, connections: &Http2Connections) -> io::Result<Http2Stream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let bound = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
    let said = bound.clone();
    // Ends with the connection; its errors are told to the requests that it carries.
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let _ = std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            said.store(connection.current_max_send_streams(), Ordering::Relaxed);
            polled
        })
        .await;
    });
    Ok(connections.add(sender, bound))
}

/// Makes an HTTP/1.1 request HTTP/2's: `:scheme` and `:authority` for Host (RFC 9113 §8.3.1), and no trailer but those declared.
pub fn translate(request: &mut Request<RequestBody>, secure: bool) {
    let declared = declared_trailers(request.headers());
    request.body_mut().limit_trailers(declared);
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(header::HOST);
    let authority = match &host {
        // Of an attempt before, at an endpoint that took the same host.
        None => request.uri().authority().cloned(),
        Some(host) => host.to_str().ok().and_then(|host| host.parse().ok()),
    };
    let Some(authority) = authority else { return };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    let path = request.uri().path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

fn declared_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::TRAILER).iter();
    let names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn host_becomes_the_authority_and_stays_it_in_another_attempt() {
        let mut request = Request::new(RequestBody::Empty);
        *request.uri_mut() = "/x?y".parse().unwrap();
        request.headers_mut().insert("host", "a:80".parse().unwrap());
        for _ in 0..2 {
            translate(&mut request, false);
            assert_eq!(request.uri(), "http://a:80/x?y");
            assert!(request.headers().is_empty());
        }
        request.headers_mut().insert("host", "b".parse().unwrap());
        translate(&mut request, true);
        assert_eq!(request.uri(), "https://b/x?y");
    }

    #[test]
    fn only_declared_trailers_are_known() {
        let mut headers = HeaderMap::new();
        headers.append("trailer", "x-a, X-B".parse().unwrap());
        headers.append("trailer", "x-c,".parse().unwrap());
        assert_eq!(declared_trailers(&headers), ["x-a", "x-b", "x-c"]);
    }
}
