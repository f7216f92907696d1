//! Tokens that must not pass for their key or algorithm (r21). Their claims are good.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::KeyPair;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::issuer::{
    ED, P256, P384, P521, Pair, RSA, SECRET, TestKey, all_keys, b64, claims, compact, hmac as hmac_of, rsa_numbers,
    set_of,
};
use super::{Refused, judge, refuse_all};
use crate::policy::authn::jwt::{parse, verify};
use crate::policy::token::{Algorithm, TokenFault};

use TokenFault::{AlgorithmNotAllowed, BadSignature, UnknownKey};

#[test]
fn r21_refuses_tokens_whose_key_does_not_fit_what_they_say() {
    refuse_all(cases(), &all_keys());
}

pub(super) fn cases() -> Vec<Refused> {
    [
        secrets_from_public_keys(),
        swapped_algorithms(),
        foreign_keys(),
        embedded_keys(),
    ]
    .concat()
}

pub(super) fn payload() -> String {
    claims().to_string()
}

pub(super) fn header(algorithm: &str, kid: impl Into<Value>) -> String {
    json!({"alg": algorithm, "kid": kid.into()}).to_string()
}

/// HS* keyed with what everybody knows; the set has a secret, and HS* is allowed.
fn secrets_from_public_keys() -> Vec<Refused> {
    let Pair::Rsa(pair) = &RSA.pair else { unreachable!() };
    let spki = pair.public_key().as_der().unwrap();
    let pem = |label: &str, der: &[u8]| {
        let body = BASE64_STANDARD.encode(der);
        let lines: Vec<_> = body
            .as_bytes()
            .chunks(64)
            .map(|line| std::str::from_utf8(line).unwrap())
            .collect();
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
    };
    let pkcs1 = RSA.public();
    let jwk = RSA.jwk();
    let spki_pem = pem("PUBLIC KEY", spki.as_ref());
    let secrets: Vec<(&str, Vec<u8>)> = vec![
        ("the RSA key's SPKI PEM", spki_pem.clone().into()),
        ("that PEM without its last newline", spki_pem.trim_end().into()),
        ("that PEM with CRLF", spki_pem.replace('\n', "\r\n").into()),
        ("the RSA key's SPKI DER", spki.as_ref().to_vec()),
        ("the RSA key's PKCS#1 PEM", pem("RSA PUBLIC KEY", &pkcs1).into()),
        ("the RSA key's PKCS#1 DER", pkcs1.clone()),
        ("the RSA key's JWK", jwk.to_string().into()),
        ("the RSA modulus", rsa_numbers(&pkcs1).0.to_vec()),
        ("the RSA modulus in base64url", jwk["n"].as_str().unwrap().into()),
        ("the whole set", json!({"keys": [jwk]}).to_string().into()),
        ("the P-256 point", P256.public()),
        ("the P-256 JWK", P256.jwk().to_string().into()),
        ("the Ed25519 bytes", ED.public()),
        ("nothing", vec![]),
        ("a zero byte", vec![0]),
        ("the word secret", b"secret".to_vec()),
        ("the kid", b"rsa".to_vec()),
        ("the secret cut short", SECRET[1..].to_vec()),
        ("the secret and a newline", [SECRET, b"\n"].concat()),
    ];
    let mut all = Vec::new();
    for (name, secret) in &secrets {
        for (algorithm, digest) in [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)] {
            let token = compact(&header(algorithm, "rsa"), &payload(), |input| {
                hmac_of(digest, secret, input)
            });
            all.push((format!("{algorithm} keyed with {name}"), token, BadSignature));
        }
    }
    all
}

