//! Contract part 3, towards the upstream: what passes byte for byte, and each exception.

use serde_json::json;

use crate::harness::{Gateway, Issuer, Received, Request, Response, Setup, Upstream, refused, sha256};

const OPEN: &str = r#"
[[routes]]
name = "open"
paths = ["/*"]
upstream = "echo"
auth = "none"
"#;

/// Every method, an internal secret that is believed from `198.51.100.0/24` too, and a trusted proxy: the test.
const HOUSE: &str = r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1", "10.0.0.0/8"]
[identity]
roles_header = "X-User-Roles"
scopes_header = "X-User-Scopes"
method_header = "X-Auth-Method"
client_header = "X-Client-ID"
claims = { X-User-Email = "email" }
[internal]
keys = ["a-long-secret"]
allowed_from = ["198.51.100.0/24"]
[api_keys]
[[api_keys.keys]]
id = "ci"
hash = "HASH"
user = "svc_ci"
tenant = "acme"
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
[[routes]]
name = "hybrid"
paths = ["/hybrid/*"]
upstream = "echo"
auth = ["jwt", "api_key", "internal", "none"]
[[routes]]
name = "dressed"
paths = ["/dressed/*"]
upstream = "echo"
auth = "none"
set_headers = { X-Api-Key = "the-upstreams-own", X-Tier = "gold" }
remove_headers = ["Authorization", "x-unwanted"]
preserve_host = true
"#;

/// Headers that tell who calls, and none that a client could.
const IDENTITY: [&str; 7] = [
    "X-User-ID",
    "X-Tenant-ID",
    "X-User-Roles",
    "X-User-Scopes",
    "X-Auth-Method",
    "X-Client-ID",
    "X-User-Email",
];

async fn open(echo: &Upstream) -> Gateway {
    Gateway::with(OPEN).upstream("echo", echo).start().await
}

fn house(echo: &Upstream, issuer: &Issuer) -> Setup {
    let text = HOUSE.replace("HASH", &sha256("hok_good"));
    Gateway::with(&text).upstream("echo", echo).issuer("main", issuer)
}

fn served(response: &Response) {
    assert_eq!(response.head.status(), 200, "{:?}", response.head);
}

/// The headers that the gateway adds to every request.
const ADDED: [&str; 5] = [
    "host",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
];

/// What is left of a request's headers without those, in order.
fn end_to_end(received: &Received) -> Vec<(String, Vec<u8>)> {
    let mut headers = received.headers.clone();
    headers.retain(|(name, _)| !ADDED.contains(&name.to_ascii_lowercase().as_str()));
    headers
}

mod unchanged {
    use super::*;

