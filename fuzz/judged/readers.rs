//! Bytes as what is read of a request before it is judged: its head, path, credential, forwarding headers, a proxy's introduction.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use gateway::policy::address::{Believed, Networks, Origin, Trust};
use gateway::policy::credential::{Credential, CredentialPlaces, KeySources, TokenPlace, TokenSource};
use gateway::policy::facts::{Facts, Now};
use gateway::policy::identity::AuthMethod;
use gateway::policy::path::RequestPath;
use gateway::policy::proxy_header;
use gateway::protocol::read_head_within;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

const MAX_HEAD: usize = 32 << 10;
const MAX_TARGET: usize = 16 << 10;

/// These bytes as the head of a request: what is taken has one line end, one host, one framing.
pub fn head(bytes: &[u8]) {
    let head = Bytes::copy_from_slice(bytes);
    let Ok((request, _, framing)) = read_head_within(&head, MAX_HEAD, MAX_TARGET) else {
        return;
    };
    let mut text = head.strip_suffix(b"\r\n\r\n").expect("an empty line at the end");
    // Old clients send empty lines before the request line (RFC 9112 §2.2).
    while let Some(rest) = text.strip_prefix(b"\r\n") {
        text = rest;
    }
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let (last, all_but_last) = lines.split_last().expect("a request line");
    assert!(all_but_last.iter().all(|line| line.ends_with(b"\r")), "a bare LF");
    let bare_cr = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).contains(&b'\r');
    assert!(
        !lines.iter().any(|line| bare_cr(line)) && !last.contains(&b'\r'),
        "a bare CR"
    );
    let fields = lines.get(1..).unwrap_or_default();
    assert_eq!(request.headers().len(), fields.len(), "a field got lost, or was folded");
    let told = |name: &str| request.headers().get_all(name).iter().count();
    assert!(told("host") <= 1 && told("content-length") <= 1);
    assert!(told("host") == 1 || request.version() == http::Version::HTTP_10);
    assert!(
        told("content-length") == 0 || told("transfer-encoding") == 0,
        "two framings"
    );
    assert_eq!(framing.content_length.is_none(), told("transfer-encoding") > 0);
}

/// These bytes as a path: what is taken has one meaning, also for whoever decodes it once more.
pub fn path(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else { return };
    let Ok(path) = RequestPath::read(raw) else { return };
    let segments: Vec<Vec<u8>> = path.segments().map(|segment| segment.into_owned()).collect();
    for segment in &segments {
        let bare = segment.split(|byte| *byte == b';').next().unwrap_or_default();
        assert!(bare != b"." && bare != b"..", "a dot segment: {raw}");
        assert!(!segment.contains(&0) && !segment.contains(&b'\\'), "{raw}");
        assert!(!segment.contains(&b'/') || path.has_encoded_slash(), "{raw}");
    }
    let decoded = [b"/".to_vec(), segments.join(&b'/')].concat();
    let again = String::from_utf8(decoded)
        .ok()
        .filter(|text| !text.contains(['%', '#']));
    if let Some(again) = again.filter(|_| !path.has_encoded_slash()) {
        let second = RequestPath::read(&again);
        let second = second.unwrap_or_else(|fault| panic!("{raw} is {again}, which is {fault:?}"));
        assert!(
            second.segments().map(|segment| segment.into_owned()).eq(segments),
            "{raw}"
        );
    }
}

