//! Which credential a request presents: the first method of the chain whose credential is there decides.
//!
//! Presence is decided by place and shape only, never by validity: an empty or garbled credential is presented and will fail, so
//! that nothing falls through to the next method (hardening r25).

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};

use super::denial::Denial;
use super::facts::Facts;
use super::identity::AuthMethod;

mod token_source;

pub use token_source::{
    Places, Taker, TokenPlace, TokenSource, WEBSOCKET_PROTOCOL, hide_websocket_tokens, websocket_bearer,
};

/// Where API keys may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeySources {
    /// Headers that hold nothing else.
    pub headers: Vec<HeaderName>,
    /// `Authorization: Bearer`, for values that begin with a prefix.
    pub bearer: bool,
    /// The password of `Authorization: Basic`, likewise.
    pub basic: bool,
    /// What keys begin with.
    pub prefixes: Vec<String>,
}

impl KeySources {
    /// Whether `value` looks like one of our keys: only such are taken from `Authorization`.
    fn claims(&self, value: &str) -> bool {
        self.prefixes.iter().any(|prefix| value.starts_with(prefix.as_str()))
    }
}

/// Where each method's credential is found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialPlaces {
    /// API keys.
    pub api_keys: KeySources,
    /// The internal header.
    pub internal: Option<HeaderName>,
    /// Headers of which a request has one at most, on any route.
    pub single: Vec<HeaderName>,
    /// Parameters of queries that hold tokens on some route.
    pub parameters: Vec<Box<str>>,
}

/// What was presented, and the step of the chain that takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented<'r> {
    /// The method that will decide.
    pub method: AuthMethod,
    /// Its credential.
    pub credential: Credential<'r>,
    /// Where it stands, of a token.
    pub places: Places,
}

/// What a request holds of credentials that belong to one caller alone, wherever a mode would look; nothing of it is judged.
#[derive(Clone)]
pub struct Claimant<'r> {
    /// A token.
    pub token: Option<&'r str>,
    /// An API key.
    pub api_key: Option<Cow<'r, [u8]>>,
}

/// The credential itself, unjudged.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential<'r> {
    /// A token.
    Token(&'r str),
    /// An API key.
    ApiKey(Cow<'r, [u8]>),
    /// An internal secret.
    Internal(&'r [u8]),
    /// None is needed: the chain ends in `none`.
    Anonymous,
    /// None that the chain takes.
    Absent,
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token(…)",
            Self::ApiKey(_) => "ApiKey(…)",
            Self::Internal(_) => "Internal(…)",
            Self::Anonymous => "Anonymous",
            Self::Absent => "Absent",
        })
    }
}

impl CredentialPlaces {
    /// RFC 9110 §5.3 lets no credential header be a list: two of one are an attack or a mistake (hardening r05).
    ///
    /// # Errors
    /// 400.
    pub fn refuse_duplicates(&self, headers: &HeaderMap) -> Result<(), Denial> {
        // No name at all is there twice: nothing to look up.
        if headers.len() == headers.keys_len() {
            return Ok(());
        }
        let twice = |name: &HeaderName| headers.get_all(name).iter().nth(1).is_some();
        if self.single.iter().any(twice) {
            return Err(Denial::malformed("credential_header_twice"));
        }
        Ok(())
    }

