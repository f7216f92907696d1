//! Limits, and the one that counts failed credentials.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::model::{self, Config, Rate, TierRate};
use crate::policy::auth_failures::AuthFailures;
use crate::policy::limit::{By, Limit, LimitId, Plan, Quota};

use super::{LimitSpec, header_name};

/// The name of the limit that `[auth_failures]` makes, in labels and logs.
const AUTH_FAILURES: &str = "auth_failures";

/// Every limit, in the order of their names, and by name.
pub(super) fn limits(config: &Config) -> (Vec<LimitSpec>, BTreeMap<String, Arc<Limit>>) {
    let mut specs = Vec::new();
    let mut limits = BTreeMap::new();
    for (name, limit) in &config.limits {
        // The reader accepts a limit without a rate only with `concurrent`, which is refused until it is built.
        let Some(rate) = limit.rate else { continue };
        let id = LimitId(specs.len());
        specs.push(LimitSpec {
            name: Arc::from(name.as_str()),
            max_keys: limit.max_keys,
            meaning: format!(
                "{rate:?} {:?} {:?} {:?} {}",
                limit.burst, limit.by, limit.algorithm, limit.ipv6_prefix
            ),
        });
        limits.insert(name.clone(), Arc::new(compiled(name, limit, rate, id)));
    }
    (specs, limits)
}

fn compiled(name: &str, limit: &model::Limit, rate: Rate, id: LimitId) -> Limit {
    let tiers = limit.tiers.iter().map(|(tier, rate)| {
        let plan = match rate {
            TierRate::Unlimited => None,
            TierRate::Rate(rate) => Some(Plan::new(name, quota(*rate, None))),
        };
        (Arc::from(tier.as_str()), plan)
    });
    Limit {
        name: Arc::from(name),
        id,
        plan: Plan::new(name, quota(rate, limit.burst)),
        by: by(&limit.by),
        tiers: tiers.collect(),
        announce: limit.announce,
        ipv6_prefix: limit.ipv6_prefix,
    }
}

/// `[auth_failures]`, as the limit with the next free place.
pub(super) fn auth_failures(config: &Config, place: usize) -> Option<(LimitSpec, AuthFailures)> {
    let failures = config.auth_failures.as_ref()?;
    let spec = LimitSpec {
        name: Arc::from(AUTH_FAILURES),
        max_keys: 100_000,
        meaning: format!("{:?}", failures.rate),
    };
    let limit = Limit {
        name: spec.name.clone(),
        id: LimitId(place),
        plan: Plan::new(AUTH_FAILURES, quota(failures.rate, None)),
        by: By::Ip,
        tiers: Vec::new(),
        announce: false,
        ipv6_prefix: 64,
    };
    Some((
        spec,
        AuthFailures {
            limit,
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
