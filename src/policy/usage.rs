//! What an answer of a language model says that it cost: token counts, read as the answer passes, without keeping it.
//!
//! OpenAI's and Anthropic's forms, whole or streamed, differ only in names: both are read. Depends on nothing else here.

mod counts;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use counts::Counts;

/// Bytes that make a token, where nobody says: the usual rule of thumb for English.
const BYTES_A_TOKEN: u64 = 4;

/// Tokens of one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens {
    /// That the model read, cached ones included.
    pub input: u32,
    /// That it wrote.
    pub output: u32,
    /// The answer did not say, or not all of it: these are as good as they can be guessed.
    pub estimated: bool,
}

impl Tokens {
    /// What a limit charges.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.input.saturating_add(self.output)
    }
}

/// Reads the usage of one answer.
#[derive(Debug)]
pub struct UsageReader {
    form: Form,
    counts: Counts,
    /// Of the body so far.
    bytes: u64,
}

#[derive(Debug)]
enum Form {
    /// One JSON document.
    Json,
    /// Server-sent events, each with one.
    Events { line: Line, events: u32 },
    /// It cannot be read: compressed.
    Opaque,
}

/// Where in a line of an event stream (WHATWG HTML §9.2.6) the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    /// After so many bytes of `data:`.
    Name(usize),
    /// In its value.
    Data,
    /// In a line of another name, or a comment.
    Other,
}

const DATA: &[u8] = b"data:";

impl UsageReader {
    /// For a successful answer in JSON or events; others cost nothing.
    #[must_use]
    pub fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        let content_type = headers.get(CONTENT_TYPE)?.as_bytes().trim_ascii_start();
        let is = |wanted: &str| {
            let head = content_type.get(..wanted.len());
            head.is_some_and(|head| head.eq_ignore_ascii_case(wanted.as_bytes()))
        };
        let form = match (is("application/json"), is("text/event-stream")) {
            _ if !status.is_success() => return None,
            (false, false) => return None,
            _ if is_encoded(headers) => Form::Opaque,
            (true, _) => Form::Json,
            (false, true) => Form::Events {
                line: Line::Name(0),
                events: 0,
            },
        };
        Some(Self {
            form,
            counts: Counts::default(),
            bytes: 0,
        })
    }

    /// The next bytes of the body.
    pub fn read(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        match &mut self.form {
            Form::Json => self.counts.read(bytes),
            Form::Events { line, events } => read_events(line, events, &mut self.counts, bytes),
            Form::Opaque => {}
        }
    }

    /// What was said so far. A stream that was cut off, or never says, is estimated: a token an event, and one for four bytes of
    /// the request; so that nobody spends nothing by not asking for the count, or by leaving before it comes.
    #[must_use]
    pub fn tokens(&self, request_bytes: u64) -> Option<Tokens> {
        let said = self.counts.said();
        let guessed_input = || clamped(request_bytes / BYTES_A_TOKEN);
        match self.form {
            _ if self.counts.is_complete() => Some(said),
            Form::Json => (said.total() > 0).then_some(said),
            Form::Events { events: 0, .. } => None,
            Form::Events { events, .. } => Some(Tokens {
                input: if said.input == 0 { guessed_input() } else { said.input },
                output: said.output.max(events),
                estimated: true,
            }),
            Form::Opaque => Some(Tokens {
                input: guessed_input(),
                output: clamped(self.bytes / BYTES_A_TOKEN),
                estimated: true,
            }),
        }
    }
}

fn clamped(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity"))
}

fn read_events(line: &mut Line, events: &mut u32, counts: &mut Counts, bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        match *line {
            Line::Name(matched) => {
                rest = after;
                *line = match (DATA.get(matched), first) {
                    // An empty line ends the event.
                    (_, b'\n' | b'\r') if matched == 0 => {
                        counts.next_document();
                        Line::Name(0)
                    }
                    (_, b'\n' | b'\r') => Line::Name(0),
                    (Some(wanted), byte) if wanted == byte && matched + 1 == DATA.len() => {
                        *events = events.saturating_add(1);
                        Line::Data
                    }
                    (Some(wanted), byte) if wanted == byte => Line::Name(matched + 1),
                    _ => Line::Other,
                };
            }
            Line::Data | Line::Other => {
                let end = memchr::memchr2(b'\n', b'\r', rest);
                let (text, after) = rest.split_at(end.unwrap_or(rest.len()));
                if *line == Line::Data {
                    counts.read(text);
                }
                if end.is_some() {
                    *line = Line::Name(0);
                }
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
