//! Limits: whose requests are counted together, and the GCRA that counts them.
//!
//! The arithmetic is pure; who remembers the counts is a [`Meter`], so that `explain` can judge without counting.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use super::digest::key_of;
use super::facts::Facts;
use super::identity::Identity;

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
    /// Shown in `RateLimit` headers.
    pub announce: bool,
    /// IPv6 callers are counted by networks of this length.
    pub ipv6_prefix: u8,
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

/// So many requests in so much time, and how many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Requests a window.
    pub count: u32,
    /// The window, in seconds.
    pub window_s: u64,
    /// Requests at once, after a pause.
    pub burst: u32,
}

impl fmt::Display for Quota {
    /// The rate as in the config: `120/min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count;
        match self.window_s {
            1 => write!(f, "{count}/s"),
            60 => write!(f, "{count}/min"),
            3600 => write!(f, "{count}/hour"),
            86_400 => write!(f, "{count}/day"),
            seconds => write!(f, "{count}/{seconds}s"),
        }
    }
}

/// A quota and how it is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What is allowed.
    pub quota: Quota,
    /// Its item of `RateLimit-Policy`, ready to be sent: `"per-user";q=120;w=60`.
    pub policy: HeaderValue,
}

impl Plan {
    /// A quota of the limit `name`, which is printable ASCII without quotes.
    #[must_use]
    pub fn new(name: &str, quota: Quota) -> Self {
        let item = format!("\"{name}\";q={};w={}", quota.count, quota.window_s);
        let policy = HeaderValue::try_from(item).unwrap_or_else(|_| HeaderValue::from_static("unnamed"));
        Self { quota, policy }
    }
}

/// What a bucket is found by: 128 bits that strangers cannot make collide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BucketKey(pub u128);

/// What is left after a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Further requests that would be admitted at once.
    pub remaining: u32,
    /// Until the whole burst is available again, in seconds, rounded up.
    pub reset_s: u64,
}

/// How long until a request would be admitted, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait(pub u64);

impl Wait {
    /// In seconds, rounded up, at least 1: `Retry-After`.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        let seconds = self.0.div_ceil(1_000_000_000);
        if seconds == 0 { 1 } else { seconds }
    }
}

/// Remembers counts. The one trait of the judgement: requests count, `explain` does not.
pub trait Meter {
    /// Judges one request and counts it if it is admitted, in one step.
    ///
    /// # Errors
    /// How long until it would be admitted; nothing was counted then.
    fn charge(&self, limit: LimitId, key: BucketKey, quota: &Quota, now_ns: u64) -> Result<Left, Wait>;

    /// Takes back one charge of a request that was refused after all.
    fn refund(&self, limit: LimitId, key: BucketKey, quota: &Quota);

    /// Judges without counting.
    ///
    /// # Errors
    /// How long until a request would be admitted.
    fn peek(&self, limit: LimitId, key: BucketKey, quota: &Quota, now_ns: u64) -> Result<(), Wait>;
}

/// Counts nothing: every bucket is as one that was never used.
#[derive(Debug, Clone, Copy)]
pub struct DryMeter;

impl Meter for DryMeter {
    fn charge(&self, _limit: LimitId, _key: BucketKey, quota: &Quota, now_ns: u64) -> Result<Left, Wait> {
        quota.admit(0, now_ns).map(|(_, left)| left)
    }

    fn refund(&self, _limit: LimitId, _key: BucketKey, _quota: &Quota) {}

    fn peek(&self, _limit: LimitId, _key: BucketKey, quota: &Quota, now_ns: u64) -> Result<(), Wait> {
        quota.admit(0, now_ns).map(|_| ())
    }
}

impl Quota {
    /// Nanoseconds between two requests at the steady rate; at least 1.
    #[must_use]
    pub fn interval_ns(&self) -> u64 {
        let window = self.window_s.saturating_mul(1_000_000_000);
        window.checked_div(u64::from(self.count)).unwrap_or(window).max(1)
    }

