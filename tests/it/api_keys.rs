//! API keys that an auth service judges: how it is asked, how seldom, and what happens while it cannot be.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::tls::{Authority, Pair, Terminator};
use crate::harness::{
    AuthService, Client, Gate, Gateway, Setup, Upstream, eventually, median, p99, refused, sha256, status, with_key,
};

const ROUTES: &str = r#"
[identity]
scopes_header = "X-Scopes"
roles_header = "X-Roles"
permissions_header = "X-Permissions"
[roles]
user = ["tasks.read"]
[[routes]]
name = "keys"
paths = ["/keys/*"]
upstream = "echo"
auth = "api_key"
"#;

async fn setup(service: &AuthService, echo: &Upstream, lines: &str) -> Setup {
    Gateway::with(ROUTES)
        .and(&service.api_keys(lines))
        .upstream("echo", echo)
}

fn validations(source: &str, status: &str) -> String {
    format!("gateway_api_key_validations_total{{source=\"{source}\",status=\"{status}\"}}")
}

/// Both, and a gateway between them.
async fn world(lines: &str) -> (AuthService, Upstream, Gateway) {
    let (service, echo) = (AuthService::start().await, Upstream::echo().await);
    let gateway = setup(&service, &echo, lines).await.start().await;
    (service, echo, gateway)
}

mod the_question {
    use super::*;

    #[tokio::test]
    async fn a_key_is_its_owner_with_all_that_the_auth_service_says() {
        let (service, echo, gateway) = world(
            "bearer = \"our-own-credential\"\nrequest = { extra = { service_id = \"ml\" }, client_address = \"ip\" }",
        )
        .await;
        let answer = json!({
            "valid": true, "user_id": 42, "tenant_id": "acme", "scopes": ["model:read", "b"], "permissions": "p.q",
            "roles": ["user"], "tier": "pro", "key_id": "k-1", "expires_at": "2099-01-01T00:00:00Z", "email": "a@b.test",
        });
        service.knows("the-key", answer);
        let response = gateway.send(&with_key("the-key").header("X-User-ID", "root")).await;
        assert_eq!(status(&response), 200);
        let asked = service.server.last();
        assert_eq!(asked.line, "POST /validate HTTP/1.1");
        assert_eq!(asked.header("content-type").as_deref(), Some("application/json"));
        assert_eq!(
            asked.header("authorization").as_deref(),
            Some("Bearer our-own-credential")
        );
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!(
            body,
            json!({ "api_key": "the-key", "service_id": "ml", "ip": "127.0.0.1" })
        );
        let sent = echo.last();
        for (name, value) in [
            ("X-User-ID", "42"),
            ("X-Tenant-ID", "acme"),
            ("X-Scopes", "model:read b"),
            ("X-Roles", "user"),
            ("X-Permissions", "p.q,tasks.read"),
            ("X-User-Email", "a@b.test"),
            ("X-API-Key", "the-key"),
        ] {
            assert_eq!(sent.header(name).as_deref(), Some(value), "{name}");
        }
        let line = gateway.access_line_of(&response).await;
        assert_eq!((&line["key_id"], &line["user_id"]), (&json!("k-1"), &json!("42")));
        assert!(!gateway.stdout().contains("the-key"), "r12: no key in the log");
    }

