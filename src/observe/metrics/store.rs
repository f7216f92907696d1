//! What gateways share: the store, and the local copy of what is revoked there. Depends on `prometheus` only.

use prometheus::{Histogram, IntCounter, IntGauge};

use super::{Metrics, up};

/// The shared store, as a dependency and as a store.
pub(super) const STORE: &str = "redis";

/// The metrics of the store that gateways share.
#[derive(Debug)]
pub struct StoreMetrics {
    /// As a dependency: 1, or 0 once it is known not to answer.
    pub up: IntGauge,
    /// Time that it took to answer, in seconds.
    pub duration: Histogram,
    /// Questions that it did not answer, asked or not.
    pub errors: IntCounter,
}

/// The metrics of the local copy of revocations; to be set before each [`Metrics::text`].
#[derive(Debug)]
pub struct RevocationMetrics {
    /// Revocations that are known.
    pub entries: IntGauge,
    /// 1 while all of the last second's are.
    pub current: IntGauge,
}

impl Metrics {
    /// The shared store's handles. It begins as up.
    #[must_use]
    pub fn store(&self) -> StoreMetrics {
        let families = &self.families;
        StoreMetrics {
            up: up(&families.dependency_up, &[STORE]),
            duration: families.dependency_duration.with_label_values(&[STORE]),
            errors: families.store_errors.with_label_values(&[STORE]),
        }
    }

    /// The handles of the local copy of revocations.
    #[must_use]
    pub fn revocations(&self) -> RevocationMetrics {
        RevocationMetrics {
            entries: self.families.revocations.with_label_values::<&str>(&[]),
            current: self.families.revocations_current.with_label_values::<&str>(&[]),
        }
    }
}
