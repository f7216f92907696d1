//! Limits: whose requests are counted together, how they are measured, and how that is announced.
//!
//! The arithmetic is pure (`quota`, `window`); who remembers the counts is a [`Meter`], so that `explain` can judge without counting.

mod meter;
mod quota;
mod window;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::digest::key_of;
use super::facts::Facts;
use super::identity::Identity;

pub use meter::{Answer, Ask, Asks, Charge, DryMeter, Grant, Meter, Place};
pub use quota::{Left, Quota, Wait};
pub use window::Window;

/// A limit's place in the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LimitId(pub usize);

/// A named limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Its name: in labels, logs and `RateLimit` headers.
    pub name: Arc<str>,
    /// Where its counts are.
    pub id: LimitId,
    /// For callers of no listed tier.
    pub plan: Plan,
    /// Whose requests are counted together.
    pub by: By,
    /// Tier → its plan; `None`: unlimited.
    pub tiers: Vec<(Arc<str>, Option<Plan>)>,
    /// What is counted.
    pub unit: Unit,
    /// Statuses whose requests are counted; empty: all.
    pub charge_on: Vec<u16>,
    /// Whether several gateways count together: then it is asked over the network.
    pub shared: bool,
    /// Shown in `RateLimit` headers.
    pub announce: bool,
    /// IPv6 callers are counted by networks of this length.
    pub ipv6_prefix: u8,
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Requests.
    Requests,
    /// Tokens of a language model, as its answer says them.
    Tokens,
}

/// Whose requests share a bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum By {
    User,
    Ip,
    Credential,
    Tenant,
    Route,
    Global,
    Header(HeaderName),
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User => f.write_str("user"),
            Self::Ip => f.write_str("ip"),
            Self::Credential => f.write_str("credential"),
            Self::Tenant => f.write_str("tenant"),
            Self::Route => f.write_str("route"),
            Self::Global => f.write_str("global"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// How a plan counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Spread evenly, with bursts.
    Gcra(Quota),
    /// Never more than the count in any window.
    SlidingWindow(Quota),
    /// Requests in flight.
    Concurrent(u32),
}

impl Measure {
    /// As a bucket that was never used answers.
    ///
    /// # Errors
    /// The cost is more than it ever has.
    pub fn unused(&self, cost: u32, now_ns: u64) -> Result<Left, Wait> {
        match self {
            Self::Gcra(quota) => quota.admit(0, cost, now_ns).map(|(_, left)| left),
            Self::SlidingWindow(quota) => Window::default().admit(quota, cost, now_ns).map(|(_, left)| left),
            Self::Concurrent(most) => in_flight(*most, 0, cost),
        }
    }

    /// Requests at once after a pause, where the measure has such a thing.
    #[must_use]
    pub const fn burst(&self) -> Option<u32> {
        match self {
            Self::Gcra(quota) => Some(quota.burst),
            Self::SlidingWindow(_) | Self::Concurrent(_) => None,
        }
    }

    /// How long a caller waits at most that has used everything at once.
    #[must_use]
    pub const fn longest_wait(&self) -> Wait {
        match self {
            Self::Gcra(quota) => Wait(quota.interval_ns()),
            Self::SlidingWindow(quota) => Wait(quota.window_ns()),
            Self::Concurrent(_) => Wait::UNKNOWN,
        }
    }
}

/// One more request beside `running` others, of `most`.
///
/// # Errors
/// There is no place; when one comes free nobody knows.
pub fn in_flight(most: u32, running: u32, cost: u32) -> Result<Left, Wait> {
    let free = most.saturating_sub(running);
    if free < cost.max(1) {
        return Err(Wait::UNKNOWN);
    }
    Ok(Left {
        remaining: free - cost,
        window_s: None,
    })
}

impl fmt::Display for Measure {
    /// As in the config: `120/min`, or `10 at once`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gcra(quota) | Self::SlidingWindow(quota) => quota.fmt(f),
            Self::Concurrent(most) => write!(f, "{most} at once"),
        }
    }
}

/// A measure and how it is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is allowed.
    pub measure: Measure,
    /// Its item of `RateLimit-Policy`, ready to be sent: `"per-user";q=120;w=60`.
    pub policy: HeaderValue,
    /// Tells its buckets from those of the limit's other plans; 0: the limit's own plan.
    buckets: u128,
}

impl Plan {
    /// A plan of the limit `name`, which is printable ASCII without quotes.
    #[must_use]
    pub fn new(name: &str, unit: Unit, measure: Measure) -> Self {
        // draft-ietf-httpapi-ratelimit-headers-11 §3.1. `requests` is the default unit; tokens are in no registry yet.
        let item = match (measure, unit) {
            (Measure::Concurrent(most), _) => format!("\"{name}\";q={most};qu=\"concurrent-requests\""),
            (Measure::Gcra(quota) | Measure::SlidingWindow(quota), Unit::Requests) => {
                format!("\"{name}\";q={};w={}", quota.count, quota.window_s)
            }
            (Measure::Gcra(quota) | Measure::SlidingWindow(quota), Unit::Tokens) => {
                format!("\"{name}\";q={};qu=\"tokens\";w={}", quota.count, quota.window_s)
            }
        };
        let policy = HeaderValue::try_from(item).unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
        Self {
            measure,
            policy,
            buckets: 0,
        }
    }

