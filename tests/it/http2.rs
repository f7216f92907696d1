//! HTTP/2 at the door: what a client says over it reaches the upstream as if said over HTTP/1.1, and nobody takes more than a share.

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::http2::{Answered, Http2, answered, request};
use crate::harness::tls::Authority;
use crate::harness::{Client, Gate, Gateway, OPEN, Upstream, eventually, soon, with_listener};

/// The gateway's own refusal.
#[track_caller]
fn refused(answer: &Answered, status: u16, code: &str) {
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(
        (answer.status.as_u16(), body["error"].as_str()),
        (status, Some(code)),
        "{body}"
    );
    assert_eq!(answer.headers["x-request-id"], body["request_id"].as_str().unwrap());
}

#[tokio::test]
async fn a_request_reaches_the_upstream_as_over_http1_by_prior_knowledge_and_by_alpn() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pair = authority.pair(&["a.example"]);
    let gateway = Gateway::with(&format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
         certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n{OPEN}"
    ))
    .file("a.pem", &pair.cert)
    .file("a.key", &pair.key)
    .upstream("up", &upstream)
    .start()
    .await;
    let plain = Http2::plain(gateway.listeners["plain"]).await;
    let tls = Http2::tls(&authority.client(), gateway.listeners["tls"], "a.example").await;
    for (mut client, scheme) in [(plain, "http"), (tls, "https")] {
        let headers = [
            ("cookie", "a=1"),
            ("cookie", "b=2"),
            ("x-twice", "1"),
            ("x-twice", "2"),
            ("x-user-id", "forged"),
            ("x_user_id", "forged"),
        ];
        let request = request(Method::POST, &format!("{scheme}://a.example/x?y=%2f"), &headers);
        let answer = client.send(request, b"body").await;
        assert_eq!(answer.status, 200);
        let received = upstream.last();
        assert_eq!(received.line, "POST /x?y=%2f HTTP/1.1");
        assert_eq!(received.header("x-forwarded-proto").as_deref(), Some(scheme));
        assert_eq!(received.header("x-forwarded-host").as_deref(), Some("a.example"));
        assert_eq!(
            received.header("host").as_deref(),
            Some(upstream.address.to_string().as_str())
        );
        assert_eq!(received.header("cookie").as_deref(), Some("a=1; b=2"));
        assert_eq!(received.all("x-twice"), ["1", "2"]);
        assert!(!received.has("forged"));
        assert_eq!(received.body, b"body");
        let id = answer.headers["x-request-id"].to_str().unwrap().to_owned();
        let line = gateway.access_line(|line| line["request_id"] == id.as_str()).await;
        assert_eq!(
            (line["protocol"].as_str(), line["bytes_in"].as_u64()),
            (Some("HTTP/2"), Some(4))
        );
        assert_eq!(line["host"], "a.example");
    }
}

#[tokio::test]
async fn http1_on_the_same_listener_may_come_byte_by_byte() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    for text in [
        "PRIX / HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for byte in text.bytes() {
            stream.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let mut client = Client::over(gateway.address, stream);
        assert_eq!(client.response().await.head.status(), 200, "{text}");
    }
    // The preface's first line alone is no request of HTTP/1.1.
    let answer = gateway.raw("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n").await;
    crate::harness::refused(&answer, 400, "malformed_request");
}

#[tokio::test]
async fn streams_of_one_connection_do_not_wait_for_each_other() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let gate = behind.clone();
        async move {
            while let Some(received) = conversation.request().await {
                if received.line.starts_with("GET /slow") {
                    gate.passed().await;
                }
                conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (slow, _) = client.open(request(Method::GET, "http://a/slow", &[]), true).await;
    upstream.got(1).await;
    for _ in 0..3 {
        assert_eq!(client.get("http://a/fast").await.status, 200);
    }
    gate.open();
    assert_eq!(answered(slow).await.unwrap().status, 200);
}

#[tokio::test]
async fn bodies_stream_both_ways_with_trailers() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
        conversation
            .send(format!("{head}3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"))
            .await;
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let headers = [("te", "trailers"), ("trailer", "x-sum")];
    let (answer, mut stream) = client.open(request(Method::POST, "http://a/", &headers), false).await;
    stream.send_data(Bytes::from_static(b"first "), false).unwrap();
    stream.send_data(Bytes::from_static(b"second"), false).unwrap();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "12".parse().unwrap());
    trailers.insert("x-user-id", "forged".parse().unwrap());
    stream.send_trailers(trailers).unwrap();
    let answer = answered(answer).await.unwrap();
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"abcde"[..]));
    assert_eq!(answer.trailers["x-sum"], "5");
    let received = upstream.last();
    assert_eq!(received.body, b"first second");
    assert!(received.lacks("content-length") && !received.has("forged"));
    assert_eq!(received.header("te").as_deref(), Some("trailers"));
}

