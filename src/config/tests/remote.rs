//! `[api_keys.remote]` and `issuers.NAME.remote`: their defaults, and what they refuse.

use super::{assert_wrong, config, wrong};
use crate::config::model::{RemoteKeyIn, RemoteTokenKind, RemoteTokens, Scalar};

#[test]
fn remote_keys_have_the_defaults_of_the_reference() {
    let keys = config("[api_keys]\n[api_keys.remote]\nurl = 'https://a/validate'")
        .api_keys
        .unwrap();
    let remote = keys.remote.unwrap();
    assert_eq!(remote.key_in, RemoteKeyIn::Body("api_key".to_owned()));
    assert!(remote.extra.is_empty() && remote.client_address.is_empty() && remote.bearer.is_none());
    let asking = remote.asking;
    let times = [
        asking.cache_ttl,
        asking.negative_ttl,
        asking.stale_if_error,
        asking.timeout,
    ];
    assert_eq!(times.map(|time| time.as_secs()), [300, 10, 3600, 2]);
    assert_eq!((asking.retries, asking.max_entries), (2, 100_000));
    assert_eq!(
        (remote.fields.user.as_str(), remote.fields.expires.as_str()),
        ("user_id", "expires_at")
    );
    assert!(remote.manage_url.is_none() && remote.manage_token.is_none());
}

#[test]
fn the_question_takes_every_shape() {
    let remote = config(
        "[api_keys]\n[api_keys.remote]\nurl = 'http://a/v'\nfields = { user = 'data.user' }\n\
         request = { key_in = 'header:X-Key', extra = { n = 1, b = true, s = 'x' }, client_address = 'ip' }",
    );
    let remote = remote.api_keys.unwrap().remote.unwrap();
    assert_eq!(remote.key_in, RemoteKeyIn::Header("X-Key".to_owned()));
    assert_eq!(remote.extra["n"], Scalar::Integer(1));
    assert_eq!(
        (remote.client_address.as_str(), remote.fields.user.as_str()),
        ("ip", "data.user")
    );
    assert_eq!(remote.fields.tenant, "tenant_id", "what is left out keeps its default");
}

#[test]
fn a_question_that_cannot_be_put_is_refused() {
    for (lines, says) in [
        (
            "request = { key_in = 'bearer' }\nbearer = 'ours'",
            "api_keys.remote.bearer: has no place",
        ),
        (
            "request = { key_in = 'header:Authorization' }\nbearer = 'ours'",
            "api_keys.remote.bearer: has no place",
        ),
        (
            "request = { key_in = 'body:k', extra = { k = 1 } }",
            "request.key_in: names a field",
        ),
        (
            "request = { key_in = 'body:k', client_address = 'k' }",
            "request.key_in: names a field",
        ),
        (
            "request = { extra = { ip = 1 }, client_address = 'ip' }",
            "request.client_address: is a field of `extra` too",
        ),
        (
            "request = { key_in = 'query:k' }",
            "request.key_in: expected \"body:FIELD\"",
        ),
        ("timeout = '0s'", "timeout"),
    ] {
        let errors = wrong(&format!("[api_keys]\n[api_keys.remote]\nurl = 'http://a/v'\n{lines}"));
        assert_wrong(&errors, &[says]);
    }
}

fn tokens(keys: &str) -> RemoteTokens {
    let issuer = config(&format!("[issuers.a]\nremote = {{ url = 'https://a', {keys} }}"))
        .issuers
        .remove("a");
    issuer.unwrap().remote.unwrap()
}

#[test]
fn remote_tokens_are_judged_by_a_validate_url_or_by_introspection() {
    let remote = tokens("kind = 'bearer'");
    assert_eq!((remote.kind, remote.get), (RemoteTokenKind::Bearer, false));
    assert_eq!(remote.asking.cache_ttl.as_secs(), 300);
    assert!(tokens("kind = 'bearer', method = 'GET'").get);
    let remote = tokens("kind = 'introspection', client_id = 'gw', client_secret = 'ours', cache_ttl = '1m'");
    assert_eq!(remote.kind, RemoteTokenKind::Introspection);
    assert_eq!(
        (remote.client_id.as_str(), remote.asking.cache_ttl.as_secs()),
        ("gw", 60)
    );
    for (keys, says) in [
        ("kind = 'x'", "kind"),
        ("kind = 'bearer', bearer = 'ours'", "bearer: is not for this `kind`"),
        (
            "kind = 'introspection', method = 'GET'",
            "method: is not for this `kind`",
        ),
        (
            "kind = 'introspection', client_id = 'gw'",
            "client_id: and `client_secret` go together",
        ),
        (
            "kind = 'introspection', client_id = 'gw', client_secret = 'x', bearer = 'ours'",
            "bearer: and `client_id` exclude each other",
        ),
    ] {
        let errors = wrong(&format!("[issuers.a]\nremote = {{ url = 'https://a', {keys} }}"));
        assert_wrong(&errors, &[says]);
    }
}
