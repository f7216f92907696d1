//! A changed config takes force whole or not at all, and nobody who is being served notices.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Gate, Gateway, Issuer, Request, Setup, Upstream, eventually, refused};

fn route(name: &str) -> String {
    format!("[[routes]]\nname = \"{name}\"\npaths = [\"/{name}\"]\nupstream = \"up\"\nauth = \"none\"\n")
}

fn serving(names: &[&str], upstream: &Upstream) -> Setup {
    let routes: String = names.iter().map(|name| route(name)).collect();
    Gateway::with(&routes).upstream("up", upstream)
}

/// Waits until a route is there, or gone.
async fn becomes(gateway: &Gateway, target: &str, status: u16) {
    eventually(&format!("{target} is {status}"), async || {
        (gateway.get(target).await.head.status() == status).then_some(())
    })
    .await;
}

async fn add(gateway: &Gateway, sections: &str) {
    gateway.write("gateway.toml", format!("{}\n{sections}", gateway.config()));
}

#[tokio::test]
async fn a_changed_file_takes_force() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    let mut client = gateway.client().await;
    assert_eq!(client.send(&Request::get("/b")).await.head.status(), 404);
    add(&gateway, &route("b")).await;
    becomes(&gateway, "/b", 200).await;
    let kept = client.send(&Request::get("/b")).await;
    assert_eq!(
        kept.head.status(),
        200,
        "connections from before go on with the new config"
    );
    gateway.metric_becomes("gateway_config_generation", 2.0).await;
    gateway
        .metric_becomes("gateway_config_reloads_total{result=\"success\"}", 1.0)
        .await;
    gateway.event("config reloaded").await;
}

#[tokio::test]
async fn a_request_in_flight_finishes_on_the_config_that_it_began_with() {
    let gate = Gate::shut();
    let theirs = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let gate = theirs.clone();
        async move {
            while let Some(received) = conversation.request().await {
                if received.line.starts_with("GET /a ") {
                    gate.passed().await;
                }
                conversation
                    .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                    .await;
            }
        }
    })
    .await;
    let lines = "response_headers = { set = { X-Config = \"old\" } }\n";
    let gateway = Gateway::with(&(route("a") + lines))
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    client.write(Request::get("/a").bytes(gateway.address)).await;
    upstream.got(1).await;
    gateway.write(
        "gateway.toml",
        gateway.config().replace("\"a\"", "\"b\"").replace("/a", "/b"),
    );
    becomes(&gateway, "/b", 200).await;
    refused(&gateway.get("/a").await, 404, "no_route");
    gate.open();
    let response = client.response().await;
    assert_eq!(
        (response.head.status(), response.head.first("x-config")),
        (200, Some("old"))
    );
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_is_reported() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    let good = gateway.config();
    gateway.write("gateway.toml", good.replace("auth = \"none\"", "auth = \"open\""));
    gateway
        .metric_becomes("gateway_config_reloads_total{result=\"failure\"}", 1.0)
        .await;
    assert_eq!(gateway.get("/a").await.head.status(), 200);
    let event = gateway.event("config reload refused").await;
    assert_eq!(event["level"], "error");
    assert!(event["error"].as_str().unwrap().contains("routes.a.auth"), "{event}");
    let status = gateway.ask_admin("/status.json").await.json();
    assert_eq!(status["config"]["generation"], 1);
    let error = status["config"]["reload_error"].as_str().unwrap();
    assert!(
        error.contains("routes.a.auth") && error.contains("gateway.toml:"),
        "{error}"
    );
    assert_eq!(status["ready"], true);

    gateway.write("gateway.toml", format!("{good}\n{}", route("b")));
    becomes(&gateway, "/b", 200).await;
    let status = gateway.ask_admin("/status.json").await.json();
    assert!(status["config"]["reload_error"].is_null(), "{status}");
}

#[tokio::test]
async fn a_file_that_is_gone_for_a_moment_changes_nothing() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    let config = gateway.config();
    std::fs::remove_file(gateway.path("gateway.toml")).unwrap();
    gateway
        .metric_becomes("gateway_config_reloads_total{result=\"failure\"}", 1.0)
        .await;
    assert_eq!(gateway.get("/a").await.head.status(), 200);
    gateway.write("gateway.toml", format!("{config}\n{}", route("b")));
    becomes(&gateway, "/b", 200).await;
}

#[tokio::test]
async fn sighup_reads_the_files_at_once_changed_or_not() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    gateway.signal("HUP");
    gateway.metric_becomes("gateway_config_generation", 2.0).await;
    assert_eq!(gateway.get("/a").await.head.status(), 200);
}