/// A signature of one algorithm under the name of another.
fn swapped_algorithms() -> Vec<Refused> {
    let cases: [(&TestKey, Algorithm, &str, &str, TokenFault); 22] = [
        (&RSA, Algorithm::PS256, "RS256", "rsa", BadSignature),
        (&RSA, Algorithm::RS256, "PS256", "rsa", BadSignature),
        (&RSA, Algorithm::RS384, "RS256", "rsa", BadSignature),
        (&RSA, Algorithm::RS512, "RS256", "rsa", BadSignature),
        (&RSA, Algorithm::RS256, "RS512", "rsa", BadSignature),
        (&RSA, Algorithm::PS384, "PS256", "rsa", BadSignature),
        (&RSA, Algorithm::PS256, "PS512", "rsa", BadSignature),
        (&RSA, Algorithm::RS256, "RS256", "p256", AlgorithmNotAllowed),
        (&P256, Algorithm::ES256, "RS256", "p256", AlgorithmNotAllowed),
        (&P256, Algorithm::ES256, "PS256", "p256", AlgorithmNotAllowed),
        (&P256, Algorithm::ES256, "RS256", "rsa", BadSignature),
        (&RSA, Algorithm::RS256, "ES256", "rsa", AlgorithmNotAllowed),
        (&RSA, Algorithm::RS256, "ES256", "p256", BadSignature),
        (&P256, Algorithm::ES256, "ES384", "p256", AlgorithmNotAllowed),
        (&P256, Algorithm::ES256, "ES384", "p384", BadSignature),
        (&P384, Algorithm::ES384, "ES256", "p384", AlgorithmNotAllowed),
        (&P384, Algorithm::ES384, "ES256", "p256", BadSignature),
        (&P521, Algorithm::ES512, "ES256", "p521", AlgorithmNotAllowed),
        (&P256, Algorithm::ES256, "ES512", "p256", AlgorithmNotAllowed),
        (&ED, Algorithm::EdDSA, "ES256", "ed", AlgorithmNotAllowed),
        (&P256, Algorithm::ES256, "EdDSA", "p256", AlgorithmNotAllowed),
        (&ED, Algorithm::EdDSA, "HS256", "ed", BadSignature),
    ];
    let swap = |(key, real, named, kid, fault): (&TestKey, Algorithm, &str, &str, TokenFault)| {
        let token = key.token_of(real, &header(named, kid), &payload());
        (
            format!("{} of {} as {named} of {kid}", real.name(), key.kid),
            token,
            fault,
        )
    };
    let mut all: Vec<Refused> = cases.into_iter().map(swap).collect();
    for (named, digest) in [("HS256", HMAC_SHA512), ("HS512", HMAC_SHA256), ("RS256", HMAC_SHA256)] {
        let token = compact(&header(named, "rsa"), &payload(), |input| {
            hmac_of(digest, SECRET, input)
        });
        all.push((format!("{digest:?} with the secret as {named}"), token, BadSignature));
    }
    all
}

