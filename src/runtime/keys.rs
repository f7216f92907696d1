//! An issuer's keys, and the tokens that they verified: read by workers without a lock, renewed on the control runtime.
//!
//! Good keys are kept while the issuer cannot be reached, up to `max_stale`; then nobody can say who a token is (503), never "no"
//! (401). An unknown key id buys one fetch for all who wait, at most one in `REFETCH_PAUSE`.

mod fetching;
mod generation;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::compile::{IssuerSpec, KeySource};
use crate::observe::metrics::IssuerMetrics;
use crate::policy::authn::jwt::{KeySet, Unverified, verify};
use crate::policy::digest::SecretDigest;
use crate::policy::token::{TokenFault, VerifiedToken};

use super::clock::{Clock, nanos};
use fetching::Fetching;
use generation::{Generation, Known};

pub(super) use fetching::REFETCH_PAUSE;

/// An issuer that hangs holds the gateway unready for this long at most.
const FIRST_FETCH_PATIENCE: Duration = Duration::from_secs(5);

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys {
    spec: IssuerSpec,
    metrics: IssuerMetrics,
    clock: Clock,
    live: ArcSwap<Generation>,
    fetching: Fetching,
    /// The last fetch failed.
    failing: AtomicBool,
    born_ns: u64,
    /// When the refresher looks again.
    next_ns: AtomicU64,
    /// No config in force has them any more; requests and tunnels of an older one may.
    retired: AtomicBool,
    last_error: ArcSwap<String>,
}

/// What an issuer says of a token at once.
#[derive(Debug)]
pub(super) enum Judged {
    /// Said.
    Known(Result<Arc<VerifiedToken>, TokenFault>),
    /// A fetch may change the answer.
    Fetch(TokenFault),
}

fn count(keys: usize) -> i64 {
    i64::try_from(keys).unwrap_or(i64::MAX)
}

/// What the status page shows of an issuer.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct KeysStatus {
    pub name: Arc<str>,
    pub keys: Vec<String>,
    pub age: Option<Duration>,
    pub last_error: Option<String>,
    /// `None`: the config holds them all.
    pub next_refresh: Option<Duration>,
}

impl Keys {
    /// Ready at once for tokens signed with a secret; for others with the first [`Self::publish`].
    ///
    /// Of a predecessor whose keys came from the same place they take over the keys, but not the tokens: a reload that changes
    /// what tokens must say leaves an issuer that is down just now as known as it was.
    #[must_use]
    pub fn new(spec: IssuerSpec, metrics: IssuerMetrics, clock: Clock, predecessor: Option<&Self>) -> Self {
        let old = predecessor.filter(|old| spec.source == old.spec.source && spec.secrets == old.spec.secrets);
        let live = old.map_or_else(
            || Generation::new(KeySet::default(), None, 0, &spec),
            |old| old.live.load().heir(),
        );
        metrics.keys.set(count(live.keys.len()));
        Self {
            spec,
            metrics,
            clock,
            live: ArcSwap::from_pointee(live),
            fetching: Fetching::after(old.map_or(0, |old| old.fetching.finished())),
            failing: AtomicBool::new(old.is_some_and(|old| old.failing.load(Ordering::Relaxed))),
            born_ns: clock.monotonic_ns(),
            next_ns: AtomicU64::new(0),
            retired: AtomicBool::new(false),
            last_error: ArcSwap::default(),
        }
    }

    /// A successor has their name, and their metrics: they are fetched no more.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether they are to be kept fresh.
    #[must_use]
    pub(super) fn is_in_force(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }

    /// What these keys are of.
    #[must_use]
    pub const fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    /// Measures how long the issuer takes to answer.
    pub(super) async fn timed<T>(&self, fetch: impl Future<Output = T>) -> T {
        let timer = self.metrics.duration.start_timer();
        let fetched = fetch.await;
        timer.observe_duration();
        fetched
    }

    /// A token that these keys verified before.
    #[must_use]
    pub(super) fn known(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        let live = self.live.load();
        let known = live.known(token)?;
        (known.symmetric || !self.is_stale(&live)).then_some(known.token)
    }

    /// Judges a token by the keys at hand.
    #[must_use]
    pub(super) fn judge(&self, token: &str, parsed: &Unverified<'_>) -> Judged {
        let live = self.live.load();
        // Secrets are the config's own: no fetch can change what they say.
        let symmetric = parsed.algorithm().is_symmetric();
        if !symmetric && self.is_stale(&live) {
            return Judged::Fetch(TokenFault::KeysUnavailable);
        }
        match verify(parsed, &self.spec.rules, &live.keys) {
            Ok(verified) => {
                let verified = Arc::new(verified);
                let known = Known {
                    token: verified.clone(),
                    symmetric,
                };
                live.remember(token, known);
                Judged::Known(Ok(verified))
            }
            Err(fault) if !symmetric && self.may_be_healed(fault, parsed) => Judged::Fetch(fault),
            Err(fault) => Judged::Known(Err(fault)),
        }
    }

    /// Whether newer keys could accept the token: its key is unknown, or it names none and none at hand fits. A file is read
    /// again when it changes, whoever asks.
    fn may_be_healed(&self, fault: TokenFault, parsed: &Unverified<'_>) -> bool {
        let rotated = fault == TokenFault::UnknownKey || (fault == TokenFault::BadSignature && parsed.kid().is_none());
        rotated && self.spec.source.is_fetched()
    }

