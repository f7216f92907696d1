//! One log line, appended field by field to a buffer, as JSON (RFC 8259) or as text. Depends on nothing else here.
//!
//! INVARIANT: whatever the values hold, a line is one line of valid UTF-8 without control characters (hardening r12), and no
//! value is longer than [`LONGEST`] bytes before escaping.

use std::fmt::Display;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use tracing::Level;

use super::Format;

/// Longer texts are cut here, in bytes, and end in `…`.
pub(super) const LONGEST: usize = 2048;

/// What most lines fit into, in bytes.
const TYPICAL: usize = 1024;

/// A field's name.
pub(super) trait Name {
    /// Writes what stands before a value, a text's opening quote included if it is `quoted`.
    fn write(self, out: &mut Vec<u8>, format: Format, quoted: bool);
}

impl Name for &str {
    fn write(self, out: &mut Vec<u8>, format: Format, quoted: bool) {
        let (before, after): (&[u8], &[u8]) = match format {
            Format::Json => (b",\"", b"\":"),
            Format::Text => (b" ", b"="),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(self.as_bytes());
        out.extend_from_slice(after);
        if quoted {
            out.push(b'"');
        }
    }
}

/// A name that is known when the gateway is built, ready to be written in one piece: a request's line has two dozen of them.
#[derive(Clone, Copy)]
pub(super) struct Key {
    /// In a line of JSON, with the quote that opens a text.
    pub(super) json: &'static str,
    /// In a line of text, with that quote too.
    pub(super) text: &'static str,
}

/// The [`Key`] of this name.
macro_rules! key {
    ($name:literal) => {
        $crate::observe::line::Key {
            json: concat!(",\"", $name, "\":\""),
            text: concat!(" ", $name, "=\""),
        }
    };
}
pub(super) use key;

impl Name for Key {
    fn write(self, out: &mut Vec<u8>, format: Format, quoted: bool) {
        let whole = match format {
            Format::Json => self.json,
            Format::Text => self.text,
        };
        let bytes = if quoted { Some(whole) } else { whole.strip_suffix('"') };
        out.extend_from_slice(bytes.unwrap_or_default().as_bytes());
    }
}

/// A line that was begun.
pub(super) struct Line<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
}

impl<'a> Line<'a> {
    /// Begins a line with its time and level.
    pub(super) fn begin(out: &'a mut Vec<u8>, format: Format, unix_ms: i64, level: Level) -> Self {
        out.reserve(TYPICAL);
        match format {
            Format::Json => {
                out.extend_from_slice(b"{\"time\":\"");
                push_time(out, unix_ms);
                out.extend_from_slice(b"\",\"level\":\"");
                out.extend_from_slice(level_name(level).as_bytes());
                out.push(b'"');
            }
            Format::Text => {
                push_time(out, unix_ms);
                out.push(b' ');
                out.extend_from_slice(level_name(level).as_bytes());
            }
        }
        Self { out, format }
    }

    /// What happened; in text without a key.
    pub(super) fn message(&mut self, message: &str) {
        match self.format {
            Format::Json => self.text("message", message),
            Format::Text => {
                self.out.push(b' ');
                push_escaped(self.out, message.as_bytes());
            }
        }
    }

    /// A text of any bytes, if there is one.
    pub(super) fn optional(&mut self, name: impl Name, value: Option<impl AsRef<[u8]>>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A word of the gateway's own, or of the config: letters, digits, `-_.:/,` only, so that there is nothing to escape.
    pub(super) fn word(&mut self, name: impl Name, word: &str) {
        debug_assert!(
            word.bytes()
                .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=')),
            "{word}"
        );
        let quoted = self.format == Format::Json;
        self.begin_text(name, quoted);
        self.out.extend_from_slice(word.as_bytes());
        self.end_text(quoted);
    }

    /// A word, if there is one.
    pub(super) fn optional_word(&mut self, name: impl Name, word: Option<&str>) {
        if let Some(word) = word {
            self.word(name, word);
        }
    }

    /// A text of any bytes.
    pub(super) fn text(&mut self, name: impl Name, value: impl AsRef<[u8]>) {
        let value = value.as_ref();
        let quoted = self.format == Format::Json || !is_bare(value);
        self.begin_text(name, quoted);
        push_escaped(self.out, value);
        self.end_text(quoted);
    }

    /// Texts joined by spaces, as many as fit into [`LONGEST`] bytes; no field when there are none.
    pub(super) fn texts<'t>(&mut self, name: impl Name, mut values: impl Iterator<Item = &'t str>) {
        let Some(first) = values.next() else { return };
        self.begin_text(name, true);
        push_escaped(self.out, first.as_bytes());
        let mut length = first.len();
        for value in values {
            length += 1 + value.len();
            if length > LONGEST {
                self.out.extend_from_slice(" …".as_bytes());
                break;
            }
            self.out.push(b' ');
            push_escaped(self.out, value.as_bytes());
        }
        self.end_text(true);
    }

