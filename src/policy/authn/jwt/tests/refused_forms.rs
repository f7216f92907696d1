//! Tokens that must not pass for their form: parts, base64url, JSON, and the header's members (r20, r21).
//!
//! All are signed with the issuer's own key over exactly what they are, so nothing but their form is wrong.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE};
use serde_json::json;

use super::issuer::{ED, ED_HEADER, all_keys, b64, claims, compact, signed};
use super::{Refused, refuse_all};
use crate::policy::authn::jwt::MAX_TOKEN_BYTES;
use crate::policy::token::{Algorithm, TokenFault};

use TokenFault::{AlgorithmNotAllowed, Malformed, UnsupportedHeader};

#[test]
fn r21_refuses_tokens_of_another_form() {
    refuse_all(cases(), &all_keys());
}

pub(super) fn cases() -> Vec<Refused> {
    [
        shapes(),
        encodings(),
        headers_that_are_no_object(),
        payloads_that_are_no_object(),
        algorithms(),
        members(),
    ]
    .concat()
}

fn sign_input(input: &str) -> String {
    format!("{input}.{}", b64(ED.sign(Algorithm::EdDSA, input.as_bytes())))
}

fn shapes() -> Vec<Refused> {
    let good = signed(ED_HEADER, &claims().to_string());
    let parts: Vec<&str> = good.split('.').collect();
    let (header, payload, signature) = (parts[0], parts[1], parts[2]);
    let flat = json!({"protected": header, "payload": payload, "signature": signature});
    let general = json!({"payload": payload, "signatures": [{"protected": header, "signature": signature}]});
    let long = json!({"pad": "x".repeat(MAX_TOKEN_BYTES)}).to_string();
    let shape = |name: &str, token: String, fault| (name.to_owned(), token, fault);
    vec![
        shape("empty", String::new(), Malformed),
        shape("only dots", "..".into(), Malformed),
        shape("one part", header.into(), Malformed),
        shape("two parts", format!("{header}.{payload}"), Malformed),
        shape("four parts", format!("{good}.{signature}"), Malformed),
        shape("a trailing dot", format!("{good}."), Malformed),
        shape("a leading dot", format!(".{good}"), Malformed),
        shape(
            "JWE, five parts",
            format!("{header}.{payload}.{signature}.{payload}.{signature}"),
            UnsupportedHeader,
        ),
        shape("five empty parts", "....".into(), UnsupportedHeader),
        shape("six parts", format!("{good}.{good}"), Malformed),
        shape("flattened JSON serialisation", flat.to_string(), Malformed),
        shape("general JSON serialisation", general.to_string(), Malformed),
        shape("its scheme before it", format!("Bearer {good}"), Malformed),
        shape("in quotes", format!("\"{good}\""), Malformed),
        shape(
            "two, comma-joined: five parts",
            format!("{good},{good}"),
            UnsupportedHeader,
        ),
        shape("a leading space", format!(" {good}"), Malformed),
        shape("a trailing space", format!("{good} "), Malformed),
        shape("a trailing newline", format!("{good}\n"), Malformed),
        shape("a trailing CRLF", format!("{good}\r\n"), Malformed),
        shape("a trailing NUL", format!("{good}\0"), Malformed),
        shape("a newline within", good.replacen('.', "\n.", 1), Malformed),
        shape("a space within", good.replacen('.', " .", 1), Malformed),
        shape("a percent-encoded dot", good.replacen('.', "%2e", 1), Malformed),
        shape("a fullwidth dot", good.replacen('.', "\u{ff0e}", 1), Malformed),
        shape("longer than the cap", signed(ED_HEADER, &long), Malformed),
        shape("a detached payload", sign_input(&format!("{header}.")), Malformed),
        shape("no header", sign_input(&format!(".{payload}")), Malformed),
    ]
}

