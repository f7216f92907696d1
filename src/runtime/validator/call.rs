//! One question to an auth service over HTTP: how it is put, and what kind of answer came. Bounded in size; the caller bounds the
//! time. Nothing of the credential is left when it returns, nor ever in an error.

use std::net::IpAddr;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use reqwest::Client;
use serde_json::Value;

use crate::compile::{CredentialIn, Own, Question, ValidatorSpec};
use crate::policy::authn::remote::Members;
use crate::policy::authn::unique_json;
use crate::runtime::http_client::{body_within, client_of, is_plain, reason};

/// An answer is refused beyond this many bytes.
const MAX_ANSWER: usize = 64 << 10;

/// Idle connections that are kept.
const MAX_IDLE: usize = 64;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Somebody was there and said something, if not what was asked: that alone is no reason to stop asking.
    pub(super) alive: bool,
}

impl Failure {
    pub(super) fn nonsense(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            alive: true,
        }
    }

    pub(super) fn dead(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            alive: false,
        }
    }
}

/// A client for one auth service.
///
/// # Errors
/// Its CA cannot be read, or there is none at all.
pub(super) fn client<R>(spec: &ValidatorSpec<R>) -> Result<Client, String> {
    let client = client_of(is_plain(&spec.question.url), spec.ca.as_deref(), spec.asking.timeout)?;
    client.pool_max_idle_per_host(MAX_IDLE).build().map_err(reason)
}

/// Asks once. `None`: the status says no.
pub(super) async fn ask(
    client: &Client,
    question: &Question,
    status_refuses: bool,
    credential: &str,
    from: IpAddr,
) -> Result<Option<Members>, Failure> {
    let (headers, body) = put(question, credential, from).ok_or_else(|| Failure::nonsense("it cannot be asked so"))?;
    let mut request = client.request(question.method.clone(), &question.url).headers(headers);
    if let Some(body) = body {
        request = request.body(body);
    }
    let response = request.send().await.map_err(|error| Failure::dead(reason(error)))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND if status_refuses => return Ok(None),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(Failure::dead(format!("it answered {status}")));
        }
        status => return Err(Failure::nonsense(format!("it answered {status}"))),
    }
    let body = body_within(MAX_ANSWER, response).await;
    let body = body.map_err(|error| Failure::dead(reason(error)))?;
    let body = body.ok_or_else(|| Failure::nonsense("its answer is larger than 64 KiB"))?;
    let members = unique_json::object(&body);
    members
        .map(Some)
        .ok_or_else(|| Failure::nonsense("its answer is no JSON object"))
}

/// Headers and body of the request; `None`: the credential fits in no header.
fn put(question: &Question, credential: &str, from: IpAddr) -> Option<(HeaderMap, Option<Vec<u8>>)> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let mut secret = |name: HeaderName, text: String| {
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        headers.insert(name, value);
        Some(())
    };
    match &question.own {
        None => {}
        Some(Own::Bearer(own)) => secret(AUTHORIZATION, format!("Bearer {}", own.expose()))?,
        Some(Own::Basic(id, own)) => secret(AUTHORIZATION, basic(id, own.expose()))?,
    }
    let mut members = question.extra.clone();
    if let Some(field) = &question.client_address {
        members.insert(field.clone(), Value::from(from.to_canonical().to_string()));
    }
    match &question.credential_in {
        CredentialIn::Bearer => secret(AUTHORIZATION, format!("Bearer {credential}"))?,
        CredentialIn::Header(name) => secret(name.clone(), credential.to_owned())?,
        CredentialIn::Body(field) => {
            members.insert(field.clone(), Value::from(credential));
        }
        CredentialIn::Form => {
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(CONTENT_TYPE, form);
            let body = format!("token={}&token_type_hint=access_token", form_encoded(credential));
            return Some((headers, Some(body.into_bytes())));
        }
    }
    if question.method == http::Method::GET {
        return Some((headers, None));
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Some((headers, Some(Value::Object(members).to_string().into_bytes())))
}

/// RFC 6749 §2.3.1: both parts are form-encoded before they are joined.
fn basic(id: &str, secret: &str) -> String {
    use base64::Engine as _;
    let pair = format!("{}:{}", form_encoded(id), form_encoded(secret));
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// `application/x-www-form-urlencoded`: everything but RFC 3986's unreserved characters is `%XX`.
fn form_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;
    use http::Method;

    fn question(credential_in: CredentialIn) -> Question {
        Question {
            url: "http://auth.test/validate".to_owned(),
            method: Method::POST,
            credential_in,
            extra: serde_json::from_str(r#"{"service_id":"ml"}"#).unwrap(),
            client_address: Some("ip".to_owned()),
            own: None,
        }
    }

    fn parts(question: &Question) -> (HeaderMap, String) {
        let (headers, body) = put(question, "a\"b&c", IpAddr::from([192, 0, 2, 7])).unwrap();
        (headers, String::from_utf8(body.unwrap_or_default()).unwrap())
    }

    #[test]
    fn r28_a_key_is_data_wherever_it_stands() {
        let (headers, body) = parts(&question(CredentialIn::Body("api_key".to_owned())));
        assert_eq!(body, r#"{"api_key":"a\"b&c","ip":"192.0.2.7","service_id":"ml"}"#);
        assert_eq!(headers.get(CONTENT_TYPE).unwrap(), "application/json");

        let (headers, body) = parts(&question(CredentialIn::Bearer));
        assert_eq!(headers.get(AUTHORIZATION).unwrap(), "Bearer a\"b&c");
        assert_eq!(body, r#"{"ip":"192.0.2.7","service_id":"ml"}"#);

        let name = HeaderName::from_static("x-api-key");
        let (headers, _) = parts(&question(CredentialIn::Header(name.clone())));
        assert_eq!(headers.get(name).unwrap(), "a\"b&c");

        let (_, body) = parts(&question(CredentialIn::Form));
        assert_eq!(body, "token=a%22b%26c&token_type_hint=access_token");
    }

    #[test]
    fn our_own_credential_stands_beside_it_and_shows_itself_nowhere() {
        let own = |own| Question {
            own: Some(own),
            ..question(CredentialIn::Body("key".to_owned()))
        };
        let secret = || Secret::new("s:1".to_owned());
        let (headers, _) = parts(&own(Own::Bearer(secret())));
        assert_eq!(headers.get(AUTHORIZATION).unwrap(), "Bearer s:1");
        assert!(!format!("{headers:?}").contains("s:1"));
        // base64("id:s%3A1")
        let (headers, _) = parts(&own(Own::Basic("id".to_owned(), secret())));
        assert_eq!(headers.get(AUTHORIZATION).unwrap(), "Basic aWQ6cyUzQTE=");
    }
}
