//! The gateway's own answers to a gRPC caller: always 200, with the status where gRPC looks for it ("gRPC over HTTP/2",
//! Trailers-Only). Depends on nothing of the crate.

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, StatusCode, Version};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request is a gRPC call. gRPC-Web, which browsers can speak, is told by HTTP statuses.
#[must_use]
pub fn is_call(version: Version, headers: &HeaderMap) -> bool {
    if version != Version::HTTP_2 {
        return false;
    }
    let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// Says `status` and `description` in gRPC's headers. Descriptions are ours: printable ASCII without `%`.
pub fn tell(headers: &mut HeaderMap, status: StatusCode, description: &'static str) {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(GRPC_STATUS, HeaderValue::from(code_of(status)));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(description));
}

/// gRPC's code for a status: those of "HTTP to gRPC Status Code Mapping", told apart further where the gateway knows more.
const fn code_of(status: StatusCode) -> u16 {
    const UNKNOWN: u16 = 2;
    const DEADLINE_EXCEEDED: u16 = 4;
    const PERMISSION_DENIED: u16 = 7;
    const RESOURCE_EXHAUSTED: u16 = 8;
    const UNIMPLEMENTED: u16 = 12;
    const INTERNAL: u16 = 13;
    const UNAVAILABLE: u16 = 14;
    const UNAUTHENTICATED: u16 = 16;
    match status {
        StatusCode::BAD_REQUEST => INTERNAL,
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => UNIMPLEMENTED,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::URI_TOO_LONG
        | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => RESOURCE_EXHAUSTED,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::MISDIRECTED_REQUEST => UNAVAILABLE,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
        _ => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_told_by_its_content_type_over_http2() {
        let is = |version, kind: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("content-type", HeaderValue::from_static(kind));
            is_call(version, &headers)
        };
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;x=y"] {
            assert!(is(Version::HTTP_2, kind), "{kind}");
            assert!(!is(Version::HTTP_11, kind), "{kind}");
        }
        for kind in ["application/grpc-web+proto", "application/json", ""] {
            assert!(!is(Version::HTTP_2, kind), "{kind}");
        }
    }
}
