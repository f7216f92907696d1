//! Tokens that must not pass for their signature (r21, r26): key and algorithm fit, claims are good.

use aws_lc_rs::hmac::HMAC_SHA256;
use serde_json::json;

use super::issuer::{
    ED, P256, P384, P521, RSA, SECRET, TestKey, all_keys, b64, claims_with, compact, hmac as hmac_of, set_of,
};
use super::refused_keys::{header, payload};
use super::{Refused, judge, refuse_all};
use crate::policy::token::{Algorithm, TokenFault};

use TokenFault::{BadSignature, Malformed};

#[test]
fn r21_refuses_signatures_that_no_key_made_over_this_token() {
    refuse_all(cases(), &all_keys());
}

pub(super) fn cases() -> Vec<Refused> {
    let mut all = Vec::new();
    let keys: [(&TestKey, Algorithm); 6] = [
        (&RSA, Algorithm::RS256),
        (&RSA, Algorithm::PS256),
        (&P256, Algorithm::ES256),
        (&P384, Algorithm::ES384),
        (&P521, Algorithm::ES512),
        (&ED, Algorithm::EdDSA),
    ];
    for (key, algorithm) in keys {
        let name = algorithm.name();
        let with = |signature: &dyn Fn(Vec<u8>) -> Vec<u8>| {
            compact(&header(name, key.kid), &payload(), |input| {
                signature(key.sign(algorithm, input))
            })
        };
        let mut add = |what: &str, token| all.push((format!("{name}: {what}"), token, BadSignature));
        add("no signature", with(&|_| vec![]));
        add("cut short", with(&|real| real[..real.len() - 1].to_vec()));
        add("cut in half", with(&|real| real[..real.len() / 2].to_vec()));
        add("a byte more", with(&|real| [real.as_slice(), &[0]].concat()));
        add("a leading zero", with(&|real| [&[0], real.as_slice()].concat()));
        add("twice", with(&|real| [real.as_slice(), &real].concat()));
        add("all zero", with(&|real| vec![0; real.len()]));
        add("all ones", with(&|real| vec![0xff; real.len()]));
        add(
            "the number one",
            with(&|real| [vec![0; real.len() - 1], vec![1]].concat()),
        );
        add("reversed", with(&|real| real.into_iter().rev().collect()));
        let good = key.token(algorithm);
        let (_, signature) = good.rsplit_once('.').unwrap();
        let other = key.token_of(algorithm, &header(name, key.kid), &claims_with(&json!({"sub": "eve"})));
        add(
            "that of another token",
            format!("{}.{signature}", other.rsplit_once('.').unwrap().0),
        );
        add("over the payload alone", {
            let own = b64(key.sign(algorithm, b64(payload()).as_bytes()));
            format!("{}.{}.{own}", b64(header(name, key.kid)), b64(payload()))
        });
    }
    [all, ecdsa_and_edwards_oddities(), hmac_signatures()].concat()
}

fn ecdsa_and_edwards_oddities() -> Vec<Refused> {
    const ORDER_P256: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    const ORDER_ED25519: &str = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010"; // little-endian
    let hex = |text: &str| -> Vec<u8> {
        (0..32)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect()
    };
    let (order, mut beyond) = (hex(ORDER_P256), hex(ORDER_P256));
    beyond[31] += 1;
    let one = [vec![0; 31], vec![1]].concat();
    let zero = vec![0; 32];
    let es256 = |signature: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        compact(&header("ES256", "p256"), &payload(), |input| {
            signature(P256.sign(Algorithm::ES256, input))
        })
    };
    let der = |real: Vec<u8>| {
        let integer = |half: &[u8]| [&[2, 33, 0], half].concat();
        let body = [integer(&real[..32]), integer(&real[32..])].concat();
        [&[0x30, body.len() as u8], body.as_slice()].concat()
    };
    let mut all: Vec<Refused> = vec![("ES256: in DER".into(), es256(&der), BadSignature)];
    let numbers = [("0", &zero), ("1", &one), ("n", &order), ("n + 1", &beyond)];
    for (r_name, r) in numbers {
        for (s_name, s) in numbers {
            let token = es256(&|_| [r.as_slice(), s].concat());
            all.push((format!("ES256: r = {r_name}, s = {s_name}"), token, BadSignature));
        }
    }
    for (what, at) in [("r", 0), ("s", 32)] {
        let token = es256(&|mut real| {
            real[at..at + 32].fill(0);
            real
        });
        all.push((format!("ES256: {what} = 0 beside a real one"), token, BadSignature));
    }
    all.push((
        "ES256: r and s swapped".into(),
        es256(&|real| [&real[32..], &real[..32]].concat()),
        BadSignature,
    ));
    // S + L verifies where S < L is not checked (RFC 8032 §5.1.7): a second spelling of one signature.
    let order = hex(ORDER_ED25519);
    let malleable = compact(&header("EdDSA", "ed"), &payload(), |input| {
        let mut signature = ED.sign(Algorithm::EdDSA, input);
        let mut carry = 0;
        for (digit, add) in signature[32..].iter_mut().zip(&order) {
            let sum = u16::from(*digit) + u16::from(*add) + carry;
            (*digit, carry) = (sum as u8, sum >> 8);
        }
        signature
    });
    all.push(("EdDSA: S + L".into(), malleable, BadSignature));
    all
}

fn hmac_signatures() -> Vec<Refused> {
    let with = |change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        compact(r#"{"alg":"HS256"}"#, &payload(), |input| {
            change(hmac_of(HMAC_SHA256, SECRET, input))
        })
    };
    let hex = |tag: Vec<u8>| {
        tag.iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into_bytes()
    };
    let good = with(&|tag| tag);
    vec![
        ("HS256: no tag".into(), with(&|_| vec![]), BadSignature),
        (
            "HS256: half a tag".into(),
            with(&|tag| tag[..16].to_vec()),
            BadSignature,
        ),
        (
            "HS256: 64 bits of a tag".into(),
            with(&|tag| tag[..8].to_vec()),
            BadSignature,
        ),
        (
            "HS256: a longer tag".into(),
            with(&|tag| [tag.as_slice(), &[0]].concat()),
            BadSignature,
        ),
        ("HS256: zero".into(), with(&|tag| vec![0; tag.len()]), BadSignature),
        ("HS256: in hex".into(), with(&hex), BadSignature),
        (
            "HS256: no signature part".into(),
            good.rsplit_once('.').unwrap().0.to_owned(),
            Malformed,
        ),
    ]
}

#[test]
fn r26_every_wrong_tag_gets_the_same_answer() {
    let mut keys = set_of(&[]);
    keys.add_secrets(&[SECRET, b"another"]);
    let with = |secret: &[u8], change: &dyn Fn(&mut Vec<u8>)| {
        compact(r#"{"alg":"HS256"}"#, &payload(), |input| {
            let mut tag = hmac_of(HMAC_SHA256, secret, input);
            change(&mut tag);
            tag
        })
    };
    assert!(judge(&with(b"another", &|_| {}), &keys).is_ok());
    for wrong in [
        with(b"unknown", &|_| {}),
        with(b"another", &|tag| tag[0] ^= 1),
        with(b"another", &|tag| tag[31] ^= 1),
        with(b"another", &|tag| tag.truncate(31)),
        with(b"another", &|tag| tag.clear()),
    ] {
        assert_eq!(judge(&wrong, &keys).unwrap_err(), BadSignature);
    }
}
