//! Hot reload: the files of the config are looked at every half second, and read again when one changed; SIGHUP reads them at once.
//!
//! Looking at what files hold, not at events, survives editors' renames and Kubernetes' symlink swaps alike. All or nothing: a
//! config that does not hold changes nothing and is reported.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::config::{ConfigErrors, Environment, Loaded, load};

use super::gateway::Gateway;

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(500);

/// A config file, and what it was last seen to be.
pub struct Watch {
    path: PathBuf,
    files: Vec<PathBuf>,
    seen: Vec<Seen>,
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
        Self { path, files, seen }
    }

    /// Reloads whenever a file changed or `asked` says so; for ever.
    pub async fn run(mut self, gateway: Arc<Gateway>, asked: Arc<Notify>) {
        loop {
            let must = tokio::select! {
                () = asked.notified() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            let seen: Vec<Seen> = self.files.iter().map(see).collect();
            if must || seen != self.seen {
                self.seen = seen;
                self.reload(&gateway);
            }
        }
    }

    fn reload(&mut self, gateway: &Gateway) {
        let environment = Environment::of_process();
        let outcome = load(&self.path, &environment).and_then(|loaded| {
            *self = Self::new(self.path.clone(), &loaded);
            gateway.replace(loaded)
        });
        gateway.reloaded(outcome.as_ref().err().map(ConfigErrors::to_string));
        match outcome {
            Ok(()) => tracing::info!(generation = gateway.snapshot().generation, "config reloaded"),
            Err(errors) => {
                for error in errors.iter() {
                    tracing::error!(error = %error, "config reload refused");
                }
            }
        }
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
