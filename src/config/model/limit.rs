//! `[limits.NAME]` and `[auth_failures]`. Imports nothing of the crate.

use std::collections::BTreeMap;
use std::time::Duration;

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// 1 s, 1 min, 1 h or 1 day.
    pub per: Duration,
}

/// A value of `tiers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierRate {
    /// `"unlimited"`.
    Unlimited,
    /// Instead of the limit's own rate.
    Rate(Rate),
}

/// `[limits.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Required unless `concurrent` is set.
    pub rate: Option<Rate>,
    /// Default: the rate's count.
    pub burst: Option<u32>,
    /// How requests are counted.
    pub algorithm: LimitAlgorithm,
    /// Whose requests are counted together.
    pub by: LimitBy,
    /// Another rate for callers of that tier.
    pub tiers: BTreeMap<String, TierRate>,
    /// Response statuses that are counted; empty: every request.
    pub charge_on: Vec<u16>,
    /// Where the counters are.
    pub store: LimitStore,
    /// What happens while Redis is away.
    pub on_store_error: OnStoreError,
    /// Live keys at most; further ones share one bucket.
    pub max_keys: usize,
    /// Shown in `RateLimit` headers.
    pub announce: bool,
    /// What is counted.
    pub unit: LimitUnit,
    /// Requests in flight, instead of a rate.
    pub concurrent: Option<u32>,
    /// IPv6 callers are counted by networks of this length.
    pub ipv6_prefix: u8,
}

/// `limits.NAME.algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitAlgorithm {
    Gcra,
    SlidingWindow,
}

/// `limits.NAME.by`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitBy {
    User,
    Ip,
    Credential,
    Tenant,
    Route,
    Global,
    Header(String),
}

/// `limits.NAME.store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitStore {
    Local,
    Redis,
}

/// `limits.NAME.on_store_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnStoreError {
    Local,
    Deny,
    Allow,
}

/// `limits.NAME.unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitUnit {
    Requests,
    Tokens,
}

/// `[auth_failures]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFailures {
    /// Failures from one address before further ones are refused.
    pub rate: Rate,
    /// Whose failures are counted together: `ip`.
    pub by: LimitBy,
    /// Count and refuse failed JWTs too.
    pub include_jwt: bool,
}
