//! Secrets, hashes, algorithms, where credentials are found, claims and auth modes.
//!
//! Imports `document` and `model`.

use super::{Wrong, header_name, parsed, split, str_of};
use crate::config::document::Value;
use crate::config::model::{
    Algorithm, AuthMethod, AuthMode, ClaimRule, KeySource, LimitBy, RemoteKeyIn, Scalar, TokenSource,
};
use crate::config::secret::Secret;

/// Placeholders that examples and tutorials ship: everybody knows them.
const KNOWN: [&str; 12] = [
    "changeme",
    "change-me",
    "change-this",
    "change-in-production",
    "default-secret",
    "dev-secret",
    "insecure",
    "my-secret",
    "not-so-secret",
    "replace-me",
    "super-secret",
    "your-secret",
];

/// SHA-256 of nothing: the hash of a key that every empty credential would be.
const HASH_OF_NOTHING: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A secret of so many bytes at least, and none that everybody knows.
pub(in crate::config) fn secret(shortest: usize) -> impl Fn(&Value) -> Result<Secret, Wrong> {
    move |value| {
        let text = str_of(value).unwrap_or_default();
        let folded = text.to_ascii_lowercase().replace('_', "-");
        let is_known = KNOWN.iter().any(|known| folded.contains(known))
            || matches!(folded.as_str(), "secret" | "password" | "internal" | "test");
        if is_known {
            return Err(Wrong::expected(
                "a secret of your own, not a placeholder that everybody knows; make one with `openssl rand -hex 32`",
            )
            .hidden());
        }
        if text.len() < shortest.max(1) {
            return Err(Wrong::expected(format!("a secret of at least {shortest} bytes")).hidden());
        }
        Ok(Secret::new(text.to_owned()))
    }
}

/// `sha256:` and 64 hex digits. Never shown: it may be the key itself.
pub(in crate::config) fn hash(value: &Value) -> Result<[u8; 32], Wrong> {
    let wrong = || {
        Wrong::expected("\"sha256:\" and the 64 hex digits of SHA-256 over the key, as `gateway key hash` prints it")
            .hidden()
    };
    let hex = str_of(value)
        .and_then(|text| text.strip_prefix("sha256:"))
        .ok_or_else(wrong)?;
    if hex.eq_ignore_ascii_case(HASH_OF_NOTHING) {
        return Err(Wrong::expected("the hash of a key; this is the hash of nothing").hidden());
    }
    let mut digits = hex.chars().map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()));
    let mut hash = [0; 32];
    for byte in &mut hash {
        match (digits.next(), digits.next()) {
            (Some(Some(high)), Some(Some(low))) => *byte = high << 4 | low,
            _ => return Err(wrong()),
        }
    }
    if digits.next().is_some() {
        Err(wrong())
    } else {
        Ok(hash)
    }
}

/// A signature algorithm by its name in RFC 7518 §3.1 or RFC 8037 §3.1.
pub(in crate::config) fn algorithm(value: &Value) -> Result<Algorithm, Wrong> {
    super::one_of(&[
        ("RS256", Algorithm::RS256),
        ("RS384", Algorithm::RS384),
        ("RS512", Algorithm::RS512),
        ("PS256", Algorithm::PS256),
        ("PS384", Algorithm::PS384),
        ("PS512", Algorithm::PS512),
        ("ES256", Algorithm::ES256),
        ("ES384", Algorithm::ES384),
        ("ES512", Algorithm::ES512),
        ("EdDSA", Algorithm::EdDSA),
        ("HS256", Algorithm::HS256),
        ("HS384", Algorithm::HS384),
        ("HS512", Algorithm::HS512),
    ])(value)
}

/// Where a token is found.
pub(in crate::config) fn token_source(value: &Value) -> Result<TokenSource, Wrong> {
    const EXPECTED: &str = "\"header\", \"header:NAME\", \"query:NAME\", \"cookie:NAME\" or \"websocket_protocol\"";
    parsed(value, EXPECTED, |text| match text.split_once(':') {
        None if text == "header" => Some(TokenSource::Authorization),
        None if text == "websocket_protocol" => Some(TokenSource::WebSocketProtocol),
        Some(("header", name)) => header(name).map(TokenSource::Header),
        // A cookie's name is a token too (RFC 6265 §4.1.1); a parameter's is kept as plain.
        Some(("query", name)) => header(name).map(TokenSource::Query),
        Some(("cookie", name)) => header(name).map(TokenSource::Cookie),
        _ => None,
    })
}

/// Where an API key is found.
pub(in crate::config) fn key_source(value: &Value) -> Result<KeySource, Wrong> {
    const EXPECTED: &str = "\"header:NAME\", \"bearer\" or \"basic\"";
    parsed(value, EXPECTED, |text| match text.split_once(':') {
        None if text == "bearer" => Some(KeySource::Bearer),
        None if text == "basic" => Some(KeySource::Basic),
        Some(("header", name)) => header(name).map(KeySource::Header),
        _ => None,
    })
}

