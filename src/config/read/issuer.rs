//! `[issuers.NAME]`.
//!
//! Imports the machinery of `config`.

use std::collections::BTreeMap;

use super::secrets::asking;
use super::{hours, minutes, secs};
use crate::config::cursor::Cursor;
use crate::config::document::Value;
use crate::config::model::{Algorithm, ClaimNames, Issuer, RemoteTokenKind, RemoteTokens, TokenSource};
use crate::config::value as v;

pub(super) fn issuer(t: &mut Cursor<'_, '_>) -> Issuer {
    let (remote, secrets) = (t.given("remote"), t.given("secrets"));
    let (by_url, by_file) = (t.given("jwks_url"), t.given("jwks_file"));
    let discovery = t.key("discovery", false, v::boolean);
    let key_sets = [by_url, by_file, discovery].into_iter().filter(|given| *given).count();
    if remote && (secrets || key_sets > 0) {
        t.problem(
            "remote",
            "stands alone: the auth service judges the token, or keys do; remove one of them",
        );
    } else if !remote && (key_sets > 1 || (key_sets == 0 && !secrets)) {
        t.problem("", "needs exactly one of `jwks_url`, `discovery = true` and `jwks_file` (`secrets` may stand beside it), or `secrets`, or `remote`");
    }
    let algorithms = t.some_or("algorithms", default_algorithms(key_sets > 0, secrets), v::algorithm);
    let hmac = algorithms.iter().copied().filter_map(hmac_bytes).max();
    // Without any key, and without any algorithm, that was said already.
    if !remote && (key_sets > 0 || secrets) && !algorithms.is_empty() {
        algorithms_have_keys(t, &algorithms, key_sets > 0, secrets);
    }
    let issuer = t.optional("issuer", v::some_text);
    if discovery
        && issuer
            .as_deref()
            .is_none_or(|name| v::url(&Value::Text(name.to_owned())).is_err())
    {
        t.problem(
            "discovery",
            "needs `issuer` to be an http(s) URL: its metadata is looked for there",
        );
    }
    Issuer {
        issuer,
        jwks_url: t.optional("jwks_url", v::url),
        discovery,
        jwks_file: t.file("jwks_file"),
        ca: t.file("ca"),
        secrets: t.some_or("secrets", Vec::new(), v::secret(hmac.unwrap_or(32))),
        audiences: t.list("audiences", Vec::new(), v::some_text),
        algorithms,
        required_claims: t.open("required_claims", v::some_text, |t, claim| {
            t.required(claim, crate::config::model::ClaimRule::Present, v::claim_rule)
        }),
        leeway: t.key("leeway", secs(30), v::duration),
        max_token_lifetime: t.key("max_token_lifetime", secs(0), v::duration),
        refresh_interval: t.key("refresh_interval", minutes(30), v::some_duration),
        max_stale: t.key("max_stale", hours(24), v::duration),
        request_timeout: t.key("request_timeout", secs(5), v::some_duration),
        token_sources: t.some_or("token_sources", vec![TokenSource::Authorization], v::token_source),
        origins: t.list("origins", Vec::new(), v::origin),
        user_prefix: t.key("user_prefix", String::new(), v::printable),
        claims: t.section("claims", claim_names),
        remote: t.table("remote", remote_tokens),
    }
}

fn claim_names(t: &mut Cursor<'_, '_>) -> ClaimNames {
    let claim = |t: &mut Cursor<'_, '_>, key, default: &[&str]| {
        let default = default.iter().map(|claim| (*claim).to_owned()).collect();
        t.key(key, default, v::claim_names)
    };
    let names = ClaimNames {
        user: claim(t, "user", &["sub"]),
        tenant: claim(t, "tenant", &["tenant_id"]),
        client: claim(t, "client", &["client_id"]),
        scopes: claim(t, "scopes", &["scope", "scp"]),
        permissions: claim(t, "permissions", &["permissions"]),
        roles: claim(t, "roles", &["roles"]),
        tier: claim(t, "tier", &["tier"]),
    };
    if names.user.is_empty() {
        t.problem("user", "names no claim; a token without a user is nobody's");
    }
    names
}

