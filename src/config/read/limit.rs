//! `[limits.NAME]` and `[auth_failures]`.
//!
//! Imports the machinery of `config`.

use super::secs;
use crate::config::cursor::Cursor;
use crate::config::model::{
    AuthFailures, Limit, LimitAlgorithm, LimitBy, LimitStore, LimitUnit, OnStoreError, Rate, TierRate,
};
use crate::config::value as v;

pub(super) fn limit(t: &mut Cursor<'_, '_>) -> Limit {
    if t.given("rate") == t.given("concurrent") {
        t.problem(
            "",
            "needs exactly one of `rate` (such as \"120/min\") and `concurrent` (requests in flight)",
        );
    }
    Limit {
        rate: t.optional("rate", v::rate),
        burst: t.optional("burst", v::integer(1..=u32::MAX.into())),
        algorithm: t.key("algorithm", LimitAlgorithm::Gcra, algorithm),
        by: t.key("by", LimitBy::User, v::limit_by),
        tiers: t.open("tiers", v::some_text, |t, tier| {
            t.required(tier, TierRate::Unlimited, v::tier_rate)
        }),
        charge_on: t.list("charge_on", Vec::new(), v::integer(100..=599)),
        store: t.key("store", LimitStore::Local, store),
        on_store_error: t.key("on_store_error", OnStoreError::Local, on_store_error),
        max_keys: t.key("max_keys", 100_000, v::integer(1..=100_000_000)),
        announce: t.key("announce", true, v::boolean),
        unit: t.key("unit", LimitUnit::Requests, unit),
        concurrent: t.optional("concurrent", v::integer(1..=u32::MAX.into())),
        ipv6_prefix: t.key("ipv6_prefix", 64, v::integer(1..=128)),
    }
}

pub(super) fn auth_failures(t: &mut Cursor<'_, '_>) -> AuthFailures {
    let placeholder = Rate { count: 1, per: secs(1) };
    AuthFailures {
        rate: t.required("rate", placeholder, v::rate),
        by: t.key("by", LimitBy::Ip, v::one_of(&[("ip", LimitBy::Ip)])),
        include_jwt: t.key("include_jwt", false, v::boolean),
    }
}

fn algorithm(value: &v::Value) -> Result<LimitAlgorithm, v::Wrong> {
    v::one_of(&[
        ("gcra", LimitAlgorithm::Gcra),
        ("sliding_window", LimitAlgorithm::SlidingWindow),
    ])(value)
}

fn store(value: &v::Value) -> Result<LimitStore, v::Wrong> {
    v::one_of(&[("local", LimitStore::Local), ("redis", LimitStore::Redis)])(value)
}

fn on_store_error(value: &v::Value) -> Result<OnStoreError, v::Wrong> {
    v::one_of(&[
        ("local", OnStoreError::Local),
        ("deny", OnStoreError::Deny),
        ("allow", OnStoreError::Allow),
    ])(value)
}

fn unit(value: &v::Value) -> Result<LimitUnit, v::Wrong> {
    v::one_of(&[("requests", LimitUnit::Requests), ("tokens", LimitUnit::Tokens)])(value)
}
