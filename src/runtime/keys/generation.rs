//! One generation of an issuer's keys, with the tokens that it verified: they come and go together. Depends on `policy`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use quick_cache::sync::Cache;

use crate::compile::IssuerSpec;
use crate::policy::authn::jwt::KeySet;
use crate::policy::digest::SecretDigest;
use crate::policy::token::VerifiedToken;

/// Bytes of verified tokens kept for one issuer and key set; a token costs its own length and about 1 KiB.
const CACHED_TOKEN_BYTES: u64 = 16 << 20;

/// Keys, and the tokens that they verified.
pub(super) struct Generation {
    pub(super) keys: Arc<KeySet>,
    /// Of the document; the same document keeps its verified tokens. `None`: there was none yet.
    pub(super) digest: Option<SecretDigest>,
    /// When the issuer last confirmed them; 0: it was never reached.
    confirmed_ns: AtomicU64,
    verified: Cache<Box<str>, Known, TokenWeight>,
}

/// A token that was verified.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) token: Arc<VerifiedToken>,
    /// With a secret of the config.
    pub(super) symmetric: bool,
}

impl Generation {
    /// Published keys, joined by the secrets of the config.
    pub(super) fn new(keys: KeySet, digest: Option<SecretDigest>, confirmed_ns: u64, spec: &IssuerSpec) -> Self {
        Self::with(Arc::new(spec.with_secrets(keys)), digest, confirmed_ns)
    }

    /// The same keys, and none of the tokens.
    pub(super) fn heir(&self) -> Self {
        Self::with(self.keys.clone(), self.digest, self.confirmed_ns())
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

    pub(super) fn confirmed_ns(&self) -> u64 {
        self.confirmed_ns.load(Ordering::Relaxed)
    }

    pub(super) fn confirm(&self, now_ns: u64) {
        self.confirmed_ns.store(now_ns, Ordering::Relaxed);
    }

    /// By the whole token (hardening r22).
    pub(super) fn known(&self, token: &str) -> Option<Known> {
        self.verified.get(token)
    }

    pub(super) fn remember(&self, token: &str, known: Known) {
        self.verified.insert(token.into(), known);
    }
}

impl std::fmt::Debug for Generation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone)]
struct TokenWeight;

impl quick_cache::Weighter<Box<str>, Known> for TokenWeight {
    fn weight(&self, token: &Box<str>, _verified: &Known) -> u64 {
        1024 + u64::try_from(token.len()).unwrap_or(u64::MAX / 2)
    }
}
