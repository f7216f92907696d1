//! JWK sets: which keys are used, which are left out and why, and the limits.

use aws_lc_rs::signature::{ED25519, ParsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::issuer::{ED, P256, P384, P521, RSA, SECRET, all_keys, b64, claims, set_of};
use super::judge;
use crate::policy::authn::jwt::{JwksError, KeySet, MAX_JWKS_BYTES, MAX_KEYS, SkipReason};
use crate::policy::token::{Algorithm, TokenFault};

/// Why the set of this one key is a set of no keys.
fn reason(jwk: Value) -> Option<SkipReason> {
    let (set, skipped) = KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    assert_eq!(set.len() + skipped.len(), 1);
    skipped.first().map(|key| key.reason)
}

fn with(mut jwk: Value, name: &str, value: impl Into<Value>) -> Value {
    jwk[name] = value.into();
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name).unwrap();
    jwk
}

fn bytes(jwk: &Value, name: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
}

#[test]
fn one_odd_key_does_not_spoil_the_set() {
    let jwks = json!({"keys": [{"kty": "PQ", "kid": "odd"}, 7, ED.jwk(), {"kty": "oct", "k": "AAAA"}], "x": 1});
    let (set, skipped) = KeySet::from_jwks(jwks.to_string().as_bytes()).unwrap();
    assert_eq!(set.kids().collect::<Vec<_>>(), ["ed"]);
    let found: Vec<_> = skipped
        .iter()
        .map(|key| (key.index, key.kid.as_deref(), key.reason))
        .collect();
    assert_eq!(
        found,
        [
            (0, Some("odd"), SkipReason::UnknownType),
            (1, None, SkipReason::Malformed),
            (3, None, SkipReason::SymmetricKey),
        ]
    );
    assert!(judge(&ED.token(Algorithm::EdDSA), &set).is_ok());
}

#[test]
fn leaves_out_keys_by_type_curve_and_purpose() {
    assert_eq!(reason(with(RSA.jwk(), "kty", "rsa")), Some(SkipReason::UnknownType));
    assert_eq!(reason(with(RSA.jwk(), "kty", 1)), Some(SkipReason::Malformed));
    assert_eq!(reason(without(RSA.jwk(), "kty")), Some(SkipReason::Malformed));
    assert_eq!(reason(with(RSA.jwk(), "kid", 1)), Some(SkipReason::Malformed));
    assert_eq!(
        reason(json!({"kty": "oct", "k": b64(SECRET), "alg": "HS256"})),
        Some(SkipReason::SymmetricKey)
    );
    assert_eq!(
        reason(with(P256.jwk(), "crv", "secp256k1")),
        Some(SkipReason::UnknownCurve)
    );
    assert_eq!(reason(without(P256.jwk(), "crv")), Some(SkipReason::UnknownCurve));
    assert_eq!(
        reason(with(P256.jwk(), "crv", "Ed25519")),
        Some(SkipReason::UnknownCurve)
    );
    for curve in ["Ed448", "X25519", "X448", "P-256"] {
        assert_eq!(
            reason(with(ED.jwk(), "crv", curve)),
            Some(SkipReason::UnknownCurve),
            "{curve}"
        );
    }
    for purpose in ["enc", "", "SIG"] {
        assert_eq!(
            reason(with(ED.jwk(), "use", purpose)),
            Some(SkipReason::NotForVerifying),
            "{purpose}"
        );
    }
    for operations in [json!([]), json!(["sign"]), json!(["encrypt", "wrapKey"])] {
        assert_eq!(
            reason(with(ED.jwk(), "key_ops", operations)),
            Some(SkipReason::NotForVerifying)
        );
    }
    assert_eq!(reason(with(ED.jwk(), "key_ops", "verify")), Some(SkipReason::Malformed));
    for jwk in [RSA.jwk(), P256.jwk(), ED.jwk()] {
        assert_eq!(reason(with(jwk, "d", "AAAA")), Some(SkipReason::PrivateKey));
    }
    for part in ["p", "q", "dp", "dq", "qi", "oth"] {
        assert_eq!(
            reason(with(RSA.jwk(), part, "AAAA")),
            Some(SkipReason::PrivateKey),
            "{part}"
        );
    }
}

