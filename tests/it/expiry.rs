//! `close_on_expiry`: what a token let in ends with it. The time until then is the test's own: [`Clock`](crate::harness::Clock)
//! moves the gateway's clock.

use gateway::demo::websocket::{self, Frame, opcode};
use serde_json::json;

use crate::harness::{Client, Clock, Conversation, Gate, Gateway, Issuer, Request, Upstream, refused, soon};

/// How long the tokens of these tests are good.
const LIFETIME: i64 = 600;

/// Closed with its token, or not; and a door that wakes the worker.
fn routes(close: bool) -> String {
    format!(
        "[[routes]]\nname = \"streams\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = [\"jwt\", \"none\"]\nclose_on_expiry = {close}\n\
         [[routes]]\nname = \"wake\"\npaths = [\"/wake\"]\nauth = \"none\"\nrespond = {{}}\n"
    )
}

/// A gateway, and the time it lives by.
struct House {
    gateway: Gateway,
    clock: Clock,
}

impl House {
    async fn new(upstream: &Upstream, issuer: &Issuer, close: bool) -> Self {
        let setup = Gateway::with(&routes(close)).upstream("up", upstream);
        let (setup, clock) = setup
            .issuer_with("main", issuer, "algorithms = [\"ES256\"]\nleeway = \"0s\"")
            .clock();
        Self {
            gateway: setup.start().await,
            clock,
        }
    }

    fn token(&self, issuer: &Issuer) -> String {
        issuer.token_with(json!({ "iat": self.clock.now(), "exp": self.clock.now() + LIFETIME }))
    }

    async fn open(&self, request: &Request) -> Client {
        let mut client = self.gateway.client().await;
        client.write(request.bytes(self.gateway.address)).await;
        client
    }

    /// Lets so many seconds pass, and the worker notice.
    async fn pass(&self, seconds: i64) {
        self.clock.advance(seconds);
        assert_eq!(self.gateway.get("/wake").await.head.status(), 200);
    }
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

#[tokio::test]
async fn a_websocket_is_closed_with_1008_when_its_token_expires() {
    let gate = Gate::shut();
    let late = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let late = late.clone();
        async move {
            conversation.request().await;
            conversation.send(SWITCH).await;
            for text in ["hello", "still here"] {
                let frame = Frame::whole(opcode::TEXT, text.as_bytes());
                websocket::write(&mut conversation.connection, &frame, None)
                    .await
                    .unwrap();
                late.passed().await;
            }
            conversation.closed().await;
        }
    })
    .await;
    let issuer = Issuer::start().await;
    let house = House::new(&upstream, &issuer, true).await;
    let token = house.token(&issuer);
    let mut client = house.open(&upgrade(&token)).await;
    assert_eq!(client.head().await.status(), 101);
    let read = async |client: &mut Client| soon("a frame", websocket::read(&mut client.connection)).await.unwrap();
    assert_eq!(read(&mut client).await, Frame::whole(opcode::TEXT, b"hello"));
    house.pass(LIFETIME / 2).await;
    gate.open();
    assert_eq!(read(&mut client).await, Frame::whole(opcode::TEXT, b"still here"));
    house.pass(LIFETIME / 2).await;
    assert_eq!(
        read(&mut client).await,
        Frame::whole(opcode::CLOSE, &1008_u16.to_be_bytes())
    );
    client.is_closed().await;
    drop(client);
    let line = house.gateway.access_line(|line| line["status"] == 101).await;
    assert_eq!(line["detail"], "ended_with_its_token", "{line}");
    refused(&house.gateway.send(&upgrade(&token)).await, 401, "token_expired");
}

#[tokio::test]
async fn the_close_comes_between_two_frames_and_never_within_one() {
    // A frame of a megabyte, of which the last byte comes only after the token has expired.
    let gate = Gate::shut();
    let waits = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation: Conversation| {
        let waits = waits.clone();
        async move {
            conversation.request().await;
            conversation.send(SWITCH).await;
            let mut frame = vec![0x82, 127];
            frame.extend(1_000_000_u64.to_be_bytes());
            frame.extend(vec![7; 999_999]);
            conversation.send(frame).await;
            waits.passed().await;
            // The rest of it, and a frame that must not begin any more.
            conversation.send([&[7][..], &[0x81, 2], b"no"].concat()).await;
            conversation.closed().await;
        }
    })
    .await;
    let issuer = Issuer::start().await;
    let house = House::new(&upstream, &issuer, true).await;
    let mut client = house.open(&upgrade(&house.token(&issuer))).await;
    assert_eq!(client.head().await.status(), 101);
    assert_eq!(client.exactly(10 + 999_999).await.len(), 1_000_009);
    house.pass(LIFETIME).await;
    gate.open();
    assert_eq!(client.exactly(1).await, [7]);
    assert_eq!(client.until_close().await, [0x88, 2, 0x03, 0xf0]);
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_body_that_promised_more_is_broken_off() {
    for (framing, first, rest) in [
        ("Transfer-Encoding: chunked", "5\r\ndata:\r\n", "0\r\n\r\n"),
        ("Content-Length: 100", "data:", ""),
    ] {
        let upstream = Upstream::conversing(move |mut conversation| async move {
            conversation.request().await;
            conversation
                .send(format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{framing}\r\n\r\n{first}"
                ))
                .await;
            conversation.closed().await;
        })
        .await;
        let issuer = Issuer::start().await;
        let house = House::new(&upstream, &issuer, true).await;
        let request = Request::get("/events").bearer(&house.token(&issuer));
        let mut client = house.open(&request.header("Connection", "close")).await;
        assert_eq!(client.head().await.status(), 200);
        assert_eq!(client.exactly(first.len()).await, first.as_bytes());
        house.pass(LIFETIME / 2).await;
        // It goes on: only the request that woke the worker has ended.
        house.gateway.metric_becomes("gateway_requests_in_flight", 1.0).await;
        house.pass(LIFETIME / 2).await;
        assert_eq!(String::from_utf8(client.until_close().await).unwrap(), rest);
        let line = house.gateway.access_line(|line| line["path"] == "/events").await;
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
        let house = House::new(&upstream, &issuer, close).await;
        let mut request = Request::get("/");
        if with_token {
            request = request.bearer(&house.token(&issuer));
        }
        let mut client = house.open(&request).await;
        assert_eq!(client.head().await.status(), 200);
        house.pass(LIFETIME + 1).await;
        gate.open();
        assert_eq!(client.exactly(6).await, b"first!");
    }
}
