//! What passes: every algorithm and key size, key choice, and what the identity is made of.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use aws_lc_rs::rsa::KeySize;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::issuer::{
    ED, ED_HEADER, ISSUER, NOW, P256, P384, P521, RSA, SECRET, TestKey, all_keys, claims, claims_with, claims_without,
    compact, hmac, rules, set_of, signed,
};
use super::judge;
use crate::policy::authn::jwt::twin::twin;
use crate::policy::authn::jwt::{KeySet, parse, verify};
use crate::policy::digest::key_of;
use crate::policy::identity::{AuthMethod, ClaimPath, HeaderText};
use crate::policy::token::{Algorithm, ClaimRule, TokenFault, TokenRules, VerifiedToken};

const RSA_ALGORITHMS: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];

fn judged_by(rules: &TokenRules, payload: &str) -> Result<VerifiedToken, TokenFault> {
    verify(
        &parse(&signed(ED_HEADER, payload)).unwrap(),
        rules,
        &set_of(&[ED.jwk()]),
    )
}

fn texts(items: &[HeaderText]) -> Vec<&str> {
    items.iter().map(HeaderText::as_str).collect()
}

/// jsonwebtoken's opinion of the signature.
fn reference(token: &str, key: &TestKey) -> bool {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let key = jsonwebtoken::DecodingKey::from_jwk(&serde_json::from_value(key.jwk()).unwrap()).unwrap();
    let algorithm = jsonwebtoken::decode_header(token).unwrap().alg;
    jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, algorithm).unwrap()
}

#[test]
fn takes_rsa_keys_of_2048_3072_and_4096_bits_with_every_rsa_algorithm() {
    for size in [KeySize::Rsa2048, KeySize::Rsa3072, KeySize::Rsa4096] {
        let key = TestKey::rsa("k", size);
        for algorithm in RSA_ALGORITHMS {
            let token = key.token(algorithm);
            assert!(judge(&token, &set_of(&[key.jwk()])).is_ok(), "{algorithm:?}");
            assert!(reference(&token, &key), "{algorithm:?}");
        }
    }
}

#[test]
fn takes_elliptic_and_edwards_curves() {
    for (key, algorithm) in [
        (&*P256, Algorithm::ES256),
        (&*P384, Algorithm::ES384),
        (&*P521, Algorithm::ES512),
        (&*ED, Algorithm::EdDSA),
    ] {
        let token = key.token(algorithm);
        assert!(judge(&token, &all_keys()).is_ok(), "{algorithm:?}");
        // The reference has no ES512.
        assert!(algorithm == Algorithm::ES512 || reference(&token, key), "{algorithm:?}");
    }
}

/// By whoever has the one, without the key.
#[test]
fn an_ecdsa_token_is_one_credential_in_both_its_texts() {
    for (key, algorithm) in [
        (&*P256, Algorithm::ES256),
        (&*P384, Algorithm::ES384),
        (&*P521, Algorithm::ES512),
    ] {
        let token = key.token(algorithm);
        let (input, signature) = token.rsplit_once('.').unwrap();
        let other = twin(algorithm, &BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let other = format!("{input}.{}", BASE64_URL_SAFE_NO_PAD.encode(other));
        assert_ne!(token, other);
        let known_by = |token: &str| {
            let verified = judge(token, &all_keys()).unwrap();
            (verified.identity.keys.credential, verified.twin.unwrap())
        };
        let mut digests = [key_of(token.as_bytes()), key_of(other.as_bytes())];
        digests.sort_unstable();
        assert_eq!(known_by(&token), digests.into(), "{algorithm:?}");
        assert_eq!(known_by(&other), digests.into(), "{algorithm:?}");
    }
    assert_eq!(judge(&ED.token(Algorithm::EdDSA), &all_keys()).unwrap().twin, None);
}

#[test]
fn takes_every_live_secret_with_every_hmac_and_any_kid() {
    let mut keys = KeySet::default();
    keys.add_secrets(&[b"another live one", SECRET]);
    let digests = [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)];
    for (name, digest) in digests {
        for header in [json!({ "alg": name }), json!({"alg": name, "kid": "whatever"})] {
            let token = compact(&header.to_string(), &claims().to_string(), |input| {
                hmac(digest, SECRET, input)
            });
            assert!(judge(&token, &keys).is_ok(), "{name}");
        }
    }
}

