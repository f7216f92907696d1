//! What a connection's streams tell of it: whether it is idle, and whether its client only opens them to take them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::runtime::clock::Clock;

/// Streams that a client may take back before they were answered, if they are more than half of all: rapid resets make work that
/// nobody waits for (CVE-2023-44487).
const MAX_CUT: u32 = 200;

/// The streams of one connection.
pub(super) struct Streams {
    clock: Clock,
    open: AtomicUsize,
    /// When the last one ended.
    ended_ns: AtomicU64,
    begun: AtomicU32,
    /// Taken back before they were answered.
    cut: AtomicU32,
    abused: Notify,
}

/// An open stream, until its answer's body has ended.
pub struct OpenStream(Arc<Streams>);

/// A stream that is not answered yet.
pub(super) struct Begun {
    streams: Arc<Streams>,
    answered: bool,
}

impl Streams {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            open: AtomicUsize::new(0),
            ended_ns: AtomicU64::new(clock.monotonic_ns()),
            begun: AtomicU32::new(0),
            cut: AtomicU32::new(0),
            abused: Notify::new(),
        }
    }

    /// Counts a stream in.
    pub(super) fn begin(self: &Arc<Self>) -> (OpenStream, Begun) {
        self.open.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        let begun = Begun {
            streams: self.clone(),
            answered: false,
        };
        (OpenStream(self.clone()), begun)
    }

    /// Ends when no stream was open for `idle`; for the first one, `first`. No timer is touched by a stream.
    pub(super) async fn idle(&self, first: Duration, idle: Duration) {
        loop {
            let patience = if self.begun.load(Ordering::Relaxed) == 0 {
                first
            } else {
                idle
            };
            let since = Duration::from_nanos(
                self.clock
                    .monotonic_ns()
                    .saturating_sub(self.ended_ns.load(Ordering::Relaxed)),
            );
            let left = if self.open.load(Ordering::Relaxed) > 0 {
                patience
            } else {
                patience.saturating_sub(since)
            };
            if left.is_zero() {
                return;
            }
            // The first stream may end long before `first` has passed.
            tokio::time::sleep(left.min(idle)).await;
        }
    }

    /// Ends when too many streams were taken back.
    pub(super) async fn abused(&self) {
        self.abused.notified().await;
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.ended_ns.store(self.0.clock.monotonic_ns(), Ordering::Relaxed);
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Begun {
    /// It has its answer's head.
    pub(super) fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let streams = &self.streams;
        let cut = streams.cut.fetch_add(1, Ordering::Relaxed) + 1;
        if cut > MAX_CUT && cut > streams.begun.load(Ordering::Relaxed) / 2 {
            streams.abused.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_abused(streams: &Streams) -> bool {
        let mut abused = std::pin::pin!(streams.abused());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        abused.as_mut().poll(&mut cx).is_ready()
    }

    #[test]
    fn r37_a_client_that_takes_most_streams_back_is_noticed_and_one_that_does_so_at_times_is_not() {
        for (answered_too, abused) in [(0, true), (2, false)] {
            let streams = Arc::new(Streams::new(Clock::start()));
            for _ in 0..=MAX_CUT {
                for _ in 0..answered_too {
                    streams.begin().1.answered();
                }
                drop(streams.begin());
            }
            assert_eq!(is_abused(&streams), abused);
        }
    }
}
