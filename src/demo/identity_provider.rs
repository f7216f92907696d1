//! The demo's identity provider: published keys, a token endpoint with the password grant (RFC 6749 §4.3), and API keys that
//! it validates, makes, lists and revokes. Depends on `tokens` and `serve`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::serve::{self, After, Request, Server, Site};
use super::tokens::{ADA, BOB, EVE, LIFETIME, Signature, Signer, claims, now, random_text};
use super::wire::Wire;

/// Keys that it holds at most; the demo must not be a way to fill memory.
const MAX_KEYS: usize = 1000;

/// A running identity provider.
pub struct IdentityProvider {
    /// Its `iss`, which is also its address: `http://127.0.0.1:PORT`.
    pub issuer: String,
    /// What it signs with.
    pub signer: Arc<Signer>,
    /// The bearer token that its API-key management takes.
    pub admin_token: String,
    /// The server.
    pub server: Server,
}

impl IdentityProvider {
    /// Makes its keys and starts it.
    ///
    /// # Errors
    /// No port or no randomness could be had.
    pub async fn start() -> io::Result<Self> {
        let signer = Arc::new(Signer::generate()?);
        let admin_token = random_text()?;
        let endpoints = |address| Endpoints {
            issuer: format!("http://{address}"),
            signer: Arc::clone(&signer),
            admin_token: admin_token.clone(),
            keys: Mutex::default(),
        };
        let server = serve::serve(endpoints).await?;
        let issuer = format!("http://{}", server.address);
        Ok(Self {
            issuer,
            signer,
            admin_token,
            server,
        })
    }
}

struct Endpoints {
    issuer: String,
    signer: Arc<Signer>,
    admin_token: String,
    keys: Mutex<BTreeMap<String, StoredKey>>,
}

struct StoredKey {
    secret: String,
    user: String,
    scopes: Value,
    created: i64,
}

impl Site for Endpoints {
    async fn answer(&self, request: Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        let body = wire.rest(request.body).await?;
        let (status, answer) = self.judge(&request, &body)?;
        serve::json(wire, status, &answer).await
    }
}

impl Endpoints {
    fn judge(&self, request: &Request, body: &[u8]) -> io::Result<(&'static str, Value)> {
        const KEYS: &str = "/api/v1/keys";
        let path = request.path.as_str();
        Ok(match (request.method.as_str(), path) {
            ("GET", "/.well-known/jwks.json") => ("200 OK", self.signer.jwks()),
            ("GET", "/.well-known/openid-configuration") => ("200 OK", metadata(&self.issuer)),
            ("GET", "/health") => ("200 OK", json!({ "status": "ok" })),
            ("POST", "/token") => self.grant(body)?,
            ("POST", "/api/v1/keys/validate") => self.validate(body),
            (_, path) if path.starts_with(KEYS) && !self.is_admin(request) => {
                ("401 Unauthorized", json!({ "error": "unauthorized" }))
            }
            ("POST", KEYS) => self.create(body)?,
            ("GET", KEYS) => ("200 OK", self.list()),
            ("DELETE", path) => self.revoke(path.strip_prefix("/api/v1/keys/").unwrap_or_default()),
            _ => ("404 Not Found", json!({ "error": "not_found" })),
        })
    }

    /// The password grant; errors as RFC 6749 §5.2 names them.
    fn grant(&self, body: &[u8]) -> io::Result<(&'static str, Value)> {
        let form = String::from_utf8_lossy(body);
        let field = |name: &str| {
            let pairs = form.split('&').filter_map(|pair| pair.split_once('='));
            pairs
                .into_iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| form_decode(value))
                .unwrap_or_default()
        };
        if field("grant_type") != "password" {
            return Ok(("400 Bad Request", json!({ "error": "unsupported_grant_type" })));
        }
        let (name, password) = (field("username"), field("password"));
        let Some(person) = [ADA, BOB, EVE]
            .into_iter()
            .find(|one| one.name == name && one.password == password)
        else {
            return Ok(("400 Bad Request", json!({ "error": "invalid_grant" })));
        };
        let token = self.signer.sign(&claims(&self.issuer, &person), Signature::Rs256)?;
        let answer = json!({
            "access_token": token, "token_type": "Bearer", "expires_in": LIFETIME, "scope": person.scope,
        });
        Ok(("200 OK", answer))
    }

    fn is_admin(&self, request: &Request) -> bool {
        let presented = request
            .head
            .first("authorization")
            .and_then(|value| value.strip_prefix("Bearer "));
        presented == Some(self.admin_token.as_str())
    }

    fn validate(&self, body: &[u8]) -> (&'static str, Value) {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let presented = asked.get("api_key").and_then(Value::as_str).unwrap_or_default();
        let keys = self.keys.lock();
        let found = keys.iter().find(|(_, key)| key.secret == presented);
        let answer = found.map_or(json!({ "valid": false }), |(id, key)| {
            json!({ "valid": true, "key_id": id, "user_id": key.user, "scopes": key.scopes, "tenant_id": "acme" })
        });
        ("200 OK", answer)
    }

    fn create(&self, body: &[u8]) -> io::Result<(&'static str, Value)> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |name: &str| asked.get(name).and_then(Value::as_str);
        let key = StoredKey {
            secret: format!("{}{}", text("prefix").unwrap_or("hok_demo_"), random_text()?),
            user: text("user_id").unwrap_or("svc_demo").to_owned(),
            scopes: asked
                .get("scopes")
                .filter(|s| s.is_array())
                .cloned()
                .unwrap_or(json!([])),
            created: now(),
        };
        let mut keys = self.keys.lock();
        if keys.len() >= MAX_KEYS {
            return Ok(("409 Conflict", json!({ "error": "too_many_keys" })));
        }
        let id: String = random_text()?.chars().take(12).collect();
        let answer = json!({ "key_id": id, "api_key": key.secret, "user_id": key.user, "scopes": key.scopes });
        keys.insert(id, key);
        Ok(("201 Created", answer))
    }

    fn list(&self) -> Value {
        let keys = self.keys.lock();
        let one = |(id, key): (&String, &StoredKey)| json!({ "key_id": id, "user_id": key.user, "scopes": key.scopes, "created_at": key.created });
        json!({ "keys": keys.iter().map(one).collect::<Vec<_>>() })
    }

    fn revoke(&self, id: &str) -> (&'static str, Value) {
        match self.keys.lock().remove(id) {
            Some(_) => ("200 OK", json!({ "revoked": id })),
            None => ("404 Not Found", json!({ "error": "not_found" })),
        }
    }
}

fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "token_endpoint": format!("{issuer}/token"),
        "grant_types_supported": ["password"],
        "response_types_supported": ["token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
    })
}

/// `application/x-www-form-urlencoded`: `+` and `%XX`; what is neither stands for itself.
fn form_decode(value: &str) -> String {
    let mut decoded = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => match tail.split_at_checked(2).map(|(hex, after)| (from_hex(hex), after)) {
                Some((Some(real), after)) => {
                    rest = after;
                    real
                }
                _ => byte,
            },
            _ => byte,
        });
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

fn from_hex(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::super::client::{Request, send};
    use super::*;

    async fn ask(provider: &IdentityProvider, request: Request) -> (u16, Value) {
        let answer = send(provider.server.address, &request).await.unwrap();
        (answer.head.status(), answer.json())
    }

    #[test]
    fn a_form_value_is_decoded_and_a_broken_escape_stands_for_itself() {
        assert_eq!(form_decode("a+b%20c%2f%zz%4"), "a b c/%zz%4");
    }

    #[tokio::test]
    async fn the_password_grant_gives_a_token_to_who_knows_the_password() {
        let provider = IdentityProvider::start().await.unwrap();
        let grant = |password| {
            Request::new("POST", "/token").body(&format!("grant_type=password&username=ada&password={password}"))
        };
        let (status, answer) = ask(&provider, grant("lovelace")).await;
        assert_eq!((status, &answer["token_type"]), (200, &json!("Bearer")));
        let payload = answer["access_token"].as_str().unwrap().split('.').nth(1).unwrap();
        let claims: Value = serde_json::from_slice(
            &base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload).unwrap(),
        )
        .unwrap();
        assert_eq!(
            (&claims["sub"], &claims["iss"]),
            (&json!("ada"), &json!(provider.issuer))
        );

        let (status, answer) = ask(&provider, grant("byron")).await;
        assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
    }

    #[tokio::test]
    async fn an_api_key_is_made_validated_listed_and_revoked_by_the_admin_alone() {
        let provider = IdentityProvider::start().await.unwrap();
        let admin = provider.admin_token.clone();
        let create = Request::new("POST", "/api/v1/keys").body(r#"{"user_id":"svc_ci","scopes":["model:read"]}"#);
        assert_eq!(ask(&provider, create.clone()).await.0, 401);
        let (status, made) = ask(&provider, create.bearer(&admin)).await;
        assert_eq!(status, 201);

        let key = made["api_key"].as_str().unwrap();
        let validate = Request::new("POST", "/api/v1/keys/validate").body(&json!({ "api_key": key }).to_string());
        let (_, answer) = ask(&provider, validate.clone()).await;
        assert_eq!((&answer["valid"], &answer["user_id"]), (&json!(true), &json!("svc_ci")));

        let (_, listed) = ask(&provider, Request::new("GET", "/api/v1/keys").bearer(&admin)).await;
        assert_eq!(listed["keys"][0]["key_id"], made["key_id"]);
        assert!(!listed.to_string().contains(key));

        let one = format!("/api/v1/keys/{}", made["key_id"].as_str().unwrap());
        assert_eq!(ask(&provider, Request::new("DELETE", &one)).await.0, 401);
        assert_eq!(ask(&provider, Request::new("DELETE", &one).bearer(&admin)).await.0, 200);
        assert_eq!(ask(&provider, validate).await.1["valid"], json!(false));
    }
}