    #[tokio::test]
    async fn names_values_and_duplicates_pass_as_they_came() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        let fields: &[(&str, &[u8])] = &[
            ("AUTHORIZATION", b"bearer  not.a.token"),
            ("x-aPi-kEY", b"hok_anything"),
            ("MLFLOW_TRACKING_TOKEN", b"secret=/+=="),
            ("X-Amz-Security-Token", b"FwoGZXIvYXdzE\"\\~{}|^`"),
            (
                "traceparent",
                b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            ),
            ("Cookie", b"a=b; c=\"d\"; e=\xe4\xf6\xfc"),
            ("X-Latin", b"caf\xe9 \xff\x80"),
            ("X-Utf8", "žluťoučký 🐎".as_bytes()),
            ("X-Tab", b"a\tb"),
            ("X-Empty", b""),
            ("Accept", b"text/html;q=0.8, */*;q=0.1"),
            ("!#$%&'*+^`|~", b"an odd name"),
            ("X_Under.Score", b"mine"),
        ];
        let mut head = b"GET /a?b=c%2Fd&e HTTP/1.1\r\nHost: a\r\n".to_vec();
        for (name, value) in fields {
            head.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
        }
        head.extend_from_slice(b"X-Dup: 1\r\nBetween: 2\r\nx-dup: 3, 4\r\nX-DUP: \r\nX-dup: 1\r\n\r\n");
        served(&gateway.raw(&head).await);
        let got = echo.last();
        assert_eq!(got.line, "GET /a?b=c%2Fd&e HTTP/1.1");
        for (name, value) in fields {
            let found: Vec<_> = got.headers.iter().filter(|(own, _)| own == name).collect();
            assert_eq!(found.len(), 1, "{name} in {:?}", got.headers);
            assert_eq!(
                found[0].1.escape_ascii().to_string(),
                value.escape_ascii().to_string(),
                "{name}"
            );
        }
        let dups: Vec<_> = got
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("x-dup"))
            .collect();
        let dups: Vec<_> = dups
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_slice()))
            .collect();
        assert_eq!(
            dups,
            [
                ("X-Dup", &b"1"[..]),
                ("x-dup", b"3, 4"),
                ("X-DUP", b""),
                ("X-dup", b"1")
            ]
        );
        assert_eq!(
            end_to_end(&got).len(),
            fields.len() + 5,
            "nothing was added: {:?}",
            got.headers
        );
    }

    #[tokio::test]
    async fn nothing_is_added_but_what_the_contract_names() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        served(&gateway.raw("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await);
        let mut names: Vec<_> = echo
            .last()
            .headers
            .into_iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        names.sort_unstable();
        let mut added = ADDED.map(str::to_owned);
        added.sort_unstable();
        assert_eq!(names, added);
    }

    #[tokio::test]
    async fn the_body_passes_in_its_own_framing() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        served(
            &gateway
                .raw("POST / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH: 3\r\n\r\n\0\r\n")
                .await,
        );
        assert_eq!(
            (
                echo.last().body.as_slice(),
                echo.last().header("content-length").as_deref()
            ),
            (&b"\0\r\n"[..], Some("3"))
        );
        served(
            &gateway
                .raw("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nab\r\n0\r\n\r\n")
                .await,
        );
        let got = echo.last();
        assert_eq!(
            (got.body.as_slice(), got.header("transfer-encoding").as_deref()),
            (&b"ab"[..], Some("chunked"))
        );
        assert!(got.lacks("content-length"));
        served(
            &gateway
                .raw("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
                .await,
        );
        assert_eq!(echo.last().header("content-length").as_deref(), Some("0"));
        served(&gateway.raw("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n").await);
        assert!(echo.last().lacks("content-length") && echo.last().lacks("transfer-encoding"));
    }

    #[tokio::test]
    async fn methods_pass_as_they_came() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        for method in ["GET", "HEAD", "OPTIONS", "PATCH", "PURGE", "get", "M-SEARCH"] {
            served(&gateway.send(&Request::new(method, "/x")).await);
            assert_eq!(echo.last().line, format!("{method} /x HTTP/1.1"));
        }
    }

    #[tokio::test]
    async fn lower_case_names_are_a_choice() {
        let echo = Upstream::echo().await;
        let setup = Gateway::with(OPEN).and("[server]\nworkers = 1\nheader_case = \"lower\"");
        let gateway = setup.upstream("echo", &echo).start().await;
        served(&gateway.send(&Request::get("/").header("X-MiXed", "Value")).await);
        assert!(echo.last().has("\r\nx-mixed: Value\r\n"));
    }
}

mod identity {
    use super::*;

    /// Requests from everywhere with every spelling of every header that the gateway writes.
    fn spoofed(mut request: Request) -> Request {
        for name in IDENTITY.iter().chain(&["X-Request-ID"]) {
            let (under, dots) = (name.replace('-', "_"), name.replace('-', "."));
            let mixed = name.replacen('-', "_", 1);
            for alias in [
                name.to_ascii_lowercase(),
                (*name).to_owned(),
                under.to_ascii_lowercase(),
                under,
                dots,
                mixed,
            ] {
                request = request.header(&alias, "spoofed");
            }
        }
        request
    }

