//! Sides that stop reading in the middle: whatever they hold is given back after the listener's `idle_timeout` or the upstream's
//! `body_idle_timeout`, and who only reads slowly is left alone (hardening r38).

use bytes::Bytes;
use http::Method;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::harness::http2::{Http2, read, request};
use crate::harness::{Client, Conversation, Gateway, OPEN, Request, Setup, Upstream, soon};

const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Soon over for a client that takes nothing; upstreams have all the time in the world.
fn short_for_clients(upstream: &Upstream) -> Setup {
    let listener = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nidle_timeout = \"300ms\"\n";
    Gateway::with(&format!("{listener}{OPEN}")).upstream("up", upstream)
}

/// The other way round.
fn short_for_upstreams(upstream: &Upstream) -> Setup {
    Gateway::with(OPEN).upstream_with("up", upstream.address, "body_idle_timeout = \"300ms\"\n")
}

/// Pours until nobody takes any more: `/pour` as a body, a WebSocket as one; anything else is answered in a word.
async fn pours() -> Upstream {
    Upstream::conversing(|mut conversation| async move {
        while let Some(received) = conversation.request().await {
            let upgrades = received.header("upgrade").is_some();
            if !upgrades && !received.line.starts_with("GET /pour") {
                conversation
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await;
                continue;
            }
            conversation
                .send(if upgrades { SWITCHING } else { "HTTP/1.1 200 OK\r\n\r\n" })
                .await;
            pour(&mut conversation).await;
            return;
        }
    })
    .await
}

async fn pour(conversation: &mut Conversation) {
    while conversation.connection.send(&[b'x'; 64 << 10]).await.is_ok() {}
}

async fn nobody_is_connected(gateway: &Gateway) {
    gateway
        .metric_becomes("gateway_connections{listener=\"public\"}", 0.0)
        .await;
}

fn upgrade(client: &Client) -> Vec<u8> {
    Request::get("/socket")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .bytes(client.to)
}

#[tokio::test]
async fn r38_a_client_that_stops_reading_its_answer_is_left() {
    let upstream = pours().await;
    let gateway = short_for_clients(&upstream).start().await;
    let mut client = gateway.client().await;
    client.write(Request::get("/pour").bytes(client.to)).await;
    assert_eq!(client.head().await.status(), 200);
    nobody_is_connected(&gateway).await;
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn r38_a_stream_whose_client_takes_nothing_is_reset_and_the_others_go_on() {
    let upstream = pours().await;
    let gateway = short_for_clients(&upstream).start().await;
    // One stream cannot fill the window of all.
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let shaken = h2::client::Builder::new()
        .initial_connection_window_size(1 << 20)
        .handshake::<_, Bytes>(stream);
    let (streams, connection) = shaken.await.unwrap();
    let connection = tokio::spawn(connection);
    let mut client = Http2 { streams, connection };
    let pour = request(Method::GET, "http://a/pour", &[]);
    let (answer, _) = client.open(pour, true).await;
    let mut stalled = soon("an answer", answer).await.unwrap().into_body();
    // Its window is full, and nobody opens it.
    let mut answered = 0;
    while gateway.metric("gateway_requests_in_flight").await != Some(0.0) {
        assert_eq!(client.get("http://a/other").await.body, b"ok");
        answered += 1;
    }
    assert!(answered > 0);
    gateway.holds_nothing().await;
    let error = soon("its end", read(&mut stalled)).await.unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL), "{error}");
    assert_eq!(client.get("http://a/other").await.body, b"ok");
}

#[tokio::test]
async fn a_stream_that_is_read_slowly_is_left_alone() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        let body = vec![b'x'; 300 << 10];
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        conversation.send([head.as_bytes(), &body].concat()).await;
        conversation.closed().await;
    })
    .await;
    let gateway = short_for_clients(&upstream).start().await;
    let mut client = Http2::plain(gateway.address).await;
    let (answer, _) = client.open(request(Method::GET, "http://a/", &[]), true).await;
    let mut body = soon("an answer", answer).await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = soon("more of it", body.data()).await {
        let data: Bytes = data.expect("it is not cut");
        length += data.len();
        // In all longer than the gateway waits for a client that takes nothing.
        tokio::time::sleep(std::time::Duration::from_millis(40)).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(length, 300 << 10);
}

#[tokio::test]
async fn r38_a_websockets_client_that_stops_reading_is_left() {
    let upstream = pours().await;
    let gateway = short_for_clients(&upstream).start().await;
    let mut client = gateway.client().await;
    let asked = upgrade(&client);
    client.write(asked).await;
    assert_eq!(client.head().await.status(), 101);
    nobody_is_connected(&gateway).await;
    gateway.holds_nothing().await;
}

/// Sends until nobody takes any more.
async fn send_on(client: Client) {
    let (_reads, mut writes) = client.connection.into_stream().into_split();
    let poured = async { while writes.write_all(&[b'x'; 64 << 10]).await.is_ok() {} };
    soon("the gateway breaks off", poured).await;
}

#[tokio::test]
async fn r38_an_upstream_that_answers_and_stops_reading_is_left() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.head().await;
        conversation.send("HTTP/1.1 200 OK\r\n\r\nbegun").await;
        // It reads no further, and says no more.
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = short_for_upstreams(&upstream).start().await;
    let mut client = gateway.client().await;
    client
        .write("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
        .await;
    assert_eq!(client.head().await.status(), 200);
    send_on(client).await;
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn r38_a_websockets_upstream_that_stops_reading_is_left() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.send(SWITCHING).await;
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = short_for_upstreams(&upstream).start().await;
    let mut client = gateway.client().await;
    let asked = upgrade(&client);
    client.write(asked).await;
    assert_eq!(client.head().await.status(), 101);
    send_on(client).await;
    gateway.holds_nothing().await;
    nobody_is_connected(&gateway).await;
}
