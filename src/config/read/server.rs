//! `[server]`, `[[listeners]]`, `[admin]`, `[log]`, `[identity]`, `[telemetry]`.
//!
//! Imports the machinery of `config`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::{BY_NAME, secs};
use crate::config::cursor::Cursor;
use crate::config::model::{
    Admin, Certificate, ClientAddressFrom, ClientAuth, HeaderCase, IdentityHeaders, Listener, Log, LogFormat, LogLevel,
    Server, Telemetry,
};
use crate::config::secret::Secret;
use crate::config::value as v;

pub(super) fn server(t: &mut Cursor<'_, '_>) -> Server {
    // `GATEWAY__USE_JWT_AUTH` is a second name, for the hand that rolls back at night.
    t.second_variable("use_jwt_auth", "GATEWAY__USE_JWT_AUTH");
    Server {
        workers: t.key("workers", None, v::workers),
        drain_delay: t.key("drain_delay", secs(0), v::duration),
        drain_timeout: t.key("drain_timeout", secs(30), v::duration),
        header_case: t.key("header_case", HeaderCase::Preserve, header_case),
        overrides_file: {
            let default = PathBuf::from("gateway.overrides.toml");
            let file = t.key("overrides_file", default, v::path);
            t.reader.folder.join(file)
        },
        takeover_socket: {
            let default = PathBuf::from("gateway.takeover.sock");
            let socket = t.key("takeover_socket", default, v::path);
            t.reader.folder.join(socket)
        },
        use_jwt_auth: t.key("use_jwt_auth", true, v::boolean),
        nameservers: t.list("nameservers", Vec::new(), v::socket_address),
    }
}

pub(super) fn listeners(t: &mut Cursor<'_, '_>) -> Vec<Listener> {
    let listeners = t.named_list("listeners", BY_NAME, listener);
    let mut addresses = BTreeMap::new();
    for listener in listeners.iter().filter(|listener| listener.address.port() != 0) {
        if let Some(first) = addresses.insert(listener.address, &listener.name) {
            t.problem(
                &format!("listeners.{}.address", listener.name),
                format!(
                    "{} is the address of {first:?} already; give each its own",
                    listener.address
                ),
            );
        }
    }
    listeners
}

fn listener(t: &mut Cursor<'_, '_>, name: String) -> Listener {
    let everywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
    Listener {
        name,
        address: t.key("address", everywhere, v::socket_address),
        trusted_proxies: t.list("trusted_proxies", Vec::new(), v::network),
        client_address_from: t.key(
            "client_address_from",
            ClientAddressFrom::XForwardedFor,
            client_address_from,
        ),
        proxy_protocol: t.key("proxy_protocol", false, v::boolean),
        max_connections: t.key("max_connections", 20_000, v::integer(1..=10_000_000)),
        max_connections_per_address: t.key("max_connections_per_address", 0, v::integer(0..=10_000_000)),
        header_timeout: t.key("header_timeout", secs(10), v::some_duration),
        idle_timeout: t.key("idle_timeout", secs(75), v::some_duration),
        max_header_bytes: t.key("max_header_bytes", 32 << 10, v::head_size),
        certificates: t.unnamed_list("certificates", certificate),
        client_auth: t.table("client_auth", client_auth),
    }
}

fn certificate(t: &mut Cursor<'_, '_>) -> Certificate {
    Certificate {
        cert: t.required_file("cert"),
        key: t.required_file("key"),
    }
}

fn client_auth(t: &mut Cursor<'_, '_>) -> ClientAuth {
    ClientAuth {
        ca: t.required_file("ca"),
        required: t.key("mode", true, v::one_of(&[("required", true), ("optional", false)])),
    }
}

pub(super) fn admin(t: &mut Cursor<'_, '_>) -> Admin {
    let loopback = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
    Admin {
        address: t.key("address", loopback, v::socket_address),
    }
}

