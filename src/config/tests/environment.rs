//! Environment overrides: any scalar or list of scalars, by the key's path.

use std::time::Duration;

use super::{LEAST, assert_wrong, config_in, load_in, wrong_in};
use crate::config::model::{AuthMethod, LogLevel, TierRate};
use crate::config::{Environment, Source};

const INTERNAL: &str = "[internal]\nkeys = ['a-legacy-key-of-ours']\n";

#[test]
fn sets_scalars_and_lists_whether_the_file_has_the_key_or_not() {
    let more = format!(
        "{INTERNAL}[server]\ndrain_timeout = '9s'\n[limits.per-user]\nrate = '1/s'\ntiers = {{ free = '1/s' }}\n"
    );
    let environment = Environment::from([
        ("GATEWAY__SERVER__DRAIN_TIMEOUT", "5s"),
        ("GATEWAY__SERVER__WORKERS", "3"),
        ("GATEWAY__LOG__LEVEL", "debug"),
        ("GATEWAY__LOG__ACCESS", "false"),
        ("GATEWAY__LISTENERS__PUBLIC__ADDRESS", "127.0.0.1:0"),
        ("GATEWAY__LISTENERS__PUBLIC__TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("GATEWAY__LIMITS__PER_USER__RATE", "7/min"),
        ("GATEWAY__LIMITS__PER_USER__TIERS__FREE", "unlimited"),
        ("GATEWAY__UPSTREAMS__APP__URLS", "http://a:1,http://b:2"),
        ("GATEWAY__ROUTES__CHAT__REQUIRE__SCOPES_ALL", "a,b"),
        ("GATEWAY__IDENTITY__CLAIMS__X_USER_EMAIL", "mail"),
        ("GATEWAY__INTERNAL__SCOPES", ""),
    ]);
    let config = config_in(&more, &environment);
    assert_eq!(config.server.drain_timeout, Duration::from_secs(5));
    assert_eq!(config.server.workers, Some(3));
    assert_eq!(config.log.level, LogLevel::Debug);
    assert!(!config.log.access);
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:0");
    assert_eq!(config.listeners[0].trusted_proxies.len(), 2);
    assert_eq!(config.limits["per-user"].rate.unwrap().count, 7);
    assert_eq!(config.limits["per-user"].tiers["free"], TierRate::Unlimited);
    assert_eq!(config.upstreams["app"].urls.len(), 2);
    assert_eq!(config.routes[0].require.scopes_all, ["a", "b"]);
    assert_eq!(config.identity.claims["X-User-Email"], "mail");
    assert!(config.internal.unwrap().scopes.is_empty());
}

#[test]
fn use_jwt_auth_has_a_second_name() {
    let off = Environment::from([("GATEWAY__USE_JWT_AUTH", "false")]);
    assert!(!config_in("", &off).server.use_jwt_auth);
    let off = Environment::from([("GATEWAY__SERVER__USE_JWT_AUTH", "false")]);
    assert!(!config_in("", &off).server.use_jwt_auth);
    let torn = Environment::from([
        ("GATEWAY__SERVER__USE_JWT_AUTH", "true"),
        ("GATEWAY__USE_JWT_AUTH", "false"),
    ]);
    assert_wrong(
        &wrong_in("", &torn),
        &["server.use_jwt_auth", "contradicts GATEWAY__SERVER__USE_JWT_AUTH"],
    );
}

#[test]
fn an_error_in_a_variable_names_the_variable_and_the_key() {
    let environment = Environment::from([("GATEWAY__SERVER__DRAIN_TIMEOUT", "soon")]);
    let errors = load_in(LEAST, &environment).unwrap_err().to_string();
    assert!(
        errors.starts_with("GATEWAY__SERVER__DRAIN_TIMEOUT: server.drain_timeout: expected a duration"),
        "{errors}"
    );
}

#[test]
fn a_variable_that_fits_no_key_is_refused_and_never_shown() {
    let environment = Environment::from([("GATEWAY__ROUTES__CHAT__AUHT", "s3cret-value")]);
    let errors = load_in(LEAST, &environment).unwrap_err().to_string();
    assert!(
        errors.starts_with("GATEWAY__ROUTES__CHAT__AUHT: fits no key"),
        "{errors}"
    );
    assert!(errors.contains("did you mean GATEWAY__ROUTES__CHAT__AUTH?"), "{errors}");
    assert!(!errors.contains("s3cret"), "{errors}");
}

#[test]
fn a_section_that_the_file_does_not_have_is_not_made_by_a_variable() {
    let environment = Environment::from([("GATEWAY__REDIS__URL", "redis://x")]);
    assert_wrong(&wrong_in("", &environment), &["fits no key"]);
}

#[test]
fn a_variable_that_a_reference_uses_is_no_override() {
    let environment = Environment::from([
        ("GATEWAY__MY_LEVEL", "warn"),
        ("GATEWAY_CONFIG", "elsewhere.toml"),
        ("HOME", "/"),
    ]);
    let config = config_in("[log]\nlevel = '${env:GATEWAY__MY_LEVEL}'", &environment);
    assert_eq!(config.log.level, LogLevel::Warn);
}

#[test]
fn a_route_is_rolled_back_by_a_variable() {
    let text = format!("{}{INTERNAL}", LEAST.replace("\"none\"", "['jwt', 'none']"));
    let text = format!("{text}[issuers.a]\njwks_url = 'https://a'\n");
    let environment = Environment::from([("GATEWAY__ROUTES__CHAT__AUTH", "internal,none")]);
    let loaded = load_in(&text, &environment).unwrap();
    assert_eq!(
        loaded.config.routes[0].auth.chain,
        [AuthMethod::Internal, AuthMethod::None]
    );
    assert_eq!(
        loaded.sources.get("routes.chat.auth"),
        Some(&Source::Variable("GATEWAY__ROUTES__CHAT__AUTH".to_owned()))
    );
}

#[test]
fn defaults_can_be_set_by_a_variable_and_a_routes_own_wins() {
    let environment = Environment::from([("GATEWAY__DEFAULTS__MAX_BODY", "1KiB")]);
    assert_eq!(
        config_in("[defaults]\nmax_body = '2KiB'", &environment).routes[0].max_body,
        1024
    );
    let both = Environment::from([
        ("GATEWAY__DEFAULTS__MAX_BODY", "1KiB"),
        ("GATEWAY__ROUTES__CHAT__MAX_BODY", "3KiB"),
    ]);
    assert_eq!(config_in("", &both).routes[0].max_body, 3 * 1024);
}
