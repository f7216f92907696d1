//! `[revocation]` as patterns of keys: what a key of the shared store says is revoked.

use crate::config::Problems;
use crate::config::model::{Config, Revocation};

/// Patterns at most: a revocation remembers by a bit which of them names it.
const MAX_PATTERNS: usize = 64;

/// Which keys revoke what. Equal specs keep the local copy across a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevocationSpec {
    /// Keys that revoke by being there.
    pub keys: Vec<KeyPattern>,
    /// Keys whose value revokes all tokens of a user that were issued before.
    pub users: Option<KeyPattern>,
    /// While the store is away, what was last known is served with; else nobody is let in.
    pub serve_on_store_error: bool,
}

/// A key's name, with a place for what it revokes: `blacklist:{token}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPattern {
    prefix: String,
    /// What stands between.
    pub subject: Subject,
    suffix: String,
}

/// What a key can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A token's id.
    Jti,
    /// A token, by the hex digits of its SHA-256.
    TokenSha256,
    /// A token itself.
    Token,
    /// An API key's id.
    KeyId,
    /// A user.
    User,
}

impl Subject {
    const ALL: [Self; 5] = [Self::Jti, Self::TokenSha256, Self::Token, Self::KeyId, Self::User];

    /// As it stands in a pattern.
    #[must_use]
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Jti => "{jti}",
            Self::TokenSha256 => "{token_sha256}",
            Self::Token => "{token}",
            Self::KeyId => "{key_id}",
            Self::User => "{user}",
        }
    }
}

impl KeyPattern {
    /// `None`: it has not exactly one placeholder, or begins with it, and would be about every key of the store.
    fn new(pattern: &str) -> Option<Self> {
        let (subject, (prefix, suffix)) = Subject::ALL
            .into_iter()
            .find_map(|subject| Some((subject, pattern.split_once(subject.placeholder())?)))?;
        let sound = !prefix.is_empty() && !prefix.contains(['{', '}']) && !suffix.contains(['{', '}']);
        sound.then(|| Self {
            prefix: prefix.to_owned(),
            subject,
            suffix: suffix.to_owned(),
        })
    }

    /// The key that revokes `value`.
    #[must_use]
    pub fn key(&self, value: &str) -> String {
        format!("{}{value}{}", self.prefix, self.suffix)
    }

    /// What `key` revokes; `None`: it is none of these.
    #[must_use]
    pub fn value<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        let value = key.strip_prefix(self.prefix.as_bytes())?;
        value
            .strip_suffix(self.suffix.as_bytes())
            .filter(|value| !value.is_empty())
    }
}

impl RevocationSpec {
    /// What all keys of all patterns begin with; none of these begins with another.
    #[must_use]
    pub fn prefixes(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self.keys.iter().chain(&self.users).map(|key| &*key.prefix).collect();
        all.sort_unstable();
        // A prefix stands right before all that begin with it.
        all.dedup_by(|longer, shorter| longer.starts_with(&**shorter));
        all
    }
}

/// `[revocation]`, if the config has it.
pub(super) fn revocation(config: &Config, problems: &mut Problems) -> Option<RevocationSpec> {
    let Revocation {
        keys,
        users,
        serve_on_store_error,
    } = config.revocation.as_ref()?;
    if config.redis.is_none() {
        problems.at("revocation", "needs a [redis], where revocations are kept");
    }
    if keys.len() > MAX_PATTERNS {
        problems.at("revocation.keys", format!("takes {MAX_PATTERNS} patterns at most"));
    }
    let patterns = keys.iter().filter_map(|key| {
        let pattern = KeyPattern::new(key);
        if pattern.is_none() {
            let names: Vec<&str> = Subject::ALL.into_iter().map(Subject::placeholder).collect();
            problems.at(
                "revocation.keys",
                format!(
                    "{key:?}: expected a key with exactly one of {} after its beginning",
                    names.join(" ")
                ),
            );
        }
        pattern
    });
    let patterns = patterns.collect();
    let by_user = |users: &String| KeyPattern::new(users).filter(|pattern| pattern.subject == Subject::User);
    let users = (!users.is_empty()).then(|| by_user(users));
    if users == Some(None) {
        problems.at(
            "revocation.users",
            "expected a key with {user} after its beginning, or \"\" for none",
        );
    }
    Some(RevocationSpec {
        keys: patterns,
        users: users.flatten(),
        serve_on_store_error: *serve_on_store_error,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_makes_keys_and_reads_them() {
        let pattern = KeyPattern::new("bl:{token}:v1").unwrap();
        assert_eq!(pattern.subject, Subject::Token);
        assert_eq!(pattern.key("abc"), "bl:abc:v1");
        assert_eq!(pattern.value(b"bl:abc:v1"), Some(&b"abc"[..]));
        for other in ["bl::v1", "bl:abc", "abc:v1", "xbl:abc:v1", "bl:v1"] {
            assert_eq!(pattern.value(other.as_bytes()), None, "{other}");
        }
        let digest = KeyPattern::new("revoked:{token_sha256}").unwrap();
        assert_eq!(digest.subject, Subject::TokenSha256);
    }

    #[test]
    fn a_pattern_that_would_be_about_every_key_or_about_none_is_refused() {
        for wrong in [
            "",
            "blacklist",
            "{token}",
            "b:{session}",
            "b:{jti}:{user}",
            "b:{jti}{",
            "b:{x}:{jti}",
        ] {
            assert_eq!(KeyPattern::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_prefix_that_is_followed_begins_with_another() {
        let keys = ["a:b:{jti}", "a:{token}", "b:{user}", "a:{jti}", "a{jti}", "ab:{user}"];
        let spec = RevocationSpec {
            keys: keys.into_iter().map(|key| KeyPattern::new(key).unwrap()).collect(),
            users: KeyPattern::new("b:u:{user}"),
            serve_on_store_error: true,
        };
        assert_eq!(spec.prefixes(), ["a", "b:"]);
    }
}
