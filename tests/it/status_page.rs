//! `/status`: a page for people that needs nothing but itself. What a real browser makes of it is asked by `tests/browser/status.html`.

use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use crate::harness::{Browser, Gateway, Issuer, Request, Upstream};

const FRAMES: &str = include_str!("../browser/status.html");

#[tokio::test]
async fn the_page_shows_what_is_in_force_and_loads_nothing_from_elsewhere() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let config = r#"
        [internal]
        keys = ["internal-secret-0123456789"]
        [limits.few]
        rate = "1000/min"
        by = "ip"
        [[routes]]
        name = "chat"
        paths = ["/chat/*"]
        upstream = "up"
        auth = "internal"
        shadow = "jwt"
        canary = { auth = "jwt", percent = 0 }
        limits = ["few"]
        "#;
    let gateway = Gateway::with(config)
        .issuer("lab", &issuer)
        .upstream("up", &upstream)
        .start()
        .await;
    let request = Request::get("/chat/x").header("X-Internal-Auth", "internal-secret-0123456789");
    let token = issuer.token();
    assert_eq!(
        gateway
            .send(&request.clone().header("X-User-ID", "ada").bearer(&token))
            .await
            .head
            .status(),
        200
    );
    assert_eq!(gateway.send(&request).await.head.status(), 200);
    gateway
        .metric_becomes(
            "gateway_requests_total{method=\"GET\",route=\"chat\",status=\"200\"}",
            2.0,
        )
        .await;

    let page = gateway.ask_admin("/status").await;
    assert_eq!(page.head.status(), 200);
    assert_eq!(page.head.first("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.head.first("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'none'") && !policy.contains("unsafe-inline"),
        "{policy}"
    );
    let html = String::from_utf8(page.body.clone()).unwrap();
    for word in [
        "<b>chat</b>",
        "<b>lab</b>",
        "key-1",
        "<b>up</b>",
        "<b>few</b>",
        "1000/min",
        "<span class=\"badge good\">up</span>",
        "50.00% agree",
        "1 would deny",
        "0% jwt",
    ] {
        assert!(html.contains(word), "{word} is not on the page: {html}");
    }
    assert!(
        !html.contains("http://") || !html.contains("src=\"http"),
        "nothing from elsewhere"
    );
    assert_eq!(html.matches("<script").count(), 1);
    assert!(html.contains("<script src=\"/status.js\" defer></script>"));
    assert!(
        !html.contains(" style=\"") && !html.contains("onclick"),
        "nothing that the policy would block"
    );
    assert!(
        html.contains("http-equiv=\"refresh\""),
        "without JavaScript it is taken anew"
    );
    let script = gateway.ask_admin("/status.js").await;
    assert_eq!(
        script.head.first("content-type"),
        Some("text/javascript; charset=utf-8")
    );
    for secret in ["internal-secret-0123456789", token.as_str()] {
        assert!(!html.contains(secret));
    }

    let status = gateway.ask_admin("/status.json").await.json();
    assert_eq!(status["traffic"]["by_status"]["200"], 2);
    assert!(status["traffic"]["duration_seconds"]["p99"].as_f64().unwrap() > 0.0);

    gateway.write(
        "gateway.toml",
        gateway.config().replace("auth = \"internal\"", "auth = \"<b>\""),
    );
    gateway.event("config reload refused").await;
    let html = String::from_utf8(gateway.ask_admin("/status").await.body).unwrap();
    assert!(
        html.contains("The last change was refused") && html.contains("Generation 1 still runs"),
        "{html}"
    );
    assert!(html.contains("&lt;b&gt;") && !html.contains("\"<b>\""), "{html}");
}