/// How an API key is sent to its validator.
pub(in crate::config) fn remote_key_in(value: &Value) -> Result<RemoteKeyIn, Wrong> {
    const EXPECTED: &str = "\"body:FIELD\", \"bearer\" or \"header:NAME\"";
    parsed(value, EXPECTED, |text| match text.split_once(':') {
        None if text == "bearer" => Some(RemoteKeyIn::Bearer),
        Some(("body", field)) if !field.is_empty() => Some(RemoteKeyIn::Body(field.to_owned())),
        Some(("header", name)) => header(name).map(RemoteKeyIn::Header),
        _ => None,
    })
}

/// Whose requests are counted together.
pub(in crate::config) fn limit_by(value: &Value) -> Result<LimitBy, Wrong> {
    const EXPECTED: &str = "\"user\", \"ip\", \"credential\", \"tenant\", \"route\", \"global\" or \"header:NAME\"";
    parsed(value, EXPECTED, |text| match text.split_once(':') {
        None => match text {
            "user" => Some(LimitBy::User),
            "ip" => Some(LimitBy::Ip),
            "credential" => Some(LimitBy::Credential),
            "tenant" => Some(LimitBy::Tenant),
            "route" => Some(LimitBy::Route),
            "global" => Some(LimitBy::Global),
            _ => None,
        },
        Some(("header", name)) => header(name).map(LimitBy::Header),
        Some(_) => None,
    })
}

/// A string, a number or a boolean.
pub(in crate::config) fn scalar(value: &Value) -> Result<Scalar, Wrong> {
    match value {
        Value::Text(text) | Value::Outside(text) => Ok(Scalar::String(text.clone())),
        Value::Integer(integer) => Ok(Scalar::Integer(*integer)),
        Value::Float(float) => Ok(Scalar::Float(*float)),
        Value::Boolean(boolean) => Ok(Scalar::Bool(*boolean)),
        Value::Datetime(_) | Value::List(_) | Value::Table(_) => {
            Err(Wrong::expected("a string, a number or a boolean"))
        }
    }
}

/// What a claim must be: a value, one of a list, or `true` for any.
pub(in crate::config) fn claim_rule(value: &Value) -> Result<ClaimRule, Wrong> {
    let wrong = || Wrong::expected("a value, a list of values, or true for any value");
    match value {
        Value::Boolean(true) => Ok(ClaimRule::Present),
        Value::List(entries) if !entries.is_empty() => {
            let values: Result<Vec<Scalar>, Wrong> = entries.iter().map(|entry| scalar(&entry.value)).collect();
            values.map(ClaimRule::OneOf).map_err(|_| wrong())
        }
        single => scalar(single)
            .map(|value| ClaimRule::OneOf(vec![value]))
            .map_err(|_| wrong()),
    }
}

/// Claims by their paths: one, several, or `""` for none.
pub(in crate::config) fn claim_names(value: &Value) -> Result<Vec<String>, Wrong> {
    words(value).ok_or_else(|| Wrong::expected("a claim's path such as \"realm_access.roles\", or a list of them"))
}

/// An auth mode: a word, or a chain of methods that are tried in order.
pub(in crate::config) fn mode(value: &Value) -> Result<AuthMode, Wrong> {
    const EXPECTED: &str = "\"none\", \"internal\", \"api_key\", \"jwt\", \"hybrid\", or a list of distinct methods \
                            out of \"jwt\", \"api_key\", \"internal\" and, in the last place, \"none\"";
    if str_of(value) == Some("hybrid") {
        let chain = vec![AuthMethod::Jwt, AuthMethod::ApiKey, AuthMethod::Internal];
        return Ok(AuthMode { chain });
    }
    let chain: Option<Vec<AuthMethod>> = words(value).and_then(|words| {
        let methods = words.iter().map(|word| match word.as_str() {
            "none" => Some(AuthMethod::None),
            "internal" => Some(AuthMethod::Internal),
            "api_key" => Some(AuthMethod::ApiKey),
            "jwt" => Some(AuthMethod::Jwt),
            _ => None,
        });
        methods.collect()
    });
    let distinct = |chain: &[AuthMethod]| {
        let mut rest = chain;
        while let Some((last, before)) = rest.split_last() {
            if before.contains(last) || before.contains(&AuthMethod::None) {
                return false;
            }
            rest = before;
        }
        !chain.is_empty()
    };
    let chain = chain.filter(|chain| distinct(chain));
    chain
        .map(|chain| AuthMode { chain })
        .ok_or_else(|| Wrong::expected(EXPECTED))
}

/// One word, several, or (for `""`) none.
fn words(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Text(text) if text.is_empty() => Some(Vec::new()),
        Value::Text(text) => Some(vec![text.clone()]),
        Value::Outside(text) => Some(split(text).map(str::to_owned).collect()),
        Value::List(entries) => entries
            .iter()
            .map(|entry| str_of(&entry.value).filter(|text| !text.is_empty()).map(str::to_owned))
            .collect(),
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) | Value::Table(_) => None,
    }
}

fn header(name: &str) -> Option<String> {
    header_name(&Value::Text(name.to_owned())).ok()
}
