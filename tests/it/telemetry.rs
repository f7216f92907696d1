//! `[telemetry]`: the trace goes on through the gateway, and what happened to a request is told to a collector, which nobody waits for.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::harness::http2::{self, Http2};
use crate::harness::{
    Collector, Gate, Gateway, Issuer, Received, Request, Setup, Upstream, eventually, refused, sha256, status,
};

const ROUTES: &str = r#"
[[routes]]
name = "open"
paths = ["/open/*"]
upstream = "echo"
auth = "none"
[[routes]]
name = "chat"
paths = ["/chat/*"]
upstream = "echo"
auth = "api_key"
access_log = false
[[routes]]
name = "down"
paths = ["/down"]
upstream = "down"
auth = "none"
[[routes]]
name = "elsewhere"
paths = ["/elsewhere"]
upstream = "echo"
auth = "none"
remove_headers = ["Traceparent", "Tracestate"]
[[routes]]
name = "limited"
paths = ["/limited"]
upstream = "echo"
auth = "none"
limits = ["scarce"]
[limits.scarce]
rate = "1/hour"
by = "route"
[api_keys]
[[api_keys.keys]]
id = "ci"
hash = "HASH"
user = "svc_ci"
tenant = "acme"
"#;

const TOKENS: &str = r#"
[[routes]]
name = "tokens"
paths = ["/tokens/*"]
upstream = "echo"
auth = ["jwt", "api_key"]
"#;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const ALL: &str = "sample = 1.0";
const EXPORTED: &str = "gateway_telemetry_spans_total{result=\"exported\"}";
const FAILED: &str = "gateway_telemetry_spans_total{result=\"failed\"}";
const DROPPED: &str = "gateway_telemetry_spans_total{result=\"dropped\"}";

async fn house(echo: &Upstream) -> Setup {
    let nobody = Upstream::nobody().await;
    Gateway::with(&ROUTES.replace("HASH", &sha256("tattle-key")))
        .upstream("echo", echo)
        .upstream_with("down", nobody, "retries = 0")
}

/// A gateway that tells this collector everything.
async fn traced(echo: &Upstream, collector: &Collector) -> Gateway {
    house(echo).await.and(&collector.config(ALL)).start().await
}

/// The parts of the one `traceparent`.
#[track_caller]
fn traceparent(received: &Received) -> [String; 4] {
    let value = received.header("traceparent").expect("a traceparent");
    let parts: Vec<String> = value.split('-').map(str::to_owned).collect();
    parts.try_into().expect("four parts")
}

mod context {
    use super::*;

