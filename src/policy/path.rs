//! The request path: refused where two servers could read it as two things, decoded once for matching.
//!
//! What is matched is the percent-decoded path by whole segments; what is forwarded stays the client's own bytes, which is safe
//! only because every spelling that could mean something else downstream is refused here (hardening r14, r15).

use std::borrow::Cow;

/// A path that has one meaning.
#[derive(Debug, Clone)]
pub struct RequestPath<'r> {
    raw: &'r str,
    /// Some segment holds `%2F`, which only a route with `allow_encoded_slash` takes.
    encoded_slash: bool,
    /// Nothing is percent-encoded: raw segments are decoded segments.
    plain: bool,
}

/// What makes a path ambiguous; the name goes to the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathFault {
    /// It does not begin with `/`.
    NotAbsolute,
    /// `//`.
    EmptySegment,
    /// `.` or `..`, plain or encoded, with or without `;parameters`.
    DotSegment,
    /// `\`, plain or encoded.
    Backslash,
    /// `#`.
    Fragment,
    /// `%00`.
    Nul,
    /// `%` without two hexadecimal digits.
    BadEncoding,
    /// `%25` that decodes to the beginning of `%2f`, `%5c`, `%2e` or `%00`.
    DoubleEncoding,
    /// `%2f` on a route that does not allow it.
    EncodedSlash,
}

impl PathFault {
    /// The name in the log line's `detail` and in `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotAbsolute => "path_not_absolute",
            Self::EmptySegment => "path_empty_segment",
            Self::DotSegment => "path_dot_segment",
            Self::Backslash => "path_backslash",
            Self::Fragment => "path_fragment",
            Self::Nul => "path_nul",
            Self::BadEncoding => "path_bad_encoding",
            Self::DoubleEncoding => "path_double_encoding",
            Self::EncodedSlash => "path_encoded_slash",
        }
    }
}

impl<'r> RequestPath<'r> {
    /// Reads the raw path of a request target, without its query.
    ///
    /// # Errors
    /// The first ambiguity found.
    pub fn read(raw: &'r str) -> Result<Self, PathFault> {
        let rest = raw.strip_prefix('/').ok_or(PathFault::NotAbsolute)?;
        let mut path = Self {
            raw,
            encoded_slash: false,
            plain: !raw.contains('%'),
        };
        if raw.contains("//") {
            return Err(PathFault::EmptySegment);
        }
        for segment in rest.split('/') {
            let decoded = decode(segment)?;
            path.encoded_slash |= decoded.len() != segment.len() && decoded.contains(&b'/');
            judge_segment(&decoded)?;
        }
        Ok(path)
    }

    /// The path as the client wrote it.
    #[must_use]
    pub const fn raw(&self) -> &'r str {
        self.raw
    }

    /// Whether some segment holds `%2F`.
    #[must_use]
    pub const fn has_encoded_slash(&self) -> bool {
        self.encoded_slash
    }

    /// The decoded segments: `/a/b` has two, `/a/` has `a` and an empty one, `/` one empty one.
    pub fn segments(&self) -> impl Iterator<Item = Cow<'r, [u8]>> + Clone + use<'r> {
        let plain = self.plain;
        self.raw.split('/').skip(1).map(move |segment| {
            if plain {
                Cow::Borrowed(segment.as_bytes())
            } else {
                // INVARIANT: every segment was decoded once by `read`; an error cannot occur, and would match nothing.
                decode(segment).unwrap_or(Cow::Borrowed(b"%"))
            }
        })
    }
}

/// Percent-decodes one segment; refuses what decodes to something that decodes again.
fn decode(segment: &str) -> Result<Cow<'_, [u8]>, PathFault> {
    let bytes = segment.as_bytes();
    if !bytes.contains(&b'%') {
        return Ok(Cow::Borrowed(bytes));
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            decoded.push(first);
            rest = tail;
            continue;
        }
        let (byte, after) = match tail {
            [high, low, after @ ..] => (encoded_byte(*high, *low), after),
            _ => (None, tail),
        };
        let byte = byte.ok_or(PathFault::BadEncoding)?;
        decoded.push(byte);
        rest = after;
    }
    if decoded.windows(3).any(is_encoded_again) {
        return Err(PathFault::DoubleEncoding);
    }
    Ok(Cow::Owned(decoded))
}

/// What `%` and these two digits stand for.
pub(super) fn encoded_byte(high: u8, low: u8) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

/// Whether what was decoded reads `%2f`, `%5c`, `%2e`, `%00` or another `%25`, in any case, and however its digits were written: they may
/// be encoded too (`%25%32%65`).
///
/// `%2525…` is refused with them: an upstream that decodes twice would meet the dangerous form after its second pass.
fn is_encoded_again(decoded: &[u8]) -> bool {
    let [b'%', high, low] = decoded else { return false };
    matches!(encoded_byte(*high, *low), Some(b'/' | b'\\' | b'.' | b'%' | 0))
}

