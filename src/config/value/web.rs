//! What HTTP is made of: header names and values, methods, statuses, hosts and origins.
//!
//! Imports `document`.

use http::Uri;

use super::{Form, Wrong, is_printable, parsed, str_of};
use crate::config::document::Value;
use crate::config::secret::Secret;

/// Headers that frame a message or belong to one connection (RFC 9110 §7.6.1), or that the gateway decides itself:
/// writing one would break what follows it.
const NOT_OURS_TO_SET: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "proxy-authenticate",
];

/// RFC 9110 §9.3 and RFC 5789.
const USUAL_METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
];

/// A header's name: a token (RFC 9110 §5.6.2).
pub(in crate::config) fn header_name(value: &Value) -> Result<String, Wrong> {
    parsed(value, "a header's name", |text| is_token(text).then(|| text.to_owned()))
}

/// The name of a header that the gateway may write.
pub(in crate::config) fn writable_header(value: &Value) -> Result<String, Wrong> {
    let name = header_name(value)?;
    if NOT_OURS_TO_SET.contains(&name.to_ascii_lowercase().as_str()) {
        return Err(Wrong::expected(
            "the name of an end-to-end header; this one frames the message or belongs to the connection",
        ));
    }
    Ok(name)
}

/// The name of a header that is written, or `""` for none.
pub(in crate::config) fn header_or_off(value: &Value) -> Result<String, Wrong> {
    match str_of(value) {
        Some("") => Ok(String::new()),
        _ => writable_header(value),
    }
}

/// A header's value (RFC 9110 §5.5), without the bytes above ASCII.
pub(in crate::config) fn header_value(value: &Value) -> Result<String, Wrong> {
    parsed(value, "a header's value, of printable ASCII", |text| {
        (is_printable(text) && text.trim() == text).then(|| text.to_owned())
    })
}

/// A header's value that may be a credential.
pub(in crate::config) fn secret_header_value(value: &Value) -> Result<Secret, Wrong> {
    header_value(value).map(Secret::new).map_err(Wrong::hidden)
}

/// A method: a token, in upper case as methods are written. One that is nearly a usual one is refused: it would leave that one without
/// its route, or without what it requires.
pub(in crate::config) fn method(value: &Value) -> Result<String, Wrong> {
    const EXPECTED: &str = "a method in upper case, such as \"GET\"";
    let method = parsed(value, EXPECTED, |text| {
        let upper = !text.bytes().any(|b| b.is_ascii_lowercase());
        (is_token(text) && upper).then(|| text.to_owned())
    })?;
    let is_near = |usual: &&&str| strsim::damerau_levenshtein(usual, &method) == 1;
    match USUAL_METHODS.iter().find(is_near) {
        Some(meant) if !USUAL_METHODS.contains(&method.as_str()) => {
            let wrong = Wrong::expected(EXPECTED).form(Form::Text);
            Err(wrong.hint(format!("; did you mean \"{meant}\"?")))
        }
        _ => Ok(method),
    }
}

/// A host: a name, an address, or a wildcard for its first label.
pub(in crate::config) fn host(value: &Value) -> Result<String, Wrong> {
    const EXPECTED: &str = "a host without a port, such as \"api.example.com\" or \"*.example.com\"";
    parsed(value, EXPECTED, |text| {
        let fits = is_address(text) || is_host_name(text.strip_prefix("*.").unwrap_or(text));
        fits.then(|| text.to_owned())
    })
}

/// An exact origin (RFC 6454 §7).
pub(in crate::config) fn origin(value: &Value) -> Result<String, Wrong> {
    const EXPECTED: &str = "an origin without a path, such as \"https://app.example.com\"";
    parsed(value, EXPECTED, |text| is_origin(text).then(|| text.to_owned()))
}

/// An origin, one with a wildcard for its first label, or `"*"`.
pub(in crate::config) fn origin_pattern(value: &Value) -> Result<String, Wrong> {
    const EXPECTED: &str = "an origin such as \"https://app.example.com\" or \"https://*.example.com\", or \"*\"";
    parsed(value, EXPECTED, |text| {
        let exact = text.replacen("://*.", "://", 1);
        (text == "*" || is_origin(&exact)).then(|| text.to_owned())
    })
}

/// Whether the text is an address as it stands in a `Host`.
fn is_address(text: &str) -> bool {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Whether the text is a name of labels (RFC 1123 §2.1, and underscores as they are in use).
fn is_host_name(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    text.len() <= 253
        && text
            .split('.')
            .all(|label| (1..=63).contains(&label.len()) && label.bytes().all(fits))
}

fn is_origin(text: &str) -> bool {
    let uri: Option<Uri> = text.parse().ok();
    uri.is_some_and(|uri| {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| is_host_name(host) || is_address(host))
            && text == format!("{}://{authority}", uri.scheme_str().unwrap_or_default())
            && !text.contains('@')
    })
}

fn is_token(text: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(fits)
}
