//! An issuer of tokens: its keys are published, its server behaves or does not, as the test says.

use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
};
use aws_lc_rs::{hmac, rand, rsa};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as BASE64};
use gateway::demo::tokens::now;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Gate, Upstream};

/// A key that signs tokens.
#[derive(Clone)]
pub struct Key {
    /// Its id, also in the header of its tokens.
    pub kid: String,
    secret: Arc<Secret>,
}

enum Secret {
    Rsa(Box<rsa::KeyPair>),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Hmac(Vec<u8>),
}

impl Key {
    fn new(kid: &str, secret: Secret) -> Self {
        Self {
            kid: kid.to_owned(),
            secret: Arc::new(secret),
        }
    }

    /// For RS256.
    pub fn rsa(kid: &str) -> Self {
        Self::new(
            kid,
            Secret::Rsa(Box::new(rsa::KeyPair::generate(KeySize::Rsa2048).unwrap())),
        )
    }

    /// For ES256.
    pub fn ec(kid: &str) -> Self {
        Self::new(
            kid,
            Secret::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
        )
    }

    /// For EdDSA.
    pub fn ed(kid: &str) -> Self {
        Self::new(kid, Secret::Ed(Ed25519KeyPair::generate().unwrap()))
    }

    /// For HS256, with these bytes.
    pub fn hmac(kid: &str, secret: impl AsRef<[u8]>) -> Self {
        Self::new(kid, Secret::Hmac(secret.as_ref().to_vec()))
    }

    /// The algorithm that it signs with.
    pub fn algorithm(&self) -> &'static str {
        match *self.secret {
            Secret::Rsa(_) => "RS256",
            Secret::Ec(_) => "ES256",
            Secret::Ed(_) => "EdDSA",
            Secret::Hmac(_) => "HS256",
        }
    }

    /// Its public half (RFC 7517); of a secret, the JWK that must never work.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &*self.secret {
            Secret::Rsa(pair) => {
                let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
                json!({ "kty": "RSA", "n": BASE64.encode(n.big_endian_without_leading_zero()),
                        "e": BASE64.encode(e.big_endian_without_leading_zero()) })
            }
            Secret::Ec(pair) => {
                // An uncompressed point (RFC 5480 §2.2).
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": BASE64.encode(x), "y": BASE64.encode(y) })
            }
            Secret::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": BASE64.encode(pair.public_key().as_ref()) })
            }
            Secret::Hmac(secret) => json!({ "kty": "oct", "k": BASE64.encode(secret) }),
        };
        jwk["kid"] = json!(self.kid);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// The public half of an RSA key as PEM: what a confused verifier would take for a secret.
    pub fn public_pem(&self) -> String {
        let Secret::Rsa(pair) = &*self.secret else {
            panic!("no RSA key")
        };
        let der = STANDARD.encode(pair.public_key().as_der().unwrap().as_ref());
        let lines: Vec<_> = der
            .as_bytes()
            .chunks(64)
            .map(|line| str::from_utf8(line).unwrap())
            .collect();
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            lines.join("\n")
        )
    }

    /// The header of its tokens.
    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm(), "kid": self.kid, "typ": "JWT" })
    }

    /// A token of these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with(&self.header(), &claims.to_string())
    }

    /// A token with this very header, and these very claims.
    pub fn sign_with(&self, header: &Value, claims: &str) -> String {
        let input = format!("{}.{}", BASE64.encode(header.to_string()), BASE64.encode(claims));
        let signature = self.signature(input.as_bytes());
        format!("{input}.{}", BASE64.encode(signature))
    }

    /// Its signature over these bytes.
    pub fn signature(&self, bytes: &[u8]) -> Vec<u8> {
        let random = rand::SystemRandom::new();
        match &*self.secret {
            Secret::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, bytes, &mut signature).unwrap();
                signature
            }
            Secret::Ec(pair) => pair.sign(&random, bytes).unwrap().as_ref().to_vec(),
            Secret::Ed(pair) => pair.sign(bytes).as_ref().to_vec(),
            Secret::Hmac(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), bytes)
                .as_ref()
                .to_vec(),
        }
    }
}

/// This token with another signature. Its first character is changed: the last ones may stand there already, and not all of their
/// bits count.
pub fn forged(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (first, rest) = signature.split_at(1);
    let other = if first == "A" { "B" } else { "A" };
    format!("{input}.{other}{rest}")
}

