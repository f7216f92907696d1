//! Contract part 4: what the gateway answers by itself, in which words, and which answer comes first.

use serde_json::json;

use crate::harness::{Client, Gate, Gateway, Issuer, Key, Request, Response, Setup, Upstream, refused, status};

const OPEN: &str = r#"
[[routes]]
name = "open"
paths = ["/open/*"]
upstream = "echo"
auth = "none"
"#;

/// `GET TARGET` of a client that does not tidy it up.
fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: gateway\r\n\r\n").into_bytes()
}

/// Sends a request that is refused and closes; what follows it on the connection is never read as a request.
async fn refused_and_closed(gateway: &Gateway, bytes: &[u8], status: u16, code: &str) {
    println!("{}", bytes.escape_ascii());
    let mut client = gateway.client().await;
    let smuggled = get("/open/smuggled");
    client.write([bytes, &smuggled].concat()).await;
    let response = client.response().await;
    refused(&response, status, code);
    assert!(response.head.has_token("connection", "close"), "{response:?}");
    client.is_closed().await;
}

mod malformed {
    use super::*;

    #[tokio::test]
    async fn r14_paths_that_two_servers_could_read_as_two_are_400() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        for path in [
            "/open/a%2fb",
            "/open/a%2Fb",
            "/open/a%5cb",
            "/open/a%5Cb",
            "/open/a%00b",
            "/open/..",
            "/open/../admin",
            "/open/./a",
            "/open/.",
            "/open/%2e",
            "/open/%2e%2e/admin",
            "/open/%2E%2e/admin",
            "/open/.%2e/admin",
            "/open//a",
            "//open/a",
            "/open/a\\b",
            "/open/a#b",
            "/open/a%",
            "/open/a%2",
            "/open/a%zz",
            "/open/a%252fb",
            "/open/a%252Fb",
            "/open/a%255cb",
            "/open/a%252e%252e/b",
            "/open/a%2500b",
            "/open/..;x=y/admin",
            "/open/%2e%2e;/admin",
            "/open/.;/admin",
            "/..",
            "/open/a/..",
            "/%2e%2e/open/a",
        ] {
            refused_and_closed(&gateway, &get(path), 400, "malformed_request").await;
        }
        assert_eq!(echo.count(), 0, "none of them, nor what followed them, was forwarded");
    }

    #[tokio::test]
    async fn paths_that_merely_look_odd_pass_as_they_came() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        for path in [
            "/open/%61dmin",
            "/open/a;b=c/d",
            "/open/...",
            "/open/a..b",
            "/open/%C3%A9",
            "/open/a%20b",
            "/open/a%25b",
            "/open/?x=/../%2f//",
            "/open/a+b",
            "/open/a:b@c",
            "/open/%3F",
            "/open/",
            "/open/~a!$&'()*,",
        ] {
            println!("{path}");
            assert_eq!(status(&gateway.raw(get(path)).await), 200);
            assert_eq!(echo.last().line, format!("GET {path} HTTP/1.1"));
        }
    }

    #[tokio::test]
    async fn r05_two_of_one_credential_header_are_400_on_any_route_and_on_none() {
        let echo = Upstream::echo().await;
        let issuer = Issuer::start().await;
        let all = r#"
[api_keys]
[internal]
keys = ["a-long-secret"]
"#;
        for sections in ["", all] {
            let setup = Gateway::with(OPEN).upstream("echo", &echo).issuer("main", &issuer);
            let gateway = setup.and(sections).start().await;
            for (first, second) in [
                ("Authorization: Bearer a", "Authorization: Bearer a"),
                ("Authorization: Basic YTpi", "authorization: Bearer b"),
                ("X-API-Key: a", "x-api-key: b"),
                ("X-Internal-Auth: a-long-secret", "X-INTERNAL-AUTH: a-long-secret"),
            ] {
                for path in ["/open/a", "/no/route"] {
                    let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n{first}\r\nAccept: b\r\n{second}\r\n\r\n");
                    refused_and_closed(&gateway, head.as_bytes(), 400, "malformed_request").await;
                }
            }
        }
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn r06_different_tokens_in_two_places_are_400_and_equal_ones_are_one() {
        let echo = Upstream::echo().await;
        let issuer = Issuer::start().await;
        let route = "[[routes]]\nname = \"tokens\"\npaths = [\"/*\"]\nupstream = \"echo\"\nauth = \"jwt\"";
        let places = "algorithms = [\"ES256\"]\ntoken_sources = [\"header\", \"header:X-Access-Token\"]";
        let setup = Gateway::with(route).upstream("echo", &echo);
        let gateway = setup.issuer_with("main", &issuer, places).start().await;
        let (token, other) = (issuer.token(), issuer.token_with(json!({ "sub": "bob" })));
        let twice = |second: &str| Request::get("/").bearer(&token).header("X-Access-Token", second);
        refused(&gateway.send(&twice(&other)).await, 400, "malformed_request");
        refused(&gateway.send(&twice("")).await, 400, "malformed_request");
        assert_eq!(status(&gateway.send(&twice(&token)).await), 200);
        let elsewhere = Request::get("/").header("x-access-token", &other);
        assert_eq!(status(&gateway.send(&elsewhere).await), 200);
        assert_eq!(echo.last().header("x-user-id").as_deref(), Some("bob"));
    }

    #[tokio::test]
    async fn r11_a_host_that_is_no_single_plain_authority_is_400() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        for host in [
            "a/b", "a?b", "a#b", "a@b", "a b", "", "a:80:90", "a:port", "[::1", "a,b", "a\u{e9}", "a;b", "a%2fb",
        ] {
            let head = format!("GET /open/a HTTP/1.1\r\nHost: {host}\r\n\r\n");
            refused_and_closed(&gateway, head.as_bytes(), 400, "malformed_request").await;
        }
        for head in [
            "GET /open/a HTTP/1.1\r\n\r\n",
            "GET /open/a HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET /open/a HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n",
            "GET http://b/open/a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a@b/open/a HTTP/1.1\r\nHost: b\r\n\r\n",
        ] {
            refused_and_closed(&gateway, head.as_bytes(), 400, "malformed_request").await;
        }
        for head in [
            "GET /open/a HTTP/1.1\r\nHost: a:8080\r\n\r\n",
            "GET /open/a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            "GET http://a/open/a HTTP/1.1\r\nHost: A\r\n\r\n",
            "GET /open/a HTTP/1.0\r\n\r\n",
        ] {
            println!("{head}");
            assert_eq!(status(&gateway.raw(head).await), 200);
            assert_eq!(echo.last().line, "GET /open/a HTTP/1.1");
        }
    }

    #[tokio::test]
    async fn r31_r32_framing_that_can_be_read_two_ways_is_400() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        for fields in [
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked, gzip",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding:",
            "Transfer-Encoding: \u{b}chunked",
            "Content-Length:",
            "Content-Length: +3",
            "Content-Length: -3",
            "Content-Length: 3, 3",
            "Content-Length: 3\r\nContent-Length: 3",
            "Content-Length: 3\r\nContent-Length: 4",
            "Content-Length: 0x3",
            "Content-Length: 99999999999999999999",
            "Content-Length : 3",
            "Transfer-Encoding : chunked",
            "X : y",
            " X: y",
            "X: y\r\n z",
            "X: y\r\n\tz",
            ": y",
            "no colon",
            "X\u{1}: y",
            "X: y\u{0}z",
            "X: y\rz",
            "X: y\nZ: z",
            "X(: y",
        ] {
            let head = format!("POST /open/a HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
            refused_and_closed(&gateway, head.as_bytes(), 400, "malformed_request").await;
        }
        for head in [
            &b"POST /open/a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"[..],
            b"GET /open/a HTTP/1.1\nHost: a\n\n",
            b"GET /open/a HTTP/1.1\r\nHost: a\r\n\n",
            b"GET /open/a\r\n\r\n",
            b"GET  /open/a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /open/a HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"GET /open/a HTTP/2.0\r\nHost: a\r\n\r\n",
            b"G(T /open/a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /open/a\x80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET open/a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://a/open/a HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            refused_and_closed(&gateway, head, 400, "malformed_request").await;
        }
        assert_eq!(echo.count(), 0, "nothing of it was forwarded");
    }

    #[tokio::test]
    async fn a_refused_head_says_no_more_than_that_it_is_malformed() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        let texts = ["/open/%2f", "/open/..", "/open/a#b"].map(|path| async {
            let response = gateway.raw(get(path)).await;
            response.json()["error_description"].as_str().unwrap().to_owned()
        });
        let [a, b, c] = texts;
        assert_eq!(
            (a.await, b.await),
            (c.await, "The request is malformed or ambiguous.".to_owned())
        );
    }
}