    /// An integer.
    pub(super) fn integer(&mut self, name: impl Name, value: impl itoa::Integer) {
        self.begin_number(name);
        push_integer(self.out, value);
    }

    /// A number or `true` or `false`, as it displays itself.
    pub(super) fn literal(&mut self, name: impl Name, value: impl Display) {
        self.begin_number(name);
        push_displayed(self.out, value);
    }

    /// A duration in milliseconds, to the microsecond: `0.412`.
    pub(super) fn millis(&mut self, name: impl Name, value: Duration) {
        self.begin_number(name);
        let micros = u64::try_from(value.as_micros()).unwrap_or(u64::MAX);
        push_integer(self.out, micros / 1000);
        self.out.push(b'.');
        push_digits::<3>(self.out, micros % 1000);
    }

    /// An IP address.
    pub(super) fn address(&mut self, name: impl Name, value: IpAddr) {
        let quoted = self.format == Format::Json;
        self.begin_text(name, quoted);
        match value {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                push_integer(self.out, a);
                for octet in [b, c, d] {
                    self.out.push(b'.');
                    push_integer(self.out, octet);
                }
            }
            IpAddr::V6(v6) => push_displayed(self.out, v6),
        }
        self.end_text(quoted);
    }

    /// Ends the line.
    pub(super) fn end(self) {
        let end: &[u8] = match self.format {
            Format::Json => b"}\n",
            Format::Text => b"\n",
        };
        self.out.extend_from_slice(end);
    }

    fn begin_text(&mut self, name: impl Name, quoted: bool) {
        name.write(self.out, self.format, quoted);
    }

    fn begin_number(&mut self, name: impl Name) {
        name.write(self.out, self.format, false);
    }

    fn end_text(&mut self, quoted: bool) {
        if quoted {
            self.out.push(b'"');
        }
    }
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Whether a value needs no quotes in text: visible ASCII without quotes, backslash, `=`.
fn is_bare(value: &[u8]) -> bool {
    let bare = |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'=');
    !value.is_empty() && value.iter().all(bare)
}