    #[tokio::test]
    async fn the_key_is_sent_where_the_config_says() {
        for (key_in, name, value, body) in [
            ("bearer", "authorization", "Bearer the-key", "{}"),
            ("header:X-Key", "x-key", "the-key", "{}"),
            ("body:token.value", "x-none", "", r#"{"token.value":"the-key"}"#),
        ] {
            let (service, _echo, gateway) = world(&format!("request = {{ key_in = \"{key_in}\" }}")).await;
            service.answer(200, r#"{"user_id":"ada"}"#);
            assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200, "{key_in}");
            let asked = service.server.last();
            assert_eq!(asked.header(name).unwrap_or_default(), value, "{key_in}");
            assert_eq!(String::from_utf8(asked.body).unwrap(), body);
        }
    }

    #[tokio::test]
    async fn fields_are_where_the_config_says() {
        let (service, echo, gateway) =
            world("fields = { user = \"data.owner.id\", tenant = \"data.org\", valid = \"data.ok\" }").await;
        service.knows(
            "good",
            json!({ "data": { "owner": { "id": "ada" }, "org": "acme", "ok": true } }),
        );
        service.knows(
            "bad",
            json!({ "data": { "owner": { "id": "ada" }, "org": "acme", "ok": false } }),
        );
        assert_eq!(status(&gateway.send(&with_key("good")).await), 200);
        assert_eq!(echo.last().header("X-Tenant-ID").as_deref(), Some("acme"));
        refused(&gateway.send(&with_key("bad")).await, 401, "invalid_api_key");
    }

    #[tokio::test]
    async fn r28_nobody_is_asked_about_what_cannot_be_a_key() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let hash = sha256("hok_config");
        let own = format!("[[api_keys.keys]]\nid = \"own\"\nhash = \"{hash}\"\nuser = \"own\"");
        let keys = service
            .api_keys("")
            .replace("[api_keys]\n", "[api_keys]\nprefixes = [\"hok_\"]\n");
        let gateway = Gateway::with(ROUTES)
            .and(&format!("{keys}{own}"))
            .upstream("echo", &echo)
            .start()
            .await;
        service.answer(200, r#"{"user_id":"ada"}"#);
        assert_eq!(status(&gateway.send(&with_key("hok_config")).await), 200);
        for key in [
            "other_key",
            "",
            &format!("hok_{}", "x".repeat(1100)),
            "hok_ä",
            "hok_a b",
        ] {
            refused(&gateway.send(&with_key(key)).await, 401, "invalid_api_key");
        }
        assert_eq!(service.count(), 0);
        // The last is counted a moment after its client has the answer.
        gateway.metric_becomes(&validations("config", "success"), 1.0).await;
        gateway
            .metric_becomes(&validations("config", "invalid_api_key"), 5.0)
            .await;
    }
}

mod the_answer {
    use super::*;

