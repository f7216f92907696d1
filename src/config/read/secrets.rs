//! `[api_keys]` and `[internal]`.
//!
//! Imports the machinery of `config`.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{hours, minutes, secs, strings};
use crate::config::cursor::{Cursor, Naming};
use crate::config::model::{
    ApiKey, ApiKeys, Asking, Internal, KeySource, RemoteFields, RemoteKeyIn, RemoteKeys, Scalar,
};
use crate::config::value as v;

/// Several entries with one id are a rotation.
const BY_ID: Naming = Naming {
    key: "id",
    unique: false,
};

/// Shorter secrets are guessed; the legacy ones in use are short, so the bound is low.
const SHORTEST_INTERNAL_KEY: usize = 8;

pub(super) fn api_keys(t: &mut Cursor<'_, '_>) -> ApiKeys {
    let header = KeySource::Header("X-API-Key".to_owned());
    ApiKeys {
        sources: t.some_or("sources", vec![header], v::key_source),
        prefixes: t.list("prefixes", Vec::new(), v::some_text),
        keys: t.named_list("keys", BY_ID, api_key),
        remote: t.table("remote", remote_keys),
    }
}

fn api_key(t: &mut Cursor<'_, '_>, id: String) -> ApiKey {
    ApiKey {
        id,
        hash: t.required("hash", [0; 32], v::hash),
        user: t.required("user", String::new(), v::some_printable),
        tenant: t.key("tenant", String::new(), v::printable),
        scopes: t.list("scopes", Vec::new(), v::some_printable),
        permissions: t.list("permissions", Vec::new(), v::some_printable),
        roles: t.list("roles", Vec::new(), v::some_printable),
        tier: t.key("tier", String::new(), v::printable),
        expires: t.optional("expires", v::moment),
    }
}

fn remote_keys(t: &mut Cursor<'_, '_>) -> RemoteKeys {
    let url = t.required("url", String::new(), v::url);
    let (key_in, extra, client_address) = t.section("request", request);
    let in_authorization = match &key_in {
        RemoteKeyIn::Bearer => true,
        RemoteKeyIn::Header(name) => name.eq_ignore_ascii_case("authorization"),
        RemoteKeyIn::Body(_) => false,
    };
    if in_authorization && t.given("bearer") {
        t.problem(
            "bearer",
            "has no place: the key itself is sent as Authorization; leave it out, or send the key in the body or another header",
        );
    }
    RemoteKeys {
        url,
        key_in,
        extra,
        client_address,
        bearer: t.optional("bearer", v::secret(1)),
        asking: asking(t),
        fields: t.section("fields", fields),
        ca: t.file("ca"),
        manage_url: t.optional("manage_url", v::url),
        manage_token: t.optional("manage_token", v::secret(1)),
    }
}

/// Of an auth service.
pub(super) fn asking(t: &mut Cursor<'_, '_>) -> Asking {
    Asking {
        cache_ttl: t.key("cache_ttl", minutes(5), v::duration),
        negative_ttl: t.key("negative_ttl", secs(10), v::duration),
        stale_if_error: t.key("stale_if_error", hours(1), v::duration),
        timeout: t.key("timeout", secs(2), v::some_duration),
        retries: t.key("retries", 2, v::integer(0..=10)),
        max_entries: t.key("max_entries", 100_000, v::integer(1..=100_000_000)),
    }
}

fn request(t: &mut Cursor<'_, '_>) -> (RemoteKeyIn, BTreeMap<String, Scalar>, String) {
    let key_in = t.key("key_in", RemoteKeyIn::Body("api_key".to_owned()), v::remote_key_in);
    let extra = t.open("extra", v::some_text, |t, field| {
        t.required(field, Scalar::Bool(false), v::scalar)
    });
    let client_address = t.key("client_address", String::new(), v::text);
    let key_field = match &key_in {
        RemoteKeyIn::Body(field) => Some(field),
        RemoteKeyIn::Bearer | RemoteKeyIn::Header(_) => None,
    };
    // One member cannot hold two things, and whose answer it would then be nobody could say.
    if key_field.is_some_and(|field| extra.contains_key(field) || *field == client_address) {
        t.problem("key_in", "names a field of the body that holds something else too");
    }
    if extra.contains_key(&client_address) {
        t.problem("client_address", "is a field of `extra` too");
    }
    (key_in, extra, client_address)
}

fn fields(t: &mut Cursor<'_, '_>) -> RemoteFields {
    let field = |t: &mut Cursor<'_, '_>, key, default: &str| t.key(key, default.to_owned(), v::text);
    RemoteFields {
        user: t.key("user", "user_id".to_owned(), v::some_text),
        tenant: field(t, "tenant", "tenant_id"),
        scopes: field(t, "scopes", "scopes"),
        permissions: field(t, "permissions", "permissions"),
        roles: field(t, "roles", "roles"),
        tier: field(t, "tier", "tier"),
        valid: field(t, "valid", "valid"),
        key_id: field(t, "key_id", "key_id"),
        expires: field(t, "expires", "expires_at"),
    }
}

pub(super) fn internal(t: &mut Cursor<'_, '_>) -> Internal {
    Internal {
        header: t.key("header", "X-Internal-Auth".to_owned(), v::writable_header),
        // r18, r27: without a key of one's own there is no door at all.
        keys: t.some("keys", v::secret(SHORTEST_INTERNAL_KEY)),
        allowed_from: t.some_or("allowed_from", private_networks(), v::network),
        user: t.key("user", "system".to_owned(), v::some_printable),
        scopes: t.list("scopes", strings(["internal"]), v::some_printable),
        permissions: t.list("permissions", Vec::new(), v::some_printable),
        roles: t.list("roles", Vec::new(), v::some_printable),
        tenant: t.key("tenant", String::new(), v::printable),
        tier: t.key("tier", "internal".to_owned(), v::printable),
    }
}

/// Loopback, RFC 1918 and RFC 4193.
fn private_networks() -> Vec<IpNet> {
    [
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fc00::/7",
    ]
    .iter()
    .filter_map(|network| network.parse().ok())
    .collect()
}