    #[tokio::test]
    async fn a_trace_goes_on_with_the_gateways_span_between_client_and_upstream() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        let request = Request::get("/open/a")
            .header("Traceparent", TRACEPARENT)
            .header("tracestate", "rojo=1")
            .header("tracestate", "congo=2");
        let response = gateway.send(&request).await;
        let span = collector.span_of(&response).await;
        assert_eq!((span.trace_id(), span.parent()), (TRACE.to_owned(), PARENT.to_owned()));
        let [version, trace, parent, flags] = traceparent(&echo.last());
        assert_eq!([version, trace, flags], ["00", TRACE, "01"]);
        assert_eq!(parent, span.id(), "the upstream's spans hang below the gateway's");
        assert_ne!(parent, PARENT);
        assert_eq!(echo.last().all("tracestate"), ["rojo=1", "congo=2"]);
        let line = gateway.access_line_of(&response).await;
        assert_eq!(line["trace_id"], TRACE);
    }

    #[tokio::test]
    async fn without_a_trace_one_begins() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        let response = gateway.get("/open/a").await;
        let span = collector.span_of(&response).await;
        let [_, trace, parent, flags] = traceparent(&echo.last());
        assert_eq!((span.trace_id(), span.id()), (trace.clone(), parent));
        assert!(span.span.parent_span_id.is_empty());
        assert_eq!(flags, "03", "sampled, and random");
        assert_eq!(gateway.access_line_of(&response).await["trace_id"], trace.as_str());
        let next = collector.span_of(&gateway.get("/open/a").await).await;
        assert_ne!(next.trace_id(), trace);
    }

    #[tokio::test]
    async fn what_is_no_trace_to_the_letter_is_none_and_takes_its_state_along() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        for wrong in [
            &["00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01"][..],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x"],
            &["<script>"],
            &[TRACEPARENT, TRACEPARENT],
        ] {
            let mut request = Request::get("/open/a").header("tracestate", "rojo=1");
            for value in wrong {
                request = request.header("traceparent", value);
            }
            let response = gateway.send(&request).await;
            let span = collector.span_of(&response).await;
            assert!(span.span.parent_span_id.is_empty(), "{wrong:?}");
            assert_ne!(span.trace_id(), TRACE, "{wrong:?}");
            let [version, trace, ..] = traceparent(&echo.last());
            assert_eq!([version, trace], ["00".to_owned(), span.trace_id()], "{wrong:?}");
            assert!(echo.last().lacks("tracestate"), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn the_caller_decides_what_is_sampled_and_only_then_the_ratio() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let all = traced(&echo, &collector).await;
        let unsampled = all
            .send(&Request::get("/open/a").header("traceparent", UNSAMPLED))
            .await;
        let [_, trace, parent, flags] = traceparent(&echo.last());
        assert_eq!([&trace, &flags], [TRACE, "00"], "it goes on, unsampled");
        assert_ne!(parent, PARENT);
        assert_eq!(all.access_line_of(&unsampled).await["trace_id"], TRACE);
        let none = house(&echo).await.and(&collector.config("sample = 0.0")).start().await;
        none.get("/open/a").await;
        assert_eq!(traceparent(&echo.last())[3], "02");
        let sampled = none
            .send(&Request::get("/open/a").header("traceparent", TRACEPARENT))
            .await;
        assert_eq!(traceparent(&echo.last())[3], "01");
        collector.span_of(&sampled).await;
        let last = all.get("/open/a").await;
        collector.span_of(&last).await;
        let spans = collector.spans();
        assert_eq!(spans.len(), 2, "nothing of what was not sampled: {spans:?}");
    }

    #[tokio::test]
    async fn without_telemetry_a_trace_passes_as_it_came_and_the_log_names_it() {
        let echo = Upstream::echo().await;
        let gateway = house(&echo).await.and("[telemetry]\nsample = 1.0\n").start().await;
        let request = Request::get("/open/a")
            .header("TraceParent", TRACEPARENT)
            .header("tracestate", "rojo=1");
        let response = gateway.send(&request).await;
        let received = echo.last();
        assert!(received.has(format!("TraceParent: {TRACEPARENT}\r\n")));
        assert_eq!(received.header("tracestate").as_deref(), Some("rojo=1"));
        assert_eq!(gateway.access_line_of(&response).await["trace_id"], TRACE);

        let junk = gateway
            .send(&Request::get("/open/a").header("traceparent", "junk"))
            .await;
        assert_eq!(echo.last().header("traceparent").as_deref(), Some("junk"));
        assert_eq!(gateway.access_line_of(&junk).await["trace_id"], Value::Null);
        let none = gateway.get("/open/a").await;
        assert!(echo.last().lacks("traceparent"));
        assert_eq!(gateway.access_line_of(&none).await["trace_id"], Value::Null);
        assert_eq!(gateway.metric(EXPORTED).await, Some(0.0));
    }

    #[tokio::test]
    async fn a_route_may_keep_traces_from_its_upstream() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        let request = Request::get("/elsewhere")
            .header("traceparent", TRACEPARENT)
            .header("tracestate", "rojo=1");
        let response = gateway.send(&request).await;
        assert!(echo.last().lacks("traceparent") && echo.last().lacks("tracestate"));
        assert_eq!(collector.span_of(&response).await.trace_id(), TRACE);
    }

    #[tokio::test]
    async fn over_http2_it_is_the_same() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        let mut client = Http2::plain(gateway.address).await;
        let uri = format!("http://{}/open/a", gateway.address);
        let request = http2::request(Method::GET, &uri, &[("traceparent", TRACEPARENT)]);
        assert_eq!(client.send(request, b"").await.status, 200);
        let span = collector.span(|span| span.trace_id() == TRACE).await;
        assert_eq!(span.get("network.protocol.version"), "2");
        assert_eq!(traceparent(&echo.last())[2], span.id());
    }

    #[tokio::test]
    async fn explain_tells_that_the_upstream_gets_a_span_of_its_own() {
        let collector = Collector::start().await;
        let echo = Upstream::echo().await;
        let setup = house(&echo).await.and(&collector.config(ALL));
        for (parent, keeps_state) in [(TRACEPARENT, true), ("junk", false)] {
            let traceparent = format!("traceparent: {parent}");
            let arguments = [
                "explain",
                "GET",
                "/open/a",
                "--json",
                "-H",
                &traceparent,
                "-H",
                "tracestate: rojo=1",
            ];
            let output = setup.run(&arguments).await;
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            let headers = report["upstream"]["headers"].as_array().unwrap();
            let has = |name: &str, value: &str| headers.contains(&json!([name, value]));
            assert!(has("traceparent", "(a new one for each request)"), "{report}");
            assert_eq!(has("tracestate", "rojo=1"), keeps_state, "{report}");
        }
        assert_eq!(collector.server.count(), 0);
    }
}