#[tokio::test]
async fn a_client_that_expects_a_100_is_refused_at_once_or_heard_when_it_goes_on() {
    let upstream = Upstream::echo().await;
    let routes = format!(
        "[internal]\nkeys = [\"0123456789abcdef\"]\n{}{OPEN}",
        OPEN.replace("open", "secret")
            .replace("/*", "/secret")
            .replace("\"none\"", "\"internal\"")
    );
    let gateway = Gateway::with(&routes).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let expects = [("expect", "100-continue"), ("content-length", "4")];
    let (answer, _unsent) = client
        .open(request(Method::POST, "http://a/secret", &expects), false)
        .await;
    refused(&answered(answer).await.unwrap(), 401, "unauthorized");
    let (answer, mut stream) = client.open(request(Method::POST, "http://a/", &expects), false).await;
    stream.send_data(Bytes::from_static(b"body"), true).unwrap();
    let answer = answered(answer).await.unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last().body, b"body");
}

#[tokio::test]
async fn a_slow_upstream_holds_the_client_back() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.head().await;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (_answer, mut stream) = client.open(request(Method::POST, "http://a/", &[]), false).await;
    let mut sent = 0;
    // Sockets buffer some megabytes between the two; the gateway's own window is 256 KiB.
    let held_back = async {
        loop {
            stream.reserve_capacity(1 << 16);
            match std::future::poll_fn(|cx| stream.poll_capacity(cx)).await {
                Some(Ok(capacity)) => {
                    stream.send_data(Bytes::from(vec![0; capacity]), false).unwrap();
                    sent += capacity;
                }
                _ => return,
            }
        }
    };
    let still = tokio::time::timeout(std::time::Duration::from_secs(1), held_back).await;
    assert!(still.is_err() && sent < 16 << 20, "{sent} bytes went");
}

#[tokio::test]
async fn r11_the_authority_and_host_must_agree_and_one_must_be_there() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    for (uri, headers, status) in [
        ("http://a.example/", &[("host", "a.example")][..], 200),
        ("http://a.example/", &[("host", "A.EXAMPLE")], 200),
        ("http://a.example/", &[("host", "b.example")], 400),
        (
            "http://a.example/",
            &[("host", "a.example"), ("host", "a.example")],
            400,
        ),
        ("http://user@a.example/", &[], 400),
    ] {
        let answer = client.send(request(Method::GET, uri, headers), b"").await;
        assert_eq!(answer.status.as_u16(), status, "{uri} {headers:?}");
        if status == 400 {
            refused(&answer, 400, "malformed_request");
        }
    }
    assert_eq!(upstream.count(), 2);
    // `:method GET`, `:path /`, `:scheme http`, and Host (RFC 7541 Appendix A: 38); `:status` 200 and 400.
    for (head, status) in [(&b"\x82\x84\x86\x66\x01a"[..], 0x88), (b"\x82\x84\x86", 0x8c)] {
        let mut stream = raw(&gateway).await;
        let asked = frame(HEADERS, END_STREAM | END_HEADERS, 1, head);
        stream.write_all(&asked).await.unwrap();
        let answer = loop {
            let (kind, payload) = next_frame(&mut stream).await.unwrap();
            if kind == HEADERS {
                break payload;
            }
        };
        assert_eq!(answer.first(), Some(&status), "{head:?}");
    }
}

