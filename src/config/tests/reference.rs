//! The whole reference parses, and holds the values that it says.

use std::path::Path;
use std::time::Duration;

use super::{LEAST, REFERENCE, reference_environment, wrong_with};
use crate::config::model::{Action, ClaimRule, Config, Endpoint, Llm, Scalar, TokenSource};
use crate::config::{read_values, reader_of};

#[test]
fn the_whole_reference_holds() {
    assert_eq!(wrong_with(REFERENCE, &reference_environment()), Vec::<String>::new());
}

/// The values of a text, whether or not anything can be made of them.
fn values(text: &str) -> Config {
    let environment = reference_environment();
    let name = Path::new("gateway.toml");
    let mut reader = reader_of(name, &environment);
    let config = read_values(name, text, &mut reader).unwrap();
    assert_eq!(reader.problems.count(), 0, "{}", reader.problems.into_errors());
    config
}

fn values_of(more: &str) -> Config {
    values(&format!("{LEAST}{more}"))
}

#[test]
fn the_whole_reference_holds_its_values() {
    let config = values(REFERENCE);
    let issuer = &config.issuers["codelab"];
    assert_eq!(issuer.issuer.as_deref(), Some("https://auth.codelab.local"));
    assert_eq!(issuer.audiences, ["codelab-api"]);
    assert_eq!(
        issuer.required_claims["type"],
        ClaimRule::OneOf(vec![Scalar::String("access".to_owned())])
    );
    let key = &config.api_keys.as_ref().unwrap().keys[0];
    assert_eq!(
        (key.id.as_str(), key.user.as_str(), key.tenant.as_str()),
        ("ci-runner", "svc_ci", "acme")
    );
    assert_eq!(key.expires, Some(1_814_313_600));
    assert_eq!(config.internal.unwrap().keys[0].expose(), "a-legacy-key-of-ours");
    assert_eq!(config.limits["per-user"].burst, Some(120));
    let telemetry = config.telemetry.unwrap();
    assert_eq!(telemetry.otlp.as_deref(), Some("http://otel-collector:4318"));
    let route = &config.routes[0];
    assert_eq!(route.canary.as_ref().unwrap().percent, 10.0);
    assert_eq!(route.limits, ["per-user"]);
    assert_eq!(
        route.require.claims["org_id"],
        ClaimRule::OneOf(vec![Scalar::String("{path.org}".to_owned())])
    );
    assert_eq!(
        route.set_headers["X-Internal-Auth"].expose(),
        "a-key-of-the-agent-runtime"
    );
    assert_eq!(
        route.response_headers_set["Strict-Transport-Security"],
        "max-age=31536000"
    );
}

#[test]
fn what_is_left_out_of_a_section_has_the_defaults_of_the_reference() {
    let config = values_of(
        "[redis]\nurl = '${env:REDIS_URL}'\n[revocation]\n[cors.a]\norigins = ['https://a']\n\
         [upstreams.b]\nurls = ['unix:/run/b']\nhealth = {}\n[telemetry]\notlp = 'http://otel:4318'",
    );
    let redis = config.redis.unwrap();
    assert_eq!(
        (redis.key_prefix.as_str(), redis.timeout),
        ("gateway:", Duration::from_millis(50))
    );
    let revocation = config.revocation.unwrap();
    assert_eq!(revocation.keys.len(), 3);
    assert_eq!(revocation.users, "gateway:revoked:user:{user}");
    assert!(revocation.serve_on_store_error);
    let cors = &config.cors["a"];
    assert_eq!(cors.methods, ["GET", "POST", "PUT", "PATCH", "DELETE"]);
    assert_eq!(
        cors.headers,
        ["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"]
    );
    assert_eq!(cors.expose, ["X-Request-ID", "RateLimit", "Retry-After"]);
    assert_eq!((cors.credentials, cors.max_age), (false, Duration::from_secs(600)));
    let upstream = &config.upstreams["b"];
    assert_eq!(upstream.urls, [Endpoint::Unix("/run/b".into())]);
    let health = upstream.health.as_ref().unwrap();
    assert_eq!(
        (
            health.path.as_str(),
            health.interval.as_secs(),
            health.timeout.as_secs()
        ),
        ("/health", 5, 2)
    );
    assert_eq!((health.unhealthy_after, health.healthy_after), (3, 2));
    let telemetry = config.telemetry.unwrap();
    assert_eq!((telemetry.sample, telemetry.headers.len()), (0.1, 0));
}

#[test]
fn what_the_reference_shows_in_passing_is_read_in_full() {
    let route = values(&LEAST.replace(
        "upstream = \"app\"",
        "respond = { body = 'ok' }\nllm = 'anthropic'\ntoken_sources = ['query:t', 'cookie:c', 'websocket_protocol']",
    ))
    .routes
    .remove(0);
    let action = Action::Respond {
        status: 200,
        body: "ok".to_owned(),
        content_type: "text/plain".to_owned(),
    };
    assert_eq!(route.action, action);
    assert_eq!(route.llm, Some(Llm::Anthropic));
    assert_eq!(
        route.token_sources,
        [
            TokenSource::Query("t".to_owned()),
            TokenSource::Cookie("c".to_owned()),
            TokenSource::WebSocketProtocol
        ]
    );
    let redirect = values(&LEAST.replace("upstream = \"app\"", "redirect = { to = 'https://{host}{uri}' }"))
        .routes
        .remove(0);
    assert_eq!(
        redirect.action,
        Action::Redirect {
            to: "https://{host}{uri}".to_owned(),
            status: 308
        }
    );
}
