//! API keys: what any key must look like, and those of the config, known by their SHA-256 only.
//!
//! Whoever else knows keys is asked outside; what he says comes back as evidence, a [`KnownKey`] or a [`KeyFault`].

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
    keys: HashMap<SecretDigest, Arc<KnownKey>>,
    /// An auth service knows further ones.
    remote: bool,
}

/// A key whose owner is known; only time remains to be judged.
#[derive(Debug, Clone, PartialEq)]
pub struct KnownKey {
    /// Whom it proves.
    pub identity: Arc<Identity>,
    /// Seconds since the Unix epoch.
    pub expires: Option<i64>,
}

impl KnownKey {
    /// Judged on every request, also for a key known already.
    ///
    /// # Errors
    /// [`KeyFault::Expired`] from `expires` on.
    pub fn judge_time(&self, now_s: i64) -> Result<(), KeyFault> {
        match self.expires {
            Some(expires) if now_s >= expires => Err(KeyFault::Expired),
            Some(_) | None => Ok(()),
        }
    }
}

/// Why a key does not hold. The client is told its family only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFault {
    /// Empty, or longer than any.
    Length,
    /// It begins with none of `prefixes`: nobody was asked.
    Prefix,
    /// Nobody has it.
    Unknown,
    /// It had an owner until it expired.
    Expired,
    /// Its owner belongs to the gateway itself, or cannot be told to an upstream.
    Unfit,
    /// Taken back before its time.
    Revoked,
    /// Whoever knows could not be asked: nobody can say.
    Unavailable,
    /// What was revoked could not be found out: nobody can say.
    RevocationsUnknown,
}

impl KeyFault {
    /// The name in the log line's `detail` and in `explain`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "key_length",
            Self::Prefix => "key_prefix",
            Self::Unknown => "key_unknown",
            Self::Expired => "key_expired",
            Self::Unfit => "key_owner_unfit",
            Self::Revoked => "key_revoked",
            Self::Unavailable => "validator_unavailable",
            Self::RevocationsUnknown => "revocations_unknown",
        }
    }

    /// What the client is told.
    #[must_use]
    pub const fn denial(self) -> Denial {
        let code = match self {
            Self::Unavailable | Self::RevocationsUnknown => Code::AuthUnavailable,
            Self::Length | Self::Prefix | Self::Unknown | Self::Expired | Self::Unfit | Self::Revoked => {
                Code::InvalidApiKey
            }
        };
        Denial::plain(code, self.name())
    }
}

/// What the config alone says of a key.
#[derive(Debug)]
pub enum Found<'k> {
    /// It is in the config.
    Known(&'k Arc<KnownKey>),
    /// It cannot be a key, or nobody but the config has keys.
    Refused(KeyFault),
    /// The auth service may know it, by this digest.
    Remote(SecretDigest),
}

impl ConfigKeys {
    /// `prefixes` empty: keys may begin with anything. `remote`: an auth service knows further keys.
    #[must_use]
    pub fn new(prefixes: Vec<String>, keys: HashMap<SecretDigest, Arc<KnownKey>>, remote: bool) -> Self {
        Self { prefixes, keys, remote }
    }

    /// Whose key it is. An unknown and a wrong key take the same work and get the same answer: found by the digest of the whole
    /// key, which nobody can steer towards another's (hardening r26).
    #[must_use]
    pub fn find(&self, presented: &[u8]) -> Found<'_> {
        if presented.is_empty() || presented.len() > MAX_KEY_BYTES {
            return Found::Refused(KeyFault::Length);
        }
        let begins = |prefix: &String| presented.starts_with(prefix.as_bytes());
        if !self.prefixes.is_empty() && !self.prefixes.iter().any(begins) {
            return Found::Refused(KeyFault::Prefix);
        }
        let digest = SecretDigest::of(presented);
        match self.keys.get(&digest) {
            Some(known) => Found::Known(known),
            None if self.remote => Found::Remote(digest),
            None => Found::Refused(KeyFault::Unknown),
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    fn fault(keys: &ConfigKeys, key: &[u8]) -> KeyFault {
        match keys.find(key) {
            Found::Refused(fault) => fault,
            found => panic!("{found:?}"),
        }
    }

    #[test]
    fn r28_a_presented_key_is_bytes_of_a_bounded_length_and_nothing_else() {
        let keys = ConfigKeys::new(Vec::new(), HashMap::new(), false);
        assert_eq!(fault(&keys, b""), KeyFault::Length);
        assert_eq!(fault(&keys, &vec![b'k'; MAX_KEY_BYTES + 1]), KeyFault::Length);
        for key in [&vec![b'k'; MAX_KEY_BYTES][..], b"../{}%s", b"a&b=c\xff\x00"] {
            assert_eq!(fault(&keys, key), KeyFault::Unknown);
        }
    }

    #[test]
    fn an_auth_service_is_asked_by_digest_and_only_for_what_may_be_a_key() {
        let keys = ConfigKeys::new(vec!["hok_".to_owned()], HashMap::new(), true);
        assert_eq!(fault(&keys, b"other_1"), KeyFault::Prefix);
        assert_eq!(fault(&keys, b""), KeyFault::Length);
        assert!(matches!(keys.find(b"hok_1"), Found::Remote(digest) if digest.same(&SecretDigest::of(b"hok_1"))));
    }
}
