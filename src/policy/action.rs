//! What a route does with a request that was let in: forward it, or answer at once with what the config says.
//!
//! What a client wrote gets into an answer only percent-encoded to visible ASCII, so that it can neither end a header nor be read
//! as another one (hardening r08).

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use super::pattern::Pattern;
use super::rewrite::Rewrite;
use super::template::Template;

/// What a route does with an allowed request.
#[derive(Debug)]
pub enum Action {
    /// Sends it to an upstream.
    Forward(Forward),
    /// Gives a fixed answer.
    Respond(Fixed),
    /// Sends the client elsewhere.
    Redirect(Redirect),
}

/// Where a request is forwarded to.
#[derive(Debug)]
pub struct Forward {
    /// The upstream, by place.
    pub upstream: usize,
    /// From the request's last byte to the response's head; zero: no bound.
    pub response_timeout: Duration,
    /// Another path than the client's.
    pub rewrite: Option<Rewrite>,
}

/// A fixed answer.
#[derive(Debug)]
pub struct Fixed {
    /// Its status.
    pub status: StatusCode,
    /// Of the body; `None`: there is no body.
    pub content_type: Option<HeaderValue>,
    /// As written.
    pub body: Bytes,
}

/// A redirection.
#[derive(Debug)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
    /// The new location.
    pub to: Template<Asked>,
}

/// What a text can take from the request's target and host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    /// The host, lower case, without port.
    Host,
    /// The path, as the client wrote it.
    Path,
    /// The path, and the query with its `?` if there is one.
    Uri,
    /// The query without its `?`; empty if there is none.
    Query,
    /// The path segment of that name, as the client wrote it.
    Segment(Arc<str>),
}

/// A request as far as [`Asked`] looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its host; none in HTTP/1.0 without `Host`.
    pub host: Option<&'a str>,
    /// Its target.
    pub uri: &'a Uri,
    /// The pattern that matched it.
    pub pattern: &'a Pattern,
}

impl Action {
    /// Where it forwards to, if it does.
    #[must_use]
    pub const fn forward(&self) -> Option<&Forward> {
        match self {
            Self::Forward(forward) => Some(forward),
            Self::Respond(_) | Self::Redirect(_) => None,
        }
    }
}

impl Fixed {
    /// What the answer says of its body.
    #[must_use]
    pub fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        if let Some(content_type) = &self.content_type {
            headers.insert(header::CONTENT_TYPE, content_type.clone());
        }
        headers
    }
}

impl Redirect {
    /// `Location`; `None` when the request lacks something that it is made of, which only a host can be.
    #[must_use]
    pub fn headers(&self, target: &Target<'_>) -> Option<HeaderMap> {
        let text = self.to.fill(|asked| target.raw(asked).map(header_safe))?;
        let mut headers = HeaderMap::with_capacity(8);
        headers.insert(header::LOCATION, HeaderValue::try_from(text).ok()?);
        Some(headers)
    }
}

impl Asked {
    /// What a word in braces stands for; `named` says which path segments there are. `{path.NAME}` is a segment for certain.
    #[must_use]
    pub fn of_word(word: &str, named: impl Fn(&str) -> bool) -> Option<Self> {
        match word {
            "host" => Some(Self::Host),
            "path" => Some(Self::Path),
            "uri" => Some(Self::Uri),
            "query" => Some(Self::Query),
            _ => {
                let name = word.strip_prefix("path.").unwrap_or(word);
                named(name).then(|| Self::Segment(Arc::from(name)))
            }
        }
    }
}

impl<'a> Target<'a> {
    /// The client's own bytes.
    pub(super) fn raw(&self, asked: &Asked) -> Option<Cow<'a, str>> {
        match asked {
            Asked::Host => self.host.map(Cow::Borrowed),
            Asked::Path => Some(Cow::Borrowed(self.uri.path())),
            Asked::Uri => {
                let both = self.uri.path_and_query()?;
                Some(Cow::Borrowed(both.as_str()))
            }
            Asked::Query => Some(Cow::Borrowed(self.uri.query().unwrap_or_default())),
            Asked::Segment(name) => self.pattern.raw_value(self.uri.path(), name).map(Cow::Borrowed),
        }
    }
}

/// What is no visible ASCII, or no character of a URI (RFC 3986 §2), is percent-encoded.
fn header_safe(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_safe = |byte: u8| (0x21..0x7f).contains(&byte) && !b"\"<>\\^`{|}".contains(&byte);
    if text.bytes().all(is_safe) {
        return text;
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for byte in text.bytes() {
        if is_safe(byte) {
            safe.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn location(to: &str, host: Option<&str>, uri: &str, pattern: &str) -> Option<String> {
        let pattern = Pattern::parse(pattern).unwrap();
        let to = Template::parse(to, |word| Asked::of_word(word, |name| pattern.names(name))).unwrap();
        let status = StatusCode::PERMANENT_REDIRECT;
        let uri: Uri = uri.parse().unwrap();
        let target = Target {
            host,
            uri: &uri,
            pattern: &pattern,
        };
        let headers = Redirect { status, to }.headers(&target)?;
        Some(headers["location"].to_str().unwrap().to_owned())
    }

    #[test]
    fn words_are_filled_in_with_the_clients_own_bytes() {
        let of = |to, uri| location(to, Some("a.example"), uri, "/o/{org}/*").unwrap();
        assert_eq!(
            of("https://{host}{uri}", "/o/x%20y/z?b=c"),
            "https://a.example/o/x%20y/z?b=c"
        );
        assert_eq!(of("https://{host}{uri}", "/o/x"), "https://a.example/o/x");
        assert_eq!(of("{path}/?{query}", "/o/x?b=%2F"), "/o/x/?b=%2F");
        assert_eq!(of("/n/{org}?{query}", "/o/x%2541"), "/n/x%2541?");
        assert_eq!(of("/n/{path.org}", "/o/x/y"), "/n/x");
        assert_eq!(location("{uri}", None, "http://h/x?y", "/x").unwrap(), "/x?y");
    }

    #[test]
    fn r08_what_would_end_a_header_or_a_uri_is_encoded() {
        let of = |uri| location("/n?{query}", None, uri, "/x").unwrap();
        assert_eq!(of("/x?a|{b}^`"), "/n?a%7C%7Bb%7D%5E%60");
        assert_eq!(header_safe(Cow::Borrowed("a\r\nb \u{e9}\"")), "a%0D%0Ab%20%C3%A9%22");
    }

    #[test]
    fn without_a_host_there_is_no_location_that_needs_one() {
        assert_eq!(location("https://{host}/", None, "/x", "/x"), None);
    }
}