    /// GCRA (ITU-T I.371) in its virtual-scheduling form: `tat` is the theoretical arrival time of the next request of a
    /// steady stream, `0` for a bucket never used. Gives the new `tat`.
    ///
    /// # Errors
    /// How long until the request would be admitted.
    pub fn admit(&self, tat: u64, now_ns: u64) -> Result<(u64, Left), Wait> {
        let interval = self.interval_ns();
        let tolerance = interval.saturating_mul(u64::from(self.burst));
        let next = tat.max(now_ns).saturating_add(interval);
        let ahead = next.saturating_sub(now_ns);
        if ahead > tolerance {
            return Err(Wait(ahead.saturating_sub(tolerance)));
        }
        let remaining = (tolerance - ahead).checked_div(interval).unwrap_or(0);
        let left = Left {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            reset_s: ahead.div_ceil(1_000_000_000),
        };
        Ok((next, left))
    }
}

impl Limit {
    /// Whether it is judged before anybody is authenticated: it counts addresses, and stands before a stranger can buy work.
    #[must_use]
    pub const fn is_by_address(&self) -> bool {
        matches!(self.by, By::Ip)
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

    /// The bucket that this request is counted in; `route` is the route's [`key_of`] its name.
    #[must_use]
    pub fn bucket(&self, facts: &Facts<'_>, route: u128, identity: Option<&Identity>) -> BucketKey {
        let address = || address_key(facts.origin.client, self.ipv6_prefix);
        match (&self.by, identity) {
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
        }
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
    use governor::clock::FakeRelativeClock;
    use governor::{Quota as GovernorQuota, RateLimiter};
    use proptest::prelude::*;
    use std::num::NonZeroU32;
    use std::time::Duration;

    const PER_MINUTE: Quota = Quota {
        count: 5,
        window_s: 60,
        burst: 5,
    };

    #[test]
    fn a_burst_is_admitted_at_once_and_the_next_when_its_interval_has_passed() {
        let second = 1_000_000_000;
        let mut tat = 0;
        for remaining in (0..5).rev() {
            let (next, left) = PER_MINUTE.admit(tat, 100 * second).unwrap();
            assert_eq!(left.remaining, remaining);
            tat = next;
        }
        assert_eq!(PER_MINUTE.admit(tat, 100 * second).unwrap_err(), Wait(12 * second));
        assert_eq!(PER_MINUTE.admit(tat, 100 * second).unwrap_err().seconds(), 12);
        assert!(PER_MINUTE.admit(tat, 112 * second - 1).is_err());
        assert!(PER_MINUTE.admit(tat, 112 * second).is_ok());
    }

    #[test]
    fn a_dry_meter_never_counts() {
        let bucket = BucketKey(1);
        for _ in 0..100 {
            let left = DryMeter.charge(LimitId(0), bucket, &PER_MINUTE, 1_000_000_000).unwrap();
            assert_eq!(left.remaining, 4);
            assert!(DryMeter.peek(LimitId(0), bucket, &PER_MINUTE, 1_000_000_000).is_ok());
        }
    }

    #[test]
    fn retry_after_is_never_less_than_a_second() {
        assert_eq!(Wait(0).seconds(), 1);
        assert_eq!(Wait(1_000_000_001).seconds(), 2);
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

    proptest! {
        #[test]
        fn it_admits_exactly_what_governor_admits(
            count in 1u32..50, burst in 1u32..20, gaps in prop::collection::vec(0u64..2_000, 1..200)
        ) {
            let quota = Quota { count, window_s: 1, burst };
            let clock = FakeRelativeClock::default();
            let reference = RateLimiter::direct_with_clock(
                GovernorQuota::with_period(Duration::from_nanos(quota.interval_ns())).unwrap()
                    .allow_burst(NonZeroU32::new(burst).unwrap()),
                clock.clone(),
            );
            let start = 1_000_000_000_000u64;
            let (mut now, mut tat) = (start, 0);
            for gap in gaps {
                clock.advance(Duration::from_millis(gap));
                now += gap * 1_000_000;
                let ours = quota.admit(tat, now);
                prop_assert_eq!(ours.is_ok(), reference.check().is_ok(), "at {}", now - start);
                if let Ok((next, _)) = ours { tat = next; }
            }
        }
    }
}
