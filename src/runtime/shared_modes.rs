//! Modes that gateways share through the store: watched, applied as a reload, and reported back, so that whoever changes one can
//! wait until every gateway has it.
//!
//! In the store are two hashes, `modes`, route → mode, and `gateways`, a gateway's id → its [`Report`], and `modes-revision`, a word
//! that is another after each change, by which a report is known to be of after it. A store that is away changes nothing: what was
//! last read stays in force.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use redis::{Cmd, FromRedisValue, cmd};
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, SetOnce, watch};

use crate::config::Modes;

use super::gateway::{Gateway, Phase};
use super::snapshot::Snapshot;
use super::store::{Store, StoreError, within};

/// The hash of modes, after the store's prefix.
pub const MODES: &str = "modes";
/// What names the state of the modes, after the store's prefix.
pub const REVISION: &str = "modes-revision";
/// The hash of gateways' reports, after the store's prefix.
pub const GATEWAYS: &str = "gateways";

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
    let revision: Option<String> = ask(store, cmd("GET").arg(store.key(REVISION))).await?;
    let modes: Modes = ask(store, cmd("HGETALL").arg(store.key(MODES))).await?;
    gateway.shared_modes.set(Read {
        modes,
        revision: revision.unwrap_or_default(),
    });
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

/// Gateways that ended without a word would stay in the hash for ever.
async fn forget_the_gone(store: &Store, now_ms: u64) -> Result<(), StoreError> {
    let reports: BTreeMap<String, String> = ask(store, cmd("HGETALL").arg(store.key(GATEWAYS))).await?;
    for (id, report) in reports {
        let seen_ms = serde_json::from_str::<Report>(&report).map_or(0, |report| report.seen_ms);
        if now_ms.saturating_sub(seen_ms) > FORGOTTEN_MS {
            let _: u64 = ask(store, cmd("HDEL").arg(store.key(GATEWAYS)).arg(id)).await?;
        }
    }
    Ok(())
}

/// Asks without the haste of a request, and without its consequences: a look that is slow takes the store from nobody.
async fn ask<T: FromRedisValue>(store: &Store, command: &mut Cmd) -> Result<T, StoreError> {
    let mut link = store.link().ok_or(StoreError::Away)?;
    within(ANSWER, command.query_async(&mut link)).await
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
