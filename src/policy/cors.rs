//! Cross-origin requests (Fetch §3.2): which origins may read a route's answers, and what their browsers are told.
//!
//! On a route with a policy the gateway alone speaks of it: what the upstream says of it is taken off, so that nothing is said
//! twice, which browsers refuse.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

/// What the upstream may have said.
const SPOKEN_OF: [HeaderName; 6] = [
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
];

/// `[cors.NAME]`, its header values ready.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    methods: Option<HeaderValue>,
    headers: Option<HeaderValue>,
    expose: Option<HeaderValue>,
    credentials: bool,
    max_age: HeaderValue,
}

#[derive(Debug)]
enum Origins {
    Any,
    Listed(Vec<OriginPattern>),
}

#[derive(Debug, PartialEq, Eq)]
enum OriginPattern {
    Exact(Box<str>),
    /// `https://*.example.com`: any name below, by whole labels.
    Below {
        scheme: Box<str>,
        suffix: Box<str>,
    },
}

/// What a policy is made of.
#[derive(Debug)]
pub struct CorsSpec<'c> {
    /// `https://app.example.com`, `https://*.example.com` or `*`.
    pub origins: &'c [String],
    /// Methods that a preflight may ask for.
    pub methods: &'c [String],
    /// Headers that it may ask for.
    pub headers: &'c [String],
    /// Headers that code may read.
    pub expose: &'c [String],
    /// Whether cookies go along.
    pub credentials: bool,
    /// How long a preflight's answer holds.
    pub max_age: Duration,
}

/// A policy's word on one request.
#[derive(Debug)]
pub struct CrossOrigin<'p> {
    cors: &'p Cors,
    /// What `Access-Control-Allow-Origin` says; `None`: the origin is not allowed, or there is none.
    allowed: Option<HeaderValue>,
}

/// The method that a preflight asks for (Fetch §3.2.2); `None`: it is no preflight.
#[must_use]
pub fn preflight_for(method: &Method, headers: &HeaderMap) -> Option<Method> {
    if *method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

impl Cors {
    /// Makes the values ready.
    #[must_use]
    pub fn new(spec: &CorsSpec<'_>) -> Self {
        let any = spec.origins.iter().any(|origin| origin == "*");
        let listed = || spec.origins.iter().map(|origin| OriginPattern::of(origin)).collect();
        Self {
            origins: if any { Origins::Any } else { Origins::Listed(listed()) },
            methods: joined(spec.methods),
            headers: joined(spec.headers),
            expose: joined(spec.expose),
            credentials: spec.credentials,
            max_age: HeaderValue::from(spec.max_age.as_secs()),
        }
    }

    /// The policy's word on a request with these headers.
    #[must_use]
    pub fn judge(&self, headers: &HeaderMap) -> CrossOrigin<'_> {
        let mut values = headers.get_all(header::ORIGIN).iter();
        let origin = values.next().filter(|_| values.next().is_none());
        let allowed = origin.and_then(|origin| match &self.origins {
            // INVARIANT: never with credentials, which the config's reader refuses.
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Listed(patterns) => {
                let text = lower(origin.to_str().ok()?);
                let takes = patterns.iter().any(|pattern| pattern.takes(&text));
                takes.then(|| origin.clone())
            }
        });
        CrossOrigin { cors: self, allowed }
    }
}

impl CrossOrigin<'_> {
    /// Says on an answer, whoever gives it, whether the origin may read it.
    pub fn put_on(&self, headers: &mut HeaderMap) {
        for name in SPOKEN_OF {
            headers.remove(name);
        }
        self.allow(headers);
        if self.allowed.is_some()
            && let Some(expose) = &self.cors.expose
        {
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
        }
    }

    /// The answer to a preflight. An origin that is not allowed is told nothing, which its browser takes for a no.
    #[must_use]
    pub fn preflight(&self) -> HeaderMap {
        let mut headers = HeaderMap::with_capacity(8);
        self.allow(&mut headers);
        if self.allowed.is_some() {
            for (name, value) in [
                (header::ACCESS_CONTROL_ALLOW_METHODS, &self.cors.methods),
                (header::ACCESS_CONTROL_ALLOW_HEADERS, &self.cors.headers),
            ] {
                if let Some(value) = value {
                    headers.insert(name, value.clone());
                }
            }
            headers.insert(header::ACCESS_CONTROL_MAX_AGE, self.cors.max_age.clone());
        }
        headers
    }

    fn allow(&self, headers: &mut HeaderMap) {
        if let Some(allowed) = &self.allowed {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, allowed.clone());
            if self.cors.credentials {
                headers.insert(
                    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
            }
        }
        // A cache must not give one origin's answer to another (RFC 9110 §12.5.5); "*" is the same for all.
        let varies = match self.cors.origins {
            Origins::Any => false,
            Origins::Listed(_) => !varies_by_origin(headers),
        };
        if varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
    }
}

