//! `/status`: a page for people that needs nothing but itself.

use crate::harness::{Gateway, Issuer, Request, Upstream};

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
