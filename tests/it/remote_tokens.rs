//! Tokens that only an auth service can judge: a validate URL and RFC 7662 introspection, beside issuers that have keys.

use serde_json::{Value, json};

use crate::harness::tls::{Authority, Terminator};
use crate::harness::{AuthService, Gateway, Issuer, Request, Setup, Upstream, eventually, refused, status};

const ROUTES: &str = r#"
[[routes]]
name = "tokens"
paths = ["/tokens/*"]
upstream = "echo"
auth = "jwt"
[[routes]]
name = "org"
paths = ["/orgs/{org}/*"]
upstream = "echo"
auth = "jwt"
require = { scopes_all = ["read"], claims = { org = "{path.org}" } }
"#;

fn setup(service: &AuthService, echo: &Upstream, kind: &str, lines: &str) -> Setup {
    let url = service.url();
    Gateway::with(ROUTES)
        .and(&format!(
            "[issuers.remote]\nremote = {{ url = \"{url}\", {kind} }}\n{lines}"
        ))
        .upstream("echo", echo)
}

async fn world(kind: &str, lines: &str) -> (AuthService, Upstream, Gateway) {
    let (service, echo) = (AuthService::start().await, Upstream::echo().await);
    let gateway = setup(&service, &echo, kind, lines).start().await;
    (service, echo, gateway)
}

fn with_token(token: &str) -> Request {
    Request::get("/tokens/x").bearer(token)
}

#[tokio::test]
async fn a_validate_url_is_asked_once_with_the_token_itself() {
    let (service, echo, gateway) = world("kind = \"bearer\"", "user_prefix = \"r:\"").await;
    service.knows(
        "opaque-token",
        json!({ "sub": "ada", "tenant_id": "acme", "scope": "a b", "email": "a@b.test" }),
    );
    for _ in 0..3 {
        assert_eq!(status(&gateway.send(&with_token("opaque-token")).await), 200);
    }
    assert_eq!(service.count(), 1);
    let asked = service.server.last();
    assert_eq!(asked.line, "POST /validate HTTP/1.1");
    assert_eq!(asked.header("authorization").as_deref(), Some("Bearer opaque-token"));
    let sent = echo.last();
    assert_eq!(sent.header("x-user-id").as_deref(), Some("r:ada"));
    assert_eq!(sent.header("x-tenant-id").as_deref(), Some("acme"));
    assert_eq!(sent.header("x-user-email").as_deref(), Some("a@b.test"));
    assert_eq!(sent.header("authorization").as_deref(), Some("Bearer opaque-token"));
    gateway
        .metric_becomes("gateway_token_cache_total{result=\"hit\"}", 2.0)
        .await;
    gateway
        .metric_becomes("jwt_validation_total{service=\"gateway\",status=\"success\"}", 3.0)
        .await;
}

#[tokio::test]
async fn a_get_is_sent_where_the_config_says_so() {
    let (service, _echo, gateway) = world("kind = \"bearer\", method = \"GET\"", "").await;
    service.knows("opaque-token", json!({ "sub": "ada" }));
    assert_eq!(status(&gateway.send(&with_token("opaque-token")).await), 200);
    let asked = service.server.last();
    assert_eq!((asked.line.as_str(), asked.body.len()), ("GET /validate HTTP/1.1", 0));
}

