//! `gateway explain` and `gateway routes`, as an operator and a script meet them. That explain judges as the gateway does is
//! shown by the corpus.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, Setup, sha256};

const KEY: &str = "hok_live_canary_key";
const SECRET: &str = "canary_internal_secret";

fn setup() -> Setup {
    let hash = sha256(KEY);
    let nowhere: SocketAddr = "192.0.2.1:8001".parse().unwrap();
    Gateway::with(&format!(
        r#"
        [api_keys]
        sources = ["header:X-API-Key", "basic"]
        prefixes = ["hok_"]
        [[api_keys.keys]]
        id = "ci-runner"
        hash = "{hash}"
        user = "svc_ci"
        tier = "free"
        scopes = ["model:read"]
        [internal]
        keys = ["{SECRET}"]
        [limits.per-user]
        rate = "120/min"
        tiers = {{ free = "60/min" }}
        [limits.flood]
        rate = "5/s"
        by = "ip"
        [[routes]]
        name = "chat"
        paths = ["/chat/*"]
        methods = ["GET"]
        upstream = "up"
        auth = ["api_key", "internal"]
        require = {{ scopes_all = ["model:read", "model:write"] }}
        limits = ["per-user", "flood"]
        [[routes]]
        name = "open"
        paths = ["/open/*"]
        upstream = "up"
        auth = "none"
        set_headers = {{ X-Own = "canary_of_the_route" }}
        [[routes]]
        name = "hosted"
        hosts = ["api.example.com", "*.example.org"]
        paths = ["/hosted"]
        methods = ["POST"]
        upstream = "up"
        auth = "none"
        rules = [{{ methods = ["POST"], require = {{}} }}]
        "#
    ))
    .upstream_with("up", nowhere, "")
}

/// Exit code, standard output, standard error.
async fn explained(setup: &Setup, arguments: &[&str]) -> Value {
    let arguments = [&["explain", "--json"], arguments].concat();
    let (_, report, error) = setup.says(&arguments).await;
    serde_json::from_str(&report).unwrap_or_else(|_| panic!("{report}{error}"))
}

#[tokio::test]
async fn the_verdict_stands_first_and_the_exit_code_says_it_too() {
    let setup = setup();
    for (arguments, code, first) in [
        (&["explain", "GET", "/open/x"][..], 0, "ALLOW"),
        (
            &["explain", "GET", "/chat/x"],
            2,
            "DENY 401 unauthorized (no_credential)",
        ),
        (
            &["explain", "GET", "/open//x"],
            2,
            "DENY 400 malformed_request (path_empty_segment)",
        ),
        (
            &["explain", "PUT", "/chat/x"],
            2,
            "DENY 405 method_not_allowed (method_not_allowed)",
        ),
    ] {
        let (exit, text, _) = setup.says(arguments).await;
        assert_eq!((exit, text.lines().next()), (code, Some(first)), "{text}");
        assert!(!text.contains('\x1b'), "colours are for terminals: {text}");
    }
}

#[tokio::test]
async fn what_cannot_even_be_tried_is_no_refusal() {
    let setup = setup();
    for arguments in [
        &["explain", "GET"][..],
        &["explain", "GET", "ftp://a/x"],
        &["explain", "GET", "/x", "--from", "nowhere"],
        &["explain", "GET", "/x", "--listener", "none"],
        &["explain", "GET", "/x", "-H", "@no-such-file"],
        &["explain", "GET", "/x", "--jwks", "no-such-file"],
    ] {
        let (exit, out, error) = setup.says(arguments).await;
        assert_eq!((exit, out.as_str()), (1, ""), "{arguments:?}");
        assert!(!error.is_empty());
    }
    let broken = Gateway::with("nonsense = 1");
    assert_eq!(broken.says(&["explain", "GET", "/x"]).await.0, 3);
    assert_eq!(broken.says(&["routes"]).await.0, 3);
}

