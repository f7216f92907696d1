//! Who remembers counts: the seam between judging limits and counting for them. A request's limits are asked together, and
//! counted all or none.

use std::sync::Arc;

use smallvec::SmallVec;

use super::quota::{Left, Wait};
use super::{BucketKey, Limit, LimitId, Measure, Plan};

/// A limit that is asked to let a request pass.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'p> {
    /// The limit.
    pub limit: &'p Arc<Limit>,
    /// The plan of this caller.
    pub plan: &'p Plan,
    /// The bucket that the request counts in.
    pub key: BucketKey,
}

impl Ask<'_> {
    /// Units that are taken now. Tokens are not known yet: that one could be taken is enough.
    #[must_use]
    pub fn cost(&self) -> u32 {
        u32::from(!self.limit.counts_tokens())
    }
}

/// Asks of one request.
pub type Asks<'p> = SmallVec<[Ask<'p>; 2]>;

/// Where a unit was counted, so that it can be given back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charge {
    /// The limit.
    pub limit: LimitId,
    /// The bucket.
    pub key: BucketKey,
    /// When it counts as taken, on the clock that never goes back.
    pub at_ns: u64,
    /// Where it was counted.
    pub place: Place,
}

/// Where a unit can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Here, in the key's own bucket.
    Own,
    /// Here, in the bucket that all further keys share, since the limit was full of live ones.
    Overflow,
    /// In the store that gateways share.
    Store,
    /// Nowhere: the store was away.
    Nowhere,
}

/// A limit's yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// What was counted.
    pub charge: Charge,
    /// What is left.
    pub left: Left,
}

/// Grants in the order of the asks; or, for each ask that was refused, its place and how long until it would be granted.
/// Nothing was counted then.
pub type Answer = Result<SmallVec<[Grant; 2]>, SmallVec<[(usize, Wait); 2]>>;

/// Remembers counts. The one trait of the judgement: requests count, `explain` does not.
pub trait Meter {
    /// Judges all of `asks`, and counts the request in all of them or in none.
    fn admit(&self, asks: &[Ask<'_>], now_ns: u64) -> Answer;

    /// Judges without counting.
    ///
    /// # Errors
    /// How long until a request would be admitted.
    fn peek(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Left, Wait>;

    /// Takes back one unit: of a request that was refused after all, or that has left.
    fn refund(&self, charge: &Charge, measure: &Measure, now_ns: u64);

    /// Counts units that are known only afterwards.
    fn spend(&self, charge: &Charge, measure: &Measure, amount: u32, now_ns: u64);
}

/// Counts nothing: every bucket is as one that was never used, but for those of limits that are said to be exhausted.
#[derive(Debug, Clone, Default)]
pub struct DryMeter {
    /// These refuse.
    pub exhausted: Vec<LimitId>,
}

impl Meter for DryMeter {
    fn admit(&self, asks: &[Ask<'_>], now_ns: u64) -> Answer {
        let mut grants = SmallVec::new();
        let mut refusals = SmallVec::new();
        for (place, ask) in asks.iter().enumerate() {
            match self.judge(ask, ask.cost(), now_ns) {
                Ok(left) => grants.push(Grant {
                    charge: Charge {
                        limit: ask.limit.id,
                        key: ask.key,
                        at_ns: now_ns,
                        place: Place::Own,
                    },
                    left,
                }),
                Err(wait) => refusals.push((place, wait)),
            }
        }
        if refusals.is_empty() { Ok(grants) } else { Err(refusals) }
    }

    fn peek(&self, ask: &Ask<'_>, now_ns: u64) -> Result<Left, Wait> {
        self.judge(ask, 0, now_ns)
    }

    fn refund(&self, _charge: &Charge, _measure: &Measure, _now_ns: u64) {}

    fn spend(&self, _charge: &Charge, _measure: &Measure, _amount: u32, _now_ns: u64) {}
}

impl DryMeter {
    fn judge(&self, ask: &Ask<'_>, cost: u32, now_ns: u64) -> Result<Left, Wait> {
        let measure = &ask.plan.measure;
        if self.exhausted.contains(&ask.limit.id) {
            return Err(measure.longest_wait());
        }
        measure.unused(cost, now_ns)
    }
}
