//! What the metrics come to, for people: sums by label and quantiles of histograms. Reads what Prometheus would read.

use std::collections::BTreeMap;

use prometheus::proto::{LabelPair, Metric, MetricFamily, MetricType};

/// The traffic since the process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Summary {
    /// Status → answers.
    pub by_status: BTreeMap<String, u64>,
    /// `error` → requests that were refused with it once they had a route.
    pub refused: BTreeMap<String, u64>,
    /// From the head's arrival to the end of the answer.
    pub duration: Option<Quantiles>,
    /// The gateway's own share of that.
    pub overhead: Option<Quantiles>,
}

/// In seconds; each the upper end of the part of its bucket that is reached.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
}

impl Summary {
    pub(super) fn of(families: &[MetricFamily]) -> Self {
        let named = |name: &str| families.iter().find(|family| family.name() == name);
        let sums = |name, label, only| named(name).map(|family| sums(family, label, only)).unwrap_or_default();
        Self {
            by_status: sums("gateway_requests_total", "status", None),
            refused: sums("gateway_auth_decisions_total", "reason", Some(("decision", "deny"))),
            duration: named("gateway_request_duration_seconds").and_then(quantiles),
            overhead: named("gateway_overhead_seconds").and_then(quantiles),
        }
    }
}

fn label<'m>(metric: &'m Metric, name: &str) -> Option<&'m str> {
    metric
        .get_label()
        .iter()
        .find(|pair| pair.name() == name)
        .map(LabelPair::value)
}

/// Counters added up by the values of a label; those at zero are left out.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counters of whole, small numbers"
)]
fn sums(family: &MetricFamily, by: &str, only: Option<(&str, &str)>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for metric in family.get_metric() {
        let counts = only.is_none_or(|(name, value)| label(metric, name) == Some(value));
        let count = metric.get_counter().get_value() as u64;
        if let Some(value) = label(metric, by).filter(|_| counts && count > 0) {
            *sums.entry(value.to_owned()).or_default() += count;
        }
    }
    sums
}

/// Of all series of a histogram together; `None`: nothing was measured.
fn quantiles(family: &MetricFamily) -> Option<Quantiles> {
    if family.get_field_type() != MetricType::HISTOGRAM {
        return None;
    }
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let mut total = 0;
    for metric in family.get_metric() {
        let histogram = metric.get_histogram();
        total += histogram.get_sample_count();
        for bucket in histogram.get_bucket() {
            match buckets
                .iter_mut()
                .find(|(bound, _)| bound.total_cmp(&bucket.upper_bound()).is_eq())
            {
                Some((_, count)) => *count += bucket.cumulative_count(),
                None => buckets.push((bucket.upper_bound(), bucket.cumulative_count())),
            }
        }
    }
    buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
    let at = |share| quantile(&buckets, total, share);
    Some(Quantiles {
        p50: at(0.5)?,
        p90: at(0.9)?,
        p99: at(0.99)?,
    })
}

/// As Prometheus' `histogram_quantile`: straight lines within a bucket; beyond the last bound, that bound.
#[allow(clippy::cast_precision_loss, reason = "shares of counts")]
fn quantile(buckets: &[(f64, u64)], total: u64, share: f64) -> Option<f64> {
    if total == 0 {
        return None;
    }
    let wanted = total as f64 * share;
    let (mut below, mut start) = (0.0, 0.0);
    for (bound, count) in buckets {
        let count = *count as f64;
        if count >= wanted {
            let within = if count > below {
                (wanted - below) / (count - below)
            } else {
                1.0
            };
            return Some(start + (bound - start) * within);
        }
        (below, start) = (count, *bound);
    }
    Some(start)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let buckets = [(0.1, 50), (0.2, 90), (1.0, 100)];
        let at = |share| quantile(&buckets, 100, share).unwrap();
        assert!((at(0.5) - 0.1).abs() < 1e-9);
        assert!((at(0.9) - 0.2).abs() < 1e-9);
        assert!((at(0.7) - 0.15).abs() < 1e-9);
        assert!((at(0.95) - 0.6).abs() < 1e-9);
        assert_eq!(quantile(&buckets, 0, 0.5), None);
        // Beyond the last bound nobody knows.
        assert!((quantile(&buckets, 1000, 0.99).unwrap() - 1.0).abs() < 1e-9);
    }
}