/// Appends the inside of a JSON string. What is not UTF-8 becomes U+FFFD.
fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    let kept = cut(text);
    // Nearly every value is plain; without an early return the test is a few vector instructions.
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7e) & (*byte != b'"') & (*byte != b'\\');
    if kept.iter().fold(true, |all, byte| all & plain(byte)) {
        out.extend_from_slice(kept);
    } else {
        for chunk in kept.utf8_chunks() {
            for character in chunk.valid().chars() {
                push_character(out, character);
            }
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    if kept.len() < text.len() {
        out.extend_from_slice("…".as_bytes());
    }
}

/// At most [`LONGEST`] bytes, not ending inside of a character.
fn cut(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(LONGEST);
    while end > LONGEST - 4 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

fn push_character(out: &mut Vec<u8>, character: char) {
    match character {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        other if is_unseen(other) => push_displayed(out, format_args!("\\u{:04x}", u32::from(other))),
        other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Controls (C0, DEL, C1), line separators, and marks of direction, by which a line can be made to read as another.
fn is_unseen(character: char) -> bool {
    let marks =
        matches!(character, '\u{061c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character.is_control() || marks
}

/// RFC 3339 §5.6 in UTC with milliseconds. Times outside the years 0 to 9999 become the nearest that is inside.
fn push_time(out: &mut Vec<u8>, unix_ms: i64) {
    const YEAR_0: i64 = -62_167_219_200_000;
    const YEAR_10000: i64 = 253_402_300_800_000;
    const DAY_MS: u64 = 86_400_000;
    // Counted from 1 March of year 0, so that the leap day ends a year and every number is positive
    // (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days); 400 years are added for January
    // and February of year 0.
    let since = unix_ms.clamp(YEAR_0, YEAR_10000 - 1) - YEAR_0;
    let since = since.unsigned_abs();
    let (days, ms) = (since / DAY_MS + 146_097 - 60, since % DAY_MS);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, after_new_year) = match month_from_march {
        0..=9 => (month_from_march + 3, 0),
        _ => (month_from_march - 9, 1),
    };
    push_digits::<4>(out, era * 400 + year_of_era + after_new_year - 400);
    out.push(b'-');
    push_digits::<2>(out, month);
    out.push(b'-');
    push_digits::<2>(out, day);
    out.push(b'T');
    push_digits::<2>(out, ms / 3_600_000);
    out.push(b':');
    push_digits::<2>(out, ms / 60_000 % 60);
    out.push(b':');
    push_digits::<2>(out, ms / 1000 % 60);
    out.push(b'.');
    push_digits::<3>(out, ms % 1000);
    out.push(b'Z');
}

/// The last `N` decimal digits.
fn push_digits<const N: usize>(out: &mut Vec<u8>, mut value: u64) {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (value % 10) as u8;
        value /= 10;
    }
    out.extend_from_slice(&digits);
}

fn push_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn push_displayed(out: &mut Vec<u8>, value: impl Display) {
    // Writing to a vector does not fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        push_escaped(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn time(unix_ms: i64) -> String {
        let mut out = Vec::new();
        push_time(&mut out, unix_ms);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(time(951_782_400_123), "2000-02-29T00:00:00.123Z");
        assert_eq!(time(1_772_323_199_999), "2026-02-28T23:59:59.999Z");
        assert_eq!(time(i64::MIN), "0000-01-01T00:00:00.000Z");
        assert_eq!(time(i64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn r12_what_cannot_be_seen_is_spelt_out() {
        assert_eq!(escaped(b"a\r\n\t\x1b[31m\0\x7f"), "a\\r\\n\\t\\u001b[31m\\u0000\\u007f");
        assert_eq!(
            escaped("\u{85}\u{9b}\u{2028}\u{2029}\u{202e}".as_bytes()),
            "\\u0085\\u009b\\u2028\\u2029\\u202e"
        );
        assert_eq!(escaped(br#"say "hi" \ "#), r#"say \"hi\" \\ "#);
    }

    #[test]
    fn what_is_not_utf_8_is_replaced() {
        assert_eq!(escaped(b"caf\xe9/\xff\xfe"), "caf\u{fffd}/\u{fffd}\u{fffd}");
        assert_eq!(escaped("café 🦀".as_bytes()), "café 🦀");
    }

    #[test]
    fn long_values_are_cut_between_characters_and_marked() {
        assert_eq!(escaped(&[b'a'; LONGEST]), "a".repeat(LONGEST));
        assert_eq!(escaped(&[b'a'; LONGEST + 1]), format!("{}…", "a".repeat(LONGEST)));
        let crabs = format!("a{}", "🦀".repeat(LONGEST / 4));
        assert_eq!(escaped(crabs.as_bytes()), format!("a{}…", "🦀".repeat(LONGEST / 4 - 1)));
        let bytes = [0x80; LONGEST + 9];
        assert!(
            escaped(&bytes).len() <= 3 * LONGEST + 3,
            "bytes that continue nothing do not stop the cut"
        );
    }

    proptest! {
        #[test]
        fn every_time_is_the_one_that_the_calendar_says(unix_ms in -62_167_219_200_000_i64..253_402_207_200_000) {
            let expected = jiff::Timestamp::from_millisecond(unix_ms).unwrap();
            prop_assert_eq!(time(unix_ms), format!("{expected:.3}"));
        }
    }
}
