//! Small writes as one plain piece: a vectored write of a few hundred bytes costs the kernel more than copying them here.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Up to this many bytes are copied together; a typical head with a small body.
const SMALL: usize = 2048;

/// Writes `bufs` to `stream`: as one piece if they are small, as they are otherwise.
pub fn poll_write_vectored<S: AsyncWrite>(
    stream: Pin<&mut S>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    if let [only] = bufs {
        return stream.poll_write(cx, only);
    }
    let mut small = [0; SMALL];
    match gathered(bufs, &mut small) {
        Some(piece) => stream.poll_write(cx, piece),
        None => stream.poll_write_vectored(cx, bufs),
    }
}

/// All of `bufs` in `room`, if they fit.
fn gathered<'r>(bufs: &[IoSlice<'_>], room: &'r mut [u8]) -> Option<&'r [u8]> {
    let mut length = 0;
    for buf in bufs {
        let end = length + buf.len();
        room.get_mut(length..end)?.copy_from_slice(buf);
        length = end;
    }
    room.get(..length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_become_one_piece_and_large_ones_do_not() {
        let mut room = [0; 4];
        let piece = |texts: &[&'static [u8]], room: &mut [u8]| {
            let bufs: Vec<IoSlice<'_>> = texts.iter().map(|text| IoSlice::new(text)).collect();
            gathered(&bufs, room).map(<[u8]>::to_vec)
        };
        assert_eq!(piece(&[b"ab", b"", b"cd"], &mut room), Some(b"abcd".to_vec()));
        assert_eq!(piece(&[b"ab", b"cde"], &mut room), None);
        assert_eq!(piece(&[], &mut room), Some(Vec::new()));
    }
}
