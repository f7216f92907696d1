//! The life of an issuer's keys: found, rotated, asked for by strangers, and kept through hours in which nobody answers. The hours
//! are the test's own: [`Clock`](crate::harness::Clock) moves the gateway's clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::tls::{Authority, Terminator};
use crate::harness::{Clock, Gateway, Issuer, Key, Request, Setup, Upstream, eventually, median, p99, refused, status};

const HOUR: i64 = 3600;

const TOKENS: &str = r#"
[[routes]]
name = "tokens"
paths = ["/*"]
upstream = "echo"
auth = "jwt"
[[routes]]
name = "open"
paths = ["/open"]
upstream = "echo"
auth = "none"
"#;

fn house(echo: &Upstream) -> Setup {
    Gateway::with(TOKENS).upstream("echo", echo)
}

fn with(token: &str) -> Request {
    Request::get("/").bearer(token)
}

/// A token that is good by this clock.
fn token_at(clock: &Clock, issuer: &Issuer, key: &Key) -> String {
    let claims = json!({ "iat": clock.now(), "exp": clock.now() + 600 });
    key.sign(&issuer.claims_with(claims))
}

async fn failures(gateway: &Gateway) -> f64 {
    let failures = gateway.metric("jwks_refresh_failures_total{issuer=\"main\"}").await;
    failures.expect("it is there from the start")
}

mod down {
    use super::*;

    #[tokio::test]
    async fn keys_serve_for_max_stale_then_nobody_can_tell_and_it_heals_by_itself() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let (setup, clock) = house(&echo).issuer("main", &issuer).clock();
        let gateway = setup.start().await;
        let send = async || gateway.send(&with(&token_at(&clock, &issuer, &issuer.key))).await;
        assert_eq!(status(&send().await), 200);

        issuer.go_down();
        clock.advance(23 * HOUR);
        eventually("a refresh fails", async || {
            (failures(&gateway).await >= 1.0).then_some(())
        })
        .await;
        for _ in 0..20 {
            assert_eq!(status(&send().await), 200, "after 23 hours");
        }
        let known = token_at(&clock, &issuer, &issuer.key);
        let lasting = issuer
            .key
            .sign(&issuer.claims_with(json!({ "exp": clock.now() + 100 * HOUR })));
        for token in [&known, &lasting] {
            assert_eq!(status(&gateway.send(&with(token)).await), 200);
        }

        clock.advance(2 * HOUR);
        let before = failures(&gateway).await;
        eventually("a refresh fails again", async || {
            (failures(&gateway).await > before).then_some(())
        })
        .await;
        refused(&send().await, 503, "auth_unavailable");
        refused(&gateway.send(&with(&lasting)).await, 503, "auth_unavailable");
        // Who it is is unknown, not unproven: also for a token that no key of theirs signed.
        refused(
            &gateway.send(&with(&token_at(&clock, &issuer, &Key::ec("key-1")))).await,
            503,
            "auth_unavailable",
        );
        assert_eq!(status(&gateway.get("/open").await), 200);
        let shown = gateway.ask_admin("/status.json").await.json()["issuers"][0].clone();
        assert_eq!(shown["keys"], json!(["key-1"]));
        assert!(shown["age_seconds"].as_i64() >= Some(25 * HOUR), "{shown}");
        assert!(shown["last_error"].is_string(), "{shown}");
        assert!(shown["next_refresh_seconds"].as_i64() <= Some(10), "{shown}");

        issuer.publish(&[&issuer.key]);
        clock.advance(10);
        let began = Instant::now();
        eventually("it is served again", async || {
            (status(&send().await) == 200).then_some(())
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(10), "within one refresh");
        assert_eq!(status(&gateway.send(&with(&lasting)).await), 200);
    }