#[tokio::test]
async fn what_is_ambiguous_or_too_long_is_refused_as_over_http1() {
    let upstream = Upstream::echo().await;
    let gateway = with_listener("max_header_bytes = \"2KiB\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = Http2::plain(gateway.address).await;
    let long = "x".repeat(1500);
    let target = format!("http://a/{}", "x".repeat(3000));
    for (uri, headers, status, code) in [
        ("http://a/x/../y", &[][..], 400, "malformed_request"),
        ("http://a/x%2fy", &[], 400, "malformed_request"),
        ("http://a/", &[("x-a", " padded")], 400, "malformed_request"),
        (
            "http://a/",
            &[("authorization", "x"), ("authorization", "y")],
            400,
            "malformed_request",
        ),
        ("http://a/", &[("x-a", &long), ("x-b", &long)], 431, "request_too_large"),
        (&target, &[], 414, "request_too_large"),
    ] {
        let answer = client.send(request(Method::GET, uri, headers), b"").await;
        refused(&answer, status, code);
    }
    assert_eq!(
        client.get("http://a/").await.status,
        200,
        "one stream's fault is not the connection's"
    );
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn an_own_answer_to_head_has_its_length_and_no_body() {
    let upstream = Upstream::echo().await;
    let routes = OPEN.replace("/*", "/open");
    let gateway = Gateway::with(&routes).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let answer = client.send(request(Method::HEAD, "http://a/nowhere", &[]), b"").await;
    assert_eq!((answer.status.as_u16(), answer.body.len()), (404, 0));
    let length: usize = answer.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert!(length > 0);
    assert!(!answer.headers.contains_key("connection"));
}

#[tokio::test]
async fn r34_connect_is_refused() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let connect = request(Method::CONNECT, "a.example:443", &[]);
    refused(&client.send(connect, b"").await, 501, "not_implemented");
    assert_eq!(upstream.count(), 0);
}

/// `CONNECT` with `:protocol`, once the gateway has said that it takes it.
async fn open_websocket(
    client: &mut Http2,
    protocol: &'static str,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    eventually("the gateway's settings", async || {
        client.streams.is_extended_connect_protocol_enabled().then_some(())
    })
    .await;
    let headers = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat")];
    let mut connect = request(Method::CONNECT, "http://a/socket", &headers);
    connect
        .extensions_mut()
        .insert(h2::ext::Protocol::from_static(protocol));
    client.open(connect, false).await
}

/// The upstream's side of a WebSocket handshake.
fn switching(received: &crate::harness::Received) -> String {
    let accept = gateway::demo::websocket::accept_key(&received.header("sec-websocket-key").unwrap());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\
         Sec-WebSocket-Protocol: chat\r\n\r\n"
    )
}

#[tokio::test]
async fn a_websocket_goes_over_one_stream_as_rfc_8441_says() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        let received = conversation.request().await.unwrap();
        conversation.send(switching(&received)).await;
        while let Ok(bytes) = conversation.connection.exactly(4).await {
            conversation.send(bytes).await;
        }
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (answer, mut to) = open_websocket(&mut client, "websocket").await;
    let answer = soon("an answer", answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    for name in ["connection", "upgrade", "sec-websocket-accept"] {
        assert!(!answer.headers().contains_key(name), "{name}");
    }
    let mut from = answer.into_body();
    for word in [&b"ping"[..], b"pong"] {
        to.send_data(Bytes::from_static(word), false).unwrap();
        let echoed = soon("an echo", from.data()).await.unwrap().unwrap();
        from.flow_control().release_capacity(echoed.len()).unwrap();
        assert_eq!(echoed, word);
    }
    let received = upstream.last();
    assert_eq!(received.line, "GET /socket HTTP/1.1");
    assert_eq!(received.header("upgrade").as_deref(), Some("websocket"));
    assert_eq!(received.header("connection").as_deref(), Some("upgrade"));
    assert_eq!(received.header("sec-websocket-version").as_deref(), Some("13"));
    assert_eq!(
        client.get("http://a/nothing").await.status,
        502,
        "that upstream only tunnels"
    );
    to.send_data(Bytes::new(), true).unwrap();
    let line = gateway.access_line(|line| line["path"] == "/socket").await;
    assert_eq!(
        (line["status"].as_u64(), line["bytes_in"].as_u64()),
        (Some(101), Some(8))
    );
}

