//! The trace that a request belongs to (W3C Trace Context, level 2): its client's, continued by a span of the gateway's own, or a
//! new one. Depends on nothing here; chance is an argument.
//!
//! INVARIANT: what is not a `traceparent` to the letter is none, so of what a stranger wrote nothing but the digits of two numbers
//! and two flags goes any further.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// `traceparent`: the trace, the caller's span, and flags.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate`: what tracing systems add to it, each in its own words.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The version that is written (§3.2.1), and the one that will never be.
const VERSION: u8 = 0;
const NO_VERSION: u8 = 0xff;

/// Bytes of a `traceparent` of that version: `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const LENGTH: usize = 55;

/// The caller may have recorded its span (§3.2.2.5.1).
const SAMPLED: u8 = 1;
/// At least the last seven bytes of the trace's id are chance (§3.2.2.5.2).
const RANDOM: u8 = 2;

/// A trace's id, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId([u8; 16]);

/// A span's id, never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanId([u8; 8]);

/// What ids are made of: as good as the randomness that it is.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chance {
    /// Of a new trace.
    pub trace: [u8; 16],
    /// Of a new span.
    pub span: [u8; 8],
}

/// Which new traces are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    /// Of 2⁶³.
    below: u64,
}

/// The span that a caller says its request comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parent {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub span: SpanId,
    flags: u8,
}

/// The gateway's own span of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its id.
    pub id: SpanId,
    /// The caller's; `None`: the trace begins here.
    pub parent: Option<SpanId>,
    flags: u8,
    /// Sampled for its caller's sake: a trace of ours of that id would not be.
    asked_for: bool,
}

/// What is known of the trace that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// Nothing.
    None,
    /// Its caller's, which passes through as it came.
    Passing(TraceId),
    /// It has a span here.
    Own(Span),
}

/// What the upstream is told of it.
#[derive(Debug, Clone)]
pub struct Onward {
    /// Our span, as its parent.
    pub traceparent: HeaderValue,
    /// Whether the trace is the client's: then its `tracestate` is too.
    pub continues: bool,
}

impl Trace {
    /// Of a request with these headers. `sampling`: spans are made here; else the client's trace is only known by name, where
    /// that `is_told`.
    pub fn of(
        headers: &HeaderMap,
        sampling: Option<Sampling>,
        is_told: bool,
        chance: impl FnOnce() -> Option<Chance>,
    ) -> Self {
        let Some(sampling) = sampling else {
            let parent = is_told.then(|| Parent::of(headers)).flatten();
            return parent.map_or(Self::None, |parent| Self::Passing(parent.trace));
        };
        let parent = Parent::of(headers);
        match (chance(), parent) {
            (Some(chance), _) => Self::Own(Span::begin(parent, sampling, chance)),
            (None, Some(parent)) => Self::Passing(parent.trace),
            (None, None) => Self::None,
        }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> Option<TraceId> {
        match self {
            Self::None => None,
            Self::Passing(trace) => Some(*trace),
            Self::Own(span) => Some(span.trace),
        }
    }

    /// The span that it has here.
    #[must_use]
    pub const fn span(&self) -> Option<&Span> {
        match self {
            Self::Own(span) => Some(span),
            Self::None | Self::Passing(_) => None,
        }
    }
}

impl Parent {
    /// The client's; `None`: there is none, it is malformed, or there are several (§3.2).
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut own = headers.get_all(TRACEPARENT).iter();
        let value = own.next().filter(|_| own.next().is_none())?;
        Self::read(value.as_bytes())
    }

    /// Reads a `traceparent` (§3.2.2). Of a version to come what is known of it is read, where nothing but a `-` follows (§3.2.4).
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let (known, more) = text.split_at_checked(LENGTH)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let [version] = read_hex::<1>(fields.next()?)?;
        let trace = read_hex(fields.next()?).filter(|id| *id != [0; 16])?;
        let span = read_hex(fields.next()?).filter(|id| *id != [0; 8])?;
        let [flags] = read_hex::<1>(fields.next()?)?;
        let understood = match version {
            VERSION if more.is_empty() => SAMPLED | RANDOM,
            VERSION | NO_VERSION => return None,
            _to_come if more.is_empty() || more.starts_with(b"-") => SAMPLED,
            _to_come => return None,
        };
        Some(Self {
            trace: TraceId(trace),
            span: SpanId(span),
            flags: flags & understood,
        })
    }

    /// Whether the caller may have recorded its span.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

