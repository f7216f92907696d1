//! Why a request's head is refused: a closed set, the same for the handler, its answer and the log.
//!
//! May depend on: nothing.

use std::fmt;

use memchr::memchr;

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It cannot be read without doubt: 400.
    Malformed(Fault),
    /// It was not complete in time: 408.
    TimedOut,
    /// The request line is too long: 414.
    TargetTooLong,
    /// The head has too many bytes or header fields: 431.
    HeadTooLarge,
    /// A tunnel is asked for: 501.
    Connect,
}

impl Refusal {
    /// A CR within a line is the graver fault: it is what request smuggling is made of.
    pub(super) fn malformed(line: &[u8], fault: Fault) -> Self {
        let bare_cr = memchr(b'\r', line).is_some();
        Self::Malformed(if bare_cr { Fault::BareCr } else { fault })
    }
}

/// What is wrong with a malformed head; its text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Not `method SP target SP version`.
    RequestLine,
    /// A target of none of the forms of RFC 9112 §3.2, or with bytes that no URI has.
    Target,
    /// Neither `HTTP/1.1` nor `HTTP/1.0`.
    Version,
    /// More than one empty line before the request line (RFC 9112 §2.2 asks to bear one).
    BlankLines,
    /// A line that ends in LF alone.
    BareLf,
    /// A CR inside a line.
    BareCr,
    /// A line that begins with a space: a folded value (RFC 9112 §5.2) or a disguised header field.
    ObsFold,
    /// A name that is empty or no token, or a line without a colon.
    FieldName,
    /// A space between a name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon,
    /// A control character in a value.
    FieldValue,
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// A Content-Length that is no plain number of at most 64 bits.
    ContentLength,
    /// More than one Content-Length, even if equal.
    ContentLengthRepeated,
    /// A Transfer-Encoding that is not one single `chunked`.
    TransferEncoding,
    /// A Transfer-Encoding on HTTP/1.0 (RFC 9112 §6.1).
    TransferEncodingOnHttp10,
    /// Content-Length and Transfer-Encoding together (RFC 9112 §6.3).
    ContentLengthWithTransferEncoding,
    /// Not one whole head. Only of [`super::read_head_within`].
    Incomplete,
}

impl Fault {
    /// The fault in words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestLine => "request line is not method, target, version",
            Self::Target => "invalid request target",
            Self::Version => "unknown HTTP version",
            Self::BlankLines => "empty lines before the request line",
            Self::BareLf => "line ends in LF without CR",
            Self::BareCr => "CR without LF",
            Self::ObsFold => "line begins with a space",
            Self::FieldName => "invalid header name",
            Self::SpaceBeforeColon => "space before a colon",
            Self::FieldValue => "control character in a header value",
            Self::HostMissing => "no Host",
            Self::HostRepeated => "more than one Host",
            Self::ContentLength => "invalid Content-Length",
            Self::ContentLengthRepeated => "more than one Content-Length",
            Self::TransferEncoding => "Transfer-Encoding is not a single chunked",
            Self::TransferEncodingOnHttp10 => "Transfer-Encoding on HTTP/1.0",
            Self::ContentLengthWithTransferEncoding => "Content-Length with Transfer-Encoding",
            Self::Incomplete => "incomplete head",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
