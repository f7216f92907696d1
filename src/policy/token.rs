//! The token as evidence: what an issuer's rules ask of it, what a verified one says, and why one fails.
//!
//! The rules are data made by `compile`; [`super::authn::jwt`] applies them. Only what a request may be judged by later is
//! kept of a verified token, so that caching one is cheap.

use std::sync::Arc;

use super::denial::{Code, Denial};
use super::identity::{ClaimPath, Identity, IdentityHeaders, RoleTable};

/// A signature algorithm of RFC 7518 §3.1, or EdDSA (RFC 8037 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 13] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
        Self::HS256,
        Self::HS384,
        Self::HS512,
    ];

    /// The `alg` of a token or key, and the name in config.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
        }
    }

    /// The algorithm of that exact name. `none` is no algorithm, however it is spelled.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    /// Whether it is keyed by a shared secret (HS*), not by an issuer's public key.
    #[must_use]
    pub const fn is_symmetric(self) -> bool {
        match self {
            Self::HS256 | Self::HS384 | Self::HS512 => true,
            Self::RS256 | Self::RS384 | Self::RS512 => false,
            Self::PS256 | Self::PS384 | Self::PS512 => false,
            Self::ES256 | Self::ES384 | Self::ES512 => false,
            Self::EdDSA => false,
        }
    }
}

/// What one issuer's tokens must be, and what is read from them. Two equal values accept the same tokens as the same callers.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenRules {
    /// The issuer's name in the config.
    pub name: Arc<str>,
    /// The `iss` it writes; `None`: it takes tokens without `iss`.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; empty: any, or none.
    pub audiences: Vec<String>,
    /// The allow-list; never taken from the token.
    pub algorithms: Vec<Algorithm>,
    /// Further claims that must hold.
    pub required_claims: Vec<(ClaimPath, ClaimRule)>,
    /// Forgiven clock skew, in seconds.
    pub leeway_s: i64,
    /// `exp - iat` at most, in seconds; 0: any.
    pub max_lifetime_s: i64,
    /// Put before the user.
    pub user_prefix: String,
    /// Claims that make the identity.
    pub claims: IdentityClaims,
    /// The internal callers' own name, which no token may bear.
    pub reserved_user: Option<String>,
    /// Role → permissions.
    pub roles: Arc<RoleTable>,
    /// Which headers tell the upstream.
    pub headers: Arc<IdentityHeaders>,
    /// Claims that some route asks for, kept with the verified token.
    pub kept_claims: Vec<ClaimPath>,
    /// Its auth service judges its tokens, and no key does.
    pub remote: bool,
}

/// Claim paths of each part of the identity; what several paths give is united.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IdentityClaims {
    pub user: Vec<ClaimPath>,
    pub tenant: Vec<ClaimPath>,
    pub client: Vec<ClaimPath>,
    pub scopes: Vec<ClaimPath>,
    pub permissions: Vec<ClaimPath>,
    pub roles: Vec<ClaimPath>,
    pub tier: Vec<ClaimPath>,
}

impl IdentityClaims {
    /// Every path.
    pub fn all(&self) -> impl Iterator<Item = &ClaimPath> {
        let parts = [
            &self.user,
            &self.tenant,
            &self.client,
            &self.scopes,
            &self.permissions,
            &self.roles,
            &self.tier,
        ];
        parts.into_iter().flatten()
    }
}

/// What a claim must be.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimRule {
    /// Present, and not null.
    Present,
    /// Equal to one of these, or a list that has one of them.
    OneOf(Vec<serde_json::Value>),
}

impl ClaimRule {
    /// Whether `claim` fulfils the rule.
    #[must_use]
    pub fn holds(&self, claim: Option<&serde_json::Value>) -> bool {
        use serde_json::Value;
        match (self, claim) {
            (_, None | Some(Value::Null)) => false,
            (Self::Present, Some(_)) => true,
            (Self::OneOf(wanted), Some(Value::Array(items))) => items.iter().any(|item| wanted.contains(item)),
            (Self::OneOf(wanted), Some(value)) => wanted.contains(value),
        }
    }
}

/// A token whose signature and claims hold; only time, revocation and the route's own rules remain to be judged.
#[derive(Debug, Clone)]
pub struct VerifiedToken {
    /// Who it proves.
    pub identity: Arc<Identity>,
    /// Expiry, in seconds since the Unix epoch.
    pub exp: i64,
    /// Not before.
    pub nbf: Option<i64>,
    /// Issued at.
    pub iat: Option<i64>,
    /// Token id, as the digest that revocations know it by (`key_of`).
    pub jti: Option<u128>,
    /// The digest of its other text, where its signature can be written in two ways; the identity carries that of the one.
    pub twin: Option<u128>,
    /// Its audiences.
    pub audiences: Vec<Box<str>>,
    /// What it says of [`TokenRules::kept_claims`].
    pub kept_claims: Vec<(ClaimPath, serde_json::Value)>,
    /// Forgiven clock skew, in seconds.
    pub leeway_s: i64,
}

