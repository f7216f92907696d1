//! An HTTP/2 request made what it would have been over HTTP/1.1, and the answer to it made HTTP/2's: the judge, the header rules
//! and upstreams then know one form only. What is refused over HTTP/1.1 is refused here too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use hyper::ext::Protocol;

use crate::protocol::downstream::Limits;
use crate::protocol::refusal::{Fault, Refusal};
use crate::protocol::{MAX_FIELDS, is_target};
use crate::proxy::response_body::ResponseBody;
use crate::proxy::upgrade::Upgrade;

const SEC_WEBSOCKET_KEY: HeaderName = header::SEC_WEBSOCKET_KEY;

/// What is known of a request once it is translated.
pub(super) struct Translated {
    /// Why it is to be refused.
    pub(super) refusal: Option<Refusal>,
    /// The WebSocket that it asks for.
    pub(super) upgrade: Option<Upgrade>,
}

/// Translates a request.
pub(super) fn request(request: &mut Request<Incoming>, limits: &Limits) -> Translated {
    let upgrade = extended_connect(request);
    join_cookies(request.headers_mut());
    let judged = judge(request.method(), request.uri(), request.headers(), limits);
    // RFC 9113 §8.3.1: Host is made of `:authority`. That both agree is judged with all other facts.
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
    Translated {
        refusal: judged.err(),
        upgrade,
    }
}

/// Translates the answer: of an upgrade (RFC 8441 §5), of HEAD, of a connection that would be closed.
pub(super) fn response(response: &mut Response<ResponseBody>, is_head: bool, upgrades: bool) {
    let headers = response.headers_mut();
    headers.remove(header::CONNECTION);
    if upgrades && response.status().is_success() {
        // The gateway's own word, on a route that answers by itself: a success would be a tunnel.
        *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let headers = response.headers_mut();
        headers.remove(header::UPGRADE);
        headers.remove(header::SEC_WEBSOCKET_ACCEPT);
        *response.status_mut() = StatusCode::OK;
    }
    if is_head {
        let length = response.body_mut().silence();
        if let Some(length) = length {
            let length = HeaderValue::from(length);
            response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length);
        }
    }
}

/// `CONNECT` with `:protocol = websocket` (RFC 8441 §4) is the GET that HTTP/1.1 upgrades; any other stays CONNECT, and is refused.
fn extended_connect(request: &mut Request<Incoming>) -> Option<Upgrade> {
    let websocket = *request.method() == Method::CONNECT
        && request
            .extensions()
            .get::<Protocol>()
            .is_some_and(|protocol| protocol.as_str() == "websocket");
    if !websocket {
        return None;
    }
    let client = hyper::upgrade::on(&mut *request);
    let key = new_key()?;
    let upgrade = Upgrade::with_key(client, key.as_bytes());
    *request.method_mut() = Method::GET;
    request.headers_mut().insert(SEC_WEBSOCKET_KEY, key);
    Some(upgrade)
}

/// 16 random bytes in Base64 (RFC 6455 §4.1); over HTTP/2 a client sends none.
fn new_key() -> Option<HeaderValue> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    HeaderValue::try_from(STANDARD.encode(bytes)).ok()
}

/// RFC 9113 §8.2.3: what HTTP/2 splits for compression is one header everywhere else.
fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (crumbs.next(), crumbs.next()) else {
        return;
    };
    let mut whole = first.as_bytes().to_vec();
    for crumb in headers.get_all(header::COOKIE).iter().skip(1) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(whole) = HeaderValue::try_from(whole) {
        headers.insert(header::COOKIE, whole);
    }
}

/// What is asked of a head over HTTP/1.1, and HTTP/2's framing does not (RFC 9113 §8.2, §8.3).
fn judge(method: &Method, target: &Uri, headers: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    if *method == Method::CONNECT {
        return Err(Refusal::Connect);
    }
    let path = target.path_and_query().map_or("", http::uri::PathAndQuery::as_str);
    if path.len() > limits.max_target_bytes {
        return Err(Refusal::TargetTooLong);
    }
    let mut bytes = path.len();
    let mut fields = 0;
    for (name, value) in headers {
        fields += 1;
        bytes += name.as_str().len() + value.len() + ": \r\n".len();
        let value = value.as_bytes();
        if value.trim_ascii().len() != value.len() {
            return Err(Refusal::Malformed(Fault::FieldValue));
        }
    }
    if bytes > limits.max_head_bytes || fields > MAX_FIELDS {
        return Err(Refusal::HeadTooLarge);
    }
    if !is_target(method.as_str().as_bytes(), path.as_bytes()) {
        return Err(Refusal::Malformed(Fault::Target));
    }
    let is_repeated = |name| headers.get_all(name).iter().nth(1).is_some();
    if is_repeated(header::HOST) {
        return Err(Refusal::Malformed(Fault::HostRepeated));
    }
    if target.authority().is_none() && !headers.contains_key(header::HOST) {
        return Err(Refusal::Malformed(Fault::HostMissing));
    }
    if is_repeated(header::CONTENT_LENGTH) {
        return Err(Refusal::Malformed(Fault::ContentLengthRepeated));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: Limits = Limits {
        max_head_bytes: 1024,
        max_target_bytes: 100,
        header_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
    };

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    fn judged(target: &str, lines: &[(&'static str, &str)]) -> Result<(), Refusal> {
        judge(&Method::GET, &target.parse().unwrap(), &headers(lines), &LIMITS)
    }

    #[test]
    fn what_is_refused_over_http_1_is_refused_here_too() {
        let malformed = |fault| Err(Refusal::Malformed(fault));
        let long = "x".repeat(600);
        assert_eq!(judged("https://a/x?y", &[("accept", "*/*")]), Ok(()));
        assert_eq!(judged("/x", &[("host", "a")]), Ok(()));
        assert_eq!(judged("/x", &[]), malformed(Fault::HostMissing));
        assert_eq!(
            judged("/x", &[("host", "a"), ("host", "a")]),
            malformed(Fault::HostRepeated)
        );
        assert_eq!(
            judged("https://a/", &[("content-length", "1"), ("content-length", "1")]),
            malformed(Fault::ContentLengthRepeated)
        );
        assert_eq!(judged("https://a/\\b", &[]), malformed(Fault::Target));
        assert_eq!(judged("https://a/\u{e9}", &[]), malformed(Fault::Target));
        assert_eq!(judged(&format!("https://a/{long}"), &[]), Err(Refusal::TargetTooLong));
        assert_eq!(
            judged("https://a/", &[("x-a", &long), ("x-b", &long)]),
            Err(Refusal::HeadTooLarge)
        );
        let many: Vec<_> = (0..=MAX_FIELDS).map(|_| ("x", "")).collect();
        assert_eq!(judged("https://a/", &many), Err(Refusal::HeadTooLarge));
        let connect = judge(&Method::CONNECT, &"a:443".parse().unwrap(), &HeaderMap::new(), &LIMITS);
        assert_eq!(connect, Err(Refusal::Connect));
    }

    #[test]
    fn cookies_become_one_again() {
        let mut headers = headers(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2; c=3")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2; c=3"]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().count(), 1);
    }
}
