//! `/status.json`: what is in force, and how its parts are. No secret, no header value.

use serde_json::{Value, json};

use crate::observe::metrics::{CanaryMetrics, Quantiles};
use crate::policy::canary::Arm;
use crate::policy::route::Route;
use crate::runtime::gateway::Gateway;
use crate::runtime::keys::Keys;
use crate::runtime::meters::Counters;
use crate::runtime::revocation::RevocationStatus;
use crate::runtime::snapshot::Snapshot;

/// The status as JSON text.
pub(super) fn json(gateway: &Gateway) -> Vec<u8> {
    let mut text = value(gateway).to_string().into_bytes();
    text.push(b'\n');
    text
}

/// The status.
pub(super) fn value(gateway: &Gateway) -> Value {
    let snapshot = gateway.snapshot();
    let reload = gateway.last_reload();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "ready": gateway.is_ready(),
        "config": {
            "generation": snapshot.generation,
            "reload_error": reload.error,
            "reloaded_at": reload.unix_s,
        },
        "traffic": traffic(gateway),
        "connections": gateway.connections(),
        "requests_in_flight": gateway.metrics.requests_in_flight.get(),
        "routes": snapshot.policy.routes.iter().map(|route| json!({
            "name": &*route.name,
            "auth": auth(&snapshot, route),
            "upstream": upstream_of(&snapshot, route),
        })).collect::<Vec<Value>>(),
        "issuers": snapshot.keys.iter().map(|keys| issuer(keys)).collect::<Vec<Value>>(),
        "validators": validators(&snapshot),
        "upstreams": upstreams(&snapshot),
        "redis": snapshot.store.as_ref().map(|store| json!({
            "up": store.is_up(),
            "error": store.error().as_deref(),
        })),
        "revocation": snapshot.revocations.as_ref().map(|revocations| revocation(&revocations.status())),
        "telemetry": snapshot.telemetry.as_ref().map(|telemetry| {
            let error = telemetry.error();
            json!({ "up": error.is_none(), "error": error.as_deref() })
        }),
        "limits": snapshot.meters.0.iter().map(|counters| limit(counters)).collect::<Vec<Value>>(),
    })
}

/// What was asked since the process began, what was refused and how long it took.
fn traffic(gateway: &Gateway) -> Value {
    let summary = gateway.metrics.summary();
    let quantiles = |of: Option<Quantiles>| of.map(|of| json!({ "p50": of.p50, "p90": of.p90, "p99": of.p99 }));
    json!({
        "requests": summary.by_status.values().sum::<u64>(),
        "by_status": summary.by_status,
        "refused": summary.refused,
        "duration_seconds": quantiles(summary.duration),
        "overhead_seconds": quantiles(summary.overhead),
    })
}

/// The mode in force and why, and how the modes on trial fare.
fn auth(snapshot: &Snapshot, route: &Route) -> Value {
    let Some(mode) = snapshot.modes.get(route.index) else {
        return Value::Null;
    };
    let shadow = snapshot.shadows.get(route.index).and_then(Option::as_ref);
    let canary = snapshot.canaries.get(route.index).and_then(Option::as_ref);
    let arm = |metrics: &CanaryMetrics, arm: Arm| {
        let (requests, refused) = metrics.requests(arm);
        json!({ "requests": requests, "refused": refused })
    };
    json!({
        "configured": mode.configured,
        "effective": mode.effective,
        "by": mode.by.name(),
        "at": mode.at,
        "shadow": shadow.map(|shadow| {
            let agreement = shadow.metrics.agreement();
            json!({
                "mode": mode.shadow,
                "same": agreement.same,
                "would_deny": agreement.would_deny,
                "would_allow": agreement.would_allow,
                "other_identity": agreement.other_identity,
                "hidden_credentials": shadow.metrics.hidden.get(),
            })
        }),
        "canary": mode.canary.as_ref().map(|said| json!({
            "mode": said,
            "arms": canary.map(|metrics| json!({
                "stable": arm(metrics, Arm::Stable),
                "canary": arm(metrics, Arm::Canary),
            })),
        })),
    })
}

fn issuer(keys: &Keys) -> Value {
    let status = keys.status();
    json!({
        "name": &*status.name,
        "keys": status.keys,
        "age_seconds": status.age.map(|age| age.as_secs()),
        "last_error": status.last_error,
        "next_refresh_seconds": status.next_refresh.map(|left| left.as_secs()),
    })
}

/// Auth services that are asked, by the names of their metrics.
fn validators(snapshot: &Snapshot) -> Vec<Value> {
    let validators = &snapshot.validators;
    let keys = validators.api_keys.iter().map(|validator| validator.status());
    let tokens = validators.tokens.iter().flatten().map(|validator| validator.status());
    keys.chain(tokens)
        .map(|status| {
            json!({
                "name": &*status.name,
                "up": status.up,
                "breaker": if status.breaker_open { "open" } else { "closed" },
                "entries": status.entries,
                "in_flight": status.in_flight,
                "last_error": status.last_error,
            })
        })
        .collect()
}

fn revocation(status: &RevocationStatus) -> Value {
    json!({
        "entries": status.entries,
        "current": status.current,
        "age_seconds": status.age.map(|age| age.as_secs_f64()),
        "on_store_error": if status.serves_meanwhile { "serve" } else { "deny" },
    })
}

/// The upstream's name; a route that answers at once has none.
fn upstream_of(snapshot: &Snapshot, route: &Route) -> Option<String> {
    let upstream = snapshot.upstreams.get(route.action.forward()?.upstream)?;
    Some(upstream.spec.name.to_string())
}

fn limit(counters: &Counters) -> Value {
    let spec = counters.spec();
    json!({
        "name": &*spec.name,
        "rate": spec.rate.to_string(),
        "by": spec.by.to_string(),
        "keys": counters.keys(),
        "max_keys": spec.max_keys,
        "allowed": counters.allowed(),
        "refused": counters.refused(),
    })
}

fn upstreams(snapshot: &Snapshot) -> Vec<Value> {
    let upstreams = snapshot.upstreams.iter();
    upstreams
        .map(|upstream| {
            let known = upstream.endpoints.iter().zip(&upstream.metrics.up);
            let endpoints: Vec<Value> = known
                .map(|(endpoint, up)| json!({ "name": &*endpoint.name, "up": up.get() == 1 }))
                .collect();
            json!({
                "name": &*upstream.spec.name,
                "endpoints": endpoints,
                "in_flight": upstream.metrics.in_flight.get(),
            })
        })
        .collect()
}
