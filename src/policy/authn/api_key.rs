//! API keys of the config: known by their SHA-256 only.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::denial::{Code, Denial};
use crate::policy::digest::SecretDigest;
use crate::policy::identity::Identity;

/// The longest key that is looked at, in bytes (hardening r28).
pub const MAX_KEY_BYTES: usize = 1024;

/// The keys of the config.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConfigKeys {
    prefixes: Vec<String>,
    keys: HashMap<SecretDigest, ConfigKey>,
}

/// One key.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigKey {
    /// Whom it proves.
    pub identity: Arc<Identity>,
    /// Seconds since the Unix epoch.
    pub expires: Option<i64>,
}

impl ConfigKeys {
    /// `prefixes` empty: keys may begin with anything.
    #[must_use]
    pub fn new(prefixes: Vec<String>, keys: HashMap<SecretDigest, ConfigKey>) -> Self {
        Self { prefixes, keys }
    }

    /// Whose key it is at `now_s`. An unknown and a wrong key take the same work and get the same answer: found by the digest of
    /// the whole key, which nobody can steer towards another's (hardening r26).
    ///
    /// # Errors
    /// 401 `invalid_api_key`.
    pub fn judge(&self, presented: &[u8], now_s: i64) -> Result<Arc<Identity>, Denial> {
        let reject = |detail| Err(Denial::plain(Code::InvalidApiKey, detail));
        if presented.is_empty() || presented.len() > MAX_KEY_BYTES {
            return reject("key_length");
        }
        let begins = |prefix: &String| presented.starts_with(prefix.as_bytes());
        if !self.prefixes.is_empty() && !self.prefixes.iter().any(begins) {
            return reject("key_prefix");
        }
        match self.keys.get(&SecretDigest::of(presented)) {
            None => reject("key_unknown"),
            Some(key) if key.expires.is_some_and(|expires| now_s >= expires) => reject("key_expired"),
            Some(key) => Ok(key.identity.clone()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn r28_a_presented_key_is_bytes_of_a_bounded_length_and_nothing_else() {
        let keys = ConfigKeys::new(Vec::new(), HashMap::new());
        let detail = |key: &[u8]| keys.judge(key, 0).unwrap_err().detail;
        assert_eq!(detail(b""), "key_length");
        assert_eq!(detail(&vec![b'k'; MAX_KEY_BYTES + 1]), "key_length");
        for key in [&vec![b'k'; MAX_KEY_BYTES][..], b"../{}%s", b"a&b=c\xff\x00"] {
            assert_eq!(detail(key), "key_unknown");
        }
    }
}
