//! Metrics in Prometheus' text format. `families` is the table of all of them; here are the handles that requests count with,
//! found once for each config and never by label on a request. Depends on `policy` for the names of codes and methods.
//!
//! INVARIANT: label values are names of the config and members of closed sets, never taken from a request.

use http::Method;
use prometheus::core::Collector;
use prometheus::proto::LabelPair;
use prometheus::{Encoder, Histogram, IntCounter, IntGauge, IntGaugeVec, Registry, TextEncoder};

use self::families::Families;
pub use self::listener::{ListenerMetrics, Refused};
pub use self::outcomes::Outcomes;
pub use self::route::RouteMetrics;
use self::store::STORE;
pub use self::store::{RevocationMetrics, StoreMetrics};
pub use self::summary::{Quantiles, Summary};
pub use self::telemetry::TelemetryMetrics;
pub use self::trial::{Agreement, CanaryMetrics, ShadowMetrics};
use super::Decision;
use crate::policy::denial::Code;
use crate::policy::identity::AuthMethod;
use crate::policy::judge::KnownBy;

mod families;
mod listener;
mod outcomes;
mod route;
mod store;
mod summary;
mod telemetry;
mod trial;

/// The `route` of requests that have none.
pub const NO_ROUTE: &str = "-";
/// The `service` label.
const SERVICE: &str = "gateway";
/// The `status` of a validation that held.
const SUCCESS: &str = "success";

/// All metrics of one gateway.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    families: Families,
    /// Requests without a route.
    pub no_route: RouteMetrics,
    /// Requests not answered to their end.
    pub requests_in_flight: IntGauge,
    /// Tokens judged.
    pub jwt_validations: Outcomes,
    /// Time to judge one, in seconds.
    pub jwt_validation_duration: Histogram,
    /// Keys that were at hand.
    pub jwks_cache_hits: IntCounter,
    /// Keys that were not.
    pub jwks_cache_misses: IntCounter,
    /// Tokens that were verified already.
    pub token_cache_hits: IntCounter,
    /// Tokens that were not.
    pub token_cache_misses: IntCounter,
    /// API keys judged.
    pub api_key_validations: ApiKeyValidations,
    /// Changed configs that came into force.
    pub reloads_succeeded: IntCounter,
    /// Changed configs that were refused.
    pub reloads_failed: IntCounter,
    /// Counts the configs that were in force.
    pub config_generation: IntGauge,
    /// What became of spans.
    pub telemetry: TelemetryMetrics,
}

/// API keys judged, by who knew them.
#[derive(Debug)]
pub struct ApiKeyValidations {
    /// The list in the config.
    pub config: Outcomes,
    /// This process's cache.
    pub cache: Outcomes,
    /// The cache that gateways share.
    pub shared: Outcomes,
    /// The auth service.
    pub remote: Outcomes,
    /// The cache, since the auth service could not be reached.
    pub stale: Outcomes,
}

/// The metrics of one upstream.
#[derive(Debug)]
pub struct UpstreamMetrics {
    /// From the attempt to connect to the head of the response, in seconds.
    pub duration: Histogram,
    /// Requests that it is at.
    pub in_flight: IntGauge,
    /// By endpoint, in the order given: 1, or 0 once it is known to be down.
    pub up: Vec<IntGauge>,
}

/// The metrics of one limit.
#[derive(Debug)]
pub struct LimitMetrics {
    /// Requests that it let pass.
    pub allowed: IntCounter,
    /// Requests that it refused.
    pub denied: IntCounter,
    /// Callers whose counts are remembered.
    pub keys: IntGauge,
}

/// The metrics of one issuer.
#[derive(Debug)]
pub struct IssuerMetrics {
    /// Attempts to fetch its keys.
    pub refreshes: IntCounter,
    /// Those that failed.
    pub refresh_failures: IntCounter,
    /// Its usable keys.
    pub keys: IntGauge,
    /// Seconds since they were last fetched; to be set before each [`Metrics::text`].
    pub age_seconds: IntGauge,
    /// As a dependency: 1, or 0 once it is known not to answer.
    pub up: IntGauge,
    /// Time that it took to answer, in seconds.
    pub duration: Histogram,
}

