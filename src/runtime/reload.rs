//! Hot reload: the files of the config are looked at every half second, and read again when one changed; SIGHUP reads them at once.
//!
//! Looking at what files hold, not at events, survives editors' renames and Kubernetes' symlink swaps alike. All or nothing: a
//! config that does not hold changes nothing and is reported.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::config::{Environment, Loaded, load};

use super::gateway::Gateway;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// A config file, and what it was last seen to be.
pub struct Watch {
    path: PathBuf,
    files: Vec<PathBuf>,
    seen: Vec<Seen>,
    /// What was wrong with the config when it was last read, and said so.
    refused: Option<String>,
}

/// What tells one state of a file from another: enough to notice a rename over it, and cheap.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    resolved: Option<PathBuf>,
    modified: Option<SystemTime>,
    length: u64,
}

impl Watch {
    /// Watches what `loaded` was read from.
    #[must_use]
    pub fn new(path: PathBuf, loaded: &Loaded) -> Self {
        let files: Vec<PathBuf> = loaded.files.iter().chain(&loaded.folders).cloned().collect();
        let seen = files.iter().map(see).collect();
        Self {
            path,
            files,
            seen,
            refused: None,
        }
    }

    /// Reloads whenever a file changed or `asked` says so; for ever.
    pub async fn run(mut self, gateway: Arc<Gateway>, asked: Arc<Notify>) {
        loop {
            let must = tokio::select! {
                () = asked.notified() => true,
                () = gateway.shared_modes.changed() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            let seen: Vec<Seen> = self.files.iter().map(see).collect();
            // What is wrong may be mended in a file that only the refused config names: it is read until it holds.
            if must || seen != self.seen || self.refused.is_some() {
                self.seen = seen;
                self.reload(&gateway, must);
            }
        }
    }

    fn reload(&mut self, gateway: &Gateway, must: bool) {
        let shared = gateway.shared_modes.read();
        let environment = Environment::of_process().with_shared(shared.modes.clone());
        let outcome = load(&self.path, &environment).and_then(|loaded| {
            let fresh = Self::new(self.path.clone(), &loaded);
            for (route, why) in &loaded.ignored_modes {
                tracing::warn!(route = %route, reason = %why, "shared mode ignored");
            }
            gateway.replace(loaded)?;
            Ok(fresh)
        });
        match outcome {
            Ok(fresh) => {
                *self = fresh;
                gateway.shared_modes.applied(&shared);
                gateway.reloaded(None);
                tracing::info!(generation = gateway.snapshot().generation, "config reloaded");
            }
            Err(errors) => {
                let refused = errors.to_string();
                if must || self.refused.as_ref() != Some(&refused) {
                    for error in errors.iter() {
                        tracing::error!(error = %error, "config reload refused");
                    }
                    gateway.reloaded(Some(refused.clone()));
                }
                self.refused = Some(refused);
            }
        }
        gateway.shared_modes.loaded(shared);
    }
}

fn see(path: &PathBuf) -> Seen {
    let metadata = std::fs::metadata(path).ok();
    Seen {
        resolved: std::fs::canonicalize(path).ok(),
        modified: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
        length: metadata.map_or(0, |metadata| metadata.len()),
    }
}
