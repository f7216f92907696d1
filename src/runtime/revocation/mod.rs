//! Revocations: keys of the shared store, any service's, kept here as a copy that a request asks without waiting.

mod copy;
mod follow;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::compile::{RevocationSpec, Servers};
use crate::observe::metrics::RevocationMetrics;
use crate::policy::identity::Identity;
use crate::policy::token::{TokenFault, VerifiedToken};

use super::clock::Clock;
use super::store::{Store, StoreError};
use copy::LocalCopy;

/// A copy that was confirmed within this time is current: revocations reach every gateway within it.
const CURRENT_FOR: Duration = Duration::from_secs(1);

/// What is revoked; no longer followed when this is dropped.
#[derive(Debug)]
pub struct Revocations {
    spec: Arc<RevocationSpec>,
    store: Arc<Store>,
    copy: Arc<LocalCopy>,
    metrics: RevocationMetrics,
    clock: Clock,
    follower: Option<AbortHandle>,
}

/// What is known of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing against it.
    Good,
    /// Revoked.
    Revoked,
    /// The copy is not current, and nobody is to be let in by an old one.
    Unknown,
}

/// What the status page shows.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct RevocationStatus {
    pub entries: usize,
    pub current: bool,
    pub age: Option<Duration>,
    pub serves_meanwhile: bool,
}

/// What was revoked at one moment, for whoever judges once.
#[derive(Debug)]
pub struct ReadOnce(LocalCopy);

impl ReadOnce {
    /// Reads what `servers` have now.
    ///
    /// # Errors
    /// They do not answer, or change faster than they can be read.
    pub async fn of(spec: &RevocationSpec, servers: &Servers) -> Result<Self, StoreError> {
        let copy = LocalCopy::default();
        follow::read(spec, servers, &copy).await?;
        Ok(Self(copy))
    }

    /// Whether a token is revoked.
    #[must_use]
    pub fn revokes_token(&self, token: &VerifiedToken) -> bool {
        self.0.names_token(token)
    }

    /// Whether a caller is revoked.
    #[must_use]
    pub fn revokes_caller(&self, caller: &Identity) -> bool {
        self.0.names_caller(caller)
    }
}

impl Revocations {
    /// Follows the store from now on. What a predecessor knew serves until the store was read: it may be away just now.
    #[must_use]
    pub(super) fn start(
        spec: RevocationSpec,
        store: Arc<Store>,
        metrics: RevocationMetrics,
        clock: Clock,
        predecessor: Option<&Self>,
    ) -> Self {
        let spec = Arc::new(spec);
        let copy = Arc::new(predecessor.map_or_else(LocalCopy::default, |old| old.copy.heir()));
        let follower = store.spawn(follow::follow(
            spec.clone(),
            store.spec().servers.clone(),
            copy.clone(),
            clock,
        ));
        Self {
            spec,
            store,
            copy,
            metrics,
            clock,
            follower,
        }
    }

    /// Whether these are followed by `spec` in `store`.
    #[must_use]
    pub(super) fn are_of(&self, spec: &RevocationSpec, store: &Arc<Store>) -> bool {
        *self.spec == *spec && Arc::ptr_eq(&self.store, store)
    }

    /// Waits until the store was read for the first time, or could not be.
    pub(super) async fn tried(&self) {
        if self.follower.is_some() {
            self.copy.tried.wait().await;
        }
    }

    /// Judges a token that holds otherwise; on every use, also of a token known already.
    ///
    /// # Errors
    /// It is revoked, or nobody can say.
    pub(super) fn judge(&self, token: &VerifiedToken) -> Result<(), TokenFault> {
        match self.standing(|copy| copy.names_token(token)) {
            Standing::Good => Ok(()),
            Standing::Revoked => Err(TokenFault::Revoked),
            Standing::Unknown => Err(TokenFault::RevocationsUnknown),
        }
    }

    /// What is known of a caller by its credential, its key's id and its user.
    #[must_use]
    pub(super) fn of_caller(&self, caller: &Identity) -> Standing {
        self.standing(|copy| copy.names_caller(caller))
    }

    fn standing(&self, revokes: impl FnOnce(&LocalCopy) -> bool) -> Standing {
        if !self.spec.serve_on_store_error && !self.is_current() {
            return Standing::Unknown;
        }
        if revokes(&self.copy) {
            Standing::Revoked
        } else {
            Standing::Good
        }
    }

    /// Whether every change until [`CURRENT_FOR`] ago is known.
    fn is_current(&self) -> bool {
        !self.copy.is_overflown() && self.age().is_some_and(|age| age <= CURRENT_FOR)
    }

    /// Since all changes were known; `None`: they never were.
    fn age(&self) -> Option<Duration> {
        let confirmed_ns = self.copy.confirmed_ns.load(Ordering::Relaxed);
        let age_ns = self.clock.monotonic_ns().saturating_sub(confirmed_ns);
        (confirmed_ns > 0).then(|| Duration::from_nanos(age_ns))
    }

    /// Writes its metrics.
    pub fn measure(&self) {
        let entries = i64::try_from(self.copy.entries()).unwrap_or(i64::MAX);
        self.metrics.entries.set(entries);
        self.metrics.current.set(i64::from(self.is_current()));
    }

    /// What the status page shows.
    #[must_use]
    pub fn status(&self) -> RevocationStatus {
        RevocationStatus {
            entries: self.copy.entries(),
            current: self.is_current(),
            age: self.age(),
            serves_meanwhile: self.spec.serve_on_store_error,
        }
    }
}

impl Drop for Revocations {
    fn drop(&mut self) {
        if let Some(follower) = &self.follower {
            follower.abort();
        }
    }
}
