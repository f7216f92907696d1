//! What an auth service said of one credential, and for how long that serves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use crate::config::model::Asking;
use crate::policy::authn::remote::Rules;
use crate::runtime::clock::nanos;

/// Its word: whom the credential proves, or why it does not hold.
pub type Said<R> = Result<Arc<<R as Rules>::Proof>, <R as Rules>::Fault>;

/// One answer.
#[derive(Debug)]
pub(super) struct Entry<R: Rules> {
    pub(super) said: Said<R>,
    fresh_until_ns: u64,
    /// From here on a request that uses it has it renewed.
    renewed_from_ns: u64,
    stale_until_ns: u64,
    renewal: AtomicU8,
}

/// How far the renewal of an entry has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Renewal {
    /// Not begun.
    None,
    /// Under way.
    Running,
    /// The auth service could not be asked.
    Failed,
}

/// Whether an entry answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    /// It is as good as asking.
    Fresh,
    /// It would do if asking fails, and a renewal has failed or has not come back.
    Stale,
    /// It would do if asking fails.
    OnlyIfAskingFails,
    /// No more.
    Not,
}

impl<R: Rules> Entry<R> {
    /// An answer of `asked_ns`, which says itself that it ends `ends_after`.
    pub(super) fn new(said: Said<R>, asking: &Asking, ends_after: Option<Duration>, asked_ns: u64) -> Self {
        let at = |after: Duration| asked_ns.saturating_add(nanos(after.min(ends_after.unwrap_or(Duration::MAX))));
        let (fresh, stale) = match &said {
            Ok(_) => (asking.cache_ttl, asking.cache_ttl.saturating_add(asking.stale_if_error)),
            // That nobody had a key is no help once it cannot be asked.
            Err(_) => (asking.negative_ttl, asking.negative_ttl),
        };
        // Early enough for one whole look-up, but never in the first half of its time.
        let margin = (fresh / 5).max(asking.timeout).min(fresh / 2);
        Self {
            fresh_until_ns: at(fresh),
            renewed_from_ns: match &said {
                Ok(_) => at(fresh).saturating_sub(nanos(margin)).max(asked_ns),
                Err(_) => u64::MAX,
            },
            stale_until_ns: at(stale),
            said,
            renewal: AtomicU8::new(Renewal::None as u8),
        }
    }

    /// Whether it is worth keeping.
    pub(super) fn lasts(&self, now_ns: u64) -> bool {
        self.stale_until_ns > now_ns
    }

    /// How long it is fresh.
    pub(super) fn fresh_for(&self, now_ns: u64) -> Duration {
        Duration::from_nanos(self.fresh_until_ns.saturating_sub(now_ns))
    }

    pub(super) fn serves(&self, now_ns: u64) -> Serves {
        if now_ns < self.fresh_until_ns {
            Serves::Fresh
        } else if now_ns >= self.stale_until_ns {
            Serves::Not
        } else if self.renewal.load(Ordering::Relaxed) == Renewal::None as u8 {
            Serves::OnlyIfAskingFails
        } else {
            Serves::Stale
        }
    }

    /// Whether the caller is to have it renewed: nobody else is at it.
    pub(super) fn is_due(&self, now_ns: u64) -> bool {
        now_ns >= self.renewed_from_ns && self.renewal.load(Ordering::Relaxed) != Renewal::Running as u8
    }

    pub(super) fn renewal(&self, now: Renewal) {
        self.renewal.store(now as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::authn::api_key::{KeyFault, KnownKey};
    use crate::policy::authn::remote::KeyRules;
    use crate::policy::identity::{AuthMethod, CallerKeys, HeaderText, Identity};

    const SECOND: u64 = 1_000_000_000;

    fn asking() -> Asking {
        Asking {
            cache_ttl: Duration::from_secs(300),
            negative_ttl: Duration::from_secs(10),
            stale_if_error: Duration::from_secs(3600),
            timeout: Duration::from_secs(2),
            retries: 2,
            max_entries: 10,
        }
    }

    fn known() -> Said<KeyRules> {
        let user = HeaderText::new("ada").unwrap();
        let identity = Identity {
            method: AuthMethod::ApiKey,
            keys: CallerKeys::default(),
            user,
            acting_for: None,
            tenant: None,
            client: None,
            scopes: Vec::new(),
            permissions: Vec::new(),
            roles: Vec::new(),
            tier: None,
            issuer: None,
            key_id: None,
            headers: Vec::new(),
        };
        Ok(Arc::new(KnownKey {
            identity: Arc::new(identity),
            expires: None,
        }))
    }

    #[test]
    fn an_answer_is_fresh_then_stands_in_for_a_failed_question_then_goes() {
        let entry = Entry::<KeyRules>::new(known(), &asking(), None, 0);
        assert_eq!(entry.serves(299 * SECOND), Serves::Fresh);
        assert_eq!(entry.serves(300 * SECOND), Serves::OnlyIfAskingFails);
        assert_eq!(entry.serves(3899 * SECOND), Serves::OnlyIfAskingFails);
        assert_eq!(entry.serves(3900 * SECOND), Serves::Not);
    }

    #[test]
    fn one_in_use_is_renewed_ahead_and_serves_while_that_runs_or_after_it_failed() {
        let entry = Entry::<KeyRules>::new(known(), &asking(), None, 0);
        assert!(!entry.is_due(239 * SECOND) && entry.is_due(240 * SECOND));
        entry.renewal(Renewal::Running);
        assert!(!entry.is_due(250 * SECOND), "one at a time");
        assert_eq!(entry.serves(300 * SECOND), Serves::Stale);
        entry.renewal(Renewal::Failed);
        assert_eq!(entry.serves(300 * SECOND), Serves::Stale);
        assert!(entry.is_due(300 * SECOND), "and is tried again");
        assert_eq!(entry.serves(3900 * SECOND), Serves::Not);
    }

    #[test]
    fn it_never_outlives_what_it_says_of_itself() {
        let entry = Entry::<KeyRules>::new(known(), &asking(), Some(Duration::from_secs(100)), 0);
        assert_eq!(entry.serves(100 * SECOND - 1), Serves::Fresh);
        assert_eq!(entry.serves(100 * SECOND), Serves::Not);
    }

    #[test]
    fn a_refusal_is_short_and_stands_in_for_nothing() {
        let entry = Entry::<KeyRules>::new(Err(KeyFault::Unknown), &asking(), None, 0);
        assert_eq!(entry.serves(10 * SECOND - 1), Serves::Fresh);
        assert_eq!(entry.serves(10 * SECOND), Serves::Not);
        assert!(!entry.is_due(9 * SECOND));
    }
}
