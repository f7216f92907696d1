//! Where a request body ends: by its Content-Length, or by the chunked framing (RFC 9112 §7.1) in its strict form. Pure.
//!
//! hyper decodes the same bytes afterwards. This machine takes nothing that hyper would read otherwise, so both end a
//! body at the same byte.
//!
//! May depend on: byte classes.

use super::octets::{is_token_byte, is_value_byte};

/// Digits of a chunk's size: 64 bits.
const MAX_SIZE_DIGITS: u8 = 16;

/// Bytes of one chunk's extensions, which nobody uses.
const MAX_EXTENSION_BYTES: usize = 256;

/// A body still to come, or what is left of it.
pub(super) enum Body {
    /// So many bytes.
    Length(u64),
    /// Chunks, then trailers.
    Chunked(Chunked),
}

/// How far some bytes belong to a body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// So many of them do.
    pub(super) count: usize,
    pub(super) then: Then,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// The body goes on.
    More,
    /// It has ended.
    End,
    /// What comes next cannot be framed: why.
    Broken(&'static str),
}

impl Body {
    pub(super) fn chunked(max_trailer_bytes: usize) -> Self {
        Self::Chunked(Chunked {
            state: State::Size { digits: 0, size: 0 },
            trailer_room: max_trailer_bytes,
        })
    }

    /// Takes the next bytes of the connection.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Taken {
        match self {
            Self::Length(left) => {
                let count = skip(left, bytes.len());
                Taken {
                    count,
                    then: if *left == 0 { Then::End } else { Then::More },
                }
            }
            Self::Chunked(chunked) => chunked.take(bytes),
        }
    }
}

/// Takes off `left` as many of `available` bytes as there are.
fn skip(left: &mut u64, available: usize) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(available);
    *left -= count as u64;
    count
}

pub(super) struct Chunked {
    state: State,
    /// Bytes that trailers may still have.
    trailer_room: usize,
}

/// The byte that is due.
#[derive(Clone, Copy)]
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
    fn take(&mut self, bytes: &[u8]) -> Taken {
        let mut count = 0;
        loop {
            match &mut self.state {
                State::Ended => {
                    return Taken { count, then: Then::End };
                }
                State::Data { left: 0 } => self.state = State::DataCr,
                State::Data { left } => {
                    let skipped = skip(left, bytes.len() - count);
                    if skipped == 0 {
                        return Taken {
                            count,
                            then: Then::More,
                        };
                    }
                    count += skipped;
                }
                _framing => {
                    let Some(&byte) = bytes.get(count) else {
                        return Taken {
                            count,
                            then: Then::More,
                        };
                    };
                    match self.framing(byte) {
                        Ok(state) => self.state = state,
                        Err(fault) => {
                            return Taken {
                                count,
                                then: Then::Broken(fault),
                            };
                        }
                    }
                    count += 1;
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
        match (self.state, byte) {
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::Trailer | State::TrailerName, byte) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, byte) if is_value_byte(byte) => Ok(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::Trailer),
            _ => Err("invalid trailer"),
        }
    }
}

#[cfg(test)]
mod tests;
