//! What a request says, read once and checked: nothing after this looks at the raw request to decide.

use std::borrow::Cow;

use http::{HeaderMap, Method, Uri, header};

use super::action::Target;
use super::address::Origin;
use super::denial::{Code, Denial};
use super::path::RequestPath;
use super::pattern::Pattern;

/// The time of a judgement, injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Seconds since the Unix epoch: for what tokens and keys say.
    pub unix_s: i64,
    /// Nanoseconds on a clock that never goes back: for limits.
    pub monotonic_ns: u64,
}

/// A request that is well-formed, borrowed.
#[derive(Debug)]
pub struct Facts<'r> {
    /// The request method.
    pub method: &'r Method,
    /// The request target, as it came.
    pub uri: &'r Uri,
    /// The path, unambiguous.
    pub path: RequestPath<'r>,
    /// The host without port, lower case; `None` for HTTP/1.0 without `Host`.
    pub host: Option<Cow<'r, str>>,
    /// All headers, as they came.
    pub headers: &'r HeaderMap,
    /// Where it came from.
    pub origin: Origin,
    /// Which listener took it.
    pub listener: usize,
    /// What it came over.
    pub transport: Transport<'r>,
    /// When.
    pub now: Now,
}

/// What a request came over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport<'r> {
    /// TCP as it is.
    #[default]
    Plain,
    /// TLS.
    Tls {
        /// The host that the client asked for in the handshake (SNI, RFC 6066 §3), lower case.
        server_name: Option<&'r str>,
        /// Whether the listener asks for client certificates.
        client_certificates: bool,
    },
}

impl Transport<'_> {
    /// Whether it is `https`.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls { .. } => true,
        }
    }
}

impl<'r> Facts<'r> {
    /// Reads a request.
    ///
    /// # Errors
    /// 400 for an ambiguous path or authority.
    pub fn read(
        method: &'r Method,
        target: &'r Uri,
        headers: &'r HeaderMap,
        origin: Origin,
        listener: usize,
        now: Now,
    ) -> Result<Self, Denial> {
        let host = host(target, headers)?;
        if target.path() == "*" {
            // `OPTIONS *` is about the server, and nothing here is a route's.
            return Err(Denial::plain(Code::NoRoute, "options_of_the_server"));
        }
        let path = RequestPath::read(target.path()).map_err(|fault| Denial::malformed(fault.name()))?;
        Ok(Self {
            method,
            uri: target,
            path,
            host,
            headers,
            origin,
            listener,
            transport: Transport::Plain,
            now,
        })
    }

    /// Whether a page of that `Origin` (RFC 6454 §7) is this host's own. A plain listener may stand behind one that ended TLS, so
    /// there either scheme will do.
    #[must_use]
    pub fn is_own_origin(&self, origin: &str) -> bool {
        let schemes = [("https://", ":443"), ("http://", ":80")];
        let authority = self.uri.authority().map(http::uri::Authority::as_str);
        let authority = authority.or_else(|| self.headers.get(header::HOST)?.to_str().ok());
        let possible = schemes.iter().take(if self.transport.is_secure() { 1 } else { 2 });
        possible.into_iter().any(|(scheme, port)| {
            let bare = |authority| str::strip_suffix(authority, port).unwrap_or(authority);
            let theirs = origin.strip_prefix(scheme).map(bare);
            let own = authority.map(bare).filter(|own| !own.is_empty());
            matches!((theirs, own), (Some(theirs), Some(own)) if theirs.eq_ignore_ascii_case(own))
        })
    }

    /// The same, over that transport.
    #[must_use]
    pub const fn over(mut self, transport: Transport<'r>) -> Self {
        self.transport = transport;
        self
    }

    /// Whether a client that was asked for its certificate under one name now speaks of another host (RFC 9110 §7.4, hardening
    /// r40). One that named no host was asked by the listener as a whole, which serves every host alike.
    #[must_use]
    pub fn is_misdirected(&self) -> bool {
        match self.transport {
            Transport::Tls {
                server_name: Some(name),
                client_certificates: true,
            } => self.host.as_deref() != Some(name),
            Transport::Plain | Transport::Tls { .. } => false,
        }
    }

