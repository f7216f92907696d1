//! Attempts at an upstream, against sockets of this process.

use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::compile::UpstreamSpec;
use crate::config::{Environment, load_text};
use crate::observe::metrics::Metrics;

fn upstream(urls: &[String]) -> Arc<Upstream> {
    let text = format!(
        "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
         [upstreams.u]\nurls = {urls:?}\nbalance = \"round_robin\"\n\
         [[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"u\"\nauth = \"none\"\n"
    );
    let loaded = load_text(Path::new("gateway.toml"), &text, &Environment::default()).unwrap();
    let spec = UpstreamSpec {
        name: Arc::from("u"),
        config: loaded.config.upstreams["u"].clone(),
        tls: None,
    };
    Arc::new(Upstream::new(spec, Metrics::new("test").unwrap().upstream("u", &[]), 1))
}

fn sending<'p>(place: &'p mut InFlight, own_host: bool) -> Sending<'p> {
    Sending {
        place,
        worker: 0,
        preserve_case: false,
        own_host,
        response_timeout: Duration::ZERO,
        progress: None,
    }
}

async fn send(upstream: &Arc<Upstream>, path: &str) -> Result<(Response<Incoming>, Connection), ForwardError> {
    let mut place = upstream.enter().unwrap();
    sending(&mut place, true).send(Box::new(get(path))).await
}

fn get(path: &str) -> Request<RequestBody> {
    let mut request = Request::new(RequestBody::Empty);
    *request.uri_mut() = path.parse().unwrap();
    request
}

/// Answers every request with 204 and tells its head, but hangs up on `/poison`.
async fn serve(socket: TcpListener, heads: mpsc::UnboundedSender<String>) {
    loop {
        let (mut stream, _) = socket.accept().await.unwrap();
        let heads = heads.clone();
        tokio::spawn(async move {
            let mut head = vec![0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut head).await {
                let text = String::from_utf8_lossy(&head[..length]).into_owned();
                let poison = text.contains("/poison");
                heads.send(text).unwrap();
                if poison {
                    return;
                }
                stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn host_names_the_endpoint_that_is_tried_next() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let open = socket.local_addr().unwrap();
    let (heads, mut told) = mpsc::unbounded_channel();
    tokio::spawn(serve(socket, heads));
    let upstream = upstream(&[format!("http://{closed}"), format!("http://{open}")]);
    let (response, _) = send(&upstream, "/").await.unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    let head = told.recv().await.unwrap();
    assert!(head.contains(&format!("host: {open}\r\n")), "{head}");
}

#[tokio::test]
async fn a_request_that_kills_its_reader_is_sent_on_one_kept_connection_only() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let (heads, mut told) = mpsc::unbounded_channel();
    tokio::spawn(serve(socket, heads));
    let upstream = upstream(&[format!("http://{address}")]);
    let mut answered = Vec::new();
    for _ in 0..8 {
        answered.push(send(&upstream, "/").await.unwrap());
    }
    for (response, mut connection) in answered {
        drop(response);
        let Connection::Http1(sender) = &mut connection else {
            panic!("nobody asked for HTTP/2");
        };
        sender.ready().await.unwrap();
        upstream.endpoints[0].keep(0, connection);
    }
    let failed = send(&upstream, "/poison").await;
    assert_eq!(failed.unwrap_err(), ForwardError::BadGateway);
    let mut poisoned = 0;
    while let Ok(head) = told.try_recv() {
        poisoned += usize::from(head.contains("/poison"));
    }
    assert_eq!(poisoned, 3, "one kept connection, then two fresh ones");
}

#[tokio::test]
async fn a_get_keeps_its_chunked_body() {
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = upstream(&[format!("http://{}", socket.local_addr().unwrap())]);
    let (mut client, server) = tokio::io::duplex(4096);
    let service = service_fn(move |request: Request<Incoming>| {
        let upstream = upstream.clone();
        async move {
            let (body, progress) = RequestBody::of(request.into_body(), 0);
            let mut request = get("/");
            body.frame(request.headers_mut());
            let mut place = upstream.enter().unwrap();
            let mut sending = sending(&mut place, true);
            sending.progress = progress.as_deref();
            let sent = sending.send(Box::new(request.map(|_| body))).await;
            sent.map(|(answer, _)| answer.map(|_| String::new()))
                .map_err(|_| std::fmt::Error)
        }
    });
    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n";
    client.write_all(request).await.unwrap();
    let (mut stream, _) = socket.accept().await.unwrap();
    let mut got = String::new();
    while !got.ends_with("\r\n0\r\n\r\n") && !got.ends_with("close\r\n\r\n") {
        let mut some = [0; 1024];
        let length = stream.read(&mut some).await.unwrap();
        assert!(length > 0, "it ended with: {got}");
        got.push_str(&String::from_utf8_lossy(&some[..length]));
        assert!(got.contains("chunked"), "no body comes: {got}");
    }
    assert!(got.contains("\r\n4\r\nbody\r\n"), "{got}");
}
