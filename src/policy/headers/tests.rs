//! What reaches the upstream, and what does not.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use http::{Method, StatusCode, Version};

use super::*;
use crate::policy::hop_by_hop::{strip_response, upgrade_of};
use crate::policy::identity::{CallerKeys, HeaderText};

fn rules() -> HeaderRules {
    HeaderRules::new(WrittenNames {
        request_id: Some(HeaderName::from_static("x-request-id")),
        identity: &identity_headers(),
        set: vec![
            HeaderName::from_static("x-service"),
            HeaderName::from_static("x-internal-auth"),
        ],
        credentials: vec![header::AUTHORIZATION, HeaderName::from_static("x-api-key")],
        secret: Some(HeaderName::from_static("x-internal-auth")),
    })
}

fn identity_headers() -> IdentityHeaders {
    IdentityHeaders {
        user: Some(HeaderName::from_static("x-user-id")),
        tenant: Some(HeaderName::from_static("x-tenant-id")),
        ..IdentityHeaders::default()
    }
}

fn identity(method: AuthMethod) -> Identity {
    let mut identity = Identity {
        method,
        user: HeaderText::new("ada").unwrap(),
        acting_for: None,
        tenant: None,
        client: None,
        scopes: vec![],
        permissions: vec![],
        roles: vec![],
        tier: None,
        issuer: Some(Arc::from("main")),
        key_id: None,
        keys: CallerKeys::default(),
        headers: vec![],
    };
    identity.headers = identity_headers().of(&identity, &[]);
    identity
}

/// Who stands on the other side of the connection.
struct Peer {
    trusted: bool,
    believed: Believed,
    secret_allowed: bool,
}

const STRANGER: Peer = Peer {
    trusted: false,
    believed: Believed::XForwardedFor,
    secret_allowed: false,
};

fn upstream(peer: &Peer, identity: Option<&Identity>, client: &[(&str, &str)]) -> Vec<String> {
    let mut headers: HeaderMap = HeaderMap::new();
    for (name, value) in client {
        headers.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
    }
    let origin = Origin {
        peer: "203.0.113.9".parse().unwrap(),
        peer_trusted: peer.trusted,
        client: "203.0.113.9".parse().unwrap(),
    };
    let hop = Hop {
        origin: &origin,
        peer: &address_value(origin.peer),
        believed: peer.believed,
        secret_allowed: peer.secret_allowed,
        secure: false,
        request_id: &HeaderValue::from_static("r-1"),
        upgrade: None,
        trace: None,
    };
    rules().to_upstream(&mut headers, &RouteHeaders::default(), identity, &hop);
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .filter(|line| !is_always_there(line))
        .collect();
    lines.sort();
    lines
}

fn is_always_there(line: &str) -> bool {
    [
        "x-forwarded-for: 203.0.113.9",
        "x-forwarded-proto: http",
        "x-request-id: r-1",
    ]
    .contains(&line)
}

#[test]
fn everything_else_passes_unchanged() {
    let client = [
        ("authorization", "Bearer t"),
        ("x-api-key", "k"),
        ("mlflow_tracking_token", "m"),
        ("x-amz-security-token", "a"),
        ("traceparent", "00-1"),
        ("accept", "a"),
        ("accept", "b"),
    ];
    let mut expected: Vec<String> = client.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    expected.sort();
    assert_eq!(upstream(&STRANGER, None, &client), expected);
}

#[test]
fn r01_a_strangers_identity_headers_go_also_where_nobody_is_authenticated() {
    let spoofed = [
        ("x-user-id", "root"),
        ("x-user-id", "admin"),
        ("x-tenant-id", "acme"),
        ("x-request-id", "x"),
    ];
    assert!(upstream(&STRANGER, None, &spoofed).is_empty());
    assert_eq!(
        upstream(&STRANGER, Some(&identity(AuthMethod::Jwt)), &spoofed),
        ["x-user-id: ada"]
    );
}

#[test]
fn r02_aliases_of_what_is_written_go_too() {
    let spoofed = [
        ("x_user_id", "root"),
        ("x.user-id", "root"),
        ("x-user_id", "root"),
        ("x_request_id", "x"),
        ("x_forwarded_for", "127.0.0.1"),
        ("x_real_ip", "127.0.0.1"),
        ("x_service", "1"),
        ("x_api_key", "k"),
        ("x_internal_auth", "s"),
    ];
    let trusted = Peer {
        trusted: true,
        secret_allowed: true,
        ..STRANGER
    };
    for peer in [STRANGER, trusted] {
        assert!(upstream(&peer, None, &spoofed).is_empty());
    }
}