/// Names as long as they may be, things that fail, and a mode that the file does not have.
const CROWDED: &str = r#"
[internal]
keys = ["internal-secret-0123456789"]
[issuers.unreachable-issuer-whose-name-is-long]
issuer = "https://auth.an-issuer-with-a-very-long-name.example.com/realms/production"
jwks_url = "http://127.0.0.1:1/a/rather/long/path/to/the/keys/of/this/issuer/jwks.json"
[limits.a-limit-whose-name-is-as-long-as-a-name-may-be-which-is-64-chars]
rate = "200000/hour"
by = "header:X-A-Header-Whose-Name-Is-Rather-Long"
[limits.short]
rate = "1/hour"
by = "ip"
[upstreams.an-upstream-whose-name-is-rather-long]
urls = ["http://127.0.0.1:1", "http://127.0.0.1:2"]
[[routes]]
name = "a-route-whose-name-is-as-long-as-a-name-may-be-which-is-64-chars"
paths = ["/chat/*"]
upstream = "an-upstream-whose-name-is-rather-long"
auth = "jwt"
shadow = ["jwt", "internal"]
canary = { auth = "internal", percent = 12.5 }
limits = ["a-limit-whose-name-is-as-long-as-a-name-may-be-which-is-64-chars"]
[[routes]]
name = "limited"
paths = ["/limited"]
respond = { body = "ok" }
auth = "none"
limits = ["short"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_browser_shows_the_page_at_any_width_in_light_and_dark_with_and_without_javascript() {
    let overrides =
        "[routes.a-route-whose-name-is-as-long-as-a-name-may-be-which-is-64-chars]\nauth = [\"jwt\", \"internal\"]\n";
    let setup = Gateway::with(CROWDED).file("gateway.overrides.toml", overrides);
    let gateway = setup.start().await;
    for _ in 0..4 {
        let answer = gateway
            .send(&Request::get("/chat/x").header("X-Internal-Auth", "internal-secret-0123456789"))
            .await;
        assert_eq!(answer.head.status(), 503);
        gateway.get("/limited").await;
        gateway.get("/nowhere").await;
    }
    let reload = format!("{}\n[nonsense-that-is-long-enough-to-be-broken]\n", gateway.config());
    gateway.write("gateway.toml", reload);
    gateway.event("config reload refused").await;
    let page = gateway.ask_admin("/status").await;
    let policy = page.head.first("content-security-policy").unwrap();
    // But for the frames that the test looks through.
    let policy = policy.replace("; frame-ancestors 'none'", "");
    let html = String::from_utf8(page.body).unwrap();
    let script = String::from_utf8(gateway.ask_admin("/status.js").await.body).unwrap();
    for (switch, dark) in [("preferredColorScheme=1", false), ("preferredColorScheme=0", true)] {
        let report = shown(&html, &script, &policy, &format!("--blink-settings={switch}")).await;
        let text = serde_json::to_string_pretty(&report).unwrap();
        assert_eq!(
            (&report["failed"], &report["renewed"]),
            (&Value::Null, &json!(true)),
            "{text}"
        );
        for width in [390, 1280] {
            for scripts in [false, true] {
                let seen = &report[format!("{width}_{}", if scripts { "scripts" } else { "plain" })];
                assert!(seen["width"].as_u64().unwrap() <= width, "{seen:#}");
                assert_eq!(
                    seen["scroll_width"], seen["width"],
                    "nothing is to be scrolled to sideways: {seen:#}"
                );
                for list in ["beyond", "faint", "small"] {
                    assert_eq!(seen[list], json!([]), "{list} at {width}: {seen:#}");
                }
                assert_eq!((&seen["styled"], &seen["dark"]), (&json!("1200px"), &json!(dark)));
                // Without its script the page is taken anew by the browser itself.
                assert_eq!(seen["reloads"], !scripts);
                let words = seen["text"].as_str().unwrap();
                for word in [
                    "The last change was refused",
                    "limited",
                    "rate_limited",
                    "failing",
                    "down",
                    "12.5%",
                ] {
                    assert!(words.contains(word), "{word} at {width}: {words}");
                }
            }
        }
    }
}

/// What a browser with this switch reports of the page. Asked by the script, the page is one generation on.
async fn shown(html: &str, script: &str, policy: &str, switch: &str) -> Value {
    let (reported, mut reports) = unbounded_channel();
    let (html, script, policy) = (html.to_owned(), script.to_owned(), policy.to_owned());
    let server = Upstream::answering(move |received| {
        let header = |name: &str| received.header(name).unwrap_or_default();
        let plain = "Content-Type: text/html; charset=utf-8".to_owned();
        let page = || format!("Content-Type: text/html; charset=utf-8\r\nContent-Security-Policy: {policy}");
        let (head, body) = match received.line.split(' ').nth(1) {
            Some("/") => (plain, FRAMES.to_owned()),
            Some("/status") if header("sec-fetch-dest") == "empty" => {
                let generation = "config generation <b>1</b>";
                assert!(html.contains(generation));
                (page(), html.replace(generation, "config generation <b>2</b>"))
            }
            Some("/status") => (page(), html.clone()),
            Some("/status.js") => ("Content-Type: text/javascript".to_owned(), script.clone()),
            Some("/report") => {
                let report = serde_json::from_slice(&received.body).unwrap_or_default();
                reported.send(report).ok();
                (plain, String::new())
            }
            _other => (plain, String::new()),
        };
        format!(
            "HTTP/1.1 200 OK\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    })
    .await;
    let _browser = Browser::open(&format!("http://{}/", server.address), &[switch]);
    Browser::report(&mut reports).await
}
