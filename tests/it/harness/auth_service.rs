//! An auth service whose word tests decide: it validates API keys, judges tokens and introspects them, or fails in many ways.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::{Gate, Received, Upstream};

/// How it behaves.
#[derive(Clone)]
enum Mood {
    Judges,
    Waits(Gate),
    Says(Vec<u8>),
    HangsUp,
    HangsUpOnce,
}

/// An auth service.
pub struct AuthService {
    /// Its server; every request there is a look-up.
    pub server: Upstream,
    mood: Arc<Mutex<Mood>>,
    /// Credential → the members of its 200.
    known: Arc<Mutex<BTreeMap<String, Value>>>,
}

impl AuthService {
    /// Starts one that knows nobody: it says 401.
    pub async fn start() -> Self {
        let mood = Arc::new(Mutex::new(Mood::Judges));
        let known = Arc::new(Mutex::new(BTreeMap::new()));
        let (told, judged) = (mood.clone(), known.clone());
        let server = Upstream::conversing(move |mut conversation| {
            let (told, judged) = (told.clone(), judged.clone());
            async move {
                while let Some(received) = conversation.request().await {
                    let waits = match &*told.lock() {
                        Mood::Waits(gate) => Some(gate.clone()),
                        _ => None,
                    };
                    if let Some(gate) = waits {
                        gate.passed().await;
                    }
                    let mood = told.lock().clone();
                    match mood {
                        Mood::Judges | Mood::Waits(_) => {}
                        Mood::Says(answer) => {
                            conversation.send(answer).await;
                            continue;
                        }
                        Mood::HangsUp => return,
                        Mood::HangsUpOnce => {
                            *told.lock() = Mood::Judges;
                            return;
                        }
                    }
                    let answer = judged.lock().get(&credential_of(&received)).cloned();
                    conversation
                        .send(answer.map_or_else(refusal, |answer| ok(&answer)))
                        .await;
                }
            }
        })
        .await;
        Self { server, mood, known }
    }

    /// `http://ADDRESS/validate`.
    pub fn url(&self) -> String {
        format!("http://{}/validate", self.server.address)
    }

    /// `[api_keys]` with this service as its remote, and these lines.
    pub fn api_keys(&self, lines: &str) -> String {
        format!("[api_keys]\n[api_keys.remote]\nurl = \"{}\"\n{lines}\n", self.url())
    }

    /// Knows a credential from now on, and says this of it.
    pub fn knows(&self, credential: &str, answer: Value) {
        self.known.lock().insert(credential.to_owned(), answer);
    }

    /// Knows a key from now on as this user's.
    pub fn knows_user(&self, key: &str, user: &str) {
        self.knows(key, json!({ "user_id": user, "key_id": format!("id-of-{user}") }));
    }

    /// Knows it no more.
    pub fn forgets(&self, credential: &str) {
        self.known.lock().remove(credential);
    }

    /// How often it was asked.
    pub fn count(&self) -> usize {
        self.server.count()
    }

    /// Answers only once the gate is open.
    pub fn wait_for(&self, gate: &Gate) {
        *self.mood.lock() = Mood::Waits(gate.clone());
    }

    /// Says these bytes, whatever it is asked.
    pub fn say(&self, answer: &str) {
        *self.mood.lock() = Mood::Says(answer.as_bytes().to_vec());
    }

    /// Answers with this status and body, whatever it is asked.
    pub fn answer(&self, status: u16, body: &str) {
        let length = body.len();
        self.say(&format!(
            "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    /// Hangs up on everybody.
    pub fn go_down(&self) {
        *self.mood.lock() = Mood::HangsUp;
    }

    /// Hangs up on the next that asks, or that waits at the gate, and judges from then on.
    pub fn hang_up_once(&self) {
        *self.mood.lock() = Mood::HangsUpOnce;
    }

    /// Judges again.
    pub fn come_back(&self) {
        *self.mood.lock() = Mood::Judges;
    }
}

/// Wherever it stands: in the JSON body, the form, or a header.
fn credential_of(received: &Received) -> String {
    let body: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let form = String::from_utf8_lossy(&received.body);
    let of_form = form.split('&').find_map(|pair| pair.strip_prefix("token="));
    let bearer = received.header("authorization");
    let bearer = bearer.as_deref().and_then(|value| value.strip_prefix("Bearer "));
    let own = body["api_key"].as_str().map(str::to_owned);
    own.or(of_form.map(str::to_owned))
        .or(received.header("x-key"))
        .or(bearer.map(str::to_owned))
        .unwrap_or_default()
}

fn ok(answer: &Value) -> Vec<u8> {
    let body = answer.to_string();
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
}

fn refusal() -> Vec<u8> {
    b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_vec()
}
