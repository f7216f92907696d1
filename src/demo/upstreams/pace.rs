//! Streams in lock-step: whoever names a stream (`?stream=ID`) gets its next piece only after having acknowledged the last.
//!
//! That is how the demo proves that nothing is buffered without measuring time: the second event does not exist before the
//! first has reached the client, so a gateway that waits for more waits in vain.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Semaphore;

/// Streams in lock-step at once.
const MAX_STREAMS: usize = 1000;

type Streams = Mutex<HashMap<String, Arc<Semaphore>>>;

/// The streams that are in lock-step now.
#[derive(Debug)]
pub struct Pace {
    patience: Duration,
    streams: Arc<Streams>,
}

/// A stream's place in [`Pace`], until it is dropped.
#[derive(Debug)]
pub struct Step {
    id: String,
    patience: Duration,
    steps: Arc<Semaphore>,
    streams: Arc<Streams>,
}

impl Pace {
    /// No streams yet; each piece's acknowledgement is waited for so long.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            streams: Arc::default(),
        }
    }

    /// Enters a stream, or joins it; `None` when there are too many.
    pub fn enter(&self, id: &str) -> Option<Step> {
        let mut streams = self.streams.lock();
        if streams.len() >= MAX_STREAMS {
            return None;
        }
        let steps = streams
            .entry(id.to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(0)));
        let steps = Arc::clone(steps);
        Some(Step {
            id: id.to_owned(),
            patience: self.patience,
            steps,
            streams: Arc::clone(&self.streams),
        })
    }

    /// Lets a stream go one step on; `false` if there is none of that name (any more).
    pub fn acknowledge(&self, id: &str) -> bool {
        let streams = self.streams.lock();
        streams.get(id).map(|steps| steps.add_permits(1)).is_some()
    }
}

impl Step {
    /// Waits for one acknowledgement; `false` if none came in time.
    pub async fn next(&self) -> bool {
        let step = tokio::time::timeout(self.patience, self.steps.acquire()).await;
        step.is_ok_and(|step| step.map(tokio::sync::SemaphorePermit::forget).is_ok())
    }

    /// Acknowledges for the other side.
    pub fn acknowledge(&self) {
        self.steps.add_permits(1);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.streams.lock().remove(&self.id);
    }
}
