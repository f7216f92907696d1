//! A new connection to an endpoint: TCP, TLS where it is `https://`, and HTTP/1.1 or HTTP/2 on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::compile::{ClientTls, UpstreamSpec};
use crate::config::model::Endpoint as Url;
use crate::runtime::http2_connections::Http2Connections;
use crate::runtime::upstream::{Connection, Endpoint};

use super::dial_http2;
use super::listener::keepalive;
use super::small_write;

/// Connects, within `connect_timeout` in all.
///
/// # Errors
/// Why it could not.
pub async fn dial(
    endpoint: &Endpoint,
    worker: usize,
    spec: &UpstreamSpec,
    preserve_case: bool,
) -> io::Result<Connection> {
    let http2 = endpoint.http2(worker);
    let dialing = async {
        let _making = match http2 {
            None => None,
            Some(connections) => {
                let making = connections.making.lock().await;
                // Another request may have made one meanwhile.
                if let Some(stream) = connections.take() {
                    return Ok(Connection::Http2(stream));
                }
                Some(making)
            }
        };
        match &endpoint.url {
            Url::Http { host, port } => speak(tcp(host, *port).await?, http2, preserve_case).await,
            Url::Https { host, port } => {
                let tls = spec.tls.as_ref().ok_or_else(|| io::Error::other("no TLS for it"))?;
                speak(secure(tls, host, tcp(host, *port).await?).await?, http2, preserve_case).await
            }
            Url::Unix(path) => speak(tokio::net::UnixStream::connect(path).await?, http2, preserve_case).await,
        }
    };
    tokio::time::timeout(spec.config.connect_timeout, dialing)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

/// TLS as the upstream has it: the endpoint must show a certificate for its host, or for `tls.server_name`.
async fn secure(tls: &ClientTls, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let name = match &tls.server_name {
        Some(name) => name.clone(),
        None => ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?,
    };
    TlsConnector::from(tls.config.clone()).connect(name, stream).await
}

async fn speak<S>(stream: S, http2: Option<&Http2Connections>, preserve_case: bool) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some(connections) = http2 {
        return dial_http2::handshake(stream, connections).await.map(Connection::Http2);
    }
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(preserve_case)
        .handshake(TokioIo::new(Plain(stream)))
        .await
        .map_err(io::Error::other)?;
    // Ends with the connection; its errors are told to the request that it carries.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Connection::Http1(sender))
}

/// A stream whose small writes go as one piece.
struct Plain<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for Plain<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Plain<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        small_write::poll_write_vectored(Pin::new(&mut self.0), cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