mod heads {
    use super::*;

    fn with_listener(lines: &str) -> Setup {
        Gateway::with(OPEN).and(&format!(
            "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{lines}"
        ))
    }

    #[tokio::test]
    async fn a_head_that_does_not_come_in_time_is_408_and_the_connection_is_closed() {
        let echo = Upstream::echo().await;
        let gateway = with_listener("header_timeout = \"100ms\"")
            .upstream("echo", &echo)
            .start()
            .await;
        for begun in [
            "GET /open/a HTTP/1.1\r\nHost: a\r\nX-Slow",
            "GET /op",
            "GET /open/a HTTP/1.1\r\n",
        ] {
            println!("{begun}");
            let mut client = gateway.client().await;
            client.write(begun).await;
            let response = client.response().await;
            refused(&response, 408, "request_timeout");
            assert!(response.head.has_token("connection", "close"));
            client.is_closed().await;
        }
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_was_asked_is_closed_without_a_word() {
        let echo = Upstream::echo().await;
        let gateway = with_listener("idle_timeout = \"100ms\"\nheader_timeout = \"100ms\"");
        let gateway = gateway.upstream("echo", &echo).start().await;
        let mut client = gateway.client().await;
        assert_eq!(status(&client.send(&Request::get("/open/a")).await), 200);
        client.is_closed().await;
    }

    #[tokio::test]
    async fn a_target_that_is_too_long_is_414_and_a_head_that_is_431() {
        let echo = Upstream::echo().await;
        let gateway = with_listener("max_header_bytes = \"8KiB\"")
            .upstream("echo", &echo)
            .start()
            .await;
        let long = "a".repeat(20_000);
        let target = format!("GET /open/{long} HTTP/1.1\r\nHost: a\r\n\r\n");
        let field = format!("GET /open/a HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n");
        let many = format!("GET /open/a HTTP/1.1\r\nHost: a\r\n{}\r\n", "A: b\r\n".repeat(3000));
        for (head, status) in [(target, 414), (field, 431), (many, 431)] {
            let mut client = gateway.client().await;
            client.write(&head).await;
            let response = client.response().await;
            refused(&response, status, "request_too_large");
            assert!(response.head.has_token("connection", "close"));
        }
        let fits = "a".repeat(6000);
        let head = format!("GET /open/{fits} HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
        assert_eq!(status(&gateway.raw(head).await), 200);
        assert_eq!(echo.count(), 1);
    }

    #[tokio::test]
    async fn r34_connect_is_501() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        for head in [
            &b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"[..],
            b"CONNECT /open/a HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            refused_and_closed(&gateway, head, 501, "not_implemented").await;
        }
    }
}

mod routes {
    use super::*;

