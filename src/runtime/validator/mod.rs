//! Asks an auth service about credentials that only it can judge: API keys and remote tokens alike, as seldom as can be.
//!
//! Its answers are kept, and through Redis shared with other gateways (`records`), good ones and bad ones, by a digest of the whole
//! credential; all who wait for one answer share one look-up (`flight`); an answer in use is renewed before it ends; while the auth
//! service cannot be asked the last answer serves for `stale_if_error`; and a `breaker` keeps it from costing each request its
//! timeout. A credential itself is held for the length of a look-up and no longer.
//!
//! A hit neither waits nor allocates. Everything is bounded: answers by `max_entries`, look-ups by `flight::MAX_FLIGHTS`.

mod breaker;
mod call;
mod entry;
mod flight;
pub mod guesses;
mod records;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use quick_cache::sync::Cache;
use tokio::sync::{Semaphore, mpsc, watch};

use crate::compile::ValidatorSpec;
use crate::config::secret::Secret;
use crate::observe::metrics::DependencyMetrics;
use crate::policy::authn::remote::{Members, NoProof, Rules};
use crate::policy::denial::Denial;
use crate::policy::digest::SecretDigest;
use crate::policy::judge::KnownBy;

use super::clock::{Clock, nanos};
use super::store::Store;
use breaker::Breaker;
use entry::{Entry, Renewal, Serves};
use flight::{Boarding, Job, Landing};
use guesses::Allowance;
use records::Shared;

pub use entry::Said;
pub use flight::{ask_once, serve};

/// Between two lines about one auth service that fails.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// An auth service, and what it said.
#[derive(Debug)]
pub struct Validator<R: Rules> {
    spec: ValidatorSpec<R>,
    metrics: DependencyMetrics,
    clock: Clock,
    known: Cache<SecretDigest, Arc<Entry<R>>>,
    /// Look-ups under way. INVARIANT: an answer is in `known` before its flight leaves here.
    flights: Mutex<HashMap<SecretDigest, watch::Receiver<Landing<R>>>>,
    jobs: mpsc::Sender<Job<R>>,
    /// For the control runtime to take, once.
    queue: Mutex<Option<mpsc::Receiver<Job<R>>>>,
    places: Semaphore,
    /// Made when the first look-up needs it.
    client: ArcSwapOption<reqwest::Client>,
    breaker: Breaker,
    lines: DefaultDirectRateLimiter,
    last_error: ArcSwap<String>,
    /// Where other gateways' answers are, and ours for them.
    shared: ArcSwapOption<Shared>,
}

/// A presented credential, ready to be looked up.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'r> {
    credential: &'r str,
    /// Of the credential.
    digest: SecretDigest,
    /// What its answer is kept by.
    key: SecretDigest,
    from: IpAddr,
    now_ns: u64,
}

/// What is known of a credential.
#[derive(Debug)]
pub struct Answer<R: Rules> {
    /// Its word, or that it could not be asked.
    pub said: Said<R>,
    /// Where it was found.
    pub by: KnownBy,
    /// The look-up counts as a failure already.
    pub counted: bool,
}

/// What the status page shows.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct ValidatorStatus {
    pub name: Arc<str>,
    pub up: bool,
    /// Nobody is sent there for the moment.
    pub breaker_open: bool,
    pub entries: usize,
    pub in_flight: usize,
    pub last_error: Option<String>,
}

impl<R: Rules> Validator<R> {
    /// Knows nothing yet. It asks once [`serve`] runs.
    #[must_use]
    pub fn new(spec: ValidatorSpec<R>, metrics: DependencyMetrics, clock: Clock) -> Self {
        let (jobs, queue) = mpsc::channel(flight::MAX_FLIGHTS);
        let pause = Quota::with_period(LOG_PAUSE).unwrap_or(Quota::per_hour(std::num::NonZeroU32::MIN));
        Self {
            metrics,
            clock,
            known: Cache::new(spec.asking.max_entries),
            flights: Mutex::default(),
            jobs,
            queue: Mutex::new(Some(queue)),
            places: Semaphore::new(flight::MAX_CALLS),
            client: ArcSwapOption::empty(),
            breaker: Breaker::new(spec.asking.timeout),
            lines: RateLimiter::direct(pause),
            last_error: ArcSwap::default(),
            shared: ArcSwapOption::empty(),
            spec,
        }
    }

