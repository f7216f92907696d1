//! Modes that gateways share through the store: watched, applied as a reload, and reported back, so that whoever changes one can
//! wait until every gateway has it.
//!
//! In the store are two hashes, `modes`, route → mode as [`Seal`] writes it, and `gateways`, a gateway's id → its [`Report`], and
//! `modes-revision`, a word that is another after each change, by which a report is known to be of after it. A store that is away
//! changes nothing: what was last read stays in force.
//!
//! INVARIANT: whoever may write the store makes nobody read more than a few hundred bytes a route: a gateway asks for the modes of
//! its own routes, and what is too long to be one stays where it is.

mod seal;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use redis::{Cmd, FromRedisValue, Script, ScriptInvocation, cmd};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, SetOnce, watch};

use crate::compile::StoreSpec;
use crate::config::Modes;

use super::gateway::{Gateway, Phase};
use super::snapshot::Snapshot;
use super::store::{Store, StoreError, within};

pub use seal::{Seal, Unbelieved};

use seal::Newest;

/// The hash of modes, after the store's prefix.
pub const MODES: &str = "modes";
/// What names the state of the modes, after the store's prefix.
pub const REVISION: &str = "modes-revision";
/// The hash of gateways' reports, after the store's prefix.
pub const GATEWAYS: &str = "gateways";

/// A longer mode is none, in bytes, signature and all.
pub const LONGEST_MODE: usize = 256;

/// What is looked at of a revision, in bytes: ours are UUIDs.
const LONGEST_REVISION: usize = 64;

static READ: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared_modes/modes.lua")));
static FORGET: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("shared_modes/forget.lua")));

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// Of one question.
const ANSWER: Duration = Duration::from_secs(1);

/// A gateway that did not report for so long is not there, in milliseconds.
pub const ALIVE_MS: u64 = 3_000;

/// After so long a report is removed, in milliseconds.
const FORGOTTEN_MS: u64 = 60_000;

/// What a gateway says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Host and process.
    pub name: String,
    /// When it said so, in milliseconds since the Unix epoch by the store's clock.
    pub seen_ms: u64,
    /// The modes that it has applied, as the store named them.
    pub revision: String,
    /// Route → what is in force.
    pub modes: BTreeMap<String, Reported>,
}

/// The mode of a route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The mode in force.
    pub mode: String,
    /// Who had the last word.
    pub by: String,
}

/// The shared modes as they were last read, and whether they are in force.
#[derive(Debug, Default)]
pub struct SharedModes {
    read: ArcSwap<Read>,
    /// The revision that is in force.
    applied: ArcSwap<String>,
    changed: Notify,
    newest: Mutex<Newest>,
    /// What the config was last loaded with, whether it held or not.
    loaded: watch::Sender<Arc<Read>>,
    /// A first look has ended, and the config was loaded with what it brought.
    looked: SetOnce<()>,
}

/// What was read in one look.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// To be loaded with.
    pub modes: Modes,
    /// Those that are not believed, by route.
    ignored: BTreeMap<String, Unbelieved>,
    /// How many there are of routes that this gateway does not have.
    strangers: u64,
    revision: String,
}

impl SharedModes {
    /// The last look.
    #[must_use]
    pub fn read(&self) -> Arc<Read> {
        self.read.load_full()
    }

    /// A config was loaded with these, and is in force.
    pub(super) fn applied(&self, read: &Read) {
        self.applied.store(Arc::new(read.revision.clone()));
    }

    /// A config was loaded with these, or did not hold.
    pub(super) fn loaded(&self, read: Arc<Read>) {
        self.loaded.send_replace(read);
    }

    /// Waits until what the store has was looked for once, and is in force if it is anything that can be.
    pub(super) async fn looked(&self) {
        self.looked.wait().await;
    }

    /// Waits until they are others.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the config was loaded with what was last read.
    async fn are_loaded(&self) {
        let read = self.read();
        // The sender is ours: it cannot be gone.
        let _ = self
            .loaded
            .subscribe()
            .wait_for(|loaded| loaded.modes == read.modes)
            .await;
    }

    fn set(&self, read: Read) {
        let before = self.read.load();
        if **before == read {
            return;
        }
        let are_others = before.modes != read.modes;
        if !are_others && **self.applied.load() == before.revision {
            self.applied(&read);
        }
        self.read.store(Arc::new(read));
        if are_others {
            self.changed.notify_one();
        }
    }
}

/// Watches the store and reports to it, until the gateway drains; on the control runtime.
pub async fn keep(gateway: Arc<Gateway>) {
    let id = uuid::Uuid::now_v7().to_string();
    let name = format!("{}:{}", host_name(), std::process::id());
    let mut rounds: u32 = 0;
    loop {
        let snapshot = gateway.snapshot();
        if let Some(store) = &snapshot.store {
            store.tried().await;
        }
        match &snapshot.store {
            None => gateway.shared_modes.set(Read::default()),
            Some(store) if store.is_up() => {
                let exchanged = exchange(&gateway, store, &id, &name, rounds).await;
                if let Err(error) = exchanged {
                    tracing::debug!(error = ?error, "shared modes could not be read");
                }
                rounds = rounds.wrapping_add(1);
            }
            Some(_) => {}
        }
        let _ = gateway.shared_modes.looked.set(());
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = gateway.reached(Phase::Leaving) => break,
        }
    }
    if let Some(store) = &gateway.snapshot().store {
        let _ = ask::<u64>(store, cmd("HDEL").arg(store.key(GATEWAYS)).arg(&id)).await;
    }
}

