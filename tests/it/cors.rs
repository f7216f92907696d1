//! `[cors.NAME]` on the wire: what answers of every kind carry across origins. Decisions are in `tests/cases/cors.toml`, and what a
//! real browser makes of it in `browser`.

use crate::harness::{Gateway, Issuer, Request, Response, Upstream, refused};

const APP: &str = "https://app.example.com";

const ROUTES: &str = r#"
[cors.app]
origins = ["https://app.example.com"]
credentials = true
[limits.few]
rate = "1/hour"
by = "ip"
[upstreams.dead]
urls = ["http://127.0.0.1:1"]
[[routes]]
name = "jwt"
paths = ["/jwt/*"]
upstream = "up"
auth = "jwt"
cors = "app"
[[routes]]
name = "scoped"
paths = ["/scoped"]
upstream = "up"
auth = "jwt"
require = { scopes_any = ["none:has"] }
cors = "app"
[[routes]]
name = "limited"
paths = ["/limited"]
upstream = "up"
auth = "none"
limits = ["few"]
cors = "app"
[[routes]]
name = "open"
paths = ["/open/*"]
upstream = "up"
auth = "none"
cors = "app"
response_headers = { set = { Vary = "Accept", Access-Control-Allow-Origin = "*" } }
[[routes]]
name = "dead"
paths = ["/dead"]
upstream = "dead"
auth = "none"
cors = "app"
[[routes]]
name = "here"
paths = ["/here"]
redirect = { to = "/open/x" }
auth = "none"
cors = "app"
[[routes]]
name = "listed"
paths = ["/listed"]
methods = ["GET"]
upstream = "up"
auth = "none"
cors = "app"
[[routes]]
name = "listed-too"
paths = ["/listed"]
methods = ["PUT"]
upstream = "up"
auth = "none"
[cors.other]
origins = ["*"]
[[routes]]
name = "disputed"
paths = ["/disputed"]
methods = ["GET"]
upstream = "up"
auth = "none"
cors = "app"
[[routes]]
name = "disputed-too"
paths = ["/disputed"]
methods = ["PUT"]
upstream = "up"
auth = "none"
cors = "other"
[[routes]]
name = "untouched"
paths = ["/untouched/*"]
upstream = "up"
auth = "none"
"#;

/// Says of CORS what it should not, twice.
const OWN_CORS: &str = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Origin: https://other.test\r\n\
                        Access-Control-Allow-Credentials: false\r\nAccess-Control-Expose-Headers: X-Theirs\r\n\
                        Access-Control-Allow-Methods: TRACE\r\nVary: Accept-Encoding\r\nContent-Length: 2\r\n\r\nok";

async fn gateway(upstream: &Upstream, issuer: &Issuer) -> Gateway {
    let setup = Gateway::with(ROUTES).upstream("up", upstream).issuer("main", issuer);
    setup.start().await
}

fn all<'r>(response: &'r Response, name: &'r str) -> Vec<&'r str> {
    response.head.all(name).collect()
}

#[track_caller]
fn readable_by_app(response: &Response) {
    assert_eq!(
        all(response, "access-control-allow-origin"),
        [APP],
        "{:?}",
        response.head
    );
    assert_eq!(all(response, "access-control-allow-credentials"), ["true"]);
    let exposed = all(response, "access-control-expose-headers");
    assert_eq!(exposed, ["X-Request-ID, RateLimit, Retry-After"]);
    assert!(all(response, "access-control-allow-methods").is_empty());
    let vary = all(response, "vary");
    assert!(vary.contains(&"Origin"), "{vary:?}");
}

#[tokio::test]
async fn refusals_and_failures_can_be_read_across_origins() {
    let (upstream, issuer) = (Upstream::saying(OWN_CORS).await, Issuer::start().await);
    let gateway = gateway(&upstream, &issuer).await;
    let from_app = |target: &str| Request::get(target).header("Origin", APP);
    let response = gateway.send(&from_app("/jwt/x")).await;
    refused(&response, 401, "unauthorized");
    readable_by_app(&response);
    let response = gateway.send(&from_app("/jwt/x").bearer("x.y.z")).await;
    refused(&response, 401, "invalid_token");
    readable_by_app(&response);
    let response = gateway.send(&from_app("/scoped").bearer(&issuer.token())).await;
    refused(&response, 403, "insufficient_scope");
    readable_by_app(&response);
    assert_eq!(gateway.send(&from_app("/limited")).await.head.status(), 200);
    let response = gateway.send(&from_app("/limited")).await;
    refused(&response, 429, "rate_limited");
    readable_by_app(&response);
    let response = gateway.send(&from_app("/dead")).await;
    refused(&response, 503, "upstream_unavailable");
    readable_by_app(&response);
    let response = gateway.send(&from_app("/here")).await;
    assert_eq!(response.head.status(), 308);
    readable_by_app(&response);
}

