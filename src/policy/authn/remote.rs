//! What an auth service's answer proves of a credential that only it can judge: an API key ([`KeyRules`]) or a token
//! ([`RemoteTokenRules`]). Who asks it, when, and what is kept of its answers is not known here.

use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::api_key::{KeyFault, KnownKey};
use super::claims::{self, Reader};
use super::jwt::verify::{judge_claims, time};
use crate::policy::identity::{AuthMethod, ClaimPath, IdentityHeaders, RoleTable};
use crate::policy::token::{IdentityClaims, TokenFault, TokenRules, VerifiedToken};

/// The members of an answer.
pub type Members = Map<String, Value>;

/// The two kinds of credential that an auth service judges for us; the asking, caching and sharing is one for both.
pub trait Rules: fmt::Debug + PartialEq + Send + Sync + 'static {
    /// What a credential that holds proves.
    type Proof: fmt::Debug + Send + Sync + 'static;
    /// Why one does not hold.
    type Fault: fmt::Debug + Copy + PartialEq + Send + Sync + 'static;

    /// The auth service said no.
    const REFUSED: Self::Fault;
    /// It could not be asked.
    const UNAVAILABLE: Self::Fault;
    /// Whether a 401, 403 or 404 says no to the credential, and not to us who ask.
    fn status_refuses(&self) -> bool;

    /// Reads the members of a 200 at `now_s`. `credential` is the digest that the identity carries.
    ///
    /// # Errors
    /// The credential does not hold, or the answer is none.
    fn read(&self, answer: &Members, credential: u128, now_s: i64) -> Result<Self::Proof, NoProof<Self::Fault>>;

    /// When the proof ends, in seconds since the Unix epoch; `None`: it does not say.
    fn ends(proof: &Self::Proof) -> Option<i64>;

    /// The members that [`Self::read`] looks at: nothing else of an answer is kept anywhere.
    fn members(&self) -> Vec<&ClaimPath>;
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoProof<F> {
    /// The credential does not hold.
    Refused(F),
    /// The answer is none: the auth service failed, and nobody knows.
    Nonsense(&'static str),
}

/// How answers about API keys are read.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRules {
    /// Members that make the identity.
    pub fields: IdentityClaims,
    /// Whether the key holds; absent from the answer: it does.
    pub valid: Option<ClaimPath>,
    /// The key's id.
    pub key_id: Option<ClaimPath>,
    /// When it expires.
    pub expires: Option<ClaimPath>,
    /// The internal callers' own name, which no key may bear.
    pub reserved_user: Option<String>,
    /// Role → permissions.
    pub roles: Arc<RoleTable>,
    /// Which headers tell the upstream.
    pub headers: Arc<IdentityHeaders>,
}

impl Rules for KeyRules {
    type Proof = KnownKey;
    type Fault = KeyFault;

    const REFUSED: KeyFault = KeyFault::Unknown;
    const UNAVAILABLE: KeyFault = KeyFault::Unavailable;

    fn status_refuses(&self) -> bool {
        true
    }

    fn read(&self, answer: &Members, credential: u128, now_s: i64) -> Result<KnownKey, NoProof<KeyFault>> {
        holds(answer, self.valid.as_ref(), KeyFault::Unknown)?;
        has_user(answer, &self.fields)?;
        let expires = match self.expires.as_ref().and_then(|path| path.find(answer)) {
            None | Some(Value::Null) => None,
            Some(value) => Some(moment(value).ok_or(NoProof::Nonsense("the expiry is no time"))?),
        };
        if expires.is_some_and(|expires| now_s >= expires) {
            return Err(NoProof::Refused(KeyFault::Expired));
        }
        let reader = Reader {
            method: AuthMethod::ApiKey,
            paths: &self.fields,
            user_prefix: "",
            reserved_user: self.reserved_user.as_deref(),
            roles: &self.roles,
            headers: &self.headers,
            issuer: None,
        };
        let unfit = |_| NoProof::Refused(KeyFault::Unfit);
        let mut identity = claims::identity(answer, &reader, credential).map_err(unfit)?;
        let key_id = claims::one(answer, self.key_id.as_slice()).map_err(unfit)?;
        identity.key_id = key_id.map(|id| id.as_str().into());
        Ok(KnownKey {
            identity: Arc::new(identity),
            expires,
        })
    }

    fn ends(proof: &KnownKey) -> Option<i64> {
        proof.expires
    }

    fn members(&self) -> Vec<&ClaimPath> {
        let own = [&self.valid, &self.key_id, &self.expires].into_iter().flatten();
        own.chain(self.fields.all())
            .chain(self.headers.claims.iter().map(|(_, path)| path))
            .collect()
    }
}

