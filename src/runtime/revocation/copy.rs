//! What is revoked, as far as is known here: read by workers on every request, written by the follower alone.
//!
//! Everything is kept by 128 bits of a digest, never by name: a key of another service's may hold a whole token.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use tokio::sync::SetOnce;

use crate::compile::{RevocationSpec, Subject};
use crate::policy::digest::{SecretDigest, key_of};
use crate::policy::identity::Identity;
use crate::policy::token::VerifiedToken;

/// Revocations that are remembered at most: about 80 bytes each.
const MAX_ENTRIES: usize = 1_000_000;

/// All that is revoked.
#[derive(Debug)]
pub(super) struct LocalCopy {
    jti: Marks,
    token: Marks,
    key_id: Marks,
    user: Marks,
    /// User → the time before which his tokens are revoked, in seconds since the Unix epoch.
    since: Marks,
    /// Counts rebuilds: what a rebuild did not find is gone.
    generation: AtomicU64,
    /// How much may be remembered.
    most: usize,
    /// The store has more than that. Stays during a rebuild, whose end tells.
    overflown: AtomicBool,
    /// Since the last rebuild began, something found no place.
    left_out: AtomicBool,
    /// Until when all changes are known to have been seen; 0: never yet.
    pub(super) confirmed_ns: AtomicU64,
    /// A first reading has ended, well or not.
    pub(super) tried: SetOnce<()>,
}

/// Digest → mark.
#[derive(Debug, Default)]
struct Marks {
    map: DashMap<u128, Mark>,
    /// Read first, so that what nobody revokes costs nothing.
    count: AtomicUsize,
}

#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Bit n: the key of pattern n is there. For users: a time. Never 0.
    bits: i64,
    generation: u64,
}

/// What a key of the store turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The key of the pattern at this place names this digest.
    Named { pattern: usize, digest: u128 },
    /// The key of this user's time.
    User { digest: u128 },
}

/// What a key of the store names, by every pattern that fits.
pub(super) fn named_by<'a>(spec: &'a RevocationSpec, key: &'a [u8]) -> impl Iterator<Item = Found> + 'a {
    let keys = spec.keys.iter().enumerate().filter_map(move |(place, pattern)| {
        let digest = digest_of(pattern.subject, pattern.value(key)?)?;
        Some(Found::Named { pattern: place, digest })
    });
    let users = spec.users.iter().filter_map(move |pattern| {
        let digest = key_of(pattern.value(key)?);
        Some(Found::User { digest })
    });
    keys.chain(users)
}

/// `None`: no token has such a digest.
fn digest_of(subject: Subject, value: &[u8]) -> Option<u128> {
    match subject {
        Subject::Jti | Subject::KeyId | Subject::User => Some(key_of(value)),
        Subject::Token => Some(SecretDigest::of(value).half()),
        Subject::TokenSha256 => {
            let digits = std::str::from_utf8(value).ok()?;
            let is_hex = digits.len() == 64 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            is_hex.then(|| u128::from_str_radix(digits.get(..32)?, 16).ok())?
        }
    }
}

impl Default for LocalCopy {
    fn default() -> Self {
        Self::of_at_most(MAX_ENTRIES)
    }
}

impl LocalCopy {
    fn of_at_most(most: usize) -> Self {
        Self {
            jti: Marks::default(),
            token: Marks::default(),
            key_id: Marks::default(),
            user: Marks::default(),
            since: Marks::default(),
            generation: AtomicU64::new(0),
            most,
            overflown: AtomicBool::new(false),
            left_out: AtomicBool::new(false),
            confirmed_ns: AtomicU64::new(0),
            tried: SetOnce::new(),
        }
    }

