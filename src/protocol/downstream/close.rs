//! The end of a client's connection: its last answer must arrive before the reset that unread input provokes (RFC 9112 §9.6). Or
//! its becoming a tunnel.
//!
//! May depend on: the rest of the room.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::super::clock::Due;
use super::super::stream::Stream;
use super::{Downstream, Phase};

/// How long, and for how many bytes, a closing connection still listens.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024;

/// How far a connection is closed.
#[derive(Debug)]
pub(super) enum Closing {
    Open,
    /// Our side is shut. `patient`: bytes are outstanding, so wait for them.
    Lingering {
        left: usize,
        patient: bool,
    },
    Closed,
}

impl Downstream {
    /// Shuts our side, then reads and drops what the client still sends. Ready: the connection may be dropped.
    pub fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Closing::Open = self.closing {
            let shut = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.closing = if shut.is_err() || self.end_of_input {
                Closing::Closed
            } else {
                let between = matches!(self.phase, Phase::Head(_)) && self.held.is_empty();
                Closing::Lingering {
                    left: LINGER_BYTES,
                    patient: !between,
                }
            };
            self.clock.due = Due::Linger(Instant::now() + LINGER_TIME);
        }
        while let Closing::Lingering { left, patient } = &mut self.closing {
            let mut dropped = [MaybeUninit::uninit(); 4096];
            let mut dropped = ReadBuf::uninit(&mut dropped);
            match Pin::new(&mut self.stream).poll_read(cx, &mut dropped) {
                Poll::Ready(Ok(())) if dropped.filled().is_empty() => self.closing = Closing::Closed,
                Poll::Ready(Ok(())) if dropped.filled().len() >= *left => self.closing = Closing::Closed,
                Poll::Ready(Ok(())) => {
                    *left -= dropped.filled().len();
                    *patient = true;
                }
                Poll::Ready(Err(_gone)) => self.closing = Closing::Closed,
                Poll::Pending => {
                    if *patient {
                        ready!(self.clock.poll(cx));
                    }
                    self.closing = Closing::Closed;
                }
            }
        }
        Poll::Ready(())
    }

    /// After a 101: the stream, and what the client sent behind its request (hardening r30: until now it was read by nobody).
    #[must_use]
    pub fn into_tunnel(self) -> (Stream, Bytes) {
        (self.stream, self.held.freeze())
    }
}
