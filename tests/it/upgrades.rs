//! WebSockets: the upgrade, the tunnel after it, and its end.

use gateway::demo::websocket::{self, Frame, opcode};

use crate::harness::{Client, Conversation, Gateway, Request, Upstream, open_to, refused, soon};

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade, X-Hop\r\n\
                        Keep-Alive: timeout=5\r\nX-Hop: 1\r\nSec-WebSocket-Accept: abc=\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

fn upgrade() -> Request {
    Request::get("/ws")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ==")
}

/// Sends back every frame, up to the one that closes.
async fn echo(mut conversation: Conversation) {
    conversation.request().await;
    conversation.send(ACCEPTED).await;
    while let Ok(frame) = websocket::read(&mut conversation.connection).await {
        websocket::write(&mut conversation.connection, &frame, None)
            .await
            .unwrap();
        if frame.opcode() == opcode::CLOSE {
            return;
        }
    }
}

async fn upgraded(gateway: &Gateway) -> Client {
    let mut client = gateway.client().await;
    client.write(upgrade().bytes(gateway.address)).await;
    let head = client.head().await;
    assert_eq!(head.status(), 101, "{head:?}");
    client
}

async fn answer_to(client: &mut Client, frame: &Frame) -> Frame {
    let masked = Some([1, 2, 3, 4]);
    websocket::write(&mut client.connection, frame, masked).await.unwrap();
    soon("a frame", websocket::read(&mut client.connection)).await.unwrap()
}

#[tokio::test]
async fn frames_of_every_size_and_many_of_them_come_back() {
    let upstream = Upstream::conversing(echo).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = upgraded(&gateway).await;
    for length in [0, 125, 126, 70_000, 1 << 20] {
        let frame = Frame::whole(opcode::BINARY, &vec![7; length]);
        assert_eq!(answer_to(&mut client, &frame).await, frame);
    }
    let frame = Frame::whole(opcode::TEXT, b"again");
    for _ in 0..1000 {
        assert_eq!(answer_to(&mut client, &frame).await, frame);
    }
}

#[tokio::test]
async fn a_close_keeps_its_code_and_the_request_is_recorded_at_its_end() {
    let upstream = Upstream::conversing(echo).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = upgraded(&gateway).await;
    gateway.metric_becomes("gateway_requests_in_flight", 1.0).await;
    let close = Frame::whole(opcode::CLOSE, &[&4001_u16.to_be_bytes()[..], b"enough"].concat());
    assert_eq!(answer_to(&mut client, &close).await, close);
    client.is_closed().await;
    drop(client);
    gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
    let line = gateway.access_line(|line| line["status"] == 101).await;
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&14.into(), &10.into()),
        "{line}"
    );
}

#[tokio::test]
async fn the_death_of_the_upstream_is_seen_at_once() {
    for reset in [false, true] {
        let upstream = Upstream::conversing(move |mut conversation| async move {
            conversation.request().await;
            conversation.send(ACCEPTED).await;
            websocket::read(&mut conversation.connection).await.unwrap();
            if reset {
                conversation.reset();
            }
        })
        .await;
        let gateway = open_to(&upstream).start().await;
        let mut client = upgraded(&gateway).await;
        client.write([0x81, 0x80, 1, 2, 3, 4]).await;
        client.is_closed().await;
        gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
    }
}