/// The metrics of somebody who is asked.
#[derive(Debug)]
pub struct DependencyMetrics {
    /// 1, or 0 once it is known not to answer.
    pub up: IntGauge,
    /// Time that it took to answer, in seconds.
    pub duration: Histogram,
}

/// The names that a config has.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct Configured<'a> {
    pub routes: Vec<&'a str>,
    /// Each with its endpoints.
    pub upstreams: Vec<(&'a str, &'a [String])>,
    pub limits: Vec<&'a str>,
    pub issuers: Vec<&'a str>,
    /// Who is asked besides the issuers.
    pub dependencies: Vec<&'a str>,
    pub listeners: Vec<&'a str>,
    /// Whether there is a shared one.
    pub store: bool,
}

impl Metrics {
    /// Everything that needs no name of the config, at zero.
    ///
    /// # Errors
    /// Two metrics of the table have one name, or one has a name that Prometheus does not take.
    pub fn new(version: &str) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let families = Families::register(&registry)?;
        families.build_info.with_label_values(&[version]).set(1);
        let token_cache = |result| families.token_cache.with_label_values(&[result]);
        let reloads = |result| families.config_reloads.with_label_values(&[result]);
        Ok(Self {
            no_route: RouteMetrics::new(&families, NO_ROUTE, &[]),
            requests_in_flight: families.requests_in_flight.with_label_values::<&str>(&[]),
            jwt_validations: Outcomes::new(
                &families.jwt_validations,
                &[SERVICE, SUCCESS],
                &[SERVICE],
                [
                    Code::InvalidToken,
                    Code::TokenExpired,
                    Code::TokenRevoked,
                    Code::AuthUnavailable,
                ]
                .into_iter(),
            ),
            jwt_validation_duration: families.jwt_validation_duration.with_label_values(&[SERVICE]),
            jwks_cache_hits: families.jwks_cache_hits.with_label_values(&[SERVICE]),
            jwks_cache_misses: families.jwks_cache_misses.with_label_values(&[SERVICE]),
            token_cache_hits: token_cache("hit"),
            token_cache_misses: token_cache("miss"),
            api_key_validations: ApiKeyValidations::new(&families),
            reloads_succeeded: reloads("success"),
            reloads_failed: reloads("failure"),
            config_generation: families.config_generation.with_label_values::<&str>(&[]),
            telemetry: TelemetryMetrics::new(&families),
            registry,
            families,
        })
    }

    /// Everything in Prometheus' text format 0.0.4 ([`prometheus::TEXT_FORMAT`]).
    #[must_use]
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics are incomplete");
        }
        text
    }

    /// What they come to, for people.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::of(&self.registry.gather())
    }

    /// A route's handles; `methods` empty: any. [`RouteMetrics`] says what is there from the start.
    #[must_use]
    pub fn route(&self, name: &str, methods: &[Method]) -> RouteMetrics {
        RouteMetrics::new(&self.families, name, methods)
    }

    /// The handles of a route that reads tokens from answers.
    #[must_use]
    pub fn llm_route(&self, name: &str, methods: &[Method]) -> RouteMetrics {
        self.route(name, methods).with_tokens(&self.families)
    }

    /// The handles of a route's shadow, whose chain judges beside the enforced one.
    #[must_use]
    pub fn shadow(&self, route: &str, enforced: &[AuthMethod], shadow: &[AuthMethod]) -> ShadowMetrics {
        ShadowMetrics::new(&self.families, route, enforced, shadow)
    }

    /// The handles of a route's canary.
    #[must_use]
    pub fn canary(&self, route: &str) -> CanaryMetrics {
        CanaryMetrics::new(&self.families, route)
    }

    /// An upstream's handles. New endpoints begin as up, others stay what they are.
    #[must_use]
    pub fn upstream(&self, name: &str, endpoints: &[String]) -> UpstreamMetrics {
        let families = &self.families;
        let up = |endpoint: &String| up(&families.upstream_up, &[name, endpoint]);
        UpstreamMetrics {
            duration: families.upstream_duration.with_label_values(&[name]),
            in_flight: families.upstream_in_flight.with_label_values(&[name]),
            up: endpoints.iter().map(up).collect(),
        }
    }

    /// A limit's handles.
    #[must_use]
    pub fn limit(&self, name: &str) -> LimitMetrics {
        let decisions = |decision: Decision| {
            self.families
                .limit_decisions
                .with_label_values(&[name, decision.name()])
        };
        LimitMetrics {
            allowed: decisions(Decision::Allow),
            denied: decisions(Decision::Deny),
            keys: self.families.limit_keys.with_label_values(&[name]),
        }
    }

    /// An issuer's handles. As a dependency it bears its own name, and begins as up.
    #[must_use]
    pub fn issuer(&self, name: &str) -> IssuerMetrics {
        let families = &self.families;
        IssuerMetrics {
            refreshes: families.jwks_refreshes.with_label_values(&[name]),
            refresh_failures: families.jwks_refresh_failures.with_label_values(&[name]),
            keys: families.jwks_keys.with_label_values(&[name]),
            age_seconds: families.jwks_age.with_label_values(&[name]),
            up: up(&families.dependency_up, &[name]),
            duration: families.dependency_duration.with_label_values(&[name]),
        }
    }

    /// The handles of somebody who is asked, and begins as up.
    #[must_use]
    pub fn dependency(&self, name: &str) -> DependencyMetrics {
        DependencyMetrics {
            up: up(&self.families.dependency_up, &[name]),
            duration: self.families.dependency_duration.with_label_values(&[name]),
        }
    }

    /// A listener's handles.
    #[must_use]
    pub fn listener(&self, name: &str) -> ListenerMetrics {
        ListenerMetrics::new(&self.families, name)
    }

    /// Removes the series of names that the config in force does not have. To be called after a reload; requests that still
    /// run on the config before count on, unseen.
    pub fn retain(&self, configured: &Configured<'_>) {
        self.families.retain(|labels| configured.has(labels));
    }
}

