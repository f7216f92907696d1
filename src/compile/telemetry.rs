//! `[telemetry]` → where spans go, and which.

use http::HeaderName;

use super::header_name;
use crate::config::Problems;
use crate::config::model::Config;
use crate::config::secret::Secret;
use crate::policy::trace::Sampling;

/// The path of spans below a collector's base URL (OTLP/HTTP).
const TRACES: &str = "/v1/traces";

/// Spans' way out. Equal specs keep what waits across a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct TelemetrySpec {
    /// Where they are posted.
    pub url: String,
    /// Which of the traces that begin here are sampled.
    pub sampling: Sampling,
    /// Sent along: a collector's credential, say.
    pub headers: Vec<(HeaderName, Secret)>,
}

/// `None`: no collector is named, and no span is made.
pub(super) fn telemetry(config: &Config, problems: &mut Problems) -> Option<TelemetrySpec> {
    let telemetry = config.telemetry.as_ref()?;
    let base = telemetry.otlp.as_ref()?;
    if base.contains('?') {
        problems.at(
            "telemetry.otlp",
            "has a query; give the collector's base URL, such as \"http://otel-collector:4318\"",
        );
    }
    let base = base.trim_end_matches('/');
    let headers = telemetry.headers.iter();
    Some(TelemetrySpec {
        // Both forms are in use: OTEL_EXPORTER_OTLP_ENDPOINT is the base, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT the whole.
        url: format!("{}{TRACES}", base.strip_suffix(TRACES).unwrap_or(base)),
        sampling: Sampling::ratio(telemetry.sample),
        headers: headers
            .filter_map(|(name, value)| Some((header_name(name)?, value.clone())))
            .collect(),
    })
}
