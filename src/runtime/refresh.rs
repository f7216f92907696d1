//! Keeps issuers' keys fresh, on the control runtime: one task an issuer, which ends with the last snapshot that knows it.

use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::compile::{IssuerSpec, KeySource};

use super::keys::{Keys, REFETCH_PAUSE};
use super::pause::{doubled, shortened};
use super::published::{Asker, Document, read};

/// `Cache-Control: max-age` may shorten the interval to this at most.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(30);

/// Between looks at a JWKS file.
const FILE_INTERVAL: Duration = Duration::from_secs(1);

/// The first pause after a failed fetch; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause after a failed fetch: as often as strangers may ask for one.
const LONGEST_PAUSE: Duration = REFETCH_PAUSE;

/// The share of a pause that chance may take off, so that gateways that were started together do not ask together; more while an
/// issuer is down, for that is what brings their turns together.
const JITTER: f64 = 0.1;
const JITTER_WHILE_DOWN: f64 = 0.5;

/// Refreshes until nobody needs the keys.
pub(super) async fn refresh(keys: Weak<Keys>) {
    let mut source = Source::default();
    while let Some(live) = in_force(&keys) {
        let Some(pause) = source.turn(&live).await else { return };
        live.plan(pause);
        // Only the wait is held on to, not the keys: a snapshot that drops them ends this task at the next turn.
        drop(live);
        if due(&keys).await {
            source.look_anew();
        }
    }
}

/// A WebSocket keeps the snapshot that let it in, and so its keys, for days; that alone is no reason to fetch.
fn in_force(keys: &Weak<Keys>) -> Option<Arc<Keys>> {
    keys.upgrade().filter(|keys| keys.is_in_force())
}

/// What is remembered of a source between two turns.
#[derive(Default)]
struct Source {
    asker: Option<Asker>,
    /// As it was last read, of a file.
    file: Option<Result<Vec<u8>, String>>,
    failures: u32,
}

impl Source {
    /// Fetches once, and says how long to wait; `None`: there is nothing to fetch, ever.
    async fn turn(&mut self, keys: &Keys) -> Option<Duration> {
        match &keys.spec().source {
            KeySource::None => None,
            KeySource::File(path) => {
                let read = read(path).await.map(|document| document.body);
                if self.file.as_ref() != Some(&read) {
                    keys.begin();
                    report(keys, keys.publish(read.as_deref().map_err(Clone::clone)));
                    self.file = Some(read);
                }
                Some(FILE_INTERVAL)
            }
            KeySource::Url(_) | KeySource::Discovery(_) => {
                keys.begin();
                let fetched = keys.timed(self.ask(keys.spec())).await;
                let max_age = fetched.as_ref().ok().and_then(|document| document.max_age);
                let outcome = keys.publish(fetched.as_ref().map(|document| &*document.body).map_err(Clone::clone));
                self.failures = if outcome.is_ok() {
                    0
                } else {
                    self.failures.saturating_add(1)
                };
                report(keys, outcome);
                Some(next_pause(keys.spec(), max_age, self.failures))
            }
        }
    }

    async fn ask(&mut self, spec: &IssuerSpec) -> Result<Document, String> {
        let mut asker = match self.asker.take() {
            Some(asker) => asker,
            None => Asker::of(spec)?,
        };
        let document = asker.keys(&spec.source).await?;
        // One that failed is made anew: its CA may have changed, or the place of the keys.
        self.asker = Some(asker);
        Ok(document)
    }

    /// In its own time an issuer may move its keys; an unknown key id costs it one request, not two.
    fn look_anew(&mut self) {
        if let Some(asker) = &mut self.asker {
            asker.forget_place();
        }
    }
}

/// Waits in short steps, so that a dropped issuer does not linger, until the next fetch is due; `false`: an unknown key id asks for
/// one before.
async fn due(keys: &Weak<Keys>) -> bool {
    while let Some(live) = in_force(keys) {
        live.measure();
        let Some(left) = live.until_next() else { return true };
        tokio::select! {
            () = tokio::time::sleep(left.min(Duration::from_secs(1))) => {}
            () = live.wanted() => return false,
        }
    }
    true
}

fn report(keys: &Keys, outcome: Result<(), String>) {
    let issuer = &keys.spec().rules.name;
    match outcome {
        Ok(()) => tracing::debug!(issuer = %issuer, "JWKS refreshed"),
        Err(error) => tracing::warn!(issuer = %issuer, error = %error, "JWKS refresh failed"),
    }
}

fn next_pause(spec: &IssuerSpec, max_age: Option<Duration>, failures: u32) -> Duration {
    let interval = spec.refresh_interval;
    let regular = max_age.map_or(interval, |max_age| max_age.max(SHORTEST_INTERVAL).min(interval));
    // Keys never grow stale unasked: whether their issuer is down is known by then.
    let regular = match spec.max_stale {
        Duration::ZERO => regular,
        max_stale => regular.min(max_stale.max(FIRST_PAUSE)),
    };
    if failures == 0 {
        return shortened(regular, JITTER);
    }
    let pause = doubled(FIRST_PAUSE, LONGEST_PAUSE, failures).min(regular);
    shortened(pause, JITTER_WHILE_DOWN)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::runtime::keys::tests::spec;

    #[test]
    fn the_pause_follows_max_age_and_the_time_that_keys_may_serve_alone() {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        let about = |pause: Duration, wanted: Duration| pause <= wanted && pause >= wanted.mul_f64(0.9);
        let spec = |further| spec("jwks_url = \"http://127.0.0.1:9/jwks.json\"", further);
        let usual = spec("");
        assert!(about(next_pause(&usual, None, 0), minutes(30)));
        assert!(about(next_pause(&usual, Some(minutes(5)), 0), minutes(5)));
        assert!(about(next_pause(&usual, Some(Duration::ZERO), 0), SHORTEST_INTERVAL));
        assert!(about(next_pause(&usual, Some(minutes(60)), 0), minutes(30)));
        let brief = spec("max_stale = \"10m\"");
        assert!(about(next_pause(&brief, None, 0), minutes(10)));
        assert!(about(next_pause(&spec("max_stale = \"0s\""), None, 0), minutes(30)));
    }

    #[test]
    fn an_issuer_that_is_down_is_asked_less_and_less_often_but_often_enough() {
        let seconds = Duration::from_secs;
        let spec = spec("jwks_url = \"http://127.0.0.1:9/jwks.json\"", "");
        for (failures, longest) in [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (u32::MAX, 10)] {
            let pause = next_pause(&spec, None, failures);
            assert!(
                pause <= seconds(longest) && pause >= seconds(longest) / 2,
                "{failures}: {pause:?}"
            );
        }
        let pauses: std::collections::BTreeSet<Duration> = (0..50).map(|_| next_pause(&spec, None, 9)).collect();
        assert!(pauses.len() > 10, "gateways would ask together: {pauses:?}");
    }
}
