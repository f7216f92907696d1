//! `redis.record_key`: with it is authenticated what gateways tell each other through Redis and believe.
//!
//! INVARIANT (hardening r45): a MAC is over what kind of thing it speaks of and the length of each part, so that none serves for
//! another kind, nor for parts that are divided otherwise.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac::{self, HMAC_SHA256};

use crate::config::secret::Secret;
use crate::policy::digest::hex;

/// Bytes of a MAC.
pub(super) const MAC: usize = 32;

/// The key.
pub(super) struct RecordKey(hmac::Key);

/// What a MAC speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Domain {
    /// Where an auth service's answer is kept.
    AnswerName,
    /// What an auth service said.
    Answer,
    /// The mode of a route.
    Mode,
}

impl Domain {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::AnswerName => b"answer name",
            Self::Answer => b"answer",
            Self::Mode => b"mode",
        }
    }
}

impl RecordKey {
    /// Of a configured secret.
    #[must_use]
    pub(super) fn new(secret: &Secret) -> Self {
        Self(hmac::Key::new(HMAC_SHA256, secret.expose().as_bytes()))
    }

    /// The MAC of these parts.
    #[must_use]
    pub(super) fn mac(&self, domain: Domain, parts: &[&[u8]]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        for part in [domain.name()].iter().chain(parts) {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        context.sign()
    }

    /// The same in hexadecimal digits.
    #[must_use]
    pub(super) fn mac_text(&self, domain: Domain, parts: &[&[u8]]) -> String {
        hex(self.mac(domain, parts).as_ref())
    }

    /// Whether that is the MAC of these parts; takes as long for every wrong one.
    #[must_use]
    pub(super) fn is_mac(&self, mac: &[u8], domain: Domain, parts: &[&[u8]]) -> bool {
        verify_slices_are_equal(self.mac(domain, parts).as_ref(), mac).is_ok()
    }

    /// The same of hexadecimal digits.
    #[must_use]
    pub(super) fn is_mac_text(&self, mac: &str, domain: Domain, parts: &[&[u8]]) -> bool {
        verify_slices_are_equal(self.mac_text(domain, parts).as_bytes(), mac.as_bytes()).is_ok()
    }
}

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r45_a_mac_serves_for_its_own_parts_kind_and_key_only() {
        let key = |text: &str| RecordKey::new(&Secret::new(text.to_owned()));
        let ours = key("a-key-of-our-gateways-0123456789ab");
        let mac = ours.mac(Domain::Mode, &[b"chat", b"jwt"]);
        let mac = mac.as_ref();
        assert_eq!(mac.len(), MAC);
        assert!(ours.is_mac(mac, Domain::Mode, &[b"chat", b"jwt"]));
        assert!(ours.is_mac_text(&hex(mac), Domain::Mode, &[b"chat", b"jwt"]));
        for (domain, parts) in [
            (Domain::Answer, &[&b"chat"[..], b"jwt"][..]),
            (Domain::Mode, &[b"cha", b"tjwt"]),
            (Domain::Mode, &[b"chatjwt"]),
            (Domain::Mode, &[b"chat", b"jwt", b""]),
        ] {
            assert!(!ours.is_mac(mac, domain, parts), "{domain:?} {parts:?}");
            assert!(!ours.is_mac_text(&hex(mac), domain, parts), "{domain:?} {parts:?}");
        }
        assert!(!ours.is_mac(&[], Domain::Mode, &[b"chat", b"jwt"]));
        assert!(!key("another-key-of-ours-0123456789abcdef").is_mac(mac, Domain::Mode, &[b"chat", b"jwt"]));
    }
}
