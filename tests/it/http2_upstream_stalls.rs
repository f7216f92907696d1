//! Upstreams that speak HTTP/2 and stop reading in the middle: a stream of which nothing is taken for `body_idle_timeout` is taken back
//! (hardening r38); one on which nobody has anything to say, or whose client is slow, is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Response};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::harness::http2::{Http2, Http2Upstream, Stream, read, request};
use crate::harness::{Client, Gate, Gateway, OPEN, Request, Setup, eventually, refused, soon};

const LONG_UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";

/// Soon over for an upstream that takes nothing.
fn before(upstream: &Http2Upstream) -> Setup {
    Gateway::with(OPEN).upstream_with("up", upstream.address, "http2 = true\nbody_idle_timeout = \"300ms\"\n")
}

/// Opens its windows no further than this.
fn window(bytes: u32) -> h2::server::Builder {
    let mut settings = h2::server::Builder::new();
    settings.initial_window_size(bytes);
    settings
}

/// Begins an answer, reads nothing, and tells how its stream ends; anything but a POST is answered in a word.
async fn begins_and_reads_nothing(settings: h2::server::Builder) -> (Http2Upstream, UnboundedReceiver<Reason>) {
    let (told, ends) = unbounded_channel();
    let upstream = Http2Upstream::saying(settings, move |stream| begin_and_read_nothing(stream, told.clone())).await;
    (upstream, ends)
}

async fn begin_and_read_nothing((request, mut respond): Stream, told: UnboundedSender<Reason>) {
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    if request.method() != Method::POST {
        return answer.send_data(Bytes::from_static(b"ok"), true).unwrap();
    }
    answer.send_data(Bytes::from_static(b"begun"), false).unwrap();
    let end = std::future::poll_fn(|cx| answer.poll_reset(cx)).await.unwrap();
    drop(request);
    let _ = told.send(end);
}

#[tokio::test]
async fn r38_one_that_answers_and_stops_reading_is_left_and_its_other_streams_go_on() {
    let (upstream, mut ends) = begins_and_reads_nothing(window(65_535)).await;
    let gateway = before(&upstream).start().await;
    let mut client = gateway.client().await;
    client.write(LONG_UPLOAD).await;
    assert_eq!(client.head().await.status(), 200);
    client.write(vec![b'x'; 1 << 20]).await;
    let answer = client.until_close().await;
    assert!(!answer.ends_with(b"0\r\n\r\n"), "what was cut off looks whole");
    assert_eq!(soon("its stream ends", ends.recv()).await, Some(Reason::CANCEL));
    gateway.holds_nothing().await;
    let line = gateway.access_line(|line| line["method"] == "POST").await;
    assert_eq!(
        (line["status"].as_u64(), line["detail"].as_str()),
        (Some(200), Some("upstream_takes_nothing")),
        "{line}"
    );
    assert_eq!(gateway.get("/").await.body, b"ok");
}

#[tokio::test]
async fn r38_a_client_of_http2_sees_that_too() {
    let (upstream, mut ends) = begins_and_reads_nothing(window(65_535)).await;
    let gateway = before(&upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (answer, mut to) = client.open(request(Method::POST, "http://a/", &[]), false).await;
    let mut answer = soon("an answer", answer).await.unwrap().into_body();
    to.send_data(Bytes::from(vec![b'x'; 1 << 20]), false).unwrap();
    assert!(read(&mut answer).await.is_err(), "what was cut off looks whole");
    assert_eq!(soon("its stream ends", ends.recv()).await, Some(Reason::CANCEL));
    gateway.holds_nothing().await;
    assert_eq!(client.get("http://a/").await.body, b"ok");
}

#[tokio::test]
async fn r38_the_last_bytes_of_a_body_wait_no_longer_than_the_first() {
    // All of it is handed to the connection at once, which can send five bytes.
    let (upstream, mut ends) = begins_and_reads_nothing(window(5)).await;
    let gateway = before(&upstream).start().await;
    // Until its settings have come a window is larger.
    assert_eq!(gateway.get("/").await.body, b"ok");
    let mut client = gateway.client().await;
    client
        .write(Request::new("POST", "/").body("ten bytes.").bytes(client.to))
        .await;
    assert_eq!(client.head().await.status(), 200);
    assert!(!client.until_close().await.ends_with(b"0\r\n\r\n"));
    assert_eq!(soon("its stream ends", ends.recv()).await, Some(Reason::CANCEL));
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn r38_one_that_neither_reads_nor_answers_is_504_though_it_has_all_the_time_for_an_answer() {
    let silent = |(request, mut respond): Stream| async move {
        if request.method() != Method::POST {
            respond.send_response(Response::new(()), true).unwrap();
            return;
        }
        let _holds = (request, respond);
        std::future::pending::<()>().await;
    };
    let upstream = Http2Upstream::saying(window(5), silent).await;
    let lines = "http2 = true\nbody_idle_timeout = \"300ms\"\nresponse_timeout = \"0s\"\n";
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, lines)
        .start()
        .await;
    // A window is larger until its settings have come, and it is asked anew after each connection that stood still.
    for body in ["ten bytes.", &"x".repeat(100_000)] {
        assert_eq!(gateway.get("/").await.head.status(), 200);
        let answer = gateway.send(&Request::new("POST", "/").body(body)).await;
        refused(&answer, 504, "upstream_timeout");
    }
    gateway.holds_nothing().await;
}

/// Answers the first request of its first connection, and then reads that connection's socket no more.
async fn dies_behind_its_first_answer(body: &'static [u8], ends: bool) -> (std::net::SocketAddr, Gate) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, all) = (listener.local_addr().unwrap(), Gate::shut());
    let dead = all.clone();
    tokio::spawn(async move {
        let (first, _) = listener.accept().await.unwrap();
        let mut first = window(1 << 30)
            .initial_connection_window_size(1 << 30)
            .handshake::<_, Bytes>(first)
            .await
            .unwrap();
        let (_request, mut respond) = first.accept().await.unwrap().unwrap();
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        answer.send_data(Bytes::from_static(body), ends).unwrap();
        // What is to be written is written; nothing is read from here on.
        let written = tokio::time::timeout(Duration::from_millis(100), first.accept());
        let _ = written.await;
        dead.open();
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    answer.send_data(Bytes::from_static(b"alive"), true).unwrap();
                }
            });
        }
        drop((first, answer));
    });
    (address, all)
}

