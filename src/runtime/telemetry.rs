//! Spans on their way to a collector: each worker writes into a buffer of its own, the control runtime gathers what waits and posts
//! it (OTLP/HTTP, Protocol Buffers). Nobody waits for a collector; what there is no room for is dropped, and counted.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::compile::TelemetrySpec;
use crate::observe::metrics::TelemetryMetrics;
use crate::observe::span::{Sender, ServerSpan};
use crate::policy::trace::Sampling;

use super::http_client::{client_of, is_plain, reason};
use super::pause::{doubled, shortened};

/// Bytes of spans that wait, of all workers. An export is as large at most; collectors take 20 MiB by default.
const MOST_WAITING: usize = 8 << 20;

/// Between exports, unless so much waits before that a buffer could fill.
const INTERVAL: Duration = Duration::from_secs(1);

/// Of one export.
const TIMEOUT: Duration = Duration::from_secs(10);

/// For the last spans of a gateway that ends.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// After a failed export; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A collector is not waited for longer than this, whatever it asks for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The share of a pause that chance may take off, so that gateways do not come back together.
const JITTER: f64 = 0.5;

/// How often the same spans are sent before they are given up: after half a minute they are old.
const MAX_ATTEMPTS: u32 = 6;

/// The way of spans to one collector.
#[derive(Debug)]
pub struct Telemetry {
    spec: TelemetrySpec,
    /// By worker.
    waiting: Box<[Mutex<Waiting>]>,
    /// Bytes of one worker's.
    room: usize,
    filling: Notify,
    instance: String,
    sender: Sender,
    /// Why the collector has not taken what it was sent last.
    error: ArcSwapOption<String>,
    /// Held while something is sent.
    courier: tokio::sync::Mutex<Courier>,
    metrics: TelemetryMetrics,
}

/// Spans, written one after the other.
#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    spans: u64,
}

/// What is remembered between exports.
#[derive(Debug, Default)]
struct Courier {
    /// Made on the control runtime, where it works.
    client: Option<reqwest::Client>,
    /// Sent, and to be sent again.
    returned: Option<Batch>,
    /// In a row.
    failures: u32,
}

#[derive(Debug)]
struct Batch {
    body: bytes::Bytes,
    spans: u64,
    attempts: u32,
}

/// Why an export failed.
struct Failure {
    reason: String,
    /// Whether the same spans may be taken another time (OTLP/HTTP, "Failures").
    again: bool,
    /// When, if the collector says so.
    after: Option<Duration>,
}

impl Telemetry {
    /// Nothing waits. The instance is this process', by whatever collector it was known before.
    #[must_use]
    pub fn new(spec: TelemetrySpec, workers: usize, metrics: TelemetryMetrics, previous: Option<&Self>) -> Self {
        let new_instance = || uuid::Uuid::now_v7().to_string();
        let instance = previous.map_or_else(new_instance, |previous| previous.instance.clone());
        Self {
            spec,
            waiting: std::iter::repeat_with(Mutex::default).take(workers).collect(),
            room: MOST_WAITING / workers.max(1),
            filling: Notify::new(),
            sender: Sender::new(&instance),
            instance,
            error: ArcSwapOption::empty(),
            courier: tokio::sync::Mutex::default(),
            metrics,
        }
    }

    /// As configured.
    #[must_use]
    pub const fn spec(&self) -> &TelemetrySpec {
        &self.spec
    }

    /// Which of the traces that begin here are sampled.
    #[must_use]
    pub const fn sampling(&self) -> Sampling {
        self.spec.sampling
    }

    /// Why the collector has not taken what it was sent last; `None`: it has.
    #[must_use]
    pub fn error(&self) -> Option<Arc<String>> {
        self.error.load_full()
    }

    /// Takes a span of that worker's, if there is room.
    pub fn record(&self, worker: usize, span: &ServerSpan<'_>) {
        let Some(waiting) = self.waiting.get(worker) else {
            return;
        };
        // Anybody may ask for spans: those leave half of the room to the ones that we chose ourselves.
        let room = if span.span.is_asked_for() {
            self.room / 2
        } else {
            self.room
        };
        let mut waiting = waiting.lock();
        let before = waiting.bytes.len();
        if before >= room {
            self.metrics.dropped.inc();
            return;
        }
        span.write(&mut waiting.bytes);
        waiting.spans += 1;
        let soon_full = self.room / 4;
        if before < soon_full && waiting.bytes.len() >= soon_full {
            self.filling.notify_one();
        }
    }

