//! Keeps the copy current: told of every change by the store, and rebuilt whenever it may have missed one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use redis::Value;
use tokio::time::MissedTickBehavior;

use crate::compile::{RevocationSpec, Servers};
use crate::runtime::clock::Clock;
use crate::runtime::store::{Change, StoreError, Tracking};

use super::copy::{Found, LocalCopy, named_by};

/// Between two questions whether the store still tells of changes.
const CONFIRM_INTERVAL: Duration = Duration::from_millis(250);

/// Between two looks at who has keys: every so many confirmations.
const LOOK_AT_SERVERS_EVERY: u32 = 4;

/// Between attempts to follow again.
const PAUSE: Duration = Duration::from_millis(250);

/// A longer text is no time, in bytes. No more is read of any.
const LONGEST_TIME: u64 = 64;

/// Of somebody who reads once.
const ATTEMPTS: usize = 3;

/// Follows the store for ever.
pub(super) async fn follow(spec: Arc<RevocationSpec>, servers: Servers, copy: Arc<LocalCopy>, clock: Clock) {
    let mut follower = Follower {
        reader: Reader {
            spec: &spec,
            copy: &copy,
        },
        servers: &servers,
        clock,
        said: String::new(),
    };
    loop {
        let reason = match follower.session().await {
            Ok(reason) => reason.to_owned(),
            Err(error) => {
                let _ = copy.tried.set(());
                error.to_string()
            }
        };
        follower.says(&reason);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Reads what is revoked now, once.
pub(super) async fn read(spec: &RevocationSpec, servers: &Servers, copy: &LocalCopy) -> Result<(), StoreError> {
    let reader = Reader { spec, copy };
    for _ in 0..ATTEMPTS {
        let mut tracking = Tracking::start(servers, &spec.prefixes()).await?;
        if reader.rebuild(&mut tracking).await? {
            return Ok(());
        }
    }
    Err(StoreError::Broken("it changes faster than it can be read".to_owned()))
}

struct Follower<'a> {
    reader: Reader<'a>,
    servers: &'a Servers,
    clock: Clock,
    /// Why it last ended, so that it is said once; empty: it goes on.
    said: String,
}

impl Follower<'_> {
    /// Builds the copy anew and keeps it current for as long as it can; then, why it cannot.
    async fn session(&mut self) -> Result<&'static str, StoreError> {
        let asked_ns = self.clock.monotonic_ns();
        // Told of changes first, and read then: what changes in between is told.
        let mut tracking = Tracking::start(self.servers, &self.reader.spec.prefixes()).await?;
        if !self.reader.rebuild(&mut tracking).await? {
            return Ok("the store was emptied, or told more than could be heard");
        }
        self.is_current(asked_ns);
        let mut confirm = tokio::time::interval(CONFIRM_INTERVAL);
        confirm.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for tick in 1u32.. {
            loop {
                tokio::select! {
                    change = tracking.changed() => if !self.reader.take(&tracking, change).await? {
                        return Ok("the store was emptied, told more than could be heard, or closed the connection");
                    },
                    _ = confirm.tick() => break,
                }
            }
            let asked_ns = self.clock.monotonic_ns();
            tracking.confirm().await?;
            // What was told before the answer is in the queue, and read before the answer counts.
            while let Some(change) = tracking.known_change() {
                if !self.reader.take(&tracking, change).await? {
                    return Ok("the store was emptied, told more than could be heard, or closed the connection");
                }
            }
            self.reader.copy.confirmed_ns.store(asked_ns, Ordering::Release);
            let _ = self.reader.copy.tried.set(());
            if self.reader.copy.has_room_again() {
                return Ok("what there was no room for is read now");
            }
            if tick % LOOK_AT_SERVERS_EVERY == 0 && !tracking.is_whole(self.servers).await? {
                return Ok("the Cluster has other primaries now");
            }
        }
        Ok("")
    }

    fn is_current(&mut self, asked_ns: u64) {
        self.reader.copy.confirmed_ns.store(asked_ns, Ordering::Release);
        self.said.clear();
        let entries = self.reader.copy.entries();
        tracing::info!(entries, "revocations loaded");
        if self.reader.copy.is_overflown() {
            tracing::error!(entries, "more revocations than can be remembered");
        }
    }

    fn says(&mut self, reason: &str) {
        if self.said != reason {
            reason.clone_into(&mut self.said);
            tracing::warn!(reason = %reason, "revocations not followed");
        }
    }
}

/// Reads keys of the store into the copy.
struct Reader<'a> {
    spec: &'a RevocationSpec,
    copy: &'a LocalCopy,
}

