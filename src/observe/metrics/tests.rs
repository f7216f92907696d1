//! What a scrape shows.

use http::StatusCode;

use super::*;
use crate::policy::identity::AuthMethod;

fn metrics() -> Metrics {
    Metrics::new("1.2.3").unwrap()
}

fn text(metrics: &Metrics) -> String {
    String::from_utf8(metrics.text()).unwrap()
}

/// The value of a series, written as in the text, labels by name.
fn value(metrics: &Metrics, series: &str) -> Option<f64> {
    let text = text(metrics);
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().unwrap())
}

#[test]
fn every_metric_is_there_from_the_start() {
    let metrics = metrics();
    let _route = metrics.route("chat", &[]);
    let _upstream = metrics.upstream("agents", &["http://agents:8001".to_owned()]);
    let _limit = metrics.limit("per-user");
    let _issuer = metrics.issuer("main");
    let _listener = metrics.listener("public");
    let text = text(&metrics);
    for series in [
        "gateway_requests_total{method=\"GET\",route=\"chat\",status=\"200\"} 0",
        "gateway_requests_total{method=\"POST\",route=\"chat\",status=\"401\"} 0",
        "gateway_requests_total{method=\"GET\",route=\"-\",status=\"404\"} 0",
        "gateway_request_duration_seconds_count{route=\"chat\"} 0",
        "gateway_request_duration_seconds_bucket{route=\"chat\",le=\"0.0001\"} 0",
        "gateway_request_duration_seconds_bucket{route=\"chat\",le=\"600\"} 0",
        "gateway_overhead_seconds_bucket{route=\"chat\",le=\"0.00001\"} 0",
        "gateway_upstream_duration_seconds_count{upstream=\"agents\"} 0",
        "gateway_auth_decisions_total{decision=\"allow\",method=\"jwt\",reason=\"ok\",route=\"chat\"} 0",
        "gateway_auth_decisions_total{decision=\"deny\",method=\"jwt\",reason=\"token_expired\",route=\"chat\"} 0",
        "gateway_auth_decisions_total{decision=\"deny\",method=\"api_key\",reason=\"invalid_api_key\",route=\"chat\"} 0",
        "gateway_auth_decisions_total{decision=\"deny\",method=\"internal\",reason=\"invalid_internal_auth\",route=\"chat\"} 0",
        "gateway_auth_decisions_total{decision=\"deny\",method=\"none\",reason=\"unauthorized\",route=\"chat\"} 0",
        "gateway_auth_decisions_total{decision=\"deny\",method=\"none\",reason=\"no_route\",route=\"-\"} 0",
        "gateway_permission_checks_total{decision=\"deny\",route=\"chat\"} 0",
        "gateway_rate_limit_decisions_total{decision=\"deny\",limit=\"per-user\"} 0",
        "gateway_rate_limit_keys{limit=\"per-user\"} 0",
        "gateway_api_key_validations_total{source=\"config\",status=\"success\"} 0",
        "gateway_api_key_validations_total{source=\"remote\",status=\"auth_unavailable\"} 0",
        "jwt_validation_total{service=\"gateway\",status=\"success\"} 0",
        "jwt_validation_total{service=\"gateway\",status=\"token_expired\"} 0",
        "jwt_validation_duration_seconds_bucket{service=\"gateway\",le=\"0.000001\"} 0",
        "jwt_validation_duration_seconds_bucket{service=\"gateway\",le=\"1\"} 0",
        "jwks_cache_hits_total{service=\"gateway\"} 0",
        "jwks_cache_misses_total{service=\"gateway\"} 0",
        "jwks_refresh_total{issuer=\"main\"} 0",
        "jwks_refresh_failures_total{issuer=\"main\"} 0",
        "jwks_keys{issuer=\"main\"} 0",
        "jwks_age_seconds{issuer=\"main\"} 0",
        "gateway_token_cache_total{result=\"hit\"} 0",
        "gateway_token_cache_total{result=\"miss\"} 0",
        "gateway_upstream_up{endpoint=\"http://agents:8001\",upstream=\"agents\"} 1",
        "gateway_upstream_in_flight{upstream=\"agents\"} 0",
        "gateway_dependency_up{dependency=\"main\"} 1",
        "gateway_dependency_duration_seconds_count{dependency=\"main\"} 0",
        "gateway_untrusted_forwarding_total{listener=\"public\"} 0",
        "gateway_config_reloads_total{result=\"failure\"} 0",
        "gateway_config_reloads_total{result=\"success\"} 0",
        "gateway_config_generation 0",
        "gateway_connections{listener=\"public\"} 0",
        "gateway_connections_refused_total{listener=\"public\",reason=\"max_connections\"} 0",
        "gateway_connections_refused_total{listener=\"public\",reason=\"tls_handshake\"} 0",
        "gateway_telemetry_spans_total{result=\"exported\"} 0",
        "gateway_telemetry_spans_total{result=\"failed\"} 0",
        "gateway_telemetry_spans_total{result=\"dropped\"} 0",
        "gateway_requests_in_flight 0",
        "gateway_build_info{version=\"1.2.3\"} 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series}\n{text}");
    }
}

