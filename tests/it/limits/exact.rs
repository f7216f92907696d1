//! Not one more: under 64 connections that ask as fast as they can, and for the cases that limits are made for.

use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use super::{house, status};
use crate::harness::{Gateway, Issuer, Request, Upstream, refused, sha256};

const CONNECTIONS: usize = 64;

/// How many of the requests that 64 connections send at once are let pass.
async fn admitted(gateway: &Gateway, each: usize) -> usize {
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = gateway.client().await;
        clients.spawn(async move {
            let mut passed = 0;
            for _ in 0..each {
                passed += usize::from(status(&client.send(&Request::get("/limited")).await) == 200);
            }
            passed
        });
    }
    clients.join_all().await.into_iter().sum()
}

/// As [`house`], with two workers, that they may race.
async fn racing(limit: &str, echo: &Upstream, issuer: &Issuer) -> Gateway {
    Gateway::with(&house(limit))
        .and("[server]\nworkers = 2")
        .upstream("echo", echo)
        .issuer("main", issuer)
        .start()
        .await
}

#[tokio::test]
async fn sixty_four_connections_get_the_burst_and_not_one_more() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    for limit in [
        "rate = \"40/day\"\nby = \"ip\"",
        "rate = \"1/day\"\nburst = 40\nby = \"global\"",
        "rate = \"40/hour\"\nby = \"user\"\nalgorithm = \"sliding_window\"",
    ] {
        let before = echo.count();
        let gateway = racing(limit, &echo, &issuer).await;
        assert_eq!(admitted(&gateway, 5).await, 40, "{limit}");
        assert_eq!(echo.count() - before, 40, "{limit}");
    }
}

#[tokio::test]
async fn sixty_four_connections_get_no_more_than_burst_and_rate_while_time_passes() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = racing("rate = \"100/s\"\nburst = 20\nby = \"global\"", &echo, &issuer).await;
    let began = Instant::now();
    let passed = admitted(&gateway, 10).await;
    let most = 20.0 + 100.0 * began.elapsed().as_secs_f64();
    assert!((passed as f64) <= most, "{passed} of at most {most}");
    assert!(passed >= 20);
}

/// What the platform that this gateway replaces had, each in an application of its own.
fn platform() -> String {
    let hash = sha256("key-of-the-ci");
    format!(
        r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1"]
[internal]
keys = ["a-long-secret"]
allowed_from = ["198.51.100.0/24"]
[api_keys]
[[api_keys.keys]]
id = "ci"
hash = "{hash}"
user = "ci"
tier = "pro"
[limits.login]
rate = "5/min"
by = "ip"
algorithm = "sliding_window"
[limits.registration]
rate = "3/hour"
by = "ip"
algorithm = "sliding_window"
[limits.api]
rate = "2/hour"
tiers = {{ pro = "4/hour", internal = "unlimited" }}
[defaults]
upstream = "echo"
auth = "none"
limits = ["api"]
[[routes]]
name = "login"
paths = ["/login"]
methods = ["POST"]
limits = ["login"]
[[routes]]
name = "registration"
paths = ["/register"]
methods = ["POST"]
limits = ["registration"]
[[routes]]
name = "api"
paths = ["/api/*"]
auth = ["jwt", "api_key", "internal"]
[[routes]]
name = "health"
paths = ["/health"]
limits = []
"#
    )
}

#[tokio::test]
async fn the_cases_that_limits_are_made_for() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = Gateway::with(&platform())
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    let passes = async |request: &Request| {
        let mut passed = 0;
        for _ in 0..10 {
            let response = gateway.send(request).await;
            if status(&response) == 200 {
                passed += 1;
            } else {
                refused(&response, 429, "rate_limited");
            }
        }
        passed
    };
    let from = |request: Request, address: &str| request.header("X-Forwarded-For", address);
    let post = |target| Request::new("POST", target);
    assert_eq!(passes(&from(post("/login"), "192.0.2.1")).await, 5);
    assert_eq!(
        passes(&from(post("/login"), "192.0.2.2")).await,
        5,
        "each address for itself"
    );
    assert_eq!(passes(&from(post("/register"), "192.0.2.1")).await, 3);
    let user = |tier: &str| issuer.token_with(json!({ "sub": tier, "tier": tier }));
    let api = || Request::get("/api/x");
    assert_eq!(
        passes(&api().bearer(&user("free"))).await,
        2,
        "no tier of its own: the limit's rate"
    );
    assert_eq!(passes(&api().bearer(&user("pro"))).await, 4);
    assert_eq!(passes(&api().header("X-API-Key", "key-of-the-ci")).await, 4);
    let internal = from(api().header("X-Internal-Auth", "a-long-secret"), "198.51.100.1");
    assert_eq!(passes(&internal).await, 10, "services are not limited");
    assert_eq!(
        passes(&Request::get("/health")).await,
        10,
        "limits = [] takes those of the defaults off"
    );
}
