//! The compact serialisation of a JWS (RFC 7515 §7.1), taken apart strictly. Depends on `policy::token`.
//!
//! Nothing here is proven: an [`Unverified`] says only what a token claims, enough to choose the issuer and the key.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::twin::twin;
use crate::policy::authn::unique_json;
use crate::policy::digest::SecretDigest;
use crate::policy::token::{Algorithm, TokenFault};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Header members that change what the signature covers or how the rest is read. We understand none of them, and a
/// member that is not understood must not be passed over (RFC 7515 §4.1.11, RFC 7797 §6, RFC 8725 §3.10).
const UNSUPPORTED: [&str; 4] = ["crit", "b64", "zip", "enc"];

/// Kinds of token that stand for a caller, as `typ` names them less `application/`: the plain one (RFC 7519 §5.1) and
/// the access token (RFC 9068 §2.1). Explicit typing keeps the other kinds of an issuer out (RFC 8725 §3.11): a
/// `logout+jwt`, `dpop+jwt` or `secevent+jwt` is signed by the same keys and means something else.
const ACCEPTED_TYPES: [&str; 2] = ["jwt", "at+jwt"];

/// Reads a token without believing it.
///
/// `jwk`, `jku`, `x5u` and `x5c` in the header are never a source of keys: the issuer's set is the only one
/// (RFC 8725 §3.10).
///
/// # Errors
/// [`TokenFault::Malformed`], [`TokenFault::UnsupportedHeader`] for what is not judged here, and
/// [`TokenFault::AlgorithmNotAllowed`] for an `alg` that is none of ours.
pub fn parse(token: &str) -> Result<Unverified<'_>, TokenFault> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(TokenFault::Malformed);
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(TokenFault::Malformed);
    };
    match parts.count() {
        0 => {}
        2 => return Err(TokenFault::UnsupportedHeader), // a JWE (RFC 7516 §7.1)
        _ => return Err(TokenFault::Malformed),
    }
    let signed = header.len() + 1 + claims.len();
    let header = object(header)?;
    let (algorithm, kid) = judge_header(&header)?;
    let claims = object(claims)?;
    if claims.get("iss").is_some_and(|issuer| !issuer.is_string()) {
        return Err(TokenFault::Malformed);
    }
    Ok(Unverified {
        algorithm,
        kid: kid.map(Box::from),
        claims,
        signing_input: token.get(..signed).ok_or(TokenFault::Malformed)?,
        signature: decoded(signature)?,
    })
}

/// What a token looks like to a gateway that may have to send it to an auth service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It claims to be of this issuer, or of none in particular.
    Jwt(Option<String>),
    /// Its kind is known to its issuer only.
    Opaque,
}

/// Reads no more of a token than which issuer it leads to: whether the rest can be read here is not our business where somebody
/// else judges it.
#[must_use]
pub fn claimed_by(token: &str) -> Claimed {
    let mut parts = token.split('.');
    let claims = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(header), Some(claims), Some(_), None) if object(header).is_ok() => object(claims),
        _ => return Claimed::Opaque,
    };
    match claims {
        Ok(claims) => Claimed::Jwt(claims.get("iss").and_then(Value::as_str).map(str::to_owned)),
        Err(_) => Claimed::Opaque,
    }
}

/// The `iss` and `sub` that a token claims, believed by nobody; `None` without a `sub` that can be read. Nothing else of it is
/// looked at, for it only chooses who judges the token.
#[must_use]
pub fn claimed_caller(token: &str) -> Option<(Option<String>, String)> {
    #[derive(serde::Deserialize)]
    struct Claims {
        iss: Option<String>,
        sub: Value,
    }
    if token.len() > MAX_TOKEN_BYTES {
        return None;
    }
    let claims = decoded(token.split('.').nth(1)?).ok()?;
    let Claims { iss, sub } = serde_json::from_slice(&claims).ok()?;
    match sub {
        Value::String(sub) if !sub.is_empty() => Some((iss, sub)),
        Value::Number(sub) => Some((iss, sub.to_string())),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn judge_header(header: &Map<String, Value>) -> Result<(Algorithm, Option<&str>), TokenFault> {
    if UNSUPPORTED.iter().any(|name| header.contains_key(*name)) {
        return Err(TokenFault::UnsupportedHeader);
    }
    if let Some(kind) = text(header, "typ")? {
        let accepted = ACCEPTED_TYPES.contains(&media_type(kind).as_str());
        accepted.then_some(()).ok_or(TokenFault::UnsupportedHeader)?;
    }
    // A token within the token (RFC 7519 §5.2): which of the two would be believed?
    if text(header, "cty")?.is_some_and(|content| media_type(content) == "jwt") {
        return Err(TokenFault::UnsupportedHeader);
    }
    let algorithm = text(header, "alg")?.ok_or(TokenFault::Malformed)?;
    let algorithm = Algorithm::from_name(algorithm).ok_or(TokenFault::AlgorithmNotAllowed)?;
    Ok((algorithm, text(header, "kid")?))
}

/// Media types are compared without case, and `application/` may be left out (RFC 7515 §4.1.9).
fn media_type(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    name.strip_prefix("application/").map(str::to_owned).unwrap_or(name)
}

fn text<'h>(header: &'h Map<String, Value>, name: &str) -> Result<Option<&'h str>, TokenFault> {
    match header.get(name) {
        None => Ok(None),
        Some(value) => value.as_str().map(Some).ok_or(TokenFault::Malformed),
    }
}

fn object(part: &str) -> Result<Map<String, Value>, TokenFault> {
    unique_json::object(&decoded(part)?).ok_or(TokenFault::Malformed)
}

/// base64url as RFC 7515 §2 has it: no padding, no line breaks, and no second spelling of the same bytes.
fn decoded(part: &str) -> Result<Vec<u8>, TokenFault> {
    BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenFault::Malformed)
}

/// What a token claims; nothing of it is proven.
pub struct Unverified<'t> {
    algorithm: Algorithm,
    kid: Option<Box<str>>,
    claims: Map<String, Value>,
    signing_input: &'t str,
    signature: Vec<u8>,
}

impl Unverified<'_> {
    /// The issuer that it says it is from.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.claims.get("iss").and_then(Value::as_str)
    }

    /// The key that it says it was signed with.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The algorithm that it says it was signed by.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// All that it claims.
    #[must_use]
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// By what those know it who have seen its text: its digest, and that of the other text that is as good.
    pub(super) fn digests(&self) -> (u128, Option<u128>) {
        // What was decoded has no other spelling: this is the text again.
        let of = |signature: &[u8]| {
            let text = format!("{}.{}", self.signing_input, BASE64_URL_SAFE_NO_PAD.encode(signature));
            SecretDigest::of(text.as_bytes()).half()
        };
        let twin = twin(self.algorithm, &self.signature);
        (of(&self.signature), twin.map(|twin| of(&twin)))
    }

    /// The bytes under the signature (RFC 7515 §5.1).
    pub(super) fn signing_input(&self) -> &[u8] {
        self.signing_input.as_bytes()
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

impl fmt::Debug for Unverified<'_> {
    /// Without the claims and the signature: together they are the credential.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = self.algorithm;
        f.debug_struct("Unverified")
            .field("algorithm", &algorithm)
            .finish_non_exhaustive()
    }
}
