//! What is known here and now of a credential: an issuer's keys, and what a token proves by them; with `--online` also what an
//! auth service says of it, and whether the shared store revokes it.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use crate::command::{content_of, waiting_for};
use crate::compile::{Compiled, IssuerSpec, KeySource, ValidatorSpec};
use crate::policy::authn::api_key::{Found, KeyFault};
use crate::policy::authn::jwt::{self, KeySet, Unverified, verify};
use crate::policy::authn::remote::Rules;
use crate::policy::credential::Credential;
use crate::policy::digest::SecretDigest;
use crate::policy::facts::Facts;
use crate::policy::judge::{Case, Evidence, KeyEvidence, KnownBy};
use crate::policy::token::TokenFault;
use crate::runtime::published::fetch_once;
use crate::runtime::revocation::ReadOnce;
use crate::runtime::validator::{Said, ask_once};

use super::report::Revocation;

/// Where published keys come from, besides the config's `jwks_file`.
pub(super) struct Keys {
    /// A JWK set that was given.
    given: Option<Vec<u8>>,
    /// The network may be asked.
    online: bool,
    /// What is revoked, once it was asked for; or why that cannot be told.
    revoked: OnceCell<Result<ReadOnce, String>>,
}

/// Why it cannot be told who a token is.
pub(super) struct Missing(pub(super) String);

impl Keys {
    pub(super) fn new(jwks: Option<&Path>, online: bool) -> Result<Self, String> {
        Ok(Self {
            given: jwks.map(content_of).transpose()?,
            online,
            revoked: OnceCell::new(),
        })
    }

    /// Whether revocations are looked at; `None`: nothing could revoke this credential.
    pub(super) fn revocation(&self, compiled: &Compiled, credential: &Credential<'_>) -> Option<Revocation> {
        compiled.revocation.as_ref()?;
        match credential {
            Credential::Token(_) | Credential::ApiKey(_) if self.online => Some(Revocation::Asked),
            Credential::Token(_) | Credential::ApiKey(_) => Some(Revocation::NotAsked),
            Credential::Internal(_) | Credential::Anonymous | Credential::Absent => None,
        }
    }

    /// Gathers what the case needs.
    pub(super) fn gather(
        &self,
        compiled: &Compiled,
        facts: &Facts<'_>,
        case: &Case<'_, '_>,
    ) -> Result<Evidence, Missing> {
        match &case.presented.credential {
            Credential::Token(token) => match self.of_token(compiled, facts, case, token)? {
                Evidence::Token(Ok(token)) if self.revokes(compiled, |revoked| revoked.revokes_token(&token))? => {
                    Ok(Evidence::Token(Err(TokenFault::Revoked)))
                }
                said => Ok(said),
            },
            Credential::ApiKey(key) => {
                let said = self.of_key(compiled, facts, key)?;
                let (known, by) = match (&said, compiled.policy.api_keys.find(key)) {
                    (Evidence::Key(KeyEvidence { said: Ok(known), by }), _) => (known, *by),
                    (Evidence::None, Found::Known(known)) => (known, KnownBy::Config),
                    (_not_good, _) => return Ok(said),
                };
                let revoked = self.revokes(compiled, |revoked| revoked.revokes_caller(&known.identity))?;
                Ok(if revoked {
                    let said = Err(KeyFault::Revoked);
                    Evidence::Key(KeyEvidence { said, by })
                } else {
                    said
                })
            }
            Credential::Internal(_) | Credential::Anonymous | Credential::Absent => Ok(Evidence::None),
        }
    }

    /// Whether the shared store revokes a credential that holds otherwise; without `--online` it is not asked, and that is told.
    fn revokes(&self, compiled: &Compiled, judge: impl FnOnce(&ReadOnce) -> bool) -> Result<bool, Missing> {
        let (Some(spec), Some(store), true) = (&compiled.revocation, &compiled.store, self.online) else {
            return Ok(false);
        };
        let read = || waiting_for(ReadOnce::of(spec, &store.servers))?.map_err(|error| error.to_string());
        match self.revoked.get_or_init(read) {
            Ok(revoked) => Ok(judge(revoked)),
            Err(why) => Err(Missing(format!("what is revoked: {why}"))),
        }
    }

    /// A key that only the auth service may know.
    fn of_key(&self, compiled: &Compiled, facts: &Facts<'_>, key: &[u8]) -> Result<Evidence, Missing> {
        let (Some(spec), Found::Remote(digest)) = (&compiled.api_keys, compiled.policy.api_keys.find(key)) else {
            return Ok(Evidence::None);
        };
        let said = self.asked(spec, key, digest, facts, "the API key")?;
        let by = KnownBy::Remote;
        Ok(Evidence::Key(KeyEvidence { said, by }))
    }

    fn asked<R: Rules>(
        &self,
        spec: &ValidatorSpec<R>,
        credential: &[u8],
        digest: SecretDigest,
        facts: &Facts<'_>,
        what: &str,
    ) -> Result<Said<R>, Missing> {
        let missing = |why: &str| Missing(format!("what the auth service \"{}\" says of {what}: {why}", spec.name));
        let Ok(credential) = std::str::from_utf8(credential) else {
            return Ok(Err(R::REFUSED));
        };
        if !self.online {
            return Err(missing("let it be asked with --online"));
        }
        let ask = ask_once(spec, credential, digest, facts.origin.client, facts.now.unix_s);
        waiting_for(ask).and_then(|said| said).map_err(|why| missing(&why))
    }

    fn of_token(
        &self,
        compiled: &Compiled,
        facts: &Facts<'_>,
        case: &Case<'_, '_>,
        token: &str,
    ) -> Result<Evidence, Missing> {
        if !case.route.remote_issuers.is_empty() {
            match compiled.policy.remote_issuer_of(case.route, token) {
                Err(fault) => return Ok(Evidence::Token(Err(fault))),
                Ok(None) => {}
                Ok(Some(place)) => {
                    let remote = compiled.issuers.get(place).and_then(|spec| spec.remote.as_ref());
                    let spec = remote.ok_or_else(|| Missing("its issuer".to_owned()))?;
                    let digest = SecretDigest::of(token.as_bytes());
                    let said = self.asked(spec, token.as_bytes(), digest, facts, "the token")?;
                    return Ok(Evidence::Token(said));
                }
            }
        }
        let parsed = match jwt::parse(token) {
            Ok(parsed) => parsed,
            Err(fault) => return Ok(Evidence::Token(Err(fault))),
        };
        let issuer = compiled.policy.issuer_of(case.route, parsed.issuer());
        let Some(spec) = issuer.and_then(|place| compiled.issuers.get(place)) else {
            return Ok(Evidence::Token(Err(TokenFault::UnknownIssuer)));
        };
        let keys = self.of(spec, &parsed)?;
        let verified = verify(&parsed, &spec.rules, &keys);
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
        Ok(spec.with_secrets(keys))
    }

    /// `None`: the issuer publishes none.
    fn document(&self, spec: &IssuerSpec) -> Result<Option<Vec<u8>>, String> {
        match (&spec.source, &self.given) {
            (KeySource::None, _) => Ok(None),
            (KeySource::Url(_) | KeySource::Discovery(_) | KeySource::File(_), Some(given)) => Ok(Some(given.clone())),
            (KeySource::File(path), None) => content_of(path).map(Some),
            (KeySource::Url(_) | KeySource::Discovery(_), None) if self.online => {
                waiting_for(fetch_once(spec))?.map(Some)
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
