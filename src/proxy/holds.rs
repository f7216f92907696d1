//! What a request holds of limits while it is under way: a place among those in flight, a unit that its answer's status may give
//! back, an account for tokens that nobody can count before the end. Whatever happens to the request, this is settled once.

use std::sync::Arc;

use crate::policy::limit::{Charge, Limit, Measure, Meter};
use crate::policy::verdict::Allowances;

/// What is held.
#[derive(Default)]
pub(super) struct Holds(Vec<Hold>);

struct Hold {
    limit: Arc<Limit>,
    measure: Measure,
    charge: Charge,
    until: Until,
}

/// When it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// When the status of the answer is known.
    Answered,
    /// When the exchange has ended.
    Ended,
}

impl Holds {
    /// What these allowances leave to be settled; most requests hold nothing.
    #[must_use]
    pub(super) fn of(allowances: &Allowances<'_>) -> Self {
        let held = allowances.iter().filter_map(|allowance| {
            let limit = allowance.limit;
            let measure = allowance.plan.measure;
            let until = if limit.counts_tokens() || matches!(measure, Measure::Concurrent(_)) {
                Until::Ended
            } else if limit.charge_on.is_empty() {
                return None;
            } else {
                Until::Answered
            };
            Some(Hold {
                limit: limit.clone(),
                measure,
                charge: allowance.charge?,
                until,
            })
        });
        Self(held.collect())
    }

    /// Whether nothing is held.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The answer has this status: units of limits that do not count it are given back, and `allowances` say so.
    pub(super) fn answered(&mut self, status: u16, meter: &impl Meter, now_ns: u64, allowances: &mut Allowances<'_>) {
        self.0.retain(|hold| {
            let charges = hold.limit.charges(status);
            if hold.until == Until::Answered && !charges {
                meter.refund(&hold.charge, &hold.measure, now_ns);
                let told = allowances.iter_mut().find(|told| told.limit.id == hold.limit.id);
                if let Some(told) = told {
                    told.left = told.left.with_one_more(&hold.measure);
                }
            }
            hold.until == Until::Ended && charges
        });
    }

    /// The exchange has ended, whether it was answered (with this status) or not, and cost so many tokens.
    pub(super) fn ended(&mut self, status: u16, tokens: u32, meter: &impl Meter, now_ns: u64) {
        for hold in self.0.drain(..) {
            let charges = hold.limit.charges(status);
            match (&hold.measure, hold.until) {
                (Measure::Concurrent(_), _) => meter.refund(&hold.charge, &hold.measure, now_ns),
                (Measure::Gcra(_) | Measure::SlidingWindow(_), Until::Ended) if charges && tokens > 0 => {
                    meter.spend(&hold.charge, &hold.measure, tokens, now_ns);
                }
                // It was never answered.
                (Measure::Gcra(_) | Measure::SlidingWindow(_), Until::Answered) if !charges => {
                    meter.refund(&hold.charge, &hold.measure, now_ns);
                }
                (Measure::Gcra(_) | Measure::SlidingWindow(_), Until::Answered | Until::Ended) => {}
            }
        }
    }
}