async fn exchange(gateway: &Gateway, store: &Store, id: &str, name: &str, rounds: u32) -> Result<(), StoreError> {
    // The revision first: what is read after it is as new at least.
    let revision: Vec<u8> = ask(store, &mut revision_of(store.spec())).await?;
    let read = read(gateway, store, &revision).await?;
    tell_of_ignored(&read, &gateway.shared_modes.read());
    gateway.shared_modes.set(read);
    gateway.shared_modes.are_loaded().await;
    let time: (u64, u64) = ask(store, &mut cmd("TIME")).await?;
    let report = Report {
        name: name.to_owned(),
        seen_ms: ms(time),
        revision: gateway.shared_modes.applied.load().to_string(),
        modes: modes_of(&gateway.snapshot()),
    };
    let report = serde_json::to_string(&report).unwrap_or_default();
    let _: u64 = ask(store, cmd("HSET").arg(store.key(GATEWAYS)).arg(id).arg(report)).await?;
    if rounds.is_multiple_of(120) {
        forget_the_gone(store, ms(time)).await?;
    }
    Ok(())
}

/// The modes of this gateway's own routes.
async fn read(gateway: &Gateway, store: &Store, revision: &[u8]) -> Result<Read, StoreError> {
    let config = &gateway.snapshot().config;
    let routes: Vec<&str> = config.routes.iter().map(|route| route.name.as_str()).collect();
    let mut script = READ.key(store.key(MODES));
    script.arg(LONGEST_MODE).arg(&routes);
    let (all, found): (u64, Vec<Option<Vec<u8>>>) = run(store, &script).await?;
    let seal = Seal::of(store.spec(), config.redis.as_ref());
    let mut newest = gateway.shared_modes.newest.lock();
    let mut read = Read {
        strangers: all,
        revision: String::from_utf8_lossy(revision).into_owned(),
        ..Read::default()
    };
    for (route, text) in routes.into_iter().zip(found) {
        let Some(text) = text else {
            newest.is_gone(route);
            continue;
        };
        read.strangers = read.strangers.saturating_sub(1);
        let text = String::from_utf8_lossy(&text);
        let opened = seal.open(route, &text);
        match opened.and_then(|opened| newest.believe(route, opened)) {
            Ok(mode) => drop(read.modes.insert(route.to_owned(), mode.to_owned())),
            Err(why) => drop(read.ignored.insert(route.to_owned(), why)),
        }
    }
    Ok(read)
}

/// What the look before did not ignore already.
fn tell_of_ignored(read: &Read, before: &Read) {
    for (route, why) in &read.ignored {
        if before.ignored.get(route) != Some(why) {
            tracing::warn!(route = %route, reason = %why, "shared mode ignored");
        }
    }
    if read.strangers > 0 && read.strangers != before.strangers {
        tracing::warn!(
            modes = read.strangers,
            reason = "there is no such route",
            "shared mode ignored"
        );
    }
}

/// Asks for the modes' revision, or as much of it as may be one.
#[must_use]
pub fn revision_of(store: &StoreSpec) -> Cmd {
    let mut ask = cmd("GETRANGE");
    ask.arg(store.key(REVISION)).arg(0).arg(LONGEST_REVISION - 1);
    ask
}

/// Gateways that ended without a word would stay in the hash for ever.
async fn forget_the_gone(store: &Store, now_ms: u64) -> Result<(), StoreError> {
    let mut script = FORGET.key(store.key(GATEWAYS));
    script.arg(now_ms.saturating_sub(FORGOTTEN_MS));
    run(store, &script).await
}

/// Asks without the haste of a request, and without its consequences: a look that is slow takes the store from nobody.
async fn ask<T: FromRedisValue>(store: &Store, command: &mut Cmd) -> Result<T, StoreError> {
    let mut link = store.link().ok_or(StoreError::Away)?;
    within(ANSWER, command.query_async(&mut link)).await
}

async fn run<T: FromRedisValue>(store: &Store, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
    let mut link = store.link().ok_or(StoreError::Away)?;
    within(ANSWER, script.invoke_async(&mut link)).await
}

/// `TIME` answers in seconds and microseconds.
#[must_use]
pub const fn ms((seconds, micros): (u64, u64)) -> u64 {
    seconds * 1000 + micros / 1000
}

fn modes_of(snapshot: &Snapshot) -> BTreeMap<String, Reported> {
    let both = snapshot.policy.routes.iter().zip(&snapshot.modes);
    let reported = both.map(|(route, mode)| {
        let reported = Reported {
            mode: mode.effective.clone(),
            by: mode.by.name().to_owned(),
        };
        (route.name.to_string(), reported)
    });
    reported.collect()
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() {
        "gateway".to_owned()
    } else {
        name.to_owned()
    }
}
