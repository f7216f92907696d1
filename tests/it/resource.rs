//! `[resource]`: how clients find out, from a refusal alone, whose tokens are taken (RFC 9728, RFC 6750).

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, Request, Setup, Upstream, refused};

const ROUTES: &str = r#"
[[routes]]
name = "all"
paths = ["/*"]
upstream = "echo"
auth = "jwt"
require = { scopes_all = ["llm:access", "llm:chat"] }
[[routes]]
name = "host"
hosts = ["named.example"]
paths = ["/*"]
upstream = "echo"
auth = "jwt"
[[routes]]
name = "keys"
paths = ["/keys"]
upstream = "echo"
auth = "api_key"
[api_keys]
"#;

fn house(echo: &Upstream, issuer: &Issuer, resource: &str) -> Setup {
    Gateway::with(ROUTES)
        .upstream("echo", echo)
        .issuer("main", issuer)
        .and(resource)
}

fn challenge(response: &crate::harness::Response) -> String {
    response.head.first("www-authenticate").expect("a challenge").to_owned()
}

#[tokio::test]
async fn the_metadata_is_where_the_resource_says_and_open_to_everybody() {
    for (resource, places) in [
        (
            "https://api.example.com",
            &["/.well-known/oauth-protected-resource"][..],
        ),
        ("https://api.example.com/", &["/.well-known/oauth-protected-resource"]),
        (
            "https://api.example.com/mcp/one",
            &[
                "/.well-known/oauth-protected-resource",
                "/.well-known/oauth-protected-resource/mcp/one",
            ],
        ),
    ] {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let section = format!(
            "[resource]\nresource = \"{resource}\"\nauthorization_servers = [\"https://auth.codelab.local\"]\n\
             scopes_supported = [\"llm:access\"]"
        );
        let gateway = house(&echo, &issuer, &section).start().await;
        for (place, host) in places.iter().flat_map(|place| [(place, "a"), (place, "named.example")]) {
            let raw = format!("GET {place} HTTP/1.1\r\nHost: {host}\r\nOrigin: https://inspector.example\r\n\r\n");
            let response = gateway.raw(raw).await;
            assert_eq!(response.head.status(), 200, "{place}");
            assert_eq!(response.head.first("content-type"), Some("application/json"));
            assert_eq!(response.head.first("access-control-allow-origin"), Some("*"));
            let document: Value = response.json();
            assert_eq!(
                document,
                json!({
                    "resource": resource,
                    "authorization_servers": ["https://auth.codelab.local"],
                    "scopes_supported": ["llm:access"],
                    "bearer_methods_supported": ["header"],
                })
            );
        }
        let preflight = Request::new("OPTIONS", places[0])
            .header("Origin", "https://inspector.example")
            .header("Access-Control-Request-Method", "GET")
            .header("Access-Control-Request-Headers", "mcp-protocol-version");
        let response = gateway.send(&preflight).await;
        assert_eq!(response.head.status(), 200);
        assert_eq!(response.head.first("access-control-allow-headers"), Some("*"));
        refused(
            &gateway.send(&Request::new("POST", places[0])).await,
            405,
            "method_not_allowed",
        );
        assert_eq!(echo.count(), 0);
        let series = "gateway_requests_total{method=\"GET\",route=\"oauth-protected-resource\",status=\"200\"}";
        assert!(gateway.metric(series).await >= Some(2.0));
    }
}

#[tokio::test]
async fn challenges_name_it_beside_all_that_rfc_6750_asks_for() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let section = "[resource]\nresource = \"https://api.example.com/mcp\"";
    let gateway = house(&echo, &issuer, section).start().await;
    let metadata = "resource_metadata=\"https://api.example.com/.well-known/oauth-protected-resource/mcp\"";
    assert_eq!(
        challenge(&gateway.get("/").await),
        format!("Bearer realm=\"gateway\", {metadata}")
    );
    for (token, description) in [
        ("x".to_owned(), "The access token is not valid."),
        (issuer.token_with(json!({ "exp": 1 })), "The access token has expired."),
    ] {
        assert_eq!(
            challenge(&gateway.send(&Request::get("/").bearer(&token)).await),
            format!(
                "Bearer realm=\"gateway\", error=\"invalid_token\", error_description=\"{description}\", {metadata}"
            )
        );
    }
    let response = gateway.send(&Request::get("/").bearer(&issuer.token())).await;
    refused(&response, 403, "insufficient_scope");
    assert_eq!(
        challenge(&response),
        format!("Bearer realm=\"gateway\", error=\"insufficient_scope\", scope=\"llm:access llm:chat\", {metadata}")
    );
    assert_eq!(challenge(&gateway.get("/keys").await), "ApiKey realm=\"gateway\"");
}

#[tokio::test]
async fn without_the_section_there_is_none_and_a_route_of_the_operators_own_stands() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = house(&echo, &issuer, "").start().await;
    let response = gateway.get("/.well-known/oauth-protected-resource").await;
    refused(&response, 401, "unauthorized");
    assert_eq!(challenge(&response), "Bearer realm=\"gateway\"");

    let own = "[resource]\nresource = \"https://api.example.com\"\n[[routes]]\nname = \"own\"\nauth = \"none\"\n\
               paths = [\"/.well-known/oauth-protected-resource\"]\nupstream = \"echo\"";
    let gateway = house(&echo, &issuer, own).start().await;
    assert_eq!(
        gateway.get("/.well-known/oauth-protected-resource").await.head.status(),
        200
    );
    assert_eq!(echo.count(), 1);

    for bad in [
        "api.example.com",
        "https://api.example.com/a\\\"b",
        "https://api.example.com/{x",
    ] {
        let ended = house(&echo, &issuer, &format!("[resource]\nresource = \"{bad}\""))
            .run(&["check"])
            .await;
        assert_eq!(ended.status.code(), Some(3), "{bad}");
    }
}
