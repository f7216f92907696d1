//! A new connection to an endpoint: TCP or a Unix socket, and TLS where it is `https://`.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use socket2::SockRef;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use crate::config::model::Endpoint as Url;
use crate::runtime::upstream::Endpoint;
use crate::wire::exchange::Connection;
use crate::wire::stream::Stream;

use super::listener::keepalive;

/// Connects, within `timeout` in all.
///
/// # Errors
/// Why it could not.
pub async fn dial(endpoint: &Endpoint, timeout: Duration) -> io::Result<Connection> {
    let dialing = async {
        Ok(match &endpoint.url {
            Url::Http { host, port } => {
                let (stream, address) = tcp(endpoint, host, *port, timeout).await?;
                Connection::new(Stream::Tcp(stream), Some(address))
            }
            Url::Https { host, port } => {
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
                let (stream, address) = tcp(endpoint, host, *port, timeout).await?;
                let stream = tls()?.connect(name, stream).await?;
                Connection::new(Stream::Other(Box::new(stream)), Some(address))
            }
            Url::Unix(path) => Connection::new(Stream::Unix(UnixStream::connect(path).await?), None),
        })
    };
    tokio::time::timeout(timeout, dialing)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Connects to one of the name's addresses; each has its share of the time, for the first may be one that swallows packets.
async fn tcp(endpoint: &Endpoint, host: &str, port: u16, timeout: Duration) -> io::Result<(TcpStream, IpAddr)> {
    let known = endpoint.addresses.as_ref().and_then(|addresses| addresses.in_turn());
    let Some(known) = known else {
        return configured(TcpStream::connect((host.trim_matches(['[', ']']), port)).await?);
    };
    let share = timeout / u32::try_from(known.len()).unwrap_or(u32::MAX).max(1);
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in known {
        match tokio::time::timeout(share, TcpStream::connect((address, port))).await {
            Ok(Ok(stream)) => return configured(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

fn configured(stream: TcpStream) -> io::Result<(TcpStream, IpAddr)> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    let address = stream.peer_addr()?.ip();
    Ok((stream, address))
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
