//! As much of RFC 6455 as an echo needs: the accept key, and one frame at a time. Over [`wire`](super::wire).

use std::io::{self, Error, ErrorKind};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncRead, AsyncWrite};

use super::wire::Wire;

/// Bytes of a frame's payload at most.
const MAX_PAYLOAD: u64 = 1024 * 1024;

/// What a frame is (RFC 6455 §5.2), as its opcode.
#[allow(missing_docs)]
pub mod opcode {
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// A frame, unmasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The first byte: FIN, reserved bits and [`opcode`].
    pub first: u8,
    /// The payload, in the clear.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A whole message in one frame.
    pub fn whole(opcode: u8, payload: &[u8]) -> Self {
        Self {
            first: 0x80 | opcode,
            payload: payload.to_vec(),
        }
    }

    /// The [`opcode`].
    pub fn opcode(&self) -> u8 {
        self.first & 0x0f
    }
}

/// `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> String {
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()))
}

/// Reads one frame, masked or not.
///
/// # Errors
/// The connection's, or a frame over 1 MiB.
pub async fn read<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> io::Result<Frame> {
    let start = wire.exactly(2).await?;
    let (first, second) = match *start {
        [first, second] => (first, second),
        _ => return Err(ErrorKind::UnexpectedEof.into()),
    };
    let length = match second & 0x7f {
        126 => big_endian(&wire.exactly(2).await?),
        127 => big_endian(&wire.exactly(8).await?),
        short => u64::from(short),
    };
    if length > MAX_PAYLOAD {
        return Err(Error::new(ErrorKind::InvalidData, "a frame over 1 MiB"));
    }
    let mask = if second & 0x80 == 0 {
        None
    } else {
        Some(wire.exactly(4).await?)
    };
    let mut payload = wire
        .exactly(usize::try_from(length).unwrap_or(usize::MAX))
        .await?
        .to_vec();
    if let Some(mask) = mask {
        apply(&mask, &mut payload);
    }
    Ok(Frame { first, payload })
}

/// Writes one frame; clients mask theirs, servers do not (RFC 6455 §5.1).
///
/// # Errors
/// The connection's.
pub async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<S>,
    frame: &Frame,
    mask: Option<[u8; 4]>,
) -> io::Result<()> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut bytes = vec![frame.first];
    let length = frame.payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => bytes.push(masked | short),
        (_, Ok(medium)) => {
            bytes.push(masked | 126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        (_, Err(_)) => {
            bytes.push(masked | 127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let mut payload = frame.payload.clone();
    if let Some(mask) = mask {
        bytes.extend_from_slice(&mask);
        apply(&mask, &mut payload);
    }
    bytes.extend_from_slice(&payload);
    wire.send(&bytes).await
}

fn apply(mask: &[u8], payload: &mut [u8]) {
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

fn big_endian(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_rfc() {
        assert_eq!(accept_key("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[tokio::test]
    async fn a_masked_frame_comes_out_as_it_went_in_at_every_length_form() {
        let (near, far) = tokio::io::duplex(1 << 20);
        let (mut near, mut far) = (Wire::new(near), Wire::new(far));
        for length in [0, 5, 125, 126, 70_000] {
            let frame = Frame::whole(opcode::BINARY, &vec![7; length]);
            write(&mut near, &frame, Some([1, 2, 3, 4])).await.unwrap();
            assert_eq!(read(&mut far).await.unwrap(), frame);
            write(&mut far, &frame, None).await.unwrap();
            assert_eq!(read(&mut near).await.unwrap(), frame);
        }
    }
}