#[tokio::test]
async fn r38_one_whose_socket_is_not_read_is_left() {
    let (upstream, dead) = dies_behind_its_first_answer(b"begun", false).await;
    let lines = "http2 = true\nbody_idle_timeout = \"300ms\"\n";
    let gateway = Gateway::with(OPEN).upstream_with("up", upstream, lines).start().await;
    let mut client = gateway.client().await;
    client.write(LONG_UPLOAD).await;
    assert_eq!(client.head().await.status(), 200);
    dead.passed().await;
    send_on(client).await;
    gateway.holds_nothing().await;
    assert_eq!(
        gateway.get("/").await.body,
        b"alive",
        "its connection is not used again"
    );
}

/// Sends until nobody takes any more.
async fn send_on(client: Client) {
    let (_reads, mut writes) = client.connection.into_stream().into_split();
    let piece = vec![b'x'; 64 << 10];
    let poured = async { while tokio::io::AsyncWriteExt::write_all(&mut writes, &piece).await.is_ok() {} };
    soon("the gateway breaks off", poured).await;
}

#[tokio::test]
async fn a_connection_on_which_an_answer_did_not_come_in_time_is_not_used_again() {
    let (upstream, dead) = dies_behind_its_first_answer(b"alive", true).await;
    let lines = "http2 = true\nresponse_timeout = \"300ms\"\nretries = 0\n";
    let gateway = Gateway::with(OPEN).upstream_with("up", upstream, lines).start().await;
    assert_eq!(gateway.get("/").await.body, b"alive");
    dead.passed().await;
    refused(&gateway.get("/").await, 504, "upstream_timeout");
    assert_eq!(gateway.get("/").await.body, b"alive");
}

/// Begins at once, echoes what comes, a piece at a time, and reads nothing before the gate opens.
async fn echoes_behind(gate: &Gate) -> Http2Upstream {
    let gate = gate.clone();
    Http2Upstream::saying(window(65_535), move |(request, mut respond)| {
        let gate = gate.clone();
        async move {
            let mut body = request.into_body();
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            gate.passed().await;
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                answer.send_data(data, false).unwrap();
            }
            answer.send_data(Bytes::new(), true).unwrap();
        }
    })
    .await
}

