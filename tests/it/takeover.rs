//! One process follows another on the same sockets, and no client is refused or reset.

use std::net::TcpListener as StdListener;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use gateway::demo::client;

use crate::harness::{Client, Gate, Gateway, Request, Upstream, eventually, soon};

const OPEN: &str = "[[routes]]\nname = \"open\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"none\"\n";

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
    first.signal("TERM").await;
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
    gateway.signal("TERM").await;
    says("STOPPING=1\n").await;
}
