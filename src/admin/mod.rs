//! The operators' own port, read-only: `/livez`, `/readyz`, `/metrics`, `/status` and `/status.json`.
//!
//! Reads the runtime and changes nothing; runs on the control runtime, so that a slow scrape holds no request up.

mod status;
mod status_page;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::runtime::gateway::{Gateway, Phase};

/// For a whole request head; also how long an idle connection lives.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections open at once.
const MAX_CONNECTIONS: usize = 256;

/// After an accept failed; the key refresh shares this thread.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound admin port.
pub struct Admin {
    socket: TcpListener,
    /// Where it is bound.
    pub address: SocketAddr,
}

impl Admin {
    /// Binds it, or takes the socket that somebody else bound.
    ///
    /// # Errors
    /// The address is taken, or not ours.
    pub async fn bind(address: SocketAddr, inherited: Option<std::net::TcpListener>) -> io::Result<Self> {
        let socket = match inherited {
            Some(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket)?
            }
            None => TcpListener::bind(address).await?,
        };
        let address = socket.local_addr()?;
        Ok(Self { socket, address })
    }

    /// The listening socket once more.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn socket(&self) -> io::Result<std::net::TcpListener> {
        SockRef::from(&self.socket).try_clone().map(Into::into)
    }

    /// Serves until the gateway has ended.
    pub async fn serve(self, gateway: Arc<Gateway>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = gateway.reached(Phase::Ended) => return,
            };
            let Ok((stream, _)) = accepted else {
                // Out of descriptors, say: they do not come back faster for being asked again at once.
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let gateway = gateway.clone();
            tokio::spawn(async move {
                let service = service_fn(move |request| {
                    let response = answer(&gateway, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
                // A scraper that goes away is no event.
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
                drop(place);
            });
        }
    }
}

fn answer(gateway: &Gateway, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "this port is read-only\n");
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" if gateway.is_ready() => text(StatusCode::OK, "ready\n"),
        "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "/metrics" => with_type(StatusCode::OK, prometheus::TEXT_FORMAT, metrics(gateway)),
        "/status" => page(gateway),
        "/status.js" => with_type(
            StatusCode::OK,
            "text/javascript; charset=utf-8",
            status_page::SCRIPT.as_bytes().to_vec(),
        ),
        "/status.json" => with_type(StatusCode::OK, "application/json", status::json(gateway)),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /livez, /readyz, /metrics, /status and /status.json\n",
        ),
    }
}

fn metrics(gateway: &Gateway) -> Vec<u8> {
    let snapshot = gateway.snapshot();
    for keys in &snapshot.keys {
        keys.measure();
    }
    if let Some(revocations) = &snapshot.revocations {
        revocations.measure();
    }
    for counters in &snapshot.meters.0 {
        counters.measure();
    }
    gateway.metrics.text()
}

fn page(gateway: &Gateway) -> Response<Full<Bytes>> {
    let html = status_page::html(&status::value(gateway));
    let mut response = with_type(StatusCode::OK, "text/html; charset=utf-8", html.into_bytes());
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    if let Ok(policy) = HeaderValue::try_from(status_page::content_security_policy()) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    with_type(status, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

fn with_type(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
