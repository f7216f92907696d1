//! A new HTTP/2 connection to an endpoint, within explicit bounds.

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::runtime::http2_connections::{Http2Connections, Http2Stream, Standing};

/// Bytes of an answer that may wait for its client, of one stream and of all: a client that reads slowly shall not hold the others'.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of a request's body that wait to be sent.
const MAX_SEND_BUFFER: usize = 32 << 10;
/// Bytes of the head of an answer.
const MAX_HEADER_LIST: u32 = 128 << 10;
/// Streams that are opened before the other side has said how many it takes.
const STREAMS_AT_FIRST: usize = 100;
/// Streams that broke a rule, of all that a connection ever had; then it ends.
const MAX_ERROR_RESETS: usize = 1024;
/// Streams that were reset and are remembered for a second: what is still on its way on them breaks no rule.
const MAX_REMEMBERED_RESETS: usize = 1024;

/// Speaks HTTP/2 on a fresh stream to a host at this address (RFC 9113 §3.4): by prior knowledge, or because TLS agreed on it.
///
/// # Errors
/// The other side does not speak it.
pub async fn handshake<S>(stream: S, address: Option<IpAddr>, connections: &Http2Connections) -> io::Result<Http2Stream>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS_AT_FIRST)
        .max_send_buffer_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .max_local_error_reset_streams(Some(MAX_ERROR_RESETS))
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(io::Error::other)?;
    let standing = Arc::new(Standing {
        bound: AtomicUsize::new(connection.max_concurrent_send_streams()),
        ended: AtomicBool::new(false),
    });
    let said = standing.clone();
    // Ends when nobody has a place on it any more; its errors are told to the requests that it carries.
    tokio::spawn(async move {
        let mut connection = pin!(connection);
        let _ = std::future::poll_fn(|cx| {
            let polled = connection.as_mut().poll(cx);
            said.bound
                .store(connection.max_concurrent_send_streams(), Ordering::Relaxed);
            polled
        })
        .await;
        said.ended.store(true, Ordering::Relaxed);
    });
    Ok(connections.add(sender, address, standing))
}
