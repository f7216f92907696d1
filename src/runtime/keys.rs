//! An issuer's keys, and the tokens that they verified: read by workers without a lock, renewed on the control runtime.
//!
//! Good keys are kept while the issuer cannot be reached, up to `max_stale`; then nobody can say who a token is (503), never "no"
//! (401). An unknown key id buys one fetch for all who wait, at most one in [`REFETCH_PAUSE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{Notify, watch};

use crate::compile::{IssuerSpec, KeySource};
use crate::observe::metrics::IssuerMetrics;
use crate::policy::authn::jwt::{KeySet, Unverified, verify};
use crate::policy::digest::SecretDigest;
use crate::policy::token::{TokenFault, VerifiedToken};

use super::clock::Clock;

/// Between two fetches that unknown key ids ask for.
pub const REFETCH_PAUSE: Duration = Duration::from_secs(10);

/// An issuer that hangs holds the gateway unready for this long at most.
const FIRST_FETCH_PATIENCE: Duration = Duration::from_secs(5);

/// Bytes of verified tokens kept for one issuer and key set; a token costs its own length and about 1 KiB.
const CACHED_TOKEN_BYTES: u64 = 16 << 20;

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys {
    spec: IssuerSpec,
    metrics: IssuerMetrics,
    clock: Clock,
    live: ArcSwap<Live>,
    /// Counts finished fetches, good or bad.
    fetches: watch::Sender<u64>,
    /// A fetch is under way or was asked for. INVARIANT: changed together with `fetches`, under this lock.
    fetching: Mutex<bool>,
    /// An unknown key id asks the refresher for a fetch.
    wanted: Notify,
    born_ns: u64,
    /// No config in force has them any more; requests and tunnels of an older one may.
    retired: AtomicBool,
    refetches: DefaultDirectRateLimiter,
    last_error: ArcSwap<String>,
}

/// One generation of keys, with the tokens that it verified: they go together.
struct Live {
    keys: Arc<KeySet>,
    /// Of the document; the same document keeps its verified tokens.
    digest: Option<SecretDigest>,
    /// When the issuer last confirmed them; 0: it was never reached.
    confirmed_ns: AtomicU64,
    verified: Cache<Box<str>, Known, TokenWeight>,
}

/// A token that was verified.
#[derive(Clone)]
struct Known {
    token: Arc<VerifiedToken>,
    /// With a secret of the config.
    symmetric: bool,
}

impl Live {
    fn new(mut keys: KeySet, digest: Option<SecretDigest>, confirmed_ns: u64, spec: &IssuerSpec) -> Self {
        let secrets: Vec<&[u8]> = spec.secrets.iter().map(|secret| secret.expose().as_bytes()).collect();
        keys.add_secrets(&secrets);
        Self::with(Arc::new(keys), digest, confirmed_ns)
    }

