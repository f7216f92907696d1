//! One client's HTTP/2 connection: hyper's server within explicit bounds, and the end when it is idle, abused, or the gateway
//! drains. `translate` makes its requests and answers what the rest of the gateway knows.

mod pace;
mod streams;
mod translate;

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::runtime::gateway::Phase;
use crate::runtime::request_body::ClientBody;

use super::connection::{Client, Tls};
use super::forward::Outgoing;
use super::handler;
use super::worker::{Admitted, Worker};
use pace::{Paced, StreamTasks};
pub use streams::OpenStream;
use streams::Streams;
use translate::Translated;

/// What a client that speaks HTTP/2 at once sends first (RFC 9113 §3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// What one connection can take, in all (hardening r37): heads of 100 streams, 1 MiB of request bodies that the upstreams have not
// taken yet, and 100 times 32 KiB of answers that the client has not.

/// Streams that a client may have open.
const MAX_STREAMS: u32 = 100;
/// Bytes that a client may send ahead of the upstream, of one stream and of all.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of an answer that wait to be sent, of one stream.
const MAX_SEND_BUFFER: usize = 32 << 10;
/// Over the head's own bound, so that a head that is a little too long gets an answer in words. What comes beyond is 431 without
/// any; how many CONTINUATION frames may come follows from it.
const HEADER_LIST_ROOM: usize = 8 << 10;
/// Streams that a client took back before they were looked at, and streams that broke a rule, of all that a connection ever had: what is
/// still on its way on a stream that was reset some time ago breaks one too. Then the connection ends.
const MAX_PENDING_RESETS: usize = 20;
const MAX_ERROR_RESETS: usize = 1024;

/// How long a connection that is to end may take to say so.
const FAREWELL: Duration = Duration::from_secs(1);

/// Serves one connection to its end.
pub async fn serve<S>(worker: Arc<Worker>, admitted: Admitted, tls: Option<Tls>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let gateway = worker.gateway.clone();
    let limits = admitted.listener.head_limits();
    let streams = Arc::new(Streams::new(gateway.clock));
    let client = Arc::new(Client::new(worker, admitted, tls));
    let service = {
        let streams = streams.clone();
        service_fn(move |request| {
            let (client, streams) = (client.clone(), streams.clone());
            async move { Ok::<_, Infallible>(handle(client, &streams, request).await) }
        })
    };
    let list_bytes = limits.max_head_bytes.saturating_add(HEADER_LIST_ROOM);
    let connection = http2::Builder::new(StreamTasks {
        patience: limits.idle_timeout,
    })
    .max_concurrent_streams(MAX_STREAMS)
    .max_header_list_size(u32::try_from(list_bytes).unwrap_or(u32::MAX))
    .initial_stream_window_size(STREAM_WINDOW)
    .initial_connection_window_size(CONNECTION_WINDOW)
    .max_send_buf_size(MAX_SEND_BUFFER)
    .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
    .max_local_error_reset_streams(MAX_ERROR_RESETS)
    .enable_connect_protocol()
    .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // What ends a connection is the client's affair; a request that it cut short was recorded.
        _ = connection.as_mut() => {}
        () = streams.abused() => {}
        () = streams.idle(limits.header_timeout, limits.idle_timeout) => {
            connection.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(FAREWELL, connection).await;
        }
        () = gateway.reached(Phase::Draining) => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ = connection => {}
                () = streams.abused() => {}
            }
        }
    }
}

async fn handle(client: Arc<Client>, streams: &Arc<Streams>, mut request: Request<Incoming>) -> Response<Paced> {
    let (open, begun) = streams.begin();
    let Translated { refusal, upgrade } = translate::request(&mut request, &client.admitted.listener.head_limits());
    let (is_head, upgrades) = (*request.method() == Method::HEAD, upgrade.is_some());
    let (head, body) = request.into_parts();
    let outgoing = Box::new(Outgoing {
        head,
        body: ClientBody::http2(body),
        spelling: None,
        upgrade,
    });
    let mut response = handler::answer(&client, outgoing, refusal, Some(open)).await;
    begun.answered();
    translate::response(&mut response, is_head, upgrades);
    response.map(Paced::new)
}