    #[tokio::test]
    async fn an_issuer_that_is_down_at_the_start_delays_nobody_else_and_is_found_when_it_appears() {
        let (echo, issuer, other) = (Upstream::echo().await, Issuer::start().await, Issuer::start().await);
        issuer.go_down();
        let setup = house(&echo).issuer("main", &issuer).issuer("other", &other);
        let gateway = setup.start().await;
        assert_eq!(status(&gateway.get("/open").await), 200);
        assert_eq!(status(&gateway.send(&with(&other.token())).await), 200);
        refused(&gateway.send(&with(&issuer.token())).await, 503, "auth_unavailable");
        issuer.publish(&[&issuer.key]);
        eventually("its own are served", async || {
            (status(&gateway.send(&with(&issuer.token())).await) == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn an_issuer_that_can_be_reached_is_never_stale_however_short_max_stale_is() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let lines = "algorithms = [\"ES256\"]\nmax_stale = \"10s\"";
        let (setup, clock) = house(&echo).issuer_with("main", &issuer, lines).clock();
        let gateway = setup.start().await;
        for _ in 0..10 {
            clock.advance(20);
            let token = token_at(&clock, &issuer, &issuer.key);
            assert_eq!(status(&gateway.send(&with(&token)).await), 200);
        }
    }

    #[tokio::test]
    async fn a_set_without_a_usable_key_is_no_answer() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        issuer.publish(&[&Key::hmac("oct", "a published secret is no secret at all")]);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        refused(&gateway.send(&with(&issuer.token())).await, 503, "auth_unavailable");
        assert_eq!(gateway.event("JWKS key skipped").await["kid"], "oct");
    }
}

mod rotated {
    use super::*;

    #[tokio::test]
    async fn a_new_key_every_second_fifteen_seconds_ahead_of_its_use_refuses_no_valid_token() {
        const AHEAD: usize = 15;
        const LIFETIME: usize = 10;
        const REQUESTS: usize = 1000;
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let keys: Vec<Key> = (0..60).map(|second| Key::ec(&format!("key-{second}"))).collect();
        // At second `now`, key `now` signs; those that will, and those whose tokens may live yet, are published.
        let publish = |now: usize| {
            let live = &keys[now.saturating_sub(LIFETIME + 1)..=now + AHEAD];
            issuer.publish(&live.iter().collect::<Vec<_>>());
        };
        publish(0);
        let (setup, clock) = house(&echo).issuer("main", &issuer).clock();
        let gateway = setup.start().await;
        let mut clients = Vec::new();
        for _ in 0..8 {
            clients.push(gateway.client().await);
        }
        let mut tokens: Vec<String> = Vec::new();
        for (now, key) in keys.iter().enumerate().take(34) {
            publish(now);
            let claims = json!({ "iat": clock.now(), "exp": clock.now() + 600, "jti": now.to_string() });
            tokens.push(key.sign(&issuer.claims_with(claims)));
            // Each is used for so many seconds of the test's; by the gateway's clock a busy machine takes longer.
            let live: Vec<String> = tokens.iter().rev().take(LIFETIME - 1).cloned().collect();
            let mut sending = JoinSet::new();
            for (place, mut client) in clients.drain(..).enumerate() {
                let live = live.clone();
                sending.spawn(async move {
                    for turn in 0..REQUESTS / 8 {
                        let token = &live[(turn * 8 + place) % live.len()];
                        let response = client.send(&with(token)).await;
                        assert_eq!(status(&response), 200, "second {now}: {}", response.json());
                    }
                    client
                });
            }
            clients = sending.join_all().await;
            clock.advance(1);
        }
        let fetches = issuer.fetches();
        assert!((2..=5).contains(&fetches), "{fetches} fetches in 34 seconds");
    }

    #[tokio::test]
    async fn one_that_nobody_announced_is_healed_by_its_first_token() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let (setup, clock) = house(&echo).issuer("main", &issuer).clock();
        let gateway = setup.start().await;
        let (second, third) = (Key::ec("key-2"), Key::ec("key-3"));
        issuer.publish(&[&second]);
        assert_eq!(
            status(&gateway.send(&with(&token_at(&clock, &issuer, &second))).await),
            200
        );
        assert_eq!(issuer.fetches(), 2);
        // Again at once: that is 401 for the rest of ten seconds, and no longer.
        issuer.publish(&[&third]);
        for pause in [0, 3] {
            clock.advance(pause);
            let refusal = gateway.send(&with(&token_at(&clock, &issuer, &third))).await;
            refused(&refusal, 401, "invalid_token");
        }
        clock.advance(7);
        assert_eq!(
            status(&gateway.send(&with(&token_at(&clock, &issuer, &third))).await),
            200
        );
        assert_eq!(issuer.fetches(), 3);
    }

    #[tokio::test]
    async fn tokens_without_a_key_id_heal_it_too() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let mut second = Key::ec("key-2");
        issuer.publish(&[&second]);
        second.kid.clear();
        let header = json!({ "alg": "ES256" });
        let token = second.sign_with(&header, &issuer.claims().to_string());
        assert_eq!(status(&gateway.send(&with(&token)).await), 200);
    }