/// Points a link somewhere else in one step, as Kubernetes does.
fn link(target: &str, path: &Path) {
    let fresh = path.with_file_name("fresh-link");
    std::os::unix::fs::symlink(target, &fresh).unwrap();
    std::fs::rename(fresh, path).unwrap();
}

#[tokio::test]
async fn a_swapped_symlink_is_seen() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    let config = gateway.config();
    // As a ConfigMap is mounted: gateway.toml -> ..data/gateway.toml, ..data -> a folder of the version.
    for (version, name) in [("v1", "b"), ("v2", "c")] {
        std::fs::create_dir(gateway.path(version)).unwrap();
        gateway.write(&format!("{version}/gateway.toml"), format!("{config}\n{}", route(name)));
    }
    link("v1", &gateway.path("..data"));
    link("..data/gateway.toml", &gateway.path("gateway.toml"));
    becomes(&gateway, "/b", 200).await;
    link("v2", &gateway.path("..data"));
    becomes(&gateway, "/c", 200).await;
    refused(&gateway.get("/b").await, 404, "no_route");
}

#[tokio::test]
async fn a_secret_in_a_file_is_watched() {
    let upstream = Upstream::echo().await;
    let routes = route("a") + "set_headers = { X-Internal-Auth = \"${file:secret}\" }\n";
    let gateway = Gateway::with(&routes)
        .upstream("up", &upstream)
        .file("secret", "first\n")
        .start()
        .await;
    assert_eq!(gateway.get("/a").await.head.status(), 200);
    assert_eq!(upstream.last().header("x-internal-auth").as_deref(), Some("first"));
    gateway.write("secret", "second-one\n");
    eventually("the new secret goes upstream", async || {
        gateway.get("/a").await;
        (upstream.last().header("x-internal-auth").as_deref() == Some("second-one")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_included_file_is_watched_and_so_is_a_new_one() {
    let upstream = Upstream::echo().await;
    let setup = Gateway::with("include = [\"*.routes.toml\"]\n").upstream("up", &upstream);
    let gateway = setup.file("a.routes.toml", route("a")).start().await;
    assert_eq!(gateway.get("/a").await.head.status(), 200);
    gateway.write("b.routes.toml", route("b"));
    becomes(&gateway, "/b", 200).await;
    gateway.write("a.routes.toml", route("changed"));
    becomes(&gateway, "/changed", 200).await;
    refused(&gateway.get("/a").await, 404, "no_route");
}

const LIMITED: &str = "[limits.few]\nrate = \"2/hour\"\nby = \"ip\"\n";

#[tokio::test]
async fn counters_keys_and_connections_carry_over() {
    let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
    let limited = route("a") + "limits = [\"few\"]\n";
    let tokens = route("t").replace("\"none\"", "\"jwt\"");
    let gateway = Gateway::with(&(LIMITED.to_owned() + &limited + &tokens))
        .upstream("up", &upstream)
        .issuer("main", &issuer)
        .start()
        .await;
    let token = Request::get("/t").bearer(&issuer.token());
    assert_eq!(gateway.send(&token).await.head.status(), 200);
    for _ in 0..2 {
        assert_eq!(gateway.get("/a").await.head.status(), 200);
    }
    refused(&gateway.get("/a").await, 429, "rate_limited");
    add(&gateway, &route("b")).await;
    becomes(&gateway, "/b", 200).await;
    refused(&gateway.get("/a").await, 429, "rate_limited");
    issuer.go_down();
    assert_eq!(gateway.send(&token).await.head.status(), 200);
    let known = gateway.metric("gateway_token_cache_total{result=\"hit\"}").await;
    assert_eq!(known, Some(1.0), "the token was still known");
    assert_eq!((issuer.fetches(), upstream.connections()), (1, 1));
}

#[tokio::test]
async fn a_limit_whose_own_spec_changed_begins_anew() {
    let upstream = Upstream::echo().await;
    let limited = LIMITED.to_owned() + &route("a") + "limits = [\"few\"]\n";
    let gateway = Gateway::with(&limited).upstream("up", &upstream).start().await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/a").await.head.status(), 200);
    }
    refused(&gateway.get("/a").await, 429, "rate_limited");
    gateway.write("gateway.toml", gateway.config().replace("2/hour", "5/hour"));
    becomes(&gateway, "/a", 200).await;
}

#[tokio::test]
async fn what_needs_a_restart_changes_nothing_and_stops_nothing() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(&format!("[server]\nworkers = 1\n{}", route("a")))
        .upstream("up", &upstream)
        .start()
        .await;
    let config = gateway.config().replace("workers = 1", "workers = 2") + &route("b");
    gateway.write("gateway.toml", config);
    becomes(&gateway, "/b", 200).await;
    let event = gateway.event("config change needs a restart").await;
    assert_eq!(event["key"], "server");
}

#[tokio::test]
async fn no_request_is_dropped_over_many_reloads() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    let mut client = gateway.client().await;
    for generation in 2..6 {
        gateway.signal("HUP");
        eventually("the next config is in force", async || {
            assert_eq!(client.send(&Request::get("/a")).await.head.status(), 200);
            assert_eq!(gateway.get("/a").await.head.status(), 200);
            (gateway.metric("gateway_config_generation").await == Some(f64::from(generation))).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn an_editors_rename_is_seen() {
    let upstream = Upstream::echo().await;
    let gateway = serving(&["a"], &upstream).start().await;
    // As vim and kubectl cp do: written beside, the old one kept, renamed over.
    for name in ["b", "c"] {
        gateway.write("gateway.toml.swp", format!("{}\n{}", gateway.config(), route(name)));
        std::fs::rename(gateway.path("gateway.toml"), gateway.path("gateway.toml~")).unwrap();
        std::fs::rename(gateway.path("gateway.toml.swp"), gateway.path("gateway.toml")).unwrap();
        becomes(&gateway, &format!("/{name}"), 200).await;
    }
}

#[tokio::test]
async fn a_jwks_file_is_watched() {
    let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
    let set = |issuer: &Issuer| serde_json::json!({ "keys": [issuer.key.jwk()] }).to_string();
    let lines = route("t").replace("\"none\"", "\"jwt\"")
        + &format!(
            "[issuers.main]\nissuer = \"{}\"\njwks_file = \"keys.json\"\nalgorithms = [\"ES256\"]\n",
            issuer.name
        );
    let another = Issuer::start().await;
    let gateway = Gateway::with(&lines)
        .upstream("up", &upstream)
        .file("keys.json", set(&another))
        .start()
        .await;
    let token = Request::get("/t").bearer(&issuer.token());
    refused(&gateway.send(&token).await, 401, "invalid_token");
    gateway.write("keys.json", set(&issuer));
    eventually("the new key is known", async || {
        (gateway.send(&token).await.head.status() == 200).then_some(())
    })
    .await;
}

/// How many reloads the long one makes; a thousand where it is asked for.
fn reloads() -> usize {
    std::env::var("GATEWAY_TEST_RELOADS").map_or(150, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reloads_under_load_fail_no_request_and_leave_nothing_behind() {
    let upstream = Upstream::echo().await;
    let gateway = Arc::new(serving(&["a"], &upstream).start().await);
    let good = gateway.config();
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let load: Vec<_> = (0..4)
        .map(|_| {
            let (gateway, stop, answered) = (gateway.clone(), stop.clone(), answered.clone());
            tokio::spawn(async move {
                let mut client = gateway.client().await;
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(client.send(&Request::get("/a")).await.head.status(), 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let count = async |result: &str| {
        let series = format!("gateway_config_reloads_total{{result=\"{result}\"}}");
        gateway.metric(&series).await.unwrap()
    };
    let began = std::time::Instant::now();
    let (mut taken, mut refused_so_far, mut settled) = (0.0, 0.0, 0);
    for n in 1..=reloads() {
        let invalid = n % 10 == 0;
        let text = if invalid {
            format!("{good}\n# {n}\n[nonsense]\n")
        } else {
            format!("{good}\n{}", route(&format!("r{n}")))
        };
        gateway.write("gateway.toml", text);
        gateway.signal("HUP");
        let (result, before) = if invalid {
            ("failure", refused_so_far)
        } else {
            ("success", taken)
        };
        eventually("the reload is counted", async || {
            (count(result).await > before).then_some(())
        })
        .await;
        (taken, refused_so_far) = (count("success").await, count("failure").await);
        if n == 50 {
            settled = gateway.memory();
        }
    }
    let (took, memory) = (began.elapsed(), gateway.memory());
    stop.store(true, Ordering::Relaxed);
    for client in load {
        client.await.expect("no request failed");
    }
    let status = gateway.ask_admin("/status.json").await.json();
    assert_eq!(gateway.metric("gateway_config_generation").await, Some(taken + 1.0));
    assert_eq!(status["config"]["generation"].as_f64(), Some(taken + 1.0));
    // Series of routes that came and went are gone.
    let metrics = gateway.metrics().await;
    let routes = metrics
        .lines()
        .filter(|line| line.starts_with("gateway_overhead_seconds_count"))
        .count();
    assert!(routes <= 3, "{routes} routes are measured");
    let grown = memory.saturating_sub(settled);
    assert!(grown < 16 << 20, "{grown} bytes more than after 50 reloads");
    println!(
        "{} reloads in {took:?}: {taken} taken, {refused_so_far} refused, {} requests, {} KiB then, {} KiB now",
        reloads(),
        answered.load(Ordering::Relaxed),
        settled >> 10,
        memory >> 10
    );
}
