//! Tokens in headers, queries, cookies and subprotocols: who takes them from where, on whose behalf, and that they stay unseen.

use crate::harness::{Client, Gateway, Issuer, Request, Setup, Upstream, refused, status};

const TOKENS: &str = r#"
[[routes]]
name = "tokens"
paths = ["/*"]
upstream = "echo"
auth = "jwt"
"#;

fn algorithms(lines: &str) -> String {
    format!("algorithms = [\"ES256\"]\n{lines}")
}

fn house(echo: &Upstream, issuer: &Issuer, lines: &str) -> Setup {
    Gateway::with(TOKENS)
        .upstream("echo", echo)
        .issuer_with("main", issuer, &algorithms(lines))
}

const EVERYWHERE: &str =
    r#"token_sources = ["header", "header:X-Token", "query:access_token", "cookie:t", "websocket_protocol"]"#;

fn websocket(target: &str) -> Request {
    Request::get(target)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ==")
}

/// One request for each place, with this token there.
fn in_each_place(token: &str) -> Vec<Request> {
    vec![
        Request::get("/").bearer(token),
        Request::get("/").header("x-tOKEN", token),
        Request::get(&format!("/?a=1&access_token={token}&b=2")),
        Request::get("/").header("Cookie", &format!("a=1; t={token}; b=2")),
        Request::get("/").header("Sec-WebSocket-Protocol", &format!("chat, bearer, {token}")),
    ]
}

#[tokio::test]
async fn a_token_is_found_in_every_place_that_its_issuer_names() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = house(&echo, &issuer, EVERYWHERE).start().await;
    for request in in_each_place(&issuer.token()) {
        println!("{request:?}");
        assert_eq!(status(&gateway.send(&request).await), 200);
        assert_eq!(echo.last().header("X-User-ID").as_deref(), Some("ada"));
    }
    let mut forged = issuer.token();
    forged.push('A');
    for wrong in [forged.as_str(), "x", ""] {
        for request in in_each_place(wrong) {
            println!("{request:?}");
            refused(&gateway.send(&request).await, 401, "invalid_token");
        }
    }
    let plain = house(&echo, &issuer, "").start().await;
    for request in in_each_place(&issuer.token()).iter().skip(1) {
        refused(&plain.send(request).await, 401, "unauthorized");
    }
}

#[tokio::test]
async fn a_route_may_name_its_own_places() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let setup = Gateway::with(&format!("{TOKENS}token_sources = [\"query:key\"]"));
    let gateway = setup
        .upstream("echo", &echo)
        .issuer_with("main", &issuer, &algorithms(EVERYWHERE))
        .start()
        .await;
    let token = issuer.token();
    assert_eq!(status(&gateway.get(&format!("/?key={token}")).await), 200);
    for request in in_each_place(&token) {
        refused(&gateway.send(&request).await, 401, "unauthorized");
    }
}

#[tokio::test]
async fn an_issuers_token_is_taken_from_its_own_places_and_not_from_anothers() {
    let (echo, one, two) = (Upstream::echo().await, Issuer::start().await, Issuer::start().await);
    let setup = house(&echo, &one, "token_sources = [\"cookie:t\"]");
    let gateway = setup.issuer_with("two", &two, &algorithms("")).start().await;
    let cookie = |token: &str| Request::get("/").header("Cookie", &format!("t={token}"));
    for _ in 0..2 {
        assert_eq!(status(&gateway.send(&cookie(&one.token())).await), 200);
        assert_eq!(
            status(&gateway.send(&Request::get("/").bearer(&two.token())).await),
            200
        );
        // Also once they are known.
        refused(&gateway.send(&cookie(&two.token())).await, 401, "invalid_token");
        refused(
            &gateway.send(&Request::get("/").bearer(&one.token())).await,
            401,
            "invalid_token",
        );
    }
}

#[tokio::test]
async fn r06_different_tokens_in_two_places_are_400_and_the_same_one_is_one() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = house(&echo, &issuer, EVERYWHERE).start().await;
    let token = issuer.token();
    let requests = in_each_place(&token);
    let others = in_each_place("another");
    let joined = |one: &Request, two: &Request| {
        let mut request = one.clone();
        request.headers.extend(two.headers.iter().cloned());
        if two.target.contains('?') {
            request.target.clone_from(&two.target);
        }
        request
    };
    for (first, one) in requests.iter().enumerate() {
        for (second, (same, other)) in requests
            .iter()
            .zip(&others)
            .enumerate()
            .filter(|(second, _)| *second != first)
        {
            println!("{first} and {second}");
            assert_eq!(status(&gateway.send(&joined(one, same)).await), 200);
            refused(&gateway.send(&joined(one, other)).await, 400, "malformed_request");
        }
    }
    for twice in [
        Request::get(&format!("/?access_token={token}&access_token=x")),
        // An upstream that reads the query undoes the escape.
        Request::get(&format!("/?access_token={token}&access%5ftoken=x")),
        Request::get("/").header("Cookie", &format!("t={token}; t=x")),
        Request::get("/")
            .header("Cookie", &format!("t={token}"))
            .header("Cookie", "t=x"),
        Request::get("/").header("Sec-WebSocket-Protocol", &format!("bearer, {token}, bearer, x")),
        Request::get("/").header("X-Token", &token).header("X-Token", &token),
    ] {
        refused(&gateway.send(&twice).await, 400, "malformed_request");
    }
}

