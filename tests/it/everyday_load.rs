//! What an everyday gateway sees, in its everyday shares, and how every request of it is answered: tokens over kept-alive connections
//! mostly, then keys, open routes, refusals, streams, TLS, HTTP/2 and the rest.
//!
//! Release builds are trained with it (`.ci/release`): the compiler makes fast what is often taken here, and small what is not taken.
//! So it must have of everything that is to be fast, and the shares of [`MIX`] matter. `GATEWAY_TEST_LOAD` says how many requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use gateway::demo::websocket::{self, Frame, opcode};
use rustls::ClientConfig;

use crate::harness::http2::{Http2, Http2Upstream, answered, request};
use crate::harness::tls::{TlsConnection, connect};
use crate::harness::{AuthService, Client, Dice, Issuer, Key, Request, Upstream, eventually, soon};
use upstreams::{app, app_over_http2};
use world::{Answer, HOST, PEOPLE, World};

mod upstreams;
mod world;

/// Callers at once, each with connections of its own.
const LANES: usize = 12;

/// What a caller does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    WriteChunked,
    ApiKey,
    KeyAsBearer,
    RemoteKey,
    Internal,
    Open,
    FreshToken,
    Refused,
    Limited,
    Events,
    Chunks,
    Large,
    WebSocket,
    Tls,
    Http2,
    Http2Tls,
    ToTls,
    ToHttp2,
    Grpc,
    Preflight,
    Redirect,
    Respond,
    Operator,
}

/// How many of a thousand.
const MIX: [(Kind, usize); 25] = [
    (Kind::Read, 310),
    (Kind::Write, 200),
    (Kind::WriteChunked, 20),
    (Kind::ApiKey, 40),
    (Kind::KeyAsBearer, 40),
    (Kind::RemoteKey, 20),
    (Kind::Internal, 50),
    (Kind::Open, 80),
    (Kind::FreshToken, 40),
    (Kind::Refused, 45),
    (Kind::Limited, 5),
    (Kind::Events, 20),
    (Kind::Chunks, 15),
    (Kind::Large, 5),
    (Kind::WebSocket, 4),
    (Kind::Tls, 28),
    (Kind::Http2, 4),
    (Kind::Http2Tls, 6),
    (Kind::ToTls, 20),
    (Kind::ToHttp2, 20),
    (Kind::Grpc, 10),
    (Kind::Preflight, 6),
    (Kind::Redirect, 4),
    (Kind::Respond, 6),
    (Kind::Operator, 2),
];

fn requests() -> usize {
    std::env::var("GATEWAY_TEST_LOAD").map_or(1000, |count| count.parse().unwrap())
}

/// A thousand in their shares, in the same disorder on every run.
fn deck() -> Vec<Kind> {
    let mut deck: Vec<Kind> = MIX.iter().flat_map(|(kind, share)| vec![*kind; *share]).collect();
    let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
    for place in (1..deck.len()).rev() {
        deck.swap(place, dice.below(place + 1));
    }
    deck
}

/// One caller's connections.
struct Lane {
    world: Arc<World>,
    plain: Client,
    tls: TlsConnection,
    /// What it remembers of connections to resume them.
    sessions: Arc<ClientConfig>,
    http2: Http2,
    http2_tls: Http2,
}

impl Lane {
    async fn of(world: Arc<World>) -> Self {
        let (plain, tls) = (world.gateway.listeners["plain"], world.gateway.listeners["tls"]);
        Self {
            plain: Client::of(plain).await,
            tls: world.tls.connect(tls, HOST).await.unwrap(),
            sessions: world.tls.config(),
            http2: Http2::plain(plain).await,
            http2_tls: Http2::tls(&world.tls, tls, HOST).await,
            world,
        }
    }

    async fn takes(&mut self, kind: Kind, n: usize) {
        let of_streams = [Kind::Read, Kind::Write, Kind::ApiKey, Kind::Open];
        match kind {
            Kind::WebSocket => self.tunnels(n).await,
            Kind::Operator => {
                assert_eq!(self.world.gateway.ask_admin("/readyz").await.head.status(), 200);
                assert!(self.world.gateway.metrics().await.contains("gateway_requests_total"));
            }
            Kind::Refused if n.is_multiple_of(7) => {
                let mut client = self.world.gateway.client().await;
                client
                    .write("GET /api/v1/items HTTP/1.1\r\nHost: a\r\nBad Name: 1\r\n\r\n")
                    .await;
                self.world
                    .holds(&client.response().await, Answer::Refusal(400, "malformed_request"));
                client.is_closed().await;
            }
            Kind::Tls => {
                let to = self.world.gateway.listeners["tls"];
                match n % 8 {
                    0 => self.tls = self.world.tls.connect(to, HOST).await.unwrap(),
                    4 => self.tls = connect(self.sessions.clone(), to, HOST).await.unwrap(),
                    _ => {}
                }
                let (request, answer) = self.world.ask(kind, n);
                self.world.holds(&self.tls.send(HOST, &request).await.unwrap(), answer);
            }
            Kind::Http2 => stream(&self.world, &mut self.http2, &of_streams, n).await,
            Kind::Http2Tls => stream(&self.world, &mut self.http2_tls, &of_streams, n).await,
            Kind::Grpc => stream(&self.world, &mut self.http2, &[kind], n).await,
            _ => {
                let (request, answer) = self.world.ask(kind, n);
                self.plain.write(request.bytes(HOST)).await;
                self.world.holds(&self.plain.response().await, answer);
            }
        }
    }

