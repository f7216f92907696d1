//! Whether a stream's client takes its answer. hyper waits for a window to open without end; who takes nothing for `idle_timeout`
//! has its stream reset from outside, and the connection's other streams go on (hardening r38).

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;

use crate::proxy::response_body::{ResponseBody, StreamFault};
use crate::proxy::standstill::Standstill;

tokio::task_local! {
    /// Of the stream whose task this is.
    static PACE: Arc<Pace>;
}

/// How a stream moves.
#[derive(Debug, Default)]
struct Pace {
    /// What there is waits for the client; else the upstream is waited for.
    for_client: AtomicBool,
    /// Counts on with each piece that the client made room for.
    pieces: AtomicU64,
}

/// Runs the tasks of streams, each until its client has taken nothing for that long.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamTasks {
    pub(super) patience: Duration,
}

impl<F> Executor<F> for StreamTasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, stream: F) {
        let (pace, patience) = (Arc::<Pace>::default(), self.patience);
        tokio::spawn(PACE.scope(pace.clone(), async move {
            let mut stream = pin!(stream);
            let mut stall = Standstill::default();
            poll_fn(|cx| {
                if stream.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                if !pace.for_client.load(Ordering::Relaxed) {
                    stall.clear();
                    return Poll::Pending;
                }
                stall.poll(cx, pace.pieces.load(Ordering::Relaxed), patience)
            })
            .await;
        }));
    }
}

/// An answer's body, which tells whom its stream waits for.
pub(super) struct Paced {
    body: ResponseBody,
    pace: Arc<Pace>,
}

impl Paced {
    /// Of the stream whose task this is.
    pub(super) fn new(body: ResponseBody) -> Self {
        Self {
            body,
            pace: PACE.try_with(Arc::clone).unwrap_or_default(),
        }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = StreamFault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, StreamFault>>> {
        self.pace.pieces.fetch_add(1, Ordering::Relaxed);
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let handed = matches!(polled, Poll::Ready(Some(Ok(_))));
        self.pace.for_client.store(handed, Ordering::Relaxed);
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
