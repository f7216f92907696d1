//! Each section: its defaults are those of the reference, and what it says of itself must hold.

use std::time::Duration;

use super::{LEAST, assert_wrong, config, route, wrong, wrong_with};
use crate::config::Environment;
use crate::config::model::{
    Action, Admin, Algorithm, AuthMethod, Balance, ClientAddressFrom, HeaderCase, KeySource, LimitAlgorithm, LimitBy,
    LimitStore, LimitUnit, Log, LogFormat, LogLevel, OnStoreError, Require, TokenSource,
};

const SECRETS: &str = "secrets = ['0123456789abcdef0123456789abcdef']";

fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn server_admin_log_and_identity_exist_with_their_defaults() {
    let config = config("");
    assert_eq!(config.server.workers, None);
    assert_eq!(config.server.drain_delay, secs(0));
    assert_eq!(config.server.drain_timeout, secs(30));
    assert_eq!(config.server.header_case, HeaderCase::Preserve);
    assert_eq!(config.server.overrides_file.to_str(), Some("gateway.overrides.toml"));
    assert!(config.server.use_jwt_auth);
    assert_eq!(
        config.admin,
        Admin {
            address: "127.0.0.1:9090".parse().unwrap()
        }
    );
    let log = Log {
        format: LogFormat::Json,
        level: LogLevel::Info,
        access: true,
        user_agent: false,
    };
    assert_eq!(config.log, log);
    let identity = config.identity;
    assert_eq!(identity.user_header, "X-User-ID");
    assert_eq!(identity.request_header, "X-Request-ID");
    assert_eq!(identity.tenant_header, "X-Tenant-ID");
    for off in [
        &identity.scopes_header,
        &identity.roles_header,
        &identity.permissions_header,
        &identity.client_header,
        &identity.method_header,
    ] {
        assert_eq!(off, "");
    }
    assert_eq!(
        identity.claims.into_iter().collect::<Vec<_>>(),
        [("X-User-Email".to_owned(), "email".to_owned())]
    );
}

#[test]
fn sections_that_the_file_does_not_have_do_not_exist() {
    let config = config("");
    assert!(config.issuers.is_empty() && config.api_keys.is_none() && config.internal.is_none());
    assert!(config.limits.is_empty() && config.auth_failures.is_none() && config.roles.is_empty());
    assert!(config.redis.is_none() && config.revocation.is_none() && config.resource.is_none());
    assert!(config.cors.is_empty() && config.telemetry.is_none());
}

#[test]
fn a_listener_has_its_defaults() {
    let listener = config("").listeners.remove(0);
    assert_eq!(listener.address.to_string(), "0.0.0.0:8080");
    assert!(listener.trusted_proxies.is_empty());
    assert_eq!(listener.client_address_from, ClientAddressFrom::XForwardedFor);
    assert!(!listener.proxy_protocol);
    assert_eq!(listener.max_connections, 20_000);
    assert_eq!(listener.max_connections_per_address, 0);
    assert_eq!(listener.header_timeout, secs(10));
    assert_eq!(listener.idle_timeout, secs(75));
    assert_eq!(listener.max_header_bytes, 32 * 1024);
    assert!(listener.certificates.is_empty() && listener.client_auth.is_none());
}

#[test]
fn two_listeners_of_one_address_are_refused() {
    assert_wrong(
        &wrong("[[listeners]]\nname = 'b'\naddress = '0.0.0.0:8080'"),
        &["listeners.b.address: 0.0.0.0:8080 is the address of \"public\""],
    );
    let any = LEAST.replace("name = \"public\"", "name = 'public'\naddress = '127.0.0.1:0'");
    let any = format!("{any}[[listeners]]\nname = 'b'\naddress = '127.0.0.1:0'");
    assert!(wrong_with(&any, &Environment::default()).is_empty());
}

