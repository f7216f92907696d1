//! One client's connection: the head guard, hyper behind it, and the end when the gateway drains.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::model::HeaderCase;
use crate::policy::facts::Transport;
use crate::policy::headers::address_value;
use crate::runtime::gateway::Phase;

use super::handler;
use super::head_guard::{HeadGuard, Heads};
use super::worker::{Admitted, Worker};

/// What the requests of one connection share.
pub struct Client {
    /// The worker.
    pub worker: Arc<Worker>,
    /// Its place at the listener, kept while it is open.
    pub admitted: Admitted,
    /// The guard's marks.
    pub heads: Heads,
    /// The peer's address, ready for `X-Forwarded-For`.
    pub peer_value: HeaderValue,
    /// `None`: plain.
    pub tls: Option<Tls>,
}

/// What a TLS handshake told.
pub struct Tls {
    /// The host that the client asked for, lower case.
    pub server_name: Option<Box<str>>,
    /// Whether it was asked for a certificate.
    pub client_certificates: bool,
}

impl Client {
    /// What its requests come over.
    #[must_use]
    pub fn transport(&self) -> Transport<'_> {
        match &self.tls {
            None => Transport::Plain,
            Some(tls) => Transport::Tls {
                server_name: tls.server_name.as_deref(),
                client_certificates: tls.client_certificates,
            },
        }
    }
}

/// Serves one connection to its end.
pub async fn serve<S>(worker: Arc<Worker>, admitted: Admitted, tls: Option<Tls>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let open = worker.gateway.connected();
    let gateway = worker.gateway.clone();
    let preserve = worker.gateway.snapshot().config.server.header_case == HeaderCase::Preserve;
    let (guard, heads) = HeadGuard::new(stream, admitted.listener.head_limits());
    let peer_value = address_value(admitted.peer);
    let client = Arc::new(Client {
        worker,
        admitted,
        heads: heads.clone(),
        peer_value,
        tls,
    });
    let service = service_fn(move |request| {
        let client = client.clone();
        async move { Ok::<_, Infallible>(handler::handle(client, request).await) }
    });
    let connection = http1::Builder::new()
        // The guard has the timers, and a half-closed client still waits for its answer.
        .header_read_timeout(None)
        .half_close(true)
        .preserve_header_case(preserve)
        .serve_connection(guard, service)
        .with_upgrades();
    let mut connection = pin!(connection);
    tokio::select! {
        biased;
        // What ends a connection is the client's affair; a request that it cut short was recorded.
        _ = connection.as_mut() => {}
        () = gateway.reached(Phase::Draining) => {
            heads.drain();
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(open);
}
