//! What is known of an issuer's keys here and now, and what a token proves by them.

use std::path::Path;
use std::sync::Arc;

use crate::compile::{Compiled, IssuerSpec, KeySource};
use crate::policy::authn::jwt::{self, KeySet, Unverified, verify};
use crate::policy::credential::Credential;
use crate::policy::digest::SecretDigest;
use crate::policy::judge::{Case, Evidence};
use crate::policy::token::TokenFault;
use crate::runtime::published::fetch_once;

/// Where published keys come from, besides the config's `jwks_file`.
pub(super) struct Keys {
    /// A JWK set that was given.
    given: Option<Vec<u8>>,
    /// The network may be asked.
    online: bool,
}

/// Why it cannot be told who a token is.
pub(super) struct Missing(pub(super) String);

impl Keys {
    pub(super) fn new(jwks: Option<&Path>, online: bool) -> Result<Self, String> {
        let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
        Ok(Self {
            given: jwks.map(read).transpose()?,
            online,
        })
    }

    /// Gathers what the case needs.
    pub(super) fn gather(&self, compiled: &Compiled, case: &Case<'_, '_>) -> Result<Evidence, Missing> {
        let token = match case.presented.credential {
            Credential::Token(token) => token,
            Credential::ApiKey(_) | Credential::Internal(_) | Credential::Anonymous | Credential::Absent => {
                return Ok(Evidence::None);
            }
        };
        let parsed = match jwt::parse(token) {
            Ok(parsed) => parsed,
            Err(fault) => return Ok(Evidence::Token(Err(fault))),
        };
        let issuer = compiled.policy.issuer_of(case.route, parsed.issuer());
        let Some(spec) = issuer.and_then(|place| compiled.issuers.get(place)) else {
            return Ok(Evidence::Token(Err(TokenFault::UnknownIssuer)));
        };
        let keys = self.of(spec, &parsed)?;
        let credential = SecretDigest::of(token.as_bytes()).half();
        let verified = verify(&parsed, &spec.rules, &keys, credential);
        Ok(Evidence::Token(verified.map(Arc::new)))
    }

    /// The issuer's secrets, and for a token that no secret signs its published keys.
    fn of(&self, spec: &IssuerSpec, token: &Unverified<'_>) -> Result<KeySet, Missing> {
        let mut keys = KeySet::default();
        if !token.algorithm().is_symmetric()
            && let Some(document) = self.document(spec).map_err(|why| missing(spec, &why))?
        {
            let (published, _odd) = KeySet::from_jwks(&document).map_err(|error| missing(spec, &error.to_string()))?;
            keys = published;
        }
        let secrets: Vec<&[u8]> = spec.secrets.iter().map(|secret| secret.expose().as_bytes()).collect();
        keys.add_secrets(&secrets);
        Ok(keys)
    }

    /// `None`: the issuer publishes none.
    fn document(&self, spec: &IssuerSpec) -> Result<Option<Vec<u8>>, String> {
        match (&spec.source, &self.given) {
            (KeySource::None, _) => Ok(None),
            (KeySource::Url(_) | KeySource::Discovery(_) | KeySource::File(_), Some(given)) => Ok(Some(given.clone())),
            (KeySource::File(path), None) => std::fs::read(path)
                .map(Some)
                .map_err(|error| format!("{}: {error}", path.display())),
            (KeySource::Url(_) | KeySource::Discovery(_), None) if self.online => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| error.to_string())?;
                runtime.block_on(fetch_once(spec)).map(Some)
            }
            (KeySource::Url(_) | KeySource::Discovery(_), None) => {
                Err("give --jwks FILE, or fetch them with --online".to_owned())
            }
        }
    }
}

fn missing(spec: &IssuerSpec, why: &str) -> Missing {
    Missing(format!("the signing keys of issuer \"{}\": {why}", spec.rules.name))
}
