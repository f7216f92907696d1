//! Step by step in turn: all connections of a thread that have something to do take one step, then all of them the next.
//!
//! On a busy thread many connections are ready at once. One request after the other would run through more code than the CPU's
//! nearest cache holds, and fetch it anew for each; a step of it, taken for all of them in a row, is fetched once. The steps are
//! reading, judging, making the upstream's request, writing it; reading its answer, making the client's, writing that. What is
//! written by all in a row also finds the peers, whom the first write woke, still awake. On an idle thread there is nobody to wait
//! for.

use std::cell::Cell;
use std::pin::Pin;
use std::task::{Context, Poll};

thread_local! {
    /// Something waits for its turn, since it was last asked.
    static WAITS: Cell<bool> = const { Cell::new(false) };
}

/// Comes back when all tasks that were ready have been run.
pub async fn in_turn() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        WAITS.set(true);
        Poll::Pending
    })
    .await;
}

/// Polls a sequence of steps; also whether all that it waits for is its turn, so that it comes back by itself.
pub fn poll_in_turn<F: Future>(steps: Pin<&mut F>, cx: &mut Context<'_>) -> (Poll<F::Output>, bool) {
    WAITS.set(false);
    let polled = steps.poll(cx);
    (polled, WAITS.get())
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_waits_for_a_turn_is_told_from_who_waits_for_others() {
        let mut cx = Context::from_waker(Waker::noop());
        let mut steps = pin!(async {
            in_turn().await;
            std::future::pending::<()>().await;
        });
        assert_eq!(poll_in_turn(steps.as_mut(), &mut cx), (Poll::Pending, true));
        assert_eq!(poll_in_turn(steps.as_mut(), &mut cx), (Poll::Pending, false));
    }
}