#[tokio::test]
async fn refusals_without_a_route_speak_by_the_policy_of_the_path() {
    let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = gateway(&upstream, &issuer).await;
    let from_app = |method: &str, target: &str| Request::new(method, target).header("Origin", APP);
    let response = gateway.send(&from_app("POST", "/listed")).await;
    refused(&response, 405, "method_not_allowed");
    readable_by_app(&response);
    assert_eq!(all(&response, "allow"), ["GET, HEAD, PUT"]);
    // A preflight too, though its status alone is a no.
    let preflight = from_app("OPTIONS", "/listed").header("Access-Control-Request-Method", "DELETE");
    let response = gateway.send(&preflight).await;
    refused(&response, 405, "method_not_allowed");
    readable_by_app(&response);
    let twice = from_app("GET", "/jwt/x")
        .header("X-API-Key", "a")
        .header("X-API-Key", "b");
    let response = gateway.send(&twice).await;
    refused(&response, 400, "malformed_request");
    readable_by_app(&response);
    // Two policies at one path, or no route at all: nobody can say whose word it would be.
    for (method, target, status, code) in [
        ("POST", "/disputed", 405, "method_not_allowed"),
        ("GET", "/nowhere", 404, "no_route"),
    ] {
        let response = gateway.send(&from_app(method, target)).await;
        refused(&response, status, code);
        assert!(
            all(&response, "access-control-allow-origin").is_empty(),
            "{target} {:?}",
            response.head
        );
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn an_upstreams_own_word_on_cors_is_replaced_where_the_route_has_a_policy() {
    let (upstream, issuer) = (Upstream::saying(OWN_CORS).await, Issuer::start().await);
    let gateway = gateway(&upstream, &issuer).await;
    let answered = gateway
        .send(&Request::get("/jwt/x").header("Origin", APP).bearer(&issuer.token()))
        .await;
    readable_by_app(&answered);
    assert_eq!(all(&answered, "vary"), ["Accept-Encoding", "Origin"]);
    let other = Request::get("/jwt/x")
        .header("Origin", "https://evil.test")
        .bearer(&issuer.token());
    let answered = gateway.send(&other).await;
    assert_eq!(answered.head.status(), 200, "an origin is no credential");
    for name in [
        "access-control-allow-origin",
        "access-control-allow-credentials",
        "access-control-expose-headers",
    ] {
        assert!(all(&answered, name).is_empty(), "{name} of {:?}", answered.head);
    }
    assert_eq!(all(&answered, "vary"), ["Accept-Encoding", "Origin"], "also for caches");
    let answered = gateway.send(&Request::get("/jwt/x").bearer(&issuer.token())).await;
    assert_eq!(
        all(&answered, "vary"),
        ["Accept-Encoding", "Origin"],
        "also without an origin"
    );
    let answered = gateway.send(&Request::get("/open/x").header("Origin", APP)).await;
    readable_by_app(&answered);
    assert_eq!(
        all(&answered, "vary"),
        ["Accept", "Origin"],
        "response_headers cannot take it away"
    );
}

#[tokio::test]
async fn a_route_without_a_policy_is_its_upstreams_affair() {
    let (upstream, issuer) = (Upstream::saying(OWN_CORS).await, Issuer::start().await);
    let gateway = gateway(&upstream, &issuer).await;
    let answered = gateway.send(&Request::get("/untouched/x").header("Origin", APP)).await;
    assert_eq!(
        all(&answered, "access-control-allow-origin"),
        ["*", "https://other.test"]
    );
    assert_eq!(all(&answered, "vary"), ["Accept-Encoding"]);
    let preflight = Request::new("OPTIONS", "/untouched/x").header("Origin", APP);
    let answered = gateway
        .send(&preflight.header("Access-Control-Request-Method", "PUT"))
        .await;
    assert_eq!(answered.head.status(), 200);
    assert!(upstream.last().line.starts_with("OPTIONS /untouched/x "));
}

#[tokio::test]
async fn a_preflight_asks_nobody_and_is_logged_as_what_it_is() {
    let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = gateway(&upstream, &issuer).await;
    let preflight = Request::new("OPTIONS", "/limited").header("Origin", APP);
    let preflight = preflight.header("Access-Control-Request-Method", "GET");
    for _ in 0..3 {
        let answered = gateway.send(&preflight).await;
        assert_eq!(
            (answered.head.status(), answered.body.len()),
            (204, 0),
            "counts in no limit"
        );
        assert!(all(&answered, "content-length").is_empty() && all(&answered, "x-request-id").len() == 1);
        let line = gateway.access_line_of(&answered).await;
        assert_eq!(
            (&line["route"], &line["decision"], &line["reason"], &line["status"]),
            (&"limited".into(), &"allow".into(), &"preflight".into(), &204.into())
        );
    }
    assert_eq!(upstream.count(), 0);
    let series = "gateway_requests_total{method=\"OPTIONS\",route=\"limited\",status=\"204\"}";
    gateway.metric_becomes(series, 3.0).await;
}