    #[tokio::test]
    async fn r01_r02_no_copy_and_no_alias_of_an_identity_header_passes_on_any_route() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let token = issuer.token_with(json!({ "sub": "ada" }));
        for (request, user) in [
            (Request::get("/open/a"), None),
            (Request::get("/dressed/a"), None),
            (Request::get("/open/a").bearer(&token), None),
            (Request::get("/hybrid/a"), None),
            (Request::get("/tokens/a").bearer(&token), Some("ada")),
            (Request::get("/hybrid/a").bearer(&token), Some("ada")),
            (
                Request::get("/hybrid/a").header("X-API-Key", "hok_good"),
                Some("svc_ci"),
            ),
        ] {
            println!("{request:?}");
            served(&gateway.send(&spoofed(request)).await);
            let got = echo.last();
            assert!(!got.has("spoofed"), "{}", got.head.escape_ascii());
            assert_eq!(got.header("X-User-ID").as_deref(), user);
            assert!(got.header("X-Request-ID").is_some());
        }
        refused(
            &gateway.send(&spoofed(Request::get("/tokens/a"))).await,
            401,
            "unauthorized",
        );
        assert_eq!(echo.count(), 7);
    }

    #[tokio::test]
    async fn a_proven_identity_is_told_and_what_it_lacks_is_absent() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let full = json!({ "sub": 7, "tenant_id": "acme", "roles": ["admin", "user"], "scope": "a b", "scp": ["b", "c"],
                           "client_id": "app", "email": "ada@example.com" });
        served(
            &gateway
                .send(&Request::get("/tokens/a").bearer(&issuer.token_with(full)))
                .await,
        );
        let got = echo.last();
        let told = IDENTITY.map(|name| got.header(name).unwrap_or_default());
        assert_eq!(
            told,
            ["7", "acme", "admin,user", "a b c", "jwt", "app", "ada@example.com"]
        );

        served(&gateway.send(&Request::get("/tokens/a").bearer(&issuer.token())).await);
        let got = echo.last();
        let told = IDENTITY.map(|name| got.header(name).unwrap_or_default());
        assert_eq!(told, ["ada", "", "", "", "jwt", "", ""]);

        served(&gateway.send(&Request::get("/hybrid/a")).await);
        let got = echo.last();
        let told = IDENTITY.map(|name| got.header(name).unwrap_or_default());
        assert!(told == ["", "", "", "", "none", "", ""] || told == [""; 7], "{told:?}");
    }

    #[tokio::test]
    async fn a_header_that_is_switched_off_is_neither_written_nor_guarded() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let setup = Gateway::with(OPEN).and("[identity]\ntenant_header = \"\"\nuser_header = \"X-Caller\"");
        let gateway = setup.upstream("echo", &echo).issuer("main", &issuer).start().await;
        let request = Request::get("/")
            .header("X-Tenant-ID", "mine")
            .header("x_caller", "root")
            .header("X-User-ID", "9");
        served(&gateway.send(&request).await);
        let got = echo.last();
        assert_eq!(
            (got.header("X-Tenant-ID").as_deref(), got.header("X-User-ID").as_deref()),
            (Some("mine"), Some("9"))
        );
        assert!(got.lacks("x_caller"));
    }

    #[tokio::test]
    async fn r03_configured_names_are_case_insensitive() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let text = r#"