#[tokio::test]
async fn the_text_tells_each_step_and_the_head_that_the_upstream_would_get() {
    let setup = setup().and("[roles]\nwriter = [\"x\"]");
    let header = format!("X-API-Key: {KEY}");
    let (_, text, _) = setup.says(&["explain", "GET", "http://h/chat/x", "-H", &header]).await;
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for line in [
        "DENY 403 insufficient_scope (scope_missing)",
        "route chat by /chat/*, auth api_key,internal",
        "client 127.0.0.1 at listener public",
        "chain api_key: accepted as svc_ci (key ci-runner)",
        "internal: not reached",
        "requires scopes_all model:read: met",
        "scopes_all model:write: unmet",
        "limits flood: 5/s by ip, burst 5",
        "per-user: 60/min by user, burst 60, tier free",
    ] {
        assert!(lines.iter().any(|own| own == line), "{line}\nis not in\n{text}");
    }
    let (_, text, _) = setup
        .says(&["explain", "GET", "http://h/open/x?q=1", "-H", "X-Kept: 1"])
        .await;
    for line in [
        "up at http://192.0.2.1:8001",
        "GET /open/x?q=1 HTTP/1.1",
        "X-Kept: 1",
        "Host: 192.0.2.1:8001",
        "x-forwarded-host: h",
        "x-own: (set by the route)",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
}

#[tokio::test]
async fn r12_no_credential_is_echoed_not_even_in_an_error() {
    let setup = setup().file(
        "headers",
        format!("X-API-Key: {KEY}\nCookie: session=canary_cookie\r\n\nX-Copy: {KEY}\n"),
    );
    let secret = format!("X-Internal-Auth: {SECRET}");
    let bearer = "Authorization: Bearer canary.bearer.token";
    for arguments in [
        &[
            "GET",
            "/open/x?token=canary_query&k=1",
            "-H",
            "@headers",
            "-H",
            &secret,
            "-H",
            bearer,
        ][..],
        &["GET", "/chat/x", "-H", "@headers"],
        &["GET", "/chat/x", "-H", &secret, "-H", "X-User-ID: ada"],
        &["GET", "/chat/x", "-H", "X-API-Key canary_without_colon"],
        &["GET", "/open/../canary_path", "-H", bearer, "-H", bearer],
    ] {
        for form in [&["explain"][..], &["explain", "--json"]] {
            let (_, out, error) = setup.says(&[form, arguments].concat()).await;
            // The report has a field of that name too.
            let told = format!("{out}{error}").replace("\"canary\":", "");
            assert!(!out.is_empty() && !told.contains("canary"), "{out}{error}");
        }
    }
}

#[tokio::test]
async fn signing_keys_come_from_a_file_or_the_network_or_are_said_to_be_missing() {
    let issuer = Issuer::start().await;
    let jwks = json!({ "keys": [issuer.key.jwk()] }).to_string();
    let route = "[[routes]]\nname = \"jwt\"\npaths = [\"/jwt\"]\nupstream = \"up\"\nauth = \"jwt\"";
    let setup = setup().issuer("lab", &issuer).and(route).file("given.json", jwks);
    let bearer = format!("Authorization: Bearer {}", issuer.token());
    let ask = async |more: &[&str]| {
        let arguments = [&["explain", "--json", "GET", "/jwt", "-H", &bearer], more].concat();
        let (exit, out, _) = setup.says(&arguments).await;
        let report: Value = serde_json::from_str(&out).unwrap();
        (exit, report)
    };
    let (exit, report) = ask(&[]).await;
    assert_eq!((exit, &report["decision"]), (4, &json!("unknown")));
    assert!(
        report["missing"]
            .as_str()
            .unwrap()
            .contains("issuer \"lab\": give --jwks FILE"),
        "{report}"
    );
    assert_eq!(report["chain"][0], json!({ "method": "jwt", "outcome": "unknown" }));
    assert_eq!(issuer.fetches(), 0, "nobody is asked unasked");

    assert_eq!(ask(&["--jwks", "given.json"]).await.0, 0);
    assert_eq!(issuer.fetches(), 0);

    let (exit, report) = ask(&["--online"]).await;
    assert_eq!((exit, &report["identity"]["user"]), (0, &json!("ada")));
    assert_eq!(issuer.fetches(), 1);

    issuer.go_down();
    let (exit, report) = ask(&["--online"]).await;
    assert_eq!(exit, 4, "{report}");
    assert!(
        report["missing"]
            .as_str()
            .unwrap()
            .contains("the signing keys of issuer \"lab\""),
        "{report}"
    );
}

#[tokio::test]
async fn a_bare_path_fits_any_host() {
    let setup = setup();
    let report = explained(&setup, &["POST", "/hosted"]).await;
    assert_eq!(
        (&report["decision"], &report["route"]),
        (&json!("allow"), &json!("hosted"))
    );
    assert_eq!(report["assumed_host"], "api.example.com");
    let report = explained(&setup, &["POST", "/open/x"]).await;
    assert_eq!(
        (&report["route"], &report["assumed_host"]),
        (&json!("open"), &Value::Null)
    );
    for arguments in [&["POST", "http://h/hosted"][..], &["POST", "/hosted", "-H", "Host: h"]] {
        let report = explained(&setup, arguments).await;
        assert_eq!(
            (&report["status"], &report["assumed_host"]),
            (&json!(404), &Value::Null)
        );
        assert_eq!(report["near_misses"][0]["route"], "hosted");
        assert_eq!(report["near_misses"][0]["reason"], "host");
    }
}

#[tokio::test]
async fn the_peer_and_the_listener_can_be_chosen() {
    let setup = setup().and(
        r#"
        [[listeners]]
        name = "public"
        address = "127.0.0.1:0"
        [[listeners]]
        name = "behind"
        address = "127.0.0.1:0"
        trusted_proxies = ["10.0.0.0/8"]
        [[routes]]
        name = "behind-only"
        listeners = ["behind"]
        paths = ["/behind"]
        upstream = "up"
        auth = "none"
        "#,
    );
    let report = explained(&setup, &["GET", "/behind", "--from", "203.0.113.9"]).await;
    assert_eq!(
        (&report["status"], &report["client"]),
        (&json!(404), &json!("203.0.113.9"))
    );
    assert_eq!(report["near_misses"][0]["reason"], "listener");
    let forwarded = [
        "GET",
        "/behind",
        "--listener",
        "behind",
        "--from",
        "10.0.0.1",
        "-H",
        "X-Forwarded-For: 192.0.2.7",
    ];
    let report = explained(&setup, &forwarded).await;
    assert_eq!(
        (&report["decision"], &report["client"]),
        (&json!("allow"), &json!("192.0.2.7"))
    );
}

#[tokio::test]
async fn the_json_keeps_its_fields_whatever_the_verdict() {
    let setup = setup();
    let fields = [
        "decision",
        "status",
        "error",
        "detail",
        "limit",
        "retry_after",
        "revocation",
        "missing",
        "listener",
        "client",
        "assumed_host",
        "route",
        "path",
        "mode",
        "canary",
        "near_misses",
        "chain",
        "shadow",
        "identity",
        "requirements",
        "limits",
        "logged",
        "upstream",
        "answer",
    ];
    let key = format!("X-API-Key: {KEY}");
    for arguments in [
        &["GET", "/open/x"][..],
        &["GET", "/nowhere"],
        &["GET", "/a//b"],
        &["GET", "/chat/x", "-H", &key],
    ] {
        let report = explained(&setup, arguments).await;
        let own: Vec<&String> = report.as_object().unwrap().keys().collect();
        let mut wanted = fields.to_vec();
        wanted.sort_unstable();
        assert_eq!(own, wanted, "{arguments:?}");
    }
    let report = explained(&setup, &["GET", "/open/x"]).await;
    for field in [
        "name", "url", "full_url", "method", "target", "headers", "added", "removed",
    ] {
        assert!(!report["upstream"][field].is_null(), "{report}");
    }
}

#[tokio::test]
async fn what_is_added_to_a_request_and_taken_off_it_is_told() {
    let setup = setup().and(
        r#"
        [upstreams.local]
        urls = ["unix:/run/app.sock"]
        [[routes]]
        name = "renamed"
        paths = ["/api/*"]
        upstream = "local"
        auth = "none"
        strip_prefix = "/api"
        "#,
    );
    let arguments = [
        "GET",
        "http://h/open/x?q=1",
        "-H",
        "X-Kept: 1",
        "-H",
        "X_User_ID: root",
        "-H",
        "Connection: X-Nominated, close",
        "-H",
        "X-Nominated: 1",
        "-H",
        "X-Request-ID: r-1",
    ];
    let report = explained(&setup, &arguments).await;
    let upstream = &report["upstream"];
    assert_eq!(upstream["full_url"], "http://192.0.2.1:8001/open/x?q=1");
    let mut removed: Vec<&str> = upstream["removed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    removed.sort_unstable();
    assert_eq!(removed, ["Connection", "Host", "X-Nominated", "X_User_ID"]);
    let added = upstream["added"].as_array().unwrap();
    for line in [
        json!(["Host", "192.0.2.1:8001"]),
        json!(["x-forwarded-for", "127.0.0.1"]),
        json!(["x-forwarded-proto", "http"]),
        json!(["x-forwarded-host", "h"]),
        json!(["x-own", "(set by the route)"]),
    ] {
        assert!(added.contains(&line), "{line} is not in {added:?}");
    }
    assert_eq!(added.len(), 5, "{added:?}");
    let (_, text, _) = setup.says(&[&["explain"], &arguments[..]].concat()).await;
    for line in [
        "as http://192.0.2.1:8001/open/x?q=1",
        "+ x-own:",
        "  X-Kept: 1",
        "- X_User_ID",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    let report = explained(&setup, &["GET", "http://h/api/v1?q"]).await;
    assert_eq!(report["upstream"]["full_url"], "unix:/run/app.sock:/v1?q");
}

#[tokio::test]
async fn routes_are_shown_as_a_table_and_as_json() {
    let (exit, text, _) = setup().says(&["routes"]).await;
    assert_eq!(exit, 0);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).collect())
        .collect();
    let cells = |line: &[&str]| line.iter().map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    assert_eq!(
        cells(&lines[0]),
        [
            "ROUTE", "HOST", "PATH", "METHODS", "UPSTREAM", "AUTH", "REQUIRE", "LIMITS", "FROM"
        ]
    );
    assert_eq!(
        cells(&lines[1])[..8],
        [
            "chat",
            "*",
            "/chat/*",
            "GET",
            "up",
            "api_key,internal",
            "scopes_all model:read, scopes_all model:write",
            "flood 5/s by ip, per-user 120/min by user"
        ]
    );
    assert_eq!(
        cells(&lines[3])[..8],
        [
            "hosted",
            "api.example.com *.example.org",
            "/hosted",
            "POST",
            "up",
            "none",
            "-",
            "-"
        ]
    );
    let (_, out, _) = setup().says(&["routes", "--json"]).await;
    let routes: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(routes[2]["hosts"], json!(["api.example.com", "*.example.org"]));
    assert_eq!(
        routes[0]["limits"][0],
        json!({ "name": "flood", "rate": "5/s", "by": "ip" })
    );
}

#[tokio::test]
async fn the_mode_that_is_in_force_stands_beside_the_configured_one() {
    let issuer = Issuer::start().await;
    let route = "[[routes]]\nname = \"jwt\"\npaths = [\"/jwt\"]\nupstream = \"up\"\nauth = \"hybrid\"";
    let setup = setup()
        .issuer("lab", &issuer)
        .and(route)
        .env("GATEWAY__USE_JWT_AUTH", "false");
    let (_, out, error) = setup.says(&["routes", "--json"]).await;
    let routes: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{error}"));
    assert_eq!(routes[3]["auth"]["configured"], "hybrid");
    assert_eq!(routes[3]["auth"]["effective"], "internal,api_key");
}

#[tokio::test]
async fn a_logged_request_is_explained_by_its_id() {
    let gateway = setup().start().await;
    let key = format!("X-API-Key: {KEY}");
    let request = crate::harness::Request::get("/chat/x").header("X-API-Key", KEY);
    let response = gateway.send(&request).await;
    assert_eq!(response.head.status(), 403);
    let line = gateway.access_line_of(&response).await;
    let id = line["request_id"].as_str().unwrap();
    gateway.write(
        "access.log",
        format!(
            "not json\n{{\"message\":\"other\",\"request_id\":\"{id}\"}}\n{}",
            gateway.stdout()
        ),
    );
    let arguments = ["explain", "--request-id", id, "--log", "access.log"];
    let output = gateway.run(&[&arguments[..], &["--json"]].concat()).await;
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (
            &report["decision"],
            &report["error"],
            &report["detail"],
            &report["route"]
        ),
        (
            &json!("deny"),
            &json!("insufficient_scope"),
            &json!("scope_missing"),
            &json!("chat")
        )
    );
    assert_eq!(report["logged"]["request_id"], id);
    let step = &report["chain"][0];
    assert_eq!(
        (&step["method"], &step["outcome"], &step["as"]),
        (&json!("api_key"), &json!("accepted"), &json!("svc_ci"))
    );
    let text = String::from_utf8(gateway.run(&arguments).await.stdout).unwrap();
    assert!(
        text.contains("user_id svc_ci") && text.contains("key_id ci-runner"),
        "{text}"
    );
    for wrong in [
        &["explain", "--request-id", "unknown", "--log", "access.log"][..],
        &["explain", "--request-id", id, "--log", "not-there.log"],
        &["explain", "--request-id", id],
        &["explain", "GET", "/x", "--request-id", id, "--log", "access.log"],
        &["explain", "GET", "/x", "-H", &key, "--log", "access.log"],
    ] {
        assert_eq!(gateway.run(wrong).await.status.code(), Some(1), "{wrong:?}");
    }
}