impl Reader<'_> {
    /// Reads all there is. `false`: all may have changed meanwhile.
    ///
    /// INVARIANT: what a scan found is noted before any change that came after it is looked up; so the last look at a key wins.
    async fn rebuild(&self, tracking: &mut Tracking) -> Result<bool, StoreError> {
        self.copy.begin_rebuild();
        for primary in 0..tracking.primaries() {
            for prefix in self.spec.prefixes() {
                let mut cursor = 0;
                loop {
                    let (next, keys) = tracking.scan(primary, prefix, cursor).await?;
                    self.look_up(tracking, &keys, true).await?;
                    while let Some(change) = tracking.known_change() {
                        if !self.take(tracking, change).await? {
                            return Ok(false);
                        }
                    }
                    cursor = next;
                    if cursor == 0 {
                        break;
                    }
                }
            }
        }
        self.copy.end_rebuild();
        Ok(true)
    }

    /// Takes a change into the copy. `false`: it must be rebuilt.
    async fn take(&self, tracking: &Tracking, change: Change) -> Result<bool, StoreError> {
        let Change::Keys(keys) = change else {
            return Ok(false);
        };
        self.look_up(tracking, &keys, false).await?;
        Ok(true)
    }

    /// Notes what keys are now; `seen`: they were just seen to be there.
    async fn look_up(&self, tracking: &Tracking, keys: &[Vec<u8>], seen: bool) -> Result<(), StoreError> {
        let named = keys
            .iter()
            .flat_map(|key| named_by(self.spec, key).map(|found| (key.as_slice(), found)));
        let (times, marks): (Vec<_>, Vec<_>) = named.partition(|(_, found)| matches!(found, Found::User { .. }));
        if seen {
            for (_, found) in marks {
                self.copy.note(self.spec, found, Some(1));
            }
        } else {
            self.note_whether(tracking, &marks, 1).await?;
        }
        self.note_times(tracking, &times).await
    }

    /// Notes which keys are there, with this value.
    async fn note_whether(&self, tracking: &Tracking, keys: &[(&[u8], Found)], value: i64) -> Result<(), StoreError> {
        let there = |said| !matches!(said, Ok(Value::Int(0)));
        for (found, said) in ask(tracking, "EXISTS", keys, &[]).await? {
            self.copy.note(self.spec, found, there(said).then_some(value));
        }
        Ok(())
    }

    /// Notes users' times. What is not there reads as empty; whether it is there is asked then.
    async fn note_times(&self, tracking: &Tracking, keys: &[(&[u8], Found)]) -> Result<(), StoreError> {
        let mut empty = Vec::new();
        let said = ask(tracking, "GETRANGE", keys, &[0, LONGEST_TIME]).await?;
        for ((key, _), (found, said)) in keys.iter().zip(said) {
            match time_in(said) {
                Some(time) => self.copy.note(self.spec, found, Some(time)),
                None => empty.push((*key, found)),
            }
        }
        self.note_whether(tracking, &empty, i64::MAX).await
    }
}

/// What each key was found to be, and what the store says of it now.
async fn ask(
    tracking: &Tracking,
    command: &str,
    keys: &[(&[u8], Found)],
    numbers: &[u64],
) -> Result<impl Iterator<Item = (Found, Result<Value, StoreError>)>, StoreError> {
    let (names, found): (Vec<&[u8]>, Vec<Found>) = keys.iter().copied().unzip();
    let said = tracking.ask(command, &names, numbers).await?;
    Ok(found.into_iter().zip(said))
}

/// A user's time, as his key says; `None`: nothing. A value that is none revokes all of his tokens: somebody meant to revoke
/// something.
fn time_in(said: Result<Value, StoreError>) -> Option<i64> {
    let text = match said {
        Ok(Value::BulkString(text)) if text.is_empty() => return None,
        Ok(Value::BulkString(text)) if text.len() as u64 <= LONGEST_TIME => text,
        Ok(_) | Err(_) => Vec::new(),
    };
    let text = String::from_utf8_lossy(&text);
    Some(seconds(text.trim()).unwrap_or(i64::MAX))
}

/// Whole seconds, of which some services write fractions.
fn seconds(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().or_else(|| {
        let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.is_finite())?;
        Some(seconds.ceil() as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_time_is_seconds_also_with_a_fraction() {
        assert_eq!(seconds("1700000000"), Some(1_700_000_000));
        assert_eq!(seconds("1700000000.25"), Some(1_700_000_001));
        assert_eq!(seconds("yesterday"), None);
        assert_eq!(seconds("inf"), None);
        assert_eq!(seconds(""), None);
    }
}
