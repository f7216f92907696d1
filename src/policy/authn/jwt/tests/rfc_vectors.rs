//! The published examples: RFC 7515 appendix A, RFC 7520 section 4, RFC 8037 appendix A, as data.
//!
//! Most payloads are no claims, so the signature layer is asked by itself.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::issuer::rules;
use crate::policy::authn::jwt::{KeySet, parse, verify};
use crate::policy::identity::ClaimPath;
use crate::policy::token::{Algorithm, TokenFault};

#[derive(Deserialize)]
struct Vector {
    name: String,
    algorithm: String,
    kid: Option<String>,
    jwk: Option<Value>,
    secret: Option<String>,
    header: String,
    payload: String,
    signature: String,
}

impl Vector {
    fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("rfc_vectors.json")).unwrap()
    }

    fn keys(&self) -> KeySet {
        let jwks = json!({ "keys": self.jwk.iter().collect::<Vec<_>>() }).to_string();
        let (mut keys, skipped) = KeySet::from_jwks(jwks.as_bytes()).unwrap();
        assert_eq!(skipped, []);
        if let Some(secret) = &self.secret {
            keys.add_secrets(&[&decoded(secret)]);
        }
        keys
    }

    fn algorithm(&self) -> Algorithm {
        Algorithm::from_name(&self.algorithm).unwrap()
    }

    fn input(&self) -> String {
        format!("{}.{}", self.header, self.payload)
    }
}

fn decoded(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

#[test]
fn takes_every_published_signature() {
    for vector in Vector::all() {
        let (input, signature) = (vector.input(), decoded(&vector.signature));
        let outcome = vector
            .keys()
            .check(vector.algorithm(), vector.kid.as_deref(), input.as_bytes(), &signature);
        assert_eq!(outcome, Ok(()), "{}", vector.name);
    }
}

#[test]
fn refuses_every_published_signature_with_one_bit_changed() {
    for vector in Vector::all() {
        let (keys, input, signature) = (vector.keys(), vector.input(), decoded(&vector.signature));
        let check =
            |input: &[u8], signature: &[u8]| keys.check(vector.algorithm(), vector.kid.as_deref(), input, signature);
        for at in 0..signature.len() {
            let mut changed = signature.clone();
            changed[at] ^= 1;
            assert_eq!(
                check(input.as_bytes(), &changed),
                Err(TokenFault::BadSignature),
                "{} at {at}",
                vector.name
            );
        }
        let mut changed = input.clone().into_bytes();
        *changed.last_mut().unwrap() ^= 1;
        assert_eq!(
            check(&changed, &signature),
            Err(TokenFault::BadSignature),
            "{}",
            vector.name
        );
    }
}

#[test]
fn refuses_every_published_signature_under_another_algorithm() {
    for vector in Vector::all() {
        let (keys, input, signature) = (vector.keys(), vector.input(), decoded(&vector.signature));
        for algorithm in Algorithm::ALL.into_iter().filter(|other| *other != vector.algorithm()) {
            let outcome = keys.check(algorithm, vector.kid.as_deref(), input.as_bytes(), &signature);
            assert!(outcome.is_err(), "{} as {algorithm:?}", vector.name);
        }
    }
}

#[test]
fn takes_the_tokens_of_rfc_7515_whole_until_they_expire() {
    let mut rules = rules();
    rules.issuer = Some("joe".to_owned());
    rules.audiences.clear();
    rules.claims.user = vec![ClaimPath::new("iss")];
    for vector in Vector::all()
        .into_iter()
        .filter(|vector| vector.payload.starts_with("eyJpc3MiOiJqb2Ui"))
    {
        let token = format!("{}.{}", vector.input(), vector.signature);
        let verified = verify(&parse(&token).unwrap(), &rules, &vector.keys()).unwrap();
        assert_eq!(verified.identity.user.as_str(), "joe");
        assert_eq!(verified.judge_time(1_300_819_379), Ok(()));
        assert_eq!(verified.judge_time(1_300_819_380 + 30), Err(TokenFault::Expired));
    }
}
