//! `gateway mode`: the switch for the hand at night. What it may set, where it is kept, who applies it and how soon.

use std::process::Output;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, Redis, Request, Setup, Upstream, eventually, open_to, refused};

const SECRET: &str = "internal-secret-0123456789";

fn route(name: &str, lines: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\npaths = [\"/{name}/*\"]\nupstream = \"up\"\n{lines}\n")
}

fn setup(issuer: &Issuer, upstream: &Upstream) -> Setup {
    let routes = route("chat", "auth = \"jwt\"")
        + &route("tasks", "auth = [\"jwt\", \"internal\"]")
        + &route(
            "tries",
            "auth = \"internal\"\ncanary = { auth = \"jwt\", percent = 100 }",
        )
        + &route("cron", "auth = \"internal\"")
        + &route("open", "auth = \"none\"");
    Gateway::with(&format!("[internal]\nkeys = [\"{SECRET}\"]\n{routes}"))
        .issuer("lab", issuer)
        .upstream("up", upstream)
}

fn old(path: &str) -> Request {
    Request::get(path).header("X-Internal-Auth", SECRET)
}

fn said(output: &Output) -> (i32, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

async fn mode(gateway: &Gateway, words: &[&str]) -> (i32, String) {
    let arguments = [&["mode"], words].concat();
    said(&gateway.run(&arguments).await)
}

async fn listed(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.run(&["mode", "--json"]).await.stdout).unwrap()
}

/// Waits until the secret opens the path, or does not.
async fn becomes(gateway: &Gateway, path: &str, status: u16) {
    eventually(&format!("{path} is {status}"), async || {
        (gateway.send(&old(path)).await.head.status() == status).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_mode_takes_force_in_a_running_gateway_and_is_taken_back() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup(&issuer, &upstream).start().await;
    let mut client = gateway.client().await;
    assert_eq!(client.send(&old("/chat/x")).await.head.status(), 401);
    let began = Instant::now();
    let (exit, text) = mode(&gateway, &["chat", "internal"]).await;
    assert_eq!(exit, 0, "{text}");
    assert!(text.contains("chat: jwt -> internal"), "{text}");
    becomes(&gateway, "/chat/x", 200).await;
    // Half a second between two looks at the files; the rest is for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(
        client.send(&old("/chat/x")).await.head.status(),
        200,
        "connections from before go on"
    );
    let row = &listed(&gateway).await[0];
    assert_eq!(
        (&row["configured"], &row["effective"], &row["by"]),
        (&json!("jwt"), &json!("internal"), &json!("overrides"))
    );
    let file = gateway.path("gateway.overrides.toml");
    assert!(row["at"].as_str().unwrap().starts_with(file.to_str().unwrap()), "{row}");
    let status = gateway.ask_admin("/status.json").await.json();
    let auth = &status["routes"][0]["auth"];
    assert_eq!(
        (&auth["effective"], &auth["by"]),
        (&json!("internal"), &json!("overrides")),
        "{status}"
    );

    assert_eq!(mode(&gateway, &["--reset", "chat"]).await.0, 0);
    becomes(&gateway, "/chat/x", 401).await;
    assert_eq!(listed(&gateway).await[0]["by"], "file");
    assert_eq!(client.send(&old("/cron/x")).await.head.status(), 200);
}

#[tokio::test]
async fn overrides_of_other_routes_stay_and_a_list_is_one() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup(&issuer, &upstream).start().await;
    for words in [
        &["chat", "internal"][..],
        &["tasks", "internal,jwt"],
        &["cron", "hybrid"],
    ] {
        if words[0] == "cron" {
            let (exit, text) = mode(&gateway, words).await;
            assert_eq!(exit, 3, "hybrid needs api_key too");
            assert!(text.contains("[api_keys]"), "{text}");
        } else {
            assert_eq!(mode(&gateway, words).await.0, 0);
        }
    }
    let rows = listed(&gateway).await;
    let effective = |place: usize| rows[place]["effective"].as_str().unwrap();
    assert_eq!(
        (effective(0), effective(1), effective(3)),
        ("internal", "internal,jwt", "internal")
    );
    let text = said(&gateway.run(&["routes"]).await).1;
    assert!(text.contains("jwt; now internal (by "), "{text}");
}

