//! The issuer of these tests: a key of each kind, tokens signed with them, and rules that take them.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::policy::authn::jwt::KeySet;
use crate::policy::identity::{ClaimPath, HeaderText, IdentityHeaders, RoleTable};
use crate::policy::token::{Algorithm, IdentityClaims, TokenRules};

pub(super) const NOW: i64 = 1_800_000_000;
pub(super) const ISSUER: &str = "https://issuer.example";
pub(super) const SECRET: &[u8] = b"a shared secret of 32 bytes or so";

pub(super) enum Pair {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair, &'static str),
    Ed(Ed25519KeyPair),
}

pub(super) struct TestKey {
    pub(super) kid: &'static str,
    pub(super) pair: Pair,
}

pub(super) static RSA: LazyLock<TestKey> = LazyLock::new(|| TestKey::rsa("rsa", KeySize::Rsa2048));
pub(super) static P256: LazyLock<TestKey> =
    LazyLock::new(|| TestKey::ec("p256", &ECDSA_P256_SHA256_FIXED_SIGNING, "P-256"));
pub(super) static P384: LazyLock<TestKey> =
    LazyLock::new(|| TestKey::ec("p384", &ECDSA_P384_SHA384_FIXED_SIGNING, "P-384"));
pub(super) static P521: LazyLock<TestKey> =
    LazyLock::new(|| TestKey::ec("p521", &ECDSA_P521_SHA512_FIXED_SIGNING, "P-521"));
pub(super) static ED: LazyLock<TestKey> = LazyLock::new(|| TestKey::ed("ed"));

impl TestKey {
    pub(super) fn rsa(kid: &'static str, size: KeySize) -> Self {
        Self {
            kid,
            pair: Pair::Rsa(RsaKeyPair::generate(size).unwrap()),
        }
    }

    pub(super) fn ec(kid: &'static str, curve: &'static EcdsaSigningAlgorithm, name: &'static str) -> Self {
        Self {
            kid,
            pair: Pair::Ec(EcdsaKeyPair::generate(curve).unwrap(), name),
        }
    }

    pub(super) fn ed(kid: &'static str) -> Self {
        Self {
            kid,
            pair: Pair::Ed(Ed25519KeyPair::generate().unwrap()),
        }
    }