    /// Exports until no config has this collector and no request has such a config, on the control runtime.
    pub async fn export(self: Arc<Self>) {
        loop {
            let is_last = Arc::strong_count(&self) == 1;
            let outcome = self.send_waiting().await;
            if is_last {
                return;
            }
            match outcome {
                Ok(()) => tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = self.filling.notified() => {}
                },
                Err(pause) => tokio::time::sleep(pause).await,
            }
        }
    }

    /// Sends what waits, for the last time.
    pub async fn finish(&self) {
        // Also spans that a collector in trouble was to get later: now or never.
        let _sent_or_not = tokio::time::timeout(LAST_SPANS, self.send_waiting()).await;
    }

    /// Sends until nothing waits.
    ///
    /// # Errors
    /// How long to leave the collector alone.
    async fn send_waiting(&self) -> Result<(), Duration> {
        let mut courier = self.courier.lock().await;
        while let Some(mut batch) = courier.returned.take().or_else(|| self.gather()) {
            let Err(failure) = self.post(&mut courier, &batch).await else {
                self.metrics.exported.inc_by(batch.spans);
                courier.failures = 0;
                if self.error.swap(None).is_some() {
                    tracing::info!("spans are exported again");
                }
                continue;
            };
            courier.failures = courier.failures.saturating_add(1);
            if self.error.swap(Some(Arc::new(failure.reason.clone()))).is_none() {
                tracing::warn!(error = %failure.reason, "spans cannot be exported");
            }
            batch.attempts += 1;
            if !failure.again || batch.attempts >= MAX_ATTEMPTS {
                self.metrics.failed.inc_by(batch.spans);
            } else {
                courier.returned = Some(batch);
            }
            if failure.again {
                return Err(failure.after.unwrap_or_else(|| pause_after(courier.failures)));
            }
        }
        Ok(())
    }

    /// Everything that waits, as one export.
    fn gather(&self) -> Option<Batch> {
        let taken: Vec<Waiting> = self
            .waiting
            .iter()
            .map(|waiting| std::mem::take(&mut *waiting.lock()))
            .collect();
        let spans = taken.iter().map(|taken| taken.spans).sum();
        (spans > 0).then(|| Batch {
            body: self.sender.export(taken.iter().map(|taken| &*taken.bytes)).into(),
            spans,
            attempts: 0,
        })
    }

    async fn post(&self, courier: &mut Courier, batch: &Batch) -> Result<(), Failure> {
        let client = match &courier.client {
            Some(client) => client,
            None => {
                let client = client_of(is_plain(&self.spec.url), None, TIMEOUT)
                    .and_then(|client| client.build().map_err(reason));
                courier.client.insert(client.map_err(Failure::unreached)?)
            }
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &self.spec.headers {
            if let Ok(mut value) = HeaderValue::try_from(value.expose()) {
                value.set_sensitive(true);
                headers.insert(name, value);
            }
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let request = client.post(&self.spec.url).headers(headers).body(batch.body.clone());
        let response = request
            .send()
            .await
            .map_err(|error| Failure::unreached(reason(error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Failure {
            reason: format!("the collector answered {status}"),
            again: matches!(
                status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            after: retry_after(response.headers()),
        })
    }
}

impl Drop for Telemetry {
    /// What nobody will send any more is counted too.
    fn drop(&mut self) {
        let waiting: u64 = self.waiting.iter_mut().map(|waiting| waiting.get_mut().spans).sum();
        let returned = self.courier.get_mut().returned.take();
        let lost = waiting + returned.map_or(0, |batch| batch.spans);
        self.metrics.dropped.inc_by(lost);
    }
}

impl Failure {
    fn unreached(reason: String) -> Self {
        Self {
            reason,
            again: true,
            after: None,
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    shortened(doubled(FIRST_PAUSE, LONGEST_PAUSE, failures), JITTER)
}

/// In seconds, or as a date (RFC 9110 §10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let after = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(std::time::SystemTime::now()).unwrap_or_default()
        }
    };
    Some(after.clamp(FIRST_PAUSE, LONGEST_RETRY_AFTER))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
