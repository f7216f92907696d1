//! The store that gateways share, from the operator's side: it may be away, slow or gone, and the gateway says so and goes on.

use crate::harness::{Gateway, Redis, eventually};

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