    #[tokio::test]
    async fn the_issuers_max_age_shortens_the_interval_but_not_under_thirty_seconds() {
        for (said, due) in [
            ("max-age=60", 60),
            ("public, max-age=1", 30),
            ("no-store", 1800),
            ("max-age=9999", 1800),
        ] {
            let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
            let document = json!({ "keys": [issuer.key.jwk()] }).to_string();
            let length = document.len();
            issuer.say(&format!(
                "HTTP/1.1 200 OK\r\nCache-Control: {said}\r\nContent-Length: {length}\r\n\r\n{document}"
            ));
            let (setup, clock) = house(&echo).issuer("main", &issuer).clock();
            let began = Instant::now();
            let gateway = setup.start().await;
            let shown = gateway.ask_admin("/status.json").await.json();
            let planned = shown["issuers"][0]["next_refresh_seconds"].as_i64().unwrap();
            // Whole seconds are shown, and a busy machine has used up some of them.
            let passed = i64::try_from(began.elapsed().as_secs()).unwrap() + 2;
            assert!((due * 9 / 10 - passed..=due).contains(&planned), "{said}: {planned}");
            clock.advance(due / 3);
            gateway.metrics().await;
            assert_eq!(issuer.fetches(), 1, "{said}");
            clock.advance(due - due / 3);
            eventually("it is asked again", async || {
                gateway.metrics().await;
                (issuer.fetches() == 2).then_some(())
            })
            .await;
        }
    }
}

mod strangers {
    use super::*;

    const WINDOWS: usize = 8;
    const FLOOD: usize = 10_000;
    const HONEST: usize = 4;
    const LOAD: usize = 8;

    /// Sends requests over eight connections, each with one of these tokens; gives the times of those that others with a good token
    /// send meanwhile.
    async fn under_load(gateway: &Gateway, good: &str, tokens: Vec<String>) -> Vec<Duration> {
        let over = Arc::new(AtomicBool::new(false));
        let mut honest = JoinSet::new();
        for _ in 0..HONEST {
            let (mut client, request, ended) = (gateway.client().await, with(good), over.clone());
            honest.spawn(async move {
                let mut times = Vec::new();
                while !ended.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    assert_eq!(status(&client.send(&request).await), 200);
                    times.push(began.elapsed());
                }
                times
            });
        }
        let mut load = JoinSet::new();
        for share in tokens.chunks(tokens.len().div_ceil(LOAD)) {
            let requests: Vec<Request> = share.iter().map(|token| with(token)).collect();
            let mut client = gateway.client().await;
            load.spawn(async move {
                for request in &requests {
                    client.send(request).await;
                }
            });
        }
        load.join_all().await;
        over.store(true, Ordering::Relaxed);
        honest.join_all().await.concat()
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn r24_ten_thousand_made_up_key_ids_cost_the_issuer_one_fetch_and_honest_callers_nothing() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let (good, others) = (issuer.token(), issuer.token_with(json!({ "sub": "bob" })));
        let signed = Key::ec("forger").sign(&issuer.claims());
        let rest = signed.split_once('.').unwrap().1;
        let forged = |turn: usize| {
            let header = json!({ "alg": "ES256", "kid": format!("made-up-{turn}") });
            format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()))
        };
        let began = Instant::now();
        // Turn about, that both have the same machine: as much load of honest tokens, and the flood.
        let (mut usual, mut flooded, mut flood) = (Vec::new(), Vec::new(), Duration::ZERO);
        for window in 0..WINDOWS {
            let honest = vec![others.clone(); FLOOD / WINDOWS];
            usual.push(p99(under_load(&gateway, &good, honest).await));
            let turns = window * FLOOD / WINDOWS..(window + 1) * FLOOD / WINDOWS;
            let begun = Instant::now();
            flooded.push(p99(under_load(&gateway, &good, turns.map(forged).collect()).await));
            flood += begun.elapsed();
        }
        println!("{FLOOD} made-up key ids in {flood:?}; p99 of honest requests:\nusual {usual:?}\nflooded {flooded:?}");
        let (usual, flooded) = (median(usual), median(flooded));
        assert!(flooded <= usual * 2, "{usual:?} became {flooded:?}");
        // The one at the start; one, and another for each ten seconds that it took.
        let allowed = 2 + usize::try_from(began.elapsed().as_secs() / 10).unwrap();
        let fetches = issuer.fetches();
        assert!((2..=allowed).contains(&fetches), "{fetches} fetches");
    }
}