    /// The credential of the first method of `chain` that presents one.
    ///
    /// # Errors
    /// 400 when one method's credential is in two places with two values (hardening r06).
    pub fn presented<'r>(
        &self,
        chain: &[AuthMethod],
        token_places: &[TokenPlace],
        facts: &Facts<'r>,
    ) -> Result<Presented<'r>, Denial> {
        let headers = facts.headers;
        let mut places = Places::default();
        for method in chain {
            let credential = match method {
                AuthMethod::Jwt => {
                    let keys = chain.contains(&AuthMethod::ApiKey).then_some(&self.api_keys);
                    let found = token(token_places, keys, facts)?;
                    found.map(|(token, held)| {
                        places = held;
                        Credential::Token(token)
                    })
                }
                AuthMethod::ApiKey => api_key(&self.api_keys, headers)?.map(Credential::ApiKey),
                AuthMethod::Internal => self
                    .internal
                    .as_ref()
                    .and_then(|name| headers.get(name))
                    .map(|value| Credential::Internal(value.as_bytes())),
                AuthMethod::None => Some(Credential::Anonymous),
            };
            if let Some(credential) = credential {
                return Ok(Presented {
                    method: *method,
                    credential,
                    places,
                });
            }
        }
        Ok(Presented {
            method: AuthMethod::None,
            credential: Credential::Absent,
            places,
        })
    }
}

impl CredentialPlaces {
    /// Whom a request comes from by its own account, whatever the mode. What is ambiguous says nothing.
    #[must_use]
    pub fn claimant<'r>(&self, token_places: &[TokenPlace], facts: &Facts<'r>) -> Claimant<'r> {
        let token = token(token_places, Some(&self.api_keys), facts).ok().flatten();
        Claimant {
            token: token.map(|(token, _)| token),
            api_key: api_key(&self.api_keys, facts.headers).ok().flatten(),
        }
    }
}

/// The token, and the places that hold it. A cookie that does not count must agree all the same: somebody behind may read it.
fn token<'r>(
    places: &[TokenPlace],
    keys: Option<&KeySources>,
    facts: &Facts<'r>,
) -> Result<Option<(&'r str, Places)>, Denial> {
    let mut seen = None;
    let mut held = Places::default();
    for (index, place) in places.iter().enumerate() {
        // A key sent as Bearer (MLflow, OpenAI SDK) is the key's, where the chain takes keys.
        let is_key = |value: &str| {
            place.source == TokenSource::Authorization && keys.is_some_and(|keys| keys.bearer && keys.claims(value))
        };
        place.source.each(facts, |value| {
            if is_key(value) {
                return Ok(());
            }
            if place.takes(facts) {
                held.add(index);
            }
            agree(&mut seen, Some(value))
        })?;
    }
    Ok(seen.filter(|_| held != Places::default()).map(|token| (token, held)))
}

fn api_key<'r>(sources: &KeySources, headers: &'r HeaderMap) -> Result<Option<Cow<'r, [u8]>>, Denial> {
    let mut found = None;
    for name in &sources.headers {
        agree(
            &mut found,
            headers.get(name).map(|value| Cow::Borrowed(value.as_bytes())),
        )?;
    }
    if sources.bearer {
        let value = bearer(headers).filter(|value| sources.claims(value));
        agree(&mut found, value.map(|value| Cow::Borrowed(value.as_bytes())))?;
    }
    if sources.basic {
        let value = basic_password(headers).filter(|value| sources.claims(value));
        agree(&mut found, value.map(|value| Cow::Owned(value.into_bytes())))?;
    }
    Ok(found)
}

fn agree<T: PartialEq>(found: &mut Option<T>, value: Option<T>) -> Result<(), Denial> {
    match (&*found, value) {
        (_, None) => Ok(()),
        (None, value) => {
            *found = value;
            Ok(())
        }
        (Some(first), Some(second)) if *first == second => Ok(()),
        (Some(_), Some(_)) => Err(Denial::malformed("credentials_differ")),
    }
}

/// The value of `Authorization: Bearer`, any case (RFC 9110 §11.1); empty when nothing follows the scheme.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    scheme(headers, "bearer").map(text)
}

/// The password of `Authorization: Basic` (RFC 7617 §2).
fn basic_password(headers: &HeaderMap) -> Option<String> {
    let encoded = scheme(headers, "basic")?;
    let decoded = STANDARD.decode(encoded).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(_, password)| password.to_owned())
}