#[tokio::test]
async fn a_client_that_is_slow_and_a_stream_that_is_idle_on_both_sides_are_left_alone() {
    let gate = Gate::shut();
    let upstream = echoes_behind(&gate).await;
    let gateway = before(&upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let headers = [("te", "trailers"), ("content-type", "application/grpc")];
    let (answer, mut to) = client.open(request(Method::POST, "http://a/", &headers), false).await;
    let mut from = soon("an answer", answer).await.unwrap().into_body();
    // The window is used to its last byte: nothing waits for an upstream that reads nothing.
    to.send_data(Bytes::from(vec![b'x'; 65_535]), false).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    gate.open();
    let mut echoed = 0;
    while echoed < 65_535 {
        let data = soon("the echo", from.data()).await.unwrap().expect("it is not cut");
        from.flow_control().release_capacity(data.len()).unwrap();
        echoed += data.len();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    to.send_data(Bytes::from_static(b"more"), true).unwrap();
    assert_eq!(read(&mut from).await.unwrap(), b"more");
}

#[tokio::test]
async fn one_that_takes_a_little_now_and_then_is_left_alone() {
    let upstream = Http2Upstream::saying(window(1000), |(request, mut respond)| async move {
        let mut body = request.into_body();
        let mut answer = respond.send_response(Response::new(()), false).unwrap();
        let mut length = 0;
        while let Some(Ok(data)) = body.data().await {
            length += data.len();
            // In all longer than the gateway waits for an upstream that takes nothing.
            tokio::time::sleep(Duration::from_millis(40)).await;
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        answer.send_data(Bytes::from(length.to_string()), true).unwrap();
    })
    .await;
    let gateway = before(&upstream).start().await;
    let body = "x".repeat(25_000);
    let answer = gateway.send(&Request::new("POST", "/").body(&body)).await;
    assert_eq!(String::from_utf8_lossy(&answer.body), "25000");
}

#[tokio::test]
async fn a_client_that_is_gone_in_the_middle_of_its_upload_takes_its_stream_back() {
    let (upstream, mut ends) = begins_and_reads_nothing(window(65_535)).await;
    let lines = "http2 = true\nbody_idle_timeout = \"1h\"\n";
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, lines)
        .start()
        .await;
    let mut client = Http2::plain(gateway.address).await;
    let (answer, mut to) = client.open(request(Method::POST, "http://a/", &[]), false).await;
    let answer = soon("an answer", answer).await.unwrap();
    to.send_data(Bytes::from(vec![b'x'; 1 << 20]), false).unwrap();
    drop((answer, to));
    assert_eq!(soon("its stream ends", ends.recv()).await, Some(Reason::CANCEL));
    gateway.holds_nothing().await;
    assert_eq!(client.get("http://a/").await.body, b"ok");
}

#[tokio::test]
async fn one_that_answers_all_and_reads_nothing_is_sent_no_more() {
    let (told, mut ends) = unbounded_channel();
    let upstream = Http2Upstream::saying(window(65_535), move |(request, mut respond)| {
        let told = told.clone();
        async move {
            let mut answer = respond.send_response(Response::new(()), false).unwrap();
            answer.send_data(Bytes::from_static(b"all"), true).unwrap();
            let _ = told.send(std::future::poll_fn(|cx| answer.poll_reset(cx)).await.unwrap());
            drop(request);
        }
    })
    .await;
    let lines = "http2 = true\nbody_idle_timeout = \"1h\"\n";
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, lines)
        .start()
        .await;
    let mut client = gateway.client().await;
    client.write(LONG_UPLOAD).await;
    client.write(vec![b'x'; 1 << 20]).await;
    assert_eq!(client.response().await.body, b"all");
    assert_eq!(soon("its stream ends", ends.recv()).await, Some(Reason::CANCEL));
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn r33_an_answer_that_is_taken_back_is_cut_for_whatever_reason() {
    for reason in [Reason::CANCEL, Reason::INTERNAL_ERROR, Reason::REFUSED_STREAM] {
        let gate = Gate::shut();
        let behind = gate.clone();
        let upstream = Http2Upstream::serving(100, move |(_request, mut respond)| {
            let gate = behind.clone();
            async move {
                let mut answer = respond.send_response(Response::new(()), false).unwrap();
                answer.send_data(Bytes::from_static(b"begun"), false).unwrap();
                gate.passed().await;
                answer.send_reset(reason);
            }
        })
        .await;
        let gateway = before(&upstream).start().await;
        let mut client = gateway.client().await;
        client.write(Request::get("/").bytes(gateway.address)).await;
        let body = client.head().await.response_body().unwrap();
        gate.open();
        let rest = soon("the cut", client.connection.rest(body)).await;
        assert!(rest.is_err(), "{reason}: what was cut off looks whole");
    }
}

#[tokio::test]
async fn an_answer_with_two_lengths_is_nonsense() {
    let upstream = Http2Upstream::serving(100, |(_request, mut respond)| async move {
        let answer = Response::builder()
            .header("content-length", "5")
            .header("content-length", "6")
            .body(())
            .unwrap();
        let mut answer = respond.send_response(answer, false).unwrap();
        let _ = answer.send_data(Bytes::from_static(b"hello"), true);
    })
    .await;
    let gateway = before(&upstream).start().await;
    refused(&gateway.send(&Request::new("POST", "/")).await, 502, "bad_gateway");
}

#[tokio::test]
async fn a_stream_that_was_refused_unread_is_asked_for_again() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let upstream = Http2Upstream::serving(100, move |(_request, mut respond)| {
        let first = count.fetch_add(1, Ordering::Relaxed) == 0;
        async move {
            if first {
                return respond.send_reset(Reason::REFUSED_STREAM);
            }
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let gateway = before(&upstream).start().await;
    // RFC 9113 §8.7: also what is not idempotent.
    eventually("an answer", async || {
        (gateway.send(&Request::new("POST", "/")).await.head.status() == 200).then_some(())
    })
    .await;
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(
        gateway.access_line(|line| line["method"] == "POST").await["status"],
        200
    );
}
