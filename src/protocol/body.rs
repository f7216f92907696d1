//! A body as it comes: how long it is by its Content-Length, by the chunked framing (RFC 9112 §7.1) in its strict form, or by
//! the connection's end; its data and its trailers. Pure.
//!
//! May depend on: byte classes, fields.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::MAX_FIELDS;
use super::fields;
use super::octets::{is_token_byte, is_value_byte};

/// Digits of a chunk's size: 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Bytes of one chunk's extensions, which nobody uses.
const MAX_EXTENSION_BYTES: usize = 256;

/// A body still to come, or what is left of it.
#[derive(Debug)]
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked(Box<Chunked>),
    /// All that comes. Responses only.
    UntilClose,
}

/// The next of a body.
#[derive(Debug)]
pub(super) enum Next {
    /// Some of its data.
    Data(Bytes),
    /// The trailers; the end is next.
    Trailers(HeaderMap),
    /// It has ended.
    End,
    /// More has to come first.
    Starved,
    /// What comes next cannot be framed: why.
    Broken(&'static str),
}

/// How far some bytes belong to a body.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    /// So many are framing,
    framing: usize,
    /// and so many behind them are data.
    data: usize,
    then: Then,
}

#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// The body goes on.
    More,
    /// It has ended.
    End,
    /// What comes next cannot be framed: why.
    Broken(&'static str),
}

impl Body {
    /// Trailers may have so many bytes.
    pub(super) fn chunked(max_trailer_bytes: usize) -> Self {
        Self::Chunked(Box::new(Chunked {
            state: State::Size { digits: 0, size: 0 },
            trailer_room: max_trailer_bytes,
            trailers: Vec::new(),
            trailer_lines: 0,
        }))
    }

    /// How long it is, if that is known.
    pub(super) const fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next of the body off what has come.
    pub(super) fn next(&mut self, held: &mut BytesMut) -> Next {
        let step = self.step(held);
        held.advance(step.framing);
        if step.data > 0 {
            return Next::Data(taken(held, step.data));
        }
        match (step.then, self) {
            (Then::More, _) => Next::Starved,
            (Then::Broken(fault), _) => Next::Broken(fault),
            (Then::End, Self::Chunked(chunked)) if !chunked.trailers.is_empty() => {
                Next::Trailers(fields::trailers(std::mem::take(&mut chunked.trailers)))
            }
            (Then::End, _) => Next::End,
        }
    }

    /// Reads framing up to the next data.
    fn step(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Length(left) => {
                let data = skip(left, bytes.len());
                Step {
                    framing: 0,
                    data,
                    then: if *left == 0 { Then::End } else { Then::More },
                }
            }
            Self::Chunked(chunked) => chunked.step(bytes),
            Self::UntilClose => Step {
                framing: 0,
                data: bytes.len(),
                then: Then::More,
            },
        }
    }
}

/// The first `count` bytes; when those are all, nothing stays behind that would have to be shared.
fn taken(held: &mut BytesMut, count: usize) -> Bytes {
    if count == held.len() {
        return std::mem::take(held).freeze();
    }
    held.split_to(count).freeze()
}

/// Takes off `left` as many of `available` bytes as there are.
fn skip(left: &mut u64, available: usize) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= count as u64;
    count
}

#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    /// Bytes that trailers may still have.
    trailer_room: usize,
    /// Those that came.
    trailers: Vec<u8>,
    trailer_lines: usize,
}

/// The byte that is due.
#[derive(Debug, Clone, Copy)]
enum State {
    /// A digit of a chunk's size, or what ends it.
    Size {
        digits: u8,
        size: u64,
    },
    /// One of the extensions, `room` more of which may come, or the CR behind them.
    Extension {
        room: usize,
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// The first of a trailer line, or of the last line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Ended,
}

impl Chunked {
    fn step(&mut self, bytes: &[u8]) -> Step {
        let mut framing = 0;
        let step = |framing, data, then| Step { framing, data, then };
        loop {
            match &mut self.state {
                State::Ended => return step(framing, 0, Then::End),
                State::Data { left: 0 } => self.state = State::DataCr,
                State::Data { left } => return step(framing, skip(left, bytes.len() - framing), Then::More),
                _framing => {
                    let Some(&byte) = bytes.get(framing) else {
                        return step(framing, 0, Then::More);
                    };
                    match self.framing(byte) {
                        Ok(state) => self.state = state,
                        Err(fault) => return step(framing, 0, Then::Broken(fault)),
                    }
                    framing += 1;
                }
            }
        }
    }

    /// The state after one byte that is not a chunk's data.
    fn framing(&mut self, byte: u8) -> Result<State, &'static str> {
        match (self.state, byte) {
            (State::Size { digits: 1.., size }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { digits: 1.., size }, b';') => Ok(State::Extension {
                room: MAX_EXTENSION_BYTES,
                size,
            }),
            (State::Size { digits, size }, byte) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < MAX_SIZE_DIGITS => Ok(State::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }),
                Some(_) | None => Err("invalid chunk size"),
            },
            (State::Extension { size, .. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { room, size }, byte) if room > 0 && is_value_byte(byte) => {
                Ok(State::Extension { room: room - 1, size })
            }
            (State::Extension { .. }, _) => Err("invalid chunk extension"),
            (State::SizeLf { size: 0 }, b'\n') => Ok(State::Trailer),
            (State::SizeLf { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Size { digits: 0, size: 0 }),
            (State::Trailer, b'\r') => Ok(State::LastLf),
            (State::LastLf, b'\n') => Ok(State::Ended),
            (State::SizeLf { .. } | State::DataCr | State::DataLf | State::LastLf, _) => {
                Err("CRLF of a chunk is missing")
            }
            (State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLf, byte) => self.trailer(byte),
            (state @ (State::Data { .. } | State::Ended), _) => Ok(state),
        }
    }

    /// The same rules as for the fields of a head.
    fn trailer(&mut self, byte: u8) -> Result<State, &'static str> {
        self.trailer_room = self.trailer_room.checked_sub(1).ok_or("trailers too large")?;
        self.trailers.push(byte);
        match (self.state, byte) {
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::Trailer | State::TrailerName, byte) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_value_byte(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') if self.trailer_lines < MAX_FIELDS => {
                self.trailer_lines += 1;
                Ok(State::Trailer)
            }
            _ => Err("invalid trailer"),
        }
    }
}

#[cfg(test)]
mod tests;
