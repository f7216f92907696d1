//! A real browser before the gateway: what code of another origin may ask and read (`tests/browser/app.html`), decided by Chromium
//! and not by our reading of the Fetch standard.

use std::sync::{Arc, OnceLock};

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use gateway::demo::tokens::now;

use crate::harness::{Browser, Gateway, Issuer, Upstream};

const PAGE: &str = include_str!("../browser/app.html");

const CONFIG: &str = r#"
[cors.app]
origins = ["APP"]
credentials = true
[cors.reads]
origins = ["APP"]
methods = ["GET"]
[cors.anyone]
origins = ["*"]
[cors.others]
origins = ["https://app.example.com"]
[limits.few]
rate = "1/hour"
by = "ip"
[upstreams.dead]
urls = ["http://127.0.0.1:1"]
[[routes]]
name = "api"
paths = ["/api/*"]
upstream = "up"
auth = "jwt"
cors = "app"
[[routes]]
name = "reads"
paths = ["/reads/*"]
upstream = "up"
auth = "jwt"
cors = "reads"
[[routes]]
name = "scoped"
paths = ["/scoped"]
upstream = "up"
auth = "jwt"
require = { scopes_any = ["nobody:has"] }
cors = "app"
[[routes]]
name = "limited"
paths = ["/limited"]
methods = ["GET"]
upstream = "up"
auth = "none"
limits = ["few"]
cors = "app"
[[routes]]
name = "down"
paths = ["/down"]
upstream = "dead"
auth = "none"
cors = "app"
[[routes]]
name = "auth-service"
paths = ["/auth/*"]
upstream = "up"
auth = "none"
cors = "app"
[[routes]]
name = "anyone"
paths = ["/anyone/*"]
upstream = "up"
auth = "none"
cors = "anyone"
[[routes]]
name = "others"
paths = ["/others/*"]
upstream = "up"
auth = "jwt"
cors = "others"
[[routes]]
name = "own"
paths = ["/own/*"]
upstream = "up"
auth = "none"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_of_another_origin_sees_what_its_policy_says_in_a_real_browser() {
    let issuer = Issuer::start().await;
    let (valid, expired) = (issuer.token(), issuer.token_with(json!({ "exp": now() - 600 })));
    let upstream = upstream(valid.clone()).await;
    let page = Arc::new(OnceLock::new());
    let (app, mut reports) = app(page.clone()).await;
    let origin = format!("http://{}", app.address);
    let config = CONFIG.replace("APP", &origin);
    let setup = Gateway::with(&config).upstream("up", &upstream).issuer("main", &issuer);
    let gateway = setup.start().await;
    let text = PAGE.replace("GATEWAY\"", &format!("http://{}\"", gateway.address));
    page.set(text.replace("VALID", &valid).replace("EXPIRED", &expired))
        .unwrap();
    let _browser = Browser::open(&format!("{origin}/"), &[]);
    let report = Browser::report(&mut reports).await;
    let text = serde_json::to_string_pretty(&report).unwrap();
    let of = |name: &str| {
        let one = &report[name];
        (one["status"].as_u64(), one["error"].as_str())
    };
    assert_eq!(of("anonymous"), (Some(401), Some("unauthorized")), "{text}");
    assert_eq!(of("wrong_token"), (Some(401), Some("invalid_token")), "{text}");
    for name in [
        "preflighted_get",
        "preflighted_put",
        "preflighted_delete",
        "method_listed",
        "method_needs_no_list",
        "login",
    ] {
        assert_eq!(of(name), (Some(200), None), "{name} {text}");
        assert_eq!(report[name]["id"], true, "exposed headers can be read: {name}");
    }
    for name in [
        "header_not_listed",
        "method_not_listed",
        "credentials_not_allowed",
        "origin_not_listed",
    ] {
        assert_eq!(report[name], "blocked", "{name} {text}");
    }
    assert_eq!(of("lacks_scope"), (Some(403), Some("insufficient_scope")), "{text}");
    assert_eq!(report["limited"][0]["status"], 200, "{text}");
    assert_eq!(report["limited"][1]["error"], "rate_limited", "{text}");
    assert_eq!(report["limited"][1]["retry"], true, "{text}");
    assert_eq!(
        of("method_not_taken"),
        (Some(405), Some("method_not_allowed")),
        "{text}"
    );
    assert_eq!(report["nowhere"], "blocked", "no route, no policy: {text}");
    assert_eq!(of("upstream_down"), (Some(503), Some("upstream_unavailable")), "{text}");
    assert_eq!(report["cookie_goes_along"]["body"]["cookie"], "session=s1", "{text}");
    assert_eq!(report["cookie_stays"]["body"]["cookie"], Value::Null, "{text}");
    assert_eq!(of("anyone_without_credentials"), (Some(200), None), "{text}");
    assert_eq!(of("upstream_does_its_own"), (Some(200), None), "{text}");
    let refresh = &report["refresh"];
    assert_eq!(refresh["first"]["error"], "token_expired", "{text}");
    assert_eq!(refresh["fresh"]["status"], 200, "{text}");
    assert_eq!(refresh["second"]["status"], 200, "{text}");
    assert_eq!(report["failed"], Value::Null, "{text}");
}

/// Where the page comes from, and what it reports.
async fn app(page: Arc<OnceLock<String>>) -> (Upstream, UnboundedReceiver<Value>) {
    let (reported, reports) = unbounded_channel();
    let app = Upstream::answering(move |received| {
        let body = match received.line.split(' ').nth(1) {
            Some("/") => page.get().map_or("", String::as_str),
            Some("/report") => {
                reported
                    .send(serde_json::from_slice(&received.body).unwrap_or_default())
                    .ok();
                ""
            }
            _other => "",
        };
        let length = body.len();
        format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
    });
    (app.await, reports)
}

/// An API and an auth service in one. Its own word on CORS is wrong for most routes, and right for `/own`.
async fn upstream(fresh: String) -> Upstream {
    Upstream::answering(move |received| {
        let target = received.line.split(' ').nth(1).unwrap_or_default();
        let origin = received.header("origin").unwrap_or_default();
        let (more, body) = match target {
            "/auth/login" => ("Set-Cookie: session=s1; Path=/; HttpOnly\r\n".to_owned(), json!({})),
            "/auth/me" => (String::new(), json!({ "cookie": received.header("cookie") })),
            "/auth/refresh" if received.header("cookie").is_some() => (String::new(), json!({ "access_token": fresh })),
            "/own/x" => (
                format!(
                    "Access-Control-Allow-Origin: {origin}\r\nAccess-Control-Allow-Methods: PUT\r\n\
                     Access-Control-Allow-Headers: authorization, content-type\r\n"
                ),
                json!({}),
            ),
            _ => (String::new(), json!({})),
        };
        let wrong = if target.starts_with("/own/") {
            ""
        } else {
            "Access-Control-Allow-Origin: https://wrong.test\r\n"
        };
        let body = body.to_string();
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{wrong}{more}Content-Length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    })
    .await
}
