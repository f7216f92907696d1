//! What issuers publish: key sets, and the metadata that says where a key set is. Bounded in time and size, from the issuer's own
//! place. Depends on `compile`, for where to look.

use std::path::Path;
use std::time::Duration;

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, StatusCode, Url};
use serde_json::Value;

use crate::compile::{IssuerSpec, KeySource};

use super::http_client::{body_within, client_of, is_plain, reason};

/// A document is refused beyond this many bytes.
const MAX_DOCUMENT: usize = 1 << 20;

/// Redirects of one fetch.
const MAX_REDIRECTS: usize = 3;

/// A key set as it came.
pub(super) struct Document {
    /// Its bytes.
    pub(super) body: Vec<u8>,
    /// `Cache-Control: max-age`.
    pub(super) max_age: Option<Duration>,
}

/// Asks one issuer.
pub(super) struct Asker {
    client: Client,
    /// Where its metadata said that its keys are.
    discovered: Option<Url>,
}

/// Fetches an issuer's key set once.
///
/// # Errors
/// Why it could not be had.
pub async fn fetch_once(spec: &IssuerSpec) -> Result<Vec<u8>, String> {
    let document = Asker::of(spec)?.keys(&spec.source).await?;
    Ok(document.body)
}

impl Asker {
    /// Makes ready to ask, with the issuer's own CA if it has one.
    ///
    /// # Errors
    /// The CA cannot be read, or there is none at all.
    pub(super) fn of(spec: &IssuerSpec) -> Result<Self, String> {
        let plain = matches!(&spec.source, KeySource::Url(url) if is_plain(url));
        let client = client_of(plain, spec.ca.as_deref(), spec.request_timeout)?.redirect(Policy::custom(|attempt| {
            if stays(&attempt) {
                attempt.follow()
            } else {
                attempt.stop()
            }
        }));
        Ok(Self {
            client: client.build().map_err(reason)?,
            discovered: None,
        })
    }

    /// Looks for the keys' place anew the next time.
    pub(super) fn forget_place(&mut self) {
        self.discovered = None;
    }

    /// The key set of a source that is fetched.
    ///
    /// # Errors
    /// Why it could not be had, without any URL, whose query may hold a key of ours (hardening r12).
    pub(super) async fn keys(&mut self, source: &KeySource) -> Result<Document, String> {
        match source {
            KeySource::Url(url) => self.document(parsed(url)?).await,
            KeySource::Discovery(issuer) => {
                let place = match &self.discovered {
                    Some(place) => place.clone(),
                    None => self.discover(issuer).await?,
                };
                let document = self.document(place.clone()).await;
                self.discovered = document.is_ok().then_some(place);
                document
            }
            KeySource::File(path) => read(path).await,
            KeySource::None => Err("it publishes no keys".to_owned()),
        }
    }

    /// Where the issuer's metadata says that its keys are: OpenID Connect Discovery 1.0 §4, else RFC 8414 §3.
    async fn discover(&self, issuer: &str) -> Result<Url, String> {
        let own = parsed(issuer)?;
        let mut refused = Vec::new();
        for (name, place) in metadata_places(&own) {
            match self.get(place).await? {
                Ok(document) => {
                    return keys_place(&document.body, issuer, &own).map_err(|why| format!("{name}: {why}"));
                }
                Err(status) => refused.push(format!("{name}: the issuer answered {status}")),
            }
        }
        Err(refused.join("; "))
    }

    async fn document(&self, url: Url) -> Result<Document, String> {
        let answer = self.get(url).await?;
        answer.map_err(|status| match status.is_redirection() {
            true => format!("the issuer answered {status}, which leads elsewhere"),
            false => format!("the issuer answered {status}"),
        })
    }

    /// A document, or the status that came instead.
    async fn get(&self, url: Url) -> Result<Result<Document, StatusCode>, String> {
        let response = self.client.get(url).send().await.map_err(reason)?;
        if response.status() != StatusCode::OK {
            return Ok(Err(response.status()));
        }
        let max_age = response
            .headers()
            .get(http::header::CACHE_CONTROL)
            .and_then(|value| max_age(value.to_str().ok()?));
        let body = body_within(MAX_DOCUMENT, response).await.map_err(reason)?;
        let body = body.ok_or("the document is larger than 1 MiB")?;
        Ok(Ok(Document { body, max_age }))
    }
}

/// An issuer answers for itself: a redirect to another scheme, host or port is not followed.
fn stays(attempt: &Attempt<'_>) -> bool {
    let same = |from: &Url| from.origin() == attempt.url().origin();
    attempt.previous().len() <= MAX_REDIRECTS && attempt.previous().first().is_some_and(same)
}

