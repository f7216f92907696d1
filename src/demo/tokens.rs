//! The demo's people, and tokens for them: good ones, and every bad one that a gateway must refuse. Signs by itself
//! (RFC 7515, RFC 7518), so that a token can be wrong in exactly one way. Imports nothing of the crate.

use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use aws_lc_rs::{hmac, rand};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// Seconds that the demo's tokens live: 30 days, longer than any demo.
pub const LIFETIME: i64 = 30 * 24 * 3600;
/// The `aud` of the demo's tokens.
pub const AUDIENCE: &str = "demo-api";

/// Somebody with a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    /// `sub`.
    pub name: &'static str,
    /// For the password grant.
    pub password: &'static str,
    /// `roles`.
    pub role: &'static str,
    /// `scope`.
    pub scope: &'static str,
}

/// May do everything.
pub const ADA: Person = Person {
    name: "ada",
    password: "lovelace",
    role: "admin",
    scope: "llm:access reports:read",
};
/// May create and read tasks.
pub const BOB: Person = Person {
    name: "bob",
    password: "builder",
    role: "user",
    scope: "llm:access",
};
/// May only look.
pub const EVE: Person = Person {
    name: "eve",
    password: "watching",
    role: "viewer",
    scope: "",
};

/// What signs a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signature {
    /// The provider's RSA key.
    Rs256,
    /// The provider's P-256 key.
    Es256,
    /// A stranger's P-256 key, under its own `kid`.
    Stranger,
    /// A stranger's P-256 key, under the `kid` of the provider's.
    StrangerAsProvider,
    /// Nothing: `alg` is `none`.
    None,
    /// HS256 with the PEM of the provider's public RSA key as the secret.
    HmacOfPublicKey,
}

/// The provider's keys, and a stranger's.
#[derive(Debug)]
pub struct Signer {
    rsa: KeyPair,
    ec: EcdsaKeyPair,
    stranger: EcdsaKeyPair,
}

impl Signer {
    /// Makes the keys; they live as long as the demo.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn generate() -> io::Result<Self> {
        let rsa = KeyPair::generate(KeySize::Rsa2048).map_err(io::Error::other)?;
        let ec = || EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(io::Error::other);
        Ok(Self {
            rsa,
            ec: ec()?,
            stranger: ec()?,
        })
    }

    /// The public keys (RFC 7517).
    pub fn jwks(&self) -> Value {
        let rsa = self.rsa.public_key();
        // An uncompressed point: 0x04, then x and y of 32 bytes each (RFC 5480 §2.2).
        let point = self.ec.public_key().as_ref().get(1..).unwrap_or_default();
        let (x, y) = point.split_at_checked(32).unwrap_or_default();
        json!({ "keys": [
            {
                "kty": "RSA", "use": "sig", "alg": "RS256", "kid": RSA_KID,
                "n": URL_SAFE_NO_PAD.encode(rsa.modulus().big_endian_without_leading_zero()),
                "e": URL_SAFE_NO_PAD.encode(rsa.exponent().big_endian_without_leading_zero()),
            },
            {
                "kty": "EC", "use": "sig", "alg": "ES256", "kid": EC_KID, "crv": "P-256",
                "x": URL_SAFE_NO_PAD.encode(x),
                "y": URL_SAFE_NO_PAD.encode(y),
            },
        ]})
    }

    /// A token of these claims.
    ///
    /// # Errors
    /// The signature could not be made.
    pub fn sign(&self, claims: &Value, signature: Signature) -> io::Result<String> {
        let (alg, kid) = match signature {
            Signature::Rs256 => ("RS256", RSA_KID),
            Signature::Es256 | Signature::StrangerAsProvider => ("ES256", EC_KID),
            Signature::Stranger => ("ES256", "stranger-1"),
            Signature::None => ("none", RSA_KID),
            Signature::HmacOfPublicKey => ("HS256", RSA_KID),
        };
        let header = json!({ "alg": alg, "kid": kid, "typ": "JWT" });
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", encode(&header), encode(claims));
        let signed = match signature {
            Signature::Rs256 => self.sign_rsa(input.as_bytes())?,
            Signature::Es256 => sign_ec(&self.ec, input.as_bytes())?,
            Signature::Stranger | Signature::StrangerAsProvider => sign_ec(&self.stranger, input.as_bytes())?,
            Signature::None => Vec::new(),
            Signature::HmacOfPublicKey => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, self.public_pem()?.as_bytes());
                hmac::sign(&key, input.as_bytes()).as_ref().to_vec()
            }
        };
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signed)))
    }

    fn sign_rsa(&self, input: &[u8]) -> io::Result<Vec<u8>> {
        let mut signed = vec![0; self.rsa.public_modulus_len()];
        self.rsa
            .sign(&RSA_PKCS1_SHA256, &rand::SystemRandom::new(), input, &mut signed)
            .map_err(io::Error::other)?;
        Ok(signed)
    }

    fn public_pem(&self) -> io::Result<String> {
        let der = self.rsa.public_key().as_der().map_err(io::Error::other)?;
        let mut pem = String::from("-----BEGIN PUBLIC KEY-----\n");
        for line in STANDARD.encode(der.as_ref()).as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END PUBLIC KEY-----\n");
        Ok(pem)
    }
}

