//! Shared modes against somebody who may write the Redis that gateways share, and has no secret of theirs.

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, Redis, RedisCluster, Request, Setup, Upstream, eventually};

const SECRET: &str = "internal-secret-0123456789";

/// One route, `chat`, that takes tokens.
fn setup(issuer: &Issuer, upstream: &Upstream, redis: &str) -> Setup {
    let route = "[[routes]]\nname = \"chat\"\npaths = [\"/chat/*\"]\nupstream = \"up\"\nauth = \"jwt\"\n";
    Gateway::with(&format!("[internal]\nkeys = [\"{SECRET}\"]\n{route}"))
        .and(redis)
        .issuer("lab", issuer)
        .upstream("up", upstream)
}

async fn mode(gateway: &Gateway, words: &[&str]) -> (i32, String) {
    let output = gateway.run(&[&["mode"], words].concat()).await;
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[tokio::test]
async fn what_others_wrote_to_redis_steers_no_terminal() {
    let (issuer, upstream, redis) = (Issuer::start().await, Upstream::echo().await, Redis::start().await);
    let forged = "x\"\n2026-11-22T00:00:00Z INFO FORGED\u{1b}[31m\r\u{2028}\u{202e}\u{9b}";
    let _: u64 = redis.ask(&["HSET", "gateway:modes", forged, forged]).await;
    let report = json!({
        "name": forged,
        "seen_ms": 9_999_999_999_999_u64,
        "revision": "",
        "modes": { "chat": { "mode": forged, "by": forged }, forged: { "mode": forged, "by": "shared" } },
    });
    let _: u64 = redis.ask(&["HSET", "gateway:gateways", "z", &report.to_string()]).await;
    let setup = setup(&issuer, &upstream, &redis.section(""));
    for (words, exit, forgeries) in [
        // The mode's route and itself; the gateway's name, and what it reports of that route.
        (&["mode", "--shared"][..], 0, 5),
        // The gateway's name, and a route that it still reports, with its mode.
        (&["mode", "--reset", "--shared"], 1, 3),
    ] {
        let (code, stdout, stderr) = setup.says(words).await;
        let text = stdout + &stderr;
        assert_eq!((code, text.matches("FORGED").count()), (exit, forgeries), "{text:?}");
        let steers = |c: char| c != '\n' && c.is_control() || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!text.contains(steers), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("2026")), "{text:?}");
    }
}

/// Waits for a `shared mode ignored` that has this.
async fn ignored(gateway: &Gateway, field: &str, value: impl Into<Value>) -> Value {
    let value = value.into();
    eventually(&format!("a mode is ignored: {field} {value}"), async || {
        let mut lines = gateway.lines().into_iter();
        lines.find(|line| line["message"] == "shared mode ignored" && line[field] == value)
    })
    .await
}

/// Waits until the secret opens the route, or does not.
async fn becomes(gateway: &Gateway, status: u16) {
    let request = Request::get("/chat/x").header("X-Internal-Auth", SECRET);
    eventually(&format!("it is {status}"), async || {
        (gateway.send(&request).await.head.status() == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn r39_a_gateway_reads_modes_of_its_own_routes_and_none_that_is_too_long_to_be_one() {
    let (issuer, upstream, redis) = (Issuer::start().await, Upstream::echo().await, Redis::start().await);
    let huge = "y".repeat(8 << 20);
    let _: u64 = redis.ask(&["HSET", "gateway:gateways", "z", &huge]).await;
    let long_ago = json!({ "name": "old:1", "seen_ms": 1, "revision": "", "modes": {} });
    let _: u64 = redis
        .ask(&["HSET", "gateway:gateways", "old", &long_ago.to_string()])
        .await;
    let () = redis.ask(&["SET", "gateway:modes-revision", &huge]).await;
    let gateway = setup(&issuer, &upstream, &redis.section("")).start().await;
    // Reports of gateways that are gone, and what is none.
    eventually("only its own report is left", async || {
        let ids: Vec<String> = redis.ask(&["HKEYS", "gateway:gateways"]).await;
        (ids.len() == 1 && ids[0].len() == 36).then_some(())
    })
    .await;
    // Modes of routes that it does not have: told of by their number, whenever that is another.
    let strange =
        |from: usize| (from..from + 2000).flat_map(|n| [format!("route-{n}-{}", "x".repeat(100)), "jwt".into()]);
    for count in [2000, 4000] {
        let fields: Vec<String> = strange(count).collect();
        let command = [vec!["HSET".to_owned(), "gateway:modes".to_owned()], fields].concat();
        let _: u64 = redis.ask(&command).await;
        let event = ignored(&gateway, "modes", count).await;
        assert_eq!(event["reason"], "there is no such route");
    }
    // Its own, which is none; in bytes that are no text, too long, and then a mode.
    let _: u64 = redis.ask(&[&b"HSET"[..], b"gateway:modes", b"chat", b"\xff"]).await;
    ignored(&gateway, "route", "chat").await;
    let _: u64 = redis.ask(&["HSET", "gateway:modes", "chat", "internal"]).await;
    becomes(&gateway, 200).await;
    let _: u64 = redis.ask(&["HSET", "gateway:modes", "chat", &huge]).await;
    becomes(&gateway, 401).await;
    let told = || {
        let lines = gateway.lines().into_iter();
        lines.filter(|line| line["message"] == "shared mode ignored").count()
    };
    eventually("each is told once", async || (told() >= 4).then_some(())).await;
    assert_eq!(told(), 4);
    let sent = redis.sent().await;
    assert!(sent < 1 << 20, "{sent}");

    // And the command gets by with them.
    let _: u64 = redis.ask(&[&b"HSET"[..], b"gateway:gateways", b"\xff", b"\xff"]).await;
    let (exit, text) = mode(&gateway, &["chat", "internal", "--shared"]).await;
    assert_eq!(exit, 0, "{text}");
    let (exit, text) = mode(&gateway, &["--reset", "--shared"]).await;
    assert_eq!(exit, 0, "{text}");
    assert_eq!(redis.ask::<u64>(&["EXISTS", "gateway:modes"]).await, 0);
}

#[tokio::test]
async fn a_cluster_shares_modes() {
    let (issuer, upstream, cluster) = (
        Issuer::start().await,
        Upstream::echo().await,
        RedisCluster::start().await,
    );
    let redis = format!("[redis]\nurl = \"{}\"\n", cluster.url());
    let gateway = setup(&issuer, &upstream, &redis).start().await;
    // Once it is connected it reports, and is waited for.
    eventually("the gateway is there", async || {
        let (exit, text) = mode(&gateway, &["--shared"]).await;
        (exit == 0 && text.contains("gateway ")).then_some(())
    })
    .await;
    let (exit, text) = mode(&gateway, &["chat", "internal", "--shared"]).await;
    assert_eq!((exit, text.matches("in force after").count()), (0, 1), "{text}");
    becomes(&gateway, 200).await;
    let (exit, text) = mode(&gateway, &["--reset", "chat", "--shared"]).await;
    assert_eq!(exit, 0, "{text}");
    becomes(&gateway, 401).await;
}
