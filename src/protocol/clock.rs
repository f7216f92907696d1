//! The one timer of a connection: for a head, for the idle time between requests, for the lingering close; for an answer;
//! for a client that says no more.
//!
//! May depend on: alarms.

use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::alarm::Alarm;

/// The one timer of a connection.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) due: Due,
    pub(super) alarm: Alarm,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    Never,
    Idle(Instant),
    Head(Instant),
    Linger(Instant),
    Answer(Instant),
    /// The client says no more, and nothing was written to it since.
    LastWords(Instant),
}

impl Clock {
    pub(super) fn new(due: Due) -> Self {
        Self {
            due,
            alarm: Alarm::default(),
        }
    }

    pub(super) fn start_head(&mut self, timeout: Duration) {
        if !matches!(self.due, Due::Head(_)) {
            self.due = Due::Head(Instant::now() + timeout);
        }
    }

    /// The first head's clock runs on: it has been ticking since the connection began.
    pub(super) fn start_idle(&mut self, timeout: Duration) {
        if matches!(self.due, Due::Never) {
            self.due = Due::Idle(Instant::now() + timeout);
        }
    }

    /// Whatever is waited for has this long at most.
    pub(super) fn hasten(&mut self, timeout: Duration) {
        let soon = Instant::now() + timeout;
        self.due = match self.due {
            Due::Never => Due::Idle(soon),
            Due::Idle(due) => Due::Idle(due.min(soon)),
            Due::Head(due) => Due::Head(due.min(soon)),
            Due::Linger(due) => Due::Linger(due.min(soon)),
            Due::Answer(due) => Due::Answer(due.min(soon)),
            Due::LastWords(due) => Due::LastWords(due.min(soon)),
        };
    }

    pub(super) fn start_last_words(&mut self, timeout: Duration) {
        if matches!(self.due, Due::Never) {
            self.due = Due::LastWords(Instant::now() + timeout);
        }
    }

    pub(super) fn stop_last_words(&mut self) {
        if matches!(self.due, Due::LastWords(_)) {
            self.due = Due::Never;
        }
    }

    pub(super) fn stop_idle(&mut self) {
        if matches!(self.due, Due::Idle(_)) {
            self.due = Due::Never;
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (Due::Idle(due) | Due::Head(due) | Due::Linger(due) | Due::Answer(due) | Due::LastWords(due)) = self.due
        else {
            return Poll::Pending;
        };
        self.alarm.poll(cx, due)
    }
}
