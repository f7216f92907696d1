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
        let [high, ..] = self.halves();
        high
    }

    /// As hexadecimal digits, where a digest must be told.
    #[must_use]
    pub fn hex(&self) -> String {
        let [high, low] = self.halves();
        format!("{high:032x}{low:032x}")
    }

    fn halves(&self) -> [u128; 2] {
        let mut halves = [0u128; 2];
        for (index, byte) in self.0.iter().enumerate() {
            if let Some(half) = halves.get_mut(index / 16) {
                *half = *half << 8 | u128::from(*byte);
            }
        }
        halves
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha_256_and_show_nothing() {
        let digest = SecretDigest::of(b"abc");
        assert_eq!(format!("{:x}", digest.half()), "ba7816bf8f01cfea414140de5dae2223");
        assert!(
            digest
                .hex()
                .starts_with("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
        );
        assert!(digest.same(&SecretDigest::of(b"abc")));
        assert!(!digest.same(&SecretDigest::of(b"abd")));
        assert_eq!(format!("{digest:?}"), "SecretDigest(…)");
    }
}