mod spans {
    use super::*;

    #[tokio::test]
    async fn a_span_tells_what_happened_by_the_semantic_conventions() {
        let (echo, collector, issuer) = (Upstream::echo().await, Collector::start().await, Issuer::start().await);
        let setup = house(&echo).await.and(TOKENS).issuer("main", &issuer);
        let gateway = setup.and(&collector.config(ALL)).start().await;
        let request = Request::new("POST", "/tokens/x%20y?secret=tattle")
            .bearer(&issuer.token())
            .header("X-Request-ID", "r-1")
            .body("12345");
        let response = gateway.send(&request).await;
        let span = collector.span_of(&response).await;
        for (key, expected) in [
            ("http.request.method", json!("POST")),
            ("url.scheme", json!("http")),
            ("url.path", json!("/tokens/x%20y")),
            ("http.route", json!("tokens")),
            ("http.response.status_code", json!(200)),
            ("network.protocol.version", json!("1.1")),
            ("client.address", json!("127.0.0.1")),
            ("server.address", json!("127.0.0.1")),
            ("server.port", json!(gateway.address.port())),
            ("gateway.request_id", json!("r-1")),
            ("gateway.listener", json!("public")),
            ("gateway.auth_mode", json!("jwt,api_key")),
            ("gateway.auth_method", json!("jwt")),
            ("gateway.decision", json!("allow")),
            ("gateway.issuer", json!("main")),
            ("gateway.upstream", json!("echo")),
            ("gateway.endpoint", json!(format!("http://{}", echo.address))),
        ] {
            assert_eq!(span.get(key), expected, "{key} of {span:?}");
        }
        assert!(span.get("gateway.upstream_ms").as_f64() > Some(0.0), "{span:?}");
        let one = &span.span;
        assert_eq!((one.name.as_str(), one.kind), ("POST tokens", 2));
        assert_eq!(one.status.as_ref().map_or(0, |status| status.code), 0);
        assert!(one.start_time_unix_nano < one.end_time_unix_nano);
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap();
        let age = now.saturating_sub(Duration::from_nanos(one.start_time_unix_nano));
        assert!(age < Duration::from_secs(300), "{age:?}");
        assert_eq!(span.resource["service.name"], "gateway");
        assert_eq!(span.resource["service.version"], env!("CARGO_PKG_VERSION"));
        assert!(span.resource["service.instance.id"].is_string());
    }