#[test]
fn r04_what_connection_names_goes_first_and_cannot_name_what_is_set() {
    let client = [
        ("connection", "X-User-ID, Authorization, X-Hop, keep-alive, close"),
        ("authorization", "Bearer t"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "gzip"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
        ("proxy-connection", "keep-alive"),
        ("x-stays", "1"),
    ];
    assert_eq!(
        upstream(&STRANGER, Some(&identity(AuthMethod::Jwt)), &client),
        ["x-stays: 1", "x-user-id: ada"]
    );
}

#[test]
fn te_trailers_is_issued_again() {
    assert_eq!(
        upstream(&STRANGER, None, &[("te", "gzip;q=1, Trailers"), ("connection", "te")]),
        ["te: trailers"]
    );
}

#[test]
fn r42_the_legacy_secret_passes_only_from_its_own_networks() {
    let client = [("x-internal-auth", "s")];
    assert!(upstream(&STRANGER, None, &client).is_empty());
    let inside = Peer {
        secret_allowed: true,
        ..STRANGER
    };
    assert_eq!(upstream(&inside, None, &client), ["x-internal-auth: s"]);
}

#[test]
fn an_internal_callers_own_identity_headers_are_kept() {
    let inside = Peer {
        secret_allowed: true,
        ..STRANGER
    };
    let client = [("x-user-id", "42"), ("x-tenant-id", "acme"), ("x_user_id", "root")];
    assert_eq!(
        upstream(&inside, Some(&identity(AuthMethod::Internal)), &client),
        ["x-tenant-id: acme", "x-user-id: 42"]
    );
}

#[test]
fn r43_of_the_forwarding_headers_only_the_believed_form_of_a_trusted_proxy_passes() {
    let said = [
        ("x-forwarded-for", "198.51.100.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
        ("forwarded", "for=127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ];
    assert!(upstream(&STRANGER, None, &said).is_empty());
    let proxy = Peer {
        trusted: true,
        ..STRANGER
    };
    assert_eq!(
        upstream(&proxy, None, &said),
        [
            "x-forwarded-for: 198.51.100.1, 203.0.113.9",
            "x-forwarded-port: 443",
            "x-forwarded-proto: https"
        ]
    );
    let proxy = Peer {
        trusted: true,
        believed: Believed::Forwarded,
        ..STRANGER
    };
    assert_eq!(upstream(&proxy, None, &said), ["forwarded: for=127.0.0.1"]);
}

#[test]
fn a_routes_own_headers_are_set_last_and_replace_every_copy() {
    let route = RouteHeaders {
        set: vec![(
            HeaderName::from_static("x-internal-auth"),
            Setting::Fixed(HeaderValue::from_static("ours")),
        )],
        remove: vec![header::AUTHORIZATION],
        ..RouteHeaders::default()
    };
    let mut headers = HeaderMap::new();
    headers.append("x-internal-auth", HeaderValue::from_static("a"));
    headers.append("x-internal-auth", HeaderValue::from_static("b"));
    headers.append("authorization", HeaderValue::from_static("Bearer t"));
    let origin = Origin {
        peer: [127, 0, 0, 1].into(),
        peer_trusted: false,
        client: [127, 0, 0, 1].into(),
    };
    let hop = Hop {
        origin: &origin,
        peer: &address_value(origin.peer),
        believed: Believed::XForwardedFor,
        secret_allowed: true,
        secure: true,
        request_id: &HeaderValue::from_static("r"),
        upgrade: None,
        trace: None,
    };
    rules().to_upstream(&mut headers, &route, None, &hop);
    let values: Vec<_> = headers.get_all("x-internal-auth").iter().collect();
    assert_eq!(values, ["ours"]);
    assert!(!headers.contains_key("authorization"));
    assert_eq!(headers["x-forwarded-proto"], "https");
}

#[test]
fn r30_only_a_sound_websocket_upgrade_is_one() {
    let upgrade = |method: Method, pairs: &[(&'static str, &str)]| {
        let headers = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        assert!(upgrade_of(Version::HTTP_10, &method, &headers).is_none());
        upgrade_of(Version::HTTP_11, &method, &headers).is_some()
    };
    let sound = [("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")];
    assert!(upgrade(Method::GET, &sound));
    assert!(!upgrade(Method::POST, &sound));
    assert!(!upgrade(Method::GET, &[sound[0], sound[1], ("content-length", "5")]));
    assert!(!upgrade(Method::GET, &[sound[0], ("upgrade", "h2c")]));
    assert!(!upgrade(Method::GET, &[sound[0], ("upgrade", "websocket, h2c")]));
    assert!(!upgrade(Method::GET, &[sound[0], sound[1], ("upgrade", "h2c")]));
    assert!(!upgrade(Method::GET, &[("connection", "close"), sound[1]]));
    assert!(!upgrade(Method::GET, &[sound[1]]));
}

#[test]
fn r35_a_101_keeps_its_upgrade_and_nothing_else_of_the_hop() {
    let response = |status| {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "Upgrade, X-Hop"),
            ("upgrade", "websocket"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        strip_response(&mut headers, status);
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    };
    assert_eq!(
        response(StatusCode::SWITCHING_PROTOCOLS),
        ["connection", "sec-websocket-accept", "upgrade"]
    );
    assert_eq!(response(StatusCode::OK), ["sec-websocket-accept"]);
}

#[test]
fn host_is_the_upstreams_unless_the_route_keeps_the_clients_and_there_is_one() {
    let mut headers = HeaderMap::new();
    let preserving = RouteHeaders {
        preserve_host: true,
        ..RouteHeaders::default()
    };
    assert!(!preserving.keeps_host(&headers), "HTTP/1.0, or nominated by Connection");
    headers.insert(header::HOST, HeaderValue::from_static("a"));
    assert!(preserving.keeps_host(&headers));
    assert!(!RouteHeaders::default().keeps_host(&headers));
}
