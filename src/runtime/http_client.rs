//! The gateway as an HTTP client of services that its config names: issuers, auth services, collectors. Whom it believes, where it
//! does not let itself be led, and how much of an answer it takes. Depends on nothing of the crate.

use std::error::Error as _;
use std::path::Path;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Response};

/// A client of one service, to be built. It believes the certificates of the service's own CA if there is one, else the system's.
///
/// Redirects are not followed: a credential goes where the config says, and nowhere else.
///
/// # Errors
/// The CA cannot be read, or is none.
pub(crate) fn client_of(plain: bool, ca: Option<&Path>, timeout: Duration) -> Result<ClientBuilder, String> {
    let client = Client::builder()
        .timeout(timeout)
        .redirect(Policy::none())
        .user_agent(concat!("gateway/", env!("CARGO_PKG_VERSION")));
    let Some(path) = ca else {
        // Without TLS nobody's are needed, and a container may have none.
        return Ok(if plain { client.tls_certs_only([]) } else { client });
    };
    let name = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("{name}: {error}"))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| format!("{name}: {}", reason(error)))?;
    if certificates.is_empty() {
        return Err(format!("{name}: holds no certificate"));
    }
    Ok(client.tls_certs_only(certificates))
}

/// Whether a service is spoken to without TLS.
pub(crate) fn is_plain(url: &str) -> bool {
    url.starts_with("http://")
}

/// The body of an answer; `None`: it is longer than `most` bytes.
///
/// # Errors
/// It broke off, or took too long.
pub(crate) async fn body_within(most: usize, mut answer: Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await? {
        if body.len() + piece.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&piece);
    }
    Ok(Some(body))
}

/// Why a service could not be asked: the error with its causes, which is where the reason is, and without the URL, whose query may
/// hold a key of ours (hardening r12). The service's name tells which it was.
pub(crate) fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
