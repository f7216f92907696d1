//! Another path for the upstream, and the way back: `strip_prefix`, `replace_path`, `rewrite_location`; and where a route is served.
//! Decisions and targets are in `tests/cases/paths.toml`.

use crate::harness::{Client, Gateway, Request, Upstream};

const ROUTES: &str = r#"
[[routes]]
name = "chat"
paths = ["/chat/*"]
upstream = "up"
auth = "none"
strip_prefix = "/chat"
[[routes]]
name = "old"
paths = ["/old/*"]
upstream = "up"
auth = "none"
strip_prefix = "/old"
replace_path = "/new{path}"
[[routes]]
name = "kept"
paths = ["/kept/*"]
upstream = "up"
auth = "none"
strip_prefix = "/kept"
preserve_host = true
[[routes]]
name = "alone"
paths = ["/alone/*"]
upstream = "up"
auth = "none"
strip_prefix = "/alone"
rewrite_location = false
[[routes]]
name = "whole"
paths = ["/whole/{id}"]
upstream = "up"
auth = "none"
replace_path = "/w/{id}"
"#;

/// Redirects to what the query says, `UP` being its own authority and `HOST` what it was told as such.
async fn redirecting() -> Upstream {
    Upstream::answering(|received| {
        let location = received.line.split(['?', ' ']).nth(2).unwrap();
        let location = location.replace("HOST", &received.header("host").unwrap());
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    })
    .await
}

#[tokio::test]
async fn a_location_in_the_upstreams_paths_is_turned_back_to_the_clients() {
    let upstream = redirecting().await;
    let gateway = Gateway::with(ROUTES).upstream("up", &upstream).start().await;
    let here = gateway.address;
    for (path, location, expected) in [
        ("/chat/x", "http://HOST/login;a=b", "http://HERE/chat/login;a=b"),
        ("/chat/x", "http://HOST", "http://HERE/chat/"),
        ("/chat/x", "/login;top", "/chat/login;top"),
        ("/chat/x", "/", "/chat/"),
        ("/chat/x", "/chat/login", "/chat/login"),
        ("/chat/x", "http://HOST/chat/login", "http://HERE/chat/login"),
        ("/chat/x", "/chats", "/chat/chats"),
        ("/chat/x", "login", "login"),
        ("/chat/x", "//elsewhere.test/login", "//elsewhere.test/login"),
        (
            "/chat/x",
            "https://elsewhere.test/login",
            "https://elsewhere.test/login",
        ),
        ("/old/x", "http://HOST/new/login", "http://HERE/old/login"),
        ("/old/x", "/new", "/old"),
        ("/old/x", "/elsewhere", "/elsewhere"),
        ("/kept/x", "http://HOST/login", "http://HERE/kept/login"),
        ("/alone/x", "/login", "/login"),
        ("/whole/7", "http://HOST/login", "http://HERE/login"),
        ("/whole/7", "/login", "/login"),
    ] {
        let response = gateway.get(&format!("{path}?{location}")).await;
        let expected = expected.replace("HERE", &here.to_string());
        assert_eq!(
            response.head.first("location"),
            Some(expected.as_str()),
            "{path} {location}"
        );
    }
}

#[tokio::test]
async fn r17_what_is_forwarded_begins_with_one_slash_and_is_below_the_route() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(ROUTES).upstream("up", &upstream).start().await;
    for (target, forwarded) in [
        ("/chat", Some("/")),
        ("/chat?a=/../b", Some("/?a=/../b")),
        ("/chat/", Some("/")),
        ("/ch%61t/%78/", Some("/%78/")),
        ("/chat//x", None),
        ("/chat/..", None),
        ("/chat/%2e%2e/admin", None),
        ("/chat/;/x", Some("/;/x")),
        ("/chat%2Fx", None),
        ("/chatx", None),
    ] {
        let before = upstream.count();
        let response = gateway.get(target).await;
        match forwarded {
            Some(forwarded) => {
                assert_eq!(response.head.status(), 200, "{target}");
                assert_eq!(upstream.last().line, format!("GET {forwarded} HTTP/1.1"));
            }
            None => {
                assert!(response.head.status() >= 400, "{target}");
                assert_eq!(upstream.count(), before, "{target}");
            }
        }
    }
}

