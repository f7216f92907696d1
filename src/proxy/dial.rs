//! A new connection to an endpoint: TCP, TLS where it is `https://`, and HTTP/1.1 on it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::model::Endpoint as Url;
use crate::runtime::upstream::{Connection, Endpoint};

use super::listener::keepalive;
use super::small_write;

/// Connects, within `timeout` in all.
///
/// # Errors
/// Why it could not.
pub async fn dial(endpoint: &Endpoint, timeout: Duration, preserve_case: bool) -> io::Result<Connection> {
    let dialing = async {
        match &endpoint.url {
            Url::Http { host, port } => handshake(tcp(host, *port).await?, preserve_case).await,
            Url::Https { host, port } => {
                let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).map_err(io::Error::other)?;
                let stream = tls()?.connect(name, tcp(host, *port).await?).await?;
                handshake(stream, preserve_case).await
            }
            Url::Unix(path) => handshake(tokio::net::UnixStream::connect(path).await?, preserve_case).await,
        }
    };
    tokio::time::timeout(timeout, dialing)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

async fn handshake<S>(stream: S, preserve_case: bool) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(preserve_case)
        .handshake(TokioIo::new(Plain(stream)))
        .await
        .map_err(io::Error::other)?;
    // Ends with the connection; its errors are told to the request that it carries.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
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