impl OriginPattern {
    fn of(origin: &str) -> Self {
        let origin = without_default_port(origin.to_ascii_lowercase());
        match origin.split_once("://*") {
            Some((scheme, suffix)) => Self::Below {
                scheme: scheme.into(),
                suffix: suffix.into(),
            },
            None => Self::Exact(origin.into()),
        }
    }

    fn takes(&self, origin: &str) -> bool {
        match self {
            Self::Exact(own) => **own == *origin,
            Self::Below { scheme, suffix } => {
                let host = origin.strip_prefix(&**scheme).and_then(|rest| rest.strip_prefix("://"));
                let labels = host.and_then(|host| host.strip_suffix(&**suffix));
                let is_label = |label: &str| {
                    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                    !label.is_empty() && label.bytes().all(fits)
                };
                labels.is_some_and(|labels| labels.split('.').all(is_label))
            }
        }
    }
}

/// Browsers leave out the port that a scheme has anyway.
fn without_default_port(origin: String) -> String {
    let default = if origin.starts_with("https://") { ":443" } else { ":80" };
    origin.strip_suffix(default).map_or(origin.clone(), str::to_owned)
}

fn lower(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn varies_by_origin(headers: &HeaderMap) -> bool {
    headers.get_all(header::VARY).iter().any(|value| {
        let mut names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        names.any(|name| name == b"*" || name.eq_ignore_ascii_case(b"origin"))
    })
}

/// INVARIANT: the config's reader takes methods and header names only, so this is a value; an empty list says nothing.
fn joined(names: &[String]) -> Option<HeaderValue> {
    (!names.is_empty()).then(|| HeaderValue::try_from(names.join(", ")).ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn allowed(patterns: &[&str], origin: &str) -> Option<String> {
        let patterns: Vec<String> = patterns.iter().map(|text| (*text).to_owned()).collect();
        let cors = Cors::new(&CorsSpec {
            origins: &patterns,
            methods: &[],
            headers: &[],
            expose: &[],
            credentials: false,
            max_age: Duration::ZERO,
        });
        let mut headers = HeaderMap::new();
        headers.insert(header::ORIGIN, HeaderValue::from_bytes(origin.as_bytes()).unwrap());
        let allowed = cors.judge(&headers).allowed?;
        Some(allowed.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_and_a_wildcard_is_whole_labels() {
        const APP: &str = "https://app.example.com";
        const BELOW: &str = "https://*.example.com";
        for (pattern, origin, is_allowed) in [
            (APP, "https://app.example.com", true),
            (APP, "https://APP.example.com", true),
            (APP, "http://app.example.com", false),
            (APP, "https://app.example.com:8443", false),
            (APP, "https://app.example.com.evil.test", false),
            (APP, "https://evil.test/https://app.example.com", false),
            ("https://App.example.com:443", "https://app.example.com", true),
            ("http://app.example.com:80", "http://app.example.com", true),
            ("http://app.example.com:443", "http://app.example.com", false),
            (BELOW, "https://a.example.com", true),
            (BELOW, "https://a.b.example.com", true),
            (BELOW, "https://example.com", false),
            (BELOW, "https://.example.com", false),
            (BELOW, "https://evilexample.com", false),
            (BELOW, "https://a..example.com", false),
            (BELOW, "https://a.example.com.evil.test", false),
            (BELOW, "https://evil.test/.example.com", false),
            (BELOW, "https://user@x.example.com", false),
            (BELOW, "http://a.example.com", false),
            (BELOW, "https://a.example.com:1", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            (APP, "null", false),
            (APP, "", false),
            (APP, "https://app.example.com\u{e9}", false),
        ] {
            let expected = is_allowed.then(|| origin.to_owned());
            assert_eq!(allowed(&[pattern], origin), expected, "{pattern} {origin}");
        }
        assert_eq!(allowed(&["*"], "null").as_deref(), Some("*"));
    }

    #[test]
    fn two_origins_are_none() {
        let origins = ["https://a.test".to_owned()];
        let cors = Cors::new(&CorsSpec {
            origins: &origins,
            methods: &[],
            headers: &[],
            expose: &[],
            credentials: true,
            max_age: Duration::ZERO,
        });
        let mut headers = HeaderMap::new();
        headers.append(header::ORIGIN, HeaderValue::from_static("https://a.test"));
        assert!(cors.judge(&headers).allowed.is_some());
        headers.append(header::ORIGIN, HeaderValue::from_static("https://a.test"));
        assert!(cors.judge(&headers).allowed.is_none());
    }
}
