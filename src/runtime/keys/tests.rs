//! Keys that come late, are asked for again, or outlive a reload.

use std::path::Path;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;
use crate::compile::{Compiled, compile};
use crate::config::{Environment, Problems, load_text};
use crate::observe::metrics::Metrics;
use crate::policy::authn::jwt::parse;

const ISSUER: &str = "https://auth.example.com";

pub(crate) fn spec(source: &str, further: &str) -> IssuerSpec {
    let text = format!(
        "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n\
         [issuers.main]\nissuer = \"{ISSUER}\"\n{source}\nalgorithms = [\"ES256\"]\nrequest_timeout = \"1h\"\n{further}\n\
         [upstreams.u]\nurls = [\"http://a\"]\n\
         [[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"u\"\nauth = \"jwt\"\n"
    );
    let loaded = load_text(Path::new("gateway.toml"), &text, &Environment::default()).unwrap();
    let mut problems = Problems::new(loaded.sources);
    let Compiled { mut issuers, .. } = compile(&loaded.config, &mut problems).unwrap();
    issuers.remove(0)
}

fn keys_of(spec: IssuerSpec) -> Keys {
    heir_of(None, spec)
}

fn heir_of(old: Option<&Keys>, spec: IssuerSpec) -> Keys {
    Keys::new(spec, Metrics::new("test").unwrap().issuer("main"), Clock::start(), old)
}

fn keys() -> Keys {
    keys_of(spec("jwks_url = \"http://127.0.0.1:9/jwks.json\"", ""))
}

/// An issuer's P-256 key, which is published as `k`.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn document(&self) -> Vec<u8> {
        // 0x04, then x and y of 32 bytes each (RFC 5480 section 2.2).
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let key = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "x": x, "y": y });
        json!({ "keys": [key] }).to_string().into_bytes()
    }

    fn token(&self, kid: &str) -> String {
        let parts = [
            json!({ "alg": "ES256", "kid": kid }),
            json!({ "iss": ISSUER, "sub": "ada", "exp": 4_000_000_000_u32 }),
        ];
        let [header, claims] = parts.map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn judge(keys: &Keys, token: &str) -> Judged {
    keys.judge(token, &parse(token).unwrap())
}

/// Whether `wait` is still waiting after it was asked once.
async fn waits(wait: &mut (impl Future<Output = bool> + Unpin)) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *wait).poll(cx).is_pending())).await
}

#[tokio::test(start_paused = true)]
async fn r24_everybody_waits_for_the_one_fetch_that_an_unknown_key_asked_for() {
    let (keys, signer) = (keys(), Signer::new());
    keys.publish(Ok(&signer.document())).unwrap();
    let seen = keys.fetches();
    let mut first = Box::pin(keys.fetched_again(TokenFault::UnknownKey, seen));
    assert!(waits(&mut first).await);
    // The refresher has not begun yet.
    let mut second = Box::pin(keys.fetched_again(TokenFault::UnknownKey, seen));
    assert!(
        waits(&mut second).await,
        "it was told that there is nothing to wait for"
    );
    keys.wanted().await;
    keys.begin();
    keys.publish(Err("down".to_owned())).unwrap_err();
    assert!(first.await && second.await);
    // At most one in ten seconds.
    assert!(!keys.fetched_again(TokenFault::UnknownKey, keys.fetches()).await);
}

#[tokio::test(start_paused = true)]
async fn keys_that_came_between_the_judgement_and_the_question_are_tried() {
    let (keys, signer) = (keys(), Signer::new());
    let token = signer.token("k");
    let seen = keys.fetches();
    assert!(matches!(
        judge(&keys, &token),
        Judged::Fetch(TokenFault::KeysUnavailable)
    ));
    keys.begin();
    keys.publish(Ok(&signer.document())).unwrap();
    assert!(keys.fetched_again(TokenFault::KeysUnavailable, seen).await);
    assert!(matches!(judge(&keys, &token), Judged::Known(Ok(_))));
}

#[test]
fn an_unknown_key_waits_for_no_file() {
    let (keys, signer) = (keys_of(spec("jwks_file = \"keys.json\"", "")), Signer::new());
    keys.publish(Ok(&signer.document())).unwrap();
    let stranger = signer.token("other");
    assert!(matches!(
        judge(&keys, &stranger),
        Judged::Known(Err(TokenFault::UnknownKey))
    ));
}

#[test]
fn an_issuer_that_hangs_holds_the_gateway_unready_for_five_seconds_at_most() {
    let mut keys = keys();
    assert!(!keys.tried());
    keys.born_ns -= 5_000_000_000;
    assert!(keys.tried());
}

#[test]
fn a_reload_that_changes_what_tokens_must_say_keeps_the_keys_and_no_token() {
    let (old, signer) = (keys(), Signer::new());
    old.publish(Ok(&signer.document())).unwrap();
    let token = signer.token("k");
    assert!(matches!(judge(&old, &token), Judged::Known(Ok(_))));

    let url = "jwks_url = \"http://127.0.0.1:9/jwks.json\"";
    let new = heir_of(Some(&old), spec(url, "required_claims = { sub = \"bob\" }"));
    assert!(new.known(&token).is_none());
    assert!(matches!(
        judge(&new, &token),
        Judged::Known(Err(TokenFault::ClaimMismatch))
    ));
    assert!(new.tried());

    let moved = heir_of(Some(&old), spec("jwks_url = \"http://127.0.0.1:10/jwks.json\"", ""));
    assert!(matches!(
        judge(&moved, &token),
        Judged::Fetch(TokenFault::KeysUnavailable)
    ));
}

#[test]
fn r22_a_verified_token_is_known_by_all_of_its_bytes() {
    let (keys, signer) = (keys(), Signer::new());
    keys.publish(Ok(&signer.document())).unwrap();
    let token = signer.token("k");
    assert!(matches!(judge(&keys, &token), Judged::Known(Ok(_))));
    assert!(keys.known(&token).is_some());
    let (shorter, _) = token.split_at(token.len() - 1);
    for other in [
        shorter.to_owned(),
        format!("{token}A"),
        format!("{shorter}-"),
        String::new(),
    ] {
        assert!(other == token || keys.known(&other).is_none(), "{other}");
    }
}

#[test]
fn r23_what_is_known_of_a_token_is_judged_by_the_time_of_each_use() {
    let (keys, signer) = (keys(), Signer::new());
    keys.publish(Ok(&signer.document())).unwrap();
    let token = signer.token("k");
    assert!(matches!(judge(&keys, &token), Judged::Known(Ok(_))));
    let known = keys.known(&token).unwrap();
    let ends = known.exp + known.leeway_s;
    assert_eq!(known.judge_time(ends - 1), Ok(()));
    assert_eq!(known.judge_time(ends), Err(TokenFault::Expired));
}

#[tokio::test]
async fn keys_that_no_config_has_any_more_are_fetched_no_more() {
    let keys = Arc::new(keys());
    keys.retire();
    crate::runtime::refresh::refresh(Arc::downgrade(&keys)).await;
    assert_eq!(keys.fetches(), 0);
}
