//! The script tried without a gateway: its plays against the upstreams themselves, and every case against a door that is always
//! open and one that is always shut.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use serde_json::json;
use tokio::net::TcpStream;

use super::*;
use crate::demo::serve::{self, After, Site, serve};
use crate::demo::upstreams::echo::Echo;
use crate::demo::upstreams::events::Events;
use crate::demo::wire::Wire;

/// Long enough for any of these, short enough for those that wait in vain.
const PATIENCE: Duration = Duration::from_secs(20);

/// Refuses whatever comes, in the form that refusals have.
struct ShutDoor;

impl Site for ShutDoor {
    async fn answer(&self, request: serve::Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        wire.rest(request.body).await?;
        serve::json(wire, "401 Unauthorized", &json!({ "error": "unauthorized" })).await
    }
}

/// A proxy that waits for whole messages before it hands them on.
struct Buffering(SocketAddr);

impl Site for Buffering {
    async fn answer(&self, request: serve::Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        let body = wire.rest(request.body).await?;
        let target = format!("{}?{}", request.path, request.query);
        let onward = Request::new(&request.method, &target).body(&String::from_utf8_lossy(&body));
        let answer = client::send(self.0, &onward).await?;
        let head = format!("{}\r\nContent-Length: {}\r\n\r\n", answer.head.line, answer.body.len());
        wire.send(head.as_bytes()).await?;
        wire.send(&answer.body).await?;
        Ok(After::Next)
    }
}

fn addresses(world: &World, gateway: SocketAddr) -> Addresses {
    Addresses {
        gateway,
        admin: gateway,
        identity_provider: world.identity_provider.server.address,
    }
}

async fn run(world: &World, gateway: SocketAddr, names: Option<&[&str]>) -> (Report, String) {
    let wallet = Wallet::granted(world).await.unwrap();
    let mut chapters = chapters(world, &wallet).unwrap();
    for chapter in &mut chapters {
        chapter
            .cases
            .retain(|case| names.is_none_or(|names| names.contains(&case.name)));
    }
    let mut told = Vec::new();
    let report = run_chapters(&chapters, &addresses(world, gateway), PATIENCE, &mut told, Paint::Plain)
        .await
        .unwrap();
    (report, String::from_utf8(told).unwrap())
}

#[tokio::test]
async fn streams_uploads_and_sockets_pass_against_the_upstreams_themselves() {
    let world = World::start().await.unwrap();
    let upstreams = &world.upstreams;
    for (upstream, names) in [
        (&upstreams.events, &["server-sent-events"][..]),
        (&upstreams.socket, &["websocket"]),
        (&upstreams.echo, &["upload", "headers-unchanged", "path-unchanged"]),
    ] {
        let (report, told) = run(&world, upstream.address, Some(names)).await;
        // The echo gives no request id of its own; all else that these cases want, it has.
        assert_eq!((report.passed, report.failed), (names.len(), vec![]), "{told}");
    }
}

#[tokio::test]
async fn the_chat_streams_in_lock_step() {
    let world = World::start().await.unwrap();
    let request = Request::new("POST", "/v1/chat/completions")
        .header("X-User-ID", "bob")
        .body(r#"{"stream":true}"#);
    let play = case::Play::Stream {
        request,
        acknowledge: Request::get("/v1/ack"),
        pieces: vec![
            "\"Hello \"",
            "\"bob, \"",
            "\"the \"",
            "\"gateway \"",
            "\"told \"",
            "\"me \"",
            "\"who \"",
            "\"you \"",
            "\"are.\"",
        ],
        last: "data: [DONE]",
    };
    play::play(&play, &addresses(&world, world.upstreams.chat.address), PATIENCE)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_proxy_that_buffers_fails_the_streams_and_the_upload() {
    // However long the upstreams wait, in vain is in vain.
    let brief = Duration::from_millis(20);
    let world = World::start().await.unwrap();
    let events = serve(|_| Events::new(brief)).await.unwrap();
    let echo = serve(|_| Echo::new(brief)).await.unwrap();
    for (upstream, name) in [(&events, "server-sent-events"), (&echo, "upload")] {
        let proxy = serve(|_| Buffering(upstream.address)).await.unwrap();
        let (report, told) = run(&world, proxy.address, Some(&[name])).await;
        assert_eq!(report.failed, [name], "{told}");
    }
}

#[tokio::test]
async fn every_case_fails_against_an_open_door_or_a_shut_one() {
    let world = World::start().await.unwrap();
    let open = serve(|_| Echo::new(Duration::from_millis(20))).await.unwrap();
    let shut = serve(|_| ShutDoor).await.unwrap();
    let (open_report, _) = run(&world, open.address, None).await;
    let (shut_report, told) = run(&world, shut.address, None).await;

    let failed: HashSet<_> = open_report.failed.iter().chain(&shut_report.failed).copied().collect();
    let wallet = Wallet::of(&world).unwrap();
    let chapters = chapters(&world, &wallet).unwrap();
    let all = chapters.iter().flat_map(|chapter| &chapter.cases).map(|case| case.name);
    let unfailing: Vec<_> = all.filter(|name| !failed.contains(name)).collect();
    // The grant is with the provider, whatever the gateway does.
    assert_eq!(unfailing, ["password-grant"], "{told}");
    assert!(!open_report.is_good() && !shut_report.is_good());
    assert!(
        told.contains("✗ jwt-rs256: expected status 200, got 401 unauthorized"),
        "{told}"
    );
}

#[tokio::test]
async fn nobody_at_the_gateway_fails_every_case_that_needs_one() {
    let world = World::start().await.unwrap();
    let (report, told) = run(&world, world.upstreams.down().unwrap(), None).await;
    assert_eq!(report.passed, 1, "{told}");
}

#[tokio::test]
async fn the_names_of_cases_are_unique() {
    let world = World::start().await.unwrap();
    let wallet = Wallet::of(&world).unwrap();
    let mut seen = HashSet::new();
    for chapter in chapters(&world, &wallet).unwrap() {
        for case in chapter.cases {
            assert!(seen.insert(case.name), "{} is there twice", case.name);
        }
    }
}

#[test]
fn a_credential_is_cut_short_and_a_path_is_not() {
    let key = "k".repeat(60);
    let line = format!("curl -si http://127.0.0.1:80/a -H 'X-API-Key: {key}'");
    assert_eq!(
        abridged(&line),
        "curl -si http://127.0.0.1:80/a -H 'X-API-Key: kkkkkkkkkkkk…'"
    );
}
