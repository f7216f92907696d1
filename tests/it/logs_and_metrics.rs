//! Contract part 5: what operators see, and what nobody must see there.

use serde_json::{Value, json};

use crate::harness::{Gateway, Issuer, Request, Setup, Upstream, refused, sha256, status};

const HOUSE: &str = r#"
[api_keys]
sources = ["header:X-API-Key", "bearer", "basic"]
prefixes = ["hok_"]
[[api_keys.keys]]
id = "ci"
hash = "HASH"
user = "svc_ci"
tenant = "acme"
[internal]
keys = ["tattle-internal-secret"]
[limits.per-user]
rate = "1000/min"
by = "user"
[[routes]]
name = "open"
paths = ["/open/*"]
upstream = "echo"
auth = "none"
[[routes]]
name = "hybrid"
paths = ["/hybrid/*"]
upstream = "echo"
auth = "hybrid"
limits = ["per-user"]
rules = [{ methods = ["DELETE"], require = { scopes_all = ["admin"] } }]
[[routes]]
name = "silent"
paths = ["/silent"]
upstream = "echo"
auth = "none"
access_log = false
[[routes]]
name = "down"
paths = ["/down"]
upstream = "down"
auth = "none"
"#;

async fn house(echo: &Upstream, issuer: &Issuer) -> Setup {
    let nobody = Upstream::nobody().await;
    let text = HOUSE.replace("HASH", &sha256("hok_tattle-key"));
    Gateway::with(&text)
        .upstream("echo", echo)
        .upstream_with("down", nobody, "retries = 0")
        .issuer("main", issuer)
}

mod access_log {
    use super::*;

    #[tokio::test]
    async fn a_line_tells_what_happened_and_who_it_was() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        let token = issuer.token_with(json!({ "tenant_id": "acme", "client_id": "app", "scope": "a b" }));
        let request = Request::new("POST", "/hybrid/x%20y?secret=tattle")
            .bearer(&token)
            .header("X-Request-ID", "r-1")
            .body("12345");
        let response = gateway.send(&request).await;
        assert_eq!(status(&response), 200);
        let line = gateway.access_line_of(&response).await;
        for (field, expected) in [
            ("level", json!("info")),
            ("message", json!("request")),
            ("request_id", json!("r-1")),
            ("listener", json!("public")),
            ("protocol", json!("HTTP/1.1")),
            ("host", json!(gateway.address.to_string())),
            ("route", json!("hybrid")),
            ("method", json!("POST")),
            ("path", json!("/hybrid/x%20y")),
            ("status", json!(200)),
            ("bytes_in", json!(5)),
            ("bytes_out", json!(response.body.len())),
            ("client_ip", json!("127.0.0.1")),
            ("auth_mode", json!("hybrid")),
            ("auth_method", json!("jwt")),
            ("decision", json!("allow")),
            ("user_id", json!("ada")),
            ("client_id", json!("app")),
            ("issuer", json!("main")),
            ("tenant", json!("acme")),
            ("scope", json!("a b")),
            ("upstream", json!("echo")),
            ("endpoint", json!(format!("http://{}", echo.address))),
            ("service", json!("gateway")),
        ] {
            assert_eq!(line[field], expected, "{field} of {line}");
        }
        assert!(line["duration_ms"].as_f64() >= line["upstream_ms"].as_f64(), "{line}");
        assert!(line["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
        for absent in ["reason", "arm", "key_id", "acting_for", "limit", "user_agent"] {
            assert_eq!(line[absent], Value::Null, "{absent} of {line}");
        }
    }

    #[tokio::test]
    async fn every_request_has_one_line_also_those_that_were_refused() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        for (request, status, reason, route) in [
            (Request::get("/none"), 404, "no_route", None),
            (Request::get("/open/%2f"), 400, "malformed_request", Some("open")),
            (Request::get("/hybrid/a"), 401, "unauthorized", Some("hybrid")),
            (
                Request::get("/hybrid/a").bearer("bad"),
                401,
                "invalid_token",
                Some("hybrid"),
            ),
            (
                Request::new("DELETE", "/hybrid/a").bearer(&issuer.token()),
                403,
                "insufficient_scope",
                Some("hybrid"),
            ),
            (Request::get("/down"), 503, "upstream_unavailable", Some("down")),
        ] {
            println!("{request:?}");
            let response = gateway.send(&request).await;
            refused(&response, status, reason);
            let line = gateway.access_line_of(&response).await;
            assert_eq!((&line["status"], &line["reason"]), (&json!(status), &json!(reason)));
            assert_eq!(line["route"].as_str(), route, "{line}");
            assert_eq!(line["level"], if status < 500 { "info" } else { "error" });
            let allowed = reason == "upstream_unavailable";
            assert_eq!(line["decision"].as_str() == Some("allow"), allowed, "{line}");
        }
        let malformed = gateway.raw("GET /open/a HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n").await;
        assert_eq!(gateway.access_line_of(&malformed).await["status"], 400);
        let marker = gateway.get("/open/last").await;
        gateway.access_line_of(&marker).await;
        assert_eq!(
            gateway
                .lines()
                .iter()
                .filter(|line| line["message"] == "request")
                .count(),
            8,
            "one each"
        );
    }

