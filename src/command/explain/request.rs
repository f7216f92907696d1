//! The request to explain: written as the head that would come over the wire, then guarded and read as one.
//!
//! Depends on the reading of heads, and of the policy on its denials and how it reads a host.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};

use crate::config::model::Listener;
use crate::policy::denial::Denial;
use crate::policy::facts::host_name;
use crate::protocol::{MAX_HEAD_BYTES, MAX_TARGET_BYTES, Spelling, read_head_within};
use crate::proxy::handler::refused_head;

/// Stands for a host that is not known: RFC 9112 §3.2 wants one. It is taken off once the head was guarded.
const ANY_HOST: &str = "any";

/// A request as the command line has it.
#[derive(Debug, Clone)]
pub(super) struct Written {
    method: String,
    target: String,
    /// `None`: a bare path.
    authority: Option<String>,
    /// It is `https://`; `None`: a bare path.
    secure: Option<bool>,
    /// `Name: value`, unjudged.
    lines: Vec<Vec<u8>>,
}

/// A request that the head guard lets through.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) target: Uri,
    pub(super) headers: HeaderMap,
    /// How the names were written.
    pub(super) spelling: Spelling,
    /// Its body is framed by chunks.
    pub(super) chunked: bool,
}

impl Written {
    /// Takes the URL apart without tidying it: `//` and `..` stay, as an attacker would send them.
    pub(super) fn new(method: &str, url: &str, lines: Vec<Vec<u8>>) -> Result<Self, String> {
        let web = [("http://", false), ("https://", true)]
            .iter()
            .find_map(|(scheme, secure)| {
                let (start, rest) = url.split_at_checked(scheme.len())?;
                start.eq_ignore_ascii_case(scheme).then_some((rest, *secure))
            });
        let (authority, target) = match web {
            Some((rest, _)) => {
                let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
                let (authority, target) = rest.split_at(end);
                let slash = if target.starts_with(['/', '\\']) { "" } else { "/" };
                (Some(authority.to_owned()), format!("{slash}{target}"))
            }
            None if url.starts_with('/') || url == "*" => (None, url.to_owned()),
            None => return Err("the URL must be http://HOST/PATH or /PATH".to_owned()),
        };
        Ok(Self {
            method: method.to_owned(),
            target,
            authority,
            secure: web.map(|(_, secure)| secure),
            lines,
        })
    }

    /// The place of the listener that would take it: the first that speaks its scheme, else the first.
    pub(super) fn listener_of(&self, listeners: &[Listener]) -> usize {
        let speaks = |listener: &Listener| Some(!listener.certificates.is_empty()) == self.secure;
        listeners.iter().position(speaks).unwrap_or(0)
    }

    /// The host that a client asks for in the handshake: the URL's, unless it is an address (RFC 6066 §3).
    pub(super) fn server_name(&self) -> Option<Cow<'_, str>> {
        let host = host_name(self.authority.as_deref()?)?;
        let is_name = !host.starts_with('[') && host.parse::<Ipv4Addr>().is_err();
        is_name.then_some(host)
    }

    /// Whether it says which host it is for; a `Host` header of its own replaces the URL's.
    pub(super) fn has_host(&self) -> bool {
        self.authority.is_some() || self.names_host()
    }

    /// The same for a host.
    pub(super) fn at(&self, host: &str) -> Self {
        Self {
            authority: Some(host.to_owned()),
            ..self.clone()
        }
    }

    fn names_host(&self) -> bool {
        self.lines.iter().any(|line| {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            name.trim_ascii().eq_ignore_ascii_case(b"host")
        })
    }

    /// The head, byte by byte.
    fn head(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        if !self.names_host() {
            let host = self.authority.as_deref().unwrap_or(ANY_HOST);
            head.extend_from_slice(format!("Host: {host}\r\n").as_bytes());
        }
        for line in &self.lines {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Guards the head as `listener` would, and reads it.
    pub(super) fn read(&self, listener: &Listener) -> Result<Request, Denial> {
        let max_head = listener.max_header_bytes.min(MAX_HEAD_BYTES);
        let mut request = read(self.head(), max_head)?;
        if !self.has_host() {
            request.headers.remove(header::HOST);
        }
        Ok(request)
    }
}

fn read(head: Vec<u8>, max_head: usize) -> Result<Request, Denial> {
    let read = read_head_within(&Bytes::from(head), max_head, max_head.min(MAX_TARGET_BYTES));
    let (request, spelling, framing) = read.map_err(refused_head)?;
    let (parts, ()) = request.into_parts();
    Ok(Request {
        method: parts.method,
        target: parts.uri,
        headers: parts.headers,
        spelling,
        chunked: framing.content_length.is_none(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::protocol::Speller;

    fn head(url: &str, lines: &[&str]) -> String {
        let lines = lines.iter().map(|line| line.as_bytes().to_vec()).collect();
        String::from_utf8(Written::new("GET", url, lines).unwrap().head()).unwrap()
    }

    #[test]
    fn a_url_becomes_target_and_host_as_it_is_written() {
        for (url, target, host) in [
            ("http://a.example/x?y=z", "/x?y=z", "a.example"),
            ("HTTPS://A.example:8443", "/", "A.example:8443"),
            ("http://a?y", "/?y", "a"),
            ("http://a//b/../c", "//b/../c", "a"),
            ("http://user@a/x", "/x", "user@a"),
            ("http://a\\b", "\\b", "a"),
            ("/x//y", "/x//y", ANY_HOST),
            ("*", "*", ANY_HOST),
        ] {
            let wanted = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(head(url, &[]), wanted, "{url}");
        }
        for url in ["", "a.example/x", "ftp://a/x"] {
            assert!(Written::new("GET", url, Vec::new()).is_err(), "{url}");
        }
    }

    #[test]
    fn a_host_header_replaces_the_urls_and_two_stay_two() {
        assert_eq!(
            head("http://a/x", &["hOST : b", "Host: c"]),
            "GET /x HTTP/1.1\r\nhOST : b\r\nHost: c\r\n\r\n"
        );
    }

    #[test]
    fn a_guarded_head_is_read_with_its_duplicates_and_spellings() {
        let head = b"GET /x HTTP/1.1\r\nX-A:  1 \r\nHost: h\r\nx-a:\r\nX-b: caf\xe9\r\n\r\n";
        let request = read(head.to_vec(), 1024).unwrap();
        let values: Vec<_> = request.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", ""]);
        let mut speller = Speller::new(Some(&request.spelling));
        let names: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| speller.spell(name, value))
            .collect();
        assert_eq!(names, [&b"X-A"[..], b"x-a", b"Host", b"X-b"]);
        assert_eq!(request.headers.get("x-b").unwrap().as_bytes(), b"caf\xe9");
    }
}
