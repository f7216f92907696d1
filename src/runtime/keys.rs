//! An issuer's keys, and the tokens that they verified: read by workers without a lock, renewed on the control runtime.
//!
//! Good keys are kept while the issuer cannot be reached, up to `max_stale`; then nobody can say who a token is (503), never "no"
//! (401). An unknown key id buys one fetch for all who wait, at most one in [`REFETCH_PAUSE`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
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

/// Bytes of verified tokens kept for one issuer and key set; a token costs its own length and about 1 KiB.
const CACHED_TOKEN_BYTES: u64 = 16 << 20;

/// The keys of one issuer.
#[derive(Debug)]
pub struct Keys {
    spec: IssuerSpec,
    metrics: IssuerMetrics,
    clock: Clock,
    /// `None` until the first good fetch of an issuer that has a JWKS.
    live: ArcSwapOption<Live>,
    /// Counts finished fetches, good or bad.
    fetches: watch::Sender<u64>,
    fetching: AtomicBool,
    /// An unknown key id asks the refresher for a fetch.
    wanted: Notify,
    refetches: DefaultDirectRateLimiter,
    last_error: ArcSwap<String>,
}

/// One generation of keys, with the tokens that it verified: they go together.
struct Live {
    keys: KeySet,
    /// Of the document; the same document keeps its verified tokens.
    digest: Option<SecretDigest>,
    /// When the issuer last confirmed them.
    confirmed_ns: std::sync::atomic::AtomicU64,
    verified: Cache<Box<str>, Arc<VerifiedToken>, TokenWeight>,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("keys", &self.keys).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct TokenWeight;

impl quick_cache::Weighter<Box<str>, Arc<VerifiedToken>> for TokenWeight {
    fn weight(&self, token: &Box<str>, _verified: &Arc<VerifiedToken>) -> u64 {
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
    /// Ready at once for an issuer that has only secrets; else empty until [`Self::publish`].
    #[must_use]
    pub fn new(spec: IssuerSpec, metrics: IssuerMetrics, clock: Clock) -> Self {
        let pause = Quota::with_period(REFETCH_PAUSE).unwrap_or(Quota::per_hour(std::num::NonZeroU32::MIN));
        let keys = Self {
            metrics,
            clock,
            live: ArcSwapOption::empty(),
            fetches: watch::Sender::new(0),
            fetching: AtomicBool::new(false),
            wanted: Notify::new(),
            refetches: RateLimiter::direct(pause),
            last_error: ArcSwap::default(),
            spec,
        };
        if keys.spec.source == KeySource::None {
            keys.install(KeySet::default(), None);
        }
        keys
    }

    /// What these keys are of.
    #[must_use]
    pub const fn spec(&self) -> &IssuerSpec {
        &self.spec
    }

    /// The issuer's metrics.
    #[must_use]
    pub const fn metrics(&self) -> &IssuerMetrics {
        &self.metrics
    }

    /// A token that these keys verified before.
    #[must_use]
    pub fn known(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        let live = self.live.load();
        let live = live.as_ref()?;
        if self.is_stale(live) { None } else { live.verified.get(token) }
    }

    /// Judges a token by the keys at hand.
    #[must_use]
    pub fn judge(&self, token: &str, parsed: &Unverified<'_>) -> Judged {
        let live = self.live.load();
        let Some(live) = live.as_ref() else { return Judged::Fetch(TokenFault::KeysUnavailable) };
        if self.is_stale(live) {
            return Judged::Fetch(TokenFault::KeysUnavailable);
        }
        let credential = SecretDigest::of(token.as_bytes()).half();
        match verify(parsed, &self.spec.rules, &live.keys, credential) {
            Ok(verified) => {
                let verified = Arc::new(verified);
                live.verified.insert(token.into(), verified.clone());
                Judged::Known(Ok(verified))
            }
            Err(TokenFault::UnknownKey) if self.is_fetched() => Judged::Fetch(TokenFault::UnknownKey),
            Err(fault) => Judged::Known(Err(fault)),
        }
    }

    /// Waits for the fetch that may change a judgement, asking for one if that is allowed now. `false`: there is none to wait for.
    pub async fn fetched_again(&self, fault: TokenFault) -> bool {
        let mut fetches = self.fetches.subscribe();
        fetches.mark_unchanged();
        let first = *fetches.borrow() == 0;
        let under_way = self.fetching.load(Ordering::Acquire);
        let asked = fault == TokenFault::UnknownKey && !under_way && self.refetches.check().is_ok();
        if asked {
            self.wanted.notify_one();
        }
        if !(first || under_way || asked) {
            return false;
        }
        tokio::time::timeout(self.spec.request_timeout, fetches.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Whether the first fetch has finished, well or not.
    #[must_use]
    pub fn tried(&self) -> bool {
        !self.is_fetched() || *self.fetches.borrow() > 0
    }

    fn is_fetched(&self) -> bool {
        self.spec.source != KeySource::None
    }

    fn is_stale(&self, live: &Live) -> bool {
        let age = Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(live.confirmed_ns.load(Ordering::Relaxed)));
        matches!(self.spec.source, KeySource::Url(_)) && age > self.spec.max_stale
    }

    /// Says that a fetch begins; the refresher's alone.
    pub fn begin(&self) {
        self.fetching.store(true, Ordering::Release);
    }

    /// Takes what a fetch brought; the refresher's alone.
    pub fn publish(&self, fetched: Result<&[u8], String>) -> Result<(), String> {
        let outcome = fetched.and_then(|document| self.take(document));
        self.metrics.refreshed(outcome.is_ok());
        self.last_error.store(Arc::new(outcome.as_ref().err().cloned().unwrap_or_default()));
        self.fetching.store(false, Ordering::Release);
        self.fetches.send_modify(|count| *count += 1);
        outcome
    }

    fn take(&self, document: &[u8]) -> Result<(), String> {
        let digest = SecretDigest::of(document);
        if let Some(live) = self.live.load().as_ref()
            && live.digest == Some(digest)
        {
            live.confirmed_ns.store(self.clock.monotonic_ns(), Ordering::Relaxed);
            return Ok(());
        }
        let (keys, skipped) = KeySet::from_jwks(document).map_err(|error| error.to_string())?;
        for key in skipped {
            tracing::warn!(issuer = %self.spec.rules.name, key = %key, "JWKS key skipped");
        }
        if keys.is_empty() && self.live.load().is_some() {
            // An empty set in place of a good one is an issuer that is broken, not one without keys.
            return Err("the JWKS holds no usable key; the last good keys are kept".to_owned());
        }
        self.install(keys, Some(digest));
        Ok(())
    }

    fn install(&self, mut keys: KeySet, digest: Option<SecretDigest>) {
        let secrets: Vec<&[u8]> = self.spec.secrets.iter().map(|secret| secret.expose().as_bytes()).collect();
        keys.add_secrets(&secrets);
        self.metrics.keys(keys.len());
        let estimated_tokens = usize::try_from(CACHED_TOKEN_BYTES / 2048).unwrap_or(8192);
        self.live.store(Some(Arc::new(Live {
            keys,
            digest,
            confirmed_ns: std::sync::atomic::AtomicU64::new(self.clock.monotonic_ns()),
            verified: Cache::with_weighter(estimated_tokens, CACHED_TOKEN_BYTES, TokenWeight),
        })));
    }

    /// Waits until an unknown key id asks for a fetch.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Writes the age of the keys to its metric.
    pub fn measure(&self) {
        if let Some(age) = self.age() {
            self.metrics.age(age);
        }
    }

    fn age(&self) -> Option<Duration> {
        let live = self.live.load();
        let confirmed = live.as_ref()?.confirmed_ns.load(Ordering::Relaxed);
        Some(Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(confirmed)))
    }

    /// What the status page shows.
    #[must_use]
    pub fn status(&self) -> KeysStatus {
        let error = self.last_error.load();
        KeysStatus {
            name: self.spec.rules.name.clone(),
            keys: self.live.load().as_ref().map(|live| live.keys.kids()).unwrap_or_default(),
            age: self.age(),
            last_error: (!error.is_empty()).then(|| error.to_string()),
        }
    }
}
