//! From one way of proving who calls to another on live traffic: the shadow that only listens, the canary that judges a share.

use serde_json::{Value, json};

use crate::harness::{AuthService, Gateway, Issuer, Request, Response, Setup, Upstream, eventually, refused, sha256};

const SECRET: &str = "internal-secret-0123456789";
const KEY: &str = "hok_live_0123456789";

fn setup(lines: &str, issuer: &Issuer, upstream: &Upstream) -> Setup {
    Gateway::with(&format!(
        r#"
        [internal]
        keys = ["{SECRET}"]
        permissions = ["tasks.*"]
        [api_keys]
        prefixes = ["hok_live_"]
        [[api_keys.keys]]
        id = "ci-runner"
        hash = "{}"
        user = "svc_ci"
        [[routes]]
        name = "chat"
        paths = ["/chat/*"]
        upstream = "up"
        {lines}
        "#,
        sha256(KEY)
    ))
    .issuer("lab", issuer)
    .upstream("up", upstream)
}

fn old() -> Request {
    Request::get("/chat/x").header("X-Internal-Auth", SECRET)
}

fn said(response: &Response) -> (u16, Option<String>) {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    (response.head.status(), body["error"].as_str().map(str::to_owned))
}

async fn shadow_count(gateway: &Gateway, enforced: &str, shadow: &str, difference: &str) -> f64 {
    let series = format!(
        "gateway_shadow_decisions_total{{difference=\"{difference}\",enforced=\"{enforced}\",route=\"chat\",shadow=\"{shadow}\"}}"
    );
    gateway.metric(&series).await.unwrap_or(-1.0)
}

#[tokio::test]
async fn a_shadow_judges_every_request_and_is_never_obeyed() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let lines = "auth = \"internal\"\nshadow = \"jwt\"\n";
    let gateway = setup(lines, &issuer, &upstream).start().await;
    let token = issuer.token();
    let expired = issuer.token_with(json!({ "exp": 1_000_000_000 }));
    for (request, status, enforced, shadow, difference) in [
        (old(), 200, "allow", "unauthorized", "would_deny"),
        (old().bearer("no.to.ken"), 200, "allow", "invalid_token", "would_deny"),
        (old().bearer(&expired), 200, "allow", "token_expired", "would_deny"),
        (old().bearer(&token), 200, "allow", "allow", "other_identity"),
        (
            old().bearer(&token).header("X-User-ID", "ada"),
            200,
            "allow",
            "allow",
            "same",
        ),
        (
            Request::get("/chat/x").bearer(&token),
            401,
            "unauthorized",
            "allow",
            "would_allow",
        ),
        (Request::get("/chat/x"), 401, "unauthorized", "unauthorized", "same"),
    ] {
        let before = shadow_count(&gateway, enforced, shadow, difference).await;
        assert!(
            before >= 0.0,
            "{enforced} {shadow} {difference} is there from the start"
        );
        let response = gateway.send(&request).await;
        assert_eq!(response.head.status(), status);
        let line = gateway.access_line_of(&response).await;
        assert_eq!(
            (&line["shadow"], &line["auth_mode"]),
            (&json!(difference), &json!("internal"))
        );
        let reason = (shadow != "allow").then_some(shadow);
        assert_eq!(line["shadow_reason"].as_str(), reason);
        assert_eq!(shadow_count(&gateway, enforced, shadow, difference).await, before + 1.0);
        if difference != "same" {
            let id = response.head.first("x-request-id").unwrap().to_owned();
            let told = eventually("the disagreement is told", async || {
                let mut lines = gateway.lines().into_iter();
                lines.find(|line| line["message"] == "shadow disagrees" && line["request_id"] == id.as_str())
            })
            .await;
            assert_eq!(
                (&told["enforced"], &told["shadow"], &told["difference"], &told["route"]),
                (&json!(enforced), &json!(shadow), &json!(difference), &json!("chat"))
            );
            assert_eq!(told["client_ip"], "127.0.0.1");
            let user = if shadow == "allow" { "ada" } else { "" };
            assert_eq!(told["shadow_user_id"], user, "{told}");
        }
    }
    let log = gateway.stdout();
    assert!(
        !log.contains(SECRET) && !log.contains(&token),
        "no credential in the log"
    );
}

#[tokio::test]
async fn r01_a_shadow_sets_no_identity_and_lets_no_spoofed_header_through() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup("auth = \"api_key\"\nshadow = \"jwt\"\n", &issuer, &upstream)
        .start()
        .await;
    let request = Request::get("/chat/x")
        .header("X-API-Key", KEY)
        .header("X-User-ID", "root")
        .header("X_Tenant_ID", "root")
        .bearer(&issuer.token());
    assert_eq!(gateway.send(&request).await.head.status(), 200);
    let got = upstream.last();
    assert_eq!(
        got.header("x-user-id").as_deref(),
        Some("svc_ci"),
        "the enforced identity, not the shadow's"
    );
    assert!(
        !got.headers.iter().any(|(_, value)| value == b"root"),
        "{:?}",
        got.headers
    );
}