#[test]
fn an_issuer_has_its_defaults() {
    let issuer = config("[issuers.a]\njwks_url = 'https://a/jwks'")
        .issuers
        .remove("a")
        .unwrap();
    assert_eq!(issuer.issuer, None);
    assert!(issuer.audiences.is_empty() && issuer.required_claims.is_empty() && issuer.secrets.is_empty());
    assert_eq!(issuer.algorithms, [Algorithm::RS256]);
    assert_eq!(issuer.leeway, secs(30));
    assert_eq!(issuer.max_token_lifetime, secs(0));
    assert_eq!(issuer.refresh_interval, secs(1800));
    assert_eq!(issuer.max_stale, secs(86_400));
    assert_eq!(issuer.request_timeout, secs(5));
    assert_eq!(issuer.token_sources, [TokenSource::Authorization]);
    assert_eq!(issuer.user_prefix, "");
    assert_eq!(issuer.claims.user, ["sub"]);
    assert_eq!(issuer.claims.tenant, ["tenant_id"]);
    assert_eq!(issuer.claims.client, ["client_id"]);
    assert_eq!(issuer.claims.scopes, ["scope", "scp"]);
    assert_eq!(issuer.claims.permissions, ["permissions"]);
    assert_eq!(issuer.claims.roles, ["roles"]);
    assert_eq!(issuer.claims.tier, ["tier"]);
}

#[test]
fn entries_left_out_of_claims_keep_theirs() {
    let claims =
        config("[issuers.a]\njwks_url = 'https://a'\nclaims = { roles = ['realm_access.roles', 'groups'], tier = '' }")
            .issuers["a"]
            .claims
            .clone();
    assert_eq!(claims.roles, ["realm_access.roles", "groups"]);
    assert!(claims.tier.is_empty());
    assert_eq!(claims.user, ["sub"]);
}

#[test]
fn the_default_algorithms_are_those_that_the_keys_can_make() {
    let algorithms = |keys: &str| config(&format!("[issuers.a]\n{keys}")).issuers["a"].algorithms.clone();
    assert_eq!(algorithms("jwks_file = 'keys.json'"), [Algorithm::RS256]);
    assert_eq!(algorithms(SECRETS), [Algorithm::HS256]);
    assert_eq!(
        algorithms(&format!("{SECRETS}\njwks_url = 'https://a'")),
        [Algorithm::RS256, Algorithm::HS256]
    );
}

#[test]
fn an_issuer_has_exactly_one_source_of_keys() {
    for keys in [
        "",
        "audiences = ['a']",
        "jwks_url = 'https://a'\njwks_file = 'keys.json'",
        "discovery = false",
    ] {
        assert_wrong(
            &wrong(&format!("[issuers.a]\n{keys}")),
            &["issuers.a: needs exactly one of `jwks_url`"],
        );
    }
    let errors = wrong("[issuers.a]\njwks_url = 'https://a'\nremote = { url = 'https://a', kind = 'bearer' }");
    assert!(
        errors
            .iter()
            .any(|error| error.contains("issuers.a.remote: stands alone")),
        "{errors:?}"
    );
}

#[test]
fn one_issuer_only_may_leave_iss_out_and_no_two_have_the_same() {
    let two =
        |iss: &str| format!("[issuers.a]\njwks_url = 'https://a'\n{iss}\n[issuers.b]\njwks_url = 'https://b'\n{iss}");
    assert_wrong(&wrong(&two("")), &["issuers.b.issuer: is left out, as in \"a\""]);
    assert_wrong(
        &wrong(&two("issuer = 'x'")),
        &["issuers.b.issuer: is that of \"a\" already"],
    );
}

