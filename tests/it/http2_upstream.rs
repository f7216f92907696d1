//! HTTP/2 to an upstream: what either kind of client says reaches it, and what it answers comes back, trailers and all.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::harness::http2::{Http2, Http2Upstream, Stream, answered, read, request};
use crate::harness::{Client, Gate, Gateway, Names, OPEN, Request, Setup, eventually, refused, soon};

fn before(upstream: &Http2Upstream) -> Setup {
    Gateway::with(OPEN).upstream_with("up", upstream.address, "http2 = true")
}

/// Answers with the request's head as JSON-like lines, then its body, then its trailers as its own.
async fn echo((request, mut respond): Stream) {
    let (head, mut body) = request.into_parts();
    let mut text = format!("{} {}\n", head.method, head.uri);
    for (name, value) in &head.headers {
        text += &format!("{name}: {}\n", value.to_str().unwrap());
    }
    let body_bytes = read(&mut body).await.unwrap();
    let trailers = body.trailers().await.unwrap();
    text += &String::from_utf8(body_bytes).unwrap();
    let answer = Response::builder()
        .header("x-twice", "1")
        .header("x-twice", "2")
        .body(())
        .unwrap();
    let mut stream = respond.send_response(answer, false).unwrap();
    stream.send_data(Bytes::from(text), trailers.is_none()).unwrap();
    if let Some(trailers) = trailers {
        stream.send_trailers(trailers).unwrap();
    }
}

#[tokio::test]
async fn a_request_of_either_version_reaches_it_and_its_answer_comes_back() {
    let upstream = Http2Upstream::serving(100, echo).await;
    let gateway = before(&upstream).start().await;
    let answer = gateway
        .send(
            &Request::new("POST", "/x?y=%2f")
                .header("X-Twice", "a")
                .header("X-TWICE", "b")
                .body("body"),
        )
        .await;
    assert_eq!(answer.head.status(), 200);
    assert_eq!(answer.head.all("x-twice").collect::<Vec<_>>(), ["1", "2"]);
    let text = String::from_utf8(answer.body).unwrap();
    let uri = format!("POST http://{}/x?y=%2f\n", upstream.address);
    assert!(text.starts_with(&uri) && text.ends_with("body"), "{text}");
    for line in [
        "x-twice: a\n",
        "x-twice: b\n",
        "x-forwarded-for: 127.0.0.1\n",
        "content-length: 4\n",
    ] {
        assert!(text.contains(line), "{line} {text}");
    }
    for name in ["host:", "connection:", "transfer-encoding:"] {
        assert!(!text.contains(&format!("\n{name}")), "{name} {text}");
    }
    let mut client = Http2::plain(gateway.address).await;
    let answer = client
        .send(
            request(Method::PUT, "http://a.example/z", &[("cookie", "a=1")]),
            b"body",
        )
        .await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.starts_with(&format!("PUT http://{}/z\n", upstream.address)),
        "{text}"
    );
    assert!(
        text.contains("cookie: a=1\n") && text.contains("x-forwarded-host: a.example\n"),
        "{text}"
    );
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn r01_trailers_pass_where_declared_and_no_identity_among_them() {
    let upstream = Http2Upstream::serving(100, echo).await;
    let gateway = before(&upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let headers = [("te", "trailers"), ("trailer", "x-sum, x-user-id")];
    let (answer, mut stream) = client.open(request(Method::POST, "http://a/", &headers), false).await;
    stream.send_data(Bytes::from_static(b"body"), false).unwrap();
    let mut trailers = HeaderMap::new();
    for name in ["x-sum", "x-user-id", "x-undeclared"] {
        trailers.insert(name, "1".parse().unwrap());
    }
    stream.send_trailers(trailers).unwrap();
    let answer = answered(answer).await.unwrap();
    assert_eq!(answer.trailers.keys().collect::<Vec<_>>(), ["x-sum"]);
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.contains("te: trailers\n") && text.contains("trailer: x-sum\n"),
        "{text}"
    );
}

