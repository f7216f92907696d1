//! A JSON document, scanned byte by byte for the numbers under `usage`: nothing is kept but where in it the next byte stands.
//!
//! `usage` is looked for at the top (OpenAI, Anthropic), in `response` (OpenAI's Responses) and in `message` (the beginning of an
//! Anthropic stream, whose counts are not final). What a model wrote is inside strings, which are skipped by JSON's own rules, so it
//! cannot pass for a count. It does not judge whether the document is sound.

use super::Tokens;

/// Names longer than this are none of those that are looked for.
const LONGEST_NAME: usize = 28;

/// `response.usage.output_tokens`: nothing deeper is looked at.
const DEEPEST: usize = 3;

/// The counts of one answer; those of a stream grow, so the largest of each is the last.
#[derive(Debug, Default)]
pub(super) struct Counts {
    scanner: Scanner,
    input: u32,
    /// Tokens that Anthropic counts beside those: read from the prompt cache, and put into it.
    cache_read: u32,
    cache_written: u32,
    output: u32,
    complete: bool,
}

#[derive(Debug, Default)]
struct Scanner {
    state: State,
    /// Objects and arrays that are open.
    depth: usize,
    /// The name last read in each of the outermost, if it leads somewhere.
    path: [Step; DEEPEST],
    name: Name,
    number: Option<u32>,
}

/// A name that leads to a count, or is one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Step {
    #[default]
    Elsewhere,
    Usage,
    Response,
    Message,
    Input,
    CacheRead,
    CacheWritten,
    Output,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Between,
    InString,
    /// After a backslash.
    Escaped,
    InNumber,
}

/// The beginning of the string last read.
#[derive(Debug, Default)]
struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    fn push(&mut self, text: &[u8]) {
        for byte in text {
            let Some(place) = self.bytes.get_mut(self.length) else {
                self.length = LONGEST_NAME + 1;
                return;
            };
            *place = *byte;
            self.length += 1;
        }
    }

    fn step(&self) -> Step {
        match self.bytes.get(..self.length) {
            Some(b"usage") => Step::Usage,
            Some(b"response") => Step::Response,
            Some(b"message") => Step::Message,
            Some(b"input_tokens" | b"prompt_tokens") => Step::Input,
            Some(b"cache_read_input_tokens") => Step::CacheRead,
            Some(b"cache_creation_input_tokens") => Step::CacheWritten,
            Some(b"output_tokens" | b"completion_tokens") => Step::Output,
            Some(_) | None => Step::Elsewhere,
        }
    }
}

impl Counts {
    /// The counts so far.
    pub(super) const fn said(&self) -> Tokens {
        Tokens {
            input: self
                .input
                .saturating_add(self.cache_read)
                .saturating_add(self.cache_written),
            output: self.output,
            estimated: false,
        }
    }

    /// Whether the answer said what all of it cost.
    pub(super) const fn is_complete(&self) -> bool {
        self.complete
    }

    /// Another document begins.
    pub(super) fn next_document(&mut self) {
        self.scanner = Scanner::default();
    }

    /// The next bytes of the document.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((first, after)) = rest.split_first() {
            match self.scanner.state {
                State::InString => {
                    let end = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    let (text, after) = rest.split_at(end);
                    self.scanner.name.push(text);
                    if let Some((last, after)) = after.split_first() {
                        self.scanner.state = if *last == b'"' { State::Between } else { State::Escaped };
                        rest = after;
                    } else {
                        rest = after;
                    }
                    continue;
                }
                State::Escaped => {
                    // None of the names that are looked for is written with escapes.
                    self.scanner.name.length = LONGEST_NAME + 1;
                    self.scanner.state = State::InString;
                }
                State::InNumber if first.is_ascii_digit() => self.scanner.digit(*first),
                State::InNumber => {
                    self.number_ended();
                    self.scanner.state = State::Between;
                    continue;
                }
                State::Between => self.scanner.between(*first),
            }
            rest = after;
        }
    }

    fn number_ended(&mut self) {
        let Some(number) = self.scanner.number.take() else {
            return;
        };
        let [first, second, third] = self.scanner.path;
        let (leaf, complete) = match (self.scanner.depth, first, second) {
            (2, Step::Usage, _) => (second, true),
            (3, Step::Response, Step::Usage) => (third, true),
            (3, Step::Message, Step::Usage) => (third, false),
            _elsewhere => return,
        };
        let count = match leaf {
            Step::Input => &mut self.input,
            Step::CacheRead => &mut self.cache_read,
            Step::CacheWritten => &mut self.cache_written,
            Step::Output => {
                self.complete |= complete;
                &mut self.output
            }
            Step::Elsewhere | Step::Usage | Step::Response | Step::Message => return,
        };
        *count = number.max(*count);
    }
}

impl Scanner {
    fn between(&mut self, byte: u8) {
        match byte {
            b'"' => {
                self.name.length = 0;
                self.state = State::InString;
            }
            // Only a name is followed by a colon.
            b':' => self.named(self.name.step()),
            b'{' | b'[' => {
                self.depth += 1;
                self.named(Step::Elsewhere);
            }
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            b',' => self.named(Step::Elsewhere),
            b'0'..=b'9' => {
                self.number = Some(0);
                self.state = State::InNumber;
                self.digit(byte);
            }
            // No count is negative: its digits are not read as one.
            b'-' => self.state = State::InNumber,
            _ => {}
        }
    }

    /// Whose value comes next, in the object or array that is open.
    fn named(&mut self, step: Step) {
        let open = self.depth.checked_sub(1).and_then(|place| self.path.get_mut(place));
        if let Some(place) = open {
            *place = step;
        }
    }

    fn digit(&mut self, byte: u8) {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        self.number = self
            .number
            .map(|number| number.saturating_mul(10).saturating_add(digit));
    }
}