#[test]
fn api_keys_have_their_defaults_and_rotate_by_id() {
    let key = |n: char| {
        format!(
            "[[api_keys.keys]]\nid = 'ci'\nuser = 'u'\nhash = 'sha256:{}'\n",
            n.to_string().repeat(64)
        )
    };
    let keys = config(&format!("[api_keys]\n{}{}", key('1'), key('2')))
        .api_keys
        .unwrap();
    assert_eq!(keys.sources, [KeySource::Header("X-API-Key".to_owned())]);
    assert!(keys.prefixes.is_empty() && keys.remote.is_none());
    assert_eq!(keys.keys.len(), 2);
    assert_eq!(keys.keys[1].id, "ci");
    assert_eq!(
        (
            keys.keys[0].tenant.as_str(),
            keys.keys[0].tier.as_str(),
            keys.keys[0].expires
        ),
        ("", "", None)
    );
    let errors = wrong("[api_keys]\n[[api_keys.keys]]\nid = 'ci'");
    assert_eq!(errors.len(), 2, "{errors:?}");
    assert!(
        errors[0].starts_with("api_keys.keys.ci.hash: is missing; expected \"sha256:\""),
        "{errors:?}"
    );
    assert!(errors[1].starts_with("api_keys.keys.ci.user: is missing"), "{errors:?}");
}

#[test]
fn internal_has_its_defaults() {
    let internal = config("[internal]\nkeys = ['a-good-key-of-ours']").internal.unwrap();
    assert_eq!(internal.header, "X-Internal-Auth");
    let networks: Vec<String> = internal.allowed_from.iter().map(ToString::to_string).collect();
    assert_eq!(
        networks,
        [
            "127.0.0.0/8",
            "::1/128",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7"
        ]
    );
    assert_eq!(internal.user, "system");
    assert_eq!(internal.scopes, ["internal"]);
    assert!(internal.permissions.is_empty() && internal.roles.is_empty());
    assert_eq!((internal.tenant.as_str(), internal.tier.as_str()), ("", "internal"));
}

#[test]
fn limits_have_their_defaults() {
    let limit = config("[limits.a]\nrate = '120/min'").limits.remove("a").unwrap();
    assert_eq!((limit.burst, limit.concurrent), (None, None));
    assert_eq!(limit.algorithm, LimitAlgorithm::Gcra);
    assert_eq!(limit.by, LimitBy::User);
    assert!(limit.tiers.is_empty() && limit.charge_on.is_empty() && limit.announce);
    assert_eq!(
        (limit.store, limit.on_store_error),
        (LimitStore::Local, OnStoreError::Local)
    );
    assert_eq!(limit.max_keys, 100_000);
    assert_eq!((limit.unit, limit.ipv6_prefix), (LimitUnit::Requests, 64));
    let failures = config("[auth_failures]\nrate = '30/min'").auth_failures.unwrap();
    assert_eq!((failures.by, failures.include_jwt), (LimitBy::Ip, false));
}

#[test]
fn a_limit_needs_a_rate_or_a_number_of_requests_in_flight() {
    assert_wrong(&wrong("[limits.a]"), &["limits.a: needs exactly one of `rate`"]);
    assert_wrong(
        &wrong("[auth_failures]"),
        &["auth_failures.rate: is missing; expected a rate such as"],
    );
}

#[test]
fn an_upstream_has_its_defaults() {
    let upstream = config("").upstreams.remove("app").unwrap();
    assert_eq!(upstream.balance, Balance::LeastRequests);
    assert_eq!(upstream.connect_timeout, secs(2));
    assert_eq!(upstream.response_timeout, secs(30));
    assert_eq!(upstream.try_timeout, secs(0));
    assert_eq!(upstream.body_idle_timeout, secs(60));
    assert_eq!(upstream.stream_idle_timeout, secs(0));
    assert_eq!(
        (upstream.max_in_flight, upstream.retries, upstream.http2),
        (0, 1, false)
    );
    assert!(upstream.health.is_none() && upstream.tls.is_none());
    assert_wrong(&wrong("[upstreams.b]"), &["upstreams.b.urls: is empty"]);
}

