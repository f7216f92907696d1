//! Limits within a judgement: who is asked, what a request holds, and what a refusal gives back; `[auth_failures]` too.

use std::sync::Arc;

use crate::policy::Policy;
use crate::policy::denial::{Code, Denial, Tells};
use crate::policy::facts::Facts;
use crate::policy::identity::{AuthMethod, Identity};
use crate::policy::limit::{Answer, Ask, Asks, Grant, Left, Limit, Meter, Wait, address_key};
use crate::policy::route::Route;
use crate::policy::verdict::{Allowance, Allowances};

/// What a request was granted by limits so far, and which ones are still to be asked.
#[derive(Debug, Default)]
pub(super) struct Held<'p> {
    pub(super) allowances: Allowances<'p>,
    /// Limits that gateways share, which are to be asked together.
    pub(super) later: Asks<'p>,
}

/// What the limits are asked: those that count here, and those that gateways share.
pub(super) fn asks<'p>(
    limits: &'p [Arc<Limit>],
    route: &Route,
    facts: &Facts<'_>,
    identity: Option<&Identity>,
) -> (Asks<'p>, Asks<'p>) {
    let (mut own, mut shared) = (Asks::new(), Asks::new());
    let tier = identity.and_then(|identity| identity.tier.as_deref());
    for limit in limits {
        let Some(plan) = limit.plan_for(tier) else { continue };
        let key = limit.bucket(plan, facts, route.key, identity);
        let asks = if limit.shared { &mut shared } else { &mut own };
        asks.push(Ask { limit, plan, key });
    }
    (own, shared)
}

impl<'p> Held<'p> {
    /// Asks limits that count here.
    pub(super) fn ask(&mut self, asks: &[Ask<'p>], meter: &impl Meter, now_ns: u64) -> Result<(), Denial> {
        if asks.is_empty() {
            return Ok(());
        }
        self.take(asks, meter.admit(asks, now_ns), meter, now_ns)
    }

    /// Takes the answer of the limits that gateways share.
    pub(super) fn answered(&mut self, answer: Answer, meter: &impl Meter, now_ns: u64) -> Result<(), Denial> {
        let asks = std::mem::take(&mut self.later);
        self.take(&asks, answer, meter, now_ns)
    }

    /// All or none: a refusal gives back whatever the request was granted before.
    fn take(&mut self, asks: &[Ask<'p>], answer: Answer, meter: &impl Meter, now_ns: u64) -> Result<(), Denial> {
        // INVARIANT: each ask was answered; one that was not is refused (fail closed).
        let answer = answer.and_then(|grants| match asks.len().checked_sub(grants.len()) {
            Some(0) => Ok(grants),
            _unanswered => Err(smallvec::smallvec![(grants.len(), Wait::UNKNOWN)]),
        });
        match answer {
            Ok(grants) => {
                self.allowances.extend(asks.iter().zip(grants).map(granted));
                Ok(())
            }
            Err(refusals) => {
                for allowance in self.allowances.drain(..) {
                    if let Some(charge) = &allowance.charge {
                        meter.refund(charge, &allowance.plan.measure, now_ns);
                    }
                }
                let refusals = refusals
                    .iter()
                    .filter_map(|(place, wait)| Some((asks.get(*place)?, *wait)));
                self.allowances
                    .extend(refusals.clone().map(|(ask, wait)| exhausted(ask, wait)));
                let longest = refusals.max_by_key(|(_, wait)| *wait);
                Err(
                    longest.map_or(Denial::plain(Code::RateLimited, "limit_exhausted"), |(ask, wait)| {
                        limited(ask.limit, wait.seconds())
                    }),
                )
            }
        }
    }
}

fn granted<'p>((ask, grant): (&Ask<'p>, Grant)) -> Allowance<'p> {
    Allowance {
        limit: ask.limit,
        plan: ask.plan,
        left: grant.left,
        charge: Some(grant.charge),
    }
}

fn exhausted<'p>(ask: &Ask<'p>, wait: Wait) -> Allowance<'p> {
    Allowance {
        limit: ask.limit,
        plan: ask.plan,
        left: Left {
            remaining: 0,
            window_s: Some(wait.seconds()),
        },
        charge: None,
    }
}

/// The refusal by an exhausted limit.
#[must_use]
pub fn limited(limit: &Limit, seconds: u64) -> Denial {
    Denial {
        code: Code::RateLimited,
        detail: "limit_exhausted",
        tells: Tells::RetryAfter {
            seconds,
            limit: limit.name.clone(),
        },
        missing: None,
    }
}

/// `[auth_failures]`: wrong credentials are counted by address; from an address that sent too many, further ones are not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFailures {
    /// The limit that counts them.
    pub limit: Arc<Limit>,
    /// Whether failed tokens count too (all but expired ones).
    pub include_jwt: bool,
}

impl AuthFailures {
    fn ask(&self, facts: &Facts<'_>) -> Ask<'_> {
        Ask {
            limit: &self.limit,
            plan: &self.limit.plan,
            key: address_key(facts.origin.client, self.limit.ipv6_prefix),
        }
    }
}

impl Policy {
    /// Counts a failed credential; one too many becomes 429.
    pub(super) fn count_failure(
        &self,
        facts: &Facts<'_>,
        method: AuthMethod,
        denial: Denial,
        meter: &impl Meter,
    ) -> Denial {
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
        let ask = failures.ask(facts);
        match meter.admit(&[ask], facts.now.monotonic_ns) {
            Ok(_) => denial,
            Err(refusals) => {
                let wait = refusals.first().map_or(Wait::UNKNOWN, |(_, wait)| *wait);
                limited(ask.limit, wait.seconds())
            }
        }
    }

    /// Whether somebody may be asked about a credential that is not known good: not once its address failed too often.
    ///
    /// # Errors
    /// 429.
    pub fn may_ask(&self, facts: &Facts<'_>, method: AuthMethod, meter: &impl Meter) -> Result<(), Denial> {
        let Some(ask) = self.guesses_of(facts, method) else {
            return Ok(());
        };
        let judged = meter.peek(&ask, facts.now.monotonic_ns);
        judged.map(drop).map_err(|wait| limited(ask.limit, wait.seconds()))
    }

    /// Where the failures of this request's address are counted; `None`: they are not.
    #[must_use]
    pub fn guesses_of(&self, facts: &Facts<'_>, method: AuthMethod) -> Option<Ask<'_>> {
        self.failures_of(method).map(|failures| failures.ask(facts))
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