fn scheme<'r>(headers: &'r HeaderMap, wanted: &str) -> Option<&'r [u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (name, rest) = value.split_at_checked(wanted.len())?;
    if !name.eq_ignore_ascii_case(wanted.as_bytes()) {
        return None;
    }
    match rest.first() {
        None => Some(rest),
        Some(b' ' | b'\t') => Some(rest.trim_ascii()),
        Some(_) => None,
    }
}

fn text(value: &[u8]) -> &str {
    std::str::from_utf8(value).unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{Method, Uri};

    use super::*;
    use crate::policy::address::Origin;
    use crate::policy::facts::Now;
    use AuthMethod::{ApiKey, Internal, Jwt, None as Anon};

    fn places() -> CredentialPlaces {
        let key = HeaderName::from_static("x-api-key");
        let internal = HeaderName::from_static("x-internal-auth");
        CredentialPlaces {
            api_keys: KeySources {
                headers: vec![key.clone()],
                bearer: true,
                basic: true,
                prefixes: vec!["hok_".to_owned()],
            },
            single: vec![AUTHORIZATION, key, internal.clone()],
            internal: Some(internal),
            parameters: Vec::new(),
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    fn presented(
        chain: &[AuthMethod],
        sources: &[TokenSource],
        headers: &HeaderMap,
    ) -> Result<(AuthMethod, String), Denial> {
        let token_places: Vec<TokenPlace> = sources.iter().cloned().map(TokenPlace::of).collect();
        let peer = [192, 0, 2, 1].into();
        let origin = Origin {
            peer,
            peer_trusted: false,
            client: peer,
        };
        let now = Now {
            unix_s: 0,
            monotonic_ns: 0,
        };
        let target = Uri::from_static("/");
        let facts = Facts::read(&Method::GET, &target, headers, origin, 0, now)?;
        let presented = places().presented(chain, &token_places, &facts)?;
        let credential = match presented.credential {
            Credential::Token(token) => format!("token {token}"),
            Credential::ApiKey(key) => format!("key {}", String::from_utf8_lossy(&key)),
            Credential::Internal(secret) => format!("secret {}", String::from_utf8_lossy(secret)),
            Credential::Anonymous => "anonymous".to_owned(),
            Credential::Absent => "absent".to_owned(),
        };
        Ok((presented.method, credential))
    }

    fn judge(chain: &[AuthMethod], pairs: &[(&'static str, &str)]) -> (AuthMethod, String) {
        presented(chain, &[TokenSource::Authorization], &headers(pairs)).unwrap()
    }

    const HYBRID: &[AuthMethod] = &[Jwt, ApiKey, Internal];

    #[test]
    fn the_first_method_whose_credential_is_present_decides() {
        let all = [
            ("authorization", "Bearer t"),
            ("x-api-key", "k"),
            ("x-internal-auth", "s"),
        ];
        assert_eq!(judge(HYBRID, &all), (Jwt, "token t".to_owned()));
        assert_eq!(judge(HYBRID, &all[1..]), (ApiKey, "key k".to_owned()));
        assert_eq!(judge(HYBRID, &all[2..]), (Internal, "secret s".to_owned()));
        assert_eq!(judge(HYBRID, &[]), (Anon, "absent".to_owned()));
        assert_eq!(judge(&[Internal, Jwt], &all), (Internal, "secret s".to_owned()));
        assert_eq!(judge(&[Jwt, Anon], &all[1..]), (Anon, "anonymous".to_owned()));
    }

    #[test]
    fn r25_an_empty_credential_is_presented() {
        for value in ["Bearer", "Bearer ", "bearer   "] {
            assert_eq!(
                judge(HYBRID, &[("authorization", value), ("x-api-key", "k")]),
                (Jwt, "token ".to_owned())
            );
        }
        assert_eq!(
            judge(&[ApiKey, Anon], &[("x-api-key", "")]),
            (ApiKey, "key ".to_owned())
        );
        assert_eq!(
            judge(&[Internal, Anon], &[("x-internal-auth", "")]),
            (Internal, "secret ".to_owned())
        );
    }

    #[test]
    fn another_scheme_is_no_token() {
        for value in ["Basic dTpw", "Bearerx t", "Digest x", "", "Token t", "Bear er"] {
            assert_eq!(
                judge(&[Jwt], &[("authorization", value)]),
                (Anon, "absent".to_owned()),
                "{value}"
            );
        }
        assert_eq!(
            judge(&[Jwt], &[("authorization", "BEARER t")]),
            (Jwt, "token t".to_owned())
        );
    }

    #[test]
    fn a_key_sent_as_bearer_or_basic_is_told_by_its_prefix() {
        assert_eq!(
            judge(HYBRID, &[("authorization", "Bearer hok_1")]),
            (ApiKey, "key hok_1".to_owned())
        );
        // base64("user:hok_1")
        assert_eq!(
            judge(HYBRID, &[("authorization", "Basic dXNlcjpob2tfMQ==")]),
            (ApiKey, "key hok_1".to_owned())
        );
        assert_eq!(
            judge(&[Jwt], &[("authorization", "Bearer hok_1")]),
            (Jwt, "token hok_1".to_owned())
        );
        assert_eq!(
            judge(HYBRID, &[("authorization", "Basic dXNlcjpwYXNz")]),
            (Anon, "absent".to_owned())
        );
        assert_eq!(
            judge(HYBRID, &[("authorization", "Basic !!!")]),
            (Anon, "absent".to_owned())
        );
    }

    #[test]
    fn r05_two_copies_of_a_credential_header_are_refused() {
        for name in ["authorization", "x-api-key", "x-internal-auth"] {
            let two = headers(&[(name, "a"), (name, "a")]);
            assert!(places().refuse_duplicates(&two).is_err(), "{name}");
        }
        assert!(places().refuse_duplicates(&headers(&[("authorization", "a")])).is_ok());
    }

    #[test]
    fn r06_two_values_in_two_places_are_refused_and_one_value_twice_is_one() {
        let differing = headers(&[("x-api-key", "hok_1"), ("authorization", "Bearer hok_2")]);
        assert!(presented(&[ApiKey], &[], &differing).is_err());
        assert_eq!(
            judge(&[ApiKey], &[("x-api-key", "hok_1"), ("authorization", "Bearer hok_1")]),
            (ApiKey, "key hok_1".to_owned())
        );
        let sources = [
            TokenSource::Authorization,
            TokenSource::Header(HeaderName::from_static("x-token")),
        ];
        let differing = headers(&[("x-token", "a"), ("authorization", "Bearer b")]);
        assert!(presented(&[Jwt], &sources, &differing).is_err());
        let sources = [
            TokenSource::Authorization,
            TokenSource::Cookie("t".into()),
            TokenSource::WebSocketProtocol,
        ];
        for pair in [
            [("authorization", "Bearer a"), ("cookie", "t=b")],
            [("cookie", "t=a; t=b"), ("accept", "*/*")],
            [("sec-websocket-protocol", "bearer, a, bearer, b"), ("accept", "*/*")],
            [("sec-websocket-protocol", "bearer, a"), ("cookie", "t=b")],
        ] {
            assert!(presented(&[Jwt], &sources, &headers(&pair)).is_err(), "{pair:?}");
        }
        let same = headers(&[
            ("authorization", "Bearer a"),
            ("cookie", "t=a"),
            ("sec-websocket-protocol", "bearer, a"),
        ]);
        assert_eq!(presented(&[Jwt], &sources, &same), Ok((Jwt, "token a".to_owned())));
    }

    #[test]
    fn r12_a_credential_does_not_show_itself() {
        let shown = format!("{:?}", Credential::Token("eyJ"));
        assert_eq!(shown, "Token(…)");
    }
}
