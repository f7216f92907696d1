//! The judging of one request head, line by line as it comes, and the request that a sound one makes. Pure.
//!
//! Rules: RFC 9112 §2-§6 and RFC 9110 §5, taken strictly wherever implementations differ.
//!
//! May depend on: the parent module's bounds, request lines, fields, byte classes.

use bytes::Bytes;
use http::{Method, Request, Uri, Version};
use memchr::memchr;

use super::MAX_FIELDS;
use super::body::Body;
use super::fields::{Fields, Spelling};
use super::octets::{is_field_value, is_token_byte};
use super::refusal::{Fault, Refusal};
use super::request_line::{REQUEST_LINE_ROOM, RequestLine};

/// Longest Content-Length: common servers keep the largest numbers for themselves.
const MAX_CONTENT_LENGTH: u64 = u64::MAX - 2;

/// Fields that are put on a usual request on its way: room for them is made when the map is.
const ROOM_FOR_MORE: usize = 8;

/// Longest name that the `http` crate takes.
const MAX_NAME_BYTES: usize = u16::MAX as usize;

/// Judges a whole head, from the request line to the empty line and not a byte more, and reads it: the request without its body,
/// how its names were written, and how it is framed. The head may have `max_head` bytes, its target `max_target`.
pub fn read_head_within(
    head: &Bytes,
    max_head: usize,
    max_target: usize,
) -> Result<(Request<()>, Spelling, Framing), Refusal> {
    let incomplete = Refusal::Malformed(Fault::Incomplete);
    let room = Room {
        head: max_head,
        target: max_target,
    };
    let mut judge = HeadJudge::default();
    let (end, framing) = judge.read(head, room)?.ok_or(incomplete)?;
    if end != head.len() {
        return Err(incomplete);
    }
    let read = judge.request(head, true).ok_or(incomplete)?;
    Ok((read.request, read.spelling.ok_or(incomplete)?, framing))
}

/// Where the message ends that a head begins, and what may come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Bytes of the body; `None`: as its chunks say.
    pub content_length: Option<u64>,
    /// An `Upgrade` is asked for (HTTP/1.1 only, RFC 9110 §7.8): what follows the message may be another protocol.
    pub upgrade: bool,
}

impl Framing {
    /// The body to come.
    pub(super) fn body(self, max_trailer_bytes: usize) -> Body {
        self.content_length
            .map_or_else(|| Body::chunked(max_trailer_bytes), Body::Length)
    }
}

/// Bytes that a head and its target may have.
#[derive(Clone, Copy)]
pub(super) struct Room {
    pub(super) head: usize,
    pub(super) target: usize,
}

/// The judge of one head, which may come in pieces.
///
/// INVARIANT: the outcome does not depend on where the pieces were cut. A line is judged when its LF is there, and sizes
/// are compared with where a line ends, or would at the earliest.
#[derive(Debug, Default)]
pub(super) struct HeadJudge {
    /// Up to here no LF is left to find.
    searched: usize,
    line_start: usize,
    part: Part,
    method_start: usize,
    method_len: usize,
    target_len: usize,
    http11: bool,
    fields: Fields,
    host: bool,
    content_length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    persistence: Persistence,
    expects_continue: bool,
    takes_trailers: bool,
}

/// A sound head, as what follows on the connection needs to know it.
#[derive(Debug)]
pub(super) struct RequestHead {
    pub(super) request: Request<()>,
    pub(super) spelling: Option<Spelling>,
    /// The client will send more requests on this connection, for all that it says.
    pub(super) keep_alive: bool,
    /// It waits for a 100 before it sends its body (RFC 9110 §10.1.1).
    pub(super) expects_continue: bool,
    /// It takes trailers (RFC 9110 §10.1.4).
    pub(super) takes_trailers: bool,
}

/// What `Connection` says of the connection (RFC 9112 §9.3).
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Persistence {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
}

