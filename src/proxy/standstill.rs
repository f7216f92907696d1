//! How long something has not moved. May depend on: alarms.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::alarm::Alarm;

/// The time for which a count has stood still.
#[derive(Debug, Default)]
pub(super) struct Standstill {
    seen: u64,
    due: Option<Instant>,
    alarm: Alarm,
}

impl Standstill {
    /// There is nothing that should move.
    pub(super) const fn clear(&mut self) {
        self.due = None;
    }

    /// Ready when `moves` was the same for that long.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, moves: u64, patience: Duration) -> Poll<()> {
        if moves != self.seen {
            (self.seen, self.due) = (moves, None);
        }
        let due = *self.due.get_or_insert_with(|| Instant::now() + patience);
        self.alarm.poll(cx, due)
    }
}
