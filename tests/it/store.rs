//! The store that gateways share, from the operator's side: it may be away, slow or gone, and the gateway says so and goes on.

use serde_json::json;

use crate::harness::{Gateway, Issuer, Redis, RedisCluster, Request, Upstream, eventually};

const UP: &str = "gateway_dependency_up{dependency=\"redis\"}";
/// A route that nobody need ask Redis for.
const OPEN: &str = r#"
[upstreams.nobody]
urls = ["http://127.0.0.1:1"]
[[routes]]
name = "open"
paths = ["/*"]
upstream = "nobody"
auth = "none"
"#;

async fn status_of_redis(gateway: &Gateway) -> serde_json::Value {
    gateway.ask_admin("/status.json").await.json()["redis"].clone()
}

#[tokio::test]
async fn a_gateway_starts_and_serves_without_redis_and_connects_when_it_comes() {
    let redis = Redis::away();
    let gateway = Gateway::with(&(redis.section("") + OPEN)).start().await;
    gateway.metric_becomes(UP, 0.0).await;
    assert_eq!(gateway.get("/").await.head.status(), 503);
    gateway.event("Redis unavailable").await;
    let status = status_of_redis(&gateway).await;
    assert_eq!(status["up"], false);
    assert!(status["error"].as_str().unwrap().contains("no connection"), "{status}");
    redis.come_back().await;
    gateway.metric_becomes(UP, 1.0).await;
    gateway.event("Redis connected").await;
    let status = status_of_redis(&gateway).await;
    assert_eq!(
        (&status["up"], &status["error"]),
        (&true.into(), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn it_is_noticed_without_a_request_that_redis_died_or_hangs_and_that_it_is_back() {
    let redis = Redis::start().await;
    let gateway = Gateway::with(&(redis.section("") + OPEN)).start().await;
    gateway.metric_becomes(UP, 1.0).await;
    redis.die().await;
    gateway.metric_becomes(UP, 0.0).await;
    redis.come_back().await;
    gateway.metric_becomes(UP, 1.0).await;
    redis.freeze().await;
    gateway.metric_becomes(UP, 0.0).await;
    redis.thaw().await;
    gateway.metric_becomes(UP, 1.0).await;
}

#[tokio::test]
async fn a_reload_keeps_the_connection_of_an_unchanged_redis_and_drops_that_of_a_removed_one() {
    let redis = Redis::start().await;
    let gateway = Gateway::with(&(redis.section("") + OPEN)).start().await;
    gateway.metric_becomes(UP, 1.0).await;
    let own = async || {
        let clients: String = redis.ask(&["CLIENT", "LIST"]).await;
        let own: Vec<&str> = clients.lines().filter(|line| line.contains("resp=3")).collect();
        own.iter()
            .map(|line| line.split(' ').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = own().await;
    assert_eq!(before.len(), 1, "{before:?}");
    let config = gateway.config();
    gateway.write("gateway.toml", config.replace("\"open\"", "\"renamed\""));
    gateway.metric_becomes("gateway_config_generation", 2.0).await;
    assert_eq!(own().await, before);
    gateway.write("gateway.toml", config.replace(&redis.section(""), ""));
    gateway.metric_becomes("gateway_config_generation", 3.0).await;
    eventually("the connection is closed", async || {
        own().await.is_empty().then_some(())
    })
    .await;
    assert_eq!(gateway.metric(UP).await, None);
}

#[tokio::test]
async fn r12_a_url_that_is_none_is_refused_without_showing_its_password() {
    let setup = Gateway::with("[redis]\nurl = \"redis://me:hush@host/not-a-number\"\n");
    let checked = setup.run(&["check"]).await;
    let said = String::from_utf8_lossy(&checked.stderr) + String::from_utf8_lossy(&checked.stdout);
    assert_eq!(checked.status.code(), Some(3), "{said}");
    assert!(
        said.contains("redis.url: expected redis://") && !said.contains("hush"),
        "{said}"
    );
}

/// Tokens, revocations and two limits that count together, in the store at `url`.
fn house(url: &str, lines: &str) -> String {
    format!(
        r#"
[redis]
url = "{url}"
{lines}
[revocation]
[limits.all]
rate = "100/hour"
by = "global"
store = "redis"
[limits.own]
rate = "2/hour"
by = "user"
store = "redis"
[[routes]]
name = "all"
paths = ["/*"]
upstream = "echo"
auth = "jwt"
limits = ["all", "own"]
"#
    )
}

async fn ask(gateway: &Gateway, issuer: &Issuer, user: &str) -> u16 {
    let token = issuer.token_with(json!({ "sub": user, "jti": format!("of-{user}") }));
    gateway.send(&Request::get("/").bearer(&token)).await.head.status()
}

#[tokio::test]
async fn a_cluster_counts_and_revokes_on_all_of_its_primaries() {
    let (cluster, issuer, echo) = (
        RedisCluster::start().await,
        Issuer::start().await,
        Upstream::echo().await,
    );
    let start = async || {
        let setup = Gateway::with(&house(&cluster.url(), "timeout = \"1s\"")).upstream("echo", &echo);
        let gateway = setup.issuer("main", &issuer).start().await;
        gateway.metric_becomes("gateway_revocations_current", 1.0).await;
        gateway.event("Redis connected").await;
        gateway
    };
    let (one, other) = (start().await, start().await);
    for user in ["ada", "bob", "eve", "kim"] {
        let said = [
            ask(&one, &issuer, user).await,
            ask(&other, &issuer, user).await,
            ask(&one, &issuer, user).await,
        ];
        assert_eq!(said, [200, 200, 429], "{user}");
    }
    assert_eq!(
        one.metric("gateway_store_errors_total{store=\"redis\"}").await,
        Some(0.0)
    );
    for user in 0..12 {
        cluster.set(&format!("gateway:revoked:jti:of-{user}"), "1").await;
    }
    one.metric_becomes("gateway_revocations", 12.0).await;
    for user in 0..12 {
        assert_eq!(ask(&one, &issuer, &user.to_string()).await, 401);
    }
    // One of three is gone: nobody counts together until it is back, and nobody is turned away for it.
    cluster.nodes[1].die().await;
    one.metric_becomes(UP, 0.0).await;
    one.metric_becomes("gateway_revocations_current", 0.0).await;
    assert_eq!(ask(&one, &issuer, "zoe").await, 200);
    assert_eq!(ask(&one, &issuer, "3").await, 401);
}

#[tokio::test]
async fn behind_sentinel_a_gateway_follows_the_master_that_was_chosen() {
    let (issuer, echo) = (Issuer::start().await, Upstream::echo().await);
    let master = Redis::at_a_port(&["--repl-diskless-sync-delay", "0"]).await;
    let port = master.port().to_string();
    let replica = Redis::at_a_port(&["--replicaof", "127.0.0.1", &port]).await;
    let sentinel = Redis::sentinel_of(&master).await;
    eventually("the Sentinel knows the replica", async || {
        let replicas: Vec<redis::Value> = sentinel.ask(&["SENTINEL", "REPLICAS", "main"]).await;
        let info: String = replica.ask(&["INFO", "replication"]).await;
        (!replicas.is_empty() && info.contains("master_link_status:up")).then_some(())
    })
    .await;
    let url = format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port());
    let setup = Gateway::with(&house(&url, "timeout = \"5s\"")).upstream("echo", &echo);
    let gateway = setup.issuer("main", &issuer).start().await;
    gateway.event("Redis connected").await;
    gateway.metric_becomes("gateway_revocations_current", 1.0).await;
    assert_eq!(ask(&gateway, &issuer, "ada").await, 200);
    let _: () = master.ask(&["SET", "gateway:revoked:jti:of-eve", "1"]).await;
    gateway.metric_becomes("gateway_revocations", 1.0).await;
    master.is_replicated().await;
    master.die().await;
    gateway.metric_becomes(UP, 0.0).await;
    gateway.metric_becomes(UP, 1.0).await;
    gateway.metric_becomes("gateway_revocations_current", 1.0).await;
    // The replica knows what was counted and revoked.
    assert_eq!(
        [ask(&gateway, &issuer, "ada").await, ask(&gateway, &issuer, "ada").await],
        [200, 429]
    );
    assert_eq!(ask(&gateway, &issuer, "eve").await, 401);
    let _: () = replica.ask(&["SET", "gateway:revoked:jti:of-bob", "1"]).await;
    gateway.metric_becomes("gateway_revocations", 2.0).await;
    assert_eq!(ask(&gateway, &issuer, "bob").await, 401);
}
