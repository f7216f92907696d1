//! How long something has not moved. Depends on nothing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// The time for which a count has stood still.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    seen: u64,
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Standstill {
    /// There is nothing that should move.
    pub(super) const fn clear(&mut self) {
        self.due = None;
    }

    /// Ready when `moves` was the same for that long. The timer is touched only when it fires early.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, moves: u64, patience: Duration) -> Poll<()> {
        if moves != self.seen {
            (self.seen, self.due) = (moves, None);
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + patience);
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(sleep.as_mut().poll(cx));
            if due <= sleep.deadline() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }
}
