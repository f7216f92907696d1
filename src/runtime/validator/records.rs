//! What an auth service said, shared with other gateways through Redis.
//!
//! INVARIANT (hardening r45): a record is believed only with a MAC under `record_key`, over its own name, which is itself a MAC of
//! the credential's digest and of what was asked: whoever can write Redis can neither make a record, nor put one in another's
//! place, and whoever can read it cannot try guesses of credentials. A record holds the members that are looked at and no others,
//! so no key.

use std::sync::Arc;

use aws_lc_rs::hmac::{self, HMAC_SHA256};
use redis::Cmd;
use serde_json::{Value, json};

use crate::compile::ValidatorSpec;
use crate::config::secret::Secret;
use crate::policy::authn::remote::{Members, Rules};
use crate::policy::authn::unique_json;
use crate::policy::digest::{SecretDigest, hex};
use crate::runtime::store::Store;

/// Bytes of a MAC.
const MAC: usize = 32;

/// A longer record is none of ours.
const MAX_RECORD: usize = 64 << 10;

/// The place of one auth service's answers.
#[derive(Debug)]
pub(super) struct Shared {
    store: Arc<Store>,
    key: RecordKey,
    /// Whom was asked what: another question has other answers.
    context: String,
}

/// `redis.record_key`.
struct RecordKey(hmac::Key);

impl std::fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RecordKey(…)")
    }
}

/// An answer of another gateway, or one for it.
#[derive(Debug, PartialEq)]
pub(super) struct Record {
    /// When the auth service said so, in milliseconds since the Unix epoch.
    pub(super) asked_ms: i64,
    /// The members that are looked at; `None`: it said no.
    pub(super) members: Option<Members>,
}

impl Shared {
    pub(super) fn new<R: Rules>(store: Arc<Store>, record_key: &Secret, spec: &ValidatorSpec<R>) -> Self {
        let question = &spec.question;
        let asked = json!([
            &*spec.name,
            question.url,
            question.method.as_str(),
            format!("{:?}", question.credential_in),
            question.extra,
            question.client_address,
        ]);
        Self {
            store,
            key: RecordKey(hmac::Key::new(HMAC_SHA256, record_key.expose().as_bytes())),
            context: asked.to_string(),
        }
    }

    /// What another gateway was told; a store that is away has nothing.
    pub(super) async fn look_up(&self, key: &SecretDigest) -> Option<Record> {
        let name = self.name(key);
        // Not whole: what is longer than a record may be as long as whoever writes Redis likes. What is not there is empty.
        let mut get = Cmd::new();
        get.arg("GETRANGE").arg(&name).arg(0).arg(MAX_RECORD);
        let bytes: Vec<u8> = self.store.command(&get).await.ok()?;
        self.open(&name, &bytes)
    }

    /// Tells the other gateways, for `lasts_ms`.
    pub(super) async fn tell(&self, key: &SecretDigest, record: &Record, lasts_ms: u64) {
        if lasts_ms == 0 {
            return;
        }
        let name = self.name(key);
        let mut set = Cmd::new();
        set.arg("SET")
            .arg(&name)
            .arg(self.sealed(&name, record))
            .arg("PX")
            .arg(lasts_ms);
        // That it could not be told is counted by the store; the others ask for themselves.
        let _: Result<(), _> = self.store.command(&set).await;
    }

    fn name(&self, key: &SecretDigest) -> String {
        let mut name = hmac::Context::with_key(&self.key.0);
        name.update(b"name\0");
        name.update(&key.bytes());
        name.update(self.context.as_bytes());
        self.store.key(&format!("answer:{}", hex(name.sign().as_ref())))
    }

    fn sealed(&self, name: &str, record: &Record) -> Vec<u8> {
        let members = record.members.clone().map(Value::Object);
        let text = json!({ "asked_ms": record.asked_ms, "members": members }).to_string();
        let mut sealed = self.mac(name, text.as_bytes()).as_ref().to_vec();
        sealed.extend_from_slice(text.as_bytes());
        sealed
    }

    fn open(&self, name: &str, bytes: &[u8]) -> Option<Record> {
        let (mac, text) = bytes.split_at_checked(MAC).filter(|_| bytes.len() <= MAX_RECORD)?;
        hmac::verify(&self.key.0, &message(name, text), mac).ok()?;
        let mut record = unique_json::object(text)?;
        let members = match record.remove("members")? {
            Value::Null => None,
            Value::Object(members) => Some(members),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => return None,
        };
        let asked_ms = record.get("asked_ms")?.as_i64()?;
        Some(Record { asked_ms, members })
    }

    fn mac(&self, name: &str, text: &[u8]) -> hmac::Tag {
        hmac::sign(&self.key.0, &message(name, text))
    }
}

/// What a record's MAC is over: a name has no NUL, so the two cannot run into each other.
fn message(name: &str, text: &[u8]) -> Vec<u8> {
    [b"record\0", name.as_bytes(), b"\0", text].concat()
}