    #[tokio::test]
    async fn what_no_route_takes_is_404_and_the_connection_goes_on() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        let mut client = gateway.client().await;
        for request in [
            Request::get("/"),
            Request::get("/openly"),
            Request::get("/OPEN/a"),
            Request::new("OPTIONS", "*"),
            Request::get("/?/open/a"),
        ] {
            println!("{request:?}");
            refused(&client.send(&request).await, 404, "no_route");
        }
        assert_eq!(status(&client.send(&Request::get("/open/a")).await), 200);
    }

    #[tokio::test]
    async fn a_method_that_the_path_does_not_take_is_405_with_allow() {
        let echo = Upstream::echo().await;
        let routes = r#"
[[routes]]
name = "read"
paths = ["/only"]
methods = ["GET"]
upstream = "echo"
auth = "none"
[[routes]]
name = "write"
paths = ["/only"]
methods = ["POST", "PUT"]
upstream = "echo"
auth = "none"
[[routes]]
name = "wider"
paths = ["/*"]
upstream = "echo"
auth = "none"
"#;
        let gateway = Gateway::with(routes).upstream("echo", &echo).start().await;
        let response = gateway.send(&Request::new("DELETE", "/only")).await;
        refused(&response, 405, "method_not_allowed");
        let mut allowed: Vec<_> = response.head.first("allow").unwrap().split(", ").collect();
        allowed.sort_unstable();
        assert_eq!(allowed, ["GET", "HEAD", "POST", "PUT"]);
        for method in ["GET", "HEAD", "POST", "PUT"] {
            assert_eq!(
                status(&gateway.send(&Request::new(method, "/only")).await),
                200,
                "{method}"
            );
        }
        assert_eq!(status(&gateway.send(&Request::new("DELETE", "/other")).await), 200);
        refused(
            &gateway.send(&Request::new("get", "/only")).await,
            405,
            "method_not_allowed",
        );
    }

