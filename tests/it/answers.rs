//! Contract part 4: what the gateway answers by itself, and in which order of precedence.

use serde_json::json;

use crate::harness::{Gateway, Issuer, Request, Upstream, refused};

const TWO_ROUTES: &str = r#"
[[routes]]
name = "open"
paths = ["/open/*"]
upstream = "echo"
auth = "none"
[[routes]]
name = "tokens"
paths = ["/tokens/*"]
upstream = "echo"
auth = "jwt"
"#;

#[tokio::test]
async fn a_path_that_no_route_has_is_404() {
    let echo = Upstream::echo().await;
    let issuer = Issuer::start().await;
    let gateway = Gateway::with(TWO_ROUTES)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    refused(&gateway.get("/elsewhere").await, 404, "no_route");
    assert_eq!(gateway.get("/open/door").await.head.status(), 200);
    let good = gateway.send(&Request::get("/tokens/1").bearer(&issuer.token())).await;
    assert_eq!(good.head.status(), 200, "{good:?}");
    assert_eq!(echo.last().header("x-user-id").as_deref(), Some("ada"));
    let bad = issuer.token_with(json!({ "sub": null }));
    refused(
        &gateway.send(&Request::get("/tokens/1").bearer(&bad)).await,
        401,
        "invalid_token",
    );
    let line = gateway.access_line(|line| line["reason"] == "no_route").await;
    assert_eq!(line["status"], 404);
    assert_eq!(
        gateway
            .metric(r#"gateway_requests_total{method="GET",route="open",status="200"}"#)
            .await,
        Some(1.0)
    );
}