#[tokio::test]
async fn r46_what_would_open_a_route_or_not_work_there_is_refused_and_nothing_is_written() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup(&issuer, &upstream).start().await;
    for (words, why) in [
        (&["chta", "internal"][..], "did you mean \"chat\"?"),
        (&["nonsense", "internal"], "there are: chat, tasks"),
        (&["chat", "jwtt"], "\"jwt\""),
        (&["chat", "none"], "`none`"),
        (&["chat", "jwt,none"], "`none`"),
        (&["chat", "api_key"], "[api_keys]"),
        (&["chat", "none,jwt"], "last place"),
        (&["--all", "none"], "`none`"),
        (&["--reset", "nonsense"], "no route"),
    ] {
        let (exit, text) = mode(&gateway, words).await;
        assert_eq!(exit, 3, "{words:?}: {text}");
        assert!(text.contains(why), "{words:?}: {text}");
        assert!(!gateway.path("gateway.overrides.toml").exists(), "{words:?}");
    }
    for words in [&["chat"][..], &["--all"], &["--all", "chat", "jwt"]] {
        assert_eq!(mode(&gateway, words).await.0, 1, "{words:?}");
    }
    // A file by another hand opens no more than the command does.
    gateway.write("gateway.overrides.toml", "[routes.chat]\nauth = \"none\"\n");
    let event = gateway.event("config reload refused").await;
    assert!(
        event["error"].as_str().unwrap().contains("routes.chat.auth: `none`"),
        "{event}"
    );
    refused(&gateway.get("/chat/x").await, 401, "unauthorized");
    // And the way out of a broken one is there.
    assert_eq!(mode(&gateway, &["--reset"]).await.0, 0);
    assert_eq!(said(&gateway.run(&["check"]).await).0, 0);
}

#[tokio::test]
async fn what_the_environment_pins_is_told_and_left_alone() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let pinned = setup(&issuer, &upstream).env("GATEWAY__ROUTES__CHAT__AUTH", "internal");
    let (exit, text) = said(&pinned.run(&["mode", "chat", "jwt"]).await);
    assert_eq!(exit, 3);
    assert!(
        text.contains("pinned to internal by the environment variable GATEWAY__ROUTES__CHAT__AUTH"),
        "{text}"
    );
    let output = pinned.run(&["mode", "--json"]).await;
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&rows[0]["by"], &rows[0]["at"]),
        (&json!("environment"), &json!("GATEWAY__ROUTES__CHAT__AUTH"))
    );

    let off = setup(&issuer, &upstream).env("GATEWAY__USE_JWT_AUTH", "false");
    let (exit, text) = said(&off.run(&["mode", "chat", "jwt"]).await);
    assert_eq!(exit, 3);
    assert!(text.contains("use_jwt_auth is false"), "{text}");
    let output = off.run(&["routes", "--json"]).await;
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let auth = &rows[0]["auth"];
    assert_eq!(
        (&auth["configured"], &auth["effective"], &auth["by"], &auth["at"]),
        (
            &json!("jwt"),
            &json!("internal"),
            &json!("use_jwt_auth"),
            &json!("GATEWAY__USE_JWT_AUTH")
        )
    );
    assert!(
        rows[2]["auth"]["canary"].as_str().unwrap().contains("stopped"),
        "{}",
        rows[2]
    );
    // The environment is above an override, in a gateway as in the list.
    let both = setup(&issuer, &upstream)
        .file("gateway.overrides.toml", "[routes.chat]\nauth = \"jwt\"\n")
        .env("GATEWAY__ROUTES__CHAT__AUTH", "internal");
    let gateway = both.start().await;
    assert_eq!(gateway.send(&old("/chat/x")).await.head.status(), 200);
}

#[tokio::test]
async fn all_is_every_route_that_takes_tokens_and_stops_canaries_on_the_way_back() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup(&issuer, &upstream).start().await;
    refused(&gateway.send(&old("/tries/x")).await, 401, "unauthorized");
    assert_eq!(mode(&gateway, &["--all", "internal"]).await.0, 0);
    for path in ["/chat/x", "/tasks/x", "/tries/x", "/cron/x"] {
        becomes(&gateway, path, 200).await;
    }
    let rows = listed(&gateway).await;
    let by: Vec<&str> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["by"].as_str().unwrap())
        .collect();
    assert_eq!(by, ["overrides", "overrides", "overrides", "file", "file"]);
    assert_eq!(rows[2]["canary"], "100% jwt (stopped: the mode is overridden)");
    // Forward again: what took tokens before, not what only tried them.
    assert_eq!(mode(&gateway, &["--all", "jwt"]).await.0, 0);
    becomes(&gateway, "/chat/x", 401).await;
    assert_eq!(gateway.send(&old("/tries/x")).await.head.status(), 200);
    assert_eq!(mode(&gateway, &["--reset"]).await.0, 0);
    becomes(&gateway, "/tries/x", 401).await;
}