    #[tokio::test]
    async fn r41_a_route_covers_all_of_its_paths_whatever_the_upstream_would_guard_itself() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let mlflow = "[[routes]]\nname = \"mlflow\"\npaths = [\"/mlflow/*\"]\nupstream = \"echo\"\nauth = \"jwt\"";
        let gateway = Gateway::with(mlflow)
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        for path in [
            "",
            "/",
            "/a",
            "/a/b/",
            "/ajax-api/2.0/x",
            "/static-files/x.js",
            "/%61",
            "?x",
            "/graphql",
            "/;a",
        ] {
            for method in ["GET", "HEAD", "OPTIONS", "POST", "TRACE", "BREW"] {
                let response = gateway.send(&Request::new(method, &format!("/mlflow{path}"))).await;
                assert_eq!(status(&response), 401, "{method} {path}");
            }
        }
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn r10_no_look_alike_of_a_health_check_opens_a_door() {
        let echo = Upstream::echo().await;
        let issuer = Issuer::start().await;
        let all = "[[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"echo\"\nauth = \"jwt\"";
        let gateway = Gateway::with(all)
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        for path in [
            "/health",
            "/healthz",
            "/livez",
            "/readyz",
            "/ping",
            "/metrics",
            "/status",
            "/status.json",
            "/robots.txt",
        ] {
            for agent in ["GoogleHC/1.0", "kube-probe/1.30", "ELB-HealthChecker/2.0"] {
                let request = Request::get(path).header("User-Agent", agent);
                refused(&gateway.send(&request).await, 401, "unauthorized");
            }
        }
        assert_eq!(echo.count(), 0);
    }
}

/// 401, and what each route says that it would take.
mod challenges {
    use super::*;

    async fn house(echo: &Upstream, issuer: &Issuer) -> Gateway {
        let hash = crate::harness::sha256("hok_good");
        let text = format!(
            r#"
[api_keys]
[[api_keys.keys]]
id = "ci"
hash = "{hash}"
user = "svc_ci"
scopes = ["model:read"]
[internal]
keys = ["a-long-secret"]
[roles]
viewer = ["tasks.read"]
[[routes]]
name = "hybrid"
paths = ["/hybrid"]
upstream = "echo"
auth = "hybrid"
[[routes]]
name = "keys"
paths = ["/keys"]
upstream = "echo"
auth = "api_key"
[[routes]]
name = "internal"
paths = ["/internal"]
upstream = "echo"
auth = "internal"
[[routes]]
name = "scopes"
paths = ["/scopes"]
upstream = "echo"
auth = ["jwt", "api_key"]
require = {{ scopes_all = ["a:read", "b:read"], scopes_any = ["a:read", "b:read"] }}
[[routes]]
name = "permissions"
paths = ["/permissions"]
upstream = "echo"
auth = "jwt"
require = {{ permissions_any = ["tasks.create"] }}
[[routes]]
name = "roles"
paths = ["/roles"]
upstream = "echo"
auth = "jwt"
require = {{ roles_any = ["admin"] }}
[[routes]]
name = "audience"
paths = ["/audience"]
upstream = "echo"
auth = "jwt"
require = {{ audiences = ["here"] }}
[[routes]]
name = "claims"
paths = ["/orgs/{{org}}/x"]
upstream = "echo"
auth = "jwt"
require = {{ claims = {{ org_id = "{{path.org}}" }} }}
"#
        );
        Gateway::with(&text)
            .upstream("echo", echo)
            .issuer("main", issuer)
            .start()
            .await
    }

