//! Contract part 3, towards the client: the upstream's answer as it is, less what ends here, plus what the gateway says.

use serde_json::json;

use crate::harness::{Gateway, Issuer, Request, Response, Setup, Upstream, refused};

const OPEN: &str = r#"
[[routes]]
name = "open"
paths = ["/*"]
upstream = "up"
auth = "none"
"#;

async fn answered(answer: &str) -> Response {
    let upstream = Upstream::saying(answer).await;
    Gateway::with(OPEN)
        .upstream("up", &upstream)
        .start()
        .await
        .get("/")
        .await
}

/// Names and values in order, without what the gateway adds.
fn headers(response: &Response) -> Vec<(&str, &str)> {
    let all = response
        .head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    all.filter(|(name, _)| !["x-request-id", "date"].contains(&name.to_ascii_lowercase().as_str()))
        .collect()
}

#[tokio::test]
async fn status_names_values_and_duplicates_pass_as_they_came() {
    let answer =
        b"HTTP/1.1 299 Quite Fine\r\nSet-Cookie: a=b; Path=/\r\nx-oDD: 1\r\nSET-cookie: c=d\r\nX-Odd: 2, 3\r\n\
                   X-Empty: \r\nX-Latin: caf\xe9\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: mine\r\n\
                   WWW-Authenticate: Negotiate\r\nContent-Length: 2\r\n\r\nok";
    let upstream = Upstream::answering(move |_| answer.to_vec()).await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let response = gateway.get("/").await;
    assert!(response.head.line.starts_with("HTTP/1.1 299"), "{}", response.head.line);
    assert_eq!(response.body, b"ok");
    let mut named = headers(&response);
    named.sort_by_key(|(name, _)| name.to_ascii_lowercase());
    assert_eq!(
        named,
        [
            ("Content-Length", "2"),
            ("Server", "mine"),
            ("Set-Cookie", "a=b; Path=/"),
            ("SET-cookie", "c=d"),
            ("WWW-Authenticate", "Negotiate"),
            ("X-Empty", ""),
            ("X-Latin", "caf\u{fffd}"),
            ("x-oDD", "1"),
            ("X-Odd", "2, 3"),
        ]
    );
    assert!(memchr::memmem::find(&response.head.bytes, b"caf\xe9\r\n").is_some());
    assert_eq!(
        response.head.all("date").collect::<Vec<_>>(),
        ["Thu, 01 Jan 1970 00:00:00 GMT"]
    );
}

