//! Failed credentials, counted by address: `[auth_failures]`. From an address that sent too many, further ones are not judged.

use super::Policy;
use super::denial::{Code, Denial};
use super::facts::Facts;
use super::identity::AuthMethod;
use super::judge::limited;
use super::limit::{BucketKey, Limit, Meter, address_key};

/// `[auth_failures]`: wrong credentials are counted by address; from an address that sent too many, further ones are not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFailures {
    /// The limit that counts them.
    pub limit: Limit,
    /// Whether failed tokens count too (all but expired ones).
    pub include_jwt: bool,
}

impl Policy {
    /// Counts a failed credential; one too many becomes 429.
    pub(super) fn count_failure(&self, facts: &Facts<'_>, method: AuthMethod, denial: Denial, meter: &impl Meter) -> Denial {
        let Some(failures) = self.failures_of(method) else {
            return denial;
        };
        let counts = match denial.code {
            Code::InvalidApiKey | Code::InvalidInternalAuth | Code::InvalidToken => true,
            _not_a_wrong_credential => false,
        };
        if !counts {
            return denial;
        }
        let limit = &failures.limit;
        let key = address_key(facts.origin.client, limit.ipv6_prefix);
        match meter.charge(limit.id, key, &limit.plan.quota, facts.now.monotonic_ns) {
            Ok(_) => denial,
            Err(wait) => limited(limit, wait.seconds()),
        }
    }

    /// Whether somebody may be asked about a credential that is not known good: not once its address failed too often.
    ///
    /// # Errors
    /// 429.
    pub fn may_ask(&self, facts: &Facts<'_>, method: AuthMethod, meter: &impl Meter) -> Result<(), Denial> {
        let Some((limit, key)) = self.guesses_of(facts, method) else {
            return Ok(());
        };
        let judged = meter.peek(limit.id, key, &limit.plan.quota, facts.now.monotonic_ns);
        judged.map_err(|wait| limited(limit, wait.seconds()))
    }

    /// Where the failures of this request's address are counted; `None`: they are not.
    #[must_use]
    pub fn guesses_of(&self, facts: &Facts<'_>, method: AuthMethod) -> Option<(&Limit, BucketKey)> {
        let limit = &self.failures_of(method)?.limit;
        Some((limit, address_key(facts.origin.client, limit.ipv6_prefix)))
    }

    fn failures_of(&self, method: AuthMethod) -> Option<&AuthFailures> {
        let failures = self.auth_failures.as_ref()?;
        let counted = match method {
            AuthMethod::ApiKey | AuthMethod::Internal => true,
            AuthMethod::Jwt => failures.include_jwt,
            AuthMethod::None => false,
        };
        counted.then_some(failures)
    }
}
