//! Upstreams with several endpoints, some of which do not work: health, pauses, retries, names that move.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use gateway::demo::client;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use crate::harness::{Gateway, Names, OPEN, Request, Setup, Upstream, eventually, refused, soon};

fn to(endpoints: &[SocketAddr], lines: &str) -> Setup {
    let urls: Vec<_> = endpoints.iter().map(|address| format!("http://{address}")).collect();
    Gateway::with(OPEN).and(&format!("[upstreams.up]\nurls = {urls:?}\n{lines}"))
}

fn up_of(endpoint: SocketAddr) -> String {
    format!("gateway_upstream_up{{endpoint=\"http://{endpoint}\",upstream=\"up\"}}")
}

/// Answers `/health` as it is told, and everything else with its name.
async fn with_health(name: &'static str, well: &Arc<AtomicBool>) -> Upstream {
    let well = well.clone();
    Upstream::answering(move |received| {
        let status = if received.line.starts_with("GET /health ") && !well.load(Ordering::Relaxed) {
            "503 Service Unavailable"
        } else {
            "200 OK"
        };
        let length = name.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{name}").into_bytes()
    })
    .await
}

fn asked(upstream: &Upstream) -> usize {
    let requests = upstream.requests();
    requests
        .iter()
        .filter(|request| request.line.starts_with("GET / "))
        .count()
}

#[tokio::test]
async fn an_endpoint_that_fails_its_health_checks_is_left_out_until_it_passes_them() {
    let well = Arc::new(AtomicBool::new(true));
    let always = Arc::new(AtomicBool::new(true));
    let (first, second) = (with_health("first", &well).await, with_health("second", &always).await);
    let health = "balance = \"round_robin\"\n\
        health = { path = \"/health\", interval = \"20ms\", timeout = \"10s\", unhealthy_after = 2, healthy_after = 2 }\n";
    let gateway = to(&[first.address, second.address], health).start().await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.head.status(), 200);
    }
    assert_eq!((asked(&first), asked(&second)), (2, 2));
    let probe = first
        .requests()
        .into_iter()
        .find(|request| request.line.starts_with("GET /health"));
    assert_eq!(probe.unwrap().header("host"), Some(first.address.to_string()));

    well.store(false, Ordering::Relaxed);
    gateway.metric_becomes(&up_of(first.address), 0.0).await;
    gateway.event("upstream endpoint down").await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.body, b"second");
    }
    gateway.metric_becomes(&up_of(second.address), 1.0).await;

    well.store(true, Ordering::Relaxed);
    gateway.metric_becomes(&up_of(first.address), 1.0).await;
    gateway.event("upstream endpoint up").await;
    for _ in 0..2 {
        gateway.get("/").await;
    }
    assert_eq!(asked(&first), 3);
}

#[tokio::test]
async fn when_every_endpoint_fails_its_checks_requests_are_still_tried() {
    let ill = Arc::new(AtomicBool::new(false));
    let only = with_health("only", &ill).await;
    let health = "health = { path = \"/health\", interval = \"20ms\", unhealthy_after = 1 }\n";
    let gateway = to(&[only.address], health).start().await;
    gateway.metric_becomes(&up_of(only.address), 0.0).await;
    assert_eq!(gateway.get("/").await.body, b"only");
}

#[tokio::test]
async fn health_checks_follow_a_reload() {
    let ill = Arc::new(AtomicBool::new(false));
    let upstream = with_health("up", &ill).await;
    let gateway = to(&[upstream.address], "").start().await;
    gateway.metric_becomes(&up_of(upstream.address), 1.0).await;
    let health = "health = { path = \"/health\", interval = \"20ms\", unhealthy_after = 1 }\n";
    let config = gateway
        .config()
        .replace("[upstreams.up]\n", &format!("[upstreams.up]\n{health}"));
    gateway.write("gateway.toml", config);
    gateway.metric_becomes(&up_of(upstream.address), 0.0).await;
}

/// How an endpoint misbehaves, from one request to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Mood {
    Well,
    /// Hangs up on what it was sent.
    HangsUp,
    Resets,
    Garbage,
    /// Says nothing for as long as anybody waits.
    Frozen,
}

const MOODS: [Mood; 5] = [Mood::Well, Mood::HangsUp, Mood::Resets, Mood::Garbage, Mood::Frozen];

async fn moody(mood: &Arc<AtomicU8>) -> Upstream {
    let mood = mood.clone();
    Upstream::conversing(move |mut conversation| {
        let mood = mood.clone();
        async move {
            while conversation.request().await.is_some() {
                match MOODS[usize::from(mood.load(Ordering::Relaxed))] {
                    Mood::Well => {
                        conversation
                            .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                            .await
                    }
                    Mood::HangsUp => return,
                    Mood::Resets => return conversation.reset(),
                    Mood::Garbage => conversation.send("220 smtp.example.com ESMTP\r\n\r\n").await,
                    Mood::Frozen => return conversation.closed().await,
                }
            }
        }
    })
    .await
}