/// This token of ES256 with its other signature, `(r, n - s)`, which holds as well and which everybody can make.
pub fn other_text(token: &str) -> String {
    // P-256's n, in two halves.
    const ORDER: [u128; 2] = [
        0xffff_ffff_0000_0000_ffff_ffff_ffff_ffff,
        0xbce6_faad_a717_9e84_f3b9_cac2_fc63_2551,
    ];
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = BASE64.decode(signature).unwrap();
    let half = |at: usize| u128::from_be_bytes(signature[at..at + 16].try_into().unwrap());
    let (low, borrow) = ORDER[1].overflowing_sub(half(48));
    let high = ORDER[0] - half(32) - u128::from(borrow);
    signature[32..48].copy_from_slice(&high.to_be_bytes());
    signature[48..].copy_from_slice(&low.to_be_bytes());
    format!("{input}.{}", BASE64.encode(signature))
}

/// How the issuer's server behaves.
#[derive(Clone)]
enum Mood {
    Publishes(Vec<u8>),
    Says(Vec<u8>),
    HangsUp,
    Waits(Gate, Vec<u8>),
}

/// An issuer whose keys are at [`Issuer::jwks_url`].
pub struct Issuer {
    /// Its `iss`.
    pub name: String,
    /// What it signs with, and publishes at first: an ES256 key with the id `key-1`.
    pub key: Key,
    /// Its server; every request there is a fetch.
    pub server: Upstream,
    mood: Arc<Mutex<Mood>>,
}

impl Issuer {
    /// Starts one that publishes its key.
    pub async fn start() -> Self {
        Self::with(Key::ec("key-1")).await
    }

    /// Starts one that publishes this key.
    pub async fn with(key: Key) -> Self {
        let mood = Arc::new(Mutex::new(Mood::Publishes(set_of(&[&key]))));
        let told = mood.clone();
        let server = Upstream::conversing(move |mut conversation| {
            let told = told.clone();
            async move {
                while conversation.request().await.is_some() {
                    let mood = told.lock().clone();
                    match mood {
                        Mood::Publishes(document) => conversation.send(ok(&document)).await,
                        Mood::Says(answer) => conversation.send(answer).await,
                        Mood::HangsUp => return,
                        Mood::Waits(gate, document) => {
                            gate.passed().await;
                            conversation.send(ok(&document)).await;
                        }
                    }
                }
            }
        })
        .await;
        let name = format!("http://{}", server.address);
        Self {
            name,
            key,
            server,
            mood,
        }
    }

    /// Where its keys are.
    pub fn jwks_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.name)
    }

    /// How often its keys were fetched.
    pub fn fetches(&self) -> usize {
        self.server.count()
    }

    /// Publishes these keys from now on.
    pub fn publish(&self, keys: &[&Key]) {
        *self.mood.lock() = Mood::Publishes(set_of(keys));
    }

    /// Publishes this document from now on.
    pub fn publish_document(&self, document: &Value) {
        *self.mood.lock() = Mood::Publishes(document.to_string().into_bytes());
    }

    /// Answers fetches with these bytes from now on.
    pub fn say(&self, answer: &str) {
        *self.mood.lock() = Mood::Says(answer.as_bytes().to_vec());
    }

    /// Hangs up on every fetch from now on, until it publishes again.
    pub fn go_down(&self) {
        *self.mood.lock() = Mood::HangsUp;
    }

    /// Answers fetches only once the gate is open.
    pub fn wait_for(&self, gate: &Gate) {
        *self.mood.lock() = Mood::Waits(gate.clone(), set_of(&[&self.key]));
    }

    /// What a good token says: `sub` is `ada`.
    pub fn claims(&self) -> Value {
        json!({ "iss": self.name, "sub": "ada", "iat": now(), "exp": now() + 600 })
    }

    /// A good token.
    pub fn token(&self) -> String {
        self.key.sign(&self.claims())
    }

    /// A good token but for these claims; `null` leaves one out.
    pub fn token_with(&self, changes: Value) -> String {
        self.key.sign(&self.claims_with(changes))
    }

    /// Good claims but for these; `null` leaves one out.
    pub fn claims_with(&self, changes: Value) -> Value {
        let mut claims = self.claims();
        let Value::Object(changes) = changes else {
            panic!("claims are an object")
        };
        for (name, value) in changes {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(&name);
            } else {
                claims[name] = value;
            }
        }
        claims
    }
}

fn set_of(keys: &[&Key]) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string().into_bytes()
}

fn ok(document: &[u8]) -> Vec<u8> {
    let length = document.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    [head.as_bytes(), document].concat()
}
