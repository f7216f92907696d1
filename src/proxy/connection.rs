//! One client's HTTP/1.1 connection: the head guard, hyper behind it, and the end when the gateway drains.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::config::model::HeaderCase;
use crate::policy::facts::Transport;
use crate::policy::headers::address_value;
use crate::policy::hop_by_hop::upgrade_of;
use crate::runtime::gateway::Phase;

use super::forward::Outgoing;
use super::handler;
use super::head_guard::{Head, HeadGuard, Heads};
use super::record::Exchange;
use super::response_body::ResponseBody;
use super::upgrade::Upgrade;
use super::worker::{Admitted, Worker};

/// What the requests of one connection share.
pub struct Client {
    /// The worker.
    pub worker: Arc<Worker>,
    /// Its place at the listener, kept while it is open.
    pub admitted: Admitted,
    /// The guard's marks; `None`: HTTP/2, which has its own framing.
    pub heads: Option<Heads>,
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
    /// Of a connection that was let in.
    #[must_use]
    pub fn new(worker: Arc<Worker>, admitted: Admitted, tls: Option<Tls>, heads: Option<Heads>) -> Self {
        Self {
            peer_value: address_value(admitted.peer),
            worker,
            admitted,
            heads,
            tls,
        }
    }

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
    let client = Arc::new(Client::new(worker, admitted, tls, Some(heads.clone())));
    let service = {
        let heads = heads.clone();
        service_fn(move |request| {
            let (client, head) = (client.clone(), heads.take());
            async move { Ok::<_, Infallible>(handle(client, head, request).await) }
        })
    };
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

async fn handle(client: Arc<Client>, head: Head, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let upgrade = upgrade_of(request.version(), request.method(), request.headers());
    let upgrade = upgrade.map(|protocol| Upgrade::new(protocol, hyper::upgrade::on(&mut request)));
    // One box, handed on: as a value it would be copied into every future on its way, and enlarge each connection.
    let outgoing = Box::new(Outgoing { request, upgrade });
    handler::answer(client, outgoing, head.refusal, Exchange::Http1(head.exchange)).await
}