#[test]
fn a_request_is_counted_by_its_route_method_and_status() {
    let metrics = metrics();
    let (chat, tasks) = (metrics.route("chat", &[]), metrics.route("tasks", &[]));
    chat.count_request(&Method::POST, StatusCode::CREATED);
    chat.count_request(&Method::POST, StatusCode::CREATED);
    tasks.count_request(&Method::GET, StatusCode::OK);
    let of = |series| value(&metrics, series);
    assert_eq!(
        of("gateway_requests_total{method=\"POST\",route=\"chat\",status=\"201\"}"),
        Some(2.0)
    );
    assert_eq!(
        of("gateway_requests_total{method=\"GET\",route=\"tasks\",status=\"200\"}"),
        Some(1.0)
    );
    assert_eq!(
        of("gateway_requests_total{method=\"GET\",route=\"chat\",status=\"200\"}"),
        Some(0.0)
    );
}

#[test]
fn statuses_that_nobody_registered_are_counted_too() {
    let metrics = metrics();
    let route = metrics.route("chat", &[]);
    for status in [299, 299, 799] {
        route.count_request(&Method::GET, StatusCode::from_u16(status).unwrap());
    }
    let of = |series| value(&metrics, series);
    assert_eq!(
        of("gateway_requests_total{method=\"GET\",route=\"chat\",status=\"299\"}"),
        Some(2.0)
    );
    assert_eq!(
        of("gateway_requests_total{method=\"GET\",route=\"chat\",status=\"799\"}"),
        Some(1.0)
    );
}

#[test]
fn methods_have_their_own_names_and_a_strangers_method_is_no_label() {
    let metrics = metrics();
    let route = metrics.route("chat", &[]);
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT",
    ] {
        route.count_request(&method.parse().unwrap(), StatusCode::ACCEPTED);
        let series = format!("gateway_requests_total{{method=\"{method}\",route=\"chat\",status=\"202\"}}");
        assert_eq!(value(&metrics, &series), Some(1.0), "{method}");
    }
    for method in ["PROPFIND", "STRANGER", "get"] {
        route.count_request(&method.parse().unwrap(), StatusCode::ACCEPTED);
    }
    let other = value(
        &metrics,
        "gateway_requests_total{method=\"other\",route=\"chat\",status=\"202\"}",
    );
    assert_eq!(other, Some(3.0));
    assert!(!text(&metrics).contains("STRANGER"));
}

#[test]
fn a_decision_is_counted_by_its_method_and_reason() {
    let metrics = metrics();
    let route = metrics.route("chat", &[]);
    for method in AuthMethod::ALL {
        for denied in Code::ALL.map(Some).into_iter().chain([None]) {
            route.count_decision(method, denied);
        }
        let of = |decision: &str, reason: &str| {
            let method = method.name();
            let labels = format!("decision=\"{decision}\",method=\"{method}\",reason=\"{reason}\",route=\"chat\"");
            value(&metrics, &format!("gateway_auth_decisions_total{{{labels}}}"))
        };
        assert_eq!(of("allow", "ok"), Some(1.0));
        for code in Code::ALL {
            let sharers = Code::ALL.iter().filter(|other| other.name() == code.name()).count();
            assert_eq!(of("deny", code.name()), Some(sharers as f64), "{method:?} {code:?}");
        }
    }
}