impl Persistence {
    pub(super) fn read(&mut self, value: &[u8]) {
        for option in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Whether the connection goes on behind this message.
    pub(super) const fn holds(self, http11: bool) -> bool {
        !self.close && (http11 || self.keep_alive)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Part {
    #[default]
    Start,
    AfterBlankLine,
    Fields,
}

impl HeadJudge {
    /// Judges what is new in `bytes`: all that has come of the head so far, and maybe more than the head. When it is
    /// complete: its length and framing.
    pub(super) fn read(&mut self, bytes: &[u8], room: Room) -> Result<Option<(usize, Framing)>, Refusal> {
        loop {
            let Some(found) = memchr(b'\n', bytes.get(self.searched..).unwrap_or_default()) else {
                self.searched = bytes.len();
                self.fits(bytes.len(), room)?;
                return Ok(None);
            };
            let line = bytes.get(self.line_start..self.searched + found).unwrap_or_default();
            self.searched += found + 1;
            self.fits(self.searched, room)?;
            let start = std::mem::replace(&mut self.line_start, self.searched);
            let Some((b'\r', line)) = line.split_last() else {
                return Err(Refusal::Malformed(Fault::BareLf));
            };
            match (self.part, line.is_empty()) {
                (Part::Start, true) => self.part = Part::AfterBlankLine,
                (Part::AfterBlankLine, true) => return Err(Refusal::Malformed(Fault::BlankLines)),
                (Part::Start | Part::AfterBlankLine, false) => {
                    let RequestLine { method, target, http11 } = RequestLine::read(line)?;
                    (self.method_start, self.method_len, self.target_len) = (start, method.len(), target.len());
                    self.http11 = http11;
                    self.part = Part::Fields;
                }
                (Part::Fields, false) => self.field(bytes, start, line)?,
                (Part::Fields, true) => {
                    return self.framing().map(|framing| Some((self.searched, framing)));
                }
            }
        }
    }

    /// Whether of `len` bytes any is one of a head. The empty line before a request line is none: old clients send it
    /// after a body.
    pub(super) fn begun(&self, len: usize) -> bool {
        self.part == Part::Fields || len > self.line_start
    }

    fn fits(&self, end: usize, room: Room) -> Result<(), Refusal> {
        if self.part != Part::Fields && end - self.line_start > room.target + REQUEST_LINE_ROOM {
            return Err(Refusal::TargetTooLong);
        }
        if end > room.head {
            return Err(Refusal::HeadTooLarge);
        }
        Ok(())
    }

    fn field(&mut self, head: &[u8], start: usize, line: &[u8]) -> Result<(), Refusal> {
        if self.fields.len() >= MAX_FIELDS {
            return Err(Refusal::HeadTooLarge);
        }
        let name_len = line.iter().position(|&byte| !is_token_byte(byte)).unwrap_or(line.len());
        let (name, rest) = line.split_at_checked(name_len).unwrap_or_default();
        let value = match rest.split_first() {
            Some((b':', value)) if !name.is_empty() => value,
            Some((b' ' | b'\t', _)) if name.is_empty() => {
                return Err(Refusal::Malformed(Fault::ObsFold));
            }
            Some((b' ' | b'\t', _)) => return Err(Refusal::Malformed(Fault::SpaceBeforeColon)),
            Some(_) | None => return Err(Refusal::malformed(line, Fault::FieldName)),
        };
        if name.len() > MAX_NAME_BYTES {
            return Err(Refusal::HeadTooLarge);
        }
        if !is_field_value(value) {
            return Err(Refusal::malformed(value, Fault::FieldValue));
        }
        self.fields.push(head, start, name_len, start + line.len());
        // The length first: most names are told apart by it.
        match name.len() {
            2 if name.eq_ignore_ascii_case(b"te") => {
                self.takes_trailers |= lists_trailers(value);
                Ok(())
            }
            4 if name.eq_ignore_ascii_case(b"host") => self.host(),
            6 if name.eq_ignore_ascii_case(b"expect") => {
                self.expects_continue |= trim(value).eq_ignore_ascii_case(b"100-continue");
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.upgrade = true;
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.persistence.read(value);
                Ok(())
            }
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
        .map_err(Refusal::Malformed)
    }

    /// Its syntax is judged elsewhere, with the target's authority.
    fn host(&mut self) -> Result<(), Fault> {
        if std::mem::replace(&mut self.host, true) {
            return Err(Fault::HostRepeated);
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(Fault::ContentLengthWithTransferEncoding);
        }
        let length = decimal(value)
            .filter(|&length| length <= MAX_CONTENT_LENGTH)
            .ok_or(Fault::ContentLength)?;
        if self.content_length.replace(length).is_some() {
            return Err(Fault::ContentLengthRepeated);
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !self.http11 {
            return Err(Fault::TransferEncodingOnHttp10);
        }
        if self.content_length.is_some() {
            return Err(Fault::ContentLengthWithTransferEncoding);
        }
        if !value.eq_ignore_ascii_case(b"chunked") || std::mem::replace(&mut self.chunked, true) {
            return Err(Fault::TransferEncoding);
        }
        Ok(())
    }

    /// The request that a complete head makes. `None`: what passed here the `http` crate does not take.
    pub(super) fn request(self, head: &Bytes, keep_spelling: bool) -> Option<RequestHead> {
        let method = self.method_start..self.method_start + self.method_len;
        let target = method.end + 1..method.end + 1 + self.target_len;
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(head.get(method)?).ok()?;
        *request.uri_mut() = Uri::from_maybe_shared(head.slice(target)).ok()?;
        *request.version_mut() = if self.http11 {
            Version::HTTP_11
        } else {
            Version::HTTP_10
        };
        *request.headers_mut() = self.fields.map(head, ROOM_FOR_MORE)?;
        Some(RequestHead {
            request,
            spelling: keep_spelling.then(|| self.fields.spelling(head.clone())),
            keep_alive: self.persistence.holds(self.http11),
            expects_continue: self.expects_continue && self.http11,
            takes_trailers: self.takes_trailers,
        })
    }

    fn framing(&self) -> Result<Framing, Refusal> {
        if self.http11 && !self.host {
            return Err(Refusal::Malformed(Fault::HostMissing));
        }
        Ok(Framing {
            content_length: if self.chunked {
                None
            } else {
                Some(self.content_length.unwrap_or(0))
            },
            upgrade: self.upgrade && self.http11,
        })
    }
}

fn lists_trailers(value: &[u8]) -> bool {
    let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    codings.any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// `1*DIGIT` that fits: no sign, no list (RFC 9110 §8.6).
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

pub(super) fn trim(value: &[u8]) -> &[u8] {
    let is_space = |&byte: &u8| byte == b' ' || byte == b'\t';
    let start = value.iter().position(|byte| !is_space(byte)).unwrap_or(value.len());
    let end = value
        .iter()
        .rposition(|byte| !is_space(byte))
        .map_or(start, |last| last + 1);
    value.get(start..end).unwrap_or_default()
}

#[cfg(test)]
mod tests;
