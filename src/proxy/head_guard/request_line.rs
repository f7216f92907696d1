//! The request line: its parts, its target, and what stands in for a refused one. Pure.
//!
//! May depend on: refusals, byte classes.

use memchr::{memchr, memmem};

use super::octets::{Octets, is_token_byte};
use super::refusal::{Fault, Refusal};

/// What a request line may have beside its target: method, version, spaces.
pub(super) const REQUEST_LINE_ROOM: usize = 64;

/// Longest method that a stand-in keeps; the longest registered ones have 17 bytes.
const METHOD_ROOM: usize = 32;

/// A sound request line (RFC 9112 §3).
pub(super) struct RequestLine<'a> {
    method: &'a [u8],
    target: &'a [u8],
    pub(super) http11: bool,
}

impl<'a> RequestLine<'a> {
    pub(super) fn read(line: &'a [u8]) -> Result<Self, Refusal> {
        let (method, rest) = split_at_space(line).ok_or(Refusal::malformed(line, Fault::RequestLine))?;
        let (target, version) = split_at_space(rest).ok_or(Refusal::malformed(line, Fault::RequestLine))?;
        if method.is_empty() || target.is_empty() || !method.iter().all(|&byte| is_token_byte(byte)) {
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

    fn version(&self) -> &'static [u8] {
        if self.http11 { b"HTTP/1.1" } else { b"HTTP/1.0" }
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
    // What hyper's URI parser takes of an authority is its own; such targets are rare enough to ask it.
    target.starts_with(b"/")
        || (has_web_scheme(target) && http::Uri::try_from(target).is_ok_and(|uri| uri.authority().is_some()))
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

/// What hyper is given in place of a refused head, of which `bytes` have come: with the request's method and path, if
/// its request line was sound, so that the log can tell; the method alone, if only that was (no body for HEAD).
pub(super) fn stand_in(bytes: &[u8], target_room: usize) -> Vec<u8> {
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let line = memchr(b'\n', bytes).and_then(|end| bytes.get(..end)?.strip_suffix(b"\r"));
    let sound = line
        .filter(|line| line.len() <= target_room + REQUEST_LINE_ROOM)
        .and_then(|line| RequestLine::read(line).ok())
        .filter(|line| line.method.len() <= METHOD_ROOM);
    let (method, path, version) = match &sound {
        Some(line) => (line.method, line.path(), line.version()),
        None => (first_word(bytes).unwrap_or(b"GET"), &b"/"[..], &b"HTTP/1.1"[..]),
    };
    [
        method,
        b" ",
        path,
        b" ",
        version,
        b"\r\nHost: invalid\r\nConnection: close\r\n\r\n",
    ]
    .concat()
}

fn first_word(bytes: &[u8]) -> Option<&[u8]> {
    let word = bytes.get(..memchr(b' ', bytes.get(..=METHOD_ROOM).unwrap_or(bytes))?)?;
    (!word.is_empty() && word.iter().all(|&byte| is_token_byte(byte))).then_some(word)
}

/// What hyper's URI parser takes in a path, without `\`, `#` and bytes from 0x80.
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

    use super::super::judge_head;
    use super::*;

    #[test]
    fn a_stand_in_keeps_what_is_sound_of_the_request_line() {
        let rest = "\r\nHost: invalid\r\nConnection: close\r\n\r\n";
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
            let made = String::from_utf8(stand_in(bytes.as_bytes(), 1024)).unwrap();
            assert_eq!(made, format!("{line}{rest}"), "{bytes:?}");
            let connect = line.starts_with("CONNECT").then_some(Refusal::Connect);
            assert_eq!(judge_head(made.as_bytes()).err(), connect, "{bytes:?}");
        }
        let long = format!("POST /{} HTTP/1.1\r\n", "a".repeat(2000));
        assert!(stand_in(long.as_bytes(), 1024).starts_with(b"POST / HTTP/1.1\r\n"));
    }

    #[test]
    fn hypers_uri_parser_takes_every_target_that_passes() {
        for byte in 0..=u8::MAX {
            for (before, behind) in [("/a", "b"), ("/?a", "b"), ("http://a", "/"), ("http://a/", "?")] {
                let target = [before.as_bytes(), &[byte], behind.as_bytes()].concat();
                let taken = http::Uri::try_from(&target[..]).is_ok();
                assert!(taken || !is_target(b"GET", &target), "{}", target.escape_ascii());
            }
        }
    }

    proptest! {
        #[test]
        fn there_is_always_a_stand_in(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let made = stand_in(&bytes, 64);
            prop_assert!(matches!(judge_head(&made), Ok(_) | Err(Refusal::Connect)));
        }
    }
}