#[tokio::test]
async fn r30_a_websocket_that_the_upstream_does_not_accept_is_none() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        let received = conversation.request().await.unwrap();
        let answer = switching(&received).replace("Sec-WebSocket-Accept: ", "Sec-WebSocket-Accept: x");
        conversation.send(answer).await;
        conversation.closed().await;
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (answer, _to) = open_websocket(&mut client, "websocket").await;
    refused(&answered(answer).await.unwrap(), 502, "bad_gateway");
    let (answer, _to) = open_websocket(&mut client, "other").await;
    refused(&answered(answer).await.unwrap(), 501, "not_implemented");
}

#[tokio::test]
async fn r30_an_answer_that_is_no_101_never_reads_as_a_websocket_over_http_2() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 502),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            502,
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
    ] {
        let upstream = Upstream::saying(answer).await;
        let respond = "[[routes]]\nname = \"own\"\npaths = [\"/own\"]\nauth = \"none\"\nrespond = { status = 204 }\n";
        let gateway = Gateway::with(&format!("{OPEN}{respond}"))
            .upstream("up", &upstream)
            .start()
            .await;
        let mut client = Http2::plain(gateway.address).await;
        let (told, _to) = open_websocket(&mut client, "websocket").await;
        assert_eq!(answered(told).await.unwrap().status, status, "{answer}");
        let mut own = request(Method::CONNECT, "http://a/own", &[]);
        own.extensions_mut().insert(h2::ext::Protocol::from_static("websocket"));
        let (told, _to) = client.open(own, false).await;
        assert_eq!(answered(told).await.unwrap().status, 501);
    }
}

#[tokio::test]
async fn grpc_callers_are_told_in_grpcs_words() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.head().await;
        conversation.closed().await;
    })
    .await;
    let nobody = Upstream::nobody().await;
    let route = |name: &str, auth: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\npaths = [\"/{name}\"]\nupstream = \"up\"\nauth = \"{auth}\"\n{more}\n")
    };
    let config = [
        "[internal]\nkeys = [\"0123456789abcdef\"]\n[limits.one]\nrate = \"1/hour\"\nby = \"ip\"\n",
        &route("secret", "internal", ""),
        &route("scoped", "internal", "require = { scopes_all = [\"more\"] }"),
        &route("late", "none", "response_timeout = \"50ms\""),
        &route("limited", "none", "limits = [\"one\"]\nresponse_timeout = \"50ms\""),
        &route("gone", "none", "").replace("\"up\"", "\"nobody\""),
    ];
    let gateway = Gateway::with(&config.concat())
        .upstream("up", &upstream)
        .upstream_with("nobody", nobody, "retries = 0")
        .start()
        .await;
    let mut client = Http2::plain(gateway.address).await;
    let grpc = ("content-type", "application/grpc+proto");
    for (path, secret, code) in [
        ("secret", "", "16"),
        ("secret", "wrong", "16"),
        ("scoped", "0123456789abcdef", "7"),
        ("late", "", "4"),
        ("limited", "", "4"),
        ("limited", "", "8"),
        ("gone", "", "14"),
        ("nowhere", "", "12"),
        ("x//y", "", "13"),
    ] {
        let headers = [grpc, ("te", "trailers"), ("x-internal-auth", secret)];
        let headers = if secret.is_empty() { &headers[..2] } else { &headers[..] };
        let answer = client
            .send(request(Method::POST, &format!("http://a/{path}"), headers), b"")
            .await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0), "{path}");
        assert_eq!(answer.headers["grpc-status"], code, "{path}");
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert!(answer.headers.contains_key("grpc-message") && answer.headers.contains_key("x-request-id"));
    }
    // Whoever is no gRPC caller is told in JSON, and the log in both cases the same.
    let answer = client.send(request(Method::POST, "http://a/secret", &[]), b"").await;
    refused(&answer, 401, "unauthorized");
    let line = gateway.access_line(|line| line["route"] == "scoped").await;
    assert_eq!(
        (line["status"].as_u64(), line["reason"].as_str()),
        (Some(403), Some("insufficient_scope"))
    );
}