#[test]
fn a_route_has_its_defaults() {
    let route = route("");
    assert_eq!(route.action, Action::Upstream("app".to_owned()));
    assert_eq!(route.auth.chain, [AuthMethod::None]);
    assert!(route.listeners.is_empty() && route.hosts.is_empty() && route.methods.is_empty());
    assert!(route.allowed_from.is_empty() && route.issuers.is_empty() && route.token_sources.is_empty());
    assert!(route.shadow.is_none() && route.canary.is_none() && route.cors.is_none() && route.llm.is_none());
    assert_eq!(route.require, Require::default());
    assert!(route.rules.is_empty() && route.limits.is_empty());
    assert_eq!((route.response_timeout, route.max_body), (None, 0));
    assert!(route.set_headers.is_empty() && route.remove_headers.is_empty());
    assert!(route.response_headers_set.is_empty() && route.response_headers_remove.is_empty());
    assert!(!route.preserve_host && route.rewrite_location && route.access_log);
    assert!(!route.close_on_expiry && !route.allow_encoded_slash);
}

#[test]
fn a_route_does_exactly_one_thing() {
    let none = LEAST.replace("upstream = \"app\"\n", "");
    assert_wrong(
        &wrong_with(&none, &Environment::default()),
        &["routes.chat: needs exactly one of `upstream`"],
    );
    let errors = wrong("respond = { body = 'ok' }");
    assert_wrong(&errors, &["routes.chat: needs exactly one of `upstream`"]);
}

#[test]
fn a_route_needs_a_path() {
    let text = LEAST.replace("paths = [\"/chat/*\"]", "paths = []");
    assert_wrong(
        &wrong_with(&text, &Environment::default()),
        &["routes.chat.paths: is empty"],
    );
}

#[test]
fn a_routes_own_key_replaces_that_of_the_defaults_whole() {
    let defaults = "[defaults]\nlimits = ['a', 'b']\nrequire = { scopes_all = ['x'], roles_any = ['r'] }\nauth = 'jwt'\nmax_body = '1KiB'";
    let bare = super::load(&format!("{}{defaults}", LEAST.replace("auth = \"none\"", "")))
        .unwrap()
        .config
        .routes
        .remove(0);
    assert_eq!(bare.limits, ["a", "b"]);
    assert_eq!(bare.require.scopes_all, ["x"]);
    assert_eq!(bare.auth.chain, [AuthMethod::Jwt]);
    assert_eq!(bare.max_body, 1024);
    let own = config(&format!("limits = []\nrequire = {{ scopes_any = ['y'] }}\n{defaults}"))
        .routes
        .remove(0);
    assert!(own.limits.is_empty());
    assert_eq!(
        own.require,
        Require {
            scopes_any: vec!["y".to_owned()],
            ..Require::default()
        }
    );
    assert_eq!(own.auth.chain, [AuthMethod::None]);
}

#[test]
fn a_slip_in_the_defaults_is_reported_once_and_there() {
    let more = "[[routes]]\nname = 'b'\npaths = ['/b']\nupstream = 'app'\nauth = 'none'\n\
                [defaults]\nmax_body = 'big'\nname = 'x'\nrequire = { scope = [] }\nrules = [{ method = [] }, { methods = 'POST' }]";
    let errors = wrong(more);
    let keys: Vec<&str> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(
        keys,
        [
            "defaults.max_body",
            "defaults.name",
            "defaults.require.scope",
            "defaults.rules[0].method",
            "defaults.rules[1].methods"
        ]
    );
}

#[test]
fn rules_and_response_headers_are_read() {
    let route = route(
        "rules = [{ methods = ['POST'], require = { permissions_any = ['tasks.create'] } }]\n\
         response_headers = { set = { Strict-Transport-Security = 'max-age=1' }, remove = ['Server'] }\nresponse_timeout = ''\nremove_headers = ['Authorization']",
    );
    assert_eq!(route.rules[0].methods, ["POST"]);
    assert_eq!(route.rules[0].require.permissions_any, ["tasks.create"]);
    assert_eq!(route.response_headers_set["Strict-Transport-Security"], "max-age=1");
    assert_eq!(route.response_headers_remove, ["Server"]);
    assert_eq!(route.remove_headers, ["Authorization"]);
    assert_eq!(route.response_timeout, None);
    assert_wrong(
        &wrong("rules = [{ methodes = ['POST'] }]"),
        &["routes.chat.rules[0].methodes: unknown key; did you mean \"methods\"?"],
    );
}