[identity]
user_header = "x-USER-id"
[internal]
header = "x-INTERNAL-auth"
keys = ["a-long-secret"]
[api_keys]
sources = ["header:x-api-KEY"]
[[routes]]
name = "all"
paths = ["/*"]
upstream = "echo"
auth = ["jwt", "internal", "api_key"]
set_headers = { x-TIER = "gold" }
remove_headers = ["X-uNWANTED"]
"#;
        let gateway = Gateway::with(text)
            .upstream("echo", &echo)
            .issuer("main", &issuer)
            .start()
            .await;
        let request = Request::get("/")
            .header("authorization", &format!("bEARER {}", issuer.token()))
            .header("X-User-Id", "root")
            .header("X-Tier", "lead")
            .header("x-unwanted", "x");
        served(&gateway.send(&request).await);
        let got = echo.last();
        assert_eq!(
            (got.header("X-User-ID").as_deref(), got.header("X-Tier").as_deref()),
            (Some("ada"), Some("gold"))
        );
        assert!(got.lacks("x-unwanted"));
        refused(
            &gateway.send(&Request::get("/").header("X-Api-Key", "no")).await,
            401,
            "invalid_api_key",
        );
        served(
            &gateway
                .send(&Request::get("/").header("X-Internal-Auth", "a-long-secret"))
                .await,
        );
        let twice = Request::get("/")
            .header("X-Internal-Auth", "a")
            .header("x-internal-auth", "a");
        refused(&gateway.send(&twice).await, 400, "malformed_request");
    }

    #[tokio::test]
    async fn an_internal_callers_own_identity_headers_are_kept_but_no_alias_of_them() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let inside = || {
            Request::get("/hybrid/a")
                .header("X-Internal-Auth", "a-long-secret")
                .header("X-Forwarded-For", "198.51.100.1")
        };
        served(&gateway.send(&inside()).await);
        assert_eq!(echo.last().header("X-User-ID").as_deref(), Some("system"));
        let acting = inside()
            .header("X-User-ID", "ada")
            .header("X-Tenant-ID", "acme")
            .header("X_User_ID", "root");
        served(&gateway.send(&acting).await);
        let got = echo.last();
        assert_eq!(
            (got.header("X-User-ID").as_deref(), got.header("X-Tenant-ID").as_deref()),
            (Some("ada"), Some("acme"))
        );
        assert!(got.lacks("X_User_ID"));
        assert_eq!(got.header("X-Internal-Auth").as_deref(), Some("a-long-secret"));
    }

    #[tokio::test]
    async fn r42_the_internal_secret_from_elsewhere_is_removed_on_every_route() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let token = issuer.token();
        for from in ["203.0.113.1", "10.1.2.3", ""] {
            for request in [
                Request::get("/open/a"),
                Request::get("/dressed/a"),
                Request::get("/tokens/a").bearer(&token),
                Request::get("/hybrid/a").bearer(&token),
                Request::get("/hybrid/a").header("X-API-Key", "hok_good"),
            ] {
                let request = request
                    .header("X-Internal-Auth", "a-long-secret")
                    .header("x_internal_auth", "a-long-secret");
                served(&gateway.send(&request.header("X-Forwarded-For", from)).await);
                assert!(!echo.last().has("a-long-secret"));
            }
            let request = Request::get("/hybrid/a").header("X-Internal-Auth", "a-long-secret");
            let response = gateway.send(&request.header("X-Forwarded-For", from)).await;
            refused(&response, 401, "invalid_internal_auth");
        }
        let inside = Request::get("/open/a")
            .header("X-Internal-Auth", "anything")
            .header("X-Forwarded-For", "198.51.100.9");
        served(&gateway.send(&inside).await);
        assert_eq!(echo.last().header("X-Internal-Auth").as_deref(), Some("anything"));
    }

    #[tokio::test]
    async fn an_alias_of_a_credential_header_is_no_credential_and_is_removed() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let request = Request::get("/hybrid/a")
            .header("X_Api_Key", "hok_good")
            .header("x.api-key", "hok_good")
            .header("x_internal_auth", "a-long-secret")
            .header("X-Forwarded-For", "198.51.100.1");
        served(&gateway.send(&request).await);
        let got = echo.last();
        assert!(got.lacks("X-User-ID") && !got.has("hok_good") && !got.has("a-long-secret"));
    }

    /// A server may merge trailers into the headers (RFC 9110 §6.5.1): ours must not come that way either.
    #[tokio::test]
    async fn r01_no_identity_header_passes_as_a_trailer() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let raw = Upstream::conversing(|mut conversation| async move {
            // Read raw, for what follows the last chunk would be skipped otherwise.
            if conversation.head().await.is_some() {
                let mut bytes = Vec::new();
                while !bytes.ends_with(b"\r\n\r\n") {
                    bytes.extend_from_slice(&conversation.connection.exactly(1).await.unwrap_or_default());
                }
                let body = bytes.escape_ascii().to_string();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
                conversation.send(format!("{head}{body}")).await;
            }
        })
        .await;
        let gateway = house(&raw, &issuer).start().await;
        drop(echo);
        let request = "POST /open/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\
                       Trailer: X-Checksum, X-User-ID, x_tenant_id, X-Forwarded-For, X-Internal-Auth\r\n\r\n1\r\na\r\n0\r\n\
                       X-Checksum: 1\r\nX-User-ID: root\r\nx_tenant_id: all\r\nX-Forwarded-For: 127.0.0.1\r\n\
                       X-Internal-Auth: a-long-secret\r\n\r\n";
        let response = gateway.raw(request).await;
        served(&response);
        let body = String::from_utf8(response.body).unwrap().to_ascii_lowercase();
        assert!(body.contains("x-checksum: 1"), "a declared trailer passes: {body}");
        for spoofed in ["root", "all", "127.0.0.1", "a-long-secret"] {
            assert!(!body.contains(spoofed), "{body}");
        }
    }
}

