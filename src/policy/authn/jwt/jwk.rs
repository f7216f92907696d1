//! One JSON Web Key (RFC 7517, RFC 7518 §6, RFC 8037 §2), made ready for each algorithm that it may verify.
//! Depends on `policy::token`.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, VerificationAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::policy::token::Algorithm;

const RSA: [(Algorithm, &RsaParameters); 6] = [
    (Algorithm::RS256, &RSA_PKCS1_2048_8192_SHA256),
    (Algorithm::RS384, &RSA_PKCS1_2048_8192_SHA384),
    (Algorithm::RS512, &RSA_PKCS1_2048_8192_SHA512),
    (Algorithm::PS256, &RSA_PSS_2048_8192_SHA256),
    (Algorithm::PS384, &RSA_PSS_2048_8192_SHA384),
    (Algorithm::PS512, &RSA_PSS_2048_8192_SHA512),
];

/// The y of the points of Ed25519 that have order 8, little-endian.
const ORDER_8: [[u8; 32]; 2] = [
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
        0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
        0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
];

/// A public key, parsed once for each algorithm that it may verify.
pub(super) struct PublicKey {
    pub(super) kid: Option<Box<str>>,
    // INVARIANT: an algorithm stands here only if the key's type, curve and own `alg` fit it, so a token's header can
    // never choose how a key is used (RFC 8725 §3.1).
    ready: Vec<(Algorithm, ParsedPublicKey)>,
}

impl PublicKey {
    /// The key of one element of a JWK set.
    pub(super) fn from_jwk(jwk: &Value) -> Result<Self, SkipReason> {
        let jwk = Jwk::deserialize(jwk).map_err(|_| SkipReason::Malformed)?;
        jwk.judge_purpose()?;
        let mut ready = match jwk.kty.as_str() {
            "RSA" => jwk.rsa()?,
            "EC" => jwk.elliptic_curve()?,
            "OKP" => jwk.edwards_curve()?,
            "oct" => return Err(SkipReason::SymmetricKey),
            _ => return Err(SkipReason::UnknownType),
        };
        if let Some(own) = &jwk.alg {
            ready.retain(|(algorithm, _)| algorithm.name() == own);
        }
        if ready.is_empty() {
            return Err(SkipReason::UnfitAlgorithm);
        }
        let kid = jwk.kid.map(String::into_boxed_str);
        Ok(Self { kid, ready })
    }

    /// The key, ready for `algorithm`; `None` when it must not be used so.
    pub(super) fn for_algorithm(&self, algorithm: Algorithm) -> Option<&ParsedPublicKey> {
        self.ready
            .iter()
            .find(|(fits, _)| *fits == algorithm)
            .map(|(_, key)| key)
    }
}

/// Members that are read; all others are passed over (RFC 7517 §4).
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part of every asymmetric type.
    d: Option<IgnoredAny>,
    /// And what of RSA's tells as much (RFC 7518 §6.3.2).
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
}

