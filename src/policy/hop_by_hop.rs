//! What is for one hop only (RFC 9110 §7.6.1): headers that end here, those that `Connection` names, and upgrades.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};
use smallvec::SmallVec;

/// Headers that end at this hop, on requests and responses.
pub(super) const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Takes off what `Connection` names.
pub(super) fn remove_nominated(headers: &mut HeaderMap) {
    let mut nominated: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for value in headers.get_all(header::CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        for name in names {
            // What every client sends needs no look-up: these go anyway. Host is for every recipient and no option (RFC 9110
            // §7.6.1); it is judged, so it stays (hardening r04).
            let usual: [&[u8]; 3] = [b"keep-alive", b"close", b"host"];
            if usual.iter().any(|usual| name.eq_ignore_ascii_case(usual)) {
                continue;
            }
            nominated.extend(HeaderName::from_bytes(name));
        }
    }
    for name in nominated {
        headers.remove(name);
    }
}

/// Whether the client takes trailers (RFC 9110 §10.1.4).
pub(super) fn wants_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(header::TE).iter().any(|value| {
        let codings = value.as_bytes().split(|byte| *byte == b',');
        codings
            .into_iter()
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    })
}

/// The protocol to upgrade to, when the request is a sound upgrade: GET, HTTP/1.1, no body, `Connection: upgrade` and one
/// protocol. Any other is forwarded as a plain request, and `h2c` never passes (hardening r30).
#[must_use]
pub fn upgrade_of(version: Version, method: &Method, headers: &HeaderMap) -> Option<HeaderValue> {
    let mut protocols = headers.get_all(header::UPGRADE).iter();
    let protocol = protocols.next().filter(|_| protocols.next().is_none())?;
    let has_body = headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0");
    let nominated = headers.get_all(header::CONNECTION).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',');
        names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
    (version == Version::HTTP_11 && *method == Method::GET && !has_body && nominated && websocket)
        .then(|| protocol.clone())
}

/// Takes hop-by-hop headers off a response; a 101 keeps its `Upgrade` and says `Connection: upgrade` (hardening r35).
pub fn strip_response(headers: &mut HeaderMap, status: StatusCode) {
    let upgrade = (status == StatusCode::SWITCHING_PROTOCOLS)
        .then(|| headers.get(header::UPGRADE).cloned())
        .flatten();
    let gone: SmallVec<[HeaderName; 4]> = headers
        .keys()
        .filter(|name| HOP_BY_HOP.contains(name))
        .cloned()
        .collect();
    if gone.contains(&header::CONNECTION) {
        remove_nominated(headers);
    }
    for name in gone {
        headers.remove(name);
    }
    if let Some(protocol) = upgrade {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
}
