//! `gateway revoke`: writes the key that every gateway with the same `[revocation]` takes as a revocation.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::compile::{Compiled, KeyPattern, RevocationSpec, Servers, Subject};
use crate::config::duration;
use crate::policy::authn::jwt;
use crate::policy::digest::SecretDigest;
use crate::runtime::clock::Clock;
use crate::runtime::store::{Link, StoreError, within};

use super::{compiled, failed, waiting_for};

/// What is revoked, and for how long.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    what: What,
    /// Forget it after this time, such as 12h or 30d, by when the token has expired anyway; else it stays until the key is deleted.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,
}

/// Exactly one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The token with this id (`jti`).
    #[arg(long, value_name = "ID")]
    jti: Option<String>,
    /// All tokens of this user that were issued until now.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The API key with this id.
    #[arg(long, value_name = "ID")]
    key_id: Option<String>,
    /// The token in this file, so that it stands in no process list.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// A token is at most this long; a longer one would never be looked at.
const MAX_TOKEN_BYTES: u64 = jwt::MAX_TOKEN_BYTES as u64;

/// For the answer of a Redis that may be far away.
const TIMEOUT: Duration = Duration::from_secs(5);

/// 0 / 1; 3 for an invalid config.
pub(super) fn run(config: &Path, options: &Options) -> ExitCode {
    let compiled = match compiled(config) {
        Ok((_, compiled)) => compiled,
        Err(code) => return code,
    };
    match revoke(&compiled, options) {
        Ok(()) => {
            println!("revoked: every gateway that shares this Redis refuses it within a second");
            ExitCode::SUCCESS
        }
        Err(reason) => failed(reason),
    }
}

fn revoke(compiled: &Compiled, options: &Options) -> Result<(), String> {
    let (Some(spec), Some(store)) = (&compiled.revocation, &compiled.store) else {
        return Err("the config has no [revocation]: no gateway would know of it".to_owned());
    };
    let (key, value) = written(spec, &options.what)?;
    waiting_for(write(&store.servers, &key, &value, options.ttl))?.map_err(|error| error.to_string())
}

async fn write(servers: &Servers, key: &str, value: &str, ttl: Option<Duration>) -> Result<(), StoreError> {
    let mut link = Link::open(servers).await?;
    let mut command = redis::cmd("SET");
    command.arg(key).arg(value);
    if let Some(ttl) = ttl {
        command
            .arg("PX")
            .arg(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
    }
    within(TIMEOUT, command.exec_async(&mut link)).await
}

/// The key, and its value.
fn written(spec: &RevocationSpec, what: &What) -> Result<(String, String), String> {
    let there = || "1".to_owned();
    let by = |subject: Subject| spec.keys.iter().find(|pattern| pattern.subject == subject);
    let named = |subject: Subject, value: &str| {
        let pattern = by(subject).ok_or_else(|| no_pattern(subject))?;
        Ok((key(pattern, value)?, there()))
    };
    match (&what.jti, &what.user, &what.key_id, &what.token_file) {
        (Some(jti), ..) => named(Subject::Jti, jti),
        (_, Some(user), ..) => match &spec.users {
            // Times of tokens are whole seconds: those of this one are among the revoked.
            Some(pattern) => Ok((key(pattern, user)?, (Clock::start().now().unix_s + 1).to_string())),
            None => named(Subject::User, user),
        },
        (_, _, Some(key_id), _) => named(Subject::KeyId, key_id),
        (_, _, _, Some(path)) => {
            let token = token_in(path)?;
            match by(Subject::TokenSha256) {
                Some(pattern) => Ok((key(pattern, &SecretDigest::of(token.as_bytes()).hex())?, there())),
                None => named(Subject::Token, &token),
            }
        }
        (None, None, None, None) => Err("nothing to revoke".to_owned()),
    }
}

fn key(pattern: &KeyPattern, value: &str) -> Result<String, String> {
    if value.is_empty() {
        return Err("an empty name revokes nothing".to_owned());
    }
    Ok(pattern.key(value))
}

fn no_pattern(subject: Subject) -> String {
    format!("revocation.keys has no pattern with {}", subject.placeholder())
}

fn token_in(path: &Path) -> Result<String, String> {
    let unreadable = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut token = String::new();
    let file = std::fs::File::open(path).map_err(unreadable)?;
    file.take(MAX_TOKEN_BYTES + 2)
        .read_to_string(&mut token)
        .map_err(unreadable)?;
    let token = token.trim_end();
    if token.len() as u64 > MAX_TOKEN_BYTES {
        return Err(format!("a token is at most {MAX_TOKEN_BYTES} bytes"));
    }
    Ok(token.to_owned())
}
