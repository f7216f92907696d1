//! SHA-256, whole for secrets and halved for keys of limits.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// SHA-256 of a secret: what is kept instead of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SecretDigest([u8; 32]);

impl SecretDigest {
    /// Of a presented or configured secret.
    #[must_use]
    pub fn of(secret: &[u8]) -> Self {
        let mut bytes = [0; 32];
        for (to, from) in bytes.iter_mut().zip(digest(&SHA256, secret).as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }

    /// A digest that the config already holds.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest itself.
    #[must_use]
    pub const fn bytes(&self) -> [u8; 32] {
        self.0
    }

    /// Equality in constant time (hardening r26).
    #[must_use]
    pub fn same(&self, other: &Self) -> bool {
        verify_slices_are_equal(&self.0, &other.0).is_ok()
    }

    /// The first half, as a key of limits.
    #[must_use]
    pub fn half(&self) -> u128 {
        self.0.first_chunk().copied().map_or(0, u128::from_be_bytes)
    }

    /// As hexadecimal digits, where a digest must be told.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretDigest(…)")
    }
}

/// 128 bits that stand for `text`: strangers cannot make two texts share them.
#[must_use]
pub fn key_of(text: &[u8]) -> u128 {
    SecretDigest::of(text).half()
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha_256_and_show_nothing() {
        let digest = SecretDigest::of(b"abc");
        assert_eq!(format!("{:x}", digest.half()), "ba7816bf8f01cfea414140de5dae2223");
        assert_eq!(
            digest.hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert!(digest.same(&SecretDigest::of(b"abc")));
        assert!(!digest.same(&SecretDigest::of(b"abd")));
        assert_eq!(format!("{digest:?}"), "SecretDigest(…)");
    }
}