#[test]
fn validations_and_permissions_are_counted_by_what_they_came_to() {
    let metrics = metrics();
    metrics.jwt_validations.count(None);
    metrics.jwt_validations.count(Some(Code::TokenExpired));
    metrics.api_key_validations.config.count(Some(Code::InvalidApiKey));
    metrics.route("chat", &[]).count_permission(false);
    for series in [
        "jwt_validation_total{service=\"gateway\",status=\"success\"}",
        "jwt_validation_total{service=\"gateway\",status=\"token_expired\"}",
        "gateway_api_key_validations_total{source=\"config\",status=\"invalid_api_key\"}",
        "gateway_permission_checks_total{decision=\"deny\",route=\"chat\"}",
    ] {
        assert_eq!(value(&metrics, series), Some(1.0), "{series}");
    }
    assert_eq!(
        value(
            &metrics,
            "gateway_permission_checks_total{decision=\"allow\",route=\"chat\"}"
        ),
        Some(0.0)
    );
}

#[test]
fn the_same_name_after_a_reload_counts_on() {
    let metrics = metrics();
    let endpoints = ["http://a:1".to_owned(), "http://b:1".to_owned()];
    metrics.route("chat", &[]).count_request(&Method::GET, StatusCode::OK);
    let before = metrics.upstream("agents", &endpoints[..1]);
    before.up[0].set(0);
    metrics.route("chat", &[]).count_request(&Method::GET, StatusCode::OK);
    let after = metrics.upstream("agents", &endpoints);
    assert_eq!(
        value(
            &metrics,
            "gateway_requests_total{method=\"GET\",route=\"chat\",status=\"200\"}"
        ),
        Some(2.0)
    );
    assert_eq!(
        (after.up[0].get(), after.up[1].get()),
        (0, 1),
        "known to be down, and new"
    );
}

#[test]
fn what_a_reload_removed_is_no_longer_shown() {
    let metrics = metrics();
    let endpoints = ["http://a:1".to_owned(), "http://b:1".to_owned()];
    for name in ["kept", "gone"] {
        metrics.route(name, &[]).count_request(&Method::GET, StatusCode::OK);
        let _ = (metrics.upstream(name, &endpoints), metrics.limit(name));
        let _ = (metrics.issuer(name), metrics.listener(name), metrics.dependency(name));
    }
    let _ = metrics.store();
    metrics.retain(&Configured {
        routes: vec!["kept"],
        upstreams: vec![("kept", &endpoints[..1])],
        limits: vec!["kept"],
        issuers: vec!["kept"],
        dependencies: Vec::new(),
        listeners: vec!["kept"],
        store: false,
    });
    let text = text(&metrics);
    assert!(
        !text.contains("\"gone\"") && !text.contains("\"redis\"") && !text.contains("http://b:1"),
        "{text}"
    );
    for series in [
        "gateway_requests_total{method=\"GET\",route=\"kept\",status=\"200\"} 1",
        "gateway_requests_total{method=\"GET\",route=\"-\",status=\"404\"} 0",
        "gateway_upstream_up{endpoint=\"http://a:1\",upstream=\"kept\"} 1",
        "gateway_dependency_up{dependency=\"kept\"} 1",
        "jwt_validation_total{service=\"gateway\",status=\"success\"} 0",
        "gateway_requests_in_flight 0",
        "gateway_build_info{version=\"1.2.3\"} 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series}\n{text}");
    }
}

#[test]
fn gateways_in_one_process_count_for_themselves() {
    let (one, other) = (metrics(), metrics());
    one.config_generation.set(7);
    assert_eq!(value(&other, "gateway_config_generation"), Some(0.0));
}