#[tokio::test]
async fn the_death_of_the_client_is_seen_at_once() {
    for reset in [false, true] {
        let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let upstream = Upstream::conversing(move |mut conversation| {
            let told = told.clone();
            async move {
                conversation.request().await;
                conversation.send(ACCEPTED).await;
                conversation.closed().await;
                told.send(()).unwrap();
            }
        })
        .await;
        let gateway = open_to(&upstream).start().await;
        let client = upgraded(&gateway).await;
        if reset {
            client.reset();
        } else {
            drop(client);
        }
        soon("the upstream hears of it", ends.recv()).await.unwrap();
        gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
    }
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_an_answer_like_any_other() {
    let upstream = Upstream::answering(|received| {
        let status = if received.lacks("upgrade") {
            "200 OK"
        } else {
            "426 Upgrade Required"
        };
        format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\nSec-WebSocket-Version: 13\r\n\r\nno").into_bytes()
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    let response = client.send(&upgrade()).await;
    assert_eq!((response.head.status(), &*response.body), (426, &b"no"[..]));
    assert_eq!(response.head.first("sec-websocket-version"), Some("13"));
    assert_eq!(client.send(&Request::get("/")).await.head.status(), 200);
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn r30_bytes_behind_an_upgrade_wait_for_the_101() {
    let upstream = Upstream::conversing(echo).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    let mut bytes = upgrade().bytes(gateway.address);
    bytes.extend_from_slice(b"\x81\x82\0\0\0\0hi");
    client.write(bytes).await;
    assert_eq!(client.head().await.status(), 101);
    let frame = soon("a frame", websocket::read(&mut client.connection)).await.unwrap();
    assert_eq!(frame, Frame::whole(opcode::TEXT, b"hi"));
}

#[tokio::test]
async fn r30_bytes_behind_a_refused_upgrade_are_the_next_request_and_judged_as_one() {
    let upstream = Upstream::answering(|received| match received.lacks("upgrade") {
        true => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec(),
        false => b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec(),
    })
    .await;
    let gateway = Gateway::with("[[routes]]\nname = \"ws\"\npaths = [\"/ws\"]\nupstream = \"up\"\nauth = \"none\"\n")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    let mut bytes = upgrade().bytes(gateway.address);
    bytes.extend_from_slice(b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n");
    client.write(bytes).await;
    assert_eq!(client.response().await.head.status(), 403);
    refused(&client.response().await, 404, "no_route");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn r30_a_101_that_nobody_asked_for_is_502() {
    let upstream = Upstream::saying(ACCEPTED).await;
    let gateway = open_to(&upstream).start().await;
    refused(&gateway.get("/").await, 502, "bad_gateway");
    gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn r30_only_a_get_without_a_body_to_websocket_asks_the_upstream_for_an_upgrade() {
    let upstream = Upstream::echo().await;
    let gateway = open_to(&upstream).start().await;
    let plain = [
        Request::new("POST", "/")
            .header("Connection", "upgrade")
            .header("Upgrade", "websocket"),
        Request::get("/")
            .header("Connection", "upgrade")
            .header("Upgrade", "websocket")
            .body("x"),
        Request::get("/").header("Upgrade", "websocket"),
        Request::get("/")
            .header("Connection", "upgrade")
            .header("Upgrade", "spdy/3"),
        Request::get("/")
            .header("Connection", "Upgrade, HTTP2-Settings")
            .header("Upgrade", "h2c")
            .header("HTTP2-Settings", "AAMAAABkAARAAAAAAAIAAAAA"),
        Request::get("/")
            .header("Connection", "upgrade")
            .header("Upgrade", "H2C, websocket"),
    ];
    for request in plain {
        let response = gateway.send(&request).await;
        assert_eq!(response.head.status(), 200, "{request:?}: {response:?}");
        let received = upstream.last();
        for name in ["upgrade", "connection", "http2-settings"] {
            assert!(received.lacks(name), "{request:?} became {received:?}");
        }
    }
}

#[tokio::test]
async fn r30_a_client_of_http_1_0_gets_no_tunnel() {
    let upstream = Upstream::conversing(echo).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client
        .write(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await;
    let _ = client.head().await;
    assert!(upstream.last().lacks("upgrade"), "{:?}", upstream.last());
}

#[tokio::test]
async fn r30_names_in_connection_and_upgrade_are_of_any_case() {
    let upstream = Upstream::conversing(echo).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    let request = Request::get("/")
        .header("Connection", "keep-alive, UPGRADE")
        .header("Upgrade", "WebSocket");
    client.write(request.bytes(gateway.address)).await;
    assert_eq!(client.head().await.status(), 101);
    let received = upstream.last();
    assert!(received.header("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert!(received.header("upgrade").unwrap().eq_ignore_ascii_case("websocket"));
}

#[tokio::test]
async fn r35_a_101_keeps_what_makes_the_tunnel_and_nothing_else_of_this_hop() {
    let upstream = Upstream::conversing(echo).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client
        .write(upgrade().header("Keep-Alive", "5").bytes(gateway.address))
        .await;
    let head = client.head().await;
    assert_eq!(head.first("upgrade"), Some("websocket"));
    assert!(head.first("connection").unwrap().eq_ignore_ascii_case("upgrade"));
    assert_eq!(head.first("sec-websocket-accept"), Some("abc="));
    assert_eq!(head.first("sec-websocket-protocol"), Some("chat"));
    assert!(head.first("x-request-id").is_some());
    assert_eq!((head.first("keep-alive"), head.first("x-hop")), (None, None));
    let received = upstream.last();
    assert_eq!(
        received.header("sec-websocket-key").as_deref(),
        Some("ZGVtbyBkZW1vIGRlbW8hIQ==")
    );
    assert_eq!(received.header("sec-websocket-version").as_deref(), Some("13"));
    assert!(received.lacks("keep-alive"));
}
