//! A timer for what is put off again and again.
//!
//! May depend on: tokio's time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// Goes off when something is due. That may change at every poll, but the timer wheel is touched only when the sleep fires too
/// early, or has to fire earlier than set.
#[derive(Debug, Default)]
pub struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready when the time is `due`.
    pub fn poll(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if due < sleep.deadline() {
            sleep.as_mut().reset(due);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if due <= sleep.deadline() {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
    }

    /// For when the timer wheel was told.
    #[cfg(test)]
    pub(super) fn is_set_for(&self) -> Option<Instant> {
        self.0.as_ref().map(|sleep| sleep.deadline())
    }
}