    /// For a tier. Its buckets are its own: what was counted by one plan says nothing under another. A window of a second forgets what
    /// one of an hour must remember, and a debt at five an hour is none at ten a second.
    #[must_use]
    pub fn of_tier(name: &str, unit: Unit, measure: Measure, tier: &str) -> Self {
        Self {
            buckets: key_of(format!("{tier}={measure}").as_bytes()),
            ..Self::new(name, unit, measure)
        }
    }
}

/// What a bucket is found by: 128 bits that strangers cannot make collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketKey(pub u128);

impl Limit {
    /// Whether it is judged before anybody is authenticated: it counts addresses, and stands before a stranger can buy work.
    #[must_use]
    pub const fn is_by_address(&self) -> bool {
        matches!(self.by, By::Ip)
    }

    /// Whether it counts tokens, which are known only when the answer has ended.
    #[must_use]
    pub const fn counts_tokens(&self) -> bool {
        matches!(self.unit, Unit::Tokens)
    }

    /// Whether a request with this answer is counted.
    #[must_use]
    pub fn charges(&self, status: u16) -> bool {
        self.charge_on.is_empty() || self.charge_on.contains(&status)
    }

    /// The plan for `tier`; `None`: unlimited.
    #[must_use]
    pub fn plan_for(&self, tier: Option<&str>) -> Option<&Plan> {
        let listed = tier.and_then(|tier| self.tiers.iter().find(|(name, _)| **name == *tier));
        match listed {
            Some((_, plan)) => plan.as_ref(),
            None => Some(&self.plan),
        }
    }

    /// The bucket of `plan` that this request is counted in; `route` is the route's [`key_of`] its name.
    #[must_use]
    pub fn bucket(&self, plan: &Plan, facts: &Facts<'_>, route: u128, identity: Option<&Identity>) -> BucketKey {
        let address = || address_key(facts.origin.client, self.ipv6_prefix);
        let BucketKey(caller) = match (&self.by, identity) {
            (By::User, Some(identity)) if identity.counts_as_user() => BucketKey(identity.keys.user),
            (By::Tenant, Some(identity)) => identity.keys.tenant.map_or_else(address, BucketKey),
            (By::Credential, Some(identity)) => BucketKey(identity.keys.credential),
            (By::User | By::Ip | By::Tenant | By::Credential, _) => address(),
            (By::Route, _) => BucketKey(route),
            (By::Global, _) => BucketKey(0),
            (By::Header(name), _) => match facts.headers.get(name) {
                Some(value) => BucketKey(key_of(value.as_bytes())),
                None => address(),
            },
        };
        BucketKey(caller ^ plan.buckets)
    }
}

/// The bucket of an address: IPv4 whole, IPv6 by its network, since a caller has at least a /64 to choose from.
#[must_use]
pub fn address_key(address: IpAddr, ipv6_prefix: u8) -> BucketKey {
    match address.to_canonical() {
        IpAddr::V4(address) => BucketKey(u128::from(address.to_bits())),
        IpAddr::V6(address) => {
            let host_bits = 128u32.saturating_sub(u32::from(ipv6_prefix));
            let network = u128::MAX.checked_shl(host_bits).unwrap_or(0);
            BucketKey(address.to_bits() & network)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const PER_MINUTE: Quota = Quota {
        count: 5,
        window_s: 60,
        burst: 5,
    };

    #[test]
    fn policies_are_structured_fields_with_their_unit() {
        let policy = |unit, measure| Plan::new("api", unit, measure).policy;
        assert_eq!(policy(Unit::Requests, Measure::Gcra(PER_MINUTE)), "\"api\";q=5;w=60");
        assert_eq!(
            policy(Unit::Requests, Measure::SlidingWindow(PER_MINUTE)),
            "\"api\";q=5;w=60"
        );
        assert_eq!(
            policy(Unit::Tokens, Measure::Gcra(PER_MINUTE)),
            "\"api\";q=5;qu=\"tokens\";w=60"
        );
        assert_eq!(
            policy(Unit::Requests, Measure::Concurrent(3)),
            "\"api\";q=3;qu=\"concurrent-requests\""
        );
    }

    #[test]
    fn requests_in_flight_are_counted_to_the_last_place() {
        assert_eq!(in_flight(2, 1, 1).map(|left| left.remaining), Ok(0));
        assert_eq!(in_flight(2, 1, 0).map(|left| left.remaining), Ok(1));
        assert_eq!(in_flight(2, 2, 1), Err(Wait::UNKNOWN));
        assert_eq!(in_flight(2, 2, 0), Err(Wait::UNKNOWN));
    }

    #[test]
    fn ipv6_callers_are_counted_by_network() {
        let key = |text: &str, prefix| address_key(text.parse().unwrap(), prefix);
        assert_eq!(key("2001:db8::1", 64), key("2001:db8::ffff:1", 64));
        assert_ne!(key("2001:db8::1", 64), key("2001:db8:0:1::1", 64));
        assert_ne!(key("2001:db8::1", 128), key("2001:db8::2", 128));
        assert_eq!(key("2001:db8::1", 0), key("fe80::1", 0));
        assert_eq!(key("::ffff:192.0.2.1", 64), key("192.0.2.1", 64));
        assert_ne!(key("192.0.2.1", 64), key("192.0.2.2", 64));
    }
}