fn judge_segment(decoded: &[u8]) -> Result<(), PathFault> {
    for byte in decoded {
        match byte {
            b'\\' => return Err(PathFault::Backslash),
            b'#' => return Err(PathFault::Fragment),
            0 => return Err(PathFault::Nul),
            _ => {}
        }
    }
    // `..;x=y` is `..` to servers that cut matrix parameters (r15), and a decoded slash may hide a dot segment.
    let hides_dots = decoded.split(|byte| *byte == b'/').any(|part| {
        let name = part.split(|byte| *byte == b';').next().unwrap_or(part);
        matches!(name, b"." | b"..")
    });
    if hides_dots { Err(PathFault::DotSegment) } else { Ok(()) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn r14_ambiguous_paths_are_refused_each_by_its_name() {
        for (raw, fault) in [
            ("a", PathFault::NotAbsolute),
            ("", PathFault::NotAbsolute),
            ("*", PathFault::NotAbsolute),
            ("//a", PathFault::EmptySegment),
            ("/a//b", PathFault::EmptySegment),
            ("/a//", PathFault::EmptySegment),
            ("/a/./b", PathFault::DotSegment),
            ("/a/..", PathFault::DotSegment),
            ("/a/%2e%2E/b", PathFault::DotSegment),
            ("/a/.%2e", PathFault::DotSegment),
            ("/a/..%2fb", PathFault::DotSegment),
            ("/a\\b", PathFault::Backslash),
            ("/a%5cb", PathFault::Backslash),
            ("/a%5Cb", PathFault::Backslash),
            ("/a#b", PathFault::Fragment),
            ("/a%23b", PathFault::Fragment),
            ("/a%00", PathFault::Nul),
            ("/a%", PathFault::BadEncoding),
            ("/a%2", PathFault::BadEncoding),
            ("/a%zz", PathFault::BadEncoding),
            ("/a%+1", PathFault::BadEncoding),
            ("/a%252fb", PathFault::DoubleEncoding),
            ("/a%255Cb", PathFault::DoubleEncoding),
            ("/a%252e%252e/b", PathFault::DoubleEncoding),
            ("/a%2500", PathFault::DoubleEncoding),
            ("/a%25252fb", PathFault::DoubleEncoding),
            ("/a/.%25%32%65/b", PathFault::DoubleEncoding),
            ("/a%25%32fb", PathFault::DoubleEncoding),
            ("/a%252%46b", PathFault::DoubleEncoding),
            ("/a%25%35%63b", PathFault::DoubleEncoding),
            ("/a%25%30%30", PathFault::DoubleEncoding),
            ("/a%25%32%35", PathFault::DoubleEncoding),
        ] {
            assert_eq!(RequestPath::read(raw).unwrap_err(), fault, "{raw}");
        }
    }

    #[test]
    fn r15_dot_segments_with_parameters_are_refused_and_other_semicolons_are_text() {
        assert_eq!(
            RequestPath::read("/public/..;x=y/admin").unwrap_err(),
            PathFault::DotSegment
        );
        assert_eq!(
            RequestPath::read("/public/.;/admin").unwrap_err(),
            PathFault::DotSegment
        );
        let path = RequestPath::read("/a;x=1/b").unwrap();
        assert_eq!(segments(&path), ["a;x=1", "b"]);
    }

    #[test]
    fn segments_are_decoded_and_the_raw_path_is_kept() {
        let path = RequestPath::read("/%61dmin/%E4%B8%AD/x%20y/").unwrap();
        assert_eq!(segments(&path), ["admin", "中", "x y", ""]);
        assert_eq!(path.raw(), "/%61dmin/%E4%B8%AD/x%20y/");
        assert_eq!(segments(&RequestPath::read("/").unwrap()), [""]);
    }

    #[test]
    fn a_percent_sign_that_begins_nothing_is_text() {
        let path = RequestPath::read("/100%25/%2541").unwrap();
        assert_eq!(segments(&path), ["100%", "%41"]);
    }

    #[test]
    fn an_encoded_slash_is_told_and_stays_in_its_segment() {
        let path = RequestPath::read("/models/org%2Fname").unwrap();
        assert!(path.has_encoded_slash());
        assert_eq!(segments(&path), ["models", "org/name"]);
        assert!(!RequestPath::read("/models/org").unwrap().has_encoded_slash());
    }

    fn segments(path: &RequestPath<'_>) -> Vec<String> {
        path.segments()
            .map(|segment| String::from_utf8(segment.into_owned()).unwrap())
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_read_never_holds_a_dot_segment_however_often_it_is_decoded(raw in "/[a-f0-9./%;\\\\]{0,24}") {
            if let Ok(path) = RequestPath::read(&raw) {
                for segment in path.segments() {
                    let again = String::from_utf8_lossy(&segment).into_owned();
                    prop_assert!(!matches!(again.as_str(), "." | ".."));
                    if let Ok(twice) = decode(&again) {
                        prop_assert!(!matches!(&*twice, b"." | b".."), "{raw}");
                    }
                }
            }
        }
    }
}
