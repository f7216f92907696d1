//! From an accepted socket to a connection that speaks HTTP: whose it is told by a proxy, the first bytes awaited, TLS and the version of HTTP agreed on.
//!
//! What does not get that far is closed, counted by its reason, and told to the log at `debug`: strangers decide how often.

use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::compile::ServerTls;
use crate::observe::metrics::Refused;
use crate::policy::proxy_header;
use crate::protocol::downstream::FIRST_BYTE_TIME;
use crate::protocol::stream::Stream;
use crate::runtime::gateway::Phase;

use super::connection::{self, Tls};
use super::http2;
use super::peeked::Peeked;
use super::worker::{Admitted, Listener, Worker};

/// Serves one connection to its end.
pub async fn serve(worker: Arc<Worker>, mut admitted: Admitted, stream: TcpStream) {
    let mut stream = Peeked::new(stream);
    if hands_on(&worker, &admitted.listener, admitted.peer) && !is_introduced(&mut admitted, &mut stream).await {
        return;
    }
    if !speaks(&worker, &admitted, &mut stream).await {
        return;
    }
    // The config of the moment in which the client speaks.
    let tls = worker.gateway.snapshot().tls.get(admitted.listener.index).cloned();
    match tls.flatten() {
        // Boxed: a plain connection shall not have the size of one with TLS or HTTP/2.
        Some(tls) => Box::pin(serve_tls(worker, admitted, tls, stream)).await,
        None if knows_http2(&admitted, &mut stream).await => {
            Box::pin(http2::serve(worker, admitted, None, stream)).await;
        }
        None => {
            let (stream, seen) = stream.into_parts();
            connection::serve(worker, admitted, None, stream.into(), seen).await;
        }
    }
}

/// Whether `peer` is a trusted proxy that says whose connection it hands on (`proxy_protocol`).
pub fn hands_on(worker: &Worker, listener: &Listener, peer: IpAddr) -> bool {
    listener.config.proxy_protocol && worker.gateway.snapshot().policy.trusts(listener.index, peer)
}

/// Waits for the PROXY header, within `header_timeout`. It must be there: a proxy that says nothing would be taken for its clients.
async fn is_introduced(admitted: &mut Admitted, stream: &mut Peeked) -> bool {
    let header = stream.look(|seen| proxy_header::read(seen).transpose());
    let header = match timeout(admitted.listener.config.header_timeout, header).await {
        Ok(Ok(header)) => header,
        // A proxy that looks whether somebody listens.
        Ok(Err(_)) | Err(_) if stream.is_silent() => return false,
        Ok(Err(_)) | Err(_) => Err(proxy_header::Fault::Malformed),
    };
    let introduced = match header {
        Ok(header) => {
            stream.take(header.length);
            header
                .source
                .map_or(Ok(()), |source| admitted.stands_for(source.to_canonical()))
        }
        Err(fault) => {
            refuse(admitted, Refused::ProxyProtocol, fault);
            return false;
        }
    };
    if let Err(bound) = introduced {
        admitted.listener.metrics.count_refused(bound);
    }
    introduced.is_ok()
}

/// Whether a client begins with HTTP/2's preface, by prior knowledge (RFC 9113 §3.3). One that ends or stalls in it is left to
/// HTTP/1.1, which knows what to say to it.
async fn knows_http2(admitted: &Admitted, stream: &mut Peeked) -> bool {
    let preface = stream.look(|seen| {
        if seen.len() >= http2::PREFACE.len() {
            Some(seen.starts_with(http2::PREFACE))
        } else {
            (!http2::PREFACE.starts_with(seen)).then_some(false)
        }
    });
    matches!(
        timeout(admitted.listener.config.header_timeout, preface).await,
        Ok(Ok(true))
    )
}

async fn serve_tls(worker: Arc<Worker>, admitted: Admitted, tls: ServerTls, stream: Peeked) {
    match shake_hands(&admitted, &tls, stream).await {
        Ok(stream) => {
            let (_, session) = stream.get_ref();
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let agreed = Tls {
                server_name: session.server_name().map(Into::into),
                client_certificates: tls.client_certificates,
            };
            if is_http2 {
                http2::serve(worker, admitted, Some(agreed), stream).await;
            } else {
                let stream = Stream::Other(Box::new(stream));
                connection::serve(worker, admitted, Some(agreed), stream, Vec::new()).await;
            }
        }
        Err(error) => refuse(&admitted, Refused::TlsHandshake, error),
    }
}

/// Waits for the client's first byte, within `header_timeout`, when the gateway drains for less: its client was told that it is
/// connected, and is about to ask. One that says nothing is closed without a word, and costs no more than its socket until then.
async fn speaks(worker: &Worker, admitted: &Admitted, stream: &mut Peeked) -> bool {
    let patience = admitted.listener.config.header_timeout;
    let first = stream.look(|seen| (!seen.is_empty()).then_some(()));
    let drained = async {
        worker.gateway.reached(Phase::Draining).await;
        tokio::time::sleep(FIRST_BYTE_TIME).await;
    };
    tokio::select! {
        biased;
        spoken = timeout(patience, first) => matches!(spoken, Ok(Ok(()))),
        () = drained => false,
    }
}

/// The handshake, within `header_timeout` and the listener's bound of those under way (hardening r38).
async fn shake_hands(admitted: &Admitted, tls: &ServerTls, stream: Peeked) -> io::Result<TlsStream<Peeked>> {
    let listener = &admitted.listener;
    let _place = listener
        .handshakes
        .try_acquire()
        .map_err(|_| io::Error::other("too many handshakes under way"))?;
    let shaking = TlsAcceptor::from(tls.config.clone()).accept(stream);
    timeout(listener.config.header_timeout, shaking)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn refuse(admitted: &Admitted, why: Refused, error: impl Display) {
    let listener = &admitted.listener;
    listener.metrics.count_refused(why);
    tracing::debug!(
        listener = %listener.config.name,
        peer = %admitted.peer,
        reason = why.name(),
        error = %error,
        "connection refused"
    );
}
