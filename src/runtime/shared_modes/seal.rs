//! A mode as it stands in the store: as it is, or with `redis.record_key` as `MODE TIME MAC`. Which of them a gateway believes.
//!
//! INVARIANT (hardening r45): with a key nothing is believed that is not of somebody who has it, of this store's prefix and this
//! route; and of one route nothing that is older than what was believed before, nor that again which was seen to be gone. Of what a
//! gateway did not see, before it started or between two looks, it knows nothing.

use std::collections::BTreeMap;
use std::fmt;

use crate::compile::StoreSpec;
use crate::config::model::Redis;
use crate::runtime::record_key::{Domain, MAC, RecordKey};

/// How modes are written to a store.
#[derive(Debug)]
pub struct Seal {
    key: Option<RecordKey>,
    /// Where they are.
    place: String,
}

/// Why a mode is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unbelieved {
    /// Whoever wrote it does not have our key.
    Unsigned,
    /// It was put back.
    Replayed,
}

/// A mode whose writer may be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened<'t> {
    /// As it was given to the command.
    pub mode: &'t str,
    /// When it was set by the store's clock, in milliseconds since the Unix epoch; `None`: without a key nobody can tell.
    at_ms: Option<u64>,
}

impl Seal {
    /// Of this store.
    #[must_use]
    pub fn of(store: &StoreSpec, redis: Option<&Redis>) -> Self {
        let secret = redis.and_then(|redis| redis.record_key.as_ref());
        Self {
            key: secret.map(RecordKey::new),
            place: store.key(super::MODES),
        }
    }

    /// What is to be written.
    #[must_use]
    pub fn closed(&self, route: &str, mode: &str, at_ms: u64) -> String {
        let Some(key) = &self.key else {
            return mode.to_owned();
        };
        let at = at_ms.to_string();
        let mac = key.mac_text(Domain::Mode, &self.parts(route, mode, &at));
        format!("{mode} {at} {mac}")
    }

    /// The mode in what was read.
    ///
    /// # Errors
    /// It is not to be believed.
    pub fn open<'t>(&self, route: &str, text: &'t str) -> Result<Opened<'t>, Unbelieved> {
        let signed = signed(text);
        let Some(key) = &self.key else {
            // Whoever may write is believed then, also who signs.
            let mode = signed.map_or(text, |(mode, _, _)| mode);
            return Ok(Opened { mode, at_ms: None });
        };
        let (mode, at, mac) = signed.ok_or(Unbelieved::Unsigned)?;
        let at_ms = at.parse().ok();
        let proven = key.is_mac_text(mac, Domain::Mode, &self.parts(route, mode, at));
        let opened = Opened { mode, at_ms };
        (proven && at_ms.is_some())
            .then_some(opened)
            .ok_or(Unbelieved::Unsigned)
    }

    fn parts<'p>(&'p self, route: &'p str, mode: &'p str, at: &'p str) -> [&'p [u8]; 4] {
        [self.place.as_bytes(), route.as_bytes(), mode.as_bytes(), at.as_bytes()]
    }
}

/// Mode, time and MAC; `None`: it bears no MAC.
fn signed(text: &str) -> Option<(&str, &str, &str)> {
    let (rest, mac) = text.rsplit_once(' ')?;
    let (mode, at) = rest.rsplit_once(' ')?;
    (mac.len() == 2 * MAC).then_some((mode, at, mac))
}

impl fmt::Display for Unbelieved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unsigned => "it is not signed with redis.record_key",
            Self::Replayed => "it was taken back, or is older than what was shared before",
        })
    }
}

/// The newest mode of each route that was believed.
#[derive(Debug, Default)]
pub(super) struct Newest(BTreeMap<String, Last>);

#[derive(Debug, Clone, Copy)]
struct Last {
    at_ms: u64,
    /// It is in the store still.
    is_there: bool,
}