fn encodings() -> Vec<Refused> {
    let claims = claims().to_string();
    let good = signed(ED_HEADER, &claims);
    let (input, signature) = good.rsplit_once('.').unwrap();
    // Two bytes beyond the last three leave two bits free in the last character.
    let with_free_bits = |json: &str| {
        (0..3)
            .map(|pad| format!("{json}{}", " ".repeat(pad)))
            .find(|text| text.len() % 3 == 2)
            .unwrap()
    };
    let loose = |text: &str| {
        let mut text = text.to_owned();
        let last = text.pop().unwrap();
        text.push(char::from(last as u8 + 1));
        text
    };
    let (header, payload) = (with_free_bits(ED_HEADER), with_free_bits(&claims));
    let with_plus = json!({"alg": "EdDSA", "kid": "ed", "x": "~~~>>>???"}).to_string();
    let encoding = |name: &str, token| (name.to_owned(), token, Malformed);
    vec![
        encoding(
            "a padded header",
            sign_input(&format!("{}=.{}", b64(&header), b64(&claims))),
        ),
        encoding(
            "a padded payload",
            sign_input(&format!("{}.{}", b64(ED_HEADER), BASE64_URL_SAFE.encode(&payload))),
        ),
        encoding("a padded signature", format!("{input}.{signature}==")),
        encoding("a percent-encoded pad", format!("{input}.{signature}%3D%3D")),
        encoding(
            "free bits set in the header",
            sign_input(&format!("{}.{}", loose(&b64(&header)), b64(&claims))),
        ),
        encoding(
            "free bits set in the payload",
            sign_input(&format!("{}.{}", b64(ED_HEADER), loose(&b64(&payload)))),
        ),
        encoding(
            "free bits set in the signature",
            format!("{input}.{}", loose(signature)),
        ),
        encoding(
            "the alphabet with + and /",
            sign_input(&format!(
                "{}.{}",
                BASE64_STANDARD_NO_PAD.encode(&with_plus),
                b64(&claims)
            )),
        ),
        encoding("a character of no alphabet", format!("{input}.{}!", &signature[1..])),
        encoding("a length that no bytes have", format!("{input}.{}", &signature[..85])),
        encoding(
            "plain JSON in place of base64url",
            sign_input(&format!("{ED_HEADER}.{claims}")),
        ),
        encoding(
            "base64url twice",
            sign_input(&format!("{}.{}", b64(b64(ED_HEADER)), b64(b64(&claims)))),
        ),
    ]
}

/// Not one JSON object, or one that two parsers read differently.
fn no_objects(good: &str, member: &str) -> Vec<(String, Vec<u8>)> {
    let inner = &good[1..good.len() - 1];
    let deep = |open: &str, close: &str| format!("{{{inner},\"d\":{}0{}}}", open.repeat(2000), close.repeat(2000));
    let escaped = member.replacen(&member[1..2], &format!("\\u{:04x}", member.as_bytes()[1]), 1);
    let texts = [
        ("empty", String::new()),
        ("not JSON", "hello".into()),
        ("an array", format!("[{good}]")),
        ("a string", json!(good).to_string()),
        ("a number", "1".into()),
        ("null", "null".into()),
        ("true", "true".into()),
        ("cut off", good[..good.len() - 1].into()),
        ("two objects", format!("{good}{good}")),
        ("something after it", format!("{good}x")),
        ("a NUL after it", format!("{good}\0")),
        ("a byte order mark", format!("\u{feff}{good}")),
        ("a trailing comma", format!("{{{inner},}}")),
        ("a comment", format!("{{/**/{inner}}}")),
        ("single quotes", good.replace('"', "'")),
        ("a newline in a string", format!("{{{inner},\"d\":\"\n\"}}")),
        ("half a surrogate pair", format!("{{{inner},\"d\":\"\\ud800\"}}")),
        ("NaN", format!("{{{inner},\"d\":NaN}}")),
        ("Infinity", format!("{{{inner},\"d\":-Infinity}}")),
        ("a number beyond all floats", format!("{{{inner},\"d\":1e999}}")),
        ("a leading zero", format!("{{{inner},\"d\":01}}")),
        ("a member twice", format!("{{{inner},{member}}}")),
        ("a member twice, once escaped", format!("{{{inner},{escaped}}}")),
        ("an unknown member twice", format!("{{{inner},\"d\":1,\"d\":1}}")),
        (
            "an inner member twice",
            format!("{{{inner},\"d\":[{{\"e\":1,\"e\":2}}]}}"),
        ),
        ("a bomb of arrays", deep("[", "]")),
        ("a bomb of objects", deep("{\"a\":", "}")),
    ];
    let mut all: Vec<_> = texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.into_bytes()))
        .collect();
    let mut invalid = good.as_bytes().to_vec();
    let end = invalid.len() - 2;
    invalid[end] = 0xff;
    all.push(("invalid UTF-8".into(), invalid));
    all.push((
        "UTF-16".into(),
        good.encode_utf16().flat_map(u16::to_le_bytes).collect(),
    ));
    all
}

fn headers_that_are_no_object() -> Vec<Refused> {
    let payload = b64(claims().to_string());
    no_objects(ED_HEADER, "\"kid\":\"ed\"")
        .into_iter()
        .map(|(name, header)| {
            (
                format!("header: {name}"),
                sign_input(&format!("{}.{payload}", b64(header))),
                Malformed,
            )
        })
        .collect()
}

fn payloads_that_are_no_object() -> Vec<Refused> {
    let header = b64(ED_HEADER);
    no_objects(&claims().to_string(), "\"sub\":\"system\"")
        .into_iter()
        .map(|(name, claims)| {
            (
                format!("payload: {name}"),
                sign_input(&format!("{header}.{}", b64(claims))),
                Malformed,
            )
        })
        .collect()
}