    /// Whom it asks, and how.
    #[must_use]
    pub const fn spec(&self) -> &ValidatorSpec<R> {
        &self.spec
    }

    /// Shares its answers with other gateways from now on, under this key; or with nobody.
    pub fn share(&self, place: Option<(&Arc<Store>, &Secret)>) {
        let shared = place.map(|(store, key)| Arc::new(Shared::new(store.clone(), key, &self.spec)));
        self.shared.store(shared);
    }

    /// What [`serve`] is to work off; there is one, once.
    #[must_use]
    pub fn queue(&self) -> Option<mpsc::Receiver<Job<R>>> {
        self.queue.lock().take()
    }

    /// A credential from a client. `digest` is that of the whole credential (hardening r22).
    #[must_use]
    pub fn asked<'r>(&self, credential: &'r str, digest: SecretDigest, from: IpAddr, now_ns: u64) -> Asked<'r> {
        let key = match self.spec.question.client_address {
            None => digest,
            Some(_) => with_address(&digest, from),
        };
        Asked {
            credential,
            digest,
            key,
            from,
            now_ns,
        }
    }

    /// What is known without asking. An answer that is about to end is renewed meanwhile.
    #[must_use]
    pub fn known(&self, asked: &Asked<'_>) -> Option<Answer<R>> {
        let (entry, by) = self.at_hand(asked)?;
        if entry.is_due(asked.now_ns) {
            self.renew(asked, &entry);
        }
        Some(answer(entry.said.clone(), by, false))
    }

    /// What is known without asking, by somebody whose look is no use of it: nothing is renewed.
    #[must_use]
    pub fn peek(&self, asked: &Asked<'_>) -> Option<Answer<R>> {
        let (entry, by) = self.at_hand(asked)?;
        Some(answer(entry.said.clone(), by, false))
    }

    fn at_hand(&self, asked: &Asked<'_>) -> Option<(Arc<Entry<R>>, KnownBy)> {
        let entry = self.known.get(&asked.key)?;
        match entry.serves(asked.now_ns) {
            Serves::Fresh => Some((entry, KnownBy::Cache)),
            Serves::Stale => Some((entry, KnownBy::Stale)),
            Serves::OnlyIfAskingFails | Serves::Not => None,
        }
    }

    /// Asks, or waits for who asks already; within `timeout`. With an allowance a look-up counts as a failure until it is none.
    ///
    /// # Errors
    /// 429: too many failures came from there for anybody to be asked.
    pub async fn ask(&self, asked: &Asked<'_>, allowance: Option<Allowance<'_>>) -> Result<Answer<R>, Denial> {
        let deadline = tokio::time::Instant::now() + self.spec.asking.timeout;
        // Whoever was known good is no guess.
        let allowance = allowance.filter(|_| self.stale(asked).is_none());
        let mut guess = None;
        let mut followed = false;
        loop {
            if let (Some(allowance), None, false) = (&allowance, &guess, self.is_under_way(asked)) {
                match tokio::time::timeout_at(deadline, allowance.take(self.clock)).await {
                    Ok(taken) => guess = Some(taken?),
                    // The places of its address were taken all the time.
                    Err(_too_late) => break,
                }
            }
            let counted = guess.is_some();
            let (mut flight, led) = match self.board(asked, &mut guess, false) {
                Boarding::Known(said) => return Ok(answer(said, KnownBy::Cache, false)),
                Boarding::Flight { flight, led } => (flight, led),
                Boarding::None => break,
            };
            let landed = tokio::time::timeout_at(deadline, flight.wait_for(Landing::has_landed)).await;
            match landed {
                Ok(Ok(landing)) => {
                    if let Landing::Landed(said, by) = &*landing {
                        return Ok(answer(said.clone(), *by, counted && led));
                    }
                }
                // Nobody is at it any more.
                Ok(Err(_)) => {}
                Err(_too_late) => break,
            }
            // A look-up that somebody else began may have had less time than this request has: one of its own follows, at most.
            if led || std::mem::replace(&mut followed, true) {
                break;
            }
        }
        Ok(match self.stale(asked) {
            Some(said) => answer(said, KnownBy::Stale, false),
            None => answer(Err(R::UNAVAILABLE), KnownBy::Remote, false),
        })
    }

    /// What was said last, if that may serve when nobody can be asked.
    fn stale(&self, asked: &Asked<'_>) -> Option<Said<R>> {
        let entry = self.known.get(&asked.key)?;
        match entry.serves(self.clock.monotonic_ns()) {
            Serves::Fresh | Serves::Stale | Serves::OnlyIfAskingFails => entry.said.is_ok().then(|| entry.said.clone()),
            Serves::Not => None,
        }
    }

    #[cold]
    fn renew(&self, asked: &Asked<'_>, entry: &Entry<R>) {
        entry.renewal(Renewal::Running);
        if !matches!(self.board(asked, &mut None, true), Boarding::Flight { .. }) {
            entry.renewal(Renewal::Failed);
        }
    }

    /// Reads an answer that was given at `asked_ms`, in Unix milliseconds.
    fn read(
        &self,
        digest: SecretDigest,
        answer: Option<&Members>,
        asked_ms: i64,
    ) -> Result<Entry<R>, NoProof<R::Fault>> {
        let now_ms = self.clock.unix_ms();
        let said = match flight::read(&self.spec, digest, answer, now_ms.div_euclid(1000)) {
            Ok(proof) => Ok(Arc::new(proof)),
            Err(NoProof::Refused(fault)) => Err(fault),
            Err(nonsense @ NoProof::Nonsense(_)) => return Err(nonsense),
        };
        let millis = |ms: i64| Duration::from_millis(u64::try_from(ms).unwrap_or(0));
        let ends = said.as_ref().ok().and_then(|proof| R::ends(proof));
        let ends_after = ends.map(|ends| millis(ends.saturating_mul(1000).saturating_sub(asked_ms)));
        let ago = millis(now_ms.saturating_sub(asked_ms));
        let asked_ns = self.clock.monotonic_ns().saturating_sub(nanos(ago));
        Ok(Entry::new(said, &self.spec.asking, ends_after, asked_ns))
    }

    fn keep(&self, key: SecretDigest, entry: Entry<R>) -> Said<R> {
        let said = entry.said.clone();
        if entry.lasts(self.clock.monotonic_ns()) {
            self.known.insert(key, Arc::new(entry));
        } else {
            self.known.remove(&key);
        }
        said
    }

    /// What the status page shows.
    #[must_use]
    pub fn status(&self) -> ValidatorStatus {
        let error = self.last_error.load();
        ValidatorStatus {
            name: self.spec.name.clone(),
            up: self.metrics.up.get() == 1,
            breaker_open: self.breaker.is_open(),
            entries: self.known.len(),
            in_flight: self.flights.lock().len(),
            last_error: (!error.is_empty()).then(|| error.to_string()),
        }
    }
}

const fn answer<R: Rules>(said: Said<R>, by: KnownBy, counted: bool) -> Answer<R> {
    Answer { said, by, counted }
}

/// An answer for one client's address is kept for that address: two digests of fixed length, which cannot run into each other
/// (hardening r24).
fn with_address(digest: &SecretDigest, from: IpAddr) -> SecretDigest {
    let address = match from {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut bytes = [0; 48];
    for (to, byte) in bytes.iter_mut().zip(digest.bytes().iter().chain(&address.octets())) {
        *to = *byte;
    }
    SecretDigest::of(&bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
