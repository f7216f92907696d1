//! One process follows another on the same sockets, and no client is refused or reset.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::demo::client;
use parking_lot::Mutex;

use crate::harness::{Client, Gate, Gateway, OPEN, PATIENCE, Request, Upstream, eventually, soon};

/// Processes that follow each other in a test.
const GENERATIONS: usize = 10;

/// Clients that connect anew for each request, side by side.
const CLIENTS: usize = 8;

#[tokio::test]
async fn no_new_connection_is_refused_or_reset_while_gateways_follow_each_other() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let mut gateway = Gateway::with(&format!("[server]\nworkers = 2\n{OPEN}"))
        .upstream("up", &upstream)
        .start()
        .await;
    let address = gateway.address;
    let stopping = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (stopping, served) = (stopping.clone(), served.clone());
            tokio::spawn(async move {
                let request = Request::get("/").header("Connection", "close").bytes(address);
                while !stopping.load(Ordering::Relaxed) {
                    let mut connection = client::connect(address).await?;
                    connection.send(&request).await?;
                    let response = client::receive(&mut connection).await?;
                    assert_eq!(response.head.status(), 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
                std::io::Result::Ok(())
            })
        })
        .collect();
    for _ in 0..GENERATIONS {
        let before = served.load(Ordering::Relaxed);
        let successor = gateway.successor().await;
        assert_eq!(successor.address, address);
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.stdout());
        gateway = successor;
        eventually("the successor serves", async || {
            (served.load(Ordering::Relaxed) > before + CLIENTS).then_some(())
        })
        .await;
    }
    stopping.store(true, Ordering::Relaxed);
    for client in clients {
        soon("a client ends", client).await.unwrap().unwrap();
    }
    let ready = gateway.ask_admin("/readyz").await;
    assert_eq!(ready.head.status(), 200, "the admin port went over too");
}

/// New connections of the long test, each second, and how often they come.
const NEW_A_SECOND: usize = 2000;
const TICK: Duration = Duration::from_millis(10);

/// How a new connection fared.
#[derive(Default)]
struct Fared {
    served: AtomicUsize,
    failed: Mutex<Vec<String>>,
    slowest_us: AtomicU64,
}

/// Comes to one of the machine's own addresses, so that ports do not run out.
async fn comes(place: usize, port: u16, fared: Arc<Fared>) {
    let host = u8::try_from(place % 200).unwrap() + 1;
    let address = SocketAddr::from(([127, 0, 0, host], port));
    let began = Instant::now();
    let asked = async {
        let mut connection = client::connect(address).await?;
        connection
            .send(&Request::get("/").header("Connection", "close").bytes(address))
            .await?;
        client::receive(&mut connection).await
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(response)) if response.head.status() == 200 => {
            fared.served.fetch_add(1, Ordering::Relaxed);
        }
        other => fared.failed.lock().push(format!("{:?} {other:?}", began.elapsed())),
    }
    let took = u64::try_from(began.elapsed().as_micros()).unwrap();
    fared.slowest_us.fetch_max(took, Ordering::Relaxed);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "minutes: .ci/long"]