    /// One that begins with what is known here, until its own first rebuild has found what there is: also in another store, and by
    /// other patterns. A revocation ends because it was seen to be gone, not because nobody can say.
    pub(super) fn heir(&self) -> Self {
        // First: what is copied after it is as new at least.
        let confirmed_ns = AtomicU64::new(self.confirmed_ns.load(Ordering::Acquire));
        Self {
            jti: self.jti.copied(),
            token: self.token.copied(),
            key_id: self.key_id.copied(),
            user: self.user.copied(),
            since: self.since.copied(),
            generation: AtomicU64::new(self.generation.load(Ordering::Relaxed)),
            most: self.most,
            overflown: AtomicBool::new(self.is_overflown()),
            left_out: AtomicBool::new(self.is_overflown()),
            confirmed_ns,
            tried: SetOnce::new(),
        }
    }

    /// Begins a rebuild: what is not found from now on until [`Self::end_rebuild`] is gone.
    pub(super) fn begin_rebuild(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        self.left_out.store(false, Ordering::Relaxed);
    }

    /// Forgets what the rebuild did not find.
    pub(super) fn end_rebuild(&self) {
        let generation = self.generation.load(Ordering::Relaxed);
        for marks in self.all() {
            marks.map.retain(|_, mark| mark.generation == generation);
            marks.count.store(marks.map.len(), Ordering::Relaxed);
        }
        self.overflown
            .store(self.left_out.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Notes that the key of `found` is there, with `value` for a user's time, or not.
    pub(super) fn note(&self, spec: &RevocationSpec, found: Found, there: Option<i64>) {
        match found {
            Found::Named { pattern, digest } => {
                let Some(subject) = spec.keys.get(pattern).map(|pattern| pattern.subject) else {
                    return;
                };
                let bit = 1 << pattern;
                self.write(self.marks(subject), digest, bit, there.map_or(0, |_there| bit));
            }
            Found::User { digest } => self.write(&self.since, digest, !0, there.unwrap_or(0)),
        }
    }

    /// Puts `bits` in the place of those of `mask`; a mark without bits is none.
    fn write(&self, marks: &Marks, digest: u128, mask: i64, bits: i64) {
        let generation = self.generation.load(Ordering::Relaxed);
        match marks.map.entry(digest) {
            Entry::Occupied(mut entry) => {
                let mark = entry.get_mut();
                // What the last rebuild found, and this one did not yet, goes as soon as there is something newer.
                let before = if bits != 0 && mark.generation != generation {
                    0
                } else {
                    mark.bits
                };
                mark.bits = before & !mask | bits;
                if bits != 0 {
                    mark.generation = generation;
                }
                if mark.bits == 0 {
                    entry.remove();
                    marks.count.fetch_sub(1, Ordering::Relaxed);
                }
            }
            Entry::Vacant(_) if bits == 0 => {}
            Entry::Vacant(_) if self.entries() >= self.most => {
                self.left_out.store(true, Ordering::Relaxed);
                self.overflown.store(true, Ordering::Relaxed);
            }
            Entry::Vacant(entry) => {
                entry.insert(Mark { bits, generation });
                marks.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Whether a token is revoked, by itself or by whom it proves.
    pub(super) fn names_token(&self, token: &VerifiedToken) -> bool {
        let issued_before = |time: i64| token.iat.is_none_or(|iat| iat < time);
        self.names_caller(&token.identity)
            || token.twin.is_some_and(|twin| self.has(Subject::Token, || twin))
            || token.jti.is_some_and(|jti| self.has(Subject::Jti, || jti))
            || self.since(token.identity.keys.user).is_some_and(issued_before)
    }

    /// Whether a caller is revoked, by its credential, its key's id or its user.
    pub(super) fn names_caller(&self, caller: &Identity) -> bool {
        let key_id = caller.key_id.as_deref();
        self.has(Subject::Token, || caller.keys.credential)
            || self.has(Subject::User, || caller.keys.user)
            || key_id.is_some_and(|id| self.has(Subject::KeyId, || key_of(id.as_bytes())))
    }

    /// Whether a key that names `digest` is there.
    fn has(&self, subject: Subject, digest: impl FnOnce() -> u128) -> bool {
        let marks = self.marks(subject);
        !marks.is_empty() && marks.map.contains_key(&digest())
    }

    /// The time before which this user's tokens are revoked.
    fn since(&self, user: u128) -> Option<i64> {
        if self.since.is_empty() {
            return None;
        }
        self.since.map.get(&user).map(|mark| mark.bits)
    }

    /// How many revocations are known.
    pub(super) fn entries(&self) -> usize {
        self.all().map(|marks| marks.count.load(Ordering::Relaxed)).iter().sum()
    }

    /// Whether what found no place might find one now: a rebuild would tell.
    pub(super) fn has_room_again(&self) -> bool {
        self.is_overflown() && self.entries() < self.most - self.most / 10
    }

    /// Whether the store has more than is remembered here.
    pub(super) fn is_overflown(&self) -> bool {
        self.overflown.load(Ordering::Relaxed)
    }

    fn marks(&self, subject: Subject) -> &Marks {
        match subject {
            Subject::Jti => &self.jti,
            Subject::Token | Subject::TokenSha256 => &self.token,
            Subject::KeyId => &self.key_id,
            Subject::User => &self.user,
        }
    }

    const fn all(&self) -> [&Marks; 5] {
        [&self.jti, &self.token, &self.key_id, &self.user, &self.since]
    }
}

impl Marks {
    fn copied(&self) -> Self {
        let map = self.map.clone();
        let count = AtomicUsize::new(map.len());
        Self { map, count }
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn of(user: u128) -> Found {
        Found::User { digest: user }
    }

    #[test]
    fn what_found_no_place_is_read_anew_once_there_is_room() {
        let spec = RevocationSpec {
            keys: Vec::new(),
            users: None,
            serve_on_store_error: false,
        };
        let copy = LocalCopy::of_at_most(100);
        copy.begin_rebuild();
        (1..=101).for_each(|user| copy.note(&spec, of(user), Some(1)));
        copy.end_rebuild();
        assert!(copy.is_overflown() && copy.since(101).is_none());
        (1..=10).for_each(|user| copy.note(&spec, of(user), None));
        assert!(!copy.has_room_again(), "not for every single place");
        copy.note(&spec, of(11), None);
        assert!(copy.has_room_again());
        copy.begin_rebuild();
        (12..=101).for_each(|user| copy.note(&spec, of(user), Some(1)));
        copy.end_rebuild();
        assert!(!copy.is_overflown() && copy.since(101) == Some(1));
    }

    #[test]
    fn an_heir_knows_all_until_a_rebuild_of_its_own_has_found_what_there_is() {
        let spec = RevocationSpec {
            keys: Vec::new(),
            users: None,
            serve_on_store_error: false,
        };
        let old = LocalCopy::of_at_most(2);
        old.begin_rebuild();
        (1..=3).for_each(|user| old.note(&spec, of(user), Some(1)));
        old.end_rebuild();
        old.confirmed_ns.store(7, Ordering::Relaxed);
        // A rebuild that broke off, of the one or the other, takes nothing away.
        old.begin_rebuild();
        assert!(old.is_overflown(), "until it is known that nothing is missing any more");
        old.note(&spec, of(1), Some(2));
        old.note(&spec, of(3), Some(3));
        let heir = old.heir();
        assert_eq!((heir.entries(), heir.is_overflown()), (2, true));
        assert_eq!(
            heir.confirmed_ns.load(Ordering::Relaxed),
            7,
            "nothing is newer for being inherited"
        );
        heir.begin_rebuild();
        heir.note(&spec, of(2), Some(4));
        assert_eq!([1, 2].map(|user| heir.since(user)), [Some(2), Some(4)]);
        heir.end_rebuild();
        assert_eq!([1, 2].map(|user| heir.since(user)), [None, Some(4)]);
        assert_eq!(
            (old.entries(), old.since(2)),
            (2, Some(1)),
            "whoever has the old one keeps it"
        );
    }
}
