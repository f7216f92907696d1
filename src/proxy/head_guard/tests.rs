//! The guard before a real hyper server: whoever asks, and whatever they send, the handler answers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::convert::Infallible;
use std::future::pending;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;

/// What the handler does with a sound request.
#[derive(Clone, Copy)]
enum Handling {
    Answer,
    /// Answers when the whole body has come.
    ReadBody,
    Never,
    Upgrade,
}

/// A response body that keeps its exchange, as the handler's shall.
struct Kept {
    body: Full<Bytes>,
    _exchange: Exchange,
}

impl Body for Kept {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn limits() -> Limits {
    Limits {
        max_head_bytes: 4096,
        max_target_bytes: 1024,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
    }
}

type Served = JoinHandle<hyper::Result<()>>;

fn serve(handling: Handling) -> (DuplexStream, Heads, Served) {
    let (client, server) = duplex(64 * 1024);
    let (guard, heads) = HeadGuard::new(server, limits());
    let handler = heads.clone();
    let service = service_fn(move |request| answer(handler.clone(), handling, request));
    let served = tokio::spawn(http1::Builder::new().serve_connection(guard, service).with_upgrades());
    (client, heads, served)
}

async fn answer(heads: Heads, handling: Handling, request: Request<Incoming>) -> Result<Response<Kept>, Infallible> {
    let Head {
        refusal,
        bytes: _,
        exchange,
    } = heads.take();
    let line = format!("{} {}", request.method(), request.uri().path());
    let (status, text) = match (refusal, handling) {
        (Some(Refusal::Malformed(fault)), _) => (StatusCode::BAD_REQUEST, format!("{line}: {fault}")),
        (Some(Refusal::TimedOut), _) => (StatusCode::REQUEST_TIMEOUT, line),
        (Some(Refusal::TargetTooLong), _) => (StatusCode::URI_TOO_LONG, line),
        (Some(Refusal::HeadTooLarge), _) => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, line),
        (Some(Refusal::Connect), _) => (StatusCode::NOT_IMPLEMENTED, line),
        (None, Handling::Answer) => (StatusCode::OK, line),
        (None, Handling::ReadBody) => match request.into_body().collect().await {
            Ok(body) => (StatusCode::OK, format!("{line}: {:?}", body.to_bytes())),
            Err(_) => (StatusCode::UNPROCESSABLE_ENTITY, line),
        },
        (None, Handling::Never) => pending().await,
        (None, Handling::Upgrade) => {
            tokio::spawn(async move {
                let mut upgraded = TokioIo::new(hyper::upgrade::on(request).await.unwrap());
                let mut bytes = [0; 5];
                upgraded.read_exact(&mut bytes).await.unwrap();
                bytes.reverse();
                upgraded.write_all(&bytes).await.unwrap();
            });
            heads.settle_upgrade(true);
            (StatusCode::SWITCHING_PROTOCOLS, String::new())
        }
    };
    let body = Kept {
        body: Full::from(text),
        _exchange: exchange,
    };
    Ok(Response::builder()
        .status(status)
        .header("x-by", "handler")
        .body(body)
        .unwrap())
}

/// Sends `bytes` and reads until the server closes.
async fn talk(handling: Handling, bytes: &[u8]) -> String {
    let (mut client, _heads, _served) = serve(handling);
    client.write_all(bytes).await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    answers
}

fn statuses(answers: &str) -> Vec<&str> {
    let status = |(at, _)| answers.get(at + 9..at + 12);
    let is_status = |status: &&str| status.bytes().all(|byte| byte.is_ascii_digit());
    answers
        .match_indices("HTTP/1.")
        .filter_map(status)
        .filter(is_status)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_malformed_request_gets_the_handlers_own_answer_and_the_end() {
    for (request, body) in [
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST /a: Content-Length with Transfer-Encoding",
        ),
        ("GET /a HTTP/1.1\nHost: a\n\n", "GET /: line ends in LF without CR"),
        ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "GET /: invalid request target"),
        (
            "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            "POST /a: more than one Content-Length",
        ),
        (
            "GET /a HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET /a: line begins with a space",
        ),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI /: unknown HTTP version"),
    ] {
        let answers = talk(Handling::Answer, request.as_bytes()).await;
        assert_eq!(statuses(&answers), ["400"], "{request:?}: {answers}");
        assert!(answers.contains("\r\nx-by: handler\r\n"), "{answers}");
        assert!(answers.contains("\r\nconnection: close\r\n"), "{answers}");
        assert!(answers.ends_with(&format!("\r\n\r\n{body}")), "{request:?}: {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_refusal_reaches_the_handler() {
    let answers = talk(
        Handling::Answer,
        format!("GET /{} HTTP/1.1\r\n", "a".repeat(2000)).as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answers), ["414"]);
    let answers = talk(
        Handling::Answer,
        format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(5000)).as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answers), ["431"]);
    let answers = talk(Handling::Answer, b"GET /slow HTTP/1.1\r\nHost:").await;
    assert_eq!(statuses(&answers), ["408"]);
    assert!(answers.ends_with("GET /slow"));
}

