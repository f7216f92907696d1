//! A new HTTP/2 connection to an endpoint, within explicit bounds.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::runtime::http2_connections::{Http2Connections, Http2Stream};

/// Bytes of an answer that may wait for its client, of one stream and of all: a client that reads slowly shall not hold the others'.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of a request's body that wait to be sent.
const MAX_SEND_BUFFER: usize = 32 << 10;
/// Bytes of the head of an answer.
const MAX_HEADER_LIST: u32 = 128 << 10;

/// Speaks HTTP/2 on a fresh stream to a host at this address (RFC 9113 §3.4): by prior knowledge, or because TLS agreed on it.
///
/// # Errors
/// The other side does not speak it.
pub async fn handshake<S>(stream: S, address: Option<IpAddr>, connections: &Http2Connections) -> io::Result<Http2Stream>
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
    Ok(connections.add(sender, address, bound))
}