impl Jwk {
    fn judge_purpose(&self) -> Result<(), SkipReason> {
        // An issuer that publishes a private key has lost it.
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth];
        if private.into_iter().any(Option::is_some) {
            return Err(SkipReason::PrivateKey);
        }
        let signs = self.purpose.as_deref().is_none_or(|purpose| purpose == "sig");
        let verifies = self
            .key_ops
            .as_ref()
            .is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if signs && verifies {
            Ok(())
        } else {
            Err(SkipReason::NotForVerifying)
        }
    }

    fn rsa(&self) -> Result<Vec<(Algorithm, ParsedPublicKey)>, SkipReason> {
        let (n, e) = (unsigned(&self.n)?, unsigned(&self.e)?);
        let leading = n.first().ok_or(SkipReason::RsaModulus)?.leading_zeros() as usize;
        let bits = n.len() * 8 - leading;
        if !(2048..=8192).contains(&bits) || !is_odd(&n) {
            return Err(SkipReason::RsaModulus);
        }
        // Odd, at least 3 (1 would make every number its own signature) and, as the library has it, of 32 bits.
        if !is_odd(&e) || e == [1] || e.len() > 4 {
            return Err(SkipReason::RsaExponent);
        }
        let key = RsaPublicKeyComponents { n, e };
        RSA.iter()
            .map(|(algorithm, parameters)| Ok((*algorithm, key.to_parsed_public_key(parameters)?)))
            .collect::<Result<_, aws_lc_rs::error::KeyRejected>>()
            .map_err(|_| SkipReason::RsaModulus)
    }

    fn elliptic_curve(&self) -> Result<Vec<(Algorithm, ParsedPublicKey)>, SkipReason> {
        let (algorithm, verification, width): (_, &'static dyn VerificationAlgorithm, _) = match self.crv.as_deref() {
            Some("P-256") => (Algorithm::ES256, &ECDSA_P256_SHA256_FIXED, 32),
            Some("P-384") => (Algorithm::ES384, &ECDSA_P384_SHA384_FIXED, 48),
            Some("P-521") => (Algorithm::ES512, &ECDSA_P521_SHA512_FIXED, 66),
            _ => return Err(SkipReason::UnknownCurve),
        };
        let (x, y) = (bytes(&self.x)?, bytes(&self.y)?);
        // Full width, leading zeros included (RFC 7518 §6.2.1.2).
        if x.len() != width || y.len() != width {
            return Err(SkipReason::NotOnCurve);
        }
        // An uncompressed point (SEC 1 §2.3.3); the library checks that it lies on the curve.
        let point = [&[0x04], x.as_slice(), &y].concat();
        let key = ParsedPublicKey::new(verification, point).map_err(|_| SkipReason::NotOnCurve)?;
        Ok(vec![(algorithm, key)])
    }

    fn edwards_curve(&self) -> Result<Vec<(Algorithm, ParsedPublicKey)>, SkipReason> {
        if self.crv.as_deref() != Some("Ed25519") {
            return Err(SkipReason::UnknownCurve);
        }
        let x = bytes(&self.x)?;
        if x.len() != 32 {
            return Err(SkipReason::NotOnCurve);
        }
        if is_of_small_order(&x) {
            return Err(SkipReason::SmallOrder);
        }
        let key = ParsedPublicKey::new(&ED25519, x).map_err(|_| SkipReason::NotOnCurve)?;
        Ok(vec![(Algorithm::EdDSA, key)])
    }
}

/// Whether this point of Ed25519 vanishes when it is multiplied by 8: then anybody can sign for it, as for an RSA exponent of 1
/// (RFC 8032 §5.1.7 and its erratum leave such keys to the application). By its y alone, in every encoding: 0, 1 and -1 can be
/// written beyond the prime too.
fn is_of_small_order(point: &[u8]) -> bool {
    let Some((last, rest)) = point.split_last() else {
        return false;
    };
    // The highest bit is the sign of x.
    let y = [rest, &[last & 0x7f]].concat();
    match y.as_slice() {
        [0 | 1, zeros @ ..] if zeros.iter().all(|byte| *byte == 0) => true,
        [0xec..=0xee, ones @ .., 0x7f] if ones.iter().all(|byte| *byte == 0xff) => true,
        other => ORDER_8.iter().any(|order_8| order_8 == other),
    }
}

fn bytes(member: &Option<String>) -> Result<Vec<u8>, SkipReason> {
    let text = member.as_ref().ok_or(SkipReason::Malformed)?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| SkipReason::BadBase64)
}

/// A big-endian number without the leading zeros that some issuers write although RFC 7518 §6.3.1.1 forbids them.
fn unsigned(member: &Option<String>) -> Result<Vec<u8>, SkipReason> {
    Ok(bytes(member)?.into_iter().skip_while(|byte| *byte == 0).collect())
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte & 1 == 1)
}

/// Why a key of a set is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum SkipReason {
    Malformed,
    BadBase64,
    UnknownType,
    UnknownCurve,
    SymmetricKey,
    PrivateKey,
    NotForVerifying,
    UnfitAlgorithm,
    RsaModulus,
    RsaExponent,
    NotOnCurve,
    SmallOrder,
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "not a JWK: a member is missing or of the wrong type",
            Self::BadBase64 => "a member is not unpadded base64url",
            Self::UnknownType => "kty is not RSA, EC or OKP",
            Self::UnknownCurve => "crv is not P-256, P-384, P-521 (EC) or Ed25519 (OKP)",
            Self::SymmetricKey => "a shared secret does not belong in a published set",
            Self::PrivateKey => "its private part is published",
            Self::NotForVerifying => "use is not sig, or key_ops lacks verify",
            Self::UnfitAlgorithm => "alg is unknown or does not fit the key",
            Self::RsaModulus => "the RSA modulus is not an odd number of 2048 to 8192 bits",
            Self::RsaExponent => "the RSA exponent is not an odd number of 2 to 32 bits",
            Self::SmallOrder => "anybody can sign for a point of small order",
            Self::NotOnCurve => "not a point of its curve, each coordinate in full width",
        })
    }
}