    fn challenge(response: &Response) -> &str {
        response.head.first("www-authenticate").unwrap_or("none")
    }

    #[tokio::test]
    async fn a_401_says_what_the_route_would_take() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await;
        const BEARER: &str = "Bearer realm=\"gateway\"";
        const API_KEY: &str = "ApiKey realm=\"gateway\"";
        let expired = issuer.token_with(json!({ "exp": 1, "iat": 0 }));
        for (request, code, expected) in [
            (Request::get("/hybrid"), "unauthorized", BEARER.to_owned()),
            (Request::get("/keys"), "unauthorized", API_KEY.to_owned()),
            (Request::get("/internal"), "unauthorized", API_KEY.to_owned()),
            (
                Request::get("/keys").bearer(&issuer.token()),
                "unauthorized",
                API_KEY.to_owned(),
            ),
            (
                Request::get("/hybrid").basic("a", "b"),
                "unauthorized",
                BEARER.to_owned(),
            ),
            (
                Request::get("/hybrid").header("X-API-Key", "no"),
                "invalid_api_key",
                BEARER.to_owned(),
            ),
            (
                Request::get("/keys").header("X-API-Key", "no"),
                "invalid_api_key",
                API_KEY.to_owned(),
            ),
            (
                Request::get("/keys").header("X-API-Key", ""),
                "invalid_api_key",
                API_KEY.to_owned(),
            ),
            (
                Request::get("/hybrid").header("X-Internal-Auth", "no"),
                "invalid_internal_auth",
                BEARER.to_owned(),
            ),
            (
                Request::get("/internal").header("X-Internal-Auth", ""),
                "invalid_internal_auth",
                API_KEY.to_owned(),
            ),
            (
                Request::get("/hybrid").bearer("nonsense"),
                "invalid_token",
                format!("{BEARER}, error=\"invalid_token\", error_description=\"The access token is not valid.\""),
            ),
            (
                Request::get("/hybrid").bearer(&expired),
                "token_expired",
                format!("{BEARER}, error=\"invalid_token\", error_description=\"The access token has expired.\""),
            ),
        ] {
            println!("{request:?}");
            let response = gateway.send(&request).await;
            refused(&response, 401, code);
            assert_eq!(challenge(&response), expected);
        }
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn every_token_that_does_not_hold_gets_the_same_words() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await;
        let mut said = Vec::new();
        for token in [
            "nonsense".to_owned(),
            Key::ec("key-1").sign(&issuer.claims()),
            Key::ec("other").sign(&issuer.claims()),
            issuer.token_with(json!({ "iss": "https://elsewhere" })),
            issuer.token_with(json!({ "nbf": 99_999_999_999_i64 })),
            issuer.token_with(json!({ "sub": null })),
        ] {
            let mut body = gateway.send(&Request::get("/hybrid").bearer(&token)).await.json();
            body["request_id"] = json!(null);
            said.push(body);
        }
        assert!(said.iter().all(|body| *body == said[0]), "{said:?}");
        assert_eq!(said[0]["error"], "invalid_token");
    }

    #[tokio::test]
    async fn a_proven_caller_that_lacks_something_is_403() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await;
        let token = |claims| issuer.token_with(claims);
        let lacking = Request::get("/scopes").bearer(&token(json!({ "scope": "a:read" })));
        let response = gateway.send(&lacking).await;
        refused(&response, 403, "insufficient_scope");
        let expected = "Bearer realm=\"gateway\", error=\"insufficient_scope\", scope=\"a:read b:read\"";
        assert_eq!(challenge(&response), expected);
        refused(
            &gateway
                .send(&Request::get("/scopes").header("X-API-Key", "hok_good"))
                .await,
            403,
            "insufficient_scope",
        );

        for (path, lacking, enough) in [
            (
                "/permissions",
                json!({ "permissions": "tasks.read" }),
                json!({ "permissions": "tasks.create" }),
            ),
            (
                "/permissions",
                json!({ "roles": ["viewer"] }),
                json!({ "permissions": ["tasks.*"] }),
            ),
            (
                "/roles",
                json!({ "roles": ["administrator"] }),
                json!({ "roles": "admin" }),
            ),
            (
                "/audience",
                json!({ "aud": "elsewhere" }),
                json!({ "aud": ["there", "here"] }),
            ),
            ("/audience", json!({}), json!({ "aud": "here" })),
            ("/orgs/7/x", json!({ "org_id": "8" }), json!({ "org_id": "7" })),
            ("/orgs/7/x", json!({}), json!({ "org_id": "7" })),
        ] {
            println!("{path} {lacking}");
            let response = gateway.send(&Request::get(path).bearer(&token(lacking))).await;
            refused(&response, 403, "permission_denied");
            assert_eq!(
                status(&gateway.send(&Request::get(path).bearer(&token(enough))).await),
                200
            );
        }
    }

    #[tokio::test]
    async fn a_service_that_names_its_user_badly_is_400() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await;
        let acting = |users: &[&str]| {
            let start = Request::get("/internal").header("X-Internal-Auth", "a-long-secret");
            users
                .iter()
                .fold(start, |request, user| request.header("X-User-ID", user))
        };
        let long = "u".repeat(257);
        for users in [
            &["ada", "bob"][..],
            &["ada", "ada"],
            &[""],
            &["a\tb"],
            &["\u{e9}"],
            &[&long],
        ] {
            println!("{users:?}");
            refused(&gateway.send(&acting(users)).await, 400, "malformed_request");
        }
        assert_eq!(echo.count(), 0);
        assert_eq!(status(&gateway.send(&acting(&["ada"])).await), 200);
        // Without the secret nobody looks at the header.
        refused(
            &gateway
                .send(&Request::get("/internal").header("X-User-ID", "\u{e9}"))
                .await,
            401,
            "unauthorized",
        );
    }
}