mod discovered {
    use super::*;

    /// A web site of the issuer's: path → the whole answer.
    #[derive(Clone, Default)]
    struct Site(Arc<Mutex<BTreeMap<String, Vec<u8>>>>);

    impl Site {
        async fn start(&self) -> Upstream {
            let site = self.clone();
            Upstream::answering(move |received| {
                let path = received.line.split(' ').nth(1).unwrap_or_default();
                let absent = || b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
                site.0.lock().get(path).cloned().unwrap_or_else(absent)
            })
            .await
        }

        fn has(&self, path: &str, document: &Value) {
            let document = document.to_string();
            let length = document.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{document}");
            self.0.lock().insert(path.to_owned(), answer.into_bytes());
        }

        fn leads(&self, path: &str, to: &str) {
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n");
            self.0.lock().insert(path.to_owned(), answer.into_bytes());
        }
    }

    fn section(issuer: &str) -> String {
        format!("[issuers.main]\nissuer = \"{issuer}\"\ndiscovery = true\nalgorithms = [\"ES256\"]")
    }

    fn claims(issuer: &str) -> Value {
        let now = gateway::demo::tokens::now();
        json!({ "iss": issuer, "sub": "ada", "iat": now, "exp": now + 600 })
    }

    #[tokio::test]
    async fn keys_are_where_the_metadata_of_either_standard_says() {
        for (own, metadata) in [
            ("", "/.well-known/openid-configuration"),
            ("/realms/one", "/realms/one/.well-known/openid-configuration"),
            ("", "/.well-known/oauth-authorization-server"),
            ("/realms/one", "/.well-known/oauth-authorization-server/realms/one"),
        ] {
            let (echo, site, key) = (Upstream::echo().await, Site::default(), Key::ec("key-1"));
            let server = site.start().await;
            let issuer = format!("http://{}{own}", server.address);
            site.has(
                metadata,
                &json!({ "issuer": issuer, "jwks_uri": format!("http://{}/keys", server.address) }),
            );
            site.has("/keys", &json!({ "keys": [key.jwk()] }));
            let gateway = house(&echo).and(&section(&issuer)).start().await;
            let response = gateway.send(&with(&key.sign(&claims(&issuer)))).await;
            assert_eq!(status(&response), 200, "{metadata}");
            // An unknown key id costs the issuer one request, not two.
            let before = server.count();
            let second = Key::ec("key-2");
            site.has("/keys", &json!({ "keys": [second.jwk()] }));
            assert_eq!(status(&gateway.send(&with(&second.sign(&claims(&issuer)))).await), 200);
            assert_eq!(server.count(), before + 1);
        }
    }

