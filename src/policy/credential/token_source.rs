//! Where a request may hold a token, and whose tokens are taken from there: each issuer has its own places, and a cookie, which
//! browsers send on anybody's behalf, counts only where its own site asks (hardening r44).

use std::sync::Arc;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use super::{bearer, text};
use crate::policy::facts::Facts;
use crate::policy::path::encoded_byte;

/// `Sec-WebSocket-Protocol`.
pub const WEBSOCKET_PROTOCOL: HeaderName = header::SEC_WEBSOCKET_PROTOCOL;

/// The item of `Sec-WebSocket-Protocol` that says that the next one is a token.
const WEBSOCKET_BEARER: &str = "bearer";

/// Where a token may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `Authorization: Bearer`.
    Authorization,
    /// A header that holds nothing else.
    Header(HeaderName),
    /// A parameter of the query (RFC 6750 §2.3).
    Query(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// The item after `bearer` in `Sec-WebSocket-Protocol`: the one header that scripts of a page can set on a WebSocket.
    WebSocketProtocol,
}

/// A place where a route looks for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPlace {
    /// The place.
    pub source: TokenSource,
    /// Whose tokens are taken from there.
    pub takers: Vec<Taker>,
}

/// An issuer whose tokens a place may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    /// Its name.
    pub issuer: Arc<str>,
    /// Foreign origins that may use its cookie tokens.
    pub origins: Arc<[String]>,
}

/// The places of a route that hold the token: bit n is the nth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Places(u32);

impl Places {
    /// Places that a route has at most.
    pub const MOST: usize = 32;

    /// One more.
    pub(super) fn add(&mut self, place: usize) {
        self.0 |= u32::try_from(place).map_or(0, |place| 1u32.checked_shl(place).unwrap_or(0));
    }

    /// Whether a token of `issuer` is taken from one of these `places`.
    #[must_use]
    pub fn take(self, places: &[TokenPlace], issuer: &str, facts: &Facts<'_>) -> bool {
        let held = places.iter().enumerate().filter(|(place, _)| self.0 >> place & 1 == 1);
        held.into_iter().any(|(_, place)| place.takes_of(issuer, facts))
    }
}

impl TokenPlace {
    /// A place from which nobody takes tokens yet.
    #[must_use]
    pub const fn of(source: TokenSource) -> Self {
        Self {
            source,
            takers: Vec::new(),
        }
    }

    /// Whether a token is taken from here at all: a cookie that somebody else's page sent is none.
    pub(super) fn takes(&self, facts: &Facts<'_>) -> bool {
        !self.is_guarded(facts) || self.takers.iter().any(|taker| taker.allows(facts))
    }

    fn takes_of(&self, issuer: &str, facts: &Facts<'_>) -> bool {
        let Some(taker) = self.takers.iter().find(|taker| *taker.issuer == *issuer) else {
            return false;
        };
        !self.is_guarded(facts) || taker.allows(facts)
    }

    /// Whether only the `Origin` can say that the caller meant it: a cookie on a request that changes something, or that opens a
    /// connection which the same-origin policy does not guard (RFC 6455 §10.2).
    fn is_guarded(&self, facts: &Facts<'_>) -> bool {
        let cookie = matches!(self.source, TokenSource::Cookie(_));
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS, Method::TRACE].contains(facts.method);
        // Over HTTP/2 an upgrade comes without `Upgrade`, and is given a key (RFC 8441 §5).
        let upgrades = [header::UPGRADE, header::SEC_WEBSOCKET_KEY];
        cookie && (!safe || upgrades.iter().any(|name| facts.headers.contains_key(name)))
    }
}

impl Taker {
    fn allows(&self, facts: &Facts<'_>) -> bool {
        let mut origins = facts.headers.get_all(header::ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else {
            return false;
        };
        let Ok(origin) = origin.to_str() else { return false };
        facts.is_own_origin(origin) || self.origins.iter().any(|known| known.eq_ignore_ascii_case(origin))
    }
}

impl TokenSource {
    /// Hands every token here to `found`, as it stands; one that is no text reads as an empty one, which fails.
    pub(super) fn each<'r, E>(
        &self,
        facts: &Facts<'r>,
        mut found: impl FnMut(&'r str) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Authorization => bearer(facts.headers).map_or(Ok(()), found),
            Self::Header(name) => facts
                .headers
                .get(name)
                .map_or(Ok(()), |value| found(text(value.as_bytes()))),
            // As it was written: no character of a token needs an escape.
            Self::Query(name) => pairs(facts.uri.query().unwrap_or_default(), '&')
                .filter(|(own, _)| is_parameter(own, name))
                .try_for_each(|(_, value)| found(value)),
            Self::Cookie(name) => facts
                .headers
                .get_all(header::COOKIE)
                .iter()
                .flat_map(|value| pairs(text(value.as_bytes()), ';'))
                .filter(|(own, _)| **own == **name)
                .try_for_each(|(_, value)| found(unquoted(value))),
            Self::WebSocketProtocol => websocket_tokens(facts.headers).try_for_each(found),
        }
    }
}

fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    let parts = text.split(separator).map(str::trim);
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// Whether a parameter of a query has this name, which may be written with escapes: upstreams that read queries undo them, and must not
/// find a token there that was not judged (hardening r06).
fn is_parameter(own: &str, name: &str) -> bool {
    own == name || (own.contains('%') && unescaped(own.as_bytes()).eq(name.bytes()))
}

fn unescaped(mut rest: &[u8]) -> impl Iterator<Item = u8> + '_ {
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        let escaped = match (first, tail) {
            (b'%', [high, low, after @ ..]) => encoded_byte(*high, *low).zip(Some(after)),
            _ => None,
        };
        let (byte, after) = escaped.unwrap_or((first, tail));
        rest = after;
        Some(byte)
    })
}

/// A cookie's value may stand in quotes (RFC 6265 §4.1.1).
fn unquoted(value: &str) -> &str {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.unwrap_or(value)
}

fn websocket_items(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(WEBSOCKET_PROTOCOL).iter();
    values.flat_map(|value| text(value.as_bytes()).split(',').map(str::trim))
}

fn websocket_tokens(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let mut items = websocket_items(headers);
    std::iter::from_fn(move || {
        items.find(|item| item.eq_ignore_ascii_case(WEBSOCKET_BEARER))?;
        Some(items.next().unwrap_or_default())
    })
}

/// Takes the tokens out of `Sec-WebSocket-Protocol`: they are no subprotocols, and servers echo what they choose.
pub fn hide_websocket_tokens(headers: &mut HeaderMap) {
    if !headers.contains_key(WEBSOCKET_PROTOCOL) {
        return;
    }
    let mut items = websocket_items(headers);
    let mut kept: Vec<&str> = Vec::new();
    while let Some(item) = items.next() {
        kept.push(item);
        if item.eq_ignore_ascii_case(WEBSOCKET_BEARER) {
            items.next();
        }
    }
    kept.retain(|item| !item.is_empty());
    let kept = HeaderValue::try_from(kept.join(", "));
    drop(items);
    match kept {
        Ok(value) if !value.is_empty() => headers.insert(WEBSOCKET_PROTOCOL, value),
        Ok(_) | Err(_) => headers.remove(WEBSOCKET_PROTOCOL),
    };
}

/// The `bearer` that announces a token among the subprotocols, as the client wrote it.
#[must_use]
pub fn websocket_bearer(headers: &HeaderMap) -> Option<HeaderValue> {
    let bearer = websocket_items(headers).find(|item| item.eq_ignore_ascii_case(WEBSOCKET_BEARER))?;
    HeaderValue::from_str(bearer).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
