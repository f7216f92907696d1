//! The request line: its parts, its target, and what can be told of a refused one. Pure.
//!
//! May depend on: refusals, byte classes.

use http::{Method, Uri, Version};
use memchr::{memchr, memmem};

use super::octets::{Octets, is_token};
use super::refusal::{Fault, Refusal};

/// What a request line may have beside its target: method, version, spaces.
pub const REQUEST_LINE_ROOM: usize = 64;

/// Longest method that is told of a refused head; the longest registered ones have 17 bytes.
const METHOD_ROOM: usize = 32;

/// A sound request line (RFC 9112 §3).
pub(super) struct RequestLine<'a> {
    pub(super) method: &'a [u8],
    pub(super) target: &'a [u8],
    pub(super) http11: bool,
}

impl<'a> RequestLine<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Refusal> {
        let (method, rest) = split_at_space(line).ok_or(Refusal::malformed(line, Fault::RequestLine))?;
        let (target, version) = split_at_space(rest).ok_or(Refusal::malformed(line, Fault::RequestLine))?;
        if target.is_empty() || !is_token(method) {
            return Err(Refusal::malformed(line, Fault::RequestLine));
        }
        let http11 = match version {
            b"HTTP/1.1" => true,
            b"HTTP/1.0" => false,
            _ => return Err(Refusal::malformed(line, Fault::Version)),
        };
        if method == b"CONNECT" {
            return Err(Refusal::Connect);
        }
        if !is_target(method, target) {
            return Err(Refusal::malformed(line, Fault::Target));
        }
        Ok(Self { method, target, http11 })
    }

    /// The target's path: all of it up to a query, without an absolute form's scheme and authority.
    fn path(&self) -> &'a [u8] {
        let target = self.target.split(|&byte| byte == b'?').next().unwrap_or_default();
        if target.starts_with(b"/") {
            return target;
        }
        let authority = memmem::find(target, b"://")
            .and_then(|at| target.get(at + 3..))
            .unwrap_or_default();
        memchr(b'/', authority)
            .and_then(|at| authority.get(at..))
            .unwrap_or(b"/")
    }
}

/// Whether a target is of origin-form, absolute-form with http or https, or `*` for OPTIONS (RFC 9112 §3.2).
#[must_use]
pub fn is_target(method: &[u8], target: &[u8]) -> bool {
    if target == b"*" {
        return method == b"OPTIONS";
    }
    let (path, query) = target.split_at(memchr(b'?', target).unwrap_or(target.len()));
    if !path.iter().all(|&byte| PATH.contains(byte)) || !query.iter().all(|&byte| QUERY.contains(byte)) {
        return false;
    }
    // What the URI parser takes of an authority is its own; such targets are rare enough to ask it.
    target.starts_with(b"/")
        || (has_web_scheme(target) && Uri::try_from(target).is_ok_and(|uri| uri.authority().is_some()))
}

fn has_web_scheme(target: &[u8]) -> bool {
    [&b"http://"[..], b"https://"].iter().any(|scheme| {
        target
            .get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    })
}

fn split_at_space(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr(b' ', line)?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

/// What can be told of a refused head, of which `bytes` have come, so that the log can: the request's method, path and version, if
/// its request line was sound; the method alone, if only that was (no body for HEAD).
pub(super) fn told_of(bytes: &[u8], target_room: usize) -> http::Request<()> {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let line = memchr(b'\n', bytes).and_then(|end| bytes.get(..end)?.strip_suffix(b"\r"));
    let sound = line
        .filter(|line| line.len() <= target_room + REQUEST_LINE_ROOM)
        .and_then(|line| RequestLine::read(line).ok())
        .filter(|line| line.method.len() <= METHOD_ROOM);
    let (method, path, http11) = match &sound {
        Some(line) => (line.method, line.path(), line.http11),
        None => (first_word(bytes).unwrap_or(b"GET"), &b"/"[..], true),
    };
    let mut request = http::Request::new(());
    *request.method_mut() = Method::from_bytes(method).unwrap_or_default();
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    *request.version_mut() = if http11 { Version::HTTP_11 } else { Version::HTTP_10 };
    request
}

fn first_word(bytes: &[u8]) -> Option<&[u8]> {
    let word = bytes.get(..memchr(b' ', bytes.get(..=METHOD_ROOM).unwrap_or(bytes))?)?;
    is_token(word).then_some(word)
}

/// What the URI parser takes in a path, without `\`, `#` and bytes from 0x80.
static PATH: Octets = Octets::of(&[
    (b'!', b'"'),
    (b'$', b';'),
    (b'=', b'='),
    (b'@', b'['),
    (b']', b'_'),
    (b'a', b'~'),
]);

/// The same of a query, with its `?`. A `\` may stay: browsers send it as it is, and no query helps a match.
static QUERY: Octets = Octets::of(&[(b'!', b'!'), (b'$', b';'), (b'=', b'='), (b'?', b'~')]);

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(bytes: &[u8]) -> String {
        let request = told_of(bytes, 1024);
        format!("{} {} {:?}", request.method(), request.uri(), request.version())
    }

    #[test]
    fn of_a_refused_head_is_told_what_is_sound_of_its_request_line() {
        for (bytes, line) in [
            ("GET /a?token=b HTTP/1.1\r\nX", "GET /a HTTP/1.1"),
            ("\r\nPUT /a HTTP/1.0\r\n", "PUT /a HTTP/1.0"),
            ("GET http://a/b/c?d HTTP/1.1\r\n", "GET /b/c HTTP/1.1"),
            ("GET http://a?/b HTTP/1.1\r\n", "GET / HTTP/1.1"),
            ("OPTIONS * HTTP/1.1\r\n", "OPTIONS / HTTP/1.1"),
            ("HEAD /a#b HTTP/1.1\r\n", "HEAD / HTTP/1.1"),
            ("HEAD /a HTTP/1.1\n", "HEAD / HTTP/1.1"),
            ("HEAD /a", "HEAD / HTTP/1.1"),
            ("CONNECT a:443 HTTP/1.1\r\n", "CONNECT / HTTP/1.1"),
            ("G\x01T / HTTP/1.1\r\n", "GET / HTTP/1.1"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJ / HTTP/1.1\r\n", "GET / HTTP/1.1"),
            ("\u{16}\u{3}\u{1}", "GET / HTTP/1.1"),
            ("", "GET / HTTP/1.1"),
        ] {
            assert_eq!(told(bytes.as_bytes()), line, "{bytes:?}");
        }
        let long = format!("POST /{} HTTP/1.1\r\n", "a".repeat(2000));
        assert_eq!(told(long.as_bytes()), "POST / HTTP/1.1");
    }

    #[test]
    fn the_uri_parser_takes_every_target_that_passes() {
        for byte in 0..=u8::MAX {
            for (before, behind) in [("/a", "b"), ("/?a", "b"), ("http://a", "/"), ("http://a/", "?")] {
                let target = [before.as_bytes(), &[byte], behind.as_bytes()].concat();
                let taken = Uri::try_from(&target[..]).is_ok();
                assert!(taken || !is_target(b"GET", &target), "{}", target.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = told_of(&bytes, 64);
        }
    }
}
