//! Bytes as a token, and as an issuer's key set: nothing passes but the very examples that RFC 7515, 7520 and 8037 publish.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use gateway::compile::compile;
use gateway::config::{Environment, Problems, load_text};
use gateway::policy::authn::jwt::{KeySet, parse, verify};
use gateway::policy::token::TokenRules;
use serde_json::{Value, json};

const CONFIG: &str = r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
[issuers.main]
issuer = "joe"
jwks_url = "http://127.0.0.1/jwks.json"
algorithms = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
claims = { user = "iss" }
[upstreams.u]
urls = ["http://127.0.0.1"]
[[routes]]
name = "all"
paths = ["/*"]
upstream = "u"
auth = "jwt"
"#;

/// What is judged with, made once.
pub struct World {
    rules: Arc<TokenRules>,
    keys: KeySet,
    /// The published examples, as tokens.
    pub tokens: Vec<String>,
    /// Their public keys, as one set.
    pub jwks: Vec<u8>,
}

impl World {
    /// The one world.
    pub fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::make)
    }

    fn make() -> Self {
        let loaded = load_text(Path::new("gateway.toml"), CONFIG, &Environment::default()).expect("a config");
        let mut problems = Problems::new(loaded.sources);
        let mut compiled = compile(&loaded.config, &mut problems).expect("a policy");
        let vectors = include_str!("../../src/policy/authn/jwt/tests/rfc_vectors.json");
        let vectors: Vec<Value> = serde_json::from_str(vectors).expect("examples");
        let text = |vector: &Value, member: &str| vector[member].as_str().expect("a text").to_owned();
        let whole = |vector: &Value| {
            ["header", "payload", "signature"]
                .map(|part| text(vector, part))
                .join(".")
        };
        let keys: Vec<&Value> = vectors
            .iter()
            .map(|vector| &vector["jwk"])
            .filter(|jwk| jwk.is_object())
            .collect();
        let jwks = json!({ "keys": keys }).to_string().into_bytes();
        Self {
            rules: compiled.issuers.remove(0).rules,
            keys: KeySet::from_jwks(&jwks).expect("a key set").0,
            tokens: vectors.iter().map(whole).collect(),
            jwks,
        }
    }

    fn passes(&self, token: &str, keys: &KeySet) -> bool {
        parse(token).is_ok_and(|parsed| verify(&parsed, &self.rules, keys).is_ok())
    }
}

/// These bytes as a token.
pub fn token(bytes: &[u8]) {
    let world = World::get();
    let Ok(token) = std::str::from_utf8(bytes) else { return };
    let published = world.tokens.iter().any(|known| known == token);
    assert!(published || !world.passes(token, &world.keys), "passed: {token}");
}

/// These bytes as an issuer's key set: whatever it holds, the examples are judged by it.
pub fn jwks(bytes: &[u8]) {
    let world = World::get();
    if let Ok((keys, _skipped)) = KeySet::from_jwks(bytes) {
        for token in &world.tokens {
            world.passes(token, &keys);
        }
    }
}
