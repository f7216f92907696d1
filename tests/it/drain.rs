//! The end of the process: what is in flight may finish, what is new goes elsewhere, and nothing hangs.

use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Client, Gate, Gateway, OPEN, Request, Setup, Upstream, eventually, soon};

fn with_server(lines: &str) -> Setup {
    Gateway::with(&format!("[server]\nworkers = 1\n{lines}\n{OPEN}"))
}

/// Answers when the gate is open.
async fn behind(gate: &Gate) -> Upstream {
    let gate = gate.clone();
    Upstream::conversing(move |mut conversation| {
        let gate = gate.clone();
        async move {
            while conversation.request().await.is_some() {
                gate.passed().await;
                conversation
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
                    .await;
            }
        }
    })
    .await
}

/// Begins to answer, and never ends.
async fn endless() -> Upstream {
    Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.send("HTTP/1.1 200 OK\r\n\r\ndata").await;
        conversation.closed().await;
    })
    .await
}

async fn asks(gateway: &Gateway) -> Client {
    let mut client = gateway.client().await;
    client.write(Request::get("/").bytes(gateway.address)).await;
    client
}

async fn is_not_ready(gateway: &Gateway) {
    eventually("/readyz says 503", async || {
        (gateway.ask_admin("/readyz").await.head.status() == 503).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    for signal in ["TERM", "INT"] {
        let gate = Gate::shut();
        let upstream = behind(&gate).await;
        let mut gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
        let mut idle = gateway.client().await;
        let mut busy = asks(&gateway).await;
        upstream.got(1).await;
        gateway.signal(signal);
        is_not_ready(&gateway).await;
        assert_eq!(gateway.ask_admin("/livez").await.head.status(), 200);
        idle.is_closed().await;
        eventually("new connections are refused", async || {
            TcpStream::connect(gateway.address).await.err()
        })
        .await;
        assert!(gateway.runs());
        gate.open();
        let response = busy.response().await;
        assert_eq!((response.head.status(), &*response.body), (200, &b"whole"[..]));
        busy.is_closed().await;
        assert_eq!(gateway.ended().await.code(), Some(0));
    }
}

#[tokio::test]
async fn a_kept_connection_is_told_that_it_ends() {
    let gate = Gate::shut();
    let upstream = behind(&gate).await;
    let mut gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let mut client = asks(&gateway).await;
    upstream.got(1).await;
    gateway.signal("TERM");
    is_not_ready(&gateway).await;
    eventually("new connections are refused", async || {
        TcpStream::connect(gateway.address).await.err()
    })
    .await;
    gate.open();
    assert!(client.head().await.has_token("connection", "close"));
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn the_drain_timeout_ends_what_does_not_end() {
    let upstream = endless().await;
    let mut gateway = with_server("drain_timeout = \"200ms\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = asks(&gateway).await;
    let body = client.head().await.response_body().unwrap();
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
    let rest = soon("the cut", client.connection.rest(body)).await;
    assert!(rest.is_err(), "what was cut off looks whole: {rest:?}");
    eventually("a word about it", async || {
        gateway.stdout().contains("drain timed out").then_some(())
    })
    .await;
    let line = gateway.access_line(|line| line["route"] == "open").await;
    assert_eq!(line["status"], 200, "what was cut off is logged too");
}

#[tokio::test]
async fn during_the_drain_delay_it_is_not_ready_and_still_serves() {
    let gate = Gate::shut();
    gate.open();
    let upstream = behind(&gate).await;
    let mut gateway = with_server("drain_delay = \"10m\"")
        .upstream("up", &upstream)
        .start()
        .await;
    gateway.signal("TERM");
    is_not_ready(&gateway).await;
    assert_eq!(gateway.get("/").await.head.status(), 200);
    // Whoever cannot wait says it again.
    gateway.signal("TERM");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_drain_at_once() {
    let upstream = endless().await;
    let mut gateway = with_server("drain_timeout = \"10m\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = asks(&gateway).await;
    client.head().await;
    gateway.signal("TERM");
    is_not_ready(&gateway).await;
    assert!(gateway.runs());
    gateway.signal("INT");
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_tunnel_may_go_on_until_the_drain_timeout() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation
            .send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n")
            .await;
        while let Ok(bytes) = conversation.connection.exactly(4).await {
            conversation.send(bytes).await;
        }
    })
    .await;
    let mut gateway = with_server("drain_timeout = \"10m\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    let request = Request::get("/")
        .header("Connection", "upgrade")
        .header("Upgrade", "websocket");
    client.write(request.bytes(gateway.address)).await;
    assert_eq!(client.head().await.status(), 101);
    gateway.signal("TERM");
    is_not_ready(&gateway).await;
    client.write("ping").await;
    assert_eq!(client.exactly(4).await, b"ping");
    drop(client);
    assert_eq!(gateway.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap();
    let upstream = Upstream::echo().await;
    let listeners = format!("[[listeners]]\nname = \"door\"\naddress = \"{address}\"\n{OPEN}");
    let admin = format!("[admin]\naddress = \"{address}\"\n{OPEN}");
    for (config, name) in [(listeners, "door"), (admin, "admin")] {
        let output = Gateway::with(&config).upstream("up", &upstream).run(&["run"]).await;
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(
            message.contains(name) && message.contains(&address.to_string()),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_port_of_another_gateway_is_taken() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let config = format!(
        "[[listeners]]\nname = \"door\"\naddress = \"{}\"\n{OPEN}",
        gateway.address
    );
    let output = Gateway::with(&config).upstream("up", &upstream).run(&["run"]).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
