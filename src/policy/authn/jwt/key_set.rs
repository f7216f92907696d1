//! An issuer's verification keys, and which of them a token may be tried with. Depends on `policy::token`.

use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::ParsedPublicKey;
use serde_json::Value;

use super::jwk::{PublicKey, SkipReason};
use crate::policy::token::{Algorithm, TokenFault};

/// The longest JWK set that is read, in bytes.
pub const MAX_JWKS_BYTES: usize = 1024 * 1024;

/// Most keys in a set, odd ones included.
pub const MAX_KEYS: usize = 256;

/// Most public keys that a token is tried with: a token without `kid` must not cost one signature check a key.
const MAX_TRIED: usize = 8;

const HMAC: [(Algorithm, hmac::Algorithm); 3] = [
    (Algorithm::HS256, hmac::HMAC_SHA256),
    (Algorithm::HS384, hmac::HMAC_SHA384),
    (Algorithm::HS512, hmac::HMAC_SHA512),
];

/// An issuer's keys, ready to verify with: a published set and shared secrets, never one for the other.
#[derive(Default)]
pub struct KeySet {
    /// Sorted by `kid`, those without it first; else in the order of the set.
    public: Vec<PublicKey>,
    /// Each secret once for every HS*.
    secrets: Vec<(Algorithm, hmac::Key)>,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5). An odd key is skipped and reported; it does not spoil the others.
    ///
    /// # Errors
    /// [`JwksError`] when the document as a whole is no set, or beyond [`MAX_JWKS_BYTES`] or [`MAX_KEYS`].
    pub fn from_jwks(json: &[u8]) -> Result<(Self, Vec<SkippedKey>), JwksError> {
        if json.len() > MAX_JWKS_BYTES {
            return Err(JwksError::TooLong);
        }
        let document: Value = serde_json::from_slice(json).map_err(|_| JwksError::NotJson)?;
        let keys = document
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(JwksError::NoKeys)?;
        if keys.len() > MAX_KEYS {
            return Err(JwksError::TooManyKeys);
        }
        let mut public = Vec::with_capacity(keys.len());
        let mut skipped = Vec::new();
        for (index, jwk) in keys.iter().enumerate() {
            match PublicKey::from_jwk(jwk) {
                Ok(key) => public.push(key),
                Err(reason) => {
                    let kid = jwk.get("kid").and_then(Value::as_str).map(Box::from);
                    skipped.push(SkippedKey { index, kid, reason });
                }
            }
        }
        public.sort_by(|a, b| a.kid.cmp(&b.kid));
        let secrets = Vec::new();
        Ok((Self { public, secrets }, skipped))
    }

    /// Adds shared secrets, for HS* only. An empty one is left out: whoever knows nothing knows it.
    pub fn add_secrets(&mut self, secrets: &[&[u8]]) {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            let keyed = HMAC.map(|(algorithm, digest)| (algorithm, hmac::Key::new(digest, secret)));
            self.secrets.extend(keyed);
        }
    }

    /// How many published keys are in use; secrets are not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.public.len()
    }

    /// Whether no published key is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.public.is_empty()
    }

    /// The `kid`s of the published keys, sorted.
    pub fn kids(&self) -> impl Iterator<Item = &str> {
        self.public.iter().filter_map(|key| key.kid.as_deref())
    }

    /// Whether one of the keys that `algorithm` and `kid` choose made `signature` over `message`.
    ///
    /// # Errors
    /// [`TokenFault::UnknownKey`]: there is no such key. [`TokenFault::AlgorithmNotAllowed`]: the key of that `kid` is
    /// not for this algorithm. [`TokenFault::BadSignature`].
    pub(super) fn check(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), TokenFault> {
        let signed = if algorithm.is_symmetric() {
            // Secrets have no `kid`; all are tried, each compared in constant time by the library.
            let mut fitting = self.secrets.iter().filter(|(fits, _)| *fits == algorithm).peekable();
            fitting.peek().ok_or(TokenFault::UnknownKey)?;
            fitting.any(|(_, key)| hmac::verify(key, message, signature).is_ok())
        } else {
            let fitting = self.fitting(algorithm, kid)?;
            fitting
                .into_iter()
                .take(MAX_TRIED)
                .any(|key| key.verify_sig(message, signature).is_ok())
        };
        if signed { Ok(()) } else { Err(TokenFault::BadSignature) }
    }

    /// The published keys to try. Never none.
    fn fitting(&self, algorithm: Algorithm, kid: Option<&str>) -> Result<Vec<&ParsedPublicKey>, TokenFault> {
        let named = kid.map_or(self.public.as_slice(), |kid| self.named(kid));
        let fitting: Vec<_> = named.iter().filter_map(|key| key.for_algorithm(algorithm)).collect();
        if !fitting.is_empty() {
            return Ok(fitting);
        }
        if kid.is_some() && !named.is_empty() {
            return Err(TokenFault::AlgorithmNotAllowed);
        }
        // An issuer that names its keys in tokens but not in its set: all of the kind are tried, if none has a name.
        let of_kind = || {
            self.public
                .iter()
                .filter_map(|key| Some((key, key.for_algorithm(algorithm)?)))
        };
        if of_kind().next().is_none() || of_kind().any(|(key, _)| key.kid.is_some()) {
            return Err(TokenFault::UnknownKey);
        }
        Ok(of_kind().map(|(_, ready)| ready).collect())
    }

    /// The keys of that name: more than one where, say, an RSA and an EC key share it.
    fn named(&self, kid: &str) -> &[PublicKey] {
        let start = self.public.partition_point(|key| key.kid.as_deref() < Some(kid));
        let end = self.public.partition_point(|key| key.kid.as_deref() <= Some(kid));
        self.public.get(start..end).unwrap_or_default()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets = self.secrets.len() / HMAC.len();
        f.debug_struct("KeySet")
            .field("keys", &self.len())
            .field("kids", &self.kids().collect::<Vec<_>>())
            .field("secrets", &secrets)
            .finish()
    }
}

/// A key that was left out of a set, for log and status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Its place in the document, from 0.
    pub index: usize,
    /// Its name, if it has one.
    pub kid: Option<Box<str>>,
    /// What is odd about it.
    pub reason: SkipReason,
}

/// Why a document is no JWK set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JwksError {
    /// Beyond [`MAX_JWKS_BYTES`].
    TooLong,
    /// Not JSON, or deeper than 128 levels.
    NotJson,
    /// Without a list `keys`.
    NoKeys,
    /// Beyond [`MAX_KEYS`].
    TooManyKeys,
}

impl fmt::Display for JwksError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "longer than {MAX_JWKS_BYTES} bytes"),
            Self::NotJson => f.write_str("not JSON"),
            Self::NoKeys => f.write_str("no JWK set: it has no list `keys`"),
            Self::TooManyKeys => write!(f, "more than {MAX_KEYS} keys"),
        }
    }
}

impl std::error::Error for JwksError {}
