//! Attempts at an upstream, against sockets of this process.

use std::path::Path;
use std::sync::Arc;

use http::{Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::compile::UpstreamSpec;
use crate::config::{Environment, load_text};
use crate::observe::metrics::Metrics;
use crate::runtime::upstream::Upstream;

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
    Arc::new(Upstream::new(
        spec,
        Metrics::new("test").unwrap().upstream("u", urls),
        1,
    ))
}

async fn send(upstream: &Arc<Upstream>, path: &str) -> Result<(ResponseHead, Reply), ForwardError> {
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = path.parse().unwrap();
    let mut place = upstream.enter().unwrap();
    let sending = Sending {
        place: &mut place,
        upstream,
        worker: 0,
        head: &parts,
        spelling: None,
        own_host: true,
        response_timeout: Duration::ZERO,
        progress: None,
        now_ns: 0,
        clock: Clock::start(),
    };
    sending.send(RequestBody::Empty).await
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
    let (head, _) = send(&upstream, "/").await.unwrap();
    assert_eq!(head.response.status(), StatusCode::NO_CONTENT);
    let head = told.recv().await.unwrap();
    assert!(head.contains(&format!("\r\nhost: {open}\r\n")), "{head}");
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
    for (_, exchange) in answered {
        upstream.endpoints[0].keep(0, exchange.into_connection().unwrap());
    }
    let failed = send(&upstream, "/poison").await;
    assert_eq!(failed.err(), Some(ForwardError::BadGateway));
    let mut poisoned = 0;
    while let Ok(head) = told.try_recv() {
        poisoned += usize::from(head.contains("/poison"));
    }
    assert_eq!(poisoned, 3, "one kept connection, then two fresh ones");
}