mod forwarding {
    use super::*;

    const FORWARDING: [&str; 6] = [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Prefix",
        "X-Real-IP",
    ];

    fn told(received: &Received) -> [String; 6] {
        FORWARDING.map(|name| received.header(name).unwrap_or_default())
    }

    fn claims() -> Request {
        FORWARDING.iter().fold(Request::get("/open/a"), |request, name| {
            let value = match *name {
                "Forwarded" => "for=192.0.2.7;host=forged",
                "X-Forwarded-For" | "X-Real-IP" => "192.0.2.7",
                _ => "forged",
            };
            request.header(name, value)
        })
    }

    fn trusting(header: &str) -> Setup {
        let text = format!(
            "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]\n\
             client_address_from = \"{header}\"\n{OPEN}"
        );
        Gateway::with(&text)
    }

    #[tokio::test]
    async fn from_a_peer_that_nobody_trusts_nothing_of_it_is_believed_or_passed() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        let request = claims()
            .header("x_forwarded_for", "192.0.2.7")
            .header("X-Forwarded-Server", "forged");
        let response = gateway.send(&request).await;
        served(&response);
        let got = echo.last();
        let host = gateway.address.to_string();
        assert_eq!(told(&got), ["", "127.0.0.1", "http", &host, "", ""].map(str::to_owned));
        assert!(
            !got.has("forged") && !got.has("192.0.2.7"),
            "{}",
            got.head.escape_ascii()
        );
        assert_eq!(gateway.access_line_of(&response).await["client_ip"], "127.0.0.1");
        gateway
            .metric_becomes("gateway_untrusted_forwarding_total{listener=\"public\"}", 1.0)
            .await;
    }

    #[tokio::test]
    async fn r43_from_a_trusted_proxy_one_form_is_believed_and_the_others_removed() {
        for (believed, kept) in [
            (
                "x-forwarded-for",
                ["", "192.0.2.7, 127.0.0.1", "forged", "forged", "forged", ""],
            ),
            (
                "forwarded",
                [
                    "for=192.0.2.7;host=forged",
                    "192.0.2.7, 127.0.0.1",
                    "http",
                    "HOST",
                    "",
                    "",
                ],
            ),
            (
                "x-real-ip",
                ["", "192.0.2.7, 127.0.0.1", "http", "HOST", "", "192.0.2.7"],
            ),
        ] {
            println!("{believed}");
            let echo = Upstream::echo().await;
            let gateway = trusting(believed).upstream("echo", &echo).start().await;
            let response = gateway.send(&claims()).await;
            served(&response);
            let host = gateway.address.to_string();
            assert_eq!(told(&echo.last()), kept.map(|value| value.replace("HOST", &host)));
            assert_eq!(gateway.access_line_of(&response).await["client_ip"], "192.0.2.7");
        }
    }

    #[tokio::test]
    async fn the_client_is_the_right_most_address_that_is_no_trusted_proxy() {
        let echo = Upstream::echo().await;
        let gateway = trusting("x-forwarded-for").upstream("echo", &echo).start().await;
        for (values, client) in [
            (&["192.0.2.1"][..], "192.0.2.1"),
            (&["127.0.0.1, 192.0.2.1, 10.1.1.1"], "192.0.2.1"),
            (&["192.0.2.1", "192.0.2.2, 10.0.0.1"], "192.0.2.2"),
            (&["192.0.2.1,unknown"], "127.0.0.1"),
            (&["192.0.2.1, unknown, 10.0.0.1"], "10.0.0.1"),
            (&[""], "127.0.0.1"),
            (&["10.0.0.9, 10.0.0.1"], "10.0.0.9"),
            (&["2001:db8::1"], "2001:db8::1"),
            (&["[2001:db8::1]:443"], "2001:db8::1"),
            (&["192.0.2.1:1234"], "192.0.2.1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1\u{e9}"], "127.0.0.1"),
            (&["192.0.2.01"], "127.0.0.1"),
        ] {
            println!("{values:?}");
            let request = values.iter().fold(Request::get("/open/a"), |request, value| {
                request.header("X-Forwarded-For", value)
            });
            let response = gateway.send(&request).await;
            served(&response);
            assert_eq!(gateway.access_line_of(&response).await["client_ip"], client);
            let chain = echo.last().header("X-Forwarded-For").expect("one value");
            assert!(chain.ends_with("127.0.0.1"), "{chain}");
        }
    }

    #[tokio::test]
    async fn forwarded_elements_are_read_as_rfc_7239_has_them() {
        let echo = Upstream::echo().await;
        let gateway = trusting("forwarded").upstream("echo", &echo).start().await;
        for (value, client) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("For=\"[2001:db8::1]:47\";proto=https", "2001:db8::1"),
            ("for=192.0.2.1, for=10.0.0.1", "192.0.2.1"),
            (
                "for=192.0.2.1;by=\"a,b\", for=10.0.0.1;host=\"x, for=192.0.2.9\"",
                "192.0.2.1",
            ),
            ("for=_hidden", "127.0.0.1"),
            ("for=unknown", "127.0.0.1"),
            ("for=192.0.2.1;for=192.0.2.2", "127.0.0.1"),
            ("192.0.2.1", "127.0.0.1"),
        ] {
            println!("{value}");
            let response = gateway.send(&Request::get("/open/a").header("Forwarded", value)).await;
            served(&response);
            assert_eq!(gateway.access_line_of(&response).await["client_ip"], client);
        }
    }

    #[tokio::test]
    async fn r09_only_the_request_line_routes_and_authenticates() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        for name in [
            "X-Forwarded-Uri",
            "X-Forwarded-Path",
            "X-Original-URL",
            "X-Rewrite-URL",
            "X-Forwarded-Prefix",
            "X-Original-URI",
            "X-HTTP-Method-Override",
            "X-Forwarded-Method",
            "X-Auth-Request-Redirect",
        ] {
            let request = Request::get("/tokens/a")
                .header(name, "/open/a")
                .header("X-Forwarded-Host", "open");
            refused(&gateway.send(&request).await, 401, "unauthorized");
        }
        let by_proxy = Request::get("/tokens/a")
            .header("X-Forwarded-For", "198.51.100.1")
            .header("X-Forwarded-User", "root");
        refused(&gateway.send(&by_proxy).await, 401, "unauthorized");
        assert_eq!(echo.count(), 0);
    }
}

