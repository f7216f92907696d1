//! HTTP/2 from both ends, by the `h2` crate: a client and an upstream with their hands on streams, bodies and trailers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::soon;
use super::tls::TlsClient;

/// A client's HTTP/2 connection.
pub struct Http2 {
    /// Opens streams.
    pub streams: SendRequest<Bytes>,
    /// Ends with the connection.
    pub connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answered {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// What came behind it.
    pub trailers: HeaderMap,
}

impl Http2 {
    /// By prior knowledge.
    pub async fn plain(to: SocketAddr) -> Self {
        Self::over(TcpStream::connect(to).await.expect("somebody listens")).await
    }

    /// Agreed on in a handshake that asks for this name.
    pub async fn tls(client: &TlsClient, to: SocketAddr, name: &str) -> Self {
        let connection = client.clone().offering(&["h2"]).connect(to, name).await;
        let connection = connection.expect("a handshake");
        assert_eq!(connection.tls().alpn_protocol(), Some(&b"h2"[..]));
        Self::over(connection.0.into_stream()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let shaken = h2::client::Builder::new()
            .enable_push(false)
            .handshake::<_, Bytes>(stream);
        let (streams, connection) = soon("HTTP/2's preface", shaken).await.expect("settings");
        Self {
            streams,
            connection: tokio::spawn(connection),
        }
    }

    /// Sends a request without a body, and reads the whole answer.
    pub async fn get(&mut self, uri: &str) -> Answered {
        self.send(request(Method::GET, uri, &[]), b"").await
    }

    /// Sends a request with this body, and reads the whole answer.
    pub async fn send(&mut self, request: Request<()>, body: &'static [u8]) -> Answered {
        let (answer, mut stream) = self.open(request, body.is_empty()).await;
        if !body.is_empty() {
            stream
                .send_data(Bytes::from_static(body), true)
                .expect("an open stream");
        }
        answered(answer).await.expect("a whole answer")
    }

    /// Opens a stream with this head, which is all of the request if `ends`.
    pub async fn open(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        let mut ready = soon("a free stream", self.streams.clone().ready())
            .await
            .expect("it is open");
        ready.send_request(request, ends).expect("a sound request")
    }
}

/// A request's head.
pub fn request(method: Method, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(method)
        .uri(uri)
        .version(http::Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).expect("a sound request")
}

/// Reads an answer to its end.
pub async fn answered(answer: ResponseFuture) -> Result<Answered, h2::Error> {
    let (head, mut stream) = soon("the head of an answer", answer).await?.into_parts();
    let body = read(&mut stream).await?;
    let trailers = soon("trailers or none", stream.trailers()).await?;
    Ok(Answered {
        status: head.status,
        headers: head.headers,
        body,
        trailers: trailers.unwrap_or_default(),
    })
}

/// Reads a body to its end.
pub async fn read(stream: &mut RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = soon("more of a body", stream.data()).await {
        let data = data?;
        stream.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    Ok(body)
}

/// An upstream that speaks HTTP/2 by prior knowledge, and does with each stream as it is told.
pub struct Http2Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// A stream, as the upstream has it: the request, and the way to answer it.
pub type Stream = (Request<RecvStream>, SendResponse<Bytes>);

impl Http2Upstream {
    /// Takes `streams` at once on each connection.
    pub async fn serving<F, Told>(streams: u32, serve: F) -> Self
    where
        F: Fn(Stream) -> Told + Send + Sync + 'static,
        Told: Future<Output = ()> + Send + 'static,
    {
        let mut settings = h2::server::Builder::new();
        settings.max_concurrent_streams(streams);
        Self::saying(settings, serve).await
    }

    /// With these settings of its side.
    pub async fn saying<F, Told>(settings: h2::server::Builder, serve: F) -> Self
    where
        F: Fn(Stream) -> Told + Send + Sync + 'static,
        Told: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, serve) = (connections.clone(), Arc::new(serve));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                let (serve, settings) = (serve.clone(), settings.clone());
                tokio::spawn(async move {
                    let shaken = settings.handshake::<_, Bytes>(stream);
                    let Ok(mut connection) = shaken.await else { return };
                    while let Some(Ok(stream)) = connection.accept().await {
                        tokio::spawn(serve(stream));
                    }
                });
            }
        });
        Self {
            address,
            connections,
            accepting,
        }
    }

    /// Connections that were opened so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Http2Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