#[tokio::test]
async fn operators_at_the_same_moment_undo_nothing_of_each_other() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let routes: String = (0..6).map(|n| route(&format!("r{n}"), "auth = \"jwt\"")).collect();
    let setup = Gateway::with(&format!("[internal]\nkeys = [\"{SECRET}\"]\n{routes}"))
        .issuer("lab", &issuer)
        .upstream("up", &upstream);
    let gateway = Arc::new(setup.start().await);
    let commands = (0..6).map(|n| {
        let gateway = gateway.clone();
        tokio::spawn(async move { mode(&gateway, &[&format!("r{n}"), "internal"]).await })
    });
    for command in commands.collect::<Vec<_>>() {
        let (exit, text) = command.await.unwrap();
        assert_eq!(exit, 0, "{text}");
    }
    let rows = listed(&gateway).await;
    for row in rows.as_array().unwrap() {
        assert_eq!(row["by"], "overrides", "{rows}");
    }
    for n in 0..6 {
        becomes(&gateway, &format!("/r{n}/x"), 200).await;
    }
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_told_with_the_way_out() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let setup = setup(&issuer, &upstream).and("[server]\noverrides_file = \"not-there/overrides.toml\"\n");
    let (exit, text) = said(&setup.run(&["mode", "chat", "internal"]).await);
    assert_eq!(exit, 1);
    assert!(
        text.contains("server.overrides_file") && text.contains("--shared"),
        "{text}"
    );
}

#[tokio::test]
async fn a_shared_mode_reaches_every_gateway_and_each_is_waited_for() {
    let (issuer, upstream, redis) = (Issuer::start().await, Upstream::echo().await, Redis::start().await);
    let one = setup(&issuer, &upstream).and(&redis.section("")).start().await;
    let other = setup(&issuer, &upstream).and(&redis.section("")).start().await;
    let reports = async |count: usize| {
        eventually("gateways report", async || {
            let reports: Vec<String> = redis.ask(&["HVALS", "gateway:gateways"]).await;
            (reports.len() == count).then_some(())
        })
        .await;
    };
    reports(2).await;
    let (exit, text) = mode(&one, &["chat", "internal", "--shared"]).await;
    assert_eq!(exit, 0, "{text}");
    assert_eq!(text.matches("in force after").count(), 2, "{text}");
    for gateway in [&one, &other] {
        assert_eq!(gateway.send(&old("/chat/x")).await.head.status(), 200);
        let status = gateway.ask_admin("/status.json").await.json();
        assert_eq!(status["routes"][0]["auth"]["by"], "shared");
    }
    let (exit, text) = mode(&one, &["--shared"]).await;
    assert_eq!((exit, text.matches("chat internal").count()), (0, 2), "{text}");
    // What is shared opens nothing either (r46), whoever wrote it.
    let _: u64 = redis.ask(&["HSET", "gateway:modes", "chat", "none"]).await;
    let event = one.event("shared mode ignored").await;
    assert_eq!(event["route"], "chat");
    becomes(&one, "/chat/x", 401).await;
    // A store that is away changes nothing.
    assert_eq!(mode(&one, &["chat", "internal", "--shared"]).await.0, 0);
    redis.die().await;
    one.event("Redis unavailable").await;
    assert_eq!(one.send(&old("/chat/x")).await.head.status(), 200);
    redis.come_back().await;
    reports(2).await;
    let (exit, text) = mode(&one, &["chat", "internal", "--shared"]).await;
    assert_eq!(exit, 0, "{text}");
    let (exit, text) = mode(&one, &["--reset", "--shared"]).await;
    assert_eq!(exit, 0, "{text}");
    for gateway in [&one, &other] {
        assert_eq!(gateway.send(&old("/chat/x")).await.head.status(), 401);
    }
}

#[tokio::test]
async fn a_gateway_that_does_not_apply_a_shared_mode_is_named() {
    let (issuer, upstream, redis) = (Issuer::start().await, Upstream::echo().await, Redis::start().await);
    let one = setup(&issuer, &upstream).and(&redis.section("")).start().await;
    let pinned = setup(&issuer, &upstream)
        .and(&redis.section(""))
        .env("GATEWAY__ROUTES__CHAT__AUTH", "jwt");
    let _pinned = pinned.start().await;
    eventually("both report", async || {
        let reports: Vec<String> = redis.ask(&["HVALS", "gateway:gateways"]).await;
        (reports.len() == 2).then_some(())
    })
    .await;
    let (exit, text) = mode(&one, &["chat", "internal", "--shared"]).await;
    assert_eq!(exit, 1, "{text}");
    assert!(text.contains("in force after"), "{text}");
    assert!(
        text.contains("not in force after 5 s: chat is jwt by environment"),
        "{text}"
    );
    let without = setup(&issuer, &upstream);
    let (exit, text) = said(&without.run(&["mode", "chat", "internal", "--shared"]).await);
    assert_eq!(exit, 3);
    assert!(text.contains("[redis]"), "{text}");
}

#[tokio::test]
async fn all_is_refused_where_no_route_takes_tokens() {
    let upstream = Upstream::echo().await;
    let gateway = open_to(&upstream).start().await;
    let (exit, text) = mode(&gateway, &["--all", "internal"]).await;
    assert_eq!(exit, 3, "{text}");
    assert!(text.contains("no route takes tokens"), "{text}");
    assert!(!gateway.path("gateway.overrides.toml").exists());
}
