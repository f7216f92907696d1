//! What is shown of a request's headers and target: everything but credentials, which are never echoed.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};

use crate::policy::credential::CredentialPlaces;
use crate::policy::identity::Identity;

/// In place of a credential.
const RECEIVED: &str = "(as received)";

/// In place of what the route's `set_headers` hold, which may be the upstream's own credential.
const BY_ROUTE: &str = "(set by the route)";

/// Parts of names that credentials go by, beyond the places that the config knows: what is hidden in vain costs little.
const TELLING: [&str; 13] = [
    "auth",
    "token",
    "key",
    "secret",
    "cookie",
    "passw",
    "credential",
    "session",
    "signature",
    "jwt",
    "assertion",
    "bearer",
    "websocket-protocol",
];

/// A credential of fewer bytes is none, and would hide half of the text.
const SHORTEST: usize = 6;

/// Knows what must not be seen.
pub(super) struct Secrecy<'a> {
    places: &'a CredentialPlaces,
    /// What credential headers hold, and each word of it.
    received: Vec<&'a str>,
}

impl<'a> Secrecy<'a> {
    /// Of a request's headers, with what the config knows of credentials.
    pub(super) fn of(places: &'a CredentialPlaces, headers: &'a HeaderMap) -> Self {
        let credentials = headers
            .iter()
            .filter(|(name, _)| is_credential(&places.single, name.as_str()));
        let texts = credentials.filter_map(|(_, value)| value.to_str().ok());
        let mut received: Vec<&str> = texts.flat_map(str::split_whitespace).collect();
        received.retain(|word| word.len() >= SHORTEST && !word.eq_ignore_ascii_case("bearer"));
        // The longest first: a credential within another must not leave the rest of it.
        received.sort_by_key(|word| std::cmp::Reverse(word.len()));
        Self { places, received }
    }

    /// A header of the upstream's head. What the gateway knows of the caller by itself may be seen, under any name.
    pub(super) fn header(&self, name: &HeaderName, value: &HeaderValue, identity: Option<&Identity>) -> String {
        if value.is_sensitive() {
            return BY_ROUTE.to_owned();
        }
        let ours = identity.is_some_and(|identity| identity.headers.iter().any(|own| own.0 == name && own.1 == value));
        let text = readable(value);
        if ours {
            text
        } else if is_credential(&self.places.single, name.as_str()) {
            RECEIVED.to_owned()
        } else {
            self.hide(&text)
        }
    }

    /// A target, without credentials in its query.
    pub(super) fn target(&self, target: &Uri) -> String {
        let path = self.hide(target.path());
        let Some(query) = target.query() else { return path };
        let parameters = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if self.is_parameter(name) => format!("{name}={RECEIVED}"),
            _ => self.hide(parameter),
        });
        format!("{path}?{}", parameters.collect::<Vec<_>>().join("&"))
    }

    fn is_parameter(&self, name: &str) -> bool {
        self.places.parameters.iter().any(|own| **own == *name) || is_credential(&[], name)
    }

    fn hide(&self, text: &str) -> String {
        let hidden = |text: String, credential: &&str| text.replace(credential, RECEIVED);
        self.received.iter().fold(text.to_owned(), hidden)
    }
}

/// Bytes that are no visible ASCII are shown as `\xNN`.
fn readable(value: &HeaderValue) -> String {
    let visible = |byte: &u8| (0x20..0x7f).contains(byte);
    let shown = value.as_bytes().iter().map(|byte| match visible(byte) {
        true => char::from(*byte).to_string(),
        false => format!("\\x{byte:02x}"),
    });
    shown.collect()
}

fn is_credential(places: &[HeaderName], name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    places.iter().any(|place| place.as_str() == name) || TELLING.iter().any(|part| name.contains(part))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn r12_no_credential_is_shown_in_its_place_or_anywhere_else() {
        let place = HeaderName::from_static("x-proof");
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-proof", "canary-one"),
            ("authorization", "Bearer canary-two"),
            ("cookie", "a=canary-three; b=canary-four"),
            ("x-amz-security-token", "canary-five"),
            ("sec-websocket-protocol", "bearer, canary-seven"),
            ("x-copy", "see canary-two and canary-one"),
            ("accept", "text/plain"),
        ] {
            headers.insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        let places = CredentialPlaces {
            single: vec![place],
            parameters: vec!["t".into()],
            ..CredentialPlaces::default()
        };
        let secrecy = Secrecy::of(&places, &headers);
        let shown = |name: &str| {
            let (name, value) = headers.iter().find(|(own, _)| *own == name).unwrap();
            secrecy.header(name, value, None)
        };
        for name in [
            "x-proof",
            "authorization",
            "cookie",
            "x-amz-security-token",
            "sec-websocket-protocol",
        ] {
            assert_eq!(shown(name), "(as received)", "{name}");
        }
        assert_eq!(shown("x-copy"), "see (as received) and (as received)");
        assert_eq!(shown("accept"), "text/plain");
        let target = "/u/canary-one?access_token=canary-six&q=canary-two&p=1&t=canary-eight"
            .parse()
            .unwrap();
        assert_eq!(
            secrecy.target(&target),
            "/u/(as received)?access_token=(as received)&q=(as received)&p=1&t=(as received)"
        );
    }

    #[test]
    fn what_the_route_sets_is_not_shown() {
        let mut value = HeaderValue::from_static("canary");
        value.set_sensitive(true);
        let headers = HeaderMap::new();
        let name = HeaderName::from_static("x-anything");
        let places = CredentialPlaces::default();
        assert_eq!(Secrecy::of(&places, &headers).header(&name, &value, None), BY_ROUTE);
    }
}