mod host_and_id {
    use super::*;

    #[tokio::test]
    async fn host_becomes_the_upstreams_and_the_clients_is_told_beside_it() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        served(
            &gateway
                .raw("GET / HTTP/1.1\r\nhOST: Api.Example.com:8080\r\n\r\n")
                .await,
        );
        let got = echo.last();
        assert_eq!(got.header("host").unwrap(), echo.address.to_string());
        assert_eq!(got.header("x-forwarded-host").unwrap(), "Api.Example.com:8080");
    }

    #[tokio::test]
    async fn a_route_may_keep_the_clients_host() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        served(
            &gateway
                .raw("GET /dressed/a HTTP/1.1\r\nHost: Api.Example.com\r\n\r\n")
                .await,
        );
        assert_eq!(echo.last().header("host").unwrap(), "Api.Example.com");
        served(
            &gateway
                .raw("GET http://Api.Example.com:81/dressed/a HTTP/1.1\r\nHost: Api.Example.com:81\r\n\r\n")
                .await,
        );
        assert_eq!(echo.last().header("host").unwrap(), "Api.Example.com:81");
        assert_eq!(echo.last().line, "GET /dressed/a HTTP/1.1");
        // HTTP/1.0 may leave it out.
        served(&gateway.raw("GET /dressed/a HTTP/1.0\r\n\r\n").await);
        assert_eq!(echo.last().header("host").unwrap(), echo.address.to_string());
    }

    #[tokio::test]
    async fn r08_what_is_built_from_a_request_has_no_seams() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        for host in ["a,b", "a;b", "a\"b", "a b", "a\tb", "a=b"] {
            let head = format!("GET /open/a HTTP/1.1\r\nHost: {host}\r\n\r\n");
            refused(&gateway.raw(head).await, 400, "malformed_request");
        }
        for value in [
            "a\r\nX-Evil: 1",
            "a\nX-Evil: 1",
            "a\u{0}b",
            "a\tb",
            "a\u{7f}",
            "caf\u{e9}",
            "",
            &"a".repeat(257),
        ] {
            for claim in ["sub", "tenant_id", "email", "client_id"] {
                println!("{claim} {value:?}");
                let request = Request::get("/tokens/a").bearer(&issuer.token_with(json!({ claim: value })));
                refused(&gateway.send(&request).await, 401, "invalid_token");
            }
        }
        for roles in [
            json!(["a,b"]),
            json!(["a\r\nb"]),
            json!([""]),
            json!("a,b"),
            json!([1]),
            json!({ "a": "b" }),
        ] {
            println!("{roles}");
            let request = Request::get("/tokens/a").bearer(&issuer.token_with(json!({ "roles": roles })));
            refused(&gateway.send(&request).await, 401, "invalid_token");
        }
        assert_eq!(echo.count(), 0);
        let most = "a ;\"~".repeat(51);
        served(
            &gateway
                .send(&Request::get("/tokens/a").bearer(&issuer.token_with(json!({ "sub": most }))))
                .await,
        );
        assert_eq!(echo.last().header("x-user-id").unwrap(), most);
    }

    #[tokio::test]
    async fn a_single_sound_request_id_is_kept_and_any_other_replaced() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        let longest = "a".repeat(128);
        for sound in ["a", "0A._:-z", &longest] {
            let response = gateway.send(&Request::get("/").header("x-request-id", sound)).await;
            assert_eq!(response.head.all("x-request-id").collect::<Vec<_>>(), [sound]);
            assert_eq!(echo.last().header("x-request-id").as_deref(), Some(sound));
        }
        let longer = "a".repeat(129);
        for unsound in ["", "a b", "a/b", "a\"b", "\u{e9}", "a,b", &longer] {
            let response = gateway.send(&Request::get("/").header("X-Request-ID", unsound)).await;
            let id = response.head.first("x-request-id").unwrap();
            let id: uuid::Uuid = id.parse().unwrap_or_else(|_| panic!("{unsound:?} became {id:?}"));
            assert_eq!(id.get_version_num(), 7);
            assert_eq!(echo.last().header("x-request-id"), Some(id.to_string()));
        }
        let two = Request::get("/")
            .header("X-Request-ID", "one")
            .header("x-request-id", "two");
        let response = gateway.send(&two).await;
        let id = response.head.first("x-request-id").unwrap();
        assert_eq!(id.len(), 36, "two are none: {id}");
        assert_eq!(echo.last().header("x-request-id").as_deref(), Some(id));
        let (a, b) = (gateway.get("/").await, gateway.get("/").await);
        assert_ne!(a.head.first("x-request-id"), b.head.first("x-request-id"));
    }
}