#[tokio::test]
async fn streams_go_both_ways_at_once() {
    let upstream = Http2Upstream::serving(100, |(request, mut respond)| async move {
        let mut body = request.into_body();
        let mut stream = respond.send_response(Response::new(()), false).unwrap();
        while let Some(Ok(data)) = body.data().await {
            body.flow_control().release_capacity(data.len()).unwrap();
            stream.send_data(data, false).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "0".parse().unwrap());
        stream.send_trailers(trailers).unwrap();
    })
    .await;
    let gateway = before(&upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let headers = [("te", "trailers"), ("content-type", "application/grpc")];
    let (answer, mut to) = client.open(request(Method::POST, "http://a/", &headers), false).await;
    let answer = soon("the head, before any of the body", answer).await.unwrap();
    let mut from = answer.into_body();
    for word in [&b"one"[..], b"two", b"three"] {
        to.send_data(Bytes::from_static(word), false).unwrap();
        let echoed = soon("an echo", from.data()).await.unwrap().unwrap();
        from.flow_control().release_capacity(echoed.len()).unwrap();
        assert_eq!(echoed, word);
    }
    to.send_data(Bytes::new(), true).unwrap();
    assert!(read(&mut from).await.unwrap().is_empty());
    let trailers = soon("trailers", from.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn requests_share_a_connection_as_far_as_its_streams_go() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let upstream = Http2Upstream::serving(10, move |(_request, mut respond)| {
        let gate = behind.clone();
        async move {
            gate.passed().await;
            respond.send_response(Response::new(()), true).unwrap();
        }
    })
    .await;
    let gateway = before(&upstream).start().await;
    // The first tells how many streams it takes.
    let mut clients = Vec::new();
    for _ in 0..15 {
        let mut client = gateway.client().await;
        client.write(Request::get("/").bytes(gateway.address)).await;
        clients.push(client);
    }
    eventually("all are under way", async || {
        (gateway.metric("gateway_upstream_in_flight{upstream=\"up\"}").await == Some(15.0)).then_some(())
    })
    .await;
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().await.head.status(), 200);
    }
    assert!(upstream.connections() <= 2, "{}", upstream.connections());
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_it_or_goes_away_is_a_failure_of_its_own() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let upstream = Http2Upstream::serving(100, move |(request, mut respond)| {
        let gate = behind.clone();
        async move {
            if request.uri().path() == "/reset" {
                return respond.send_reset(h2::Reason::INTERNAL_ERROR);
            }
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"begun"), false).unwrap();
            gate.passed().await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let gateway = before(&upstream).start().await;
    refused(&gateway.send(&Request::new("POST", "/reset")).await, 502, "bad_gateway");
    let mut client: Client = gateway.client().await;
    client.write(Request::get("/cut").bytes(gateway.address)).await;
    let head = client.head().await;
    assert_eq!(head.status(), 200);
    gate.open();
    let body = head.response_body().unwrap();
    assert!(
        soon("the cut", client.connection.rest(body)).await.is_err(),
        "what was cut off looks whole"
    );
    let plain = crate::harness::Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", plain.address, "http2 = true\nretries = 0")
        .start()
        .await;
    let answer = gateway.get("/").await;
    assert!([502, 503].contains(&answer.head.status()), "{}", answer.head.status());
}

#[tokio::test]
async fn a_client_that_is_gone_takes_its_stream_back() {
    let (told, mut tell) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Http2Upstream::serving(100, move |(_request, mut respond)| {
        let told = told.clone();
        async move {
            told.send("came").unwrap();
            let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
            reset.unwrap();
            told.send("taken back").unwrap();
        }
    })
    .await;
    let gateway = before(&upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (answer, stream) = client.open(request(Method::GET, "http://a/", &[]), true).await;
    assert_eq!(soon("the request", tell.recv()).await, Some("came"));
    drop((answer, stream));
    assert_eq!(soon("its end", tell.recv()).await, Some("taken back"));
}

#[tokio::test]
async fn a_connection_to_where_a_name_was_is_left_and_closed() {
    // Two hosts with the same port; each says which it is, and when a connection of its ends.
    let (here, there) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let (old, port) = host(here, 0, "old", told.clone()).await;
    let (new, _) = host(there, port, "new", told).await;
    let names = Names::start(here).await;
    let server = format!("[server]\nworkers = 1\nnameservers = [\"{}\"]\n{OPEN}", names.address);
    let gateway = Gateway::with(&server)
        .and(&format!(
            "[upstreams.up]\nurls = [\"http://app.test:{port}\"]\nhttp2 = true\n"
        ))
        .start()
        .await;
    let answered_by = async |name: &str| {
        eventually(&format!("an answer of the {name}"), async || {
            (gateway.get("/").await.body == name.as_bytes()).then_some(())
        })
        .await;
    };
    answered_by("old").await;
    names.move_to(there);
    // Its TTL is a second.
    answered_by("new").await;
    assert_eq!(soon("the end of a connection", ends.recv()).await, Some("old"));
    old.abort();
    new.abort();
}

async fn host(
    address: Ipv4Addr,
    port: u16,
    name: &'static str,
    ends: tokio::sync::mpsc::UnboundedSender<&'static str>,
) -> (JoinHandle<()>, u16) {
    let listener = TcpListener::bind((address, port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let ends = ends.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let mut body = respond.send_response(Response::new(()), false).unwrap();
                    body.send_data(Bytes::from_static(name.as_bytes()), true).unwrap();
                }
                let _ = ends.send(name);
            });
        }
    });
    (serving, port)
}
