//! A new connection to an endpoint: TCP, TLS where it is `https://`, and HTTP/1.1 or HTTP/2 on it.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::compile::{ClientTls, UpstreamSpec};
use crate::config::model::Endpoint as Url;
use crate::protocol::stream::Stream;
use crate::protocol::upstream::Connection as Http1;
use crate::runtime::http2_connections::Http2Connections;
use crate::runtime::upstream::{Connection, Endpoint};

use super::dial_http2;
use super::listener::keepalive;

/// Connects, within `connect_timeout` in all.
///
/// # Errors
/// Why it could not.
pub async fn dial(endpoint: &Endpoint, worker: usize, spec: &UpstreamSpec) -> io::Result<Connection> {
    let http2 = endpoint.http2(worker);
    let timeout = spec.config.connect_timeout;
    let dialing = async {
        let _making = match http2 {
            None => None,
            Some(connections) => {
                let making = connections.making.lock().await;
                // Another request may have made one meanwhile.
                if let Some(stream) = connections.take(|address| endpoint.has(address)) {
                    return Ok(Connection::Http2(stream));
                }
                Some(making)
            }
        };
        match &endpoint.url {
            Url::Http { host, port } => {
                let (stream, address) = tcp(endpoint, host, *port, timeout).await?;
                speak(stream, address, http2).await
            }
            Url::Https { host, port } => {
                let tls = spec.tls.as_ref().ok_or_else(|| io::Error::other("no TLS for it"))?;
                let (stream, address) = tcp(endpoint, host, *port, timeout).await?;
                speak(secure(tls, host, stream).await?, address, http2).await
            }
            Url::Unix(path) => speak(tokio::net::UnixStream::connect(path).await?, None, http2).await,
        }
    };
    tokio::time::timeout(timeout, dialing)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Connects to one of the name's addresses, and tells to which; each has its share of the time, for the first may be one that swallows packets.
async fn tcp(endpoint: &Endpoint, host: &str, port: u16, timeout: Duration) -> io::Result<(TcpStream, Option<IpAddr>)> {
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

fn configured(stream: TcpStream) -> io::Result<(TcpStream, Option<IpAddr>)> {
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    let address = stream.peer_addr().ok().map(|address| address.ip());
    Ok((stream, address))
}

/// TLS as the upstream has it: the endpoint must show a certificate for its host, or for `tls.server_name`.
async fn secure(tls: &ClientTls, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?,
    };
    TlsConnector::from(tls.config.clone()).connect(name, stream).await
}

async fn speak<S>(stream: S, address: Option<IpAddr>, http2: Option<&Http2Connections>) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Into<Stream> + Unpin + Send + 'static,
{
    match http2 {
        Some(connections) => dial_http2::handshake(stream, address, connections)
            .await
            .map(Connection::Http2),
        None => Ok(Connection::Http1(Http1::new(stream.into(), address))),
    }
}
