//! Whether a token holds under an issuer's rules: its signature, then its claims (RFC 7519 §7.2, RFC 8725).
//! Depends on `policy::token` and on the sibling that reads claims.

use serde_json::{Map, Value};

use super::jws::Unverified;
use super::key_set::KeySet;
use crate::policy::authn::claims::{self, Reader};
use crate::policy::digest::key_of;
use crate::policy::identity::AuthMethod;
use crate::policy::token::{TokenFault, TokenRules, VerifiedToken};

/// The latest time that is taken, in seconds: beyond 2^53 not every reader of JSON sees the same number (RFC 8259 §6).
const MAX_TIME_S: i64 = 1 << 53;

/// Most audiences of a token.
const MAX_AUDIENCES: usize = 256;

/// Judges `token` by `rules` with `keys`, all but its time.
///
/// The cheap and decisive comes first: an algorithm that is not allowed reaches no key, a token that no key signed has
/// none of its claims read.
///
/// # Errors
/// The first [`TokenFault`]. After [`TokenFault::UnknownKey`] newer keys may help.
pub fn verify(token: &Unverified<'_>, rules: &TokenRules, keys: &KeySet) -> Result<VerifiedToken, TokenFault> {
    if !rules.algorithms.contains(&token.algorithm()) {
        return Err(TokenFault::AlgorithmNotAllowed);
    }
    keys.check(token.algorithm(), token.kid(), token.signing_input(), token.signature())?;

    if token.issuer() != rules.issuer.as_deref() {
        return Err(TokenFault::UnknownIssuer);
    }
    let exp = time(token.claims(), "exp", TokenFault::BadExpiry)?.ok_or(TokenFault::BadExpiry)?;
    let (own, twin) = token.digests();
    // Whichever of the two texts comes, it is one credential.
    let credential = twin.map_or(own, |twin| twin.min(own));
    let verified = judge_claims(token.claims(), rules, credential, exp)?;
    Ok(VerifiedToken {
        twin: twin.map(|twin| twin.max(own)),
        ..verified
    })
}

/// Judges claims that somebody trusted has vouched for, by signature or by word. They end at `exp`, in Unix seconds; `credential` is
/// the digest that the identity carries.
pub(in crate::policy::authn) fn judge_claims(
    claims: &Map<String, Value>,
    rules: &TokenRules,
    credential: u128,
    exp: i64,
) -> Result<VerifiedToken, TokenFault> {
    let audiences = audiences(claims)?;
    if !rules.audiences.is_empty()
        && !rules
            .audiences
            .iter()
            .any(|own| audiences.iter().any(|aud| **aud == **own))
    {
        return Err(TokenFault::WrongAudience);
    }
    let nbf = time(claims, "nbf", TokenFault::BadTime)?;
    let iat = time(claims, "iat", TokenFault::BadTime)?;
    if rules.max_lifetime_s > 0 && exp.saturating_sub(iat.ok_or(TokenFault::BadTime)?) > rules.max_lifetime_s {
        return Err(TokenFault::LivesTooLong);
    }
    if !rules
        .required_claims
        .iter()
        .all(|(path, rule)| rule.holds(path.find(claims)))
    {
        return Err(TokenFault::ClaimMismatch);
    }
    let jti = match claims.get("jti") {
        None => None,
        Some(Value::String(id)) => Some(key_of(id.as_bytes())),
        Some(_) => return Err(TokenFault::BadClaim),
    };
    Ok(VerifiedToken {
        identity: claims::identity(claims, &reader(rules), credential)?.into(),
        exp,
        nbf,
        iat,
        jti,
        twin: None,
        audiences,
        kept_claims: rules
            .kept_claims
            .iter()
            .filter_map(|path| Some((path.clone(), path.find(claims)?.clone())))
            .collect(),
        leeway_s: rules.leeway_s,
    })
}

fn reader(rules: &TokenRules) -> Reader<'_> {
    Reader {
        method: AuthMethod::Jwt,
        paths: &rules.claims,
        user_prefix: &rules.user_prefix,
        reserved_user: rules.reserved_user.as_deref(),
        roles: &rules.roles,
        headers: &rules.headers,
        issuer: Some(&rules.name),
    }
}

/// RFC 7519 §4.1.3: one string or a list of them.
fn audiences(claims: &Map<String, Value>) -> Result<Vec<Box<str>>, TokenFault> {
    let items = match claims.get("aud") {
        None => return Ok(Vec::new()),
        Some(Value::String(one)) => return Ok(vec![one.as_str().into()]),
        Some(Value::Array(items)) if items.len() <= MAX_AUDIENCES => items,
        Some(_) => return Err(TokenFault::BadClaim),
    };
    items
        .iter()
        .map(|item| item.as_str().map(Box::from).ok_or(TokenFault::BadClaim))
        .collect()
}

/// A NumericDate (RFC 7519 §2), whole seconds. Present but anything else is refused, never taken for absent.
pub(in crate::policy::authn) fn time(
    claims: &Map<String, Value>,
    name: &str,
    fault: TokenFault,
) -> Result<Option<i64>, TokenFault> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let whole = value.as_i64().or_else(|| {
        let seconds = value.as_f64()?;
        (0.0..=MAX_TIME_S as f64).contains(&seconds).then_some(seconds as i64)
    });
    whole
        .filter(|seconds| (0..=MAX_TIME_S).contains(seconds))
        .map(Some)
        .ok_or(fault)
}
