//! Every pair of credential and mode, generated: each credential absent, good, bad, or not to be judged at the moment, in every
//! combination, under every chain; against a rule that is written down here in five lines. API keys are judged by an auth service.

use serde_json::{Value, json};

use crate::harness::{AuthService, Gateway, Issuer, Request, Upstream};

/// How a credential stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Absent,
    Good,
    Bad,
    /// Nobody can say just now.
    Unknown,
}

use State::{Absent, Bad, Good, Unknown};

const MODES: [(&str, &[&str]); 14] = [
    ("\"none\"", &["none"]),
    ("\"jwt\"", &["jwt"]),
    ("\"api_key\"", &["api_key"]),
    ("\"internal\"", &["internal"]),
    ("\"hybrid\"", &["jwt", "api_key", "internal"]),
    ("[\"api_key\", \"jwt\"]", &["api_key", "jwt"]),
    ("[\"internal\", \"jwt\"]", &["internal", "jwt"]),
    ("[\"internal\", \"api_key\"]", &["internal", "api_key"]),
    ("[\"api_key\", \"internal\", \"jwt\"]", &["api_key", "internal", "jwt"]),
    ("[\"jwt\", \"none\"]", &["jwt", "none"]),
    ("[\"api_key\", \"none\"]", &["api_key", "none"]),
    ("[\"internal\", \"none\"]", &["internal", "none"]),
    ("[\"jwt\", \"api_key\", \"none\"]", &["jwt", "api_key", "none"]),
    (
        "[\"jwt\", \"api_key\", \"internal\", \"none\"]",
        &["jwt", "api_key", "internal", "none"],
    ),
];

