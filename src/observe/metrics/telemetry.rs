//! What became of spans. Depends on `prometheus` only.

use prometheus::IntCounter;

use super::families::Families;

/// The metrics of spans.
#[derive(Debug, Clone)]
pub struct TelemetryMetrics {
    /// The collector has them.
    pub exported: IntCounter,
    /// The collector refused them, or could not be asked for too long.
    pub failed: IntCounter,
    /// There was no room for them to wait.
    pub dropped: IntCounter,
}

impl TelemetryMetrics {
    pub(super) fn new(families: &Families) -> Self {
        let of = |result| families.telemetry_spans.with_label_values(&[result]);
        Self {
            exported: of("exported"),
            failed: of("failed"),
            dropped: of("dropped"),
        }
    }
}
