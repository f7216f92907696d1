//! TLS of listeners: certificates, keys and authorities read from their files and put together, with every mistake at its key.
//!
//! Depends on rustls, the config's paths and the collector of problems. What can fail fails here: the runtime is handed what works.

mod by_name;
mod files;

use std::sync::Arc;

use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use crate::config::Problems;
use crate::config::model::{Certificate, ClientAuth, Listener};
use crate::policy::digest::SecretDigest;

use by_name::ByName;
use files::Files;

/// The protocols that a listener speaks over TLS (ALPN, RFC 7301), the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS of a listener. Equal ones, by what their files hold, keep their session tickets across a reload.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// Ready for handshakes.
    pub config: Arc<ServerConfig>,
    /// Whether clients are asked for certificates.
    pub client_certificates: bool,
    /// Of all files that it was made of.
    made_of: SecretDigest,
}

impl PartialEq for ServerTls {
    fn eq(&self, other: &Self) -> bool {
        self.made_of.same(&other.made_of)
    }
}

/// TLS of one listener, by its place: `None` for a plain one, and for one with problems.
pub(super) fn of_listener(listener: &Listener, problems: &mut Problems) -> Option<ServerTls> {
    let key = |key: &str| format!("listeners.{}.{key}", listener.name);
    if listener.certificates.is_empty() {
        if listener.client_auth.is_some() {
            problems.at(
                &key("client_auth"),
                "needs [[listeners.certificates]]: without TLS no client has a certificate",
            );
        }
        return None;
    }
    let mut files = Files::new(problems);
    let mut by_name = ByName::default();
    for (place, Certificate { cert, key: own }) in listener.certificates.iter().enumerate() {
        let at = key(&format!("certificates[{place}]"));
        if let Some(pair) = files.pair((cert, &format!("{at}.cert")), (own, &format!("{at}.key"))) {
            by_name.add(pair);
        }
    }
    let authorities = listener
        .client_auth
        .as_ref()
        .map(|auth| (auth, files.authorities(&auth.ca, &key("client_auth.ca"))));
    let required = listener.client_auth.as_ref().map(|auth| auth.required);
    let made_of = files.digest(required)?;
    let authorities = match authorities {
        None => None,
        Some((auth, roots)) => Some((auth, roots?)),
    };
    match server_config(by_name, authorities) {
        Ok(config) => Some(ServerTls {
            config: Arc::new(config),
            client_certificates: listener.client_auth.is_some(),
            made_of,
        }),
        Err(error) => {
            problems.at(&key("certificates"), format!("cannot be used: {error}"));
            None
        }
    }
}

/// TLS 1.2 and 1.3, as rustls has them. Sessions are resumed by tickets alone, whose keys rotate every six hours; early data,
/// which can be played again, is off.
fn server_config(
    certificates: ByName,
    authorities: Option<(&ClientAuth, RootCertStore)>,
) -> Result<ServerConfig, Box<dyn std::error::Error>> {
    let provider = files::provider();
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match authorities {
        None => builder.with_no_client_auth(),
        Some((auth, roots)) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if auth.required {
                verifier
            } else {
                verifier.allow_unauthenticated()
            };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::new(certificates));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