#[test]
fn takes_what_jsonwebtoken_signs() {
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let token = jsonwebtoken::encode(&header, &claims(), &jsonwebtoken::EncodingKey::from_secret(SECRET)).unwrap();
    assert!(judge(&token, &all_keys()).is_ok());
}

#[test]
fn takes_jwt_and_access_token_types_in_any_case_and_none() {
    for kind in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "application/jwt",
        "Application/JWT",
    ] {
        let header = json!({"alg": "EdDSA", "kid": "ed", "typ": kind, "cty": "json"}).to_string();
        assert!(
            judge(&signed(&header, &claims().to_string()), &all_keys()).is_ok(),
            "{kind}"
        );
    }
    assert!(judge(&signed(ED_HEADER, &claims().to_string()), &all_keys()).is_ok());
}

#[test]
fn a_token_without_kid_tries_the_keys_that_fit_but_no_more_than_eight() {
    let token = signed(r#"{"alg":"EdDSA"}"#, &claims().to_string());
    let others: Vec<Value> = (0..8).map(|_| TestKey::ed("other").jwk()).collect();
    let mut keys = vec![RSA.jwk(), P256.jwk()];
    keys.extend_from_slice(&others[..7]);
    keys.push(named(ED.jwk(), "z"));
    assert!(judge(&token, &set_of(&keys)).is_ok());
    keys.insert(0, others[7].clone());
    assert_eq!(judge(&token, &set_of(&keys)).unwrap_err(), TokenFault::BadSignature);
}

#[test]
fn a_token_with_kid_finds_a_nameless_key_only_where_no_key_of_its_kind_has_a_name() {
    let token = signed(r#"{"alg":"EdDSA","kid":"new"}"#, &claims().to_string());
    let nameless = named(ED.jwk(), Value::Null);
    assert!(judge(&token, &set_of(&[nameless.clone(), P256.jwk()])).is_ok());
    let with_named = set_of(&[nameless, TestKey::ed("old").jwk()]);
    assert_eq!(judge(&token, &with_named).unwrap_err(), TokenFault::UnknownKey);
}

#[test]
fn keys_of_different_type_may_share_a_kid() {
    let keys = set_of(&[named(RSA.jwk(), "k"), named(P256.jwk(), "k"), named(P384.jwk(), "k")]);
    for (key, algorithm) in [(&*RSA, "RS256"), (&*P256, "ES256"), (&*P384, "ES384")] {
        let header = json!({"alg": algorithm, "kid": "k"}).to_string();
        let token = key.token_of(Algorithm::from_name(algorithm).unwrap(), &header, &claims().to_string());
        assert!(judge(&token, &keys).is_ok(), "{algorithm}");
    }
}

fn named(mut jwk: Value, kid: impl Into<Value>) -> Value {
    jwk["kid"] = kid.into();
    jwk
}

#[test]
fn makes_the_identity_of_the_claims() {
    let token = signed(ED_HEADER, &claims().to_string());
    let verified = judge(&token, &all_keys()).unwrap();
    let identity = &verified.identity;
    assert_eq!(identity.method, AuthMethod::Jwt);
    assert_eq!(identity.user.as_str(), "ada");
    assert_eq!(identity.tenant.as_ref().unwrap().as_str(), "acme");
    assert_eq!(identity.client.as_ref().unwrap().as_str(), "cli");
    assert_eq!(texts(&identity.scopes), ["model:read", "model:write", "mlflow:access"]);
    assert_eq!(texts(&identity.roles), ["user", "ops"]);
    assert_eq!(texts(&identity.permissions), ["tasks.read", "tasks.create"]);
    assert_eq!(identity.tier.as_deref(), Some("pro"));
    assert_eq!(identity.issuer.as_deref(), Some("codelab"));
    assert_eq!(identity.keys.credential, key_of(token.as_bytes()));
    let headers: Vec<_> = identity
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        headers,
        [
            ("x-user-id", "ada"),
            ("x-scopes", "model:read model:write mlflow:access"),
            ("x-permissions", "tasks.read,tasks.create"),
            ("x-user-email", "ada@example.com"),
        ]
    );
    assert_eq!(
        (verified.exp, verified.nbf, verified.iat),
        (NOW + 3600, Some(NOW - 10), Some(NOW - 10))
    );
    assert_eq!(verified.jti, Some(key_of(b"t-1")));
    assert_eq!(verified.audiences, [Box::<str>::from("api")]);
    let kept: Vec<_> = verified
        .kept_claims
        .iter()
        .map(|(path, claim)| (path.as_str(), claim.clone()))
        .collect();
    assert_eq!(kept, [("email", json!("ada@example.com"))]);
}

#[test]
fn reads_integers_as_ids_and_null_as_absent() {
    let payload = claims_with(&json!({
        "sub": 42, "tenant_id": 7, "client_id": null, "azp": "web", "tier": null, "scope": null, "scp": null,
        "permissions": null, "realm": null, "roles": "one role", "email": null,
    }));
    let identity = judged_by(&rules(), &payload).unwrap().identity;
    assert_eq!(identity.user.as_str(), "42");
    assert_eq!(identity.tenant.as_ref().unwrap().as_str(), "7");
    assert_eq!(identity.client.as_ref().unwrap().as_str(), "web");
    assert_eq!(
        (
            identity.tier.as_deref(),
            identity.scopes.len(),
            identity.permissions.len()
        ),
        (None, 0, 0)
    );
    assert_eq!(texts(&identity.roles), ["one role"]);
    assert_eq!(identity.headers.len(), 1);
}

#[test]
fn splits_strings_of_scopes_and_permissions_at_spaces() {
    let payload = claims_with(&json!({"scope": " a  b ", "scp": "", "permissions": "x.* y", "realm": null}));
    let identity = judged_by(&rules(), &payload).unwrap().identity;
    assert_eq!(
        (texts(&identity.scopes), texts(&identity.permissions)),
        (vec!["a", "b"], vec!["x.*", "y"])
    );
}

#[test]
fn takes_the_second_user_claim_and_puts_the_prefix_before_it() {
    let mut rules = rules();
    rules.user_prefix = "codelab|".to_owned();
    let payload = claims_with(&json!({"sub": null, "user_id": "system"}));
    assert_eq!(
        judged_by(&rules, &payload).unwrap().identity.user.as_str(),
        "codelab|system"
    );
    rules.user_prefix = "sys".to_owned();
    let payload = claims_with(&json!({"sub": "tem"}));
    assert_eq!(judged_by(&rules, &payload).unwrap_err(), TokenFault::BadUser);
}

#[test]
fn writes_further_claims_that_are_numbers_or_truth_values() {
    for (claim, header) in [
        (json!(true), "true"),
        (json!(false), "false"),
        (json!(12), "12"),
        (json!("a, b"), "a, b"),
    ] {
        let identity = judged_by(&rules(), &claims_with(&json!({ "email": claim })))
            .unwrap()
            .identity;
        assert_eq!(identity.headers.last().unwrap().1, header);
    }
}

#[test]
fn takes_an_audience_from_a_list_and_any_or_none_where_none_is_configured() {
    assert!(judged_by(&rules(), &claims_with(&json!({"aud": ["x", "api"]}))).is_ok());
    let mut rules = rules();
    rules.audiences.clear();
    assert!(judged_by(&rules, &claims_with(&json!({"aud": "x"}))).is_ok());
    assert!(judged_by(&rules, &claims_with(&json!({"aud": []}))).is_ok());
    assert!(judged_by(&rules, &claims_without("aud")).is_ok());
}

#[test]
fn an_issuer_without_a_name_takes_tokens_without_iss_and_no_others() {
    let mut rules = rules();
    rules.issuer = None;
    assert!(judged_by(&rules, &claims_without("iss")).is_ok());
    assert_eq!(
        judged_by(&rules, &claims().to_string()).unwrap_err(),
        TokenFault::UnknownIssuer
    );
}

#[test]
fn reads_times_as_integers_or_floats_rounded_down() {
    let payload = claims_with(&json!({"exp": 1_800_003_600.9, "nbf": 0, "iat": 1.5e9}));
    let verified = judged_by(&rules(), &payload).unwrap();
    assert_eq!(
        (verified.exp, verified.nbf, verified.iat),
        (1_800_003_600, Some(0), Some(1_500_000_000))
    );
}

#[test]
fn leeway_is_added_to_every_time() {
    let late = judged_by(&rules(), &claims_with(&json!({"exp": NOW - 29}))).unwrap();
    assert_eq!(late.judge_time(NOW), Ok(()));
    assert_eq!(late.judge_time(NOW + 1), Err(TokenFault::Expired));
    for name in ["nbf", "iat"] {
        let early = judged_by(&rules(), &claims_with(&json!({ name: NOW + 30 }))).unwrap();
        assert_eq!(early.judge_time(NOW), Ok(()), "{name}");
        assert_eq!(early.judge_time(NOW - 1), Err(TokenFault::NotYetValid), "{name}");
    }
}

#[test]
fn a_lifetime_cap_counts_from_iat_and_needs_it() {
    let mut rules = rules();
    rules.max_lifetime_s = 600;
    let judged = |payload: &str| judged_by(&rules, payload).map(|verified| verified.exp);
    assert_eq!(
        judged(&claims_with(&json!({"iat": NOW, "exp": NOW + 600}))),
        Ok(NOW + 600)
    );
    assert_eq!(
        judged(&claims_with(&json!({"iat": NOW, "exp": NOW + 601}))),
        Err(TokenFault::LivesTooLong)
    );
    assert_eq!(judged(&claims_without("iat")), Err(TokenFault::BadTime));
}

#[test]
fn required_claims_must_be_there_and_be_one_of_the_values() {
    let wants = |rule| {
        let mut rules = rules();
        rules.required_claims = vec![(ClaimPath::new("typ"), rule)];
        rules
    };
    let access = wants(ClaimRule::OneOf(vec![json!("access"), json!("m2m")]));
    assert!(judged_by(&access, &claims().to_string()).is_ok());
    for other in [
        json!("refresh"),
        json!("Access"),
        json!(null),
        json!(1),
        json!({}),
        json!(["refresh"]),
    ] {
        let fault = judged_by(&access, &claims_with(&json!({ "typ": other }))).unwrap_err();
        assert_eq!(fault, TokenFault::ClaimMismatch, "{other}");
    }
    assert_eq!(
        judged_by(&wants(ClaimRule::Present), &claims_without("typ")).unwrap_err(),
        TokenFault::ClaimMismatch
    );
    assert!(judged_by(&wants(ClaimRule::Present), &claims().to_string()).is_ok());
}

#[test]
fn an_unverified_token_says_whose_it_is_and_hides_the_rest() {
    let token = ED.token(Algorithm::EdDSA);
    let unverified = parse(&token).unwrap();
    assert_eq!((unverified.issuer(), unverified.kid()), (Some(ISSUER), Some("ed")));
    assert_eq!(unverified.claims()["sub"], "ada");
    assert_eq!(format!("{unverified:?}"), "Unverified { algorithm: EdDSA, .. }");
}