impl VerifiedToken {
    /// A claim that some route asks for.
    #[must_use]
    pub fn kept_claim(&self, path: &ClaimPath) -> Option<&serde_json::Value> {
        self.kept_claims
            .iter()
            .find(|(kept, _)| kept == path)
            .map(|(_, value)| value)
    }

    /// The second from which on it is expired.
    #[must_use]
    pub const fn ends_s(&self) -> i64 {
        self.exp.saturating_add(self.leeway_s)
    }

    /// RFC 7519 §4.1.4-4.1.6, at `now_s`: judged on every request, also for a token known already.
    ///
    /// # Errors
    /// [`TokenFault::Expired`] from `exp + leeway` on; [`TokenFault::NotYetValid`] for `nbf` or `iat` in the future.
    pub fn judge_time(&self, now_s: i64) -> Result<(), TokenFault> {
        if now_s >= self.ends_s() {
            return Err(TokenFault::Expired);
        }
        let starts = self.nbf.into_iter().chain(self.iat).max();
        match starts {
            Some(start) if start > now_s.saturating_add(self.leeway_s) => Err(TokenFault::NotYetValid),
            _ => Ok(()),
        }
    }
}

/// Why a token does not hold. The client is told its family only; the name goes to log and `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum TokenFault {
    /// Empty, over-long, not three base64url parts, not JSON objects, a name twice (RFC 7515 §4).
    Malformed,
    /// `alg` is not one that the issuer allows, or does not fit the key.
    AlgorithmNotAllowed,
    /// `crit`, `b64`, `zip`, or a JWE (RFC 7515 §4.1.11).
    UnsupportedHeader,
    /// `iss` is no issuer of this route.
    UnknownIssuer,
    /// No key of the issuer fits.
    UnknownKey,
    BadSignature,
    /// `exp` is missing or no number that can be a time.
    BadExpiry,
    /// `nbf` or `iat` is no number that can be a time.
    BadTime,
    WrongAudience,
    /// A required claim is missing or something else.
    ClaimMismatch,
    /// A claim of the identity is of the wrong type or cannot be a header.
    BadClaim,
    /// The user claim is missing, or the internal callers' name.
    BadUser,
    /// `exp - iat` is longer than the issuer allows.
    LivesTooLong,
    NotYetValid,
    Expired,
    /// The auth service that judges it says no.
    NotActive,
    /// Taken back before its time.
    Revoked,
    /// The issuer's keys could not be had: nobody can say.
    KeysUnavailable,
    /// The auth service that judges it could not be asked: nobody can say.
    ValidatorUnavailable,
    /// What was revoked could not be found out: nobody can say.
    RevocationsUnknown,
}

impl TokenFault {
    /// The name in the log line's `detail` and in `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::AlgorithmNotAllowed => "algorithm_not_allowed",
            Self::UnsupportedHeader => "unsupported_header",
            Self::UnknownIssuer => "unknown_issuer",
            Self::UnknownKey => "unknown_key",
            Self::BadSignature => "bad_signature",
            Self::BadExpiry => "bad_expiry",
            Self::BadTime => "bad_time",
            Self::WrongAudience => "wrong_audience",
            Self::ClaimMismatch => "claim_mismatch",
            Self::BadClaim => "bad_claim",
            Self::BadUser => "bad_user",
            Self::LivesTooLong => "lives_too_long",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
            Self::NotActive => "not_active",
            Self::Revoked => "revoked",
            Self::KeysUnavailable => "keys_unavailable",
            Self::ValidatorUnavailable => "validator_unavailable",
            Self::RevocationsUnknown => "revocations_unknown",
        }
    }

    /// What the client is told.
    #[must_use]
    pub const fn denial(self) -> Denial {
        let code = match self {
            Self::Expired => Code::TokenExpired,
            Self::Revoked => Code::TokenRevoked,
            Self::KeysUnavailable | Self::ValidatorUnavailable | Self::RevocationsUnknown => Code::AuthUnavailable,
            Self::Malformed
            | Self::AlgorithmNotAllowed
            | Self::UnsupportedHeader
            | Self::UnknownIssuer
            | Self::UnknownKey
            | Self::BadSignature
            | Self::BadExpiry
            | Self::BadTime
            | Self::WrongAudience
            | Self::ClaimMismatch
            | Self::BadClaim
            | Self::BadUser
            | Self::LivesTooLong
            | Self::NotActive
            | Self::NotYetValid => Code::InvalidToken,
        };
        Denial::plain(code, self.name())
    }
}