pub(super) fn log(t: &mut Cursor<'_, '_>) -> Log {
    Log {
        format: t.key("format", LogFormat::Json, log_format),
        level: t.key("level", LogLevel::Info, log_level),
        access: t.key("access", true, v::boolean),
        user_agent: t.key("user_agent", false, v::boolean),
    }
}

pub(super) fn identity(t: &mut Cursor<'_, '_>) -> IdentityHeaders {
    let header = |t: &mut Cursor<'_, '_>, key, default: &str| t.key(key, default.to_owned(), v::header_or_off);
    let identity = IdentityHeaders {
        user_header: header(t, "user_header", "X-User-ID"),
        request_header: header(t, "request_header", "X-Request-ID"),
        tenant_header: header(t, "tenant_header", "X-Tenant-ID"),
        scopes_header: header(t, "scopes_header", ""),
        roles_header: header(t, "roles_header", ""),
        permissions_header: header(t, "permissions_header", ""),
        client_header: header(t, "client_header", ""),
        method_header: header(t, "method_header", ""),
        claims: t.section("claims", claim_headers),
    };
    one_value_a_header(t, &identity);
    identity
}

/// Header → claim. What the file leaves out keeps its default, whatever the case of the header's name.
fn claim_headers(t: &mut Cursor<'_, '_>) -> BTreeMap<String, String> {
    const USER_EMAIL: &str = "X-User-Email";
    let mut headers = t.keys();
    if !headers.iter().any(|header| header.eq_ignore_ascii_case(USER_EMAIL)) {
        headers.push(USER_EMAIL.to_owned());
    }
    let claim = |header: String| {
        t.valid_name(&header, v::writable_header);
        let default = if header == USER_EMAIL { "email" } else { "" };
        (header.clone(), t.key(&header, default.to_owned(), v::text))
    };
    headers.into_iter().map(claim).collect()
}

/// Two identity headers that are one to an upstream (`_` and case folded) would overwrite each other.
fn one_value_a_header(t: &mut Cursor<'_, '_>, identity: &IdentityHeaders) {
    let fixed = [
        &identity.user_header,
        &identity.request_header,
        &identity.tenant_header,
        &identity.scopes_header,
        &identity.roles_header,
        &identity.permissions_header,
        &identity.client_header,
        &identity.method_header,
    ];
    let mut seen = BTreeSet::new();
    for header in fixed.into_iter().chain(identity.claims.keys()) {
        let folded = header.to_ascii_lowercase().replace(['_', '.'], "-");
        if !header.is_empty() && !seen.insert(folded) {
            t.problem(
                "",
                format!("the header {header} would carry two values; each needs its own name"),
            );
        }
    }
}

pub(super) fn telemetry(t: &mut Cursor<'_, '_>) -> Telemetry {
    Telemetry {
        otlp: t.optional("otlp", v::url),
        sample: t.key("sample", 0.1, v::number(0.0..=1.0)),
        headers: t.open("headers", v::writable_header, |t, header| {
            t.required(header, Secret::new(String::new()), v::secret_header_value)
        }),
    }
}

fn header_case(value: &v::Value) -> Result<HeaderCase, v::Wrong> {
    v::one_of(&[("preserve", HeaderCase::Preserve), ("lower", HeaderCase::Lower)])(value)
}

fn client_address_from(value: &v::Value) -> Result<ClientAddressFrom, v::Wrong> {
    v::one_of(&[
        ("x-forwarded-for", ClientAddressFrom::XForwardedFor),
        ("forwarded", ClientAddressFrom::Forwarded),
        ("x-real-ip", ClientAddressFrom::XRealIp),
    ])(value)
}

fn log_format(value: &v::Value) -> Result<LogFormat, v::Wrong> {
    v::one_of(&[("json", LogFormat::Json), ("text", LogFormat::Text)])(value)
}

fn log_level(value: &v::Value) -> Result<LogLevel, v::Wrong> {
    v::one_of(&[
        ("error", LogLevel::Error),
        ("warn", LogLevel::Warn),
        ("info", LogLevel::Info),
        ("debug", LogLevel::Debug),
        ("trace", LogLevel::Trace),
    ])(value)
}