impl ApiKeyValidations {
    fn new(families: &Families) -> Self {
        let known_to = |source, more: &[Code]| {
            Outcomes::new(
                &families.api_key_validations,
                &[source, SUCCESS],
                &[source],
                [Code::InvalidApiKey].into_iter().chain(more.iter().copied()),
            )
        };
        Self {
            config: known_to("config", &[]),
            cache: known_to("cache", &[]),
            shared: known_to("shared", &[]),
            remote: known_to("remote", &[Code::AuthUnavailable]),
            stale: known_to("stale", &[]),
        }
    }

    /// Those of one who knew.
    #[must_use]
    pub const fn of(&self, by: KnownBy) -> &Outcomes {
        match by {
            KnownBy::Config => &self.config,
            KnownBy::Cache => &self.cache,
            KnownBy::Shared => &self.shared,
            KnownBy::Remote => &self.remote,
            KnownBy::Stale => &self.stale,
        }
    }
}

impl Configured<'_> {
    fn has(&self, labels: &[LabelPair]) -> bool {
        let value_of = |name: &str| labels.iter().find(|pair| pair.name() == name).map(LabelPair::value);
        let listed = |name: &str, known: &[&str]| value_of(name).is_none_or(|value| known.contains(&value));
        let upstream = value_of("upstream").is_none_or(|name| {
            let endpoints = self.upstreams.iter().find(|(known, _)| *known == name);
            endpoints.is_some_and(|(_, known)| {
                value_of("endpoint").is_none_or(|endpoint| known.iter().any(|one| one == endpoint))
            })
        });
        upstream
            && (listed("route", &self.routes) || value_of("route") == Some(NO_ROUTE))
            && listed("limit", &self.limits)
            && listed("issuer", &self.issuers)
            && (listed("dependency", &self.issuers)
                || listed("dependency", &self.dependencies)
                || (self.store && value_of("dependency") == Some(STORE)))
            && (self.store || value_of("store").is_none())
            && listed("listener", &self.listeners)
    }
}

/// A gauge that is 1 until it is set.
fn up(family: &IntGaugeVec, labels: &[&str]) -> IntGauge {
    let known = family
        .collect()
        .iter()
        .flat_map(|family| family.get_metric())
        .any(|series| {
            let values = series.get_label().iter().map(LabelPair::value);
            labels.iter().all(|label| values.clone().any(|value| value == *label))
        });
    let gauge = family.with_label_values(labels);
    if !known {
        gauge.set(1);
    }
    gauge
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
