//! TLS of listeners and to upstreams: certificates, keys and authorities read from their files and put together, with every
//! mistake at its key.
//!
//! Depends on rustls, the config's paths and the collector of problems. What can fail fails here: the runtime is handed what works.

mod by_name;
mod files;

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config::Problems;
use crate::config::model::{Certificate, ClientAuth, Endpoint, Listener, Upstream, UpstreamTls};
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

/// TLS to an upstream.
#[derive(Debug, Clone)]
pub struct ClientTls {
    /// Ready for handshakes.
    pub config: Arc<ClientConfig>,
    /// Whose certificate an endpoint must show; `None`: that of its own host.
    pub server_name: Option<ServerName<'static>>,
    /// Of all files that it was made of.
    made_of: SecretDigest,
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        self.made_of.same(&other.made_of) && self.server_name == other.server_name
    }
}

impl Eq for ClientTls {}

/// TLS to an upstream: `None` for a plain one, and for one with problems.
pub(super) fn of_upstream(name: &str, upstream: &Upstream, problems: &mut Problems) -> Option<ClientTls> {
    let key = |key: &str| format!("upstreams.{name}.tls{key}");
    if !upstream.urls.iter().any(|url| matches!(url, Endpoint::Https { .. })) {
        if upstream.tls.is_some() {
            problems.at(&key(""), "is of no use: no url begins with https://");
        }
        return None;
    }
    let mut files = Files::new(problems);
    let (mut authorities, mut own, mut server_name) = (None, None, None);
    if let Some(UpstreamTls {
        ca,
        cert,
        key: private,
        server_name: wanted,
    }) = &upstream.tls
    {
        authorities = ca.as_ref().map(|ca| files.authorities(ca, &key(".ca")));
        own = cert
            .as_ref()
            .zip(private.as_ref())
            .map(|(cert, private)| files.pair((cert, &key(".cert")), (private, &key(".key"))));
        server_name = wanted.as_ref().map(|wanted| ServerName::try_from(wanted.clone()));
    }
    // A file that could not be read has been noted, and leaves no digest.
    let made_of = files.digest(upstream.http2)?;
    let server_name = match server_name.transpose() {
        Ok(server_name) => server_name,
        Err(_) => {
            problems.at(&key(".server_name"), "is no host that a certificate can be for");
            return None;
        }
    };
    match client_config(authorities.flatten(), own.flatten(), upstream.http2) {
        Ok(config) => Some(ClientTls {
            config: Arc::new(config),
            server_name,
            made_of,
        }),
        Err(error) => {
            problems.at(&format!("upstreams.{name}"), format!("TLS cannot be used: {error}"));
            None
        }
    }
}

/// Trusts `authorities`, else what the system trusts, and shows `own` when asked.
fn client_config(
    authorities: Option<RootCertStore>,
    own: Option<CertifiedKey>,
    http2: bool,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(files::provider()).with_safe_default_protocol_versions()?;
    let builder = match authorities {
        Some(roots) => builder.with_root_certificates(roots),
        None => builder.with_platform_verifier()?,
    };
    let mut config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(own))),
    };
    let protocol: &[u8] = if http2 { b"h2" } else { b"http/1.1" };
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(config)
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