#[tokio::test]
async fn response_headers_are_made_of_the_request() {
    let upstream = Upstream::echo().await;
    let routes = r#"
[internal]
keys = ["an-internal-secret-1"]
tenant = "acme"
[[routes]]
name = "told"
paths = ["/*"]
upstream = "up"
auth = "internal"
response_headers = { set = { X-Who = "{user} of {tenant}", X-Seen = "{client_ip} {request_id}", X-Json = '{"max_age":1}' } }
"#;
    let gateway = Gateway::with(routes).upstream("up", &upstream).start().await;
    let request = Request::get("/").header("X-Request-ID", "id-1");
    let refused = gateway.send(&request).await;
    assert_eq!(refused.head.status(), 401);
    assert_eq!(refused.head.first("x-seen"), Some("127.0.0.1 id-1"));
    assert_eq!(refused.head.first("x-who"), None, "nobody was proven");
    let answered = gateway
        .send(&request.header("X-Internal-Auth", "an-internal-secret-1"))
        .await;
    assert_eq!(answered.head.first("x-who"), Some("system of acme"));
    assert_eq!(answered.head.first("x-json"), Some("{\"max_age\":1}"));
}

#[tokio::test]
async fn a_route_is_served_at_its_listeners_only() {
    let upstream = Upstream::echo().await;
    let text = r#"
[[listeners]]
name = "inside"
address = "127.0.0.1:0"
[[listeners]]
name = "outside"
address = "127.0.0.1:0"
[[routes]]
name = "both"
paths = ["/both"]
respond = { body = "both" }
auth = "none"
[[routes]]
name = "private"
listeners = ["inside"]
paths = ["/private"]
upstream = "up"
auth = "none"
[[routes]]
name = "to-https"
listeners = ["outside"]
paths = ["/private"]
redirect = { to = "https://{host}{uri}" }
auth = "none"
"#;
    let gateway = Gateway::with(text).upstream("up", &upstream).start().await;
    for (listener, target, status) in [
        ("inside", "/both", 200),
        ("outside", "/both", 200),
        ("inside", "/private", 200),
        ("outside", "/private", 308),
    ] {
        let mut client = Client::of(gateway.listeners[listener]).await;
        let response = client.send(&Request::get(target)).await;
        assert_eq!(response.head.status(), status, "{listener} {target}");
    }
}

#[tokio::test]
async fn defaults_and_includes_make_routes_like_any_other() {
    let upstream = Upstream::echo().await;
    let text = "include = [\"more-*.toml\"]\n[defaults]\nauth = \"none\"\nupstream = \"up\"\nset_headers = { X-From = \"defaults\" }\n\
                response_headers = { set = { X-Frame-Options = \"DENY\" } }\n[[routes]]\nname = \"a\"\npaths = [\"/a\"]\n";
    let included = "[[routes]]\nname = \"b\"\npaths = [\"/b\"]\nset_headers = { X-From = \"b\" }\n[[routes]]\nname = \"c\"\n\
                    paths = [\"/c\"]\nrespond = { body = \"c\" }\n";
    let setup = Gateway::with(text).upstream("up", &upstream);
    let gateway = setup.file("more-routes.toml", included).start().await;
    for (target, from) in [("/a", "defaults"), ("/b", "b")] {
        let response = gateway.get(target).await;
        assert_eq!(response.head.first("x-frame-options"), Some("DENY"));
        assert_eq!(upstream.last().header("x-from").as_deref(), Some(from), "{target}");
    }
    assert_eq!(
        gateway.get("/c").await.body,
        b"c",
        "an action of its own replaces that of the defaults"
    );
}
