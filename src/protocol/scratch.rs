//! Room that a thread's connections share while one of them reads or writes: an idle connection has none of its own.
//!
//! What is read goes through the thread's buffer into an allocation of its very length, for a head of 900 bytes is not worth a
//! buffer of eight thousand; only a body that fills the buffer is read into memory of its own.
//!
//! May depend on: tokio's I/O, http's maps.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::thread::LocalKey;

use bytes::BytesMut;
use http::HeaderMap;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// Bytes of one read: nearly every head with its body.
const ROOM: usize = 16 * 1024;

/// Bytes of one read of a large body.
const BULK: usize = 64 * 1024;

/// So many texts, and maps, wait at once at a thread's busy times; more are not kept.
const MOST_KEPT: usize = 64;

/// A text that grew beyond this is not kept for the next one.
const KEPT_TEXT: usize = 32 * 1024;

/// Nor a map with room for more fields than this.
const KEPT_MAP: usize = 48;

thread_local! {
    static INPUT: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static TEXTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    static MAPS: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// How the next bytes of a connection are read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// They are few, or nothing is known.
    #[default]
    Few,
    /// The last read was as large as it could be: so may be the next.
    Bulk,
    /// However many there are, they are taken in small pieces.
    Sparing,
}

/// Appends what comes next to `held`; zero bytes: there is no more.
pub(super) fn poll_fill<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    held: &mut BytesMut,
    flow: &mut Flow,
) -> Poll<io::Result<usize>> {
    let read = match flow {
        Flow::Few | Flow::Sparing => ready!(poll_few(stream, cx, held))?,
        Flow::Bulk => {
            held.reserve(BULK);
            // Stateless: what is read is in `held`.
            ready!(pin!(stream.read_buf(held)).poll(cx))?
        }
    };
    *flow = match flow {
        Flow::Sparing => Flow::Sparing,
        Flow::Few | Flow::Bulk if read >= ROOM => Flow::Bulk,
        Flow::Few | Flow::Bulk => Flow::Few,
    };
    Poll::Ready(Ok(read))
}

fn poll_few<S: AsyncRead + Unpin>(
    stream: &mut S,
    cx: &mut Context<'_>,
    held: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    INPUT.with_borrow_mut(|room| {
        room.resize(ROOM, 0);
        let mut room = ReadBuf::new(room);
        ready!(Pin::new(stream).poll_read(cx, &mut room))?;
        if held.is_empty() {
            // INVARIANT: nobody else holds what `held` was made of before.
            *held = BytesMut::from(room.filled());
        } else {
            held.extend_from_slice(room.filled());
        }
        Poll::Ready(Ok(room.filled().len()))
    })
}

/// An empty text to write a message's head into.
pub(super) fn take_text() -> Vec<u8> {
    TEXTS.with_borrow_mut(Vec::pop).unwrap_or_default()
}

/// Gives its memory back for the next.
pub(super) fn give_back(mut text: Vec<u8>) {
    if text.capacity() <= KEPT_TEXT {
        text.clear();
        keep(&TEXTS, text);
    }
}

/// An empty map with room for so many fields.
pub(super) fn take_map(room: usize) -> HeaderMap {
    match MAPS.with_borrow_mut(Vec::pop) {
        Some(mut map) => {
            map.reserve(room);
            map
        }
        None => HeaderMap::with_capacity(room),
    }
}

/// Gives a head's map back for the next: two allocations, of which one is larger than all else that a request needs.
pub fn give_back_map(mut map: HeaderMap) {
    // Values of names that came again lie in a list of their own, which the capacity does not tell.
    if map.capacity() <= KEPT_MAP && map.len() <= KEPT_MAP {
        map.clear();
        keep(&MAPS, map);
    }
}

fn keep<T>(all: &'static LocalKey<RefCell<Vec<T>>>, one: T) {
    all.with_borrow_mut(|all| {
        if all.len() < MOST_KEPT {
            all.push(one);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn kept() -> usize {
        MAPS.with_borrow(Vec::len)
    }

    #[test]
    fn a_map_that_is_used_again_has_nothing_of_the_request_before() {
        let mut map = take_map(20);
        map.append("a", HeaderValue::from_static("1"));
        map.append("a", HeaderValue::from_static("2"));
        let room = map.capacity();
        give_back_map(map);
        assert_eq!(kept(), 1);
        let map = take_map(1);
        assert_eq!((map.capacity(), map.len(), map.get("a")), (room, 0, None));
    }

    #[test]
    fn maps_that_grew_are_not_kept_nor_too_many() {
        let mut large = take_map(200);
        give_back_map(std::mem::take(&mut large));
        let mut repeated = take_map(1);
        for _ in 0..=KEPT_MAP {
            repeated.append("a", HeaderValue::from_static("1"));
        }
        give_back_map(repeated);
        assert_eq!(kept(), 0);
        let maps: Vec<_> = (0..=MOST_KEPT).map(|_| take_map(1)).collect();
        maps.into_iter().for_each(give_back_map);
        assert_eq!(kept(), MOST_KEPT);
    }
}