    /// A WebSocket, with some frames each way.
    async fn tunnels(&self, n: usize) {
        let mut client = self.world.gateway.client().await;
        let request = Request::get("/socket")
            .bearer(&self.world.people[n % PEOPLE])
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Origin", "https://app.example.com")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ==");
        client.write(request.bytes(HOST)).await;
        assert_eq!(client.head().await.status(), 101);
        let sizes = [5, 20, 100, 300, 1000, 5, 20, 70_000];
        let frames = sizes.map(|size| Frame::whole(opcode::BINARY, &vec![7; size]));
        let close = Frame::whole(opcode::CLOSE, &1000_u16.to_be_bytes());
        for frame in frames.into_iter().chain([close]) {
            websocket::write(&mut client.connection, &frame, Some([1, 2, 3, 4]))
                .await
                .unwrap();
            let echoed = soon("a frame", websocket::read(&mut client.connection)).await;
            assert_eq!(echoed.unwrap(), frame);
        }
        self.world.counts(101);
    }
}

/// Requests of these kinds, all under way at once.
async fn stream(world: &World, client: &mut Http2, kinds: &[Kind], n: usize) {
    let mut under_way = Vec::new();
    for (place, kind) in kinds.iter().enumerate() {
        let (ask, expected) = world.ask(*kind, n + place);
        let fields = ask.headers.iter().filter(|(name, _)| name != "Connection");
        let fields: Vec<_> = fields.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let uri = format!("https://{HOST}{}", ask.target);
        let head = request(ask.method.parse().unwrap(), &uri, &fields);
        let (answer, mut body) = client.open(head, ask.body.is_empty()).await;
        if !ask.body.is_empty() {
            body.send_data(ask.body.into(), true).unwrap();
        }
        under_way.push((kind, answer, expected));
    }
    for (kind, answer, expected) in under_way {
        let answer = answered(answer).await.unwrap();
        let Answer::Body(body) = expected else {
            panic!("{kind:?} is let in")
        };
        assert_eq!(
            (answer.status.as_u16(), Bytes::from(answer.body)),
            (200, body),
            "{kind:?}"
        );
        let trailer = answer.trailers.get("grpc-status").map(|status| status.as_bytes());
        assert_eq!(trailer, (*kind == Kind::Grpc).then_some(&b"0"[..]));
        world.counts(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everyday_load_of_every_kind_is_answered_as_it_should() {
    let (deck, requests) = (deck(), requests());
    let kind = |n: usize| deck[n % deck.len()];
    let fresh = (0..requests).filter(|n| kind(*n) == Kind::FreshToken).count();
    let issuer = Issuer::with(Key::rsa("key-1")).await;
    let (app, http2) = (
        Upstream::conversing(app).await,
        Http2Upstream::serving(100, app_over_http2).await,
    );
    let auth_service = AuthService::start().await;
    let world = Arc::new(World::new(&issuer, &auth_service, &app, &http2, fresh).await);
    world.uses_up_its_hour().await;
    let mut lanes = tokio::task::JoinSet::new();
    for place in 0..LANES {
        let mut lane = Lane::of(world.clone()).await;
        let turns: Vec<_> = (place..requests).step_by(LANES).map(|n| (kind(n), n)).collect();
        lanes.spawn(async move {
            for (kind, n) in turns {
                lane.takes(kind, n).await;
            }
        });
    }
    while let Some(lane) = lanes.join_next().await {
        lane.unwrap();
    }
    let World {
        mut gateway, answered, ..
    } = Arc::into_inner(world).unwrap();
    let answered = answered.into_inner();
    // The last may be counted a moment after its client has it.
    let counted = eventually("all are counted", async || {
        let counted = counted(&gateway.metrics().await);
        (counted.values().sum::<u64>() >= answered.values().sum()).then_some(counted)
    })
    .await;
    assert_eq!(counted, answered);
    gateway.signal("TERM");
    // What a training run has learnt is written at the very end.
    assert!(gateway.ended().await.success());
    assert_eq!(gateway.stderr(), "");
    let lines = gateway.lines();
    let errors: Vec<_> = lines.iter().filter(|line| line["level"] == "error").collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// Requests that the gateway counted, by status.
fn counted(metrics: &str) -> BTreeMap<u16, u64> {
    let mut counted = BTreeMap::new();
    let series = metrics
        .lines()
        .filter_map(|line| line.strip_prefix("gateway_requests_total{"));
    for one in series {
        let (labels, value) = one.rsplit_once("} ").unwrap();
        let (_, status) = labels.rsplit_once("status=\"").unwrap();
        let count: u64 = value.parse().unwrap();
        if count > 0 {
            *counted
                .entry(status.trim_end_matches('"').parse().unwrap())
                .or_default() += count;
        }
    }
    counted
}
