//! Limits, and the one that counts failed credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Problems;
use crate::config::model::{self, Config, LimitAlgorithm, LimitStore, LimitUnit, OnStoreError, Rate, TierRate};
use crate::policy::judge::AuthFailures;
use crate::policy::limit::{By, Limit, LimitId, Measure, Plan, Quota, Unit};

use super::{LimitSpec, header_name};

/// The name of the limit that `[auth_failures]` makes, in labels and logs.
const AUTH_FAILURES: &str = "auth_failures";

/// Every limit, in the order of their names, and by name.
pub(super) fn limits(config: &Config, problems: &mut Problems) -> (Vec<LimitSpec>, BTreeMap<String, Arc<Limit>>) {
    let mut specs = Vec::new();
    let mut limits = BTreeMap::new();
    for (name, limit) in &config.limits {
        refuse_what_does_not_fit(name, limit, problems);
        if limit.store == LimitStore::Redis && config.redis.is_none() {
            problems.at(
                &format!("limits.{name}.store"),
                "needs a [redis], where gateways count together",
            );
        }
        let Some(rate) = measure(limit) else {
            continue;
        };
        let id = LimitId(specs.len());
        let compiled = compiled(name, limit, rate, id);
        let in_store = (limit.store == LimitStore::Redis).then_some(limit.on_store_error);
        specs.push(spec(&compiled, limit.max_keys, in_store));
        limits.insert(name.clone(), Arc::new(compiled));
    }
    (specs, limits)
}

fn spec(limit: &Limit, max_keys: usize, in_store: Option<OnStoreError>) -> LimitSpec {
    LimitSpec {
        name: limit.name.clone(),
        max_keys,
        rate: limit.plan.measure,
        by: limit.by.clone(),
        unit: limit.unit,
        ipv6_prefix: limit.ipv6_prefix,
        in_store,
    }
}

/// `None`: it has neither `rate` nor `concurrent`, which the reader has told.
fn measure(limit: &model::Limit) -> Option<Measure> {
    match (limit.rate, limit.concurrent) {
        (Some(rate), _) => Some(match limit.algorithm {
            LimitAlgorithm::Gcra => Measure::Gcra(quota(rate, limit.burst)),
            LimitAlgorithm::SlidingWindow => Measure::SlidingWindow(quota(rate, None)),
        }),
        (None, most) => most.map(Measure::Concurrent),
    }
}

/// A key that is accepted works; these would not.
fn refuse_what_does_not_fit(name: &str, limit: &model::Limit, problems: &mut Problems) {
    let mut problem = |key: &str, message: &str| problems.at(&format!("limits.{name}.{key}"), message);
    if limit.concurrent.is_some() {
        for (key, given) in [
            ("burst", limit.burst.is_some()),
            ("algorithm", limit.algorithm != LimitAlgorithm::Gcra),
            ("charge_on", !limit.charge_on.is_empty()),
            ("unit", limit.unit != LimitUnit::Requests),
            ("store", limit.store != LimitStore::Local),
        ] {
            if given {
                problem(key, "is of a `rate`, and this limit has `concurrent`; leave it out");
            }
        }
        for (tier, rate) in &limit.tiers {
            if matches!(rate, TierRate::Rate(_)) {
                problem(
                    &format!("tiers.{tier}"),
                    "can only be \"unlimited\" where the limit has `concurrent`",
                );
            }
        }
    }
    let counts = limit.rate.map(|rate| rate.count);
    if limit.algorithm == LimitAlgorithm::SlidingWindow && limit.burst.is_some_and(|burst| Some(burst) != counts) {
        problem("burst", "is the rate's count in a sliding window; leave it out");
    }
}

fn compiled(name: &str, limit: &model::Limit, measure: Measure, id: LimitId) -> Limit {
    let unit = match limit.unit {
        LimitUnit::Requests => Unit::Requests,
        LimitUnit::Tokens => Unit::Tokens,
    };
    let tiers = limit.tiers.iter().map(|(tier, rate)| {
        let plan = match (rate, measure) {
            (TierRate::Unlimited, _) => None,
            (TierRate::Rate(rate), Measure::Gcra(_)) => Some(Measure::Gcra(quota(*rate, None))),
            (TierRate::Rate(rate), Measure::SlidingWindow(_)) => Some(Measure::SlidingWindow(quota(*rate, None))),
            // Refused above.
            (TierRate::Rate(_), Measure::Concurrent(_)) => Some(measure),
        };
        (
            Arc::from(tier.as_str()),
            plan.map(|measure| Plan::of_tier(name, unit, measure, tier)),
        )
    });
    Limit {
        name: Arc::from(name),
        id,
        plan: Plan::new(name, unit, measure),
        by: by(&limit.by),
        tiers: tiers.collect(),
        unit,
        charge_on: limit.charge_on.clone(),
        shared: limit.store == LimitStore::Redis,
        announce: limit.announce,
        ipv6_prefix: limit.ipv6_prefix,
    }
}

/// `[auth_failures]`, as the limit with the next free place.
pub(super) fn auth_failures(config: &Config, place: usize) -> Option<(LimitSpec, AuthFailures)> {
    let failures = config.auth_failures.as_ref()?;
    let limit = Limit {
        name: Arc::from(AUTH_FAILURES),
        id: LimitId(place),
        plan: Plan::new(AUTH_FAILURES, Unit::Requests, Measure::Gcra(quota(failures.rate, None))),
        by: By::Ip,
        tiers: Vec::new(),
        unit: Unit::Requests,
        charge_on: Vec::new(),
        shared: false,
        announce: false,
        ipv6_prefix: 64,
    };
    Some((
        spec(&limit, 100_000, None),
        AuthFailures {
            limit: Arc::new(limit),
            include_jwt: failures.include_jwt,
        },
    ))
}

fn quota(rate: Rate, burst: Option<u32>) -> Quota {
    Quota {
        count: rate.count,
        window_s: rate.per.as_secs(),
        burst: burst.unwrap_or(rate.count),
    }
}

fn by(by: &model::LimitBy) -> By {
    match by {
        model::LimitBy::User => By::User,
        model::LimitBy::Ip => By::Ip,
        model::LimitBy::Credential => By::Credential,
        model::LimitBy::Tenant => By::Tenant,
        model::LimitBy::Route => By::Route,
        model::LimitBy::Global => By::Global,
        model::LimitBy::Header(name) => header_name(name).map_or(By::Ip, By::Header),
    }
}