    #[tokio::test]
    async fn refusals_and_failures_have_spans_that_say_why() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        gateway.get("/limited").await;
        for (target, status, reason, route, limit) in [
            ("/nowhere", 404, "no_route", None, None),
            ("/chat/a", 401, "unauthorized", Some("chat"), None),
            ("/limited", 429, "rate_limited", Some("limited"), Some("scarce")),
            ("/down", 503, "upstream_unavailable", Some("down"), None),
        ] {
            let response = gateway.get(target).await;
            refused(&response, status, reason);
            let span = collector.span_of(&response).await;
            assert_eq!(span.get("http.response.status_code"), status, "{span:?}");
            assert_eq!(span.get("gateway.reason"), reason, "{span:?}");
            assert_eq!(span.get("http.route").as_str(), route, "{span:?}");
            assert_eq!(span.get("gateway.limit").as_str(), limit, "{span:?}");
            let name = route.map_or("GET".to_owned(), |route| format!("GET {route}"));
            assert_eq!(span.span.name, name);
            // A server's span is in error when the server is (semantic conventions for HTTP spans, "Status").
            let failed = status >= 500;
            let code = span.span.status.as_ref().map_or(0, |status| status.code);
            assert_eq!(code, if failed { 2 } else { 0 }, "{span:?}");
            assert_eq!(span.get("error.type").as_str(), failed.then_some(reason), "{span:?}");
        }
        let malformed = gateway.raw("GET /open/a HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n").await;
        assert_eq!(
            collector.span_of(&malformed).await.get("gateway.reason"),
            "malformed_request"
        );
    }

    #[tokio::test]
    async fn a_stranger_s_method_is_no_name_for_a_span() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let gateway = traced(&echo, &collector).await;
        let response = gateway.send(&Request::new("BREW", "/open/a")).await;
        let span = collector.span_of(&response).await;
        assert_eq!(span.get("http.request.method"), "_OTHER");
        assert_eq!(span.span.name, "HTTP open");
    }

    #[tokio::test]
    async fn r12_no_span_has_a_credential_a_query_or_a_name() {
        let (echo, collector, issuer) = (Upstream::echo().await, Collector::start().await, Issuer::start().await);
        let setup = house(&echo)
            .await
            .and(TOKENS)
            .issuer("main", &issuer)
            .and("[log]\nuser_agent = true\n");
        let gateway = setup.and(&collector.config(ALL)).start().await;
        let token = issuer.token();
        let requests = [
            Request::get("/tokens/a?tattle-query=1").bearer(&token),
            Request::get("/tokens/a").header("X-API-Key", "tattle-key"),
            Request::get("/tokens/a").header("X-API-Key", "tattle-wrong"),
            Request::get("/tokens/a").bearer("tattle-token"),
            Request::get("/open/a")
                .header("Cookie", "tattle-cookie=1")
                .header("User-Agent", "tattle-agent")
                .header("Referer", "http://tattle-referer/")
                .header("tracestate", "tattle=1")
                .header("traceparent", TRACEPARENT),
        ];
        for request in &requests {
            let response = gateway.send(request).await;
            collector.span_of(&response).await;
        }
        for export in collector.server.requests() {
            for secret in ["tattle", &token, "ada", "svc_ci", "acme"] {
                assert!(
                    !export.has(secret),
                    "{secret} in {}",
                    String::from_utf8_lossy(&export.body)
                );
            }
        }
    }
}

mod export {
    use super::*;

