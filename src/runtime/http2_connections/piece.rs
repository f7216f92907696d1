//! A piece of a request's body on its way into an HTTP/2 connection, which tells when it is written. Depends on nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;

/// Bytes of a body. A connection takes them when the other side's windows let it and its socket has room.
#[derive(Debug)]
pub struct Piece {
    data: Bytes,
    written: Arc<Written>,
}

/// How much of a body was written.
#[derive(Debug, Default)]
pub struct Written {
    bytes: AtomicU64,
    /// Who waits for so many.
    waiting: Mutex<Option<(u64, Waker)>>,
}

impl Piece {
    /// Of the body whose count that is.
    #[must_use]
    pub const fn new(data: Bytes, written: Arc<Written>) -> Self {
        Self { data, written }
    }
}

impl Written {
    /// Bytes that were written so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Ready once so many bytes were written.
    pub fn poll(&self, cx: &Context<'_>, bytes: u64) -> Poll<()> {
        let mut waiting = self.waiting.lock();
        if self.bytes() >= bytes {
            return Poll::Ready(());
        }
        *waiting = Some((bytes, cx.waker().clone()));
        Poll::Pending
    }

    fn add(&self, count: usize) {
        let bytes = self.bytes.fetch_add(count as u64, Ordering::AcqRel) + count as u64;
        let waiting = self.waiting.lock().take_if(|(enough, _)| bytes >= *enough);
        if let Some((_, waker)) = waiting {
            waker.wake();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.data.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.data
    }

    fn advance(&mut self, count: usize) {
        self.data.advance(count);
        self.written.add(count);
    }
}
