//! What tests are written with: a [`Gateway`] that is the built binary, [`Upstream`]s and [`Issuer`]s that do as they are told,
//! and clients that send exactly the bytes that they are given.
//!
//! Nothing here sleeps for a fixed time: whoever waits, waits for something, up to [`PATIENCE`].

mod auth_service;
mod browser;
mod client;
mod clock;
mod collector;
mod dice;
mod gateway;
pub mod http2;
mod issuer;
mod names;
mod redis;
pub mod tls;
mod upstream;

use std::time::{Duration, Instant};

use ::gateway::policy::digest::SecretDigest;
use rustix::process::{Pid, Signal, kill_process};

pub use auth_service::AuthService;
pub use browser::Browser;
pub use client::{Client, Request, Response, left, refused, status, with_key};
pub use clock::Clock;
pub use collector::{Collector, Exported};
pub use dice::Dice;
pub use gateway::{Gateway, OPEN, Setup, open_to, with_listener};
pub use issuer::{Issuer, Key, forged, other_text};
pub use names::Names;
pub use redis::{Redis, RedisCluster};
pub use upstream::{Conversation, Gate, Received, Upstream};

/// How long anything may take before the test has failed. Far above what it takes, for the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what has no way to tell.
const LOOK: Duration = Duration::from_millis(3);

/// Waits until `look` finds something; `what` is said when it does not.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "never happened: {what}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits for something that must come.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, happens).await {
        Ok(value) => value,
        Err(_) => panic!("never happened: {what}"),
    }
}

/// Sends a process that still runs a signal: `TERM`, `INT`, `HUP`, `STOP`, `CONT`.
pub fn signal(process: &tokio::process::Child, name: &str) {
    let signal = match name {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        other => panic!("no signal {other}"),
    };
    let id = process.id().expect("it runs");
    let id = Pid::from_raw(i32::try_from(id).unwrap()).expect("an id");
    kill_process(id, signal).expect("it is ours");
}

/// The time within which 99 of 100 of these were.
pub fn p99(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// The one in the middle: what a machine that was busy for a moment does not move.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The hash of an API key, as `[[api_keys.keys]]` has it.
pub fn sha256(key: &str) -> String {
    format!("sha256:{}", SecretDigest::of(key.as_bytes()).hex())
}