async fn a_hundred_gateways_follow_each_other_under_two_thousand_new_connections_a_second() {
    let upstream = Upstream::forgetting("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let listener = "[[listeners]]\nname = \"public\"\naddress = \"0.0.0.0:0\"\n[log]\naccess = false\n";
    let mut gateway = Gateway::with(&format!("[server]\nworkers = 2\n{listener}{OPEN}"))
        .upstream("up", &upstream)
        .start()
        .await;
    let (port, fared) = (gateway.address.port(), Arc::new(Fared::default()));
    let began = Instant::now();
    let coming = tokio::spawn({
        let fared = fared.clone();
        async move {
            let mut ticks = tokio::time::interval(TICK);
            let mut place = 0;
            loop {
                ticks.tick().await;
                let due = usize::try_from(began.elapsed().as_millis()).unwrap() * NEW_A_SECOND / 1000;
                for place in place..due {
                    tokio::spawn(comes(place, port, fared.clone()));
                }
                place = due.max(place);
            }
        }
    });
    for _ in 0..100 {
        let before = fared.served.load(Ordering::Relaxed);
        let successor = gateway.successor().await;
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.stdout());
        gateway = successor;
        eventually("the successor serves", async || {
            (fared.served.load(Ordering::Relaxed) > before).then_some(())
        })
        .await;
    }
    let took = began.elapsed();
    coming.abort();
    let served = fared.served.load(Ordering::Relaxed);
    println!(
        "100 takeovers in {took:.1?}: {served} connections served, {:.0} a second, {} failed, the slowest in {} ms",
        served as f64 / took.as_secs_f64(),
        fared.failed.lock().len(),
        fared.slowest_us.load(Ordering::Relaxed) / 1000,
    );
    let failed = fared.failed.lock();
    assert!(
        failed.is_empty(),
        "{} failed: {:?}",
        failed.len(),
        failed.iter().take(5).collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn what_the_gateway_before_had_in_flight_finishes_there() {
    let gate = Gate::shut();
    let door = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let door = door.clone();
        async move {
            conversation.request().await;
            door.passed().await;
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
                .await;
        }
    })
    .await;
    let mut gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut busy = gateway.client().await;
    busy.write(Request::get("/").bytes(gateway.address)).await;
    upstream.got(1).await;
    let successor = gateway.successor().await;
    assert!(gateway.runs());
    gate.open();
    assert_eq!(busy.response().await.body, b"whole");
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(successor.get("/").await.head.status(), 200);
}

#[tokio::test]
async fn a_successor_that_does_not_come_up_changes_nothing() {
    let upstream = Upstream::echo().await;
    let mut gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let good = gateway.config();
    // It has the sockets already when it finds that one more address is taken.
    let taken = StdListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    gateway.write(
        "gateway.toml",
        format!("{good}\n[[listeners]]\nname = \"taken\"\naddress = \"{address}\"\n"),
    );
    let output = gateway.run(&["run", "--takeover"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    gateway.event("takeover given up; this gateway goes on").await;
    assert!(gateway.runs());
    assert_eq!(gateway.get("/").await.head.status(), 200);
    gateway.write("gateway.toml", good);
    let successor = gateway.successor().await;
    assert_eq!(gateway.ended().await.code(), Some(0));
    assert_eq!(successor.get("/").await.head.status(), 200);
}

#[tokio::test]
async fn taking_over_from_nobody_is_refused() {
    let upstream = Upstream::echo().await;
    let output = Gateway::with(OPEN)
        .upstream("up", &upstream)
        .run(&["run", "--takeover"])
        .await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("no gateway to take over from"), "{message}");
}

#[tokio::test]
async fn a_socket_of_the_service_manager_is_used_and_outlives_the_gateway() {
    let upstream = Upstream::echo().await;
    let socket = StdListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let setup = |config: &str| Gateway::with(config).upstream("up", &upstream);
    // By its name, wherever the config would bind it.
    let mut first = setup(OPEN)
        .start_inheriting(socket.try_clone().unwrap(), "public")
        .await;
    assert_eq!(first.address, address);
    assert_eq!(first.get("/").await.head.status(), 200);
    first.signal("TERM");
    assert_eq!(first.ended().await.code(), Some(0));
    // Nobody serves, and yet nobody is refused: the connection waits for the next process, which knows it by its address.
    let mut waiting = Client::of(address).await;
    waiting.write(Request::get("/").bytes(address)).await;
    let listener = format!("[[listeners]]\nname = \"door\"\naddress = \"{address}\"\n{OPEN}");
    let _second = setup(&listener).start_inheriting(socket, "gateway.socket").await;
    assert_eq!(waiting.response().await.head.status(), 200);
}

#[tokio::test]
async fn the_service_manager_is_told_when_it_serves_and_when_it_stops() {
    let upstream = Upstream::echo().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_nonblocking(true).unwrap();
    let mut told = String::new();
    let mut says = async |word: &str| {
        eventually(word, async || {
            let mut message = [0; 256];
            while let Ok(count) = manager.recv(&mut message) {
                told.push_str(&String::from_utf8_lossy(&message[..count]));
            }
            told.contains(word).then_some(())
        })
        .await;
    };
    let gateway = Gateway::with(OPEN)
        .upstream("up", &upstream)
        .env("NOTIFY_SOCKET", path.to_str().unwrap())
        .start()
        .await;
    says("READY=1\n").await;
    gateway.signal("TERM");
    says("STOPPING=1\n").await;
}