impl Span {
    /// Sampled as its caller's is; where there is none, by the ratio (OpenTelemetry's `parentbased_traceidratio`).
    #[must_use]
    pub fn begin(parent: Option<Parent>, sampling: Sampling, chance: Chance) -> Self {
        let id = SpanId(never_zero(chance.span));
        match parent {
            Some(parent) => Self {
                trace: parent.trace,
                id,
                parent: Some(parent.span),
                flags: parent.flags,
                asked_for: parent.is_sampled() && !sampling.takes(parent.trace),
            },
            None => {
                let trace = TraceId(never_zero(chance.trace));
                let sampled = if sampling.takes(trace) { SAMPLED } else { 0 };
                Self {
                    trace,
                    id,
                    parent: None,
                    flags: RANDOM | sampled,
                    asked_for: false,
                }
            }
        }
    }

    /// Whether it is to be exported.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Whether it is sampled only because its caller, who may be anybody, says so.
    #[must_use]
    pub const fn is_asked_for(&self) -> bool {
        self.asked_for
    }

    /// The flags of its context.
    #[must_use]
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// What the upstream is told: it is within this span.
    #[must_use]
    pub fn onward(&self) -> Option<Onward> {
        let mut text = String::with_capacity(LENGTH);
        text.push_str("00-");
        text.push_str(self.trace.digits().as_str());
        text.push('-');
        text.push_str(Digits::<16>::of(self.id.0).as_str());
        text.push('-');
        text.push_str(Digits::<2>::of([self.flags]).as_str());
        Some(Onward {
            traceparent: HeaderValue::try_from(text).ok()?,
            continues: self.parent.is_some(),
        })
    }
}

impl Onward {
    /// Writes it over what the client said. Without a parent of that trace its `tracestate` says nothing (§3.3).
    pub fn write(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent.clone());
        if !self.continues {
            headers.remove(TRACESTATE);
        }
    }
}

impl Sampling {
    /// That share of them, 0 to 1.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast of a float ends at the bounds of the integer"
    )]
    pub fn ratio(share: f64) -> Self {
        Self {
            below: (share * (1u64 << 63) as f64) as u64,
        }
    }

    /// By the last eight bytes of the id, as OpenTelemetry's samplers decide: all that know one ratio take the same traces.
    fn takes(self, trace: TraceId) -> bool {
        let chance = trace.0.last_chunk().map_or(0, |last| u64::from_be_bytes(*last) >> 1);
        chance < self.below
    }
}

impl TraceId {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// As it is written: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn digits(&self) -> Digits<32> {
        Digits::of(self.0)
    }
}

impl SpanId {
    /// Its bytes.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

/// A number in lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub struct Digits<const COUNT: usize>([u8; COUNT]);

impl<const COUNT: usize> Digits<COUNT> {
    fn of<const BYTES: usize>(bytes: [u8; BYTES]) -> Self {
        const { assert!(COUNT == 2 * BYTES) };
        let mut digits = [0; COUNT];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
        }
        Self(digits)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

const fn digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + nibble - 10,
    }
}

/// Lower case only (§3.2.2), and exactly so many digits.
fn read_hex<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    if digits.len() != 2 * BYTES {
        return None;
    }
    let mut bytes = [0; BYTES];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

const fn value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Zero is no id (§3.2.2.3).
fn never_zero<const BYTES: usize>(mut bytes: [u8; BYTES]) -> [u8; BYTES] {
    if bytes == [0; BYTES]
        && let Some(last) = bytes.last_mut()
    {
        *last = 1;
    }
    bytes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