mod bodies {
    use super::*;

    const SMALL: &str = r#"
[[routes]]
name = "small"
paths = ["/small"]
upstream = "echo"
auth = "none"
max_body = "16B"
"#;

    #[tokio::test]
    async fn a_body_that_is_declared_too_long_is_413_before_anything_is_sent_on() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(SMALL).upstream("echo", &echo).start().await;
        let mut client = gateway.client().await;
        client
            .write("POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n")
            .await;
        refused(&client.response().await, 413, "body_too_large");
        assert_eq!(echo.connections(), 0);
        let fits = Request::new("POST", "/small").body("0123456789abcdef");
        assert_eq!(status(&gateway.send(&fits).await), 200);
        assert_eq!(echo.last().body, b"0123456789abcdef");
    }

    #[tokio::test]
    async fn a_body_that_grows_too_long_while_it_streams_is_413_and_closes() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(SMALL).upstream("echo", &echo).start().await;
        let mut client = gateway.client().await;
        client
            .write("POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        client.write("a\r\n0123456789\r\n").await;
        client.write("7\r\n0123456\r\n").await;
        let response = client.response().await;
        refused(&response, 413, "body_too_large");
        assert!(response.head.has_token("connection", "close"));
        client.is_closed().await;
        assert!(echo.requests().is_empty(), "the upstream never gets a whole body");
        let fits =
            "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";
        assert_eq!(status(&gateway.raw(fits).await), 200);
    }
}

mod upstreams {
    use super::*;

    const BEHIND: &str = r#"
[[routes]]
name = "behind"
paths = ["/*"]
upstream = "behind"
auth = "none"
"#;

    #[tokio::test]
    async fn nobody_at_the_upstream_is_503() {
        let gateway = Gateway::with(BEHIND);
        let gateway = gateway
            .upstream_with("behind", Upstream::nobody().await, "")
            .start()
            .await;
        refused(&gateway.get("/").await, 503, "upstream_unavailable");
    }