#[tokio::test]
async fn a_shadow_asks_nobody() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup("auth = \"internal\"\nshadow = \"jwt\"\n", &issuer, &upstream)
        .start()
        .await;
    let fetches = issuer.fetches();
    let stranger = crate::harness::Key::ec("unknown-key");
    let token = stranger.sign(&issuer.claims());
    let response = gateway.send(&old().bearer(&token)).await;
    assert_eq!(response.head.status(), 200);
    assert_eq!(
        shadow_count(&gateway, "allow", "invalid_token", "would_deny").await,
        1.0
    );
    assert_eq!(issuer.fetches(), fetches, "an unknown key buys no fetch for a shadow");
    // Where tokens are enforced it does.
    let enforced = setup("auth = \"jwt\"\n", &issuer, &upstream).start().await;
    let before = issuer.fetches();
    refused(
        &enforced.send(&Request::get("/chat/x").bearer(&token)).await,
        401,
        "invalid_token",
    );
    assert_eq!(issuer.fetches(), before + 1);
}

#[tokio::test]
async fn a_shadow_asks_no_auth_service_and_knows_what_that_said_to_others() {
    let (service, issuer, upstream) = (
        AuthService::start().await,
        Issuer::start().await,
        Upstream::echo().await,
    );
    service.knows_user("their-key", "ada");
    let remote = format!("[api_keys.remote]\nurl = \"{}\"\n", service.url());
    let enforced = "[[routes]]\nname = \"keys\"\npaths = [\"/keys\"]\nupstream = \"up\"\nauth = \"api_key\"\n";
    let lines = format!("auth = \"internal\"\nshadow = \"api_key\"\n{remote}{enforced}");
    let config = setup(&lines, &issuer, &upstream).config();
    let gateway = Gateway::with(&config.replace("prefixes = [\"hok_live_\"]\n", ""))
        .start()
        .await;
    let request = old().header("X-API-Key", "their-key").header("X-User-ID", "ada");
    let said = async || {
        let response = gateway.send(&request).await;
        assert_eq!(response.head.status(), 200);
        let line = gateway.access_line_of(&response).await;
        (line["shadow"].clone(), line["shadow_reason"].clone())
    };
    for _ in 0..3 {
        assert_eq!(said().await, (json!("would_deny"), json!("auth_unavailable")));
    }
    assert_eq!(service.count(), 0, "a shadow costs no look-up");
    let told = gateway.event("shadow disagrees").await;
    assert_eq!(
        told["shadow_detail"], "validator_unavailable",
        "it says that it is not known: {told}"
    );
    // A route that enforces keys has it looked up; from then on the shadow knows it too.
    let key = Request::get("/keys").header("X-API-Key", "their-key");
    assert_eq!(gateway.send(&key).await.head.status(), 200);
    assert_eq!(said().await, (json!("same"), Value::Null));
    assert_eq!(service.count(), 1);
}

#[tokio::test]
async fn a_good_credential_behind_a_failed_one_is_counted() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup("auth = \"internal\"\nshadow = \"hybrid\"\n", &issuer, &upstream)
        .start()
        .await;
    let hidden = "gateway_shadow_hidden_credentials_total{route=\"chat\"}";
    assert_eq!(gateway.metric(hidden).await, Some(0.0));
    let response = gateway.send(&old().bearer("no.to.ken")).await;
    assert_eq!(response.head.status(), 200);
    gateway.metric_becomes(hidden, 1.0).await;
    assert_eq!(gateway.event("shadow disagrees").await["hidden_method"], "internal");
    assert_eq!(gateway.send(&old()).await.head.status(), 200);
    assert_eq!(
        gateway.metric(hidden).await,
        Some(1.0),
        "only where something failed before it"
    );
}

#[tokio::test]
async fn disagreements_are_sampled_and_what_is_untold_is_counted() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let gateway = setup("auth = \"internal\"\nshadow = \"jwt\"\n", &issuer, &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    let mut sent = 0;
    let untold = eventually("some stay untold", async || {
        assert_eq!(client.send(&old()).await.head.status(), 200);
        sent += 1;
        let lines = gateway.lines();
        let told: Vec<_> = lines
            .iter()
            .filter(|line| line["message"] == "shadow disagrees")
            .collect();
        told.iter()
            .find_map(|line| line["untold"].as_u64().filter(|untold| *untold > 0))
            .map(|_| told.len())
    })
    .await;
    assert!(untold < sent, "{untold} lines for {sent} requests");
    assert_eq!(
        shadow_count(&gateway, "allow", "unauthorized", "would_deny").await,
        f64::from(u32::try_from(sent).unwrap())
    );
}

