//! The judging of one response head, and the response that a sound one makes. Pure.
//!
//! What frames a message is taken as strictly as of a request (RFC 9112 §6): a response that two readers could end at two places
//! is no response. Line ends may be LF alone, which servers send and nobody reads otherwise; they are written anew anyway.
//!
//! May depend on: the parent module's bounds, fields, byte classes.

use bytes::Bytes;
use http::{Response, StatusCode, Version};
use hyper::ext::ReasonPhrase;
use memchr::memchr;

use super::body::Body;
use super::fields::{Fields, Spelling};
use super::octets::{is_field_value, is_token_byte};
use super::request_head::{Persistence, decimal, trim};
use super::{MAX_FIELDS, MAX_HEAD_BYTES};

/// Bytes of a response's trailers.
const MAX_TRAILER_BYTES: usize = 64 * 1024;

/// Fields that are put on a usual response on its way.
const ROOM_FOR_MORE: usize = 4;

/// What is wrong with a response.
type Nonsense = &'static str;

/// The judge of one head, which may come in pieces.
#[derive(Debug, Default)]
pub(super) struct ResponseJudge {
    searched: usize,
    line_start: usize,
    status: Option<StatusCode>,
    /// Where the reason stands.
    reason: (usize, usize),
    http11: bool,
    fields: Fields,
    content_length: Option<u64>,
    chunked: bool,
    persistence: Persistence,
}

/// A sound head.
#[derive(Debug)]
pub struct ResponseHead {
    /// Status and headers; a reason that is not the status' own is in the extensions.
    pub response: Response<()>,
    /// How its names were written, if that was asked for.
    pub spelling: Option<Spelling>,
}

/// A sound head, and what it says of the connection.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) head: ResponseHead,
    /// What follows.
    pub(super) body: Body,
    /// The upstream keeps the connection, for all that it says.
    pub(super) keep_alive: bool,
}

impl ResponseJudge {
    /// Judges what is new in `bytes`; the head's length when it is complete.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<usize>, Nonsense> {
        loop {
            let rest = bytes.get(self.searched..).unwrap_or_default();
            let Some(found) = memchr(b'\n', rest) else {
                self.searched = bytes.len();
                return if bytes.len() > MAX_HEAD_BYTES {
                    Err("head too large")
                } else {
                    Ok(None)
                };
            };
            let end = self.searched + found;
            self.searched = end + 1;
            let start = std::mem::replace(&mut self.line_start, self.searched);
            let line = bytes.get(start..end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match (self.status, line.is_empty()) {
                (None, _) => self.status_line(start, line)?,
                (Some(_), false) => self.field(bytes, start, line)?,
                (Some(_), true) => return self.framing().map(|()| Some(self.searched)),
            }
        }
    }

    /// RFC 9112 §4; the reason may be left out with its space.
    fn status_line(&mut self, start: usize, line: &[u8]) -> Result<(), Nonsense> {
        const NO_STATUS_LINE: Nonsense = "no status line";
        let (version, rest) = line.split_at_checked(9).ok_or(NO_STATUS_LINE)?;
        let (status, reason) = rest.split_at_checked(3).ok_or(NO_STATUS_LINE)?;
        self.http11 = match version {
            b"HTTP/1.1 " => true,
            b"HTTP/1.0 " => false,
            _ => return Err(NO_STATUS_LINE),
        };
        self.status = Some(StatusCode::from_bytes(status).map_err(|_| NO_STATUS_LINE)?);
        if !(reason.is_empty() || reason.starts_with(b" ")) || !is_field_value(reason) {
            return Err(NO_STATUS_LINE);
        }
        let end = start + line.len();
        self.reason = ((start + 13).min(end), end);
        Ok(())
    }

