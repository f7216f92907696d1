//! Tokens that must not pass for their claims (r13, r20). All are well signed by the issuer.

use serde_json::{Value, json};

use super::issuer::{ED_HEADER, ISSUER, NOW, all_keys, claims, claims_with, claims_without, signed};
use super::{Refused, refuse_all};
use crate::policy::token::TokenFault;

use TokenFault::{
    BadClaim, BadExpiry, BadTime, BadUser, Expired, Malformed, NotYetValid, UnknownIssuer, WrongAudience,
};

#[test]
fn r13_r20_refuses_tokens_whose_claims_do_not_hold() {
    refuse_all(cases(), &all_keys());
}

pub(super) fn cases() -> Vec<Refused> {
    let without = [
        ("exp", BadExpiry),
        ("iss", UnknownIssuer),
        ("aud", WrongAudience),
        ("sub", BadUser),
    ];
    let mut all: Vec<Refused> = without
        .into_iter()
        .map(|(name, fault)| (format!("no {name}"), signed(ED_HEADER, &claims_without(name)), fault))
        .collect();
    let with = [times(), issuers(), audiences(), users(), lists(), others()].concat();
    all.extend(with.into_iter().map(|(name, value, fault)| {
        let token = signed(ED_HEADER, &claims_with(&json!({ name: value })));
        (format!("{name} {:.60}", value.to_string()), token, fault)
    }));
    all.extend(raw_numbers());
    all
}

type Changed = (&'static str, Value, TokenFault);

fn each(name: &'static str, values: impl IntoIterator<Item = Value>, fault: TokenFault) -> Vec<Changed> {
    values.into_iter().map(|value| (name, value, fault)).collect()
}

fn no_times() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(false),
        json!(""),
        json!("9999999999"),
        json!("2099-01-01T00:00:00Z"),
        json!("NaN"),
        json!("Infinity"),
        json!([]),
        json!([NOW + 3600]),
        json!({}),
        json!({"$date": NOW + 3600}),
        json!(-1),
        json!(-0.5),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!((1_i64 << 53) + 1),
        json!(1e18),
        json!(1e30),
        json!(1e308),
        json!(-1e308),
    ]
}

fn times() -> Vec<Changed> {
    [
        each("exp", no_times(), BadExpiry),
        each("nbf", no_times(), BadTime),
        each("iat", no_times(), BadTime),
        each(
            "exp",
            [
                json!(0),
                json!(1),
                json!(NOW - 30),
                json!(NOW - 3600),
                json!(NOW as f64 - 30.5),
            ],
            Expired,
        ),
        each(
            "nbf",
            [json!(NOW + 31), json!(NOW as f64 + 31.5), json!(1_i64 << 53)],
            NotYetValid,
        ),
        each("iat", [json!(NOW + 31), json!(NOW * 1000)], NotYetValid),
    ]
    .concat()
}

/// Numbers that only text can write.
fn raw_numbers() -> Vec<Refused> {
    let good = claims().to_string();
    let numbers = [
        ("1e400", Malformed),
        ("-1e400", Malformed),
        ("NaN", Malformed),
        ("+1800003600", Malformed),
        ("0x7fffffff", Malformed),
        ("1_800_003_600", Malformed),
        ("18446744073709551616", BadExpiry),
        ("99999999999999999999999999999999999999", BadExpiry),
        ("-9223372036854775809", BadExpiry),
        ("9007199254740993.0", BadExpiry),
        ("1.8e1", Expired),
        ("1e-5", Expired),
    ];
    let exp = format!("\"exp\":{}", NOW + 3600);
    assert!(good.contains(&exp));
    let token = |number: &str| signed(ED_HEADER, &good.replace(&exp, &format!("\"exp\":{number}")));
    numbers
        .into_iter()
        .map(|(number, fault)| (format!("exp written {number}"), token(number), fault))
        .collect()
}

fn issuers() -> Vec<Changed> {
    let upper = ISSUER.to_uppercase();
    let slash = format!("{ISSUER}/");
    let others = [
        json!(""),
        json!("https://other.example"),
        json!(upper),
        json!(slash),
        json!(format!(" {ISSUER}")),
    ];
    let wrong_types = [
        json!(null),
        json!(1),
        json!(true),
        json!([ISSUER]),
        json!([ISSUER, "x"]),
        json!({ISSUER: 1}),
    ];
    [each("iss", others, UnknownIssuer), each("iss", wrong_types, Malformed)].concat()
}

