//! A real browser.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::mpsc::UnboundedReceiver;

/// A browser's start takes its time on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A headless Chromium; it and its children are killed when this is dropped.
pub struct Browser {
    process: Child,
    _profile: TempDir,
}

impl Browser {
    /// Opens a page, with these switches too.
    pub fn open(url: &str, switches: &[&str]) -> Self {
        let profile = TempDir::new().unwrap();
        let process = Command::new("chromium")
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
            ])
            // Else it asks the network for news of itself, which tests do not have.
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            // Without it a headless browser ends once the page has loaded.
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(switches)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .expect("chromium is installed: .ci/test sees to it");
        Self {
            process,
            _profile: profile,
        }
    }

    /// Waits for what a page reports.
    pub async fn report(reports: &mut UnboundedReceiver<Value>) -> Value {
        let report = tokio::time::timeout(PATIENCE, reports.recv()).await;
        report.expect("the page reports in time").unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = self.process.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(group) = group {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}
