//! What the keys of limits cost in memory: ten million strangers at a limit of each kind, and whether those who came before notice.
//!
//! `cargo bench --bench keys`: each kind in a process of its own, since what one has freed the next would use. Imports the crate's
//! public items only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a broken benchmark must stop"
)]

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use gateway::compile::compile;
use gateway::config::{Environment, Problems, load_text};
use gateway::observe::metrics::Metrics;
use gateway::policy::limit::{Ask, BucketKey, Limit, Meter};
use gateway::runtime::clock::Clock;
use gateway::runtime::snapshot::Snapshot;

/// The allocator of the real thing.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STRANGERS: u128 = 10_000_000;
const KNOWN: u128 = 1_000;
const MAX_KEYS: u128 = 100_000;

/// Kinds: a name, how the limit is written, and how many requests each known caller has made.
const KINDS: [(&str, &str, u32); 4] = [
    ("gcra", "rate = \"120/hour\"", 20),
    (
        "sliding_window, 5",
        "rate = \"5/hour\"\nalgorithm = \"sliding_window\"",
        3,
    ),
    (
        "sliding_window, 1000",
        "rate = \"1000/hour\"\nalgorithm = \"sliding_window\"",
        20,
    ),
    ("concurrent", "concurrent = 30", 20),
];

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    if let Some((_, lines, each)) = KINDS.iter().find(|(name, ..)| *name == argument) {
        flood(lines, *each);
        return ExitCode::SUCCESS;
    }
    if argument == "--list" {
        // A test runner asks for tests; there are none.
        return ExitCode::SUCCESS;
    }
    println!(
        "{:<24}{:>10}{:>12}{:>14}{:>12}",
        "", "keys", "MiB", "bytes a key", "ns a key"
    );
    for (name, ..) in KINDS {
        print!("{name:<24}");
        let own = std::env::current_exe().expect("this program");
        let status = Command::new(own).arg(name).status().expect("it starts");
        if !status.success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn flood(lines: &str, each: u32) {
    let config = format!(
        "[[listeners]]\nname = \"a\"\naddress = \"127.0.0.1:8080\"\n[upstreams.u]\nurls = [\"http://u:1\"]\n\
         [limits.it]\nby = \"ip\"\nmax_keys = {MAX_KEYS}\n{lines}\n\
         [[routes]]\nname = \"r\"\npaths = [\"/*\"]\nupstream = \"u\"\nauth = \"none\"\nlimits = [\"it\"]\n"
    );
    let loaded = load_text(&PathBuf::from("bench.toml"), &config, &Environment::default()).expect("a sound config");
    let compiled = compile(&loaded.config, &mut Problems::new(loaded.sources)).expect("a sound config");
    let metrics = Metrics::new("bench").expect("metrics");
    let snapshot = Snapshot::new(loaded.config, compiled, None, &metrics, Clock::start(), 1);
    let limit: &Arc<Limit> = &snapshot.policy.routes[0].address_limits[0];
    let meters = &snapshot.meters;
    let now_ns = 3_600_000_000_000;
    let ask = |key| Ask {
        limit,
        plan: &limit.plan,
        key: BucketKey(key),
    };
    // Spread as addresses and digests are not: the map must not mind.
    let known = |key: u128| ask(key << 64);
    let empty = resident();
    for key in 0..KNOWN {
        for _ in 0..each {
            meters.admit(&[known(key)], now_ns).expect("within its allowance");
        }
    }
    let left = meters.peek(&known(0), now_ns).expect("something is left");
    let began = Instant::now();
    for key in 1..=STRANGERS {
        let _ = meters.admit(&[ask(key)], now_ns);
    }
    let taken = began.elapsed();
    let counters = &meters.0[0];
    assert_eq!(
        counters.keys() as u128,
        MAX_KEYS,
        "no key more than there are places for"
    );
    for key in 0..KNOWN {
        assert_eq!(
            meters.peek(&known(key), now_ns),
            Ok(left),
            "who came before does not notice"
        );
    }
    assert!(
        meters.admit(&[ask(STRANGERS + 1)], now_ns).is_err(),
        "a stranger gets no fresh allowance"
    );
    let grown = resident() - empty;
    println!(
        "{:>10}{:>12.1}{:>14}{:>12}",
        counters.keys(),
        grown as f64 / 1_048_576.0,
        grown as u128 / MAX_KEYS,
        taken.as_nanos() / STRANGERS
    );
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