fn foreign_keys() -> Vec<Refused> {
    let foreign = TestKey::ed("theirs");
    let by_foreign = |kid: Value| foreign.token_of(Algorithm::EdDSA, &header("EdDSA", kid), &payload());
    let mut all = vec![
        (
            "another issuer's key under its own kid".to_owned(),
            by_foreign("theirs".into()),
            UnknownKey,
        ),
        (
            "another issuer's key under our kid".to_owned(),
            by_foreign("ed".into()),
            BadSignature,
        ),
        (
            "another issuer's key without kid".to_owned(),
            foreign.token_of(Algorithm::EdDSA, r#"{"alg":"EdDSA"}"#, &payload()),
            BadSignature,
        ),
    ];
    let long = "k".repeat(4000);
    let kids = [
        "",
        "ED",
        "ed ",
        " ed",
        "ed\0",
        "e",
        "eded",
        "*",
        "../../../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "ed' --",
        "http://127.0.0.1/ed",
        "$(id)",
        "%65%64",
        "\u{ff45}\u{ff44}",
        &long,
    ];
    for kid in kids {
        let own = ED.token_of(Algorithm::EdDSA, &header("EdDSA", kid), &payload());
        all.push((format!("our key under kid {:.20?}", kid), own, UnknownKey));
    }
    all
}

/// Keys that the token brings along or points to: never used, never fetched.
fn embedded_keys() -> Vec<Refused> {
    let foreign = TestKey::ed("theirs");
    let url = "https://attacker.example/jwks.json";
    let embedded = [
        ("jwk", foreign.jwk()),
        ("jwk", json!({"kty": "oct", "k": b64(b"secret")})),
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("x5c", json!([BASE64_STANDARD.encode(foreign.public())])),
        ("x5t", json!(b64([7; 20]))),
        ("x5t#S256", json!(b64([7; 32]))),
    ];
    let mut all = Vec::new();
    for (name, value) in embedded {
        for (kid, fault) in [
            (Some("theirs"), UnknownKey),
            (Some("ed"), BadSignature),
            (None, BadSignature),
        ] {
            let mut header = json!({ "alg": "EdDSA", name: value });
            if let Some(kid) = kid {
                header["kid"] = kid.into();
            }
            let token = foreign.token_of(Algorithm::EdDSA, &header.to_string(), &payload());
            all.push((
                format!("{name} {:.40} with kid {kid:?}", value.to_string()),
                token,
                fault,
            ));
        }
    }
    let header = json!({"alg": "HS256", "jwk": {"kty": "oct", "k": b64(b"secret")}}).to_string();
    let token = compact(&header, &payload(), |input| hmac_of(HMAC_SHA256, b"secret", input));
    all.push(("HS256 keyed with its own jwk".to_owned(), token, BadSignature));
    all
}

#[test]
fn r21_an_algorithm_that_the_issuer_does_not_allow_reaches_no_key() {
    for (allowed, token) in [
        (Algorithm::RS256, RSA.token(Algorithm::PS256)),
        (Algorithm::RS256, RSA.token(Algorithm::RS384)),
        (Algorithm::PS256, RSA.token(Algorithm::RS256)),
        (Algorithm::ES256, P384.token(Algorithm::ES384)),
        (Algorithm::ES256, ED.token(Algorithm::EdDSA)),
        (
            Algorithm::RS256,
            compact(r#"{"alg":"HS256"}"#, &payload(), |input| {
                hmac_of(HMAC_SHA256, SECRET, input)
            }),
        ),
        (
            Algorithm::HS512,
            compact(r#"{"alg":"HS256"}"#, &payload(), |input| {
                hmac_of(HMAC_SHA256, SECRET, input)
            }),
        ),
    ] {
        let mut rules = super::issuer::rules();
        assert!(judge(&token, &all_keys()).is_ok());
        rules.algorithms = vec![allowed];
        let fault = verify(&parse(&token).unwrap(), &rules, &all_keys()).unwrap_err();
        assert_eq!(fault, AlgorithmNotAllowed, "{allowed:?}");
    }
}

#[test]
fn r21_a_published_key_is_never_a_secret_and_a_secret_never_a_published_key() {
    let token = compact(&header("HS256", "rsa"), &payload(), |input| {
        hmac_of(HMAC_SHA256, &RSA.public(), input)
    });
    assert_eq!(judge(&token, &set_of(&[RSA.jwk()])).unwrap_err(), UnknownKey);
    let mut keys = set_of(&[]);
    keys.add_secrets(&[&RSA.public(), RSA.jwk().to_string().as_bytes()]);
    assert_eq!(judge(&RSA.token(Algorithm::RS256), &keys).unwrap_err(), UnknownKey);
}

#[test]
fn r21_a_key_of_one_issuer_does_not_open_another() {
    let theirs = TestKey::rsa("rsa", KeySize::Rsa2048);
    let token = theirs.token(Algorithm::RS256);
    assert!(judge(&token, &set_of(&[theirs.jwk()])).is_ok());
    assert_eq!(judge(&token, &set_of(&[RSA.jwk()])).unwrap_err(), BadSignature);
}