    #[tokio::test]
    async fn a_route_or_the_whole_log_may_be_silent_and_the_user_agent_is_told_when_asked_for() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer)
            .await
            .and("[log]\nuser_agent = true")
            .start()
            .await;
        let silent = gateway.get("/silent").await;
        let told = gateway
            .send(&Request::get("/open/a").header("User-Agent", "curl/8"))
            .await;
        assert_eq!(gateway.access_line_of(&told).await["user_agent"], "curl/8");
        let id = silent.head.first("x-request-id").unwrap();
        assert!(!gateway.stdout().contains(id));

        let gateway = house(&echo, &issuer).await.and("[log]\naccess = false").start().await;
        gateway.get("/open/a").await;
        gateway
            .metric_becomes(
                "gateway_requests_total{method=\"GET\",route=\"open\",status=\"200\"}",
                1.0,
            )
            .await;
        assert!(gateway.lines().iter().all(|line| line["message"] != "request"));
    }

    #[tokio::test]
    async fn nothing_that_a_client_sends_breaks_a_line() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer)
            .await
            .and("[log]\nuser_agent = true")
            .start()
            .await;
        let agent = "x\",\"status\":0,\"y\":\"\\u0000\t\u{2028}";
        let response = gateway
            .send(&Request::get("/open/%22%0d%0a%7B").header("User-Agent", agent))
            .await;
        let line = gateway.access_line_of(&response).await;
        assert_eq!(
            (&line["status"], &line["path"]),
            (&json!(status(&response)), &json!("/open/%22%0d%0a%7B"))
        );
        let latin = gateway
            .raw(b"GET /open/a HTTP/1.1\r\nHost: a\r\nUser-Agent: caf\xe9\r\n\r\n")
            .await;
        assert!(gateway.access_line_of(&latin).await["user_agent"].is_string());
        assert!(
            gateway
                .stdout()
                .lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok())
        );
    }
}

mod events {
    use super::*;
    use crate::harness::eventually;

    #[tokio::test]
    async fn a_credential_that_does_not_hold_leaves_the_line_that_people_search_for() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        let expired = issuer.token_with(json!({ "exp": 1_000_000_000 }));
        for (request, message, reason) in [
            (
                Request::get("/hybrid/x").bearer(&expired),
                "JWT validation failed",
                "token_expired",
            ),
            (
                Request::get("/hybrid/x").header("X-API-Key", "hok_wrong"),
                "API key validation failed",
                "invalid_api_key",
            ),
            (
                Request::get("/hybrid/x").header("X-Internal-Auth", "wrong"),
                "internal secret refused",
                "invalid_internal_auth",
            ),
        ] {
            let response = gateway.send(&request).await;
            refused(&response, 401, reason);
            let event = gateway.event(message).await;
            let line = gateway.access_line_of(&response).await;
            for field in ["request_id", "route", "reason", "detail", "client_ip"] {
                assert!(!line[field].is_null(), "{field} of {line}");
                assert_eq!(event[field], line[field], "{field} of {event}");
            }
            assert_eq!((&event["level"], &event["untold"]), (&json!("warn"), &json!(0)));
        }
        // Nothing was presented, or what was presented holds and is not enough.
        refused(&gateway.get("/hybrid/x").await, 401, "unauthorized");
        let lacks = Request::new("DELETE", "/hybrid/x").bearer(&issuer.token());
        let response = gateway.send(&lacks).await;
        refused(&response, 403, "insufficient_scope");
        gateway.access_line_of(&response).await;
        let warnings = gateway.lines().into_iter().filter(|line| line["level"] == "warn");
        assert_eq!(warnings.count(), 3);
    }

    #[tokio::test]
    async fn lines_about_failed_credentials_are_sampled_and_what_is_untold_is_counted() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        let mut client = gateway.client().await;
        let mut sent = 0;
        let (told, untold) = eventually("some stay untold", async || {
            let wrong = Request::get("/hybrid/x").bearer("no.to.ken");
            assert_eq!(client.send(&wrong).await.head.status(), 401);
            sent += 1;
            let lines = gateway.lines().into_iter();
            let told: Vec<_> = lines
                .filter(|line| line["message"] == "JWT validation failed")
                .collect();
            let untold: u64 = told.iter().filter_map(|line| line["untold"].as_u64()).sum();
            (untold > 0).then_some((told.len() as u64, untold))
        })
        .await;
        assert!(told + untold <= sent, "{told} told, {untold} untold, {sent} sent");
    }
}