#[tokio::test]
async fn a_drain_says_goaway_and_finishes_what_is_in_flight() {
    let gate = Gate::shut();
    let behind = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let gate = behind.clone();
        async move {
            conversation.request().await;
            gate.passed().await;
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
                .await;
        }
    })
    .await;
    let mut gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut idle = Http2::plain(gateway.address).await;
    let mut busy = Http2::plain(gateway.address).await;
    let (answer, _) = busy.open(request(Method::GET, "http://a/", &[]), true).await;
    upstream.got(1).await;
    gateway.signal("TERM");
    soon("the idle connection ends", &mut idle.connection)
        .await
        .unwrap()
        .unwrap();
    let late = idle.streams.ready().await;
    assert!(late.is_err(), "no stream is opened on a connection that ends");
    gate.open();
    assert_eq!(answered(answer).await.unwrap().body, b"whole");
    soon("the busy connection ends", &mut busy.connection)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn r38_an_idle_connection_is_closed_and_so_is_one_that_asks_nothing() {
    let upstream = Upstream::echo().await;
    for (timeouts, asks) in [
        ("header_timeout = \"100ms\"\nidle_timeout = \"1h\"", false),
        ("header_timeout = \"1h\"\nidle_timeout = \"100ms\"", true),
    ] {
        let gateway = with_listener(timeouts).upstream("up", &upstream).start().await;
        let mut client = Http2::plain(gateway.address).await;
        if asks {
            assert_eq!(client.get("http://a/").await.status, 200);
        }
        soon("the gateway ends it", client.connection).await.unwrap().unwrap();
    }
}

/// A frame, as it stands on the wire (RFC 9113 §4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// `GET http://a/`, in HPACK's static table (RFC 7541 Appendix A).
const GET: &[u8] = b"\x82\x84\x86\x41\x01a";

/// A connection without a library's caution.
async fn raw(gateway: &Gateway) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    let hello = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, b"")].concat();
    stream.write_all(&hello).await.unwrap();
    stream
}

async fn next_frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    soon("a frame", stream.read_exact(&mut head)).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    soon("its payload", stream.read_exact(&mut payload)).await.ok()?;
    Some((head[3], payload))
}

#[tokio::test]
async fn r37_the_bounds_are_said_in_the_settings() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut stream = raw(&gateway).await;
    let (kind, payload) = next_frame(&mut stream).await.unwrap();
    assert_eq!(kind, SETTINGS);
    let of = |id: u8| {
        let mut settings = payload.chunks(6);
        let setting = settings.find(|setting| setting[..2] == [0, id])?;
        Some(u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    assert_eq!(of(3), Some(100), "MAX_CONCURRENT_STREAMS");
    assert_eq!(of(4), Some(256 << 10), "INITIAL_WINDOW_SIZE");
    assert_eq!(of(6), Some(40 << 10), "MAX_HEADER_LIST_SIZE");
    assert_eq!(of(8), Some(1), "ENABLE_CONNECT_PROTOCOL");
}

#[tokio::test]
async fn r37_floods_end_the_connection_and_nobody_elses() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.head().await;
        conversation.closed().await;
    })
    .await;
    let routes = format!("{OPEN}response_timeout = \"10s\"\n");
    let gateway = Gateway::with(&routes).upstream("up", &upstream).start().await;
    let continuations = {
        let first = frame(HEADERS, END_STREAM, 1, GET);
        // A name and value that HPACK does not remember, again and again.
        let more = frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y");
        [first, more.repeat(10_000)].concat()
    };
    let resets: Vec<u8> = (0..20_000_u32)
        .flat_map(|place| {
            let stream = 2 * place + 1;
            [
                frame(HEADERS, END_STREAM | END_HEADERS, stream, GET),
                frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
            ]
            .concat()
        })
        .collect();
    for (flood, bytes) in [("CONTINUATION", continuations), ("RST_STREAM", resets)] {
        let mut stream = raw(&gateway).await;
        let (mut reading, mut writing) = stream.split();
        let mut said = Vec::new();
        let (_, ended) = tokio::join!(
            writing.write_all(&bytes),
            soon("the end", reading.read_to_end(&mut said))
        );
        drop(ended);
        assert!(upstream.count() < 2_000, "{flood}: {}", upstream.count());
        gateway
            .metric_becomes("gateway_connections{listener=\"public\"}", 0.0)
            .await;
    }
    let peak = gateway.peak_memory();
    assert!(peak < 120 << 20, "{peak}");
}

