//! PEM files: certificates with their keys, and authorities. Each mistake is noted at the key that names the file.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};

use crate::config::Problems;
use crate::policy::digest::SecretDigest;

/// The algorithms: AWS-LC's.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// Reads files, and remembers what they held as one digest.
pub(super) struct Files<'p> {
    problems: &'p mut Problems,
    before: usize,
    /// The digests of all files, one after the other.
    held: Vec<u8>,
}

/// A file's path, and the config key that names it.
type Named<'a> = (&'a Path, &'a str);

impl<'p> Files<'p> {
    pub(super) fn new(problems: &'p mut Problems) -> Self {
        Self {
            before: problems.count(),
            problems,
            held: Vec::new(),
        }
    }

    /// A certificate with its chain, and the key that belongs to it.
    pub(super) fn pair(&mut self, cert: Named<'_>, key: Named<'_>) -> Option<CertifiedKey> {
        let chain = self.certificates(cert);
        let private = self.read(key).and_then(|pem| {
            let parsed = PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
                "holds no private key in PEM; expected one in PKCS #8, PKCS #1 or SEC 1, not encrypted".to_owned()
            });
            let loaded = parsed.and_then(|der| {
                provider()
                    .key_provider
                    .load_private_key(der)
                    .map_err(|error| format!("holds a private key that cannot be used: {error}"))
            });
            loaded.map_err(|message| self.problems.at(key.1, message)).ok()
        });
        let pair = CertifiedKey::new(chain?, private?);
        match pair.keys_match() {
            // A key that cannot say to which certificate it belongs may belong to this one.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Some(pair),
            Err(Error::InconsistentKeys(_)) => {
                let message = format!("is not the key of the first certificate in {}", cert.0.display());
                self.problems.at(key.1, message);
                None
            }
            Err(error) => {
                let message = format!("begins with a certificate that cannot be used: {error}");
                self.problems.at(cert.1, message);
                None
            }
        }
    }

    /// Certificates of authorities.
    pub(super) fn authorities(&mut self, path: &Path, key: &str) -> Option<RootCertStore> {
        let mut roots = RootCertStore::empty();
        for certificate in self.certificates((path, key))? {
            if let Err(error) = roots.add(certificate) {
                let message = format!("holds a certificate that cannot be an authority: {error}");
                self.problems.at(key, message);
                return None;
            }
        }
        Some(roots)
    }

    /// Of all files read and of `more`; `None` if anything was wrong.
    pub(super) fn digest(self, more: impl std::fmt::Debug) -> Option<SecretDigest> {
        let mut held = self.held;
        held.extend_from_slice(format!("{more:?}").as_bytes());
        (self.problems.count() == self.before).then(|| SecretDigest::of(&held))
    }

    fn certificates(&mut self, (path, key): Named<'_>) -> Option<Vec<CertificateDer<'static>>> {
        let pem = self.read((path, key))?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
        match chain {
            Ok(chain) if !chain.is_empty() => Some(chain),
            Ok(_) | Err(_) => {
                self.problems.at(key, "holds no certificate in PEM");
                None
            }
        }
    }

    fn read(&mut self, (path, key): Named<'_>) -> Option<Vec<u8>> {
        match std::fs::read(path) {
            Ok(pem) => {
                self.held.extend_from_slice(&SecretDigest::of(&pem).bytes());
                Some(pem)
            }
            Err(error) => {
                let message = format!("the file {} cannot be read: {error}", path.display());
                self.problems.at(key, message);
                None
            }
        }
    }
}