/// The rule: the first method whose credential is there decides, for good or ill; `none` lets in whoever presents nothing before.
fn expected(chain: &[&str], state: impl Fn(&str) -> State) -> String {
    for method in chain {
        match (*method, state(method)) {
            ("none", _) => return "200 -".to_owned(),
            (_, Absent) => {}
            (method, Good) => return format!("200 {method}"),
            ("jwt", Bad) => return "401 invalid_token".to_owned(),
            ("api_key", Bad) => return "401 invalid_api_key".to_owned(),
            (_, Bad) => return "401 invalid_internal_auth".to_owned(),
            (_, Unknown) => return "503 auth_unavailable".to_owned(),
        }
    }
    "401 unauthorized".to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r25_every_pair_of_credential_and_mode_comes_out_by_one_rule() {
    let (service, echo, issuer, lost) = (
        AuthService::start().await,
        Upstream::echo().await,
        Issuer::start().await,
        Issuer::start().await,
    );
    service.knows_user("good-key", "key-owner");
    // It is known there, and its owner is not: no answer.
    service.knows("unknown-key", json!({ "valid": true }));
    lost.go_down();
    let routes = MODES.iter().enumerate().map(|(place, (mode, _))| {
        format!("[[routes]]\nname = \"r{place}\"\npaths = [\"/r{place}\"]\nupstream = \"echo\"\nauth = {mode}\n")
    });
    let gateway = Gateway::with(&routes.collect::<String>())
        .and(&service.api_keys("retries = 0"))
        .and("[internal]\nkeys = [\"good-secret-0123456789\"]\nuser = \"service\"")
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .issuer("lost", &lost)
        .start()
        .await;
    let stranger = crate::harness::Key::ec("key-1");
    let tokens = [
        (Good, issuer.token_with(json!({ "sub": "token-owner" }))),
        (Bad, stranger.sign(&issuer.claims())),
        (Unknown, lost.token()),
    ];
    let mut client = gateway.client().await;
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (place, (mode, chain)) in MODES.iter().enumerate() {
        for jwt in [Absent, Good, Bad, Unknown] {
            for api_key in [Absent, Good, Bad, Unknown] {
                for internal in [Absent, Good, Bad] {
                    let mut request = Request::get(&format!("/r{place}"));
                    if let Some((_, token)) = tokens.iter().find(|(state, _)| *state == jwt) {
                        request = request.bearer(token);
                    }
                    request = match api_key {
                        Absent => request,
                        Good => request.header("X-API-Key", "good-key"),
                        Bad => request.header("X-API-Key", "bad-key"),
                        Unknown => request.header("X-API-Key", "unknown-key"),
                    };
                    request = match internal {
                        Good => request.header("X-Internal-Auth", "good-secret-0123456789"),
                        Bad => request.header("X-Internal-Auth", "bad-secret-0123456789"),
                        Absent | Unknown => request,
                    };
                    let state = |method: &str| match method {
                        "jwt" => jwt,
                        "api_key" => api_key,
                        _ => internal,
                    };
                    let before = echo.count();
                    let response = client.send(&request).await;
                    let came = match response.head.status() {
                        200 => {
                            let user = echo.last().header("X-User-ID");
                            let method = match user.as_deref() {
                                None => "-",
                                Some("token-owner") => "jwt",
                                Some("key-owner") => "api_key",
                                Some("service") => "internal",
                                Some(_) => "?",
                            };
                            format!("200 {method}")
                        }
                        status => {
                            let body: Value = response.json();
                            assert_eq!(echo.count(), before, "a refused request went on");
                            format!("{status} {}", body["error"].as_str().unwrap())
                        }
                    };
                    seen += 1;
                    let should = expected(chain, state);
                    if came != should {
                        wrong.push(format!(
                            "{mode}: jwt {jwt:?}, api_key {api_key:?}, internal {internal:?}: {came}, not {should}"
                        ));
                    }
                }
            }
        }
    }
    assert_eq!(seen, 14 * 48);
    assert!(wrong.is_empty(), "{} of {seen}:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn a_service_that_acts_for_a_user_leaves_an_audit_line() {
    let echo = Upstream::echo().await;
    let text = "[internal]\nkeys = [\"good-secret-0123456789\", \"next-secret-0123456789\"]\nuser = \"service\"\n\
                [[routes]]\nname = \"quiet\"\npaths = [\"/x\"]\nupstream = \"echo\"\nauth = \"internal\"\naccess_log = false\n";
    let gateway = Gateway::with(text).upstream("echo", &echo).start().await;
    let plain = Request::get("/x").header("X-Internal-Auth", "good-secret-0123456789");
    assert_eq!(gateway.send(&plain).await.head.status(), 200);
    let acting = Request::get("/x")
        .header("X-Internal-Auth", "next-secret-0123456789")
        .header("X-User-ID", "ada");
    let response = gateway.send(&acting).await;
    assert_eq!(response.head.status(), 200);
    let line = gateway.event("internal caller acts for a user").await;
    for (field, value) in [
        ("user_id", "service"),
        ("acting_for", "ada"),
        ("client_ip", "127.0.0.1"),
        ("route", "quiet"),
        ("decision", "allow"),
        ("request_id", response.head.first("x-request-id").unwrap()),
    ] {
        assert_eq!(line[field], value, "{line}");
    }
    let lines = gateway.lines();
    let audits = lines
        .iter()
        .filter(|line| line["message"] == "internal caller acts for a user");
    assert_eq!(audits.count(), 1, "who acts for nobody leaves none");
}

#[tokio::test]
async fn what_a_caller_lacks_is_in_the_log_and_the_client_is_told_of_scopes_only() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let route = |name: &str, require: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\npaths = [\"/{name}\"]\nupstream = \"echo\"\nauth = \"jwt\"\nrequire = {{ {require} }}\n"
        )
    };
    let text = route("scopes", "scopes_all = [\"read\", \"write\"]")
        + &route("permissions", "permissions_all = [\"tasks.read\", \"tasks.drop\"]")
        + &route("any", "permissions_any = [\"a.b\", \"c.d\"]")
        + &route("roles", "roles_any = [\"admin\", \"owner\"]")
        + &route("claims", "claims = { org = \"acme\" }");
    let gateway = Gateway::with(&text)
        .upstream("echo", &echo)
        .issuer("main", &issuer)
        .start()
        .await;
    let token = issuer.token_with(json!({ "scope": "read", "permissions": ["tasks.read"], "roles": ["user"] }));
    for (path, error, missing) in [
        ("/scopes", "insufficient_scope", "write"),
        ("/permissions", "permission_denied", "tasks.drop"),
        ("/any", "permission_denied", "a.b or c.d"),
        ("/roles", "permission_denied", "admin or owner"),
        ("/claims", "permission_denied", "org = \"acme\""),
    ] {
        let refusal = gateway.send(&Request::get(path).bearer(&token)).await;
        crate::harness::refused(&refusal, 403, error);
        assert_eq!(gateway.access_line_of(&refusal).await["missing"], missing);
        let said = String::from_utf8(refusal.body.clone()).unwrap();
        assert!(
            !said.contains("tasks") && !said.contains("admin") && !said.contains("org"),
            "{said}"
        );
        let challenge = refusal.head.first("www-authenticate");
        match path {
            "/scopes" => assert!(challenge.unwrap().contains("scope=\"read write\""), "{challenge:?}"),
            _ => assert!(challenge.is_none_or(|text| !text.contains("tasks")), "{challenge:?}"),
        }
    }
}