#[tokio::test]
async fn r44_a_cookie_token_needs_its_own_origin_for_what_changes_something_and_for_websockets() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let issuer = Issuer::start().await;
    let lines = "token_sources = [\"header\", \"cookie:t\"]\norigins = [\"https://app.example.com\"]";
    let gateway = house(&upstream, &issuer, lines).start().await;
    let cookie = format!("t={}", issuer.token());
    let own = format!("http://{}", gateway.address);
    for (method, origin, taken) in [
        ("GET", None, true),
        ("HEAD", Some("https://evil.example"), true),
        ("POST", None, false),
        ("POST", Some(own.as_str()), true),
        ("PUT", Some("https://app.example.com"), true),
        ("DELETE", Some("https://evil.example"), false),
        ("PATCH", Some("null"), false),
        ("WS", None, false),
        ("WS", Some("https://evil.example"), false),
        ("WS", Some("https://app.example.com.evil.example"), false),
        ("WS", Some(own.as_str()), true),
        ("WS", Some("https://app.example.com"), true),
    ] {
        println!("{method} {origin:?}");
        let request = if method == "WS" {
            websocket("/")
        } else {
            Request::new(method, "/")
        };
        let mut request = request.header("Cookie", &cookie);
        if let Some(origin) = origin {
            request = request.header("Origin", origin);
        }
        let response = gateway.send(&request).await;
        if taken {
            assert_eq!(status(&response), 200);
        } else {
            refused(&response, 401, "unauthorized");
        }
    }
    // A token that the page itself puts there is the page's own doing, wherever it is from.
    let request = Request::new("POST", "/")
        .bearer(&issuer.token())
        .header("Origin", "https://evil.example");
    assert_eq!(status(&gateway.send(&request).await), 200);
}

#[tokio::test]
async fn a_token_among_the_subprotocols_goes_no_further_and_is_not_echoed() {
    const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for (chosen, offered, sent, answered) in [
        ("", "bearer, TOKEN", "bearer", "bearer"),
        ("chat", "chat, bearer, TOKEN", "chat, bearer", "chat"),
        ("", "Bearer, TOKEN, chat", "Bearer, chat", "Bearer"),
    ] {
        let chosen = if chosen.is_empty() {
            String::new()
        } else {
            format!("Sec-WebSocket-Protocol: {chosen}\r\n")
        };
        let (upstream, issuer) = (
            Upstream::saying(&format!("{SWITCH}{chosen}\r\n")).await,
            Issuer::start().await,
        );
        let gateway = house(&upstream, &issuer, "token_sources = [\"websocket_protocol\"]")
            .start()
            .await;
        let token = issuer.token();
        let mut client = Client::of(gateway.address).await;
        let request = websocket("/").header("Sec-WebSocket-Protocol", &offered.replace("TOKEN", &token));
        client.write(request.bytes(gateway.address)).await;
        let head = client.head().await;
        assert_eq!(head.status(), 101, "{head:?}");
        assert_eq!(head.first("sec-websocket-protocol"), Some(answered));
        assert!(!upstream.last().has(&token), "{:?}", upstream.last());
        assert_eq!(upstream.last().header("Sec-WebSocket-Protocol").as_deref(), Some(sent));
    }
}

#[tokio::test]
async fn r12_a_token_in_a_query_is_forwarded_and_stands_in_no_log() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let setup = house(&echo, &issuer, EVERYWHERE).and("[log]\nlevel = \"debug\"\nuser_agent = true");
    let gateway = setup.start().await;
    let token = issuer.token();
    let forged = format!("{token}A");
    let target = format!("/path?access_token={token}&x=1");
    let response = gateway.get(&target).await;
    assert_eq!(status(&response), 200);
    assert_eq!(echo.last().line, format!("GET {target} HTTP/1.1"));
    let line = gateway.access_line_of(&response).await;
    assert_eq!(line["path"], "/path");
    let refusal = gateway.get(&format!("/path?access_token={forged}")).await;
    refused(&refusal, 401, "invalid_token");
    gateway.access_line_of(&refusal).await;
    let signature = token.rsplit('.').next().unwrap();
    for text in [gateway.stdout(), gateway.stderr(), gateway.metrics().await] {
        assert!(!text.contains(signature), "{text}");
    }
    let status = gateway.ask_admin("/status.json").await.body;
    assert!(!String::from_utf8_lossy(&status).contains(signature));
    let url = format!("http://a{target}");
    let explained = gateway.run(&["explain", "GET", &url, "--online"]).await;
    let said = [explained.stdout, explained.stderr].concat();
    assert_eq!(explained.status.code(), Some(0), "{}", String::from_utf8_lossy(&said));
    assert!(!String::from_utf8_lossy(&said).contains(signature));
}