mod secrets {
    use super::*;

    /// Everything that is secret here has this in it.
    const TATTLE: &str = "tattle";

    #[tokio::test]
    async fn r12_no_credential_is_in_any_log_error_page_metric_or_status_at_any_level() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let down = Upstream::nobody().await;
        let sections = format!(
            "[issuers.silent]\nissuer = \"https://silent\"\njwks_url = \"http://{down}/k?t={TATTLE}\"\n\
                 [issuers.legacy]\nsecrets = [\"{TATTLE} secret of thirty-two bytes or more\"]\n\
                 [log]\nlevel = \"trace\"\nuser_agent = true"
        );
        let gateway = house(&echo, &issuer).await.and(&sections).start().await;
        let token = issuer.token();
        let signature = token.rsplit('.').next().unwrap().to_owned();
        let forged = format!("{}.{TATTLE}", &token[..token.rfind('.').unwrap()]);
        let mut answers = Vec::new();
        for path in ["/open/a", "/hybrid/a", "/none", "/down", "/open/%2f"] {
            for request in [
                Request::get(path).bearer(&token),
                Request::get(path).bearer(&forged),
                Request::get(path).bearer("tattle-token"),
                Request::get(path).bearer("hok_tattle-key"),
                Request::get(path).bearer("hok_tattle-wrong"),
                Request::get(path).basic("user", "hok_tattle-key"),
                Request::get(path).basic("tattle-user", "tattle-password"),
                Request::get(path).header("X-API-Key", "hok_tattle-key"),
                Request::get(path).header("X-API-Key", "tattle-wrong"),
                Request::get(path).header("X-Internal-Auth", "tattle-internal-secret"),
                Request::get(path).header("X-Internal-Auth", "tattle-wrong"),
                Request::get(path).header("Cookie", "session=tattle"),
                Request::get(path)
                    .header("X-Api-Key", "tattle-1")
                    .header("X-API-Key", "tattle-2"),
                Request::get(path).header("Proxy-Authorization", "Basic tattle"),
                Request::get(path).header("X-Anything", "tattle"),
                Request::get(&format!("{path}?access_token=tattle")),
                Request::new("POST", path).body("{\"password\":\"tattle\"}"),
            ] {
                let response = gateway.send(&request).await;
                if status(&response) != 200 {
                    answers.push(response);
                }
            }
        }
        for raw in [
            "GET /open/a HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer tattle\r\nX : y\r\n\r\n",
            "GET /open/a HTTP/1.1\r\nHost: tattle:tattle@a\r\n\r\n",
            "GET http://tattle:tattle@a/open/a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /open/a?tattle HTTP/1.1\r\nHost: a\r\n tattle\r\n\r\n",
            "GET /open/a#tattle HTTP/1.1\r\nHost: a\r\n\r\n",
            "tattle\r\n\r\n",
        ] {
            answers.push(gateway.raw(raw).await);
        }
        let marker = gateway.get("/open/marker").await;
        gateway.access_line_of(&marker).await;
        gateway.event("JWKS refresh failed").await;
        let mut seen = vec![gateway.stdout(), gateway.stderr(), gateway.metrics().await];
        let status = String::from_utf8(gateway.ask_admin("/status.json").await.body).unwrap();
        // Its own key of that name is no secret.
        seen.push(status.replace("\"canary\":", ""));
        seen.extend(
            answers
                .iter()
                .map(|answer| format!("{:?} {}", answer.head, answer.json())),
        );
        for text in &seen {
            for line in text.lines() {
                assert!(!line.contains(TATTLE), "{line}");
                assert!(!line.contains(&signature), "{line}");
                assert!(!line.contains("dGF0dGxl"), "in base64: {line}");
            }
        }
        assert!(!seen[0].contains(&sha256("hok_tattle-key")["sha256:".len()..]));
    }

    #[tokio::test]
    async fn r12_a_config_that_is_refused_is_refused_without_its_secrets() {
        let text = r#"
[internal]
keys = ["tattle"]
[issuers.a]
secrets = ["tattle-short"]
[api_keys]
[[api_keys.keys]]
id = "a"
hash = "tattle-not-hashed"
user = "a"
[[routes]]
name = "a"
paths = ["/*"]
upstream = "none"
auth = "internal"
set_headers = { X-Key = "tattle\n" }
"#;
        let ended = Gateway::with(text).run(&["check"]).await;
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        assert_eq!(ended.status.code(), Some(3));
        assert!(
            said.contains("internal.keys") && said.contains("issuers.a.secrets"),
            "{said}"
        );
        assert!(!said.contains("tattle"), "{said}");
    }
}