    /// As a published JWK.
    pub(super) fn jwk(&self) -> Value {
        let public = self.public();
        let mut jwk = match &self.pair {
            Pair::Rsa(_) => {
                let (n, e) = rsa_numbers(&public);
                json!({"kty": "RSA", "n": b64(n), "e": b64(e)})
            }
            Pair::Ec(_, curve) => {
                let (x, y) = public[1..].split_at(public.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
            }
            Pair::Ed(_) => json!({"kty": "OKP", "crv": "Ed25519", "x": b64(&public)}),
        };
        jwk["kid"] = self.kid.into();
        jwk
    }

    /// As the library writes it: PKCS#1 (RSA), an uncompressed point (EC), or the bytes (Ed25519).
    pub(super) fn public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ec(pair, _) => pair.public_key().as_ref().to_vec(),
            Pair::Ed(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    pub(super) fn sign(&self, algorithm: Algorithm, message: &[u8]) -> Vec<u8> {
        match &self.pair {
            Pair::Rsa(pair) => {
                let padding = match algorithm {
                    Algorithm::RS256 => &RSA_PKCS1_SHA256,
                    Algorithm::RS384 => &RSA_PKCS1_SHA384,
                    Algorithm::RS512 => &RSA_PKCS1_SHA512,
                    Algorithm::PS256 => &RSA_PSS_SHA256,
                    Algorithm::PS384 => &RSA_PSS_SHA384,
                    _ => &RSA_PSS_SHA512,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
            Pair::Ec(pair, _) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Pair::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with good claims.
    pub(super) fn token(&self, algorithm: Algorithm) -> String {
        let header = json!({"alg": algorithm.name(), "kid": self.kid, "typ": "JWT"});
        self.token_of(algorithm, &header.to_string(), &claims().to_string())
    }

    /// A token with exactly this header and payload, whatever the header says.
    pub(super) fn token_of(&self, algorithm: Algorithm, header: &str, payload: &str) -> String {
        compact(header, payload, |input| self.sign(algorithm, input))
    }
}

/// A token with this header and these claims, well signed with the Ed25519 key.
pub(super) fn signed(header: &str, payload: &str) -> String {
    ED.token_of(Algorithm::EdDSA, header, payload)
}

pub(super) const ED_HEADER: &str = r#"{"alg":"EdDSA","kid":"ed"}"#;

pub(super) fn compact(header: &str, payload: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", b64(header), b64(payload));
    format!("{input}.{}", b64(sign(input.as_bytes())))
}

pub(super) fn hmac(digest: hmac::Algorithm, secret: &[u8], message: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(digest, secret), message).as_ref().to_vec()
}

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Modulus and exponent of a PKCS#1 `RSAPublicKey` (RFC 8017 §A.1.1).
pub(super) fn rsa_numbers(der: &[u8]) -> (&[u8], &[u8]) {
    let modulus = &der[4..];
    let length = usize::from(u16::from_be_bytes([modulus[2], modulus[3]]));
    let (n, exponent) = modulus[4..].split_at(length);
    (&n[1..], &exponent[2..])
}

pub(super) fn set_of(jwks: &[Value]) -> KeySet {
    let (set, skipped) = KeySet::from_jwks(json!({ "keys": jwks }).to_string().as_bytes()).unwrap();
    assert_eq!(skipped, []);
    set
}

/// Every key, and the secret.
pub(super) fn all_keys() -> KeySet {
    let mut keys = set_of(&[RSA.jwk(), P256.jwk(), P384.jwk(), P521.jwk(), ED.jwk()]);
    keys.add_secrets(&[SECRET]);
    keys
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "api", "sub": "ada", "exp": NOW + 3600, "iat": NOW - 10, "nbf": NOW - 10, "jti": "t-1",
        "typ": "access", "tenant_id": "acme", "client_id": "cli", "scope": "model:read model:write",
        "scp": ["model:read", "mlflow:access"], "permissions": ["tasks.read"], "realm": {"roles": ["user", "ops"]},
        "tier": "pro", "email": "ada@example.com",
    })
}

/// The good claims with some set to something else.
pub(super) fn claims_with(changes: &Value) -> String {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.to_string()
}

/// The good claims without one.
pub(super) fn claims_without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims.to_string()
}

pub(super) fn rules() -> TokenRules {
    let paths = |names: &[&str]| names.iter().map(|name| ClaimPath::new(name)).collect();
    let permission = |text| HeaderText::item(text).unwrap();
    let roles = BTreeMap::from([(
        "user".to_owned(),
        vec![permission("tasks.read"), permission("tasks.create")],
    )]);
    TokenRules {
        name: Arc::from("codelab"),
        issuer: Some(ISSUER.to_owned()),
        audiences: vec!["other".to_owned(), "api".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        required_claims: Vec::new(),
        leeway_s: 30,
        max_lifetime_s: 0,
        user_prefix: String::new(),
        claims: IdentityClaims {
            user: paths(&["sub", "user_id"]),
            tenant: paths(&["tenant_id"]),
            client: paths(&["client_id", "azp"]),
            scopes: paths(&["scope", "scp"]),
            permissions: paths(&["permissions"]),
            roles: paths(&["roles", "realm.roles"]),
            tier: paths(&["tier"]),
        },
        reserved_user: Some("system".to_owned()),
        roles: Arc::new(RoleTable::new(roles)),
        headers: Arc::new(IdentityHeaders {
            user: Some("x-user-id".parse().unwrap()),
            scopes: Some("x-scopes".parse().unwrap()),
            permissions: Some("x-permissions".parse().unwrap()),
            claims: vec![("x-user-email".parse().unwrap(), ClaimPath::new("email"))],
            ..IdentityHeaders::default()
        }),
        kept_claims: paths(&["email", "org_id"]),
        remote: false,
    }
}