    #[tokio::test]
    async fn one_more_than_max_in_flight_is_503() {
        let gate = Gate::shut();
        let door = gate.clone();
        let slow = Upstream::conversing(move |mut conversation| {
            let door = door.clone();
            async move {
                while conversation.request().await.is_some() {
                    door.passed().await;
                    conversation
                        .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                        .await;
                }
            }
        })
        .await;
        let setup = Gateway::with(BEHIND).upstream_with("behind", slow.address, "max_in_flight = 1");
        let gateway = setup.start().await;
        let mut first = gateway.client().await;
        first.write(get("/")).await;
        slow.got(1).await;
        refused(&gateway.get("/").await, 503, "upstream_unavailable");
        gate.open();
        assert_eq!(status(&first.response().await), 200);
        assert_eq!(status(&gateway.get("/").await), 200);
    }

    #[tokio::test]
    async fn an_upstream_that_breaks_off_or_speaks_nonsense_is_502() {
        for answer in [
            "",
            "HTTP/1.1 20",
            "nonsense\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
            "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        ] {
            println!("{answer:?}");
            let broken = Upstream::conversing(move |mut conversation| async move {
                conversation.request().await;
                conversation.send(answer).await;
            })
            .await;
            let gateway = Gateway::with(BEHIND).upstream("behind", &broken).start().await;
            refused(&gateway.get("/").await, 502, "bad_gateway");
        }
    }

    #[tokio::test]
    async fn an_upstream_that_does_not_answer_in_time_is_504() {
        let silent = Upstream::conversing(|mut conversation| async move {
            conversation.request().await;
            conversation.closed().await;
        })
        .await;
        let setup = Gateway::with(BEHIND).upstream_with("behind", silent.address, "response_timeout = \"100ms\"");
        let gateway = setup.start().await;
        refused(&gateway.get("/").await, 504, "upstream_timeout");
        refused(
            &gateway.send(&Request::new("POST", "/").body("x")).await,
            504,
            "upstream_timeout",
        );
    }
}

/// Several refusals apply to one request: the contract's table is in order of precedence. One fault after another is mended.
mod order {
    use super::*;

    #[tokio::test]
    async fn the_first_row_that_applies_is_the_answer() {
        let issuer = Issuer::start().await;
        let routes = r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1"]
[limits.address]
rate = "1/hour"
by = "ip"
[limits.caller]
rate = "1/hour"
by = "user"
[[routes]]
name = "all"
paths = ["/all"]
methods = ["POST"]
upstream = "down"
auth = "jwt"
allowed_from = ["192.0.2.0/24"]
require = { scopes_all = ["write"] }
max_body = "3B"
limits = ["address", "caller"]
"#;
        let setup = Gateway::with(routes).upstream_with("down", Upstream::nobody().await, "");
        let gateway = setup.issuer("main", &issuer).start().await;
        let bad = issuer.token_with(json!({ "sub": null }));
        let ada = issuer.token_with(json!({ "scope": "write" }));
        let from =
            |address: &str, method: &str, path: &str| Request::new(method, path).header("X-Forwarded-For", address);
        const AWAY: &str = "203.0.113.1";

        // A malformed request, with everything else wrong as well.
        let all_wrong = from(AWAY, "GET", "/all/%2f").bearer(&bad).body("long");
        refused(&gateway.send(&all_wrong).await, 400, "malformed_request");
        refused(
            &gateway
                .send(&from(AWAY, "GET", "/none").bearer(&bad).body("long"))
                .await,
            404,
            "no_route",
        );
        refused(
            &gateway.send(&from(AWAY, "GET", "/all").bearer(&bad).body("long")).await,
            405,
            "method_not_allowed",
        );
        let post = |address| from(address, "POST", "/all");
        refused(
            &gateway.send(&post(AWAY).bearer(&bad).body("long")).await,
            403,
            "address_not_allowed",
        );
        // Refused, and yet counted by its address: once for all that follow from there.
        refused(
            &gateway.send(&post("192.0.2.1").body("long")).await,
            401,
            "unauthorized",
        );
        refused(
            &gateway.send(&post("192.0.2.1").bearer(&ada).body("x")).await,
            429,
            "rate_limited",
        );
        refused(
            &gateway.send(&post("192.0.2.2").bearer(&bad).body("long")).await,
            401,
            "invalid_token",
        );
        refused(
            &gateway
                .send(&post("192.0.2.3").bearer(&issuer.token()).body("long"))
                .await,
            403,
            "insufficient_scope",
        );
        refused(
            &gateway.send(&post("192.0.2.4").bearer(&ada).body("long")).await,
            413,
            "body_too_large",
        );
        // The one request that the caller's limit lets pass comes as far as the upstream, which is not there.
        refused(
            &gateway.send(&post("192.0.2.5").bearer(&ada).body("x")).await,
            503,
            "upstream_unavailable",
        );
        refused(
            &gateway.send(&post("192.0.2.6").bearer(&ada).body("x")).await,
            429,
            "rate_limited",
        );
    }