mod metrics {
    use super::*;

    #[tokio::test]
    async fn every_known_series_is_there_from_the_start_at_zero() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        let endpoint = format!("http://{}", echo.address);
        for (series, value) in [
            (
                "gateway_requests_total{method=\"GET\",route=\"open\",status=\"200\"}",
                0.0,
            ),
            ("gateway_requests_total{method=\"GET\",route=\"-\",status=\"404\"}", 0.0),
            ("gateway_request_duration_seconds_count{route=\"open\"}", 0.0),
            ("gateway_overhead_seconds_count{route=\"open\"}", 0.0),
            ("gateway_upstream_duration_seconds_count{upstream=\"echo\"}", 0.0),
            (
                "gateway_permission_checks_total{decision=\"deny\",route=\"hybrid\"}",
                0.0,
            ),
            (
                "gateway_rate_limit_decisions_total{decision=\"deny\",limit=\"per-user\"}",
                0.0,
            ),
            ("gateway_rate_limit_keys{limit=\"per-user\"}", 0.0),
            (
                "gateway_api_key_validations_total{source=\"config\",status=\"success\"}",
                0.0,
            ),
            (
                "gateway_api_key_validations_total{source=\"config\",status=\"invalid_api_key\"}",
                0.0,
            ),
            ("jwt_validation_total{service=\"gateway\",status=\"success\"}", 0.0),
            (
                "jwt_validation_total{service=\"gateway\",status=\"token_expired\"}",
                0.0,
            ),
            ("jwt_validation_duration_seconds_count{service=\"gateway\"}", 0.0),
            ("jwks_cache_hits_total{service=\"gateway\"}", 0.0),
            ("jwks_cache_misses_total{service=\"gateway\"}", 0.0),
            ("jwks_refresh_total{issuer=\"main\"}", 1.0),
            ("jwks_refresh_failures_total{issuer=\"main\"}", 0.0),
            ("jwks_keys{issuer=\"main\"}", 1.0),
            ("jwks_age_seconds{issuer=\"main\"}", 0.0),
            ("gateway_token_cache_total{result=\"hit\"}", 0.0),
            ("gateway_token_cache_total{result=\"miss\"}", 0.0),
            (
                &format!("gateway_upstream_up{{endpoint=\"{endpoint}\",upstream=\"echo\"}}"),
                1.0,
            ),
            ("gateway_upstream_in_flight{upstream=\"echo\"}", 0.0),
            ("gateway_dependency_up{dependency=\"main\"}", 1.0),
            ("gateway_untrusted_forwarding_total{listener=\"public\"}", 0.0),
            ("gateway_config_reloads_total{result=\"success\"}", 0.0),
            ("gateway_connections{listener=\"public\"}", 0.0),
            ("gateway_requests_in_flight", 0.0),
            (
                &format!("gateway_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")),
                1.0,
            ),
        ] {
            assert_eq!(gateway.metric(series).await, Some(value), "{series}");
        }
        assert!(gateway.metric("gateway_config_generation").await.is_some());
    }

    #[tokio::test]
    async fn what_happens_is_counted_under_the_names_of_the_config() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        let good = Request::get("/hybrid/a").bearer(&issuer.token());
        for request in [
            good.clone(),
            good,
            Request::get("/hybrid/a").bearer("bad"),
            Request::get("/hybrid/a").bearer(&issuer.token_with(json!({ "exp": 1, "iat": 0 }))),
            Request::get("/hybrid/a").header("X-API-Key", "hok_tattle-key"),
            Request::get("/hybrid/a").header("X-API-Key", "hok_wrong"),
            Request::new("DELETE", "/hybrid/a").header("X-API-Key", "hok_tattle-key"),
            Request::new("BREW", "/open/tea"),
            Request::get("/none"),
            Request::get("/open/a").header("X-Forwarded-For", "192.0.2.1"),
        ] {
            gateway.send(&request).await;
        }
        for (series, value) in [
            (
                "gateway_requests_total{method=\"GET\",route=\"hybrid\",status=\"200\"}",
                3.0,
            ),
            (
                "gateway_requests_total{method=\"GET\",route=\"hybrid\",status=\"401\"}",
                3.0,
            ),
            (
                "gateway_requests_total{method=\"DELETE\",route=\"hybrid\",status=\"403\"}",
                1.0,
            ),
            (
                "gateway_requests_total{method=\"other\",route=\"open\",status=\"200\"}",
                1.0,
            ),
            ("gateway_requests_total{method=\"GET\",route=\"-\",status=\"404\"}", 1.0),
            ("gateway_request_duration_seconds_count{route=\"hybrid\"}", 7.0),
            (
                "gateway_auth_decisions_total{decision=\"deny\",method=\"jwt\",reason=\"invalid_token\",route=\"hybrid\"}",
                1.0,
            ),
            (
                "gateway_auth_decisions_total{decision=\"deny\",method=\"jwt\",reason=\"token_expired\",route=\"hybrid\"}",
                1.0,
            ),
            (
                "gateway_auth_decisions_total{decision=\"deny\",method=\"api_key\",reason=\"invalid_api_key\",route=\"hybrid\"}",
                1.0,
            ),
            (
                "gateway_permission_checks_total{decision=\"deny\",route=\"hybrid\"}",
                1.0,
            ),
            (
                "gateway_rate_limit_decisions_total{decision=\"allow\",limit=\"per-user\"}",
                3.0,
            ),
            (
                "gateway_api_key_validations_total{source=\"config\",status=\"success\"}",
                2.0,
            ),
            (
                "gateway_api_key_validations_total{source=\"config\",status=\"invalid_api_key\"}",
                1.0,
            ),
            ("jwt_validation_total{service=\"gateway\",status=\"success\"}", 2.0),
            (
                "jwt_validation_total{service=\"gateway\",status=\"invalid_token\"}",
                1.0,
            ),
            (
                "jwt_validation_total{service=\"gateway\",status=\"token_expired\"}",
                1.0,
            ),
            ("gateway_token_cache_total{result=\"hit\"}", 1.0),
            ("gateway_upstream_duration_seconds_count{upstream=\"echo\"}", 5.0),
            ("gateway_untrusted_forwarding_total{listener=\"public\"}", 1.0),
            ("gateway_requests_in_flight", 0.0),
            ("gateway_connections{listener=\"public\"}", 0.0),
        ] {
            gateway.metric_becomes(series, value).await;
        }
    }

    #[tokio::test]
    async fn label_values_never_come_from_requests() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        let before = gateway
            .metrics()
            .await
            .lines()
            .filter(|line| !line.starts_with('#'))
            .count();
        let mut client = gateway.client().await;
        for n in 0..20 {
            let request = Request::new(&format!("STRANGE{n}"), &format!("/strange-{n}"));
            let request = request
                .header("Host2", "strange")
                .header("User-Agent", &format!("strange-{n}"));
            client.send(&request.bearer(&format!("strange-{n}"))).await;
        }
        let after = gateway.metrics().await;
        assert!(!after.to_lowercase().contains("strange"));
        assert!(
            after.lines().filter(|line| !line.starts_with('#')).count() <= before + 2,
            "series grow with requests"
        );
    }
}

mod health {
    use super::*;

    #[tokio::test]
    async fn livez_is_200_at_once_and_an_upstream_that_is_down_does_not_count() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        issuer.go_down();
        let gateway = house(&echo, &issuer).await.begin().await;
        assert_eq!(status(&gateway.ask_admin("/livez").await), 200);
        gateway.is_ready().await;
        refused(&gateway.get("/down").await, 503, "upstream_unavailable");
        assert_eq!(status(&gateway.ask_admin("/readyz").await), 200);
    }

    #[tokio::test]
    async fn the_admin_port_is_read_only_and_serves_no_route() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo, &issuer).await.start().await;
        assert_eq!(status(&gateway.ask_admin("/open/a").await), 404);
        let mut admin = crate::harness::Client::of(gateway.admin).await;
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            assert_eq!(status(&admin.send(&Request::new(method, "/readyz")).await), 405);
        }
        for path in ["/metrics", "/livez", "/readyz", "/status.json"] {
            refused(&gateway.get(path).await, 404, "no_route");
        }
        assert_eq!(echo.count(), 0);
    }
}
