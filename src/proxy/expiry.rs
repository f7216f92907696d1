//! Streams that end with the token that let them in (`close_on_expiry`): when that is, and how a WebSocket is told between two of
//! its frames. Depends on nothing of the crate.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

/// Whoever lives for longer than this never ends here.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A close frame of a server (RFC 6455 §5.5.1), unmasked: 1008, policy violation (§7.4.1).
pub(super) const CLOSE_1008: [u8; 4] = [0x88, 0x02, 0x03, 0xf0];

/// The `detail` of a request that ended so.
pub(super) const ENDED_WITH_ITS_TOKEN: &str = "ended_with_its_token";

/// The end of a token's time.
pub(super) struct Expiry(Pin<Box<Sleep>>);

impl Expiry {
    /// At the Unix second `ends_s`, seen from `now_ms`.
    pub(super) fn at(ends_s: i64, now_ms: i64) -> Option<Self> {
        let left_ms = ends_s.saturating_mul(1000).saturating_sub(now_ms);
        let left = Duration::from_millis(u64::try_from(left_ms).unwrap_or(0));
        (left <= LONGEST).then(|| Self(Box::pin(sleep(left))))
    }

    /// Whether it has come.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// Waits for it, for ever if there is none.
pub(super) async fn passed(expiry: &mut Option<Expiry>) {
    match expiry {
        Some(expiry) => std::future::poll_fn(|cx| expiry.poll(cx)).await,
        None => std::future::pending().await,
    }
}

/// Where in the stream of WebSocket frames (RFC 6455 §5.2) the last byte stood that was sent to the client.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Vec<u8>,
    payload_left: u64,
}

impl Frames {
    /// Whether a frame of ours may come next.
    pub(super) const fn is_between(&self) -> bool {
        self.header.is_empty() && self.payload_left == 0
    }

    /// How many of these bytes, which would be sent next, belong to the frame that has begun.
    pub(super) fn rest_of_frame(&self, bytes: &[u8]) -> usize {
        let mut copy = Self {
            header: self.header.clone(),
            payload_left: self.payload_left,
        };
        let mut taken = 0;
        while !copy.is_between() && taken < bytes.len() {
            taken += copy.step(bytes.get(taken..).unwrap_or_default());
        }
        taken
    }

    /// These bytes were sent.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = self.step(bytes);
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// Takes a byte of a header, or as much as there is of a payload; never nothing.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.payload_left > 0 {
            let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(self.payload_left);
            self.payload_left -= here;
            return usize::try_from(here).unwrap_or(bytes.len());
        }
        self.header.extend(bytes.first());
        if let Some(payload) = payload_after(&self.header) {
            self.header.clear();
            self.payload_left = payload;
        }
        1
    }
}

/// The length of the payload that follows this header; `None`: the header is not whole.
fn payload_after(header: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = header else { return None };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (extended, length) = match second & 0x7f {
        126 => (2, rest.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes)))),
        127 => (8, rest.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))),
        short => (0, Some(u64::from(short))),
    };
    length.filter(|_| rest.len() == extended + mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short text, a binary of 300 bytes, an empty ping, one of 70,000 bytes, a masked one.
    fn frames() -> Vec<Vec<u8>> {
        vec![
            [&[0x81, 5][..], b"hello"].concat(),
            [&[0x82, 126, 1, 44][..], &[7; 300]].concat(),
            vec![0x89, 0],
            [&[0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70][..], &[7; 70_000]].concat(),
            [&[0x81, 0x82, 1, 2, 3, 4][..], b"hi"].concat(),
        ]
    }

    #[test]
    fn the_ends_of_frames_are_found_however_the_bytes_are_cut() {
        let frames = frames();
        let stream = frames.concat();
        let ends: Vec<usize> = frames
            .iter()
            .scan(0, |end, frame| {
                *end += frame.len();
                Some(*end)
            })
            .collect();
        for size in [1, 2, 3, 7, 100, 4096, stream.len()] {
            let (mut tracked, mut at) = (Frames::default(), 0);
            for piece in stream.chunks(size) {
                tracked.sent(piece);
                at += piece.len();
                assert_eq!(tracked.is_between(), ends.contains(&at), "at {at} in pieces of {size}");
            }
        }
        let mut tracked = Frames::default();
        assert_eq!(tracked.rest_of_frame(&stream), 0, "none has begun");
        tracked.sent(stream.get(..3).unwrap_or_default());
        assert_eq!(tracked.rest_of_frame(stream.get(3..).unwrap_or_default()), 4);
        assert_eq!(tracked.rest_of_frame(b"e"), 1);
    }
}