/// `(0, 1)`, and no more: the signature that holds for such a key, for one message of eight at least.
#[test]
fn leaves_out_points_for_which_anybody_can_sign() {
    let filled = |first: u8, middle: u8, last: u8| {
        let mut y = [middle; 32];
        (y[0], y[31]) = (first, last);
        y
    };
    let hex = |text: &str| -> [u8; 32] {
        std::array::from_fn(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).unwrap())
    };
    let small = [
        filled(0, 0, 0),
        filled(1, 0, 0),
        filled(0xec, 0xff, 0x7f),
        filled(0xed, 0xff, 0x7f),
        filled(0xee, 0xff, 0x7f),
        hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    ];
    let signature = [filled(1, 0, 0), [0; 32]].concat();
    let mut forged = 0;
    for mut point in small {
        for sign in [0, 0x80] {
            point[31] = point[31] & 0x7f | sign;
            let reason = reason(with(ED.jwk(), "x", b64(point)));
            assert!(
                matches!(reason, Some(SkipReason::SmallOrder | SkipReason::NotOnCurve)),
                "{point:x?}: {reason:?}"
            );
            if let Ok(key) = ParsedPublicKey::new(&ED25519, point) {
                forged += usize::from((0_u8..64).any(|message| key.verify_sig(&[message], &signature).is_ok()));
            }
        }
    }
    assert!(forged >= 7, "the library takes {forged} of them");
    assert_eq!(reason(ED.jwk()), None);
}

#[test]
fn leaves_out_keys_whose_own_alg_is_not_ours_or_does_not_fit() {
    for (jwk, own) in [
        (RSA.jwk(), "RSA-OAEP"),
        (RSA.jwk(), "HS256"),
        (RSA.jwk(), "ES256"),
        (RSA.jwk(), "none"),
        (RSA.jwk(), "rs256"),
        (P256.jwk(), "ES384"),
        (P256.jwk(), "ECDH-ES"),
        (P521.jwk(), "ES521"),
        (ED.jwk(), "ES256"),
    ] {
        assert_eq!(reason(with(jwk, "alg", own)), Some(SkipReason::UnfitAlgorithm), "{own}");
    }
}

#[test]
fn takes_keys_with_fitting_purpose_and_alg() {
    for jwk in [
        with(with(RSA.jwk(), "use", "sig"), "alg", "PS512"),
        with(P384.jwk(), "key_ops", json!(["verify"])),
        with(ED.jwk(), "alg", "EdDSA"),
        with(ED.jwk(), "x5c", json!(["whatever"])),
        with(ED.jwk(), "kid", Value::Null),
    ] {
        assert_eq!(reason(jwk.clone()), None, "{jwk}");
    }
}

#[test]
fn a_key_verifies_its_own_alg_only() {
    let keys = set_of(&[with(RSA.jwk(), "alg", "PS256")]);
    assert!(judge(&RSA.token(Algorithm::PS256), &keys).is_ok());
    for other in [Algorithm::RS256, Algorithm::PS384, Algorithm::RS512] {
        assert_eq!(
            judge(&RSA.token(other), &keys).unwrap_err(),
            TokenFault::AlgorithmNotAllowed,
            "{other:?}"
        );
    }
}

#[test]
fn leaves_out_keys_whose_numbers_are_not_unpadded_base64url() {
    let text = |jwk: &Value, name: &str| jwk[name].as_str().unwrap().to_owned();
    for (jwk, name) in [
        (RSA.jwk(), "n"),
        (RSA.jwk(), "e"),
        (P256.jwk(), "x"),
        (P256.jwk(), "y"),
        (ED.jwk(), "x"),
    ] {
        for bad in [
            text(&jwk, name) + "=",
            text(&jwk, name) + "\n",
            "a+/b".to_owned(),
            "ü".to_owned(),
        ] {
            assert_eq!(
                reason(with(jwk.clone(), name, bad)),
                Some(SkipReason::BadBase64),
                "{name}"
            );
        }
        assert_eq!(
            reason(without(jwk.clone(), name)),
            Some(SkipReason::Malformed),
            "{name}"
        );
        assert_eq!(reason(with(jwk, name, 5)), Some(SkipReason::Malformed), "{name}");
    }
}

#[test]
fn leaves_out_rsa_keys_that_are_too_short_too_long_or_odd() {
    let modulus = |bits: usize| {
        let mut n = vec![0xff; bits.div_ceil(8)];
        n[0] = 0xff >> (n.len() * 8 - bits);
        b64(n)
    };
    for bits in [8, 512, 1024, 2047, 8193, 16384] {
        assert_eq!(
            reason(with(RSA.jwk(), "n", modulus(bits))),
            Some(SkipReason::RsaModulus),
            "{bits}"
        );
    }
    for bits in [2048, 3072, 4096, 8192] {
        assert_eq!(reason(with(RSA.jwk(), "n", modulus(bits))), None, "{bits}");
    }
    let mut even = bytes(&RSA.jwk(), "n");
    *even.last_mut().unwrap() &= 0xfe;
    for n in ["".to_owned(), b64([0; 256]), b64(even)] {
        assert_eq!(reason(with(RSA.jwk(), "n", n)), Some(SkipReason::RsaModulus));
    }
    for e in [&[][..], &[0], &[1], &[2], &[1, 0, 0], &[1, 0, 0, 0, 1]] {
        assert_eq!(
            reason(with(RSA.jwk(), "e", b64(e))),
            Some(SkipReason::RsaExponent),
            "{e:?}"
        );
    }
    assert_eq!(reason(with(RSA.jwk(), "e", b64([3]))), None);
}