    fn with(keys: Arc<KeySet>, digest: Option<SecretDigest>, confirmed_ns: u64) -> Self {
        let tokens = usize::try_from(CACHED_TOKEN_BYTES / 2048).unwrap_or(8192);
        Self {
            keys,
            digest,
            confirmed_ns: AtomicU64::new(confirmed_ns),
            verified: Cache::with_weighter(tokens, CACHED_TOKEN_BYTES, TokenWeight),
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct TokenWeight;

impl quick_cache::Weighter<Box<str>, Known> for TokenWeight {
    fn weight(&self, token: &Box<str>, _verified: &Known) -> u64 {
        1024 + u64::try_from(token.len()).unwrap_or(u64::MAX / 2)
    }
}

/// What an issuer says of a token at once.
#[derive(Debug)]
pub enum Judged {
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
}

impl Keys {
    /// Ready at once for tokens signed with a secret; for others with the first [`Self::publish`].
    #[must_use]
    pub fn new(spec: IssuerSpec, metrics: IssuerMetrics, clock: Clock) -> Self {
        let pause = Quota::with_period(REFETCH_PAUSE).unwrap_or(Quota::per_hour(std::num::NonZeroU32::MIN));
        let live = Live::new(KeySet::default(), None, 0, &spec);
        metrics.keys.set(count(live.keys.len()));
        Self {
            spec,
            metrics,
            clock,
            live: ArcSwap::from_pointee(live),
            fetches: watch::Sender::new(0),
            fetching: Mutex::new(false),
            wanted: Notify::new(),
            born_ns: clock.monotonic_ns(),
            retired: AtomicBool::new(false),
            refetches: RateLimiter::direct(pause),
            last_error: ArcSwap::default(),
        }
    }

    /// Takes over the keys, but not the tokens, of a predecessor whose keys came from the same place: a reload that changes what
    /// tokens must say leaves an issuer that is down just now as known as it was.
    pub fn inherit(&self, old: &Self) {
        if self.spec.source != old.spec.source || self.spec.secrets != old.spec.secrets {
            return;
        }
        let live = old.live.load();
        let confirmed_ns = live.confirmed_ns.load(Ordering::Relaxed);
        self.metrics.keys.set(count(live.keys.len()));
        self.live
            .store(Arc::new(Live::with(live.keys.clone(), live.digest, confirmed_ns)));
        self.fetches.send_replace(*old.fetches.borrow());
    }

    /// A successor has their name, and their metrics: they are fetched no more.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether they are to be kept fresh.
    #[must_use]
    pub fn is_in_force(&self) -> bool {
        !self.retired.load(Ordering::Relaxed)
    }

    /// What these keys are of.
    #[must_use]
    pub const fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    /// Measures how long the issuer takes to answer.
    pub async fn timed<T>(&self, fetch: impl Future<Output = T>) -> T {
        let timer = self.metrics.duration.start_timer();
        let fetched = fetch.await;
        timer.observe_duration();
        fetched
    }

    /// A token that these keys verified before.
    #[must_use]
    pub fn known(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        let live = self.live.load();
        let known = live.verified.get(token)?;
        (known.symmetric || !self.is_stale(&live)).then_some(known.token)
    }

    /// Judges a token by the keys at hand.
    #[must_use]
    pub fn judge(&self, token: &str, parsed: &Unverified<'_>) -> Judged {
        let live = self.live.load();
        // Secrets are the config's own: no fetch can change what they say.
        let symmetric = parsed.algorithm().is_symmetric();
        if !symmetric && self.is_stale(&live) {
            return Judged::Fetch(TokenFault::KeysUnavailable);
        }
        let credential = SecretDigest::of(token.as_bytes()).half();
        match verify(parsed, &self.spec.rules, &live.keys, credential) {
            Ok(verified) => {
                let verified = Arc::new(verified);
                live.verified.insert(
                    token.into(),
                    Known {
                        token: verified.clone(),
                        symmetric,
                    },
                );
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
        rotated && matches!(self.spec.source, KeySource::Url(_))
    }

    /// Fetches that finished so far: to be asked before a judgement that [`Self::fetched_again`] may be asked about.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        *self.fetches.borrow()
    }

    /// Waits for the fetch that may change a judgement made after `seen` fetches, asking for one if that is allowed now. `false`:
    /// there is none to wait for.
    pub async fn fetched_again(&self, fault: TokenFault, seen: u64) -> bool {
        let mut fetches = self.fetches.subscribe();
        {
            let mut fetching = self.fetching.lock();
            if *fetches.borrow_and_update() != seen {
                // It came between the judgement and the question.
                return true;
            }
            // An issuer that cannot be reached is asked again by the refresher, in its own time.
            if !*fetching && fault != TokenFault::KeysUnavailable && self.refetches.check().is_ok() {
                *fetching = true;
                self.wanted.notify_one();
            }
            if !*fetching && seen > 0 {
                return false;
            }
        }
        tokio::time::timeout(self.spec.request_timeout, fetches.changed())
            .await
            .is_ok_and(|changed| changed.is_ok())
    }

    /// Whether the first fetch has finished, well or not, or was given time enough.
    #[must_use]
    pub fn tried(&self) -> bool {
        !self.is_fetched() || self.fetches() > 0 || self.since(self.born_ns) >= FIRST_FETCH_PATIENCE
    }

    fn is_fetched(&self) -> bool {
        self.spec.source != KeySource::None
    }

    /// Whether nobody can say any more what the issuer's keys are.
    fn is_stale(&self, live: &Live) -> bool {
        match (&self.spec.source, live.confirmed_ns.load(Ordering::Relaxed)) {
            (KeySource::None, _) => false,
            (KeySource::Url(_) | KeySource::File(_), 0) => true,
            (KeySource::File(_), _) => false,
            (KeySource::Url(_), confirmed) => self.since(confirmed) > self.spec.max_stale,
        }
    }

    fn since(&self, then_ns: u64) -> Duration {
        Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(then_ns))
    }

    /// Says that a fetch begins; the refresher's alone.
    pub fn begin(&self) {
        *self.fetching.lock() = true;
    }

    /// Takes what a fetch brought; the refresher's alone.
    pub fn publish(&self, fetched: Result<&[u8], String>) -> Result<(), String> {
        let outcome = fetched.and_then(|document| self.take(document));
        self.metrics.refreshes.inc();
        self.metrics.up.set(i64::from(outcome.is_ok()));
        if outcome.is_err() {
            self.metrics.refresh_failures.inc();
        }
        self.last_error
            .store(Arc::new(outcome.as_ref().err().cloned().unwrap_or_default()));
        let mut fetching = self.fetching.lock();
        *fetching = false;
        self.fetches.send_modify(|count| *count += 1);
        drop(fetching);
        outcome
    }

    fn take(&self, document: &[u8]) -> Result<(), String> {
        let now_ns = self.clock.monotonic_ns();
        let digest = SecretDigest::of(document);
        let live = self.live.load();
        if live.digest == Some(digest) {
            live.confirmed_ns.store(now_ns, Ordering::Relaxed);
            return Ok(());
        }
        let (keys, skipped) = KeySet::from_jwks(document).map_err(|error| error.to_string())?;
        for key in skipped {
            let kid = key.kid.as_deref().unwrap_or_default();
            tracing::warn!(issuer = %self.spec.rules.name, place = key.index, kid, reason = %key.reason, "JWKS key skipped");
        }
        if keys.is_empty() && live.digest.is_some() {
            // An empty set in place of a good one is an issuer that is broken, not one without keys.
            return Err("the JWKS holds no usable key; the last good keys are kept".to_owned());
        }
        let live = Live::new(keys, Some(digest), now_ns, &self.spec);
        self.metrics.keys.set(count(live.keys.len()));
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// Waits until an unknown key id asks for a fetch.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
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
        let confirmed = self.live.load().confirmed_ns.load(Ordering::Relaxed);
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
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