#[tokio::test]
async fn date_and_the_request_id_are_added_and_nothing_else() {
    let response = answered("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(headers(&response), [("Content-Length", "0")]);
    assert_eq!(response.head.all("date").count(), 1);
    assert_eq!(response.head.first("x-request-id").unwrap().len(), 36);
}

#[tokio::test]
async fn hop_by_hop_headers_end_here_and_those_that_connection_names() {
    let response = answered(
        "HTTP/1.1 200 OK\r\nConnection: X-Mine, keep-alive\r\nConnection: x-other\r\nKeep-Alive: timeout=5\r\nX-Mine: 1\r\n\
         X-Other: 2\r\nProxy-Connection: keep-alive\r\nUpgrade: h2c\r\nTE: trailers\r\nX-Kept: 3\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let mut kept = headers(&response);
    kept.sort_unstable();
    assert_eq!(kept, [("Content-Length", "0"), ("X-Kept", "3")]);
}

#[tokio::test]
async fn r04_an_upstream_cannot_name_the_gateways_own_headers_away_nor_the_bodys_length() {
    let response =
        answered("HTTP/1.1 200 OK\r\nConnection: X-Request-ID, Content-Length, Date\r\nContent-Length: 2\r\n\r\nok")
            .await;
    assert_eq!(response.body, b"ok");
    assert!(response.head.first("x-request-id").is_some() && response.head.first("date").is_some());
}

#[tokio::test]
async fn the_response_bears_the_requests_id_whatever_the_upstream_sent() {
    let upstream =
        Upstream::saying("HTTP/1.1 200 OK\r\nX-Request-ID: a\r\nx-request-id: b\r\nContent-Length: 0\r\n\r\n").await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let response = gateway.send(&Request::get("/").header("X-Request-ID", "mine")).await;
    assert_eq!(response.head.all("x-request-id").collect::<Vec<_>>(), ["mine"]);
    assert_eq!(upstream.last().header("X-Request-ID").as_deref(), Some("mine"));
}

#[tokio::test]
async fn the_request_id_may_have_another_name_or_none() {
    let upstream = Upstream::echo().await;
    let setup = |name: &str| {
        let text = format!("[identity]\nrequest_header = \"{name}\"\n{OPEN}");
        Gateway::with(&text).upstream("up", &upstream)
    };
    let gateway = setup("X-Correlation-ID").start().await;
    let response = gateway
        .send(&Request::get("/").header("x-correlation-id", "mine"))
        .await;
    assert_eq!(response.head.first("X-Correlation-ID"), Some("mine"));
    assert!(response.head.first("X-Request-ID").is_none());
    let gateway = setup("").start().await;
    let response = gateway.send(&Request::get("/").header("X-Request-ID", "mine")).await;
    assert!(response.head.first("X-Request-ID").is_none());
    assert_eq!(
        upstream.last().header("X-Request-ID").as_deref(),
        Some("mine"),
        "then it is a header like any other"
    );
}

#[tokio::test]
async fn a_routes_response_headers_are_set_and_removed() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nServer: a\r\nx-frame-options: no\r\nX-Frame-Options: no\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let lines = "response_headers = { set = { X-Frame-Options = \"DENY\", Strict-Transport-Security = \"max-age=1\" }, remove = [\"sERVER\"] }";
    let gateway = Gateway::with(&format!(
        "{OPEN}{lines}\nmethods = [\"GET\", \"POST\"]\nmax_body = \"1B\""
    ));
    let gateway = gateway.upstream("up", &upstream).start().await;
    let response = gateway.get("/").await;
    assert_eq!(response.head.all("x-frame-options").collect::<Vec<_>>(), ["DENY"]);
    assert!(response.head.first("server").is_none());
    let refusal = gateway.send(&Request::new("POST", "/").body("long")).await;
    refused(&refusal, 413, "body_too_large");
    assert_eq!(
        refusal.head.first("strict-transport-security"),
        Some("max-age=1"),
        "refusals carry them too"
    );
}

mod location {
    use super::*;

    async fn at(gateway: &Gateway, upstream: &Upstream, location: &str) -> String {
        let target = format!("/?{}", location.replace("UP", &upstream.address.to_string()));
        let response = gateway.send(&Request::get(&target)).await;
        response.head.first("location").unwrap().to_owned()
    }

    async fn redirecting() -> Upstream {
        Upstream::answering(|received| {
            let location = received.line.split(['?', ' ']).nth(2).unwrap();
            format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
        })
        .await
    }

    #[tokio::test]
    async fn one_that_names_the_upstream_is_turned_back_to_the_public_authority() {
        let upstream = redirecting().await;
        let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
        let here = gateway.address;
        for (location, expected) in [
            ("http://UP/a/b;c=d", format!("http://{here}/a/b;c=d")),
            ("http://UP", format!("http://{here}")),
            ("/a", "/a".to_owned()),
            ("b", "b".to_owned()),
            ("http://elsewhere/UP", format!("http://elsewhere/{}", upstream.address)),
            (
                "http://UP.evil.example/",
                format!("http://{}.evil.example/", upstream.address),
            ),
            (
                "http://UP@evil.example/",
                format!("http://{}@evil.example/", upstream.address),
            ),
            ("http://UP0/", format!("http://{}0/", upstream.address)),
        ] {
            assert_eq!(at(&gateway, &upstream, location).await, expected, "{location}");
        }
    }

    #[tokio::test]
    async fn a_route_may_leave_it_alone() {
        let upstream = redirecting().await;
        let gateway = Gateway::with(&format!("{OPEN}rewrite_location = false"))
            .upstream("up", &upstream)
            .start()
            .await;
        assert_eq!(
            at(&gateway, &upstream, "http://UP/a").await,
            format!("http://{}/a", upstream.address)
        );
    }
}

mod rate_limit {
    use super::*;

    fn limited(limits: &str, named: &str) -> Setup {
        Gateway::with(&format!("{limits}\n{OPEN}limits = {named}"))
    }

    fn fields<'r>(response: &'r Response, name: &'r str) -> Vec<&'r str> {
        response.head.all(name).collect()
    }

    #[tokio::test]
    async fn what_was_allowed_and_what_is_left_is_announced() {
        let upstream =
            Upstream::saying("HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=1\r\nContent-Length: 0\r\n\r\n").await;
        let setup = limited(
            "[limits.per-ip]\nrate = \"120/min\"\nburst = 3\nby = \"ip\"",
            "[\"per-ip\"]",
        );
        let gateway = setup.upstream("up", &upstream).start().await;
        for left in ["2", "1", "0"] {
            let response = gateway.get("/").await;
            assert_eq!(response.head.status(), 200);
            assert_eq!(fields(&response, "ratelimit-policy"), ["\"per-ip\";q=120;w=60"]);
            let announced = fields(&response, "ratelimit");
            assert!(
                announced.len() == 1 && announced[0].starts_with(&format!("\"per-ip\";r={left};t=")),
                "{announced:?}"
            );
        }
        let refusal = gateway.get("/").await;
        refused(&refusal, 429, "rate_limited");
        assert_eq!(fields(&refusal, "ratelimit-policy"), ["\"per-ip\";q=120;w=60"]);
        assert_eq!(fields(&refusal, "ratelimit"), ["\"per-ip\";r=0;t=1"]);
        assert_eq!(fields(&refusal, "retry-after"), ["1"]);
    }

    #[tokio::test]
    async fn several_limits_are_one_list_and_a_silent_one_is_not_told() {
        let upstream = Upstream::echo().await;
        let limits = "[limits.a]\nrate = \"10/s\"\nby = \"ip\"\n[limits.b]\nrate = \"100/hour\"\nby = \"route\"\n\
                      [limits.silent]\nrate = \"1000/day\"\nby = \"global\"\nannounce = false";
        let setup = limited(limits, "[\"a\", \"silent\", \"b\"]");
        let gateway = setup.upstream("up", &upstream).start().await;
        let response = gateway.get("/").await;
        assert_eq!(
            fields(&response, "ratelimit-policy"),
            ["\"a\";q=10;w=1, \"b\";q=100;w=3600"]
        );
        let left = fields(&response, "ratelimit")[0].to_owned();
        assert!(
            left.starts_with("\"a\";r=9;t=") && left.contains(", \"b\";r=99;t="),
            "{left}"
        );
        assert!(!left.contains("silent"));
    }

    #[tokio::test]
    async fn a_tier_has_a_policy_of_its_own_and_unlimited_has_none() {
        let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
        let text = r#"
[limits.per-user]
rate = "60/min"
by = "user"
tiers = { pro = "600/min", staff = "unlimited" }
[[routes]]
name = "all"
paths = ["/*"]
upstream = "up"
auth = "jwt"
limits = ["per-user"]
"#;
        let gateway = Gateway::with(text)
            .upstream("up", &upstream)
            .issuer("main", &issuer)
            .start()
            .await;
        for (user, tier, policy) in [
            ("a", json!(null), Some("\"per-user\";q=60;w=60")),
            ("b", json!("pro"), Some("\"per-user\";q=600;w=60")),
            ("c", json!("staff"), None),
            ("d", json!("unheard-of"), Some("\"per-user\";q=60;w=60")),
        ] {
            let token = issuer.token_with(json!({ "sub": user, "tier": tier }));
            let response = gateway.send(&Request::get("/").bearer(&token)).await;
            assert_eq!(response.head.status(), 200);
            assert_eq!(response.head.first("ratelimit-policy"), policy);
            assert_eq!(response.head.first("ratelimit").is_some(), policy.is_some());
        }
    }

    #[tokio::test]
    async fn no_limit_says_nothing() {
        let upstream = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
        let response = gateway.get("/").await;
        assert!(fields(&response, "ratelimit").is_empty() && fields(&response, "ratelimit-policy").is_empty());
    }
}
