//! Everybody of the everyday load, the gateway among them: what each kind of caller asks, and what must come back.

use std::collections::BTreeMap;

use bytes::Bytes;
use gateway::demo::tokens::now;
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Kind;
use super::upstreams::{chunks, events, large, said};
use crate::harness::http2::Http2Upstream;
use crate::harness::tls::{Authority, Terminator, TlsClient};
use crate::harness::{AuthService, Gateway, Issuer, Key, Request, Response, Upstream, forged, refused, sha256, status};

/// What clients ask for.
pub const HOST: &str = "api.example.com";

/// How many people come with one token each, again and again.
pub const PEOPLE: usize = 30;

/// How many keys only the auth service knows.
const REMOTE_KEYS: usize = 300;

const CONFIG: &str = include_str!("gateway.toml");
const APP: &str = "https://app.example.com";
const KEY: &str = "hok_live_0123456789abcdef0123456789abcdef0123456789a";
const SECRET: &str = "internal-secret-0123456789-0123456789";

/// What must come back.
pub enum Answer {
    /// 200 with this body.
    Body(Bytes),
    /// A refusal of the gateway's own.
    Refusal(u16, &'static str),
    /// This status, with a header of this value.
    Header(u16, &'static str, String),
}

/// The gateway, and what callers come with.
pub struct World {
    pub gateway: Gateway,
    pub tls: TlsClient,
    /// Tokens of [`PEOPLE`].
    pub people: Vec<String>,
    /// Tokens that were not seen yet, and whose they are.
    fresh: Mutex<Vec<(String, String)>>,
    expired: String,
    powerless: String,
    /// Requests, by the status of their answers.
    pub answered: Mutex<BTreeMap<u16, u64>>,
}

impl World {
    /// A world that has a fresh token for each of so many requests.
    pub async fn new(
        issuer: &Issuer,
        auth_service: &AuthService,
        app: &Upstream,
        http2: &Http2Upstream,
        fresh_tokens: usize,
    ) -> Self {
        let (authority, ec) = (Authority::new(), Key::ec("key-2"));
        issuer.publish(&[&issuer.key, &ec]);
        for n in 0..REMOTE_KEYS {
            auth_service.knows_user(&remote_key(n), &format!("customer-{n}"));
        }
        let terminator = Terminator::before(app.address, &authority.pair(&["localhost"]), &authority).await;
        let pair = authority.pair(&[HOST]);
        let config = CONFIG.replace("KEY_HASH", &sha256(KEY)).replace("SECRET", SECRET);
        let gateway = Gateway::with(&config.replace("AUTH_SERVICE", &auth_service.url()))
            .file("ca.pem", authority.pem())
            .file("tls.pem", &pair.cert)
            .file("tls.key", &pair.key)
            .upstream("app", app)
            .upstream_with("http2", http2.address, "http2 = true")
            .and(&format!(
                "[upstreams.secure]\nurls = [\"https://{}\"]\ntls = {{ ca = \"ca.pem\", server_name = \"localhost\" }}",
                terminator.address
            ))
            .issuer_with(
                "main",
                issuer,
                "audiences = [\"api\"]\nalgorithms = [\"RS256\", \"ES256\"]\nrequired_claims = { type = \"access\" }",
            );
        let claims = |place: usize| {
            let person = place % PEOPLE;
            issuer.claims_with(json!({
                "sub": format!("person-{person}"), "aud": ["api", "web"], "type": "access", "tier": "pro", "exp": now() + 7200,
                "email": format!("person-{person}@example.com"), "tenant_id": "acme", "scope": "openid profile api:read api:write",
                "permissions": ["tasks.create", "tasks.read"], "roles": ["user"], "jti": format!("5f6d7c1e-7a34-4f0b-{place:012}"),
            }))
        };
        let sign = |changes: Value| {
            let mut claims = claims(0);
            claims
                .as_object_mut()
                .unwrap()
                .extend(changes.as_object().unwrap().clone());
            issuer.key.sign(&claims)
        };
        let fresh = |place: usize| {
            let key = if place.is_multiple_of(2) { &issuer.key } else { &ec };
            (format!("person-{}", place % PEOPLE), key.sign(&claims(place)))
        };
        Self {
            tls: authority.client(),
            gateway: gateway.start().await,
            people: (0..PEOPLE).map(|person| issuer.key.sign(&claims(person))).collect(),
            fresh: Mutex::new((0..fresh_tokens).map(|place| fresh(PEOPLE + place)).collect()),
            expired: sign(json!({ "exp": now() - 600 })),
            powerless: sign(json!({ "permissions": [], "roles": [] })),
            answered: Mutex::default(),
        }
    }

    /// Of the limit that refuses [`Kind::Limited`] from now on.
    pub async fn uses_up_its_hour(&self) {
        let request = Request::get("/reports/x").bearer(&self.people[0]);
        let answer = Answer::Body(said("person-0", 0));
        self.holds(&self.gateway.send(&request).await, answer);
    }

    /// Holds an answer against what must come, and counts it.
    pub fn holds(&self, response: &Response, expected: Answer) {
        match expected {
            Answer::Body(body) => assert!(status(response) == 200 && response.body == body, "{response:?}"),
            Answer::Refusal(status, code) => refused(response, status, code),
            Answer::Header(code, name, value) => {
                let answer = (status(response), response.head.first(name));
                assert_eq!(answer, (code, Some(value.as_str())), "{response:?}");
            }
        }
        self.counts(status(response));
    }

    /// One more answer of this status.
    pub fn counts(&self, status: u16) {
        *self.answered.lock().entry(status).or_default() += 1;
    }

    /// A request of HTTP/1.1 of this kind, and its answer.
    pub fn ask(&self, kind: Kind, n: usize) -> (Request, Answer) {
        let (person, token) = (format!("person-{}", n % PEOPLE), &self.people[n % PEOPLE]);
        let text = format!("{{\"prompt\":\"{}\"}}", "word ".repeat(n * 37 % 580 + 20));
        let by = |user: &str, request: Request| {
            let bytes = request.body.len();
            (request, Answer::Body(said(user, bytes)))
        };
        let things = if n.is_multiple_of(2) { "items" } else { "tasks" };
        let read = |token: &str| browser(Request::get(&format!("/api/v1/{things}/{n}?page=2&sort=name"))).bearer(token);
        let model = || library(Request::new("POST", "/v1/chat/completions"), &text);
        match kind {
            Kind::Read | Kind::Http2 | Kind::Http2Tls => by(&person, read(token)),
            // Through a proxy that the listener trusts.
            Kind::Tls => by(
                &person,
                read(token).header("X-Forwarded-For", &format!("203.0.113.{}, 198.51.100.7", n % 200)),
            ),
            Kind::Write if n.is_multiple_of(4) => {
                let request = Request::new("POST", "/api/v1/chat/x").header("Origin", APP);
                let request = request.header("Content-Type", "application/json");
                by(&person, browser(request).bearer(token).body(&text))
            }
            Kind::Write => by(
                &person,
                library(Request::new("POST", "/api/v1/items").bearer(token), &text),
            ),
            Kind::WriteChunked => {
                let (some, more) = text.split_at(text.len() / 2);
                let body = format!("{:x}\r\n{some}\r\n{:x}\r\n{more}\r\n0\r\n\r\n", some.len(), more.len());
                let request = library(Request::new("POST", "/api/v1/items").bearer(token), &body);
                (
                    request.header("Transfer-Encoding", "chunked"),
                    Answer::Body(said(&person, text.len())),
                )
            }
            Kind::ApiKey => by(
                "svc_ci",
                library(Request::get("/api/2.0/mlflow/runs/search").header("X-API-Key", KEY), ""),
            ),
            Kind::KeyAsBearer => by(
                "svc_ci",
                library(Request::new("POST", "/api/2.0/mlflow/runs").bearer(KEY), &text),
            ),
            Kind::RemoteKey => {
                let place = n % REMOTE_KEYS;
                let request = Request::new("POST", "/api/v1/items").header("X-API-Key", &remote_key(place));
                by(&format!("customer-{place}"), library(request, &text))
            }
            Kind::ToTls => by(&person, browser(Request::get("/partner/rates?of=today")).bearer(token)),
            Kind::Internal => {
                let request = Request::new("POST", "/internal/jobs").header("X-Internal-Auth", SECRET);
                by(&person, library(request.header("X-User-ID", &person), &text))
            }
            Kind::Open => {
                let path =
                    format!("/assets/2026/06/images/projects/{n}/previews/board-large@2x.webp?v=1717171717&w=640");
                by("-", browser(Request::get(&path)))
            }
            Kind::FreshToken => {
                let (person, token) = self.fresh.lock().pop().expect("one for each");
                by(&person, read(&token))
            }
            Kind::Refused => {
                let chat = || browser(Request::new("POST", "/api/v1/chat/x"));
                let (request, status, code) = match n % 6 {
                    0 => (chat(), 401, "unauthorized"),
                    1 => (read(&self.expired), 401, "token_expired"),
                    2 => (read(&forged(token)), 401, "invalid_token"),
                    3 => (chat().bearer(&self.powerless), 403, "permission_denied"),
                    4 => (browser(Request::get("/wp-login.php")), 404, "no_route"),
                    _ => (browser(Request::new("POST", "/assets/x")), 405, "method_not_allowed"),
                };
                (request, Answer::Refusal(status, code))
            }
            Kind::Limited => (
                library(Request::get("/reports/x").bearer(token), ""),
                Answer::Refusal(429, "rate_limited"),
            ),
            Kind::Events => (model().bearer(token), Answer::Body(events().concat().into())),
            Kind::Chunks => (
                browser(Request::get("/chunks")).bearer(token),
                Answer::Body(chunks().concat().into()),
            ),
            Kind::Large => (browser(Request::get("/large")).bearer(token), Answer::Body(large())),
            Kind::ToHttp2 | Kind::Grpc => {
                let request = Request::new("POST", "/demo.Echo/Say").header("Content-Type", "application/grpc");
                by(&person, request.header("TE", "trailers").bearer(token).body(&text))
            }
            Kind::Preflight => {
                let request = Request::new("OPTIONS", "/api/v1/chat/x").header("Origin", APP);
                let request = request.header("Access-Control-Request-Method", "POST");
                (
                    browser(request),
                    Answer::Header(204, "access-control-allow-origin", APP.to_owned()),
                )
            }
            Kind::Redirect => {
                let to = format!("https://{HOST}/old/{n}?x=1");
                (
                    browser(Request::get(&format!("/old/{n}?x=1"))),
                    Answer::Header(308, "location", to),
                )
            }
            Kind::Respond => (
                Request::get("/lb-health").header("User-Agent", "kube-probe/1.31"),
                Answer::Body("ok".into()),
            ),
            Kind::WebSocket | Kind::Operator => unreachable!("no exchange of HTTP/1.1"),
        }
    }
}

fn remote_key(n: usize) -> String {
    format!("hok_live_{n:039}")
}

/// As a browser asks.
fn browser(request: Request) -> Request {
    request
        .header("Connection", "keep-alive")
        .header(
            "User-Agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
        )
        .header("Accept", "application/json, text/plain, */*")
        .header("Accept-Language", "en-GB,en;q=0.7,de;q=0.3")
        .header("Accept-Encoding", "gzip, deflate, br, zstd")
        .header("Referer", "https://app.example.com/projects/7/board")
        .header("Cookie", "theme=dark; _ga=GA1.1.1291231231.1717171717; consent=yes")
        .header("Sec-Fetch-Dest", "empty")
        .header("Sec-Fetch-Mode", "cors")
        .header("Sec-Fetch-Site", "same-site")
}

/// As a library of a service does.
fn library(request: Request, body: &str) -> Request {
    request
        .header("Accept", "application/json")
        .header("Accept-Encoding", "gzip, deflate")
        .header("Connection", "keep-alive")
        .header("Content-Type", "application/json")
        .header("User-Agent", "OpenAI/Python 1.51.0")
        .header("X-Stainless-Lang", "python")
        .header("X-Stainless-Retry-Count", "0")
        .header("Idempotency-Key", "5f6d7c1e-7a34-4f0b-9f59-2f6d1f7a8a11")
        .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .body(body)
}