    fn field(&mut self, head: &[u8], start: usize, line: &[u8]) -> Result<(), Nonsense> {
        if self.fields.len() >= MAX_FIELDS {
            return Err("too many header fields");
        }
        let name_len = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(name_len).unwrap_or_default();
        let value = rest.strip_prefix(b":").filter(|_| !name.is_empty());
        let value = value.ok_or("invalid header name")?;
        if !is_field_value(value) {
            return Err("control character in a header value");
        }
        self.fields.push(head, start, name_len, start + line.len());
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => self.persistence.read(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = decimal(trim(value)).ok_or("invalid Content-Length")?;
                if self.content_length.replace(length).is_some() {
                    return Err("more than one Content-Length");
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let chunked = trim(value).eq_ignore_ascii_case(b"chunked");
                let again = std::mem::replace(&mut self.chunked, true);
                if again || !chunked {
                    return Err("Transfer-Encoding is not a single chunked");
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// RFC 9112 §6.1, §6.3: how responses are smuggled.
    fn framing(&self) -> Result<(), Nonsense> {
        if self.chunked && self.content_length.is_some() {
            return Err("Content-Length with Transfer-Encoding");
        }
        if self.chunked && !self.http11 {
            return Err("Transfer-Encoding on HTTP/1.0");
        }
        Ok(())
    }

    /// The response that a complete head makes, to a HEAD if `to_head`. `None`: what passed here the `http` crate does not take.
    pub(super) fn response(self, head: &Bytes, to_head: bool, keep_spelling: bool) -> Option<Judged> {
        let status = self.status?;
        let persistence = self.persistence.holds(self.http11);
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.version_mut() = if self.http11 {
            Version::HTTP_11
        } else {
            Version::HTTP_10
        };
        *response.headers_mut() = self.fields.map(head, ROOM_FOR_MORE)?;
        let reason = head.get(self.reason.0..self.reason.1)?;
        if status.canonical_reason().map(str::as_bytes) != Some(reason) {
            response.extensions_mut().insert(ReasonPhrase::try_from(reason).ok()?);
        }
        let body = self.body(status, to_head);
        Some(Judged {
            head: ResponseHead {
                response,
                spelling: keep_spelling.then(|| self.fields.spelling(head.clone())),
            },
            keep_alive: persistence && !matches!(body, Body::UntilClose),
            body,
        })
    }

    /// RFC 9112 §6.3, in its order.
    fn body(&self, status: StatusCode, to_head: bool) -> Body {
        if to_head || has_no_body(status) {
            Body::Length(0)
        } else if self.chunked {
            Body::chunked(MAX_TRAILER_BYTES)
        } else {
            self.content_length.map_or(Body::UntilClose, Body::Length)
        }
    }
}

/// Whatever its headers say (RFC 9110 §6.4.1).
pub(super) fn has_no_body(status: StatusCode) -> bool {
    status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The same whether the head comes whole or byte by byte.
    fn judge(head: &str) -> Result<Option<usize>, Nonsense> {
        let whole = ResponseJudge::default().read(head.as_bytes());
        let mut judge = ResponseJudge::default();
        let in_pieces = (0..=head.len())
            .map(|end| judge.read(head.as_bytes().get(..end).unwrap()))
            .find(|read| !matches!(read, Ok(None)))
            .unwrap_or(Ok(None));
        assert_eq!(whole, in_pieces, "{head:?}");
        whole
    }

    fn response(head: &str, to_head: bool) -> Judged {
        let mut judge = ResponseJudge::default();
        assert_eq!(judge.read(head.as_bytes()), Ok(Some(head.len())), "{head:?}");
        let head = Bytes::copy_from_slice(head.as_bytes());
        judge.response(&head, to_head, true).unwrap()
    }

    fn framed(fields: &str) -> (Option<u64>, bool) {
        let head = response(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), false);
        (head.body.length(), head.keep_alive)
    }

    #[test]
    fn bodies_are_framed_as_rfc_9112_6_3_has_it() {
        assert_eq!(framed("Content-Length: 5\r\n"), (Some(5), true));
        assert_eq!(framed("content-length: 5\r\nConnection: Close\r\n"), (Some(5), false));
        assert_eq!(framed("Transfer-Encoding: Chunked\r\n"), (None, true));
        assert_eq!(framed("Server: x\r\n"), (None, false));
        for head in [
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert_eq!(response(head, false).body.length(), Some(0), "{head:?}");
        }
        assert_eq!(
            response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true)
                .body
                .length(),
            Some(0)
        );
        let old = response("HTTP/1.0 200 OK\nContent-Length: 1\nConnection: keep-alive\n\n", false);
        assert!(old.keep_alive);
        assert!(!response("HTTP/1.0 200 OK\nContent-Length: 1\n\n", false).keep_alive);
    }

    #[test]
    fn a_reason_of_its_own_is_kept() {
        let reason = |head: &str| {
            response(head, false)
                .head
                .response
                .extensions()
                .get()
                .map(|reason: &ReasonPhrase| String::from_utf8_lossy(reason.as_bytes()).into_owned())
        };
        assert_eq!(reason("HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(
            reason("HTTP/1.1 200 Fine so far\r\n\r\n"),
            Some("Fine so far".to_owned())
        );
        assert_eq!(reason("HTTP/1.1 299\r\n\r\n"), Some(String::new()));
        assert_eq!(reason("HTTP/1.1 299 \r\n\r\n"), Some(String::new()));
    }

    #[test]
    fn r31_r32_what_could_be_read_two_ways_is_nonsense() {
        for fields in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            "Content-Length: 5, 5\r\n",
            "Content-Length: +5\r\n",
            "Content-Length:\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "A: b\r\n c\r\n",
            "A : b\r\n",
            ": b\r\n",
            "A\r\n",
            "A: b\rc\r\n",
            "A: b\0\r\n",
        ] {
            assert!(
                judge(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).is_err(),
                "{fields:?}"
            );
        }
        assert!(judge("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
        for line in [
            "",
            "HTTP/2 200 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 099 OK",
            "HTTP/1.1 2000",
            "HTTP/1.1  200",
            "HTTP/1.1 200 O\rK",
            "ICY 200 OK",
        ] {
            assert!(judge(&format!("{line}\r\nA: b\r\n\r\n")).is_err(), "{line:?}");
        }
        assert!(judge(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(101))).is_err());
        let endless = vec![b'a'; MAX_HEAD_BYTES + 1];
        assert!(ResponseJudge::default().read(&endless).is_err());
    }
}
