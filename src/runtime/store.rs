//! The store that gateways share: Redis or Valkey, one, behind Sentinel, or a Cluster.
//!
//! Requests ask through a [`Store`] and wait for `redis.timeout` at most. The first that gets no answer takes the connection out
//! of use, and no other waits: until the store was seen to answer again, questions fail at once, and who asked does without. It
//! is seen to by a thread of its own, for neither a worker nor a reload may hold up what the other asks.

mod keeper;
mod link;
mod tracking;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use redis::{Cmd, FromRedisValue, RedisError, RedisResult};
use tokio::runtime::Handle;
use tokio::sync::{Notify, SetOnce, oneshot};
use tokio::task::AbortHandle;

use crate::compile::{Servers, StoreSpec};
use crate::observe::metrics::StoreMetrics;

pub use link::Link;
pub(super) use tracking::{Change, Tracking};

/// The shared store; its connection ends when this is dropped.
#[derive(Debug)]
pub struct Store {
    kept: Arc<Kept>,
    /// Of the keeper's thread.
    runtime: Option<Handle>,
    /// INVARIANT: never sent; that it is dropped ends the keeper.
    _keeper: oneshot::Sender<()>,
}

/// What the keeper keeps, and requests use.
#[derive(Debug)]
struct Kept {
    spec: StoreSpec,
    metrics: StoreMetrics,
    /// `None`: not connected, or known not to answer.
    link: ArcSwapOption<Link>,
    /// Somebody got no answer: the keeper is to find out.
    suspected: Notify,
    /// Why it is away; empty: it is not.
    error: ArcSwap<String>,
    /// A first attempt to connect has ended, well or not.
    tried: SetOnce<()>,
}

/// Why the store gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// It is known to be away; it was not asked.
    Away,
    /// It did not answer in time.
    TimedOut,
    /// The connection could not be made, or broke.
    Broken(String),
    /// It answered with an error of this code.
    Refused(String),
}

impl Store {
    /// Connects on a thread of its own, at once and again whenever it must; it need not be there yet.
    #[must_use]
    pub fn start(spec: StoreSpec, metrics: StoreMetrics) -> Self {
        let (alive, ended) = oneshot::channel();
        let kept = Arc::new(Kept {
            spec,
            metrics,
            link: ArcSwapOption::empty(),
            suspected: Notify::new(),
            error: ArcSwap::from_pointee("not connected yet".to_owned()),
            tried: SetOnce::new(),
        });
        let runtime = keeper::start(kept.clone(), ended);
        Self {
            kept,
            runtime,
            _keeper: alive,
        }
    }

    /// What it was made of.
    #[must_use]
    pub fn spec(&self) -> &StoreSpec {
        &self.kept.spec
    }

    /// Runs a task beside the keeper, for as long as this is there; `None`: there is no keeper.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Option<AbortHandle> {
        self.runtime.as_ref().map(|runtime| runtime.spawn(task).abort_handle())
    }

    /// The whole key of what we call `name`.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        self.kept.spec.key(name)
    }

    /// The connection; `None`: it is away.
    #[must_use]
    pub fn link(&self) -> Option<Link> {
        self.kept.link.load().as_deref().cloned()
    }

    /// Whether keys are in many places.
    #[must_use]
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.kept.spec.servers, Servers::Cluster(_))
    }

    /// Whether it answers, as far as is known.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.kept.link.load().is_some()
    }

    /// Waits until it is known whether it answers.
    pub(super) async fn tried(&self) {
        self.kept.tried.wait().await;
    }

    /// Why it is away; `None`: it is not.
    #[must_use]
    pub fn error(&self) -> Option<Arc<String>> {
        (!self.is_up()).then(|| self.kept.error.load_full())
    }

    /// Asks one command.
    ///
    /// # Errors
    /// No answer within `redis.timeout`, or an error.
    pub(super) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        self.with(|mut link| async move { command.query_async(&mut link).await })
            .await
    }

    /// Asks whatever `ask` does, within one `redis.timeout`.
    ///
    /// # Errors
    /// No answer in time, or an error.
    pub(super) async fn with<T, Asked>(&self, ask: impl FnOnce(Link) -> Asked) -> Result<T, StoreError>
    where
        Asked: Future<Output = RedisResult<T>>,
    {
        let kept = &self.kept;
        let Some(link) = kept.link.load_full() else {
            kept.metrics.errors.inc();
            return Err(StoreError::Away);
        };
        let timer = kept.metrics.duration.start_timer();
        let answer = within(kept.spec.timeout, ask(Link::clone(&link))).await;
        timer.observe_duration();
        if let Err(error) = &answer {
            kept.metrics.errors.inc();
            if error.is_of_the_connection() {
                kept.link.store(None);
                kept.suspected.notify_one();
            }
        }
        answer
    }
}

/// What `asked` brings within `timeout`.
///
/// # Errors
/// Nothing in time, or an error.
pub async fn within<T>(timeout: Duration, asked: impl Future<Output = RedisResult<T>>) -> Result<T, StoreError> {
    match tokio::time::timeout(timeout, asked).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(StoreError::from(&error)),
        Err(_elapsed) => Err(StoreError::TimedOut),
    }
}

impl StoreError {
    /// Whether another question over the same connection would fare no better.
    fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Away | Self::TimedOut | Self::Broken(_) => true,
            // A master that became a replica: its Sentinels know who is master now.
            Self::Refused(code) => code == "READONLY",
        }
    }
}

impl From<&RedisError> for StoreError {
    /// INVARIANT: of what the server says only the code is kept: it may quote arguments, keys and passwords among them (r12).
    fn from(error: &RedisError) -> Self {
        match error.code() {
            Some(code) => Self::Refused(code.to_owned()),
            None if error.is_timeout() => Self::TimedOut,
            None if error.is_io_error() => Self::Broken(error.to_string()),
            None => Self::Broken(error.category().to_owned()),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away => f.write_str("Redis is away"),
            Self::TimedOut => f.write_str("Redis did not answer in time"),
            Self::Broken(reason) => write!(f, "no connection to Redis: {reason}"),
            Self::Refused(code) => write!(f, "Redis refused: {code}"),
        }
    }
}