fn remote_tokens(t: &mut Cursor<'_, '_>) -> RemoteTokens {
    let url = t.required("url", String::new(), v::url);
    let kind = t.required(
        "kind",
        RemoteTokenKind::Bearer,
        v::one_of(&[
            ("bearer", RemoteTokenKind::Bearer),
            ("introspection", RemoteTokenKind::Introspection),
        ]),
    );
    let misplaced = match kind {
        RemoteTokenKind::Bearer => ["bearer", "client_id", "client_secret"].as_slice(),
        RemoteTokenKind::Introspection => &["method"],
    };
    for key in misplaced {
        if t.given(key) {
            t.problem(key, "is not for this `kind`: `method` goes with \"bearer\", where the token itself is the Authorization; a credential of our own goes with \"introspection\"");
        }
    }
    let (id, secret, bearer) = (t.given("client_id"), t.given("client_secret"), t.given("bearer"));
    if id != secret {
        t.problem("client_id", "and `client_secret` go together");
    } else if id && bearer {
        t.problem(
            "bearer",
            "and `client_id` exclude each other: one Authorization is sent",
        );
    }
    RemoteTokens {
        url,
        kind,
        get: t.key("method", false, v::one_of(&[("POST", false), ("GET", true)])),
        bearer: t.optional("bearer", v::secret(1)),
        client_id: t.key("client_id", String::new(), v::printable),
        client_secret: t.optional("client_secret", v::secret(1)),
        asking: asking(t),
    }
}

/// A token without `iss` must belong to one issuer at most, as must one `iss`.
pub(super) fn one_without_iss(t: &mut Cursor<'_, '_>, issuers: &BTreeMap<String, Issuer>) {
    let mut seen: BTreeMap<&Option<String>, &String> = BTreeMap::new();
    for (name, issuer) in issuers {
        let Some(first) = seen.insert(&issuer.issuer, name) else {
            continue;
        };
        let message = match issuer.issuer {
            None => format!("is left out, as in {first:?}; only one issuer may take tokens without `iss`"),
            Some(_) => {
                format!("is that of {first:?} already; a token's `iss` must lead to one issuer")
            }
        };
        t.problem(&format!("issuers.{name}.issuer"), message);
    }
}

/// With secrets alone an RS256 could never hold, nor an HS256 without them.
fn default_algorithms(key_set: bool, secrets: bool) -> Vec<Algorithm> {
    match (key_set, secrets) {
        (true, true) => vec![Algorithm::RS256, Algorithm::HS256],
        (false, true) => vec![Algorithm::HS256],
        (true | false, false) => vec![Algorithm::RS256],
    }
}

/// r21: HS* holds with secrets only, all else with the key set only; an algorithm without its kind of key is a slip.
fn algorithms_have_keys(t: &mut Cursor<'_, '_>, algorithms: &[Algorithm], key_set: bool, secrets: bool) {
    let (hmac, other): (Vec<Algorithm>, Vec<Algorithm>) = algorithms
        .iter()
        .partition(|algorithm| hmac_bytes(**algorithm).is_some());
    let lacks = |list: &[Algorithm], has: bool| list.first().filter(|_| !has).copied();
    if let Some(algorithm) = lacks(&hmac, secrets) {
        t.problem(
            "algorithms",
            format!("{algorithm:?} needs `secrets`, and there are none"),
        );
    }
    if let Some(algorithm) = lacks(&other, key_set) {
        t.problem(
            "algorithms",
            format!("{algorithm:?} needs a key set (`jwks_url`, `jwks_file`), and there is none"),
        );
    }
    if secrets && hmac.is_empty() {
        t.problem(
            "algorithms",
            "allows no HS256, HS384 or HS512, so that `secrets` are never tried; add one of them",
        );
    }
    if key_set && other.is_empty() {
        t.problem(
            "algorithms",
            "allows HS* only, so that the key set is never tried; add RS256, say",
        );
    }
}

/// RFC 7518 §3.2: an HMAC key has the hash's size at least.
fn hmac_bytes(algorithm: Algorithm) -> Option<usize> {
    match algorithm {
        Algorithm::HS256 => Some(32),
        Algorithm::HS384 => Some(48),
        Algorithm::HS512 => Some(64),
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::ES256
        | Algorithm::ES384
        | Algorithm::ES512
        | Algorithm::EdDSA => None,
    }
}
