//! The metrics of modes on trial: what a shadow would have said, and how the two sides of a canary fare. Depends on `policy` for
//! the names.

use std::collections::HashMap;
use std::sync::OnceLock;

use http::StatusCode;
use prometheus::{IntCounter, IntCounterVec};

use super::families::Families;
use super::route::{STATUSES, UPSTREAM_FAILURES, deciders};
use crate::policy::canary::Arm;
use crate::policy::denial::Code;
use crate::policy::identity::AuthMethod;
use crate::policy::shadow::Difference;

/// How the enforced judgement and the shadow's went: refused by a code, or not; and what lies between.
type Pair = (Option<Code>, Option<Code>, Difference);

/// The metrics of one route's shadow.
#[derive(Debug)]
pub struct ShadowMetrics {
    name: String,
    family: IntCounterVec,
    pairs: HashMap<Pair, IntCounter>,
    /// Requests whose failed credential hid one that the shadow would have accepted.
    pub hidden: IntCounter,
}

/// How often a shadow was asked, and what came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Agreement {
    pub same: u64,
    pub would_deny: u64,
    pub would_allow: u64,
    pub other_identity: u64,
}

impl ShadowMetrics {
    /// There from the start, at zero: every pair of outcomes that these chains can have.
    pub(super) fn new(families: &Families, name: &str, enforced: &[AuthMethod], shadow: &[AuthMethod]) -> Self {
        let mut metrics = Self {
            name: name.to_owned(),
            family: families.shadow_decisions.clone(),
            pairs: HashMap::new(),
            hidden: families.shadow_hidden.with_label_values(&[name]),
        };
        for one in outcomes(enforced) {
            for other in outcomes(shadow) {
                let differences: &[Difference] = match (one, other) {
                    (None, None) => &[Difference::Same, Difference::OtherIdentity],
                    (Some(_), Some(_)) => &[Difference::Same],
                    (None, Some(_)) => &[Difference::WouldDeny],
                    (Some(_), None) => &[Difference::WouldAllow],
                };
                for difference in differences {
                    let counter = metrics.look_up((one, other, *difference));
                    metrics.pairs.insert((one, other, *difference), counter);
                }
            }
        }
        metrics
    }

    /// Counts one request.
    pub fn count(&self, enforced: Option<Code>, shadow: Option<Code>, difference: Difference) {
        let pair = (enforced, shadow, difference);
        match self.pairs.get(&pair) {
            Some(counter) => counter.inc(),
            None => self.look_up(pair).inc(),
        }
    }

    /// How often they agreed since the process began.
    #[must_use]
    pub fn agreement(&self) -> Agreement {
        let mut sums = Agreement::default();
        for ((_, _, difference), counter) in &self.pairs {
            let sum = match difference {
                Difference::Same => &mut sums.same,
                Difference::WouldDeny => &mut sums.would_deny,
                Difference::WouldAllow => &mut sums.would_allow,
                Difference::OtherIdentity => &mut sums.other_identity,
            };
            *sum += counter.get();
        }
        sums
    }

    fn look_up(&self, (enforced, shadow, difference): Pair) -> IntCounter {
        let labels = [&*self.name, outcome(enforced), outcome(shadow), difference.name()];
        self.family.with_label_values(&labels)
    }
}

fn outcome(refused: Option<Code>) -> &'static str {
    refused.map_or("allow", Code::name)
}

/// What a mode itself can say with this chain: not what limits, bodies and addresses say after or before it.
fn outcomes(chain: &[AuthMethod]) -> impl Iterator<Item = Option<Code>> {
    let can_say = |code: &Code| match code {
        Code::BodyTooLarge | Code::AddressNotAllowed | Code::RateLimited => false,
        // Two places that differ; or, of an internal caller, a user that is none.
        Code::Unauthorized | Code::MalformedRequest => true,
        other => deciders(*other).iter().any(|method| chain.contains(method)),
    };
    let refusals = Code::ALL.into_iter().filter(can_say).map(Some);
    std::iter::once(None).chain(refusals)
}

/// The metrics of one route's canary.
#[derive(Debug)]
pub struct CanaryMetrics {
    name: String,
    family: IntCounterVec,
    /// By the place of the arm and of the status, each filled when it is first counted.
    counters: [[OnceLock<IntCounter>; STATUSES.len()]; Arm::ALL.len()],
}

impl CanaryMetrics {
    /// There from the start, at zero: both arms, by 200 and every status that the gateway itself answers on a route.
    pub(super) fn new(families: &Families, name: &str) -> Self {
        let metrics = Self {
            name: name.to_owned(),
            family: families.canary_requests.clone(),
            counters: std::array::from_fn(|_| std::array::from_fn(|_| OnceLock::new())),
        };
        let refusals = Code::ALL.into_iter().filter(|code| !deciders(*code).is_empty());
        let statuses: Vec<u16> = refusals.map(|code| code.status().as_u16()).collect();
        for arm in Arm::ALL {
            for status in statuses.iter().chain(&UPSTREAM_FAILURES).chain(&[200]) {
                // Found once, it is there.
                let _ = metrics.counter(arm, *status);
            }
        }
        metrics
    }

    /// Counts one answered request.
    pub fn count(&self, arm: Arm, status: StatusCode) {
        match self.counter(arm, status.as_u16()) {
            Some(counter) => counter.inc(),
            None => self.look_up(arm, status.as_u16()).inc(),
        }
    }

    /// Requests of an arm so far, and those of them that were refused or failed.
    #[must_use]
    pub fn requests(&self, arm: Arm) -> (u64, u64) {
        let own = STATUSES.iter().zip(self.of(arm));
        own.fold((0, 0), |(all, bad), (status, counter)| {
            let count = counter.get().map_or(0, IntCounter::get);
            (all + count, if *status >= 400 { bad + count } else { bad })
        })
    }

    /// The counter of a registered status.
    fn counter(&self, arm: Arm, status: u16) -> Option<&IntCounter> {
        let place = STATUSES.binary_search(&status).ok()?;
        let counter = self.of(arm).get(place)?;
        Some(counter.get_or_init(|| self.look_up(arm, status)))
    }

    const fn of(&self, arm: Arm) -> &[OnceLock<IntCounter>; STATUSES.len()] {
        let [stable, canary] = &self.counters;
        match arm {
            Arm::Stable => stable,
            Arm::Canary => canary,
        }
    }

    fn look_up(&self, arm: Arm, status: u16) -> IntCounter {
        let mut digits = itoa::Buffer::new();
        self.family
            .with_label_values(&[self.name.as_str(), arm.name(), digits.format(status)])
    }
}