    #[tokio::test]
    async fn r25_a_credential_that_failed_never_falls_through() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let hash = crate::harness::sha256("hok_good");
        let text = format!(
            r#"
[api_keys]
[[api_keys.keys]]
id = "ci"
hash = "{hash}"
user = "svc_ci"
[internal]
keys = ["a-long-secret"]
[[routes]]
name = "all"
paths = ["/*"]
upstream = "echo"
auth = ["jwt", "api_key", "internal", "none"]
"#
        );
        let gateway = Gateway::with(&text)
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        let good = [
            ("Authorization", format!("Bearer {}", issuer.token()), "ada"),
            ("X-API-Key", "hok_good".to_owned(), "svc_ci"),
            ("X-Internal-Auth", "a-long-secret".to_owned(), "system"),
        ];
        let bad = [
            ("Authorization", "Bearer bad", "invalid_token"),
            ("Authorization", "bearer", "invalid_token"),
            ("X-API-Key", "hok_bad", "invalid_api_key"),
            ("X-API-Key", "", "invalid_api_key"),
            ("X-Internal-Auth", "bad", "invalid_internal_auth"),
            ("X-Internal-Auth", "", "invalid_internal_auth"),
        ];
        let place = |name: &str| good.iter().position(|(own, ..)| *own == name).unwrap();
        for (name, value, code) in bad {
            let alone = Request::get("/").header(name, value);
            refused(&gateway.send(&alone).await, 401, code);
            for (other, (good_name, good_value, user)) in good.iter().enumerate().filter(|(at, _)| *at != place(name)) {
                let both = Request::get("/").header(good_name, good_value).header(name, value);
                println!("{both:?}");
                let response = gateway.send(&both).await;
                if other < place(name) {
                    assert_eq!(status(&response), 200);
                    assert_eq!(echo.last().header("x-user-id").as_deref(), Some(*user));
                } else {
                    refused(&response, 401, code);
                }
            }
        }
        assert_eq!(status(&gateway.get("/").await), 200);
        assert!(echo.last().lacks("x-user-id"), "nobody is anonymous under a name");
    }

    #[tokio::test]
    async fn the_answer_to_head_has_no_body() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        let mut client = gateway.client().await;
        let response = client.send(&Request::new("HEAD", "/none")).await;
        assert_eq!(status(&response), 404);
        assert_eq!(response.head.first("content-type"), Some("application/json"));
        // Were there a body, this would read it as a head.
        assert_eq!(status(&client.send(&Request::get("/open/a")).await), 200);
    }

    #[tokio::test]
    async fn the_answers_id_is_the_clients_when_it_is_sound() {
        let echo = Upstream::echo().await;
        let gateway = Gateway::with(OPEN).upstream("echo", &echo).start().await;
        let mut client: Client = gateway.client().await;
        let response = client
            .send(&Request::get("/none").header("X-Request-ID", "mine:1"))
            .await;
        refused(&response, 404, "no_route");
        assert_eq!(response.json()["request_id"], "mine:1");
        let response = client
            .send(&Request::get("/none").header("X-Request-ID", "<script>"))
            .await;
        refused(&response, 404, "no_route");
        assert_eq!(response.json()["request_id"].as_str().unwrap().len(), 36);
    }
}