    /// How long its body is, as far as its head says.
    #[must_use]
    pub fn declared_length(&self) -> Option<u64> {
        self.headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// As texts see it that are made of a request.
    #[must_use]
    pub fn target<'f>(&'f self, pattern: &'f Pattern) -> Target<'f> {
        Target {
            host: self.host.as_deref(),
            uri: self.uri,
            pattern,
        }
    }
}

/// RFC 9112 §3.2: one host, from `Host` or the target; both must agree (hardening r11).
fn host<'r>(target: &'r Uri, headers: &'r HeaderMap) -> Result<Option<Cow<'r, str>>, Denial> {
    let mut values = headers.get_all(header::HOST).iter();
    let written = match (values.next(), values.next()) {
        (None, _) => None,
        (Some(value), None) => Some(value.to_str().map_err(|_| Denial::malformed("host_not_ascii"))?),
        (Some(_), Some(_)) => return Err(Denial::malformed("host_twice")),
    };
    let authority = target.authority().map(http::uri::Authority::as_str);
    if let (Some(written), Some(authority)) = (written, authority)
        && !written.eq_ignore_ascii_case(authority)
    {
        return Err(Denial::malformed("host_mismatch"));
    }
    match authority.or(written) {
        None => Ok(None),
        Some(text) => host_name(text)
            .map(Some)
            .ok_or_else(|| Denial::malformed("host_invalid")),
    }
}

/// `uri-host [ ":" port ]` (RFC 3986 §3.2.2), without userinfo; the port is dropped, a final dot too.
#[must_use]
pub fn host_name(authority: &str) -> Option<Cow<'_, str>> {
    let (name, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (inside, after) = rest.split_once(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            let name = authority.get(..inside.len().checked_add(2)?)?;
            (name, after.strip_prefix(':').or(after.is_empty().then_some(""))?)
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    if port.len() > 5 || !port.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    if name.starts_with('[') {
        return Some(lower(name));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    // No label is empty.
    let sound = name.bytes().try_fold(b'.', |before, b| {
        (allowed(b) || (b == b'.' && before != b'.')).then_some(b)
    });
    ((1..=253).contains(&name.len()) && sound.is_some()).then(|| lower(name))
}

fn lower(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_with_an_optional_port() {
        for (text, name) in [
            ("Api.Example.COM", "api.example.com"),
            ("api.example.com:8443", "api.example.com"),
            ("api.example.com.", "api.example.com"),
            ("agent_runtime:80", "agent_runtime"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[2001:DB8::1]:80", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            ("host:", "host"),
        ] {
            assert_eq!(host_name(text).unwrap(), name, "{text}");
        }
    }

    #[test]
    fn r11_anything_else_is_no_host() {
        for text in [
            "",
            "a/b",
            "a?b",
            "a#b",
            "user@host",
            "a b",
            "a:b:c",
            "a:80x",
            "a:123456",
            "[::1",
            "[::1]x",
            "[x]",
            "..",
            ".a",
            "a..b",
            "a,b",
            "a%41",
            "*",
            "a:+80",
        ] {
            assert_eq!(host_name(text), None, "{text}");
        }
    }

    #[test]
    fn r11_a_target_that_names_another_host_is_refused() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "a.example".parse().unwrap());
        let same: Uri = "http://A.example/x".parse().unwrap();
        let other: Uri = "http://b.example/x".parse().unwrap();
        assert_eq!(host(&same, &headers).unwrap().unwrap(), "a.example");
        assert_eq!(host(&other, &headers).unwrap_err(), Denial::malformed("host_mismatch"));
        headers.append("host", "a.example".parse().unwrap());
        assert_eq!(host(&same, &headers).unwrap_err(), Denial::malformed("host_twice"));
    }

    #[test]
    fn r40_under_client_certificates_the_host_is_the_one_of_the_handshake() {
        let misdirected = |name, certificates, host: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("host", host.parse().unwrap());
            let (uri, peer) = (Uri::from_static("/"), [192, 0, 2, 1].into());
            let origin = Origin {
                peer,
                peer_trusted: false,
                client: peer,
            };
            let now = Now {
                unix_s: 0,
                monotonic_ns: 0,
            };
            let facts = Facts::read(&Method::GET, &uri, &headers, origin, 0, now).unwrap();
            let transport = Transport::Tls {
                server_name: name,
                client_certificates: certificates,
            };
            (facts.over(transport)).is_misdirected()
        };
        assert!(misdirected(Some("a.example"), true, "b.example"));
        assert!(!misdirected(Some("a.example"), true, "A.example:8443"));
        assert!(!misdirected(Some("a.example"), false, "b.example"));
        assert!(!misdirected(None, true, "b.example"));
    }
}