fn audiences() -> Vec<Changed> {
    let others = [
        json!(""),
        json!("API"),
        json!("api "),
        json!("api2"),
        json!("ap"),
        json!("api,other"),
        json!("api other"),
        json!([]),
        json!(["x"]),
        json!(["api2", "x"]),
    ];
    let many: Vec<String> = (0..257).map(|n| format!("a{n}")).chain(["api".to_owned()]).collect();
    let wrong_types = [
        json!(null),
        json!(1),
        json!(true),
        json!({"api": true}),
        json!(["api", 1]),
        json!(["api", null]),
        json!([["api"]]),
        json!(many),
    ];
    [each("aud", others, WrongAudience), each("aud", wrong_types, BadClaim)].concat()
}

/// Texts that would be another header, another value, or none.
fn unfit_texts() -> Vec<Value> {
    vec![
        json!("ada\r\nX-Role: admin"),
        json!("ada\nX-Role: admin"),
        json!("ada\rX-Role: admin"),
        json!("ada\u{0}"),
        json!("ada\tadmin"),
        json!("ada\u{7f}"),
        json!("ada\u{1b}[2J"),
        json!("ad\u{e4}"),
        json!("\u{202e}nimda"),
        json!(" ada"),
        json!("ada "),
        json!(" "),
        json!("a".repeat(257)),
    ]
}

fn users() -> Vec<Changed> {
    let wrong_types = [
        json!(true),
        json!(1.5),
        json!(1e20),
        json!([]),
        json!(["ada"]),
        json!({}),
        json!({"id": "ada"}),
    ];
    [
        each("sub", unfit_texts(), BadClaim),
        each("sub", wrong_types, BadClaim),
        each("sub", [json!(null), json!(""), json!("system")], BadUser),
    ]
    .concat()
}

fn lists() -> Vec<Changed> {
    let unfit_items = ["a,b", ",", "a\r\nX-Role: admin", "a\nb", "a\tb", "a\u{0}", "\u{e4}"];
    let mut all = Vec::new();
    for name in ["scope", "permissions", "roles"] {
        all.extend(each(name, unfit_items.iter().map(|item| json!(item)), BadClaim));
        all.extend(each(name, unfit_items.iter().map(|item| json!(["ok", item])), BadClaim));
        let wrong_types = [
            json!(true),
            json!(7),
            json!({}),
            json!({"read": true}),
            json!([1]),
            json!([null]),
            json!([["a"]]),
            json!([{"name": "a"}]),
            json!([""]),
            json!(["a", ""]),
            json!([" a"]),
            json!(["a".repeat(257)]),
            json!((0..257).map(|n| format!("i{n}")).collect::<Vec<_>>()),
        ];
        all.extend(each(name, wrong_types, BadClaim));
    }
    all.extend(each("scope", [json!(["read write"]), json!("a".repeat(257))], BadClaim));
    all.extend(each("roles", [json!(""), json!("a ")], BadClaim));
    // 60 items of 150 bytes: each fits, the header they make does not.
    let long: Vec<String> = (0..60).map(|n| format!("{n:0>150}")).collect();
    all.extend(each("permissions", [json!(long)], BadClaim));
    all
}

fn others() -> Vec<Changed> {
    let wrong_types = || [json!([]), json!(["x"]), json!({}), json!({"a": 1}), json!(1.5)];
    let mut all = Vec::new();
    for name in ["tenant_id", "client_id", "tier", "email"] {
        all.extend(each(name, unfit_texts(), BadClaim));
        all.extend(each(name, wrong_types(), BadClaim));
        all.extend(each(name, [json!("")], BadClaim));
    }
    for name in ["tenant_id", "client_id", "tier"] {
        all.extend(each(name, [json!(true)], BadClaim));
    }
    all.extend(each(
        "jti",
        [json!(null), json!(1), json!(["t-1"]), json!({}), json!(false)],
        BadClaim,
    ));
    all
}