fn algorithms() -> Vec<Refused> {
    let claims = claims().to_string();
    let mut all = Vec::new();
    let unknown = [
        "none",
        "None",
        "NONE",
        "nOnE",
        "none ",
        "\u{0}none",
        "",
        "eddsa",
        "EDDSA",
        "EdDSA ",
        " EdDSA",
        "Ed25519",
        "Ed448",
        "ES256K",
        "ES521",
        "RS1",
        "RS256 ",
        "rs256",
        "HS1",
        "HS256/64",
        "HS512256",
        "PS1",
        "dir",
        "RSA-OAEP",
        "A256GCM",
        "ML-DSA-44",
        "EdDSA,none",
        "RS256\n",
    ];
    for name in unknown {
        let header = json!({"alg": name, "kid": "ed"}).to_string();
        all.push((
            format!("alg {name:?}, signed"),
            signed(&header, &claims),
            AlgorithmNotAllowed,
        ));
        all.push((
            format!("alg {name:?}, no signature"),
            compact(&header, &claims, |_| vec![]),
            AlgorithmNotAllowed,
        ));
    }
    for alg in [
        json!(null),
        json!(0),
        json!(true),
        json!(["EdDSA"]),
        json!({"name": "EdDSA"}),
    ] {
        let header = json!({"alg": alg, "kid": "ed"}).to_string();
        all.push((format!("alg {alg}"), signed(&header, &claims), Malformed));
    }
    all.push((
        "no alg".into(),
        signed(r#"{"kid":"ed","typ":"JWT"}"#, &claims),
        Malformed,
    ));
    all.push(("an empty header".into(), signed("{}", &claims), Malformed));
    all.push((
        "Alg for alg".into(),
        signed(r#"{"Alg":"EdDSA","kid":"ed"}"#, &claims),
        Malformed,
    ));
    all
}

fn members() -> Vec<Refused> {
    let cases = [
        ("crit", json!([]), UnsupportedHeader),
        ("crit", json!(["exp"]), UnsupportedHeader),
        ("crit", json!(["b64"]), UnsupportedHeader),
        ("crit", json!(["alg"]), UnsupportedHeader),
        ("crit", json!(["urn:example:unknown"]), UnsupportedHeader),
        ("crit", json!("exp"), UnsupportedHeader),
        ("crit", json!(null), UnsupportedHeader),
        ("crit", json!(false), UnsupportedHeader),
        ("crit", json!({}), UnsupportedHeader),
        ("b64", json!(false), UnsupportedHeader),
        ("b64", json!(true), UnsupportedHeader),
        ("b64", json!("false"), UnsupportedHeader),
        ("zip", json!("DEF"), UnsupportedHeader),
        ("zip", json!(null), UnsupportedHeader),
        ("enc", json!("A256GCM"), UnsupportedHeader),
        ("typ", json!("logout+jwt"), UnsupportedHeader),
        ("typ", json!("dpop+jwt"), UnsupportedHeader),
        ("typ", json!("secevent+jwt"), UnsupportedHeader),
        ("typ", json!("token-introspection+jwt"), UnsupportedHeader),
        ("typ", json!("oauth-authz-req+jwt"), UnsupportedHeader),
        ("typ", json!("application/logout+jwt"), UnsupportedHeader),
        ("typ", json!("application/application/jwt"), UnsupportedHeader),
        ("typ", json!("JOSE"), UnsupportedHeader),
        ("typ", json!("JOSE+JSON"), UnsupportedHeader),
        ("typ", json!("JWE"), UnsupportedHeader),
        ("typ", json!("JWT "), UnsupportedHeader),
        ("typ", json!(""), UnsupportedHeader),
        ("typ", json!(null), Malformed),
        ("typ", json!(["JWT"]), Malformed),
        ("cty", json!("JWT"), UnsupportedHeader),
        ("cty", json!("jwt"), UnsupportedHeader),
        ("cty", json!("application/JWT"), UnsupportedHeader),
        ("cty", json!(7), Malformed),
        ("kid", json!(1), Malformed),
        ("kid", json!(null), Malformed),
        ("kid", json!(true), Malformed),
        ("kid", json!(["ed"]), Malformed),
        ("kid", json!({"ed": 1}), Malformed),
    ];
    let refused = cases.into_iter().map(|(name, value, fault)| {
        let mut header = json!({"alg": "EdDSA", "kid": "ed"});
        header[name] = value.clone();
        (
            format!("{name} {value}"),
            signed(&header.to_string(), &claims().to_string()),
            fault,
        )
    });
    let unencoded = |input: String| format!("{input}.{}", b64(ED.sign(Algorithm::EdDSA, input.as_bytes())));
    let header = b64(r#"{"alg":"EdDSA","kid":"ed","b64":false,"crit":["b64"]}"#);
    let mut all: Vec<_> = refused.collect();
    all.push((
        "an unencoded payload (RFC 7797)".into(),
        unencoded(format!("{header}.{{}}")),
        UnsupportedHeader,
    ));
    all
}
