//! Who is on which side of a canary: shares, stickiness, and that every gateway agrees.

use std::net::IpAddr;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, HeaderName};
use http::{HeaderMap, Method, Uri};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::policy::address::Origin;
use crate::policy::credential::{KeySources, TokenSource};
use crate::policy::facts::Now;
use crate::policy::identity::AuthMethod;

fn canary(percent: f64) -> Canary {
    Canary::new(Mode::new(vec![AuthMethod::Jwt]), percent)
}

/// The arm of a request with these headers, from this address.
fn arm(canary: &Canary, headers: &HeaderMap, from: &str) -> Arm {
    let client: IpAddr = from.parse().unwrap();
    let origin = Origin {
        peer: client,
        peer_trusted: false,
        client,
    };
    let now = Now {
        unix_s: 0,
        monotonic_ns: 0,
    };
    let (method, target) = (Method::GET, Uri::from_static("/"));
    let places = CredentialPlaces {
        api_keys: KeySources {
            headers: vec![HeaderName::from_static("x-api-key")],
            bearer: true,
            basic: false,
            prefixes: vec!["hok_".to_owned()],
        },
        internal: Some(HeaderName::from_static("x-internal-auth")),
        single: Vec::new(),
        parameters: Vec::new(),
    };
    let facts = Facts::read(&method, &target, headers, origin, 0, now).unwrap();
    canary.arm(&places, &[TokenPlace::of(TokenSource::Authorization)], &facts)
}

fn with(pairs: &[(HeaderName, String)]) -> HeaderMap {
    let pair = |(name, value): &(HeaderName, String)| (name.clone(), value.parse().unwrap());
    pairs.iter().map(pair).collect()
}

/// A token of these claims, signed by nobody.
fn bearer(claims: &serde_json::Value) -> (HeaderName, String) {
    let claims = BASE64_URL_SAFE_NO_PAD.encode(claims.to_string());
    (AUTHORIZATION, format!("Bearer e30.{claims}.{}", rand_tail(&claims)))
}

/// Another signature for other claims.
fn rand_tail(claims: &str) -> String {
    format!("{:x}", key_of(claims.as_bytes()))
}

fn share_of(percent: f64, callers: u32) -> f64 {
    let canary = canary(percent);
    let chosen = (0..callers).filter(|n| {
        let headers = with(&[bearer(&json!({ "iss": "a", "sub": format!("user-{n}") }))]);
        arm(&canary, &headers, "192.0.2.1") == Arm::Canary
    });
    f64::from(u32::try_from(chosen.count()).unwrap()) * 100.0 / f64::from(callers)
}

#[test]
fn the_share_is_what_was_asked_for() {
    for percent in [1.0, 10.0, 50.0, 90.0] {
        let share = share_of(percent, 5000);
        assert!((share - percent).abs() < 2.5, "{share} instead of {percent}");
    }
    assert!(share_of(0.0, 1000) == 0.0);
    assert!(share_of(100.0, 1000) == 100.0);
}

#[test]
fn a_refreshed_token_is_the_same_caller() {
    let canary = canary(50.0);
    for user in 0..20 {
        let arms: Vec<Arm> = (0..20)
            .map(|refresh| {
                let claims =
                    json!({ "iss": "a", "sub": format!("user-{user}"), "iat": refresh, "jti": format!("{refresh}") });
                arm(&canary, &with(&[bearer(&claims)]), &format!("192.0.2.{refresh}"))
            })
            .collect();
        assert!(arms.iter().all(|one| *one == arms[0]), "user {user}: {arms:?}");
    }
}

#[test]
fn who_says_nothing_of_itself_is_told_by_key_then_by_address_never_by_the_secret() {
    let canary = canary(50.0);
    let key = |n: u32| (HeaderName::from_static("x-api-key"), format!("hok_{n}"));
    let secret = |n: u32| (HeaderName::from_static("x-internal-auth"), format!("secret-{n}"));
    let mut seen = (Vec::new(), Vec::new());
    for n in 0..64 {
        let from = format!("192.0.2.{n}");
        let by_key = arm(&canary, &with(&[key(n)]), "192.0.2.1");
        assert_eq!(
            by_key,
            arm(&canary, &with(&[key(n), secret(n)]), &from),
            "the address says nothing beside a key"
        );
        assert_eq!(
            by_key,
            arm(&canary, &with(&[(AUTHORIZATION, format!("Bearer hok_{n}"))]), &from)
        );
        let by_address = arm(&canary, &with(&[secret(n)]), &from);
        assert_eq!(by_address, arm(&canary, &with(&[]), &from), "the secret says nothing");
        // A token that cannot be read is no claim.
        assert_eq!(
            by_address,
            arm(&canary, &with(&[(AUTHORIZATION, "Bearer x".to_owned())]), &from)
        );
        seen.0.push(by_key);
        seen.1.push(by_address);
    }
    for arms in [seen.0, seen.1] {
        assert!(arms.contains(&Arm::Canary) && arms.contains(&Arm::Stable));
    }
}

#[test]
fn every_gateway_gives_a_caller_the_same_place() {
    // Pinned: a change here moves callers between gateways of two versions.
    let chosen: Vec<u32> = (0..40)
        .filter(|n| {
            let headers = with(&[bearer(&json!({ "iss": "https://a", "sub": n.to_string() }))]);
            arm(&canary(10.0), &headers, "192.0.2.1") == Arm::Canary
        })
        .collect();
    assert_eq!(chosen, PINNED);
}

const PINNED: [u32; 5] = [3, 10, 14, 21, 24];

proptest! {
    #[test]
    fn a_larger_share_only_adds_callers(sub in "[a-z0-9]{1,12}", small in 0.0f64..100.0, more in 0.0f64..100.0) {
        let headers = with(&[bearer(&json!({ "sub": sub }))]);
        let on = |percent: f64| arm(&canary(percent), &headers, "192.0.2.1") == Arm::Canary;
        let large = (small + more).min(100.0);
        prop_assert!(!on(small) || on(large));
    }
}
