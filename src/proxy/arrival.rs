//! From an accepted socket to a connection that speaks HTTP: the first bytes awaited, TLS agreed on.
//!
//! What does not get that far is closed, counted by its reason, and told to the log at `debug`: strangers decide how often.

use std::fmt::Display;
use std::io;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::compile::ServerTls;
use crate::observe::metrics::Refused;
use crate::runtime::gateway::Phase;

use super::connection::{self, Tls};
use super::head_guard::FIRST_BYTE_TIME;
use super::peeked::Peeked;
use super::worker::{Admitted, Worker};

/// Serves one connection to its end.
pub async fn serve(worker: Arc<Worker>, admitted: Admitted, stream: TcpStream) {
    let mut stream = Peeked::new(stream);
    if !speaks(&worker, &admitted, &mut stream).await {
        return;
    }
    // The config of the moment in which the client speaks.
    let tls = worker.gateway.snapshot().tls.get(admitted.listener.index).cloned();
    match tls.flatten() {
        None => connection::serve(worker, admitted, None, stream).await,
        // Boxed: a plain connection shall not have the size of one with TLS.
        Some(tls) => Box::pin(serve_tls(worker, admitted, tls, stream)).await,
    }
}

async fn serve_tls(worker: Arc<Worker>, admitted: Admitted, tls: ServerTls, stream: Peeked) {
    match shake_hands(&admitted, &tls, stream).await {
        Ok(stream) => {
            let server_name = stream.get_ref().1.server_name();
            let agreed = Tls {
                server_name: server_name.map(Into::into),
                client_certificates: tls.client_certificates,
            };
            connection::serve(worker, admitted, Some(agreed), stream).await;
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