    #[tokio::test]
    async fn no_is_invalid_and_is_known_for_a_while() {
        for (code, body) in [
            (401, ""),
            (403, "{}"),
            (404, "not found"),
            (200, r#"{"valid":false}"#),
            (200, r#"{"user_id":"ada","expires_at":"2020-01-01T00:00:00Z"}"#),
        ] {
            let (service, echo, gateway) = world("").await;
            service.answer(code, body);
            for _ in 0..3 {
                let refusal = gateway.send(&with_key("the-key")).await;
                refused(&refusal, 401, "invalid_api_key");
                assert_eq!(refusal.head.first("www-authenticate"), Some("ApiKey realm=\"gateway\""));
            }
            assert_eq!((service.count(), echo.count()), (1, 0), "{code} {body}");
            gateway
                .metric_becomes(&validations("remote", "invalid_api_key"), 1.0)
                .await;
            gateway
                .metric_becomes(&validations("cache", "invalid_api_key"), 2.0)
                .await;
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_is_503_and_never_a_key() {
        for (code, body) in [
            (200, ""),
            (200, "ok"),
            (200, "true"),
            (200, r#"{"valid":true}"#),
            (200, r#"{"user_id":null}"#),
            (200, r#"{"user_id":"ada","user_id":"root"}"#),
            (200, r#"{"user_id":"ada","valid":"yes"}"#),
            (204, ""),
            (302, ""),
            (400, r#"{"user_id":"ada"}"#),
            (429, ""),
            (500, r#"{"user_id":"ada"}"#),
        ] {
            let (service, echo, gateway) = world("retries = 1").await;
            service.answer(code, body);
            let refusal = gateway.send(&with_key("the-key")).await;
            refused(&refusal, 503, "auth_unavailable");
            assert_eq!((service.count(), echo.count()), (2, 0), "{code} {body}: asked again");
            let line = gateway.access_line_of(&refusal).await;
            assert_eq!(line["detail"], "validator_unavailable");
            gateway
                .metric_becomes(&validations("remote", "auth_unavailable"), 1.0)
                .await;
        }
    }

    #[tokio::test]
    async fn a_redirect_takes_no_key_elsewhere() {
        let (service, _echo, gateway) = world("retries = 0").await;
        let elsewhere = AuthService::start().await;
        let location = elsewhere.url();
        service.say(&format!(
            "HTTP/1.1 307 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
        ));
        refused(&gateway.send(&with_key("the-key")).await, 503, "auth_unavailable");
        assert_eq!(elsewhere.count(), 0);
    }

    #[tokio::test]
    async fn over_tls_it_is_believed_by_its_own_authority_and_by_no_other() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        service.knows_user("the-key", "ada");
        let (authority, stranger) = (Authority::new(), Authority::new());
        let here = authority.pair(&["localhost"]);
        let gateway = async |pair: &Pair, ca: &str| {
            let terminator = Terminator::before(service.server.address, pair, &stranger).await;
            let url = format!("https://localhost:{}/validate", terminator.address.port());
            let keys = service
                .api_keys(&format!("retries = 0\n{ca}"))
                .replace(&service.url(), &url);
            let setup = Gateway::with(ROUTES).and(&keys).upstream("echo", &echo);
            setup.file("ca.pem", authority.pem()).start().await
        };
        let trusting = gateway(&here, "ca = \"ca.pem\"").await;
        assert_eq!(status(&trusting.send(&with_key("the-key")).await), 200);
        let asked = service.count();
        for (pair, ca) in [
            (&stranger.pair(&["localhost"]), "ca = \"ca.pem\""),
            (&authority.pair(&["elsewhere.example"]), "ca = \"ca.pem\""),
            (&here, ""),
        ] {
            let gateway = gateway(pair, ca).await;
            refused(&gateway.send(&with_key("the-key")).await, 503, "auth_unavailable");
        }
        assert_eq!(service.count(), asked, "the key was told to nobody else");
        // A renewed one is believed without a restart, once the old one has failed.
        let renewed = gateway(&stranger.pair(&["localhost"]), "ca = \"ca.pem\"").await;
        refused(&renewed.send(&with_key("the-key")).await, 503, "auth_unavailable");
        renewed.write("ca.pem", stranger.pem());
        eventually("it is believed", async || {
            (status(&renewed.send(&with_key("the-key")).await) == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn an_answer_without_end_is_no_answer() {
        let (service, _echo, gateway) = world("retries = 0").await;
        let long = format!("{{\"user_id\":\"ada\",\"x\":\"{}\"}}", "x".repeat(70_000));
        service.answer(200, &long);
        refused(&gateway.send(&with_key("the-key")).await, 503, "auth_unavailable");
    }

    #[tokio::test]
    async fn a_failure_is_asked_again_within_the_time() {
        let (service, _echo, gateway) = world("timeout = \"15s\"").await;
        service.knows_user("the-key", "ada");
        service.hang_up_once();
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        assert_eq!(service.count(), 2);
    }

    #[tokio::test]
    async fn a_key_ends_when_its_record_says() {
        let (service, _echo, gateway) = world("").await;
        let soon_s = gateway::demo::tokens::now() + 2;
        service.knows("the-key", json!({ "user_id": "ada", "expires_at": soon_s }));
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        let refusal = eventually("it expires", async || {
            let response = gateway.send(&with_key("the-key")).await;
            (status(&response) == 401).then_some(response)
        })
        .await;
        refused(&refusal, 401, "invalid_api_key");
        assert!(gateway::demo::tokens::now() >= soon_s, "not before");
    }

    #[tokio::test]
    async fn the_internal_callers_own_name_is_no_keys_owner() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let internal = "[internal]\nkeys = [\"internal-secret-0123456789\"]";
        let gateway = setup(&service, &echo, "").await.and(internal).start().await;
        service.knows_user("the-key", "system");
        let refusal = gateway.send(&with_key("the-key")).await;
        refused(&refusal, 401, "invalid_api_key");
        assert_eq!(gateway.access_line_of(&refusal).await["detail"], "key_owner_unfit");
    }
}

mod how_seldom {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_thousand_first_requests_that_come_together_make_one_call() {
        let (service, _echo, gateway) = world("timeout = \"15s\"").await;
        let gate = Gate::shut();
        service.wait_for(&gate);
        service.knows_user("the-key", "ada");
        let mut clients = Vec::new();
        for _ in 0..1000 {
            let mut client = gateway.client().await;
            client.write(with_key("the-key").bytes(gateway.address)).await;
            clients.push(client);
        }
        gateway.metric_becomes("gateway_requests_in_flight", 1000.0).await;
        gate.open();
        for mut client in clients {
            assert_eq!(status(&client.response().await), 200);
        }
        assert_eq!(service.count(), 1);
        // One that was read just after the answer had come knows it already.
        eventually("a thousand are counted", async || {
            let shared = gateway.metric(&validations("remote", "success")).await;
            let known = gateway.metric(&validations("cache", "success")).await;
            (shared.unwrap_or_default() + known.unwrap_or_default() == 1000.0).then_some(())
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn ten_thousand_wrong_keys_from_one_address_cost_the_auth_service_what_the_limit_allows() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let failures = "[auth_failures]\nrate = \"30/hour\"";
        let gateway = setup(&service, &echo, "timeout = \"15s\"")
            .await
            .and(failures)
            .start()
            .await;
        let guessers = (0..50).map(|guesser| {
            let to = gateway.address;
            tokio::spawn(async move {
                let mut client = Client::of(to).await;
                let mut statuses = Vec::new();
                for guess in 0..200 {
                    let response = client.send(&with_key(&format!("wrong-{guesser}-{guess}"))).await;
                    statuses.push(status(&response));
                }
                statuses
            })
        });
        let mut statuses = Vec::new();
        for guesser in guessers.collect::<Vec<_>>() {
            statuses.extend(guesser.await.unwrap());
        }
        assert_eq!(statuses.len(), 10_000);
        assert!(service.count() <= 31, "{} look-ups", service.count());
        let refused = statuses.iter().filter(|status| **status == 401).count();
        assert_eq!(refused, service.count());
        assert!(statuses.iter().all(|status| matches!(status, 401 | 429)));
        // Whoever is known already still passes.
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn r39_a_flood_of_wrong_keys_does_not_push_out_those_that_are_in_use() {
        let (service, _echo, gateway) = world("max_entries = 200\ntimeout = \"15s\"").await;
        let keys: Vec<String> = (0..20).map(|number| format!("good-{number}")).collect();
        let mut client = gateway.client().await;
        for key in &keys {
            service.knows_user(key, "ada");
            for _ in 0..3 {
                assert_eq!(status(&client.send(&with_key(key)).await), 200);
            }
        }
        for number in 0..2000 {
            let guess = client.send(&with_key(&format!("wrong-{number}"))).await;
            assert_eq!(status(&guess), 401);
        }
        // Nobody could be asked about one that had gone.
        service.go_down();
        for key in &keys {
            assert_eq!(status(&client.send(&with_key(key)).await), 200, "{key}");
        }
        let shown = gateway.ask_admin("/status.json").await.json()["validators"][0].clone();
        assert!(shown["entries"].as_u64() <= Some(240), "{shown}");
    }

    #[tokio::test]
    async fn known_keys_pass_from_an_address_that_guessed_and_good_ones_are_no_guesses() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let failures = "[auth_failures]\nrate = \"3/hour\"";
        let gateway = setup(&service, &echo, "timeout = \"15s\"")
            .await
            .and(failures)
            .start()
            .await;
        let keys: Vec<String> = (0..20).map(|number| format!("good-{number}")).collect();
        keys.iter().for_each(|key| service.knows_user(key, "ada"));
        // More good keys at once than the allowance has places: none is refused.
        let gate = Gate::shut();
        service.wait_for(&gate);
        let mut clients = Vec::new();
        for key in &keys {
            let mut client = gateway.client().await;
            client.write(with_key(key).bytes(gateway.address)).await;
            clients.push(client);
        }
        gateway.metric_becomes("gateway_requests_in_flight", 20.0).await;
        gate.open();
        for client in &mut clients {
            assert_eq!(status(&client.response().await), 200);
        }
        for number in 0..3 {
            refused(
                &gateway.send(&with_key(&format!("wrong-{number}"))).await,
                401,
                "invalid_api_key",
            );
        }
        refused(&gateway.send(&with_key("wrong-3")).await, 429, "rate_limited");
        service.knows_user("new", "bob");
        refused(&gateway.send(&with_key("new")).await, 429, "rate_limited");
        assert_eq!(status(&gateway.send(&with_key("good-7")).await), 200);
        assert_eq!(service.count(), 23);
    }

    #[tokio::test]
    async fn r22_an_answer_is_kept_by_the_whole_key_and_where_it_counts_by_address() {
        let (service, _echo, gateway) = world("").await;
        let long = |end: &str| format!("{}{end}", "k".repeat(200));
        service.knows_user(&long("1"), "ada");
        assert_eq!(status(&gateway.send(&with_key(&long("1"))).await), 200);
        refused(&gateway.send(&with_key(&long("2"))).await, 401, "invalid_api_key");
        assert_eq!(service.count(), 2);

        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let listener = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\ntrusted_proxies = [\"127.0.0.1\"]";
        let lines = "request = { client_address = \"ip\" }";
        let gateway = setup(&service, &echo, lines).await.and(listener).start().await;
        service.knows_user("the-key", "ada");
        for address in ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1"] {
            let request = with_key("the-key").header("X-Forwarded-For", address);
            assert_eq!(status(&gateway.send(&request).await), 200);
        }
        assert_eq!(service.count(), 3);
    }

    #[tokio::test]
    async fn r24_who_asked_first_may_leave_and_who_waits_is_answered() {
        let (service, _echo, gateway) = world("timeout = \"15s\"").await;
        let gate = Gate::shut();
        service.wait_for(&gate);
        service.knows_user("the-key", "ada");
        let mut first = gateway.client().await;
        first.write(with_key("the-key").bytes(gateway.address)).await;
        service.server.got(1).await;
        let mut second = gateway.client().await;
        second.write(with_key("the-key").bytes(gateway.address)).await;
        gateway.metric_becomes("gateway_requests_in_flight", 2.0).await;
        first.reset();
        gate.open();
        assert_eq!(status(&second.response().await), 200);
        assert_eq!(service.count(), 1);
    }

    #[tokio::test]
    async fn r24_a_look_up_that_failed_for_one_is_not_the_end_for_others() {
        let (service, _echo, gateway) = world("timeout = \"15s\"\nretries = 0").await;
        let gate = Gate::shut();
        service.wait_for(&gate);
        service.knows_user("the-key", "ada");
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = gateway.client().await;
            client.write(with_key("the-key").bytes(gateway.address)).await;
            clients.push(client);
        }
        gateway.metric_becomes("gateway_requests_in_flight", 10.0).await;
        service.hang_up_once();
        gate.open();
        let mut statuses = Vec::new();
        for client in &mut clients {
            statuses.push(status(&client.response().await));
        }
        // Who began it has had all of its tries, and is refused unless the answer of the one that the others share has come
        // before it looked.
        statuses.sort_unstable();
        assert_eq!(statuses[..9], [200; 9]);
        assert!([200, 503].contains(&statuses[9]), "{statuses:?}");
        assert_eq!(service.count(), 2);
    }

    #[tokio::test]
    async fn a_key_in_use_is_renewed_ahead_and_nobody_waits_for_it() {
        let (service, _echo, gateway) = world("cache_ttl = \"1s\"").await;
        service.knows_user("the-key", "ada");
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        let gate = Gate::shut();
        service.wait_for(&gate);
        // In use the whole time: the look-up that renews it hangs, and no request does.
        let mut client = gateway.client().await;
        let began = Instant::now();
        let mut longest = Duration::ZERO;
        while began.elapsed() < Duration::from_millis(1500) {
            let asked = Instant::now();
            assert_eq!(status(&client.send(&with_key("the-key")).await), 200);
            longest = longest.max(asked.elapsed());
        }
        assert_eq!(service.count(), 2, "one renewal");
        assert!(longest < Duration::from_millis(400), "{longest:?}");
        gate.open();
        eventually("it is renewed", async || {
            let before = gateway.metric(&validations("cache", "success")).await;
            assert_eq!(status(&client.send(&with_key("the-key")).await), 200);
            (gateway.metric(&validations("cache", "success")).await > before).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_key_that_was_revoked_there_is_refused_once_its_time_is_over() {
        let (service, _echo, gateway) = world("cache_ttl = \"1s\"\nnegative_ttl = \"1s\"").await;
        service.knows_user("the-key", "ada");
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        service.forgets("the-key");
        eventually("it is refused", async || {
            (status(&gateway.send(&with_key("the-key")).await) == 401).then_some(())
        })
        .await;
        service.knows_user("the-key", "ada");
        eventually("it is taken again", async || {
            (status(&gateway.send(&with_key("the-key")).await) == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn what_is_known_is_known_after_a_reload_that_changed_something_else() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let setup = setup(&service, &echo, "").await;
        let config = setup.config();
        let gateway = setup.start().await;
        service.knows_user("the-key", "ada");
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        let changed = format!("{config}\n[limits.x]\nrate = \"5/s\"\n");
        std::fs::write(gateway.path("gateway.toml"), changed).unwrap();
        gateway.metric_becomes("gateway_config_generation", 2.0).await;
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        assert_eq!(service.count(), 1);
        let changed = config.replace("/validate", "/validate2");
        std::fs::write(gateway.path("gateway.toml"), changed).unwrap();
        gateway.metric_becomes("gateway_config_generation", 3.0).await;
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        assert_eq!(service.count(), 2, "another service is asked afresh, and can be");
    }
}

mod when_it_cannot_be_asked {
    use super::*;

    #[tokio::test]
    async fn an_answer_that_says_nothing_is_shown_until_the_next_that_does() {
        let (service, _echo, gateway) = world("").await;
        service.answer(200, "no json");
        refused(&gateway.send(&with_key("the-key")).await, 503, "auth_unavailable");
        let shown = async || gateway.ask_admin("/status.json").await.json()["validators"][0].clone();
        assert!(shown().await["last_error"].is_string(), "{}", shown().await);
        service.come_back();
        service.knows_user("the-key", "ada");
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        assert!(shown().await["last_error"].is_null(), "{}", shown().await);
    }

    #[tokio::test]
    async fn known_keys_serve_on_others_are_503_at_once_and_it_recovers_by_itself() {
        let (service, _echo, gateway) = world("cache_ttl = \"1s\"").await;
        service.knows_user("the-key", "ada");
        service.knows_user("later", "bob");
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        service.go_down();
        let began = Instant::now();
        refused(&gateway.send(&with_key("new-0")).await, 503, "auth_unavailable");
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let asked = service.count();
        let began = Instant::now();
        for number in 1..20 {
            refused(
                &gateway.send(&with_key(&format!("new-{number}"))).await,
                503,
                "auth_unavailable",
            );
        }
        let each = began.elapsed() / 19;
        assert!(each < Duration::from_millis(100), "the breaker is open: {each:?}");
        assert!(service.count() <= asked + 1, "{} after {asked}", service.count());
        let status_json = gateway.ask_admin("/status.json").await.json();
        let shown = &status_json["validators"][0];
        assert_eq!(
            (&shown["name"], &shown["up"]),
            (&json!("api_keys"), &json!(false)),
            "{shown}"
        );
        gateway
            .metric_becomes("gateway_dependency_up{dependency=\"api_keys\"}", 0.0)
            .await;
        // Beyond its own time, the key that was known serves.
        eventually("the entry is stale, and serves", async || {
            let response = gateway.send(&with_key("the-key")).await;
            assert_eq!(status(&response), 200);
            (gateway.metric(&validations("stale", "success")).await > Some(3.0)).then_some(())
        })
        .await;
        gateway.event("auth service cannot be asked").await;
        service.come_back();
        eventually("it recovers", async || {
            (status(&gateway.send(&with_key("later")).await) == 200).then_some(())
        })
        .await;
        gateway
            .metric_becomes("gateway_dependency_up{dependency=\"api_keys\"}", 1.0)
            .await;
        gateway.event("auth service answers again").await;
    }

    #[tokio::test]
    async fn a_stale_key_serves_no_longer_than_it_may() {
        let (service, _echo, gateway) = world("cache_ttl = \"200ms\"\nstale_if_error = \"1s\"\nretries = 0").await;
        service.knows_user("the-key", "ada");
        assert_eq!(status(&gateway.send(&with_key("the-key")).await), 200);
        let began = Instant::now();
        service.go_down();
        let refusal = eventually("it is over", async || {
            let response = gateway.send(&with_key("the-key")).await;
            (status(&response) != 200).then_some(response)
        })
        .await;
        refused(&refusal, 503, "auth_unavailable");
        assert!(began.elapsed() > Duration::from_millis(1100), "{:?}", began.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_that_is_slow_makes_nobody_slow_whose_key_is_known() {
        let (service, _echo, gateway) = world("timeout = \"15s\"").await;
        service.knows_user("the-key", "ada");
        let mut client = gateway.client().await;
        let mut window = async || {
            let (mut times, began) = (Vec::new(), Instant::now());
            while times.len() < 300 && began.elapsed() < Duration::from_secs(2) {
                let asked = Instant::now();
                assert_eq!(status(&client.send(&with_key("the-key")).await), 200);
                times.push(asked.elapsed());
            }
            p99(times)
        };
        window().await;
        // Turn about, that both have the same machine: nobody waits for the auth service, and fifty do.
        let (mut usual, mut slow) = (Vec::new(), Vec::new());
        for round in 0..5 {
            usual.push(window().await);
            let (gate, asked) = (Gate::shut(), service.count());
            service.wait_for(&gate);
            let mut waiting = Vec::new();
            for number in 0..50 {
                let mut client = gateway.client().await;
                let key = format!("new-{round}-{number}");
                service.knows_user(&key, "bob");
                client.write(with_key(&key).bytes(gateway.address)).await;
                waiting.push(client);
            }
            service.server.got(asked + 50).await;
            slow.push(window().await);
            gate.open();
            for client in &mut waiting {
                assert_eq!(status(&client.response().await), 200);
            }
        }
        println!("p99 of a known key: usual {usual:?}, beside a slow auth service {slow:?}");
        let (usual, slow) = (median(usual), median(slow));
        assert!(slow <= usual * 2, "{usual:?} became {slow:?}");
    }

    #[tokio::test]
    async fn unknown_keys_do_not_wait_longer_than_they_may_for_one_that_never_answers() {
        let (service, _echo, gateway) = world("timeout = \"300ms\"").await;
        let gate = Gate::shut();
        service.wait_for(&gate);
        let mut waiting = Vec::new();
        for number in 0..50 {
            let mut client = gateway.client().await;
            client
                .write(with_key(&format!("new-{number}")).bytes(gateway.address))
                .await;
            waiting.push(client);
        }
        for mut client in waiting {
            refused(&client.response().await, 503, "auth_unavailable");
        }
    }

    #[tokio::test]
    async fn nobody_there_at_all_is_503_too() {
        let echo = Upstream::echo().await;
        let nobody = Upstream::nobody().await;
        let keys = format!("[api_keys]\n[api_keys.remote]\nurl = \"http://{nobody}/validate\"");
        let gateway = Gateway::with(ROUTES).and(&keys).upstream("echo", &echo).start().await;
        let refusal = gateway.send(&with_key("the-key")).await;
        refused(&refusal, 503, "auth_unavailable");
        assert!(refusal.head.first("www-authenticate").is_none());
        assert_eq!(echo.count(), 0);
    }
}

mod explain {
    use super::*;

    #[tokio::test]
    async fn it_cannot_tell_what_only_the_auth_service_knows_unless_it_may_ask() {
        let (service, echo) = (AuthService::start().await, Upstream::echo().await);
        let setup = setup(&service, &echo, "").await;
        service.knows_user("the-key", "ada");
        let ask = async |more: &[&str]| {
            let arguments = [&["explain", "GET", "/keys/x", "--json", "-H"], more].concat();
            let output = setup.run(&arguments).await;
            let report: Value = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.code().unwrap(), report)
        };
        let (code, report) = ask(&["X-API-Key: the-key"]).await;
        assert_eq!((code, &report["decision"]), (4, &json!("unknown")));
        assert!(report["missing"].as_str().unwrap().contains("api_keys"), "{report}");
        assert_eq!(service.count(), 0);
        let (code, report) = ask(&["X-API-Key: the-key", "--online"]).await;
        assert_eq!((code, &report["identity"]["user"]), (0, &json!("ada")));
        let (code, report) = ask(&["X-API-Key: wrong", "--online"]).await;
        assert_eq!((code, &report["detail"]), (2, &json!("key_unknown")));
        service.go_down();
        let (code, _) = ask(&["X-API-Key: the-key", "--online"]).await;
        assert_eq!(code, 4);
    }
}