mod route {
    use super::*;

    #[tokio::test]
    async fn what_a_route_sets_replaces_every_copy_and_what_it_removes_is_gone() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let request = Request::get("/dressed/a")
            .bearer("mine")
            .header("X-API-Key", "mine")
            .header("x_api_key", "mine")
            .header("X-Tier", "mine")
            .header("x-tier", "mine")
            .header("x.tier", "mine")
            .header("X-Unwanted", "mine")
            .header("X-Wanted", "yours");
        served(&gateway.send(&request).await);
        let got = echo.last();
        assert!(!got.has("mine"), "{}", got.head.escape_ascii());
        assert_eq!(got.header("X-API-Key").as_deref(), Some("the-upstreams-own"));
        assert_eq!(got.header("X-Tier").as_deref(), Some("gold"));
        assert_eq!(got.header("X-Wanted").as_deref(), Some("yours"));
        // On another route the credential is the client's own, and what only that route sets is nobody's to say.
        let request = Request::get("/open/a")
            .bearer("mine")
            .header("X-API-Key", "mine")
            .header("X-Tier", "mine");
        served(&gateway.send(&request).await);
        let got = echo.last();
        assert_eq!(got.header("X-API-Key").as_deref(), Some("mine"));
        assert_eq!(got.header("Authorization").as_deref(), Some("Bearer mine"));
        assert!(got.lacks("X-Tier"));
    }
}