#[tokio::test]
async fn r37_bodies_that_come_behind_their_refusals_end_no_connection() {
    const SIDE_BY_SIDE: u32 = 90;
    let closed = "[[routes]]\nname = \"closed\"\npaths = [\"/*\"]\nauth = \"internal\"\nrespond = { status = 200 }\n\
                  [internal]\nkeys = [\"a secret of more than thirty-two bytes\"]\n";
    let gateway = Gateway::with(closed).start().await;
    let mut stream = raw(&gateway).await;
    // Room for all answers.
    stream
        .write_all(&frame(WINDOW_UPDATE, 0, 0, &(1_u32 << 20).to_be_bytes()))
        .await
        .unwrap();
    for round in 0..4 {
        let ids = (0..SIDE_BY_SIDE).map(|place| (round * SIDE_BY_SIDE + place) * 2 + 1);
        let heads: Vec<u8> = ids
            .clone()
            .flat_map(|id| frame(HEADERS, END_HEADERS, id, GET))
            .collect();
        stream.write_all(&heads).await.unwrap();
        let refused = "gateway_requests_total{method=\"GET\",route=\"closed\",status=\"401\"}";
        gateway
            .metric_becomes(refused, f64::from((round + 1) * SIDE_BY_SIDE))
            .await;
        // As a client sends on that has not read its answers yet.
        let bodies: Vec<u8> = ids.flat_map(|id| frame(DATA, END_STREAM, id, b"body")).collect();
        stream.write_all(&bodies).await.unwrap();
    }
    stream.write_all(&frame(PING, 0, 0, b"12345678")).await.unwrap();
    loop {
        let (kind, payload) = next_frame(&mut stream).await.expect("no end");
        assert_ne!(kind, GOAWAY, "{}", String::from_utf8_lossy(&payload));
        if kind == PING {
            return;
        }
    }
}

#[tokio::test]
async fn r37_resets_of_requests_under_way_end_the_connection_too() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.head().await;
        conversation.closed().await;
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut stream = raw(&gateway).await;
    let mut count = 0_u32;
    // One by one, so that each is begun before it is taken back.
    loop {
        let id = 2 * count + 1;
        if stream
            .write_all(&frame(HEADERS, END_STREAM | END_HEADERS, id, GET))
            .await
            .is_err()
        {
            break;
        }
        let wanted = usize::try_from(count).unwrap() + 1;
        let came = eventually("the request, or the end", async || {
            let mut byte = [0; 4096];
            let ended = matches!(stream.try_read(&mut byte), Ok(0));
            (ended || upstream.count() >= wanted).then_some(!ended)
        })
        .await;
        if !came
            || stream
                .write_all(&frame(RST_STREAM, 0, id, &8_u32.to_be_bytes()))
                .await
                .is_err()
        {
            break;
        }
        count += 1;
        assert!(count < 1000, "it goes on for ever");
    }
    assert!(count >= 200, "{count}");
}

#[tokio::test]
async fn r37_one_connection_that_takes_no_answer_costs_a_few_megabytes() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while conversation.connection.send(&[b'x'; 64 << 10]).await.is_ok() {}
    })
    .await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut warm = Http2::plain(gateway.address).await;
    let _kept = warm.open(request(Method::GET, "http://a/", &[]), true).await;
    upstream.got(1).await;
    let before = gateway.peak_memory();
    // Windows as large as they can be, and nothing read.
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let shaken = h2::client::Builder::new()
        .initial_window_size((1 << 31) - 1)
        .initial_connection_window_size((1 << 31) - 1)
        .handshake::<_, Bytes>(stream)
        .await;
    let (mut streams, connection) = shaken.unwrap();
    let mut connection = std::pin::pin!(connection);
    let mut answers = Vec::new();
    let asking = async {
        for _ in 0..100 {
            streams = soon("a free stream", streams.clone().ready()).await.unwrap();
            answers.push(
                streams
                    .send_request(request(Method::GET, "http://a/", &[]), true)
                    .unwrap()
                    .0,
            );
        }
        upstream.got(101).await;
    };
    tokio::select! {
        _ = &mut connection => panic!("it ended"),
        () = asking => {}
    }
    // From now on nobody reads from it.
    eventually("answers that nobody takes", async || {
        (gateway.metric("gateway_requests_in_flight").await >= Some(100.0)).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let grown = gateway.peak_memory() - before;
    println!("{grown} bytes");
    assert!(grown < 10 << 20, "{grown} bytes");
}
