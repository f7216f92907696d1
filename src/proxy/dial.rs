//! A new connection to an endpoint: TCP or a Unix socket, and TLS where it is `https://`.

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::model::Endpoint as Url;
use crate::protocol::stream::Stream;
use crate::protocol::upstream::Connection;
use crate::runtime::upstream::Endpoint;

use super::listener::keepalive;

/// Connects, within `timeout` in all.
///
/// # Errors
/// Why it could not.
pub async fn dial(endpoint: &Endpoint, timeout: Duration) -> io::Result<Connection> {
    let dialing = async {
        Ok(match &endpoint.url {
            Url::Http { host, port } => Stream::Tcp(tcp(host, *port).await?),
            Url::Https { host, port } => {
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
                let stream = tls()?.connect(name, tcp(host, *port).await?).await?;
                Stream::Other(Box::new(stream))
            }
            Url::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
        })
    };
    let dialled = tokio::time::timeout(timeout, dialing);
    dialled
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
        .map(Connection::new)
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

/// TLS as the system trusts it; made once.
fn tls() -> io::Result<TlsConnector> {
    static TLS: OnceLock<TlsConnector> = OnceLock::new();
    if let Some(tls) = TLS.get() {
        return Ok(tls.clone());
    }
    let config = ClientConfig::with_platform_verifier().map_err(io::Error::other)?;
    let tls = TlsConnector::from(Arc::new(config));
    Ok(TLS.get_or_init(|| tls).clone())
}
