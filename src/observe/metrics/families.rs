//! The table of every metric: name, labels, buckets, help. Depends on `prometheus` only.

use prometheus::core::Collector;
use prometheus::proto::LabelPair;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, Result};

/// Authentication: 1 µs to 1 s.
const AUTHENTICATION: &[f64] = &[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0,
];
/// Our own share of a request: 10 µs to 10 s, the longest wait for a key.
const OVERHEAD: &[f64] = &[
    1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// What waits for somebody else: 100 µs to 10 min.
const WAITING: &[f64] = &[
    1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
    300.0, 600.0,
];

/// From one table: the struct of all families, their registration, and the removal of series whose names are gone.
macro_rules! families {
    ($($field:ident: $kind:ty = $make:ident($name:literal, [$($label:literal),*] $(, $buckets:ident)?), $help:literal;)*) => {
        /// A field for each metric.
        #[derive(Debug)]
        pub(super) struct Families {
            $(pub(super) $field: $kind,)*
        }

        impl Families {
            /// Registers every metric.
            pub(super) fn register(registry: &Registry) -> Result<Self> {
                $(
                    let $field: $kind = $make($name, $help, &[$($label),*] $(, $buckets)?)?;
                    registry.register(Box::new($field.clone()))?;
                )*
                Ok(Self { $($field),* })
            }

            /// Removes every series whose labels `keep` does not want.
            pub(super) fn retain(&self, keep: impl Fn(&[LabelPair]) -> bool) {
                $(
                    for series in self.$field.collect().iter().flat_map(|family| family.get_metric()) {
                        if !keep(series.get_label()) {
                            let labels = series.get_label().iter().map(|pair| (pair.name(), pair.value())).collect();
                            // It exists: it was just listed.
                            let _ = self.$field.remove::<&str, std::hash::RandomState>(&labels);
                        }
                    }
                )*
            }
        }
    };
}

families! {
    requests: IntCounterVec = counter("gateway_requests_total", ["route", "method", "status"]),
        "Requests, by the status of their answer.";
    request_duration: HistogramVec = histogram("gateway_request_duration_seconds", ["route"], WAITING),
        "From the arrival of a request's head to the end of its answer.";
    overhead: HistogramVec = histogram("gateway_overhead_seconds", ["route"], OVERHEAD),
        "The gateway's own share of a request.";
    upstream_duration: HistogramVec = histogram("gateway_upstream_duration_seconds", ["upstream"], WAITING),
        "From the attempt to connect to the head of the response.";
    auth_decisions: IntCounterVec = counter("gateway_auth_decisions_total", ["route", "method", "decision", "reason"]),
        "Requests judged, by the method that decided.";
    shadow_decisions: IntCounterVec = counter("gateway_shadow_decisions_total", ["route", "enforced", "shadow", "difference"]),
        "Requests judged by a shadow too, by what is enforced and what it would have said.";
    shadow_hidden: IntCounterVec = counter("gateway_shadow_hidden_credentials_total", ["route"]),
        "Requests whose failed credential hid one that the shadow would have accepted.";
    canary_requests: IntCounterVec = counter("gateway_canary_requests_total", ["route", "arm", "status"]),
        "Requests of a route with a canary, by the arm that judged.";
    permission_checks: IntCounterVec = counter("gateway_permission_checks_total", ["route", "decision"]),
        "Proven callers judged by what their route requires.";
    limit_decisions: IntCounterVec = counter("gateway_rate_limit_decisions_total", ["limit", "decision"]),
        "Requests judged by a limit.";
    llm_tokens: IntCounterVec = counter("gateway_llm_tokens_total", ["route", "kind"]),
        "Tokens that answers of language models cost, as they say or as estimated.";
    limit_keys: IntGaugeVec = gauge("gateway_rate_limit_keys", ["limit"]),
        "Callers whose counts are remembered.";
    api_key_validations: IntCounterVec = counter("gateway_api_key_validations_total", ["source", "status"]),
        "API keys judged, by who knew them.";
    jwt_validations: IntCounterVec = counter("jwt_validation_total", ["service", "status"]),
        "Tokens judged.";
    jwt_validation_duration: HistogramVec = histogram("jwt_validation_duration_seconds", ["service"], AUTHENTICATION),
        "Time to judge a token.";
    jwks_cache_hits: IntCounterVec = counter("jwks_cache_hits_total", ["service"]),
        "Keys that were at hand.";
    jwks_cache_misses: IntCounterVec = counter("jwks_cache_misses_total", ["service"]),
        "Keys that had to be fetched or are unknown.";
    jwks_refreshes: IntCounterVec = counter("jwks_refresh_total", ["issuer"]),
        "Attempts to fetch an issuer's keys.";
    jwks_refresh_failures: IntCounterVec = counter("jwks_refresh_failures_total", ["issuer"]),
        "Attempts that failed.";
    jwks_keys: IntGaugeVec = gauge("jwks_keys", ["issuer"]),
        "Usable keys of an issuer.";
    jwks_age: IntGaugeVec = gauge("jwks_age_seconds", ["issuer"]),
        "Time since an issuer's keys were last fetched.";
    token_cache: IntCounterVec = counter("gateway_token_cache_total", ["result"]),
        "Tokens looked up among those verified already.";
    upstream_up: IntGaugeVec = gauge("gateway_upstream_up", ["upstream", "endpoint"]),
        "1 until an endpoint is known to be down.";
    upstream_in_flight: IntGaugeVec = gauge("gateway_upstream_in_flight", ["upstream"]),
        "Requests that an upstream is at.";
    dependency_up: IntGaugeVec = gauge("gateway_dependency_up", ["dependency"]),
        "1 until what the gateway asks is known not to answer.";
    dependency_duration: HistogramVec = histogram("gateway_dependency_duration_seconds", ["dependency"], WAITING),
        "Time that what the gateway asks took to answer.";
    store_errors: IntCounterVec = counter("gateway_store_errors_total", ["store"]),
        "Questions that the shared store did not answer.";
    revocations: IntGaugeVec = gauge("gateway_revocations", []),
        "Revocations that are known here.";
    revocations_current: IntGaugeVec = gauge("gateway_revocations_current", []),
        "1 while the revocations of the last second are known here.";
    untrusted_forwarding: IntCounterVec = counter("gateway_untrusted_forwarding_total", ["listener"]),
        "Requests whose forwarding headers came from no trusted proxy and were removed.";
    connections: IntGaugeVec = gauge("gateway_connections", ["listener"]),
        "Open connections of clients.";
    connections_refused: IntCounterVec = counter("gateway_connections_refused_total", ["listener", "reason"]),
        "Connections closed before a request could come.";
    telemetry_spans: IntCounterVec = counter("gateway_telemetry_spans_total", ["result"]),
        "Spans that were made, by what became of them.";
    requests_in_flight: IntGaugeVec = gauge("gateway_requests_in_flight", []),
        "Requests not answered to their end.";
    config_reloads: IntCounterVec = counter("gateway_config_reloads_total", ["result"]),
        "Attempts to take a changed config.";
    config_generation: IntGaugeVec = gauge("gateway_config_generation", []),
        "Counts the configs that were in force.";
    build_info: IntGaugeVec = gauge("gateway_build_info", ["version"]),
        "1, for the version that runs.";
}

fn counter(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

fn histogram(name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Result<HistogramVec> {
    HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)
}