/// A target in the first line, then `Name: value` a line: a credential that is found was there, under a name that may have one.
pub fn credential(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(target) = lines.next().and_then(|line| Uri::try_from(line).ok()) else {
        return;
    };
    let headers = headers(lines);
    let (origin, now) = (
        origin_of(Ipv4Addr::LOCALHOST.into()),
        Now {
            unix_s: 0,
            monotonic_ns: 0,
        },
    );
    let Ok(facts) = Facts::read(&Method::GET, &target, &headers, origin, 0, now) else {
        return;
    };
    let names = ["x-api-key", "x-internal-auth", "x-token"].map(HeaderName::from_static);
    let [key, internal, token] = names.clone();
    let places = CredentialPlaces {
        api_keys: KeySources {
            headers: vec![key],
            bearer: true,
            basic: true,
            prefixes: vec!["hok_live_".to_owned()],
        },
        internal: Some(internal),
        ..CredentialPlaces::default()
    };
    let sources = [
        TokenSource::Authorization,
        TokenSource::Header(token),
        TokenSource::Query("access_token".into()),
        TokenSource::Cookie("session".into()),
        TokenSource::WebSocketProtocol,
    ];
    let token_places = sources.map(TokenPlace::of);
    let chain = [AuthMethod::Jwt, AuthMethod::ApiKey, AuthMethod::Internal];
    let Ok(presented) = places.presented(&chain, &token_places, &facts) else {
        return;
    };
    let within = |part: &[u8]| part.is_empty() || bytes.windows(part.len()).any(|window| window == part);
    match &presented.credential {
        Credential::Token(token) => assert!(within(token.as_bytes()), "a token that nobody sent"),
        Credential::ApiKey(key) => assert!(within(key) || key.starts_with(b"hok_live_"), "a key that nobody sent"),
        Credential::Internal(secret) => assert!(within(secret), "a secret that nobody sent"),
        Credential::Absent => assert!(!names.iter().any(|name| headers.contains_key(name)), "passed over"),
        Credential::Anonymous => panic!("`none` is not in this chain"),
    }
    let bare = headers.is_empty() && target.query().is_none();
    assert!(!bare || presented.credential == Credential::Absent);
}

/// Which header is believed and whether the peer is trusted, in the first byte; then a value a line.
pub fn forwarded(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else {
        return;
    };
    let (believed, name) = match choice % 3 {
        0 => (Believed::XForwardedFor, "x-forwarded-for"),
        1 => (Believed::Forwarded, "forwarded"),
        _ => (Believed::XRealIp, "x-real-ip"),
    };
    let proxies = Networks::new(vec!["10.0.0.0/8".parse().expect("a network")]);
    let trust = Trust { proxies, believed };
    let mut headers = HeaderMap::new();
    for value in rest.split(|byte| *byte == b'\n').take(50) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let stranger: IpAddr = Ipv4Addr::new(203, 0, 113, 7).into();
    let told = trust.origin(stranger, &headers);
    assert!(told.client == stranger && !told.peer_trusted, "a stranger was believed");
    let proxy: IpAddr = Ipv4Addr::new(10, 0, 0, 1).into();
    let told = trust.origin(proxy, &headers);
    assert!(told.peer_trusted && told.client.to_canonical() == told.client);
    // A second reader of plain lists, from the right: past our own, up to the first that is not, or that cannot be read.
    if believed == Believed::XForwardedFor {
        let mut expected = proxy;
        let values = headers
            .get_all(name)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect::<Vec<_>>()
            .join(&b',');
        for entry in values.rsplit(|byte| *byte == b',') {
            let entry = std::str::from_utf8(entry).unwrap_or("?").trim_matches([' ', '\t']);
            if entry.contains([':', '[']) {
                // Ports and IPv6: left to the first reader.
                return;
            }
            let Ok(address) = entry.parse::<IpAddr>() else { break };
            expected = address;
            if !trust.proxies.contain(address) {
                break;
            }
        }
        assert_eq!(told.client, expected);
    }
}

/// These bytes as what a proxy says first: a header is found when it is whole, and not before or otherwise.
pub fn proxy(bytes: &[u8]) {
    let Ok(Some(found)) = proxy_header::read(bytes) else {
        return;
    };
    assert!(found.length <= bytes.len());
    for end in 0..found.length {
        let part = proxy_header::read(bytes.get(..end).unwrap_or_default());
        assert_eq!(part, Ok(None), "decided at {end} of {}", found.length);
    }
    assert_eq!(
        proxy_header::read(bytes.get(..found.length).unwrap_or_default()),
        Ok(Some(found))
    );
}

/// `Name: value` lines; those that are none are passed over.
pub(super) fn headers<'b>(lines: impl Iterator<Item = &'b [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// A peer that speaks for itself.
pub(super) fn origin_of(peer: IpAddr) -> Origin {
    Origin {
        peer,
        peer_trusted: false,
        client: peer,
    }
}
