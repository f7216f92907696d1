//! `close_on_expiry`: what a token let in ends with it.

use std::time::Duration;

use gateway::demo::tokens::now;
use gateway::demo::websocket::{self, Frame, opcode};
use serde_json::json;

use crate::harness::{Client, Conversation, Gate, Gateway, Issuer, Request, Upstream, refused, soon};

/// Closed with its token, or not.
fn routes(close: bool) -> String {
    format!(
        "[[routes]]\nname = \"streams\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = [\"jwt\", \"none\"]\nclose_on_expiry = {close}\n"
    )
}

async fn house(upstream: &Upstream, issuer: &Issuer, close: bool) -> Gateway {
    Gateway::with(&routes(close))
        .upstream("up", upstream)
        .issuer_with("main", issuer, "algorithms = [\"ES256\"]\nleeway = \"0s\"")
        .start()
        .await
}

/// Good for two seconds at most, and one at least.
fn brief(issuer: &Issuer) -> String {
    issuer.token_with(json!({ "exp": now() + 2 }))
}

fn upgrade(token: &str) -> Request {
    Request::get("/ws")
        .bearer(token)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ==")
}

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";

async fn open(gateway: &Gateway, request: &Request) -> Client {
    let mut client = gateway.client().await;
    client.write(request.bytes(gateway.address)).await;
    client
}

#[tokio::test]
async fn a_websocket_is_closed_with_1008_when_its_token_expires() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.send(SWITCH).await;
        let greeting = Frame::whole(opcode::TEXT, b"hello");
        websocket::write(&mut conversation.connection, &greeting, None)
            .await
            .unwrap();
        conversation.closed().await;
    })
    .await;
    let issuer = Issuer::start().await;
    let gateway = house(&upstream, &issuer, true).await;
    let token = brief(&issuer);
    let mut client = open(&gateway, &upgrade(&token)).await;
    assert_eq!(client.head().await.status(), 101);
    let read = async |client: &mut Client| soon("a frame", websocket::read(&mut client.connection)).await.unwrap();
    assert_eq!(read(&mut client).await, Frame::whole(opcode::TEXT, b"hello"));
    assert_eq!(
        read(&mut client).await,
        Frame::whole(opcode::CLOSE, &1008_u16.to_be_bytes())
    );
    assert!(now() >= gateway_exp(&token), "before its time");
    client.is_closed().await;
    drop(client);
    let line = gateway.access_line(|line| line["status"] == 101).await;
    assert_eq!(line["detail"], "ended_with_its_token", "{line}");
    refused(&gateway.send(&upgrade(&token)).await, 401, "token_expired");
}

/// The `exp` of a token.
fn gateway_exp(token: &str) -> i64 {
    use base64::Engine as _;
    let claims = token.split('.').nth(1).unwrap();
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    serde_json::from_slice::<serde_json::Value>(&claims).unwrap()["exp"]
        .as_i64()
        .unwrap()
}

#[tokio::test]
async fn the_close_comes_between_two_frames_and_never_within_one() {
    // A frame of a megabyte, of which the last byte comes only after the token has expired.
    let (begun, gate) = (Gate::shut(), Gate::shut());
    let (told, waits) = (begun.clone(), gate.clone());
    let upstream = Upstream::conversing(move |mut conversation: Conversation| {
        let (told, waits) = (told.clone(), waits.clone());
        async move {
            conversation.request().await;
            conversation.send(SWITCH).await;
            let mut frame = vec![0x82, 127];
            frame.extend(1_000_000_u64.to_be_bytes());
            frame.extend(vec![7; 999_999]);
            conversation.send(frame).await;
            told.open();
            waits.passed().await;
            // The rest of it, and a frame that must not begin any more.
            conversation.send([&[7][..], &[0x81, 2], b"no"].concat()).await;
            conversation.closed().await;
        }
    })
    .await;
    let issuer = Issuer::start().await;
    let gateway = house(&upstream, &issuer, true).await;
    let token = brief(&issuer);
    let mut client = open(&gateway, &upgrade(&token)).await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.exactly(10 + 999_999).await.len(), 1_000_009);
    begun.passed().await;
    let left = u64::try_from(gateway_exp(&token) - now()).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(left * 1000 + 300)).await;
    gate.open();
    assert_eq!(client.exactly(1).await, [7]);
    assert_eq!(client.until_close().await, [0x88, 2, 0x03, 0xf0]);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_body_that_promised_more_is_broken_off() {
    for (framing, ends_whole) in [("Transfer-Encoding: chunked", true), ("Content-Length: 100", false)] {
        let upstream = Upstream::conversing(move |mut conversation| async move {
            conversation.request().await;
            let body = if ends_whole { "5\r\ndata:\r\n" } else { "data:" };
            conversation
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n{body}"
                ))
                .await;
            conversation.closed().await;
        })
        .await;
        let issuer = Issuer::start().await;
        let gateway = house(&upstream, &issuer, true).await;
        let token = brief(&issuer);
        let mut client = open(
            &gateway,
            &Request::get("/events").bearer(&token).header("Connection", "close"),
        )
        .await;
        assert_eq!(client.head().await.status(), 200);
        let body = client.until_close().await;
        assert!(now() >= gateway_exp(&token), "before its time");
        let text = String::from_utf8_lossy(&body).into_owned();
        if ends_whole {
            assert_eq!(text, "5\r\ndata:\r\n0\r\n\r\n");
        } else {
            assert_eq!(text, "data:");
        }
        let line = gateway.access_line(|line| line["path"] == "/events").await;
        assert_eq!(line["detail"], "ended_with_its_token", "{line}");
    }
}

#[tokio::test]
async fn what_no_token_let_in_or_what_the_route_lets_live_goes_on() {
    for (close, with_token) in [(true, false), (false, true)] {
        let gate = Gate::shut();
        let waits = gate.clone();
        let upstream = Upstream::conversing(move |mut conversation: Conversation| {
            let waits = waits.clone();
            async move {
                conversation.request().await;
                conversation
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfir")
                    .await;
                waits.passed().await;
                conversation.send("st!").await;
            }
        })
        .await;
        let issuer = Issuer::start().await;
        let gateway = house(&upstream, &issuer, close).await;
        let token = brief(&issuer);
        let mut request = Request::get("/");
        if with_token {
            request = request.bearer(&token);
        }
        let mut client = open(&gateway, &request).await;
        assert_eq!(client.head().await.status(), 200);
        let left = u64::try_from(gateway_exp(&token) - now()).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(left * 1000 + 300)).await;
        gate.open();
        assert_eq!(client.exactly(6).await, b"first!");
    }
}