#[tokio::test]
async fn while_one_endpoint_works_every_idempotent_request_is_answered_whatever_another_does() {
    let mood = Arc::new(AtomicU8::new(0));
    let (bad, good) = (moody(&mood).await, moody(&Arc::default()).await);
    let gateway = to(&[bad.address, good.address], "try_timeout = \"200ms\"\n")
        .start()
        .await;
    let address = gateway.address;
    let stopping = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<JoinHandle<()>> = (0..16)
        .map(|_| {
            let (stopping, served) = (stopping.clone(), served.clone());
            tokio::spawn(async move {
                let mut connection = client::connect(address).await.unwrap();
                let request = Request::get("/").bytes(address);
                while !stopping.load(Ordering::Relaxed) {
                    connection.send(&request).await.unwrap();
                    let response = client::receive(&mut connection).await.unwrap();
                    assert_eq!(response.head.status(), 200, "{:?}", response.json());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for round in 1..=8_u8 {
        mood.store(round % 5, Ordering::Relaxed);
        let before = served.load(Ordering::Relaxed);
        eventually("more requests", async || {
            (served.load(Ordering::Relaxed) > before + 200).then_some(())
        })
        .await;
    }
    stopping.store(true, Ordering::Relaxed);
    for client in clients {
        soon("a client ends", client).await.unwrap();
    }
    assert!(bad.count() > 0);
    gateway
        .metric_becomes("gateway_upstream_in_flight{upstream=\"up\"}", 0.0)
        .await;
}

#[tokio::test]
async fn an_endpoint_that_fails_again_and_again_pauses_and_comes_back() {
    let mood = Arc::new(AtomicU8::new(Mood::HangsUp as u8));
    let (bad, good) = (moody(&mood).await, moody(&Arc::default()).await);
    let gateway = to(&[bad.address, good.address], "balance = \"round_robin\"\n")
        .start()
        .await;
    eventually("it pauses", async || {
        gateway.get("/").await;
        (gateway.metric(&up_of(bad.address)).await == Some(0.0)).then_some(())
    })
    .await;
    mood.store(Mood::Well as u8, Ordering::Relaxed);
    // One request after the pause finds out.
    eventually("it is back", async || {
        assert_eq!(gateway.get("/").await.head.status(), 200);
        (gateway.metric(&up_of(bad.address)).await == Some(1.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn retries_are_a_fifth_of_the_requests_at_most() {
    let upstream = moody(&Arc::new(AtomicU8::new(Mood::HangsUp as u8))).await;
    let gateway = to(&[upstream.address], "retries = 3\n").start().await;
    for _ in 0..200 {
        refused(&gateway.get("/").await, 502, "bad_gateway");
    }
    let attempts = upstream.count();
    // What is saved up at the start, and one for each five.
    assert!((200 + 40..=200 + 20 + 41).contains(&attempts), "{attempts}");
}

#[tokio::test]
async fn an_attempt_that_takes_too_long_is_made_elsewhere() {
    let frozen = moody(&Arc::new(AtomicU8::new(Mood::Frozen as u8))).await;
    let good = moody(&Arc::default()).await;
    let gateway = to(
        &[frozen.address, good.address],
        "balance = \"round_robin\"\ntry_timeout = \"50ms\"\nresponse_timeout = \"20s\"\n",
    )
    .start()
    .await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/").await.head.status(), 200);
    }
    assert!(frozen.count() > 0);
    // What may not be done twice is not: it waits for as long as the upstream allows.
    let gateway = to(
        &[frozen.address],
        "try_timeout = \"50ms\"\nresponse_timeout = \"300ms\"\n",
    )
    .start()
    .await;
    let before = frozen.count();
    refused(
        &gateway.send(&Request::new("POST", "/").body("x")).await,
        504,
        "upstream_timeout",
    );
    assert_eq!(frozen.count(), before + 1);
}

#[tokio::test]
async fn an_endpoint_can_be_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let heads = Arc::new(Mutex::new(String::new()));
    let told = heads.clone();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut head = vec![0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut head).await {
            told.lock().push_str(&String::from_utf8_lossy(&head[..count]));
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    });
    let gateway = Gateway::with(OPEN)
        .and(&format!("[upstreams.up]\nurls = [\"unix:{}\"]\n", path.display()))
        .start()
        .await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/").await.body, b"ok");
    }
    assert!(heads.lock().contains("Host: localhost\r\n"), "{}", heads.lock());
    let line = gateway.access_line(|line| line["route"] == "open").await;
    assert_eq!(line["endpoint"], format!("unix:{}", path.display()));
    serving.abort();
}

#[tokio::test]
async fn a_name_that_moves_is_followed_and_kept_connections_to_where_it_was_are_left() {
    // Two hosts with the same port.
    let (first, second) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let old = Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold").await;
    let port = old.address.port();
    let listener = tokio::net::TcpListener::bind((second, port)).await.unwrap();
    let serving = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                while let Ok(1..) = stream.read(&mut head).await {
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew")
                        .await;
                }
            });
        }
    });
    let names = Names::start(first).await;
    let server = format!("[server]\nworkers = 1\nnameservers = [\"{}\"]\n{OPEN}", names.address);
    let gateway = Gateway::with(&server)
        .and(&format!("[upstreams.up]\nurls = [\"http://app.test:{port}\"]\n"))
        .start()
        .await;
    eventually("the name is resolved", async || {
        (gateway.get("/").await.body == b"old").then_some(())
    })
    .await;
    let connections = old.connections();
    assert_eq!(gateway.get("/").await.body, b"old");
    assert_eq!(old.connections(), connections, "its connection is kept");
    names.move_to(second);
    // Its TTL is a second.
    eventually("the name has moved", async || {
        (gateway.get("/").await.body == b"new").then_some(())
    })
    .await;
    assert_eq!(gateway.get("/").await.body, b"new");
    serving.abort();
}