#[test]
fn a_leading_zero_before_an_rsa_number_is_forgiven() {
    let padded = [&[0], bytes(&RSA.jwk(), "n").as_slice()].concat();
    let keys = set_of(&[with(with(RSA.jwk(), "n", b64(padded)), "e", b64([0, 1, 0, 1]))]);
    assert!(judge(&RSA.token(Algorithm::RS256), &keys).is_ok());
}

#[test]
fn r21_a_1024_bit_rsa_key_signs_nothing() {
    let weak: Value = serde_json::from_str(include_str!("rsa_1024.json")).unwrap();
    let (keys, skipped) = KeySet::from_jwks(json!({ "keys": [weak["jwk"]] }).to_string().as_bytes()).unwrap();
    assert_eq!(skipped[0].reason, SkipReason::RsaModulus);
    assert_eq!(
        judge(weak["token"].as_str().unwrap(), &keys).unwrap_err(),
        TokenFault::UnknownKey
    );
}

#[test]
fn leaves_out_points_that_are_not_on_their_curve_or_of_the_wrong_width() {
    for jwk in [P256.jwk(), P384.jwk(), P521.jwk()] {
        let (x, mut y) = (bytes(&jwk, "x"), bytes(&jwk, "y"));
        *y.last_mut().unwrap() ^= 1;
        assert_eq!(reason(with(jwk.clone(), "y", b64(&y))), Some(SkipReason::NotOnCurve));
        let zero = vec![0; x.len()];
        let origin = with(with(jwk.clone(), "x", b64(&zero)), "y", b64(&zero));
        assert_eq!(reason(origin), Some(SkipReason::NotOnCurve));
        for wrong in [&x[1..], &[&[0], x.as_slice()].concat(), &[]] {
            assert_eq!(reason(with(jwk.clone(), "x", b64(wrong))), Some(SkipReason::NotOnCurve));
        }
    }
    // The same point, cut elsewhere.
    let (x, y) = (bytes(&P256.jwk(), "x"), bytes(&P256.jwk(), "y"));
    let cut = with(P256.jwk(), "x", b64([x.as_slice(), &y[..1]].concat()));
    assert_eq!(reason(with(cut, "y", b64(&y[1..]))), Some(SkipReason::NotOnCurve));
    assert_eq!(reason(with(P256.jwk(), "crv", "P-384")), Some(SkipReason::NotOnCurve));
    assert_eq!(reason(with(ED.jwk(), "x", b64([1; 31]))), Some(SkipReason::NotOnCurve));
    assert_eq!(reason(with(ED.jwk(), "x", b64([1; 44]))), Some(SkipReason::NotOnCurve));
}

#[test]
fn a_document_that_is_no_set_is_an_error() {
    let error = |json: &[u8]| KeySet::from_jwks(json).map(|(set, _)| set.len()).unwrap_err();
    let deep = format!(r#"{{"keys":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    for json in ["", "<html>", r#"{"keys":["#, "{} {}", &deep] {
        assert_eq!(error(json.as_bytes()), JwksError::NotJson);
    }
    assert_eq!(error(b"{\"keys\":[\"\xff\"]}"), JwksError::NotJson);
    for json in [
        "[]",
        "null",
        "{}",
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        r#"{"Keys":[]}"#,
    ] {
        assert_eq!(error(json.as_bytes()), JwksError::NoKeys, "{json}");
    }
    assert_eq!(error(&vec![b' '; MAX_JWKS_BYTES + 1]), JwksError::TooLong);
    assert_eq!(
        error(json!({"keys": vec![0; MAX_KEYS + 1]}).to_string().as_bytes()),
        JwksError::TooManyKeys
    );
}

#[test]
fn an_empty_list_is_a_set_of_no_keys() {
    let (set, skipped) = KeySet::from_jwks(br#"{"keys":[]}"#).unwrap();
    assert!(set.is_empty() && skipped.is_empty());
    assert_eq!(
        judge(&ED.token(Algorithm::EdDSA), &set).unwrap_err(),
        TokenFault::UnknownKey
    );
}

#[test]
fn an_empty_secret_is_no_secret() {
    let mut keys = KeySet::default();
    keys.add_secrets(&[b""]);
    let payload = claims().to_string();
    let token = super::issuer::compact(r#"{"alg":"HS256"}"#, &payload, |input| {
        super::issuer::hmac(aws_lc_rs::hmac::HMAC_SHA256, b"", input)
    });
    assert_eq!(judge(&token, &keys).unwrap_err(), TokenFault::UnknownKey);
}

#[test]
fn debug_shows_names_and_counts_and_no_key() {
    let shown = format!("{:?}", all_keys());
    assert_eq!(
        shown,
        r#"KeySet { keys: 5, kids: ["ed", "p256", "p384", "p521", "rsa"], secrets: 1 }"#
    );
}

#[test]
fn workers_share_a_set() {
    fn shared<T: Send + Sync>() {}
    shared::<KeySet>();
}