impl Newest {
    /// The mode, unless it was put back.
    ///
    /// # Errors
    /// It was.
    pub(super) fn believe<'t>(&mut self, route: &str, opened: Opened<'t>) -> Result<&'t str, Unbelieved> {
        let Opened { mode, at_ms } = opened;
        let Some(at_ms) = at_ms else { return Ok(mode) };
        let last = self.0.get(route);
        if last.is_some_and(|last| at_ms < last.at_ms || (at_ms == last.at_ms && !last.is_there)) {
            return Err(Unbelieved::Replayed);
        }
        self.0.insert(route.to_owned(), Last { at_ms, is_there: true });
        Ok(mode)
    }

    /// The store has no mode of this route.
    pub(super) fn is_gone(&mut self, route: &str) {
        if let Some(last) = self.0.get_mut(route) {
            last.is_there = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::secret::Secret;

    fn seal(place: &str, key: Option<&str>) -> Seal {
        Seal {
            key: key.map(|key| RecordKey::new(&Secret::new(key.to_owned()))),
            place: place.to_owned(),
        }
    }

    const KEY: Option<&str> = Some("a-key-of-our-gateways-0123456789ab");

    #[test]
    fn r45_with_a_key_a_mode_is_believed_of_its_own_place_and_route_only() {
        let ours = seal("gateway:modes", KEY);
        let closed = ours.closed("chat", "jwt, internal", 7);
        let opened = Opened {
            mode: "jwt, internal",
            at_ms: Some(7),
        };
        assert_eq!(ours.open("chat", &closed), Ok(opened));
        assert!(closed.len() < super::super::LONGEST_MODE, "{closed}");
        let mac = closed.rsplit_once(' ').unwrap().1;
        let no_mac = "0".repeat(2 * MAC);
        for (route, text) in [
            ("tasks", closed.clone()),
            ("chat", "jwt".to_owned()),
            ("chat", String::new()),
            ("chat", format!("none 7 {mac}")),
            ("chat", format!("jwt, internal 8 {mac}")),
            ("chat", format!("jwt, internal 07 {mac}")),
            ("chat", format!("jwt, internal  7 {mac}")),
            ("chat", format!("jwt, internal 7 {no_mac}")),
            ("chat", format!("{closed} ")),
            ("chat", closed.to_uppercase()),
        ] {
            assert_eq!(ours.open(route, &text), Err(Unbelieved::Unsigned), "{text:?}");
        }
        for other in [
            seal("staging:modes", KEY),
            seal("gateway:modes", Some("another-key-of-ours-0123456789abcdef")),
        ] {
            assert_eq!(other.open("chat", &closed), Err(Unbelieved::Unsigned));
        }
    }

    #[test]
    fn without_a_key_a_mode_is_what_is_there_signed_or_not() {
        let keyless = seal("gateway:modes", None);
        assert_eq!(keyless.closed("chat", "jwt", 7), "jwt");
        for text in ["jwt".to_owned(), seal("gateway:modes", KEY).closed("chat", "jwt", 7)] {
            let opened = keyless.open("chat", &text).unwrap();
            let mut newest = Newest::default();
            for _ in 0..2 {
                assert_eq!(newest.believe("chat", opened), Ok("jwt"));
                newest.is_gone("chat");
            }
        }
    }

    #[test]
    fn r45_what_is_older_or_was_taken_back_is_not_believed_again() {
        let mode = |mode, at_ms| Opened {
            mode,
            at_ms: Some(at_ms),
        };
        let mut newest = Newest::default();
        newest.is_gone("chat");
        assert_eq!(newest.believe("chat", mode("jwt", 7)), Ok("jwt"));
        assert_eq!(newest.believe("chat", mode("jwt", 7)), Ok("jwt"));
        assert_eq!(newest.believe("chat", mode("internal", 8)), Ok("internal"));
        assert_eq!(newest.believe("chat", mode("jwt", 7)), Err(Unbelieved::Replayed));
        assert_eq!(newest.believe("chat", mode("internal", 8)), Ok("internal"));
        assert_eq!(newest.believe("tasks", mode("jwt", 7)), Ok("jwt"));
        newest.is_gone("chat");
        assert_eq!(newest.believe("chat", mode("internal", 8)), Err(Unbelieved::Replayed));
        assert_eq!(newest.believe("chat", mode("jwt", 9)), Ok("jwt"));
    }
}