    #[tokio::test]
    async fn metadata_of_another_issuer_or_without_keys_is_none() {
        let (echo, site, key) = (Upstream::echo().await, Site::default(), Key::ec("key-1"));
        let server = site.start().await;
        let issuer = format!("http://{}", server.address);
        let keys = format!("{issuer}/keys");
        site.has("/keys", &json!({ "keys": [key.jwk()] }));
        let place = "/.well-known/openid-configuration";
        site.has(place, &json!({ "issuer": "http://somebody.example", "jwks_uri": keys }));
        let gateway = house(&echo).and(&section(&issuer)).start().await;
        let token = key.sign(&claims(&issuer));
        refused(&gateway.send(&with(&token)).await, 503, "auth_unavailable");
        let failed = gateway.event("JWKS refresh failed").await;
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains("`issuer` is not the configured one"), "{error}");
        site.has(place, &json!({ "issuer": issuer, "jwks_uri": keys }));
        eventually("it is believed", async || {
            (status(&gateway.send(&with(&token)).await) == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn a_redirect_is_followed_at_home_and_to_nobody_else() {
        let (echo, site, key) = (Upstream::echo().await, Site::default(), Key::ec("key-1"));
        let elsewhere = Issuer::with(key.clone()).await;
        let server = site.start().await;
        let issuer = format!("http://{}", server.address);
        site.has("/new", &json!({ "keys": [key.jwk()] }));
        site.leads("/keys", &elsewhere.jwks_url());
        let section =
            format!("[issuers.main]\nissuer = \"{issuer}\"\njwks_url = \"{issuer}/keys\"\nalgorithms = [\"ES256\"]");
        let gateway = house(&echo).and(&section).start().await;
        let token = key.sign(&claims(&issuer));
        refused(&gateway.send(&with(&token)).await, 503, "auth_unavailable");
        assert_eq!(elsewhere.fetches(), 0);
        site.leads("/keys", "/new");
        eventually("it is followed", async || {
            (status(&gateway.send(&with(&token)).await) == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn keys_over_tls_are_believed_by_the_issuers_own_authority_and_by_no_other() {
        let (echo, site, key) = (Upstream::echo().await, Site::default(), Key::ec("key-1"));
        let server = site.start().await;
        site.has("/keys", &json!({ "keys": [key.jwk()] }));
        let (authority, stranger) = (Authority::new(), Authority::new());
        for (shown, ca, status_of_it) in [
            (authority.pair(&["localhost"]), "ca = \"ca.pem\"", 200),
            (stranger.pair(&["localhost"]), "ca = \"ca.pem\"", 503),
            (authority.pair(&["elsewhere.example"]), "ca = \"ca.pem\"", 503),
            // The system does not know it.
            (authority.pair(&["localhost"]), "", 503),
        ] {
            let terminator = Terminator::before(server.address, &shown, &stranger).await;
            let issuer = format!("https://localhost:{}", terminator.address.port());
            let metadata = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
            site.has("/.well-known/openid-configuration", &metadata);
            for source in [format!("jwks_url = \"{issuer}/keys\""), "discovery = true".to_owned()] {
                let section =
                    format!("[issuers.main]\nissuer = \"{issuer}\"\n{source}\nalgorithms = [\"ES256\"]\n{ca}");
                let gateway = house(&echo).and(&section).file("ca.pem", authority.pem()).start().await;
                let response = gateway.send(&with(&key.sign(&claims(&issuer)))).await;
                assert_eq!(status(&response), status_of_it, "{source} {ca}");
            }
        }
    }

    #[tokio::test]
    async fn a_renewed_authority_is_believed_without_a_restart() {
        let (echo, site, key) = (Upstream::echo().await, Site::default(), Key::ec("key-1"));
        let server = site.start().await;
        site.has("/keys", &json!({ "keys": [key.jwk()] }));
        let (old, new) = (Authority::new(), Authority::new());
        let terminator = Terminator::before(server.address, &new.pair(&["localhost"]), &new).await;
        let issuer = format!("https://localhost:{}", terminator.address.port());
        let section = format!(
            "[issuers.main]\nissuer = \"{issuer}\"\njwks_url = \"{issuer}/keys\"\nalgorithms = [\"ES256\"]\nca = \"ca.pem\""
        );
        let gateway = house(&echo).and(&section).file("ca.pem", old.pem()).start().await;
        let token = key.sign(&claims(&issuer));
        refused(&gateway.send(&with(&token)).await, 503, "auth_unavailable");
        gateway.write("ca.pem", new.pem());
        eventually("it is believed", async || {
            (status(&gateway.send(&with(&token)).await) == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn discovery_needs_an_issuer_to_ask() {
        let echo = Upstream::echo().await;
        for issuer in ["", "issuer = \"codelab\"\n", "issuer = \"ftp://a\"\n"] {
            let ended = house(&echo)
                .and(&format!("[issuers.main]\n{issuer}discovery = true"))
                .run(&["check"])
                .await;
            let said = String::from_utf8_lossy(&ended.stderr).into_owned() + &String::from_utf8_lossy(&ended.stdout);
            assert_eq!(ended.status.code(), Some(3), "{said}");
            assert!(said.contains("issuers.main.discovery: needs `issuer`"), "{said}");
        }
    }
}
