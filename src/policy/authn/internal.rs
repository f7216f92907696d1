//! The legacy shared secret, believed only from its own networks, and whom its bearer acts for.

use std::sync::Arc;

use http::HeaderMap;
use http::header::HeaderName;

use crate::policy::address::{Networks, Origin};
use crate::policy::denial::{Code, Denial};
use crate::policy::digest::{SecretDigest, key_of};
use crate::policy::identity::{HeaderText, Identity, IdentityHeaders};

use super::api_key::MAX_KEY_BYTES;

/// `[internal]`.
#[derive(Debug, Clone, PartialEq)]
pub struct InternalCallers {
    /// The header of the secret.
    pub header: HeaderName,
    /// Live secrets.
    pub secrets: Vec<SecretDigest>,
    /// Client networks it is believed from.
    pub allowed_from: Networks,
    /// Who such a caller is, with its headers, when it acts for nobody.
    pub identity: Arc<Identity>,
    /// Where it names whom it acts for, and which other headers of its own are kept.
    pub headers: Arc<IdentityHeaders>,
}

impl InternalCallers {
    /// Judges a presented secret. A secret from elsewhere is answered like a wrong one.
    ///
    /// # Errors
    /// 401 `invalid_internal_auth`; 400 when the caller names its user badly.
    pub fn judge(&self, presented: &[u8], origin: &Origin, headers: &HeaderMap) -> Result<Arc<Identity>, Denial> {
        let reject = |detail| Err(Denial::plain(Code::InvalidInternalAuth, detail));
        if !self.allowed_from.contain(origin.client) {
            return reject("secret_from_elsewhere");
        }
        if presented.is_empty() || presented.len() > MAX_KEY_BYTES {
            return reject("secret_length");
        }
        let digest = SecretDigest::of(presented);
        // Every live secret is compared, so that time tells nothing of which one was near (hardening r26).
        let known = self
            .secrets
            .iter()
            .fold(false, |known, live| known | live.same(&digest));
        if !known {
            return reject("secret_unknown");
        }
        self.acting_for(headers)
    }

    /// The caller is trusted to name the user it acts for: one header, well-formed, or the request is refused.
    fn acting_for(&self, headers: &HeaderMap) -> Result<Arc<Identity>, Denial> {
        for name in self.headers.names() {
            let mut values = headers.get_all(name).iter();
            let sound = |value: &http::HeaderValue| value.to_str().is_ok_and(|text| HeaderText::new(text).is_some());
            if values.next().is_some_and(|value| !sound(value)) || values.next().is_some() {
                return Err(Denial::malformed("identity_header_of_internal_caller"));
            }
        }
        let named = self.headers.user.as_ref().and_then(|name| headers.get(name));
        let user = named.and_then(|value| HeaderText::new(value.to_str().ok()?));
        Ok(match user {
            None => self.identity.clone(),
            Some(user) => {
                let mut identity = Identity::clone(&self.identity);
                identity.keys.user = key_of(user.as_str().as_bytes());
                identity.acting_for = Some(user);
                identity.headers = self.headers.of(&identity, &[]);
                Arc::new(identity)
            }
        })
    }
}
