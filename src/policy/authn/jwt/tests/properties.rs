//! Anything at all may be sent: nothing panics, and no change to a good token passes.

use aws_lc_rs::hmac::HMAC_SHA256;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::issuer::{ED, SECRET, b64, compact, hmac, set_of};
use super::judge;
use crate::policy::authn::jwt::{KeySet, parse};
use crate::policy::token::Algorithm;

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 6, |inner| {
        let name = prop_oneof![any::<String>(), claim_name()];
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            btree_map(name, inner, 0..6).prop_map(|members| members.into_iter().collect()),
        ]
    })
}

fn claim_name() -> impl Strategy<Value = String> {
    let names = [
        "iss",
        "aud",
        "sub",
        "exp",
        "nbf",
        "iat",
        "jti",
        "scope",
        "scp",
        "permissions",
        "roles",
        "realm",
        "tenant_id",
        "tier",
        "email",
        "kty",
        "crv",
        "x",
        "y",
        "n",
        "e",
        "kid",
        "use",
        "alg",
        "key_ops",
        "d",
    ];
    prop::sample::select(names.map(str::to_owned).to_vec())
}

fn with_secret() -> KeySet {
    let mut keys = KeySet::default();
    keys.add_secrets(&[SECRET]);
    keys
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_refused_without_a_panic(token in any::<String>()) {
        prop_assert!(parse(&token).is_err());
    }

    #[test]
    fn any_three_parts_are_judged_without_a_panic(parts in vec(vec(any::<u8>(), 0..80), 3)) {
        let token = parts.iter().map(b64).collect::<Vec<_>>().join(".");
        prop_assert!(parse(&token).is_err());
    }

    #[test]
    fn any_claims_well_signed_are_judged_without_a_panic(
        base in any::<bool>(), changes in btree_map(claim_name(), json_value(), 0..6)
    ) {
        let mut claims = if base { super::issuer::claims() } else { json!({}) };
        for (name, value) in changes {
            claims[name] = value;
        }
        let token = compact(r#"{"alg":"HS256"}"#, &claims.to_string(), |input| hmac(HMAC_SHA256, SECRET, input));
        if let Ok(verified) = judge(&token, &with_secret()) {
            for (_, value) in &verified.identity.headers {
                prop_assert!(value.to_str().is_ok_and(|text| text.trim() == text && !text.is_empty()));
            }
        }
    }

    #[test]
    fn any_header_is_judged_without_a_panic(header in json_value()) {
        let token = compact(&header.to_string(), "{}", |_| std::vec![0; 64]);
        let _ = judge(&token, &with_secret());
    }

    #[test]
    fn any_bytes_are_a_set_or_none_without_a_panic(bytes in vec(any::<u8>(), 0..200)) {
        let _ = KeySet::from_jwks(&bytes);
    }

    #[test]
    fn any_keys_are_used_or_skipped_without_a_panic(keys in vec(json_value(), 0..6)) {
        let count = keys.len();
        let (set, skipped) = KeySet::from_jwks(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
        prop_assert_eq!(set.len() + skipped.len(), count);
    }

    #[test]
    fn any_change_to_one_member_of_a_key_is_used_or_skipped_without_a_panic(name in claim_name(), value in json_value()) {
        let mut jwk = ED.jwk();
        jwk[name] = value;
        let (set, skipped) = KeySet::from_jwks(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        prop_assert_eq!(set.len() + skipped.len(), 1);
        let _ = judge(&ED.token(Algorithm::EdDSA), &set);
    }
}

#[test]
fn no_token_with_one_character_changed_left_out_or_put_in_passes() {
    let keys = set_of(&[ED.jwk()]);
    let token = ED.token(Algorithm::EdDSA);
    assert!(judge(&token, &keys).is_ok());
    for at in 0..token.len() {
        for other in ['A', 'w', '-', '.', '=', ' ', '\n', '\u{e9}'] {
            let (before, rest) = token.split_at(at);
            let after = &rest[1..];
            for changed in [
                format!("{before}{other}{after}"),
                format!("{before}{other}{rest}"),
                format!("{before}{after}"),
            ] {
                assert!(changed == token || judge(&changed, &keys).is_err(), "{changed}");
            }
        }
    }
}
