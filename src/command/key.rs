//! `gateway key`: makes an API key and shows it once, or hashes one that exists; and the same for keys that an auth service holds
//! ([`remote`]).

mod remote;

use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::Subcommand;

use crate::policy::digest::SecretDigest;

use super::failed;

/// What is done with a key.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a random key, and show it once with the lines to paste into gateway.toml.
    New {
        /// What the key begins with; list it in `api_keys.prefixes`.
        #[arg(long, default_value = "hok_live_")]
        prefix: String,
    },
    /// Hash a key read from standard input; one trailing newline is dropped.
    Hash,
    /// Have the auth service make a key, and show it once.
    Create(remote::Wanted),
    /// List the keys that the auth service holds.
    List {
        /// As the auth service says it.
        #[arg(long)]
        json: bool,
    },
    /// Have the auth service revoke a key.
    Revoke {
        /// The key's id.
        id: String,
    },
}

/// Random bytes of a key: 256 bits.
const KEY_BYTES: usize = 32;

/// A key that is read is at most this long; a longer one would never be looked at.
const MAX_KEY_BYTES: u64 = crate::policy::authn::api_key::MAX_KEY_BYTES as u64;

/// 0 / 1.
pub(super) fn run(config: &Path, command: &Command) -> ExitCode {
    let asked = match command {
        Command::New { prefix } => return new(prefix),
        Command::Hash => return hash(),
        Command::Create(wanted) => remote::create(config, wanted),
        Command::List { json } => remote::list(config, *json),
        Command::Revoke { id } => remote::revoke(config, id),
    };
    match asked {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => failed(reason),
    }
}

fn new(prefix: &str) -> ExitCode {
    if !prefix
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        || prefix.len() > 64
    {
        return failed("a prefix is at most 64 of A-Z a-z 0-9 _ -");
    }
    let mut bytes = [0; KEY_BYTES];
    if rand::fill(&mut bytes).is_err() {
        return failed("the system gave no random bytes");
    }
    let key = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes));
    println!("{key}");
    println!();
    println!("# It is shown this once. For gateway.toml:");
    println!("[[api_keys.keys]]");
    println!("id = \"name-it\"");
    println!("hash = \"{}\"", hash_of(key.as_bytes()));
    println!("user = \"whose-it-is\"");
    ExitCode::SUCCESS
}

fn hash() -> ExitCode {
    let mut key = Vec::new();
    if let Err(error) = std::io::stdin().take(MAX_KEY_BYTES + 2).read_to_end(&mut key) {
        return failed(format!("standard input: {error}"));
    }
    let key = key.strip_suffix(b"\n").unwrap_or(&key);
    if key.is_empty() {
        return failed("no key on standard input");
    }
    if key.len() as u64 > MAX_KEY_BYTES {
        return failed(format!("a key is at most {MAX_KEY_BYTES} bytes"));
    }
    println!("{}", hash_of(key));
    ExitCode::SUCCESS
}

/// As `api_keys.keys.hash` has it.
fn hash_of(key: &[u8]) -> String {
    format!("sha256:{}", SecretDigest::of(key).hex())
}