/// How answers about an issuer's tokens are read.
#[derive(Debug, Clone, PartialEq)]
pub struct RemoteTokenRules {
    /// The issuer's.
    pub issuer: Arc<TokenRules>,
    /// RFC 7662: the answer says `active`, and a refusal is of us.
    pub introspection: bool,
    /// Everything that is looked at.
    pub members: Vec<ClaimPath>,
}

impl RemoteTokenRules {
    /// Of an issuer whose tokens are judged elsewhere.
    #[must_use]
    pub fn new(issuer: Arc<TokenRules>, introspection: bool) -> Self {
        let registered = ["active", "valid", "iss", "aud", "exp", "nbf", "iat", "jti"].map(ClaimPath::new);
        let mut members = registered.to_vec();
        members.extend(issuer.claims.all().cloned());
        members.extend(issuer.required_claims.iter().map(|(path, _)| path.clone()));
        members.extend(issuer.headers.claims.iter().map(|(_, path)| path.clone()));
        members.extend(issuer.kept_claims.iter().cloned());
        Self {
            issuer,
            introspection,
            members,
        }
    }
}

impl Rules for RemoteTokenRules {
    type Proof = VerifiedToken;
    type Fault = TokenFault;

    const REFUSED: TokenFault = TokenFault::NotActive;
    const UNAVAILABLE: TokenFault = TokenFault::ValidatorUnavailable;

    fn status_refuses(&self) -> bool {
        // RFC 7662 §2.3: a 401 says that the one who asks has no right to.
        !self.introspection
    }

    fn read(&self, answer: &Members, credential: u128, now_s: i64) -> Result<VerifiedToken, NoProof<TokenFault>> {
        if self.introspection && !answer.contains_key("active") {
            // RFC 7662 §2.2 requires it.
            return Err(NoProof::Nonsense("the answer does not say whether the token is active"));
        }
        for name in ["active", "valid"] {
            holds(answer, Some(&ClaimPath::new(name)), TokenFault::NotActive)?;
        }
        let rules = &self.issuer;
        has_user(answer, &rules.claims)?;
        let told = answer.get("iss").filter(|issuer| !issuer.is_null());
        if rules.issuer.is_some() && told.is_some_and(|told| told.as_str() != rules.issuer.as_deref()) {
            return Err(NoProof::Refused(TokenFault::UnknownIssuer));
        }
        // Without `exp` it holds for as long as the auth service says so.
        let exp = time(answer, "exp", TokenFault::BadExpiry).map_err(NoProof::Refused)?;
        if exp.is_some_and(|exp| now_s >= exp) {
            return Err(NoProof::Refused(TokenFault::Expired));
        }
        judge_claims(answer, rules, credential, exp.unwrap_or(i64::MAX)).map_err(NoProof::Refused)
    }

    fn ends(proof: &VerifiedToken) -> Option<i64> {
        Some(proof.exp).filter(|exp| *exp < i64::MAX)
    }

    fn members(&self) -> Vec<&ClaimPath> {
        self.members.iter().collect()
    }
}

/// An answer may say yes or no, or leave it at its status.
fn holds<F>(answer: &Members, path: Option<&ClaimPath>, refused: F) -> Result<(), NoProof<F>> {
    match path.and_then(|path| path.find(answer)) {
        None | Some(Value::Bool(true)) => Ok(()),
        Some(Value::Bool(false)) => Err(NoProof::Refused(refused)),
        Some(Value::Null | Value::Number(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) => Err(
            NoProof::Nonsense("whether the credential holds is neither true nor false"),
        ),
    }
}

/// Somebody who holds a credential and is nobody is an auth service's mistake, not the caller's.
fn has_user<F>(answer: &Members, paths: &IdentityClaims) -> Result<(), NoProof<F>> {
    let said = |path: &ClaimPath| match path.find(answer) {
        None | Some(Value::Null) => false,
        Some(Value::String(name)) => !name.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => true,
    };
    if paths.user.iter().any(said) {
        Ok(())
    } else {
        Err(NoProof::Nonsense("the answer names no user"))
    }
}

/// Seconds since the Unix epoch, or ISO 8601; without an offset it is taken as UTC, which is what most frameworks write.
fn moment(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => {
            let seconds = number.as_i64().or_else(|| Some(number.as_f64()? as i64))?;
            (0..=1 << 53).contains(&seconds).then_some(seconds)
        }
        Value::String(text) => {
            let exact = text.parse::<jiff::Timestamp>().ok();
            let utc = || {
                let civil: jiff::civil::DateTime = text.parse().ok()?;
                Some(civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
            };
            exact.or_else(utc).map(jiff::Timestamp::as_second)
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