#[tokio::test]
async fn introspection_is_asked_with_a_form_and_our_own_credential() {
    let kind = "kind = \"introspection\", client_id = \"gw\", client_secret = \"a:b\"";
    let (service, _echo, gateway) = world(kind, "").await;
    service.knows("opaque.token", json!({ "active": true, "sub": "ada" }));
    assert_eq!(status(&gateway.send(&with_token("opaque.token")).await), 200);
    let asked = service.server.last();
    assert_eq!(
        String::from_utf8(asked.body.clone()).unwrap(),
        "token=opaque.token&token_type_hint=access_token"
    );
    // base64("gw:a%3Ab")
    assert_eq!(asked.header("authorization").as_deref(), Some("Basic Z3c6YSUzQWI="));
    service.answer(200, r#"{"active":false}"#);
    let refusal = gateway.send(&with_token("other")).await;
    refused(&refusal, 401, "invalid_token");
    assert!(
        refusal
            .head
            .first("www-authenticate")
            .unwrap()
            .contains("error=\"invalid_token\"")
    );
    assert_eq!(gateway.access_line_of(&refusal).await["detail"], "not_active");
}

#[tokio::test]
async fn over_tls_the_issuers_own_authority_is_believed() {
    let (service, echo, authority) = (AuthService::start().await, Upstream::echo().await, Authority::new());
    service.knows("the-token", json!({ "sub": "ada" }));
    let terminator = Terminator::before(service.server.address, &authority.pair(&["localhost"]), &authority).await;
    let url = format!("https://localhost:{}/validate", terminator.address.port());
    for (ca, expected) in [("ca = \"ca.pem\"", 200), ("", 503)] {
        let config = setup(&service, &echo, "kind = \"bearer\"", ca).config();
        let setup = Gateway::with(&config.replace(&service.url(), &url)).file("ca.pem", authority.pem());
        let gateway = setup.start().await;
        assert_eq!(status(&gateway.send(&with_token("the-token")).await), expected, "{ca}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_503_and_ends_the_chain() {
    for (kind, code, body) in [
        ("kind = \"introspection\", retries = 0", 401, ""),
        ("kind = \"introspection\", retries = 0", 200, r#"{"sub":"ada"}"#),
        ("kind = \"introspection\", retries = 0", 200, r#"{"active":true}"#),
        ("kind = \"bearer\", retries = 0", 200, "ok"),
        ("kind = \"bearer\", retries = 0", 200, "{}"),
        ("kind = \"bearer\", retries = 0", 500, ""),
    ] {
        let (service, echo, gateway) = world(kind, "").await;
        service.answer(code, body);
        let refusal = gateway.send(&with_token("opaque")).await;
        refused(&refusal, 503, "auth_unavailable");
        assert_eq!(
            gateway.access_line_of(&refusal).await["detail"],
            "validator_unavailable"
        );
        assert_eq!(echo.count(), 0);
    }
}

#[tokio::test]
async fn no_is_invalid_and_what_the_issuer_requires_holds_here_too() {
    let lines = "audiences = [\"api\"]\nrequired_claims = { type = \"access\" }";
    let (service, _echo, gateway) = world("kind = \"bearer\"", lines).await;
    service.knows("good", json!({ "sub": "ada", "aud": ["api"], "type": "access" }));
    service.knows(
        "wrong-audience",
        json!({ "sub": "ada", "aud": "other", "type": "access" }),
    );
    service.knows("refresh", json!({ "sub": "ada", "aud": "api", "type": "refresh" }));
    service.knows(
        "inactive",
        json!({ "active": false, "sub": "ada", "aud": "api", "type": "access" }),
    );
    service.knows(
        "expired",
        json!({ "sub": "ada", "aud": "api", "type": "access", "exp": 1_000_000 }),
    );
    assert_eq!(status(&gateway.send(&with_token("good")).await), 200);
    for (token, error, detail) in [
        ("wrong-audience", "invalid_token", "wrong_audience"),
        ("refresh", "invalid_token", "claim_mismatch"),
        ("inactive", "invalid_token", "not_active"),
        ("expired", "token_expired", "expired"),
        ("unknown", "invalid_token", "not_active"),
        ("", "invalid_token", "malformed"),
        ("a b", "invalid_token", "malformed"),
    ] {
        let refusal = gateway.send(&with_token(token)).await;
        refused(&refusal, 401, error);
        assert_eq!(gateway.access_line_of(&refusal).await["detail"], detail, "{token:?}");
    }
    assert_eq!(service.count(), 6);
}

#[tokio::test]
async fn a_token_is_never_known_past_its_exp() {
    let (service, _echo, gateway) = world("kind = \"bearer\"", "").await;
    let exp = gateway::demo::tokens::now() + 2;
    service.knows("short", json!({ "sub": "ada", "exp": exp }));
    assert_eq!(status(&gateway.send(&with_token("short")).await), 200);
    // Not even while the auth service cannot be asked.
    service.go_down();
    let refusal = eventually("it has ended", async || {
        let response = gateway.send(&with_token("short")).await;
        (status(&response) != 200).then_some(response)
    })
    .await;
    assert!(matches!(status(&refusal), 401 | 503), "{:?}", refusal.head);
    assert!(gateway::demo::tokens::now() >= exp);
}

#[tokio::test]
async fn a_token_goes_to_the_issuer_that_it_names_and_an_opaque_one_to_the_nameless() {
    let (service, other, echo, local) = (
        AuthService::start().await,
        AuthService::start().await,
        Upstream::echo().await,
        Issuer::start().await,
    );
    let (url, other_url) = (service.url(), other.url());
    let gateway = Gateway::with(ROUTES)
        .and(&format!(
            "[issuers.named]\nissuer = \"https://remote.test\"\nremote = {{ url = \"{url}\", kind = \"bearer\" }}\n\
             [issuers.nameless]\nremote = {{ url = \"{other_url}\", kind = \"bearer\" }}"
        ))
        .issuer("local", &local)
        .upstream("echo", &echo)
        .start()
        .await;
    assert_eq!(status(&gateway.send(&with_token(&local.token())).await), 200);
    assert_eq!((service.count(), other.count()), (0, 0), "r12: no validator sees it");

    let named = local.token_with(json!({ "iss": "https://remote.test" }));
    service.knows(&named, json!({ "sub": "bob", "iss": "https://remote.test" }));
    assert_eq!(status(&gateway.send(&with_token(&named)).await), 200);
    assert_eq!((service.count(), other.count()), (1, 0));
    assert_eq!(echo.last().header("x-user-id").as_deref(), Some("bob"));

    other.knows("opaque", json!({ "sub": "eve" }));
    assert_eq!(status(&gateway.send(&with_token("opaque")).await), 200);
    let without = local.token_with(json!({ "iss": null }));
    other.knows(&without, json!({ "sub": "eve" }));
    assert_eq!(status(&gateway.send(&with_token(&without)).await), 200);
    assert_eq!((service.count(), other.count()), (1, 2));

    let stranger = local.token_with(json!({ "iss": "https://stranger.test" }));
    refused(&gateway.send(&with_token(&stranger)).await, 401, "invalid_token");
    let liar = local.token_with(json!({ "iss": "https://remote.test", "sub": "liar" }));
    service.knows(&liar, json!({ "sub": "root", "iss": "https://else.test" }));
    refused(&gateway.send(&with_token(&liar)).await, 401, "invalid_token");
    assert_eq!((service.count(), other.count()), (2, 2));
}

#[tokio::test]
async fn r23_a_known_token_is_judged_by_the_rules_of_each_route() {
    let (service, _echo, gateway) = world("kind = \"bearer\"", "").await;
    service.knows("opaque", json!({ "sub": "ada", "scope": "read", "org": "acme" }));
    let ask = async |target: &str| gateway.send(&Request::get(target).bearer("opaque")).await;
    assert_eq!(status(&ask("/orgs/acme/x").await), 200);
    let refusal = ask("/orgs/other/x").await;
    refused(&refusal, 403, "permission_denied");
    let line = gateway.access_line_of(&refusal).await;
    assert_eq!(line["missing"], json!("org = {path.org}"));
    assert_eq!(status(&ask("/tokens/x").await), 200);
    assert_eq!(service.count(), 1);
}

#[tokio::test]
async fn wrong_tokens_are_guesses_where_they_count() {
    let (service, echo) = (AuthService::start().await, Upstream::echo().await);
    let gateway = setup(&service, &echo, "kind = \"bearer\"", "")
        .and("[auth_failures]\nrate = \"3/hour\"\ninclude_jwt = true")
        .start()
        .await;
    service.knows("good", json!({ "sub": "ada" }));
    assert_eq!(status(&gateway.send(&with_token("good")).await), 200);
    for number in 0..3 {
        refused(
            &gateway.send(&with_token(&format!("wrong-{number}"))).await,
            401,
            "invalid_token",
        );
    }
    refused(&gateway.send(&with_token("wrong-3")).await, 429, "rate_limited");
    assert_eq!(status(&gateway.send(&with_token("good")).await), 200);
    assert_eq!(service.count(), 4);
}

#[tokio::test]
async fn explain_cannot_tell_what_only_the_auth_service_knows_unless_it_may_ask() {
    let (service, echo) = (AuthService::start().await, Upstream::echo().await);
    let setup = setup(&service, &echo, "kind = \"bearer\"", "");
    service.knows("opaque-token", json!({ "sub": "ada" }));
    let ask = async |more: &[&str]| {
        let arguments = [
            &[
                "explain",
                "GET",
                "/tokens/x",
                "--json",
                "-H",
                "Authorization: Bearer opaque-token",
            ],
            more,
        ]
        .concat();
        let output = setup.run(&arguments).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), report)
    };
    let (code, report) = ask(&[]).await;
    assert_eq!(code, 4);
    assert!(report["missing"].as_str().unwrap().contains("remote"), "{report}");
    let (code, report) = ask(&["--online"]).await;
    assert_eq!((code, &report["identity"]["user"]), (0, &json!("ada")));
}
