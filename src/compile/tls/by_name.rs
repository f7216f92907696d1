//! Which certificate a client is shown: by the host that it asks for in the handshake (SNI, RFC 6066 §3), else the first.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

/// Certificates by the names that they are for.
#[derive(Debug, Default)]
pub(super) struct ByName {
    /// In the order of the config; the first is shown to whoever asks for none or for an unknown one.
    all: Vec<Arc<CertifiedKey>>,
    /// Lower case; a wildcard stands as it is written, `*.example.com`. Several for one name differ in their kind of key.
    named: HashMap<String, Vec<Arc<CertifiedKey>>>,
}

impl ByName {
    /// Adds a certificate under each DNS name that it holds.
    pub(super) fn add(&mut self, pair: CertifiedKey) {
        let pair = Arc::new(pair);
        let leaf = pair.cert.first().and_then(|leaf| EndEntityCert::try_from(leaf).ok());
        for name in leaf.iter().flat_map(|leaf| leaf.valid_dns_names()) {
            self.named
                .entry(name.to_ascii_lowercase())
                .or_default()
                .push(pair.clone());
        }
        self.all.push(pair);
    }

    /// The certificate for `name` whose key can sign in one of `schemes`. A wildcard stands for one label (RFC 9525 §6.3).
    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let fits = |pair: &&Arc<CertifiedKey>| pair.key.choose_scheme(schemes).is_some();
        let of = |name: &str| self.named.get(name)?.iter().find(fits);
        let named = name.map(str::to_ascii_lowercase).and_then(|name| {
            of(&name).or_else(|| {
                let (_, parent) = name.split_once('.')?;
                of(&format!("*.{parent}"))
            })
        });
        named.or_else(|| self.all.iter().find(fits)).cloned()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name(), hello.signature_schemes())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, SignatureAlgorithm};
    use rustls::pki_types::PrivateKeyDer;

    use super::super::files::provider;
    use super::*;

    fn pair(names: &[&str], kind: &'static SignatureAlgorithm) -> CertifiedKey {
        let key = KeyPair::generate_for(kind).unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
        let der = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let signing = provider().key_provider.load_private_key(der).unwrap();
        CertifiedKey::new(vec![certificate.der().clone()], signing)
    }

    #[test]
    fn a_name_finds_its_own_certificate_then_a_wildcard_then_the_first() {
        let mut table = ByName::default();
        for names in [
            &["first.example"][..],
            &["*.example.com", "example.com"],
            &["API.example.com"],
        ] {
            table.add(pair(names, &PKCS_ECDSA_P256_SHA256));
        }
        let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
        let place = |name| {
            let found = table.find(name, &schemes).unwrap();
            table.all.iter().position(|one| Arc::ptr_eq(one, &found)).unwrap()
        };
        for (name, wanted) in [
            (Some("first.example"), 0),
            (Some("api.example.com"), 2),
            (Some("WWW.example.com"), 1),
            (Some("example.com"), 1),
            (Some("a.b.example.com"), 0),
            (Some("elsewhere.example"), 0),
            (None, 0),
        ] {
            assert_eq!(place(name), wanted, "{name:?}");
        }
    }

    #[test]
    fn of_two_for_one_name_the_client_gets_the_one_that_it_can_check() {
        let mut table = ByName::default();
        table.add(pair(&["a.example"], &PKCS_ED25519));
        table.add(pair(&["a.example"], &PKCS_ECDSA_P256_SHA256));
        let place = |scheme| {
            let found = table.find(Some("a.example"), &[scheme])?;
            table.all.iter().position(|one| Arc::ptr_eq(one, &found))
        };
        assert_eq!(place(SignatureScheme::ED25519), Some(0));
        assert_eq!(place(SignatureScheme::ECDSA_NISTP256_SHA256), Some(1));
        assert_eq!(place(SignatureScheme::RSA_PSS_SHA256), None);
    }
}