    /// Fetches that finished so far: to be asked before a judgement that [`Self::fetched_again`] may be asked about.
    #[must_use]
    pub(super) fn fetches(&self) -> u64 {
        self.fetching.finished()
    }

    /// Waits for the fetch that may change a judgement made after `seen` fetches, asking for one if that is allowed now. `false`:
    /// there is none to wait for.
    pub(super) async fn fetched_again(&self, fault: TokenFault, seen: u64) -> bool {
        // An issuer that cannot be reached is asked again by the refresher, in its own time.
        let asks = fault != TokenFault::KeysUnavailable;
        let ask_at_ns = asks.then(|| self.clock.monotonic_ns());
        self.fetching.again(seen, ask_at_ns, self.spec.request_timeout).await
    }

    /// Whether the first fetch has finished, well or not, or was given time enough.
    #[must_use]
    pub(super) fn tried(&self) -> bool {
        self.spec.source == KeySource::None || self.fetches() > 0 || self.since(self.born_ns) >= FIRST_FETCH_PATIENCE
    }

    /// Whether nobody can say any more what the issuer's keys are: it was never reached, or cannot be for too long now.
    fn is_stale(&self, live: &Generation) -> bool {
        let confirmed_ns = live.confirmed_ns();
        match &self.spec.source {
            KeySource::None => false,
            KeySource::File(_) => confirmed_ns == 0,
            KeySource::Url(_) | KeySource::Discovery(_) => {
                confirmed_ns == 0
                    || (self.failing.load(Ordering::Relaxed) && self.since(confirmed_ns) > self.spec.max_stale)
            }
        }
    }

    fn since(&self, then_ns: u64) -> Duration {
        Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(then_ns))
    }

    /// Says that a fetch begins; the refresher's alone.
    pub(super) fn begin(&self) {
        self.fetching.begin();
    }

    /// Takes what a fetch brought; the refresher's alone.
    pub fn publish(&self, fetched: Result<&[u8], String>) -> Result<(), String> {
        let outcome = fetched.and_then(|document| self.take(document));
        self.metrics.refreshes.inc();
        self.metrics.up.set(i64::from(outcome.is_ok()));
        if outcome.is_err() {
            self.metrics.refresh_failures.inc();
        }
        self.failing.store(outcome.is_err(), Ordering::Relaxed);
        self.last_error
            .store(Arc::new(outcome.as_ref().err().cloned().unwrap_or_default()));
        self.fetching.end();
        outcome
    }

    fn take(&self, document: &[u8]) -> Result<(), String> {
        let now_ns = self.clock.monotonic_ns();
        let digest = SecretDigest::of(document);
        let live = self.live.load();
        if live.digest == Some(digest) {
            live.confirm(now_ns);
            return Ok(());
        }
        let (keys, skipped) = KeySet::from_jwks(document).map_err(|error| error.to_string())?;
        for key in skipped {
            let kid = key.kid.as_deref().unwrap_or_default();
            tracing::warn!(issuer = %self.spec.rules.name, place = key.index, kid, reason = %key.reason, "JWKS key skipped");
        }
        if keys.is_empty() {
            // That is an issuer that is broken, not one without keys: who a token is cannot be told (503), or the last good keys
            // tell it.
            return Err("the JWKS holds no usable key".to_owned());
        }
        let live = Generation::new(keys, Some(digest), now_ns, &self.spec);
        self.metrics.keys.set(count(live.keys.len()));
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// Says when the next fetch is due; the refresher's alone.
    pub(super) fn plan(&self, pause: Duration) {
        let next_ns = self.clock.monotonic_ns().saturating_add(nanos(pause));
        self.next_ns.store(next_ns, Ordering::Relaxed);
    }

    /// Until the fetch that is due next; `None`: it is due now.
    #[must_use]
    pub(super) fn until_next(&self) -> Option<Duration> {
        let next_ns = self.next_ns.load(Ordering::Relaxed);
        let left = next_ns.checked_sub(self.clock.monotonic_ns())?;
        (left > 0).then(|| Duration::from_nanos(left))
    }

    /// Waits until an unknown key id asks for a fetch.
    pub(super) async fn wanted(&self) {
        self.fetching.wanted().await;
    }

    /// Writes the age of the keys to its metric.
    pub fn measure(&self) {
        if let Some(age) = self.age() {
            self.metrics
                .age_seconds
                .set(i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        }
    }

    fn age(&self) -> Option<Duration> {
        let confirmed = self.live.load().confirmed_ns();
        (confirmed > 0).then(|| self.since(confirmed))
    }

    /// What the status page shows.
    #[must_use]
    pub fn status(&self) -> KeysStatus {
        let error = self.last_error.load();
        KeysStatus {
            name: self.spec.rules.name.clone(),
            keys: self.live.load().keys.kids().map(str::to_owned).collect(),
            age: self.age(),
            last_error: (!error.is_empty()).then(|| error.to_string()),
            next_refresh: (self.spec.source != KeySource::None).then(|| self.until_next().unwrap_or_default()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
pub(crate) mod tests;
