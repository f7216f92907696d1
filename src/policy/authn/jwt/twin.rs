//! The other signature that an ECDSA signature comes with: whoever has `(r, s)` can write `(r, n - s)`, which holds as well. So a token
//! that it signs has two texts, and what was said of one by its text (a revocation, a count) is to be known of the other.
//!
//! Neither can be refused: RFC 7518 §3.4 does not say which of the two a signer writes. Depends on `policy::token`.

use crate::policy::token::Algorithm;

/// The order `n` of P-256 (NIST SP 800-186 §3.2.1.3), big-endian as all of them.
const P256: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// Of P-384 (§3.2.1.4).
const P384: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2, 0x48, 0xb0,
    0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];

/// Of P-521 (§3.2.1.5).
const P521: [u8; 66] = [
    0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfa, 0x51, 0x86, 0x87, 0x83,
    0xbf, 0x2f, 0x96, 0x6b, 0x7f, 0xcc, 0x01, 0x48, 0xf7, 0x09, 0xa5, 0xd0, 0x3b, 0xb5, 0xc9, 0xb8, 0x89, 0x9c, 0x47,
    0xae, 0xbb, 0x6f, 0xb7, 0x1e, 0x91, 0x38, 0x64, 0x09,
];

/// The other signature of one that holds; `None`: there is no other.
pub(super) fn twin(algorithm: Algorithm, signature: &[u8]) -> Option<Vec<u8>> {
    let order: &[u8] = match algorithm {
        Algorithm::ES256 => &P256,
        Algorithm::ES384 => &P384,
        Algorithm::ES512 => &P521,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512
        | Algorithm::EdDSA
        | Algorithm::HS256
        | Algorithm::HS384
        | Algorithm::HS512 => return None,
    };
    let (r, s) = signature.split_at_checked(order.len())?;
    let mut twin = r.to_vec();
    twin.extend(difference(order, s)?);
    Some(twin)
}

/// `from - less`, of equally many bytes; `None`: it would be negative.
fn difference(from: &[u8], less: &[u8]) -> Option<Vec<u8>> {
    if from.len() != less.len() {
        return None;
    }
    let mut borrowed = false;
    let mut bytes: Vec<u8> = from
        .iter()
        .zip(less)
        .rev()
        .map(|(from, less)| {
            let (left, under) = from.overflowing_sub(*less);
            let (left, under_again) = left.overflowing_sub(borrowed.into());
            borrowed = under || under_again;
            left
        })
        .collect();
    bytes.reverse();
    (!borrowed).then_some(bytes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_no_twin_says_so() {
        assert_eq!(twin(Algorithm::RS256, &[1; 256]), None);
        assert_eq!(twin(Algorithm::EdDSA, &[1; 64]), None);
        assert_eq!(twin(Algorithm::ES256, &[1; 63]), None, "too short");
        assert_eq!(twin(Algorithm::ES256, &[0xff; 64]), None, "above the order");
        assert_eq!(twin(Algorithm::ES256, &[]), None);
    }
}
