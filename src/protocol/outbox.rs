//! A message on its way out: its head as text, its body framed, written as the other side takes it.
//!
//! A small message goes as one piece: a vectored write of a few hundred bytes costs the kernel more than copying them here.
//!
//! May depend on: fields, scratch, streams.

use std::cell::RefCell;
use std::io::{self, IoSlice, Write as _};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Buf, Bytes};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use tokio::io::AsyncWrite;

use super::fields::{Speller, Spelling};
use super::request_head::decimal;
use super::scratch;
use super::stream::Stream;

/// Up to this many bytes of data are copied behind the text.
const SMALL: usize = 4 * 1024;

/// What waits to be written to one connection: never more than a text and one piece of data.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    text: Vec<u8>,
    written: usize,
    /// Bytes written in all.
    sent: u64,
    /// Data too large to be copied; comes behind the text.
    data: Bytes,
    /// Comes behind the data.
    tail: &'static [u8],
}

/// How a body is framed on its way out.
#[derive(Debug)]
pub(super) enum Framing {
    /// None, whatever the headers say.
    Nothing,
    /// So many bytes are still to come.
    Length(u64),
    /// In chunks; of the trailers those that were declared.
    Chunked { declared: Vec<HeaderName> },
    /// As it is; the connection's end is the body's.
    UntilClose,
}

/// A body was longer or shorter than its head had said.
#[derive(Debug)]
pub(super) struct Misframed;

impl Outbox {
    /// The text of a head, to be written to.
    pub(super) fn text(&mut self) -> &mut Vec<u8> {
        if self.text.capacity() == 0 {
            self.text = scratch::take_text();
        }
        &mut self.text
    }

    /// Whether another piece of data may come.
    pub(super) fn has_room(&self) -> bool {
        self.data.is_empty() && self.text.len() < SMALL
    }

    /// Bytes written so far.
    pub(super) const fn sent(&self) -> u64 {
        self.sent
    }

    pub(super) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.data.is_empty()
    }

    /// Some data of a body.
    pub(super) fn push(&mut self, framing: &mut Framing, data: Bytes) -> Result<(), Misframed> {
        if data.is_empty() {
            return Ok(());
        }
        let chunked = match framing {
            Framing::Nothing => return Err(Misframed),
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Misframed)?;
                false
            }
            Framing::Chunked { .. } => true,
            Framing::UntilClose => false,
        };
        let small = data.len() <= SMALL;
        let text = self.text();
        if chunked {
            // Writing to a vector cannot fail.
            let _ = write!(text, "{:X}\r\n", data.len());
        }
        if small {
            text.extend_from_slice(&data);
        } else {
            self.data = data;
        }
        if chunked && small {
            self.text().extend_from_slice(b"\r\n");
        } else if chunked {
            self.tail = b"\r\n";
        }
        Ok(())
    }

    /// The body has ended.
    pub(super) fn finish(&mut self, framing: &mut Framing, trailers: Option<&HeaderMap>) -> Result<(), Misframed> {
        match framing {
            Framing::Nothing | Framing::Length(0) | Framing::UntilClose => return Ok(()),
            Framing::Length(_) => return Err(Misframed),
            Framing::Chunked { declared } => {
                let text = self.text();
                text.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.into_iter().flatten() {
                    if declared.contains(name) && may_trail(name) {
                        field(text, name.as_str().as_bytes(), value.as_bytes());
                    }
                }
                text.extend_from_slice(b"\r\n");
            }
        }
        *framing = Framing::Nothing;
        Ok(())
    }

    /// Writes all that there is.
    pub(super) fn poll_flush(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let text = self.text.get(self.written..).unwrap_or_default();
            let count = if self.data.is_empty() && self.tail.is_empty() {
                ready!(Pin::new(&mut *stream).poll_write(cx, text))?
            } else {
                let pieces = [IoSlice::new(text), IoSlice::new(&self.data), IoSlice::new(self.tail)];
                ready!(Pin::new(&mut *stream).poll_write_vectored(cx, &pieces))?
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(count);
        }
        Pin::new(stream).poll_flush(cx)
    }

    fn advance(&mut self, count: usize) {
        self.sent += count as u64;
        let of_text = count.min(self.text.len() - self.written);
        self.written += of_text;
        let of_data = (count - of_text).min(self.data.len());
        self.data.advance(of_data);
        let of_tail = (count - of_text - of_data).min(self.tail.len());
        self.tail = self.tail.get(of_tail..).unwrap_or_default();
        if self.written == self.text.len() {
            scratch::give_back(std::mem::take(&mut self.text));
            self.written = 0;
        }
        if self.data.is_empty() && !self.tail.is_empty() {
            // What little is left of a chunk is text again.
            let tail = std::mem::take(&mut self.tail);
            self.text().extend_from_slice(tail);
        }
    }
}

/// Writes the fields of a head, in the map's order, save those that `skip`s.
pub(super) fn fields(
    text: &mut Vec<u8>,
    headers: &HeaderMap,
    spelling: Option<&Spelling>,
    skips: impl Fn(&HeaderName) -> bool,
) {
    let mut speller = Speller::new(spelling);
    for (name, value) in headers {
        if !skips(name) {
            field(text, speller.spell(name, value), value.as_bytes());
        }
    }
}

pub(super) fn field(text: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    text.reserve(name.len() + value.len() + 4);
    text.extend_from_slice(name);
    text.extend_from_slice(b": ");
    text.extend_from_slice(value);
    text.extend_from_slice(b"\r\n");
}

/// The length that a head says its body has.
pub(super) fn said_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)
        .map(HeaderValue::as_bytes)
        .and_then(decimal)
}

pub(super) fn content_length(text: &mut Vec<u8>, length: u64) {
    field(text, b"content-length", itoa::Buffer::new().format(length).as_bytes());
}

/// What a head declares to come as trailers.
#[must_use]
pub fn declared_trailers(headers: &HeaderMap) -> Vec<HeaderName> {
    let mut declared = Vec::new();
    for value in headers.get_all(header::TRAILER) {
        let names = value.as_bytes().split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        declared.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
    }
    declared
}

/// What frames, routes, authenticates or steers a message may not come behind it (RFC 9110 §6.5.1).
fn may_trail(name: &HeaderName) -> bool {
    const MUST_LEAD: [HeaderName; 12] = [
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::HOST,
        header::MAX_FORWARDS,
        header::SET_COOKIE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::TE,
    ];
    !MUST_LEAD.contains(name)
}

/// `Date` as of now (RFC 9110 §5.6.7); made once a second.
pub(super) fn date(text: &mut Vec<u8>) {
    thread_local! {
        static MADE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    MADE.with_borrow_mut(|(made, date)| {
        if *made != second {
            *made = second;
            *date = httpdate::fmt_http_date(now);
        }
        field(text, b"date", date.as_bytes());
    });
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_declared_trailers_are_known() {
        let mut headers = HeaderMap::new();
        headers.append("trailer", "x-a, X-B".parse().unwrap());
        headers.append("trailer", "x-c,".parse().unwrap());
        assert_eq!(declared_trailers(&headers), ["x-a", "x-b", "x-c"]);
    }
}