mod hop_by_hop {
    use super::*;

    #[tokio::test]
    async fn hop_by_hop_headers_end_here() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        let request = Request::get("/")
            .header("Connection", "keep-alive, X-Mine ,x-other")
            .header("Connection", "x-third")
            .header("Keep-Alive", "timeout=5")
            .header("Proxy-Connection", "keep-alive")
            .header("Upgrade", "h2c")
            .header("HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA")
            .header("TE", "gzip")
            .header("X-Mine", "1")
            .header("X-Other", "2")
            .header("X-THIRD", "3")
            .header("X-Kept", "4");
        served(&gateway.send(&request).await);
        assert_eq!(end_to_end(&echo.last()), [("X-Kept".to_owned(), b"4".to_vec())]);
    }

    #[tokio::test]
    async fn r30_an_upgrade_that_is_no_sound_websocket_is_a_plain_request() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        for head in [
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: telnet\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
        ] {
            println!("{head}");
            served(&gateway.raw(head).await);
            let got = echo.last();
            for name in ["Upgrade", "Connection", "HTTP2-Settings"] {
                assert!(got.lacks(name), "{name}: {}", got.head.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn te_trailers_is_issued_again_and_no_other_coding_is_asked_for() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        served(
            &gateway
                .send(
                    &Request::get("/")
                        .header("TE", "trailers, deflate;q=0.5")
                        .header("Connection", "TE"),
                )
                .await,
        );
        assert_eq!(echo.last().header("TE").as_deref(), Some("trailers"));
        served(&gateway.get("/").await);
        assert!(echo.last().lacks("TE"));
    }

    #[tokio::test]
    async fn r04_connection_takes_off_nothing_that_is_ours() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).start().await;
        let request = Request::get("/tokens/a").bearer(&issuer.token()).header(
            "Connection",
            "X-User-ID, Authorization, X-Forwarded-For, X-Request-ID, Host, Content-Length, close",
        );
        served(&gateway.send(&request).await);
        let got = echo.last();
        assert_eq!(got.header("X-User-ID").as_deref(), Some("ada"));
        assert_eq!(got.header("Host").unwrap(), echo.address.to_string());
        assert_eq!(got.header("X-Forwarded-For").as_deref(), Some("127.0.0.1"));
        assert_eq!(got.header("X-Forwarded-Host").unwrap(), gateway.address.to_string());
        assert!(got.header("X-Request-ID").is_some());
        let dressed = Request::get("/dressed/a").header("Connection", "X-Api-Key, X-Tier, Host");
        served(&gateway.send(&dressed).await);
        assert_eq!(echo.last().header("X-API-Key").as_deref(), Some("the-upstreams-own"));
        // A credential that the client nominates is still judged, and a limit on who may say it still holds.
        let bad = Request::get("/hybrid/a")
            .bearer("bad")
            .header("Connection", "Authorization");
        refused(&gateway.send(&bad).await, 401, "invalid_token");
    }

    /// A body whose length the client nominates away would be read as the next request.
    #[tokio::test]
    async fn r04_connection_cannot_unframe_a_body() {
        let echo = Upstream::echo().await;
        let gateway = open(&echo).await;
        let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
        for fields in [
            format!(
                "Connection: Content-Length\r\nContent-Length: {}\r\n\r\n{smuggled}",
                smuggled.len()
            ),
            format!(
                "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n",
                smuggled.len()
            ),
        ] {
            let response = gateway.raw(format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}")).await;
            served(&response);
            assert_eq!(echo.last().body, smuggled.as_bytes());
        }
        served(&gateway.get("/last").await);
        let lines: Vec<_> = echo.requests().into_iter().map(|request| request.line).collect();
        assert_eq!(lines, ["POST /a HTTP/1.1", "POST /a HTTP/1.1", "GET /last HTTP/1.1"]);
    }
}