    #[tokio::test]
    async fn a_collector_that_is_busy_gets_them_again_when_it_said() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        collector.answer(&["503 Service Unavailable", "429 Too Many Requests\r\nRetry-After: 1"]);
        let gateway = traced(&echo, &collector).await;
        let response = gateway.get("/open/a").await;
        collector.span_of(&response).await;
        gateway.metric_becomes(EXPORTED, 1.0).await;
        assert_eq!(gateway.metric(FAILED).await, Some(0.0));
        assert_eq!(collector.server.count(), 3);
        gateway.event("spans cannot be exported").await;
        gateway.event("spans are exported again").await;
        let told = gateway.ask_admin("/status.json").await.json();
        assert_eq!(told["telemetry"], json!({ "up": true, "error": null }));
    }

    #[tokio::test]
    async fn what_a_collector_refuses_is_counted_and_not_sent_again() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        collector.answer(&["400 Bad Request"]);
        let gateway = traced(&echo, &collector).await;
        gateway.get("/open/a").await;
        gateway.metric_becomes(FAILED, 1.0).await;
        let next = gateway.get("/open/a").await;
        collector.span_of(&next).await;
        assert_eq!((collector.spans().len(), collector.server.count()), (1, 2));
    }

    #[tokio::test]
    async fn a_collector_that_never_answers_delays_nobody() {
        let (echo, collector, gate) = (Upstream::echo().await, Collector::start().await, Gate::shut());
        collector.wait_for(&gate);
        let gateway = traced(&echo, &collector).await;
        let first = gateway.get("/open/a").await;
        collector.server.got(1).await;
        for _ in 0..50 {
            assert_eq!(status(&gateway.get("/open/a").await), 200);
        }
        assert!(collector.spans().is_empty(), "it still says nothing");
        gate.open();
        collector.span_of(&first).await;
        gateway.metric_becomes(EXPORTED, 51.0).await;
    }

    #[tokio::test]
    async fn while_a_collector_is_away_spans_wait_within_a_bound_and_then_are_dropped() {
        let echo = Upstream::saying("HTTP/1.1 204 X\r\n\r\n").await;
        let (collector, gate) = (Collector::start().await, Gate::shut());
        collector.wait_for(&gate);
        let gateway = house(&echo).await.and(&collector.config("sample = 0.0")).start().await;
        // Asked for by strangers, of whom a quarter of the room may be under way and half of it wait: some 2,300 of these.
        let long = Request::get(&format!("/open/{}", "x".repeat(2000))).header("traceparent", TRACEPARENT);
        let hundred = long.bytes(gateway.address).repeat(100);
        let mut client = gateway.client().await;
        let before = gateway.memory();
        let mut dropped = 0.0;
        for _ in 0..60 {
            client.write(&hundred).await;
            for _ in 0..100 {
                assert_eq!(client.head().await.status(), 204);
            }
            dropped = gateway.metric(DROPPED).await.unwrap();
            if dropped > 500.0 {
                break;
            }
        }
        assert!(dropped > 500.0, "{dropped}");
        let grown = gateway.memory().saturating_sub(before);
        assert!(grown < 48 << 20, "{grown} bytes more, {dropped} dropped");
        gate.open();
        eventually("what waited is exported", async || {
            gateway.metric(EXPORTED).await.filter(|exported| *exported > 1000.0)
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_there_is_no_reason_to_fail() {
        let echo = Upstream::echo().await;
        let nobody = Upstream::nobody().await;
        let setup = house(&echo)
            .await
            .and(&format!("[telemetry]\notlp = \"http://{nobody}\"\n{ALL}\n"));
        let mut gateway = setup.start().await;
        assert_eq!(status(&gateway.get("/open/a").await), 200);
        gateway.event("spans cannot be exported").await;
        let told = gateway.ask_admin("/status.json").await.json();
        assert_eq!(told["telemetry"]["up"], false, "{told}");
        assert_eq!(status(&gateway.get("/open/a").await), 200);
        gateway.signal("TERM");
        assert!(gateway.ended().await.success());
    }

    #[tokio::test]
    async fn the_last_spans_are_sent_before_the_end() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let mut gateway = traced(&echo, &collector).await;
        let response = gateway.get("/open/a").await;
        gateway.signal("TERM");
        assert!(gateway.ended().await.success());
        let id = response.head.first("x-request-id").unwrap();
        assert!(
            collector
                .spans()
                .iter()
                .any(|span| span.get("gateway.request_id") == id)
        );
    }

    #[tokio::test]
    async fn a_reload_switches_it_on_elsewhere_and_off_and_loses_no_span() {
        let (echo, one, other) = (
            Upstream::echo().await,
            Collector::start().await,
            Collector::start().await,
        );
        let gateway = house(&echo).await.start().await;
        let plain = gateway.config();
        let generation = async |generation: f64| gateway.metric_becomes("gateway_config_generation", generation).await;
        gateway.get("/open/a").await;
        assert!(echo.last().lacks("traceparent"));

        gateway.write("gateway.toml", format!("{plain}\n{}", one.config(ALL)));
        generation(2.0).await;
        let at_one = gateway.get("/open/a").await;
        gateway.write("gateway.toml", format!("{plain}\n{}", other.config(ALL)));
        generation(3.0).await;
        let first = one.span_of(&at_one).await;
        let second = other.span_of(&gateway.get("/open/a").await).await;
        assert_eq!(
            first.resource["service.instance.id"], second.resource["service.instance.id"],
            "one process"
        );

        let last = gateway.get("/open/a").await;
        gateway.write("gateway.toml", &plain);
        generation(4.0).await;
        other.span_of(&last).await;
        gateway.get("/open/a").await;
        assert!(echo.last().lacks("traceparent"));
        assert_eq!((one.spans().len(), other.spans().len()), (1, 2));
    }

    #[tokio::test]
    async fn r12_a_collector_s_credential_goes_to_it_and_nowhere_else() {
        let (echo, collector) = (Upstream::echo().await, Collector::start().await);
        let lines = "sample = 1.0\nheaders = { Authorization = \"Basic ${env:TOKEN}\", X-Scope = \"ours\" }";
        let setup = house(&echo).await.env("TOKEN", "tattle").and(&collector.config(lines));
        let gateway = setup.start().await;
        collector.answer(&["401 Unauthorized"]);
        gateway.get("/open/a").await;
        gateway.event("spans cannot be exported").await;
        let export = collector.server.last();
        assert_eq!(export.header("authorization").as_deref(), Some("Basic tattle"));
        assert_eq!(export.header("x-scope").as_deref(), Some("ours"));
        assert!(!gateway.stdout().contains("tattle") && !gateway.stderr().contains("tattle"));
        assert!(!echo.last().has("tattle"));
    }
}