#[tokio::test(start_paused = true)]
async fn r34_connect_gets_the_handlers_answer() {
    let answers = talk(
        Handling::Answer,
        b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03\x01",
    )
    .await;
    assert_eq!(statuses(&answers), ["501"]);
    assert!(answers.ends_with("\r\n\r\nCONNECT /"), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn a_refused_head_request_gets_no_body() {
    let answers = talk(Handling::Answer, b"HEAD /a#b HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(statuses(&answers), ["400"]);
    assert!(answers.ends_with("\r\n\r\n"), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_up_to_the_first_bad_one() {
    let get = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let post = "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let answers = talk(
        Handling::ReadBody,
        format!("{get}{post}{get}GET / HTTP/1.1\n{get}").as_bytes(),
    )
    .await;
    assert_eq!(statuses(&answers), ["200", "200", "200", "400"], "{answers}");
    assert!(answers.contains("POST /b: b\"abc\""), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn r31_a_framing_error_in_a_body_reaches_its_reader_and_ends_the_connection() {
    let head = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        "3\r\nabcd\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
    ] {
        let answers = talk(
            Handling::ReadBody,
            format!("{head}{body}GET / HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes(),
        )
        .await;
        assert_eq!(statuses(&answers), ["422"], "{body:?}: {answers}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_passes_bytes_both_ways() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello";
    let answers = talk(Handling::Upgrade, request).await;
    assert_eq!(statuses(&answers), ["101"]);
    assert!(answers.ends_with("\r\n\r\nolleh"), "{answers}");
}

#[tokio::test(start_paused = true)]
async fn a_declined_upgrade_leaves_the_connection_in_use() {
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let close = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answers = talk(Handling::Answer, format!("{upgrade}{close}").as_bytes()).await;
    assert_eq!(statuses(&answers), ["200", "200"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_ends_the_handling_of_its_request() {
    let (mut client, _heads, served) = serve(Handling::Never);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::task::yield_now().await;
    drop(client);
    assert!(served.await.unwrap().unwrap_err().is_incomplete_message());
}

#[tokio::test(start_paused = true)]
async fn r38_a_request_under_way_outlives_the_idle_timeout() {
    let (mut client, _heads, served) = serve(Handling::Never);
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    assert!(tokio::time::timeout(Duration::from_secs(3600), served).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn r38_an_idle_connection_is_closed_in_time() {
    let (mut client, _heads, served) = serve(Handling::Answer);
    let opened = tokio::time::Instant::now();
    for _ in 0..3 {
        client.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_ne!(client.read(&mut [0; 1024]).await.unwrap(), 0);
        tokio::time::advance(Duration::from_secs(50)).await;
    }
    assert_eq!(client.read(&mut [0; 1024]).await.unwrap(), 0);
    served.await.unwrap().unwrap();
    let lived = opened.elapsed();
    assert!(
        (Duration::from_secs(174)..Duration::from_secs(177)).contains(&lived),
        "{lived:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn draining_ends_a_connection_after_its_answer() {
    let (mut client, heads, served) = serve(Handling::ReadBody);
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na")
        .await
        .unwrap();
    tokio::task::yield_now().await;
    heads.drain();
    tokio::task::yield_now().await;
    client.write_all(b"b").await.unwrap();
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert!(answers.ends_with("\r\n\r\nPOST /: b\"ab\""), "{answers}");
    served.await.unwrap().unwrap();
}

/// Requests with something wrong here and there.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let seeds = prop_oneof![
        Just("GET /a/b?c=d HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n"),
        Just("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        Just("PUT http://a:80/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
        Just("OPTIONS * HTTP/1.0\r\nConnection: keep-alive\r\nUpgrade: a\r\n\r\n"),
        Just("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nExpect: 100-continue\r\n\r\n"),
    ];
    let bytes = prop_oneof![
        proptest::sample::select(b"\r\n\t :/?#@[]%\\\"<>`^{|}*,;+-09AZaz\0\x7f\x80\xff".to_vec()).prop_map(|b| vec![b]),
        Just(b"\r\nContent-Length: 1".to_vec()),
        Just(b"\r\nTransfer-Encoding: chunked".to_vec()),
        Just(b"://".to_vec()),
        Just(Vec::new()),
    ];
    let mutation = (any::<proptest::sample::Index>(), 0_usize..3, bytes);
    (
        proptest::collection::vec(seeds, 1..3),
        proptest::collection::vec(mutation, 0..4),
    )
        .prop_map(|(seeds, mutations)| {
            let mut request = seeds.concat().into_bytes();
            for (at, removed, inserted) in mutations {
                let at = at.index(request.len());
                let behind = (at + removed).min(request.len());
                request.splice(at..behind, inserted);
            }
            request
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn no_answer_is_hypers_own(request in mutated()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let answers = runtime.block_on(talk(Handling::Answer, &request));
        let finals = statuses(&answers).into_iter().filter(|status| *status != "100").count();
        prop_assert_eq!(finals, answers.matches("\r\nx-by: handler\r\n").count(), "{}", answers);
    }
}

#[test]
fn is_send_when_its_stream_is() {
    fn send<T: Send>() {}
    send::<HeadGuard<tokio::net::TcpStream>>();
    send::<Heads>();
    send::<Exchange>();
}