#[tokio::test]
async fn a_canary_judges_its_share_and_nobody_changes_sides() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let lines = "auth = \"internal\"\ncanary = { auth = \"jwt\", percent = 30 }\n";
    let gateway = setup(lines, &issuer, &upstream).start().await;
    let mut client = gateway.client().await;
    let mut canaries = 0.0;
    for user in 0..15 {
        let mut arms = Vec::new();
        for refresh in 0..2 {
            let token = issuer.token_with(json!({ "sub": format!("user-{user}"), "jti": format!("{refresh}") }));
            // With the token alone, only the canary lets anybody in.
            let response = client.send(&Request::get("/chat/x").bearer(&token)).await;
            let line = gateway.access_line_of(&response).await;
            let arm = line["arm"].as_str().unwrap().to_owned();
            let (status, mode) = if arm == "canary" {
                (200, "jwt")
            } else {
                (401, "internal")
            };
            assert_eq!(
                (response.head.status(), line["auth_mode"].as_str()),
                (status, Some(mode)),
                "{line}"
            );
            arms.push(arm);
        }
        assert!(arms.iter().all(|arm| *arm == arms[0]), "user {user}: {arms:?}");
        canaries += if arms[0] == "canary" { 2.0 } else { 0.0 };
    }
    assert!(canaries > 0.0 && canaries < 30.0);
    let count = async |arm: &str, status: u16| {
        let series = format!("gateway_canary_requests_total{{arm=\"{arm}\",route=\"chat\",status=\"{status}\"}}");
        gateway.metric(&series).await
    };
    assert_eq!(count("canary", 200).await, Some(canaries));
    assert_eq!(count("stable", 401).await, Some(30.0 - canaries));
    assert_eq!(count("canary", 401).await, Some(0.0));
}

#[tokio::test]
async fn a_canary_of_everybody_challenges_as_its_mode_does() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let lines = "auth = \"internal\"\ncanary = { auth = \"jwt\", percent = 100 }\n";
    let gateway = setup(lines, &issuer, &upstream).start().await;
    let response = gateway.send(&old()).await;
    refused(&response, 401, "unauthorized");
    assert_eq!(
        response.head.first("www-authenticate"),
        Some("Bearer realm=\"gateway\"")
    );
    let nobody = "auth = \"internal\"\ncanary = { auth = \"jwt\", percent = 0 }\n";
    let gateway = setup(nobody, &issuer, &upstream).start().await;
    assert_eq!(said(&gateway.send(&old()).await).0, 200);
}

#[tokio::test]
async fn with_jwt_switched_off_its_canaries_stop_and_shadows_go_on() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let lines = "auth = \"jwt\"\nshadow = \"jwt\"\ncanary = { auth = \"jwt\", percent = 100 }\n";
    let gateway = setup(lines, &issuer, &upstream)
        .env("GATEWAY__USE_JWT_AUTH", "false")
        .start()
        .await;
    let response = gateway.send(&old()).await;
    assert_eq!(response.head.status(), 200);
    let line = gateway.access_line_of(&response).await;
    assert_eq!((&line["auth_mode"], &line["arm"]), (&json!("internal"), &Value::Null));
    assert_eq!(shadow_count(&gateway, "allow", "unauthorized", "would_deny").await, 1.0);
}

#[tokio::test]
async fn explain_foretells_the_canary_and_the_shadow() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let keys = json!({ "keys": [issuer.key.jwk()] }).to_string();
    let lines = "auth = \"internal\"\nshadow = \"jwt\"\ncanary = { auth = \"hybrid\", percent = 50 }\n";
    let setup = setup(lines, &issuer, &upstream).file("keys.json", keys);
    let mut arms = Vec::new();
    for user in 0..12 {
        let token = issuer.token_with(json!({ "sub": format!("user-{user}") }));
        let header = format!("Authorization: Bearer {token}");
        let arguments = [
            "explain",
            "GET",
            "/chat/x",
            "-H",
            &header,
            "--jwks",
            "keys.json",
            "--json",
        ];
        let output = setup.run(&arguments).await;
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let arm = report["canary"]["arm"].as_str().unwrap().to_owned();
        let (mode, decision, difference) = if arm == "canary" {
            ("hybrid", "allow", "same")
        } else {
            ("internal", "deny", "would_allow")
        };
        assert_eq!(
            (&report["mode"], &report["decision"]),
            (&json!(mode), &json!(decision)),
            "{report}"
        );
        assert_eq!(report["shadow"]["difference"], difference, "{report}");
        assert_eq!(report["shadow"]["user"], format!("user-{user}"));
        arms.push(arm);
    }
    assert!(
        arms.contains(&"canary".to_owned()) && arms.contains(&"stable".to_owned()),
        "{arms:?}"
    );
    // Without keys nobody can tell what the shadow says of a token.
    let header = format!("Authorization: Bearer {}", issuer.token());
    let secret = format!("X-Internal-Auth: {SECRET}");
    let setup = Gateway::with(&setup.config().replace("canary = ", "# "));
    let output = setup
        .run(&["explain", "GET", "/chat/x", "-H", &header, "-H", &secret, "--json"])
        .await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&report["decision"], &report["shadow"]["decision"]),
        (&json!("allow"), &json!("unknown"))
    );
    assert!(report["shadow"]["missing"].as_str().unwrap().contains("signing keys"));
}
