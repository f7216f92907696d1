//! Writing in turn: a message is written when the other connections of its thread that have something to do have done it.
//!
//! On a busy thread many connections are ready at once. Reading and judging for all of them and only then writing for all of them
//! keeps code and data of one kind in the CPU's caches, and the peers, which are woken by the first write, find more work before they
//! sleep again. On an idle thread there is nobody to wait for.

use std::task::Poll;

/// Comes back when all tasks that were ready have been run.
pub async fn in_turn() {
    let mut waited = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut waited, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