const RSA_KID: &str = "demo-rsa-1";
const EC_KID: &str = "demo-ec-1";

fn sign_ec(key: &EcdsaKeyPair, input: &[u8]) -> io::Result<Vec<u8>> {
    let signed = key.sign(&rand::SystemRandom::new(), input).map_err(io::Error::other)?;
    Ok(signed.as_ref().to_vec())
}

/// What the provider says of a person. `email` is what the gateway hands on as `X-User-Email`.
pub fn claims(issuer: &str, person: &Person) -> Value {
    let now = now();
    json!({
        "iss": issuer, "sub": person.name, "aud": AUDIENCE, "iat": now, "exp": now + LIFETIME,
        "type": "access", "tenant_id": "acme", "email": format!("{}@example.com", person.name),
        "roles": [person.role], "scope": person.scope,
    })
}

/// The same claims with one changed.
pub fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    if let Some(claims) = claims.as_object_mut() {
        claims.insert(name.to_owned(), value.into());
    }
    claims
}

/// A token whose claims were changed after it was signed: another `sub` under the old signature.
pub fn tampered(token: &str, claims: &Value, sub: &str) -> String {
    let claims = with(claims.clone(), "sub", sub);
    let mut parts = token.splitn(3, '.');
    let (header, signature) = (parts.next().unwrap_or_default(), parts.nth(1).unwrap_or_default());
    format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()))
}

/// Seconds since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// 256 random bits, as text.
///
/// # Errors
/// The system has no randomness.
pub fn random_text() -> io::Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use jsonwebtoken::jwk::JwkSet;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};

    use super::*;

    fn verify(signer: &Signer, token: &str, key: usize, algorithm: Algorithm) -> Option<Value> {
        let set: JwkSet = serde_json::from_value(signer.jwks()).unwrap();
        let key = DecodingKey::from_jwk(&set.keys[key]).unwrap();
        let mut rules = Validation::new(algorithm);
        rules.set_audience(&[AUDIENCE]);
        decode::<Value>(token, &key, &rules).ok().map(|data| data.claims)
    }

    #[test]
    fn its_tokens_verify_under_its_published_keys_and_the_bad_ones_do_not() {
        let signer = Signer::generate().unwrap();
        let claims = claims("http://idp", &ADA);
        let sign = |signature| signer.sign(&claims, signature).unwrap();

        let good = sign(Signature::Rs256);
        assert_eq!(verify(&signer, &good, 0, Algorithm::RS256).unwrap()["sub"], "ada");
        let good = sign(Signature::Es256);
        assert_eq!(verify(&signer, &good, 1, Algorithm::ES256).unwrap()["sub"], "ada");

        for bad in [Signature::Stranger, Signature::StrangerAsProvider] {
            assert!(verify(&signer, &sign(bad), 1, Algorithm::ES256).is_none());
        }
        let changed = tampered(&sign(Signature::Es256), &claims, "root");
        assert!(verify(&signer, &changed, 1, Algorithm::ES256).is_none());
    }

    #[test]
    fn the_algorithm_confusion_token_is_a_real_one() {
        let signer = Signer::generate().unwrap();
        let token = signer
            .sign(&claims("http://idp", &ADA), Signature::HmacOfPublicKey)
            .unwrap();
        let secret = DecodingKey::from_secret(signer.public_pem().unwrap().as_bytes());
        let mut rules = Validation::new(Algorithm::HS256);
        rules.set_audience(&[AUDIENCE]);
        assert!(decode::<Value>(&token, &secret, &rules).is_ok());
    }

    #[test]
    fn a_tampered_token_differs_in_its_claims_alone() {
        let signer = Signer::generate().unwrap();
        let claims = claims("http://idp", &BOB);
        let token = signer.sign(&claims, Signature::Es256).unwrap();
        let changed = tampered(&token, &claims, "ada");
        let (old, new): (Vec<_>, Vec<_>) = (token.split('.').collect(), changed.split('.').collect());
        assert_eq!((old[0], old[2]), (new[0], new[2]));
        let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(new[1]).unwrap()).unwrap();
        assert_eq!(claims["sub"], "ada");
    }
}