/// OpenID Connect Discovery 1.0 §4 puts its name after the issuer's path, RFC 8414 §3.1 before it.
fn metadata_places(issuer: &Url) -> [(&'static str, Url); 2] {
    let own_path = issuer.path().trim_end_matches('/');
    let at = |path: String| {
        let mut place = issuer.clone();
        place.set_path(&path);
        place
    };
    [
        (
            "openid-configuration",
            at(format!("{own_path}/.well-known/openid-configuration")),
        ),
        (
            "oauth-authorization-server",
            at(format!("/.well-known/oauth-authorization-server{own_path}")),
        ),
    ]
}

/// The `jwks_uri` of the issuer's own metadata.
fn keys_place(metadata: &[u8], issuer: &str, own: &Url) -> Result<Url, String> {
    let metadata: Value = serde_json::from_slice(metadata).map_err(|_| "not JSON")?;
    // To the letter (RFC 8414 §3.3): whoever speaks for one issuer must not bring in the keys of another.
    if metadata.get("issuer").and_then(Value::as_str) != Some(issuer) {
        return Err("its `issuer` is not the configured one".to_owned());
    }
    let place = metadata
        .get("jwks_uri")
        .and_then(Value::as_str)
        .ok_or("it names no `jwks_uri`")?;
    let place = parsed(place).map_err(|_| "its `jwks_uri` is no URL")?;
    let sound = match place.scheme() {
        "https" => true,
        "http" => own.scheme() == "http",
        _ => false,
    };
    if sound {
        Ok(place)
    } else {
        Err("its `jwks_uri` is not https".to_owned())
    }
}

fn parsed(url: &str) -> Result<Url, String> {
    Url::parse(url).map_err(|error| error.to_string())
}

/// A key file.
///
/// # Errors
/// It cannot be read, or is too large.
pub(super) async fn read(path: &Path) -> Result<Document, String> {
    let name = path.display();
    let body = tokio::fs::read(path)
        .await
        .map_err(|error| format!("{name}: {error}"))?;
    if body.len() > MAX_DOCUMENT {
        return Err(format!("{name}: larger than 1 MiB"));
    }
    Ok(Document { body, max_age: None })
}

/// RFC 9111 §5.2.2.1.
fn max_age(value: &str) -> Option<Duration> {
    let directives = value.split(',').map(str::trim);
    let seconds = directives
        .filter_map(|directive| directive.split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("max-age"))
        .map(|(_, seconds)| seconds)?;
    seconds.trim_matches('"').parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn max_age_is_found_among_other_directives() {
        assert_eq!(max_age("public, max-age=300"), Some(Duration::from_secs(300)));
        assert_eq!(max_age("Max-Age=\"60\", public"), Some(Duration::from_secs(60)));
        assert_eq!(max_age("no-cache"), None);
        assert_eq!(max_age("s-maxage=9, max-age=x"), None);
    }

    #[test]
    fn metadata_is_looked_for_where_each_standard_puts_it() {
        for (issuer, openid, oauth) in [
            (
                "https://a",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
            ),
            (
                "https://a/",
                "/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server",
            ),
            (
                "https://a/realms/one",
                "/realms/one/.well-known/openid-configuration",
                "/.well-known/oauth-authorization-server/realms/one",
            ),
        ] {
            let places = metadata_places(&parsed(issuer).unwrap());
            assert_eq!(places.map(|(_, place)| place.path().to_owned()), [openid, oauth]);
        }
    }

    #[test]
    fn metadata_speaks_for_its_own_issuer_and_names_a_place_as_safe_as_its_own() {
        let place = |text: &str| keys_place(text.as_bytes(), "https://a", &parsed("https://a").unwrap());
        let good = r#"{"issuer":"https://a","jwks_uri":"https://keys.example/a"}"#;
        assert_eq!(place(good).unwrap().as_str(), "https://keys.example/a");
        for bad in [
            r#"{"issuer":"https://b","jwks_uri":"https://a/keys"}"#,
            r#"{"issuer":"https://a/","jwks_uri":"https://a/keys"}"#,
            r#"{"issuer":["https://a"],"jwks_uri":"https://a/keys"}"#,
            r#"{"jwks_uri":"https://a/keys"}"#,
            r#"{"issuer":"https://a"}"#,
            r#"{"issuer":"https://a","jwks_uri":7}"#,
            r#"{"issuer":"https://a","jwks_uri":"keys"}"#,
            r#"{"issuer":"https://a","jwks_uri":"http://a/keys"}"#,
            r#"{"issuer":"https://a","jwks_uri":"file:///etc/passwd"}"#,
            "[]",
            "<html>",
        ] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
