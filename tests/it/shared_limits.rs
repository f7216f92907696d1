//! Limits that gateways count together in Redis: exact across gateways, one round trip, and never a failed request because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::policy::limit::{Quota, Window};
use serde_json::json;

use crate::harness::{Gateway, Issuer, Redis, Request, Setup, Upstream, eventually, left, refused, status};

const UP: &str = "gateway_dependency_up{dependency=\"redis\"}";
const ERRORS: &str = "gateway_store_errors_total{store=\"redis\"}";
/// For tests in which Redis is there: on a busy machine its answer may take longer than the usual 50 ms, and then each gateway counts
/// for itself.
const PATIENT: &str = "timeout = \"15s\"";

struct House {
    redis: Redis,
    echo: Upstream,
}

impl House {
    async fn new() -> Self {
        Self {
            redis: Redis::start().await,
            echo: Upstream::echo().await,
        }
    }

    /// With these limits, which are those of the one route, open to all.
    fn setup(&self, redis: &str, limits: &[(&str, &str)]) -> Setup {
        let names: Vec<String> = limits.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let names = names.join(", ");
        let limits: String = limits
            .iter()
            .map(|(name, lines)| format!("[limits.{name}]\nstore = \"redis\"\n{lines}\n"))
            .collect();
        let route = "[[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"echo\"\n";
        let route = format!("{route}auth = \"none\"\nlimits = [{names}]\n");
        Gateway::with(&(self.redis.section(redis) + &limits + &route)).upstream("echo", &self.echo)
    }

    /// The same, for callers who come with tokens.
    fn setup_for(&self, issuer: &Issuer, limits: &[(&str, &str)]) -> Setup {
        let config = self.setup(PATIENT, limits).config().replace("\"none\"", "\"jwt\"");
        Gateway::with(&config).issuer("main", issuer)
    }

    /// A gateway that is connected to Redis.
    async fn gateway(&self, redis: &str, limits: &[(&str, &str)]) -> Gateway {
        let gateway = self.setup(redis, limits).start().await;
        is_connected(&gateway).await;
        gateway
    }
}

async fn is_connected(gateway: &Gateway) {
    gateway.event("Redis connected").await;
    gateway.metric_becomes(UP, 1.0).await;
}

/// Requests on 64 connections, half of them to each gateway, for so long; how many were let pass, and all statuses there were.
async fn press(gateways: [&Gateway; 2], time: Duration) -> usize {
    let admitted = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for place in 0..64 {
        let mut client = gateways[place % 2].client().await;
        let admitted = admitted.clone();
        callers.spawn(async move {
            while began.elapsed() < time {
                match status(&client.send(&Request::get("/")).await) {
                    200 => admitted.fetch_add(1, Ordering::Relaxed),
                    429 => 0,
                    other => panic!("{other}"),
                };
            }
        });
    }
    callers.join_all().await;
    admitted.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_admit_burst_and_rate_together_and_not_one_more() {
    let house = House::new().await;
    let limits = [("api", "rate = \"600/min\"\nburst = 20\nby = \"global\"")];
    let (one, other) = (
        house.gateway(PATIENT, &limits).await,
        house.gateway(PATIENT, &limits).await,
    );
    let began = Instant::now();
    let admitted = press([&one, &other], Duration::from_secs(3)).await;
    let most = 20.0 + 10.0 * began.elapsed().as_secs_f64();
    println!("admitted {admitted} of at most {most:.2}");
    assert!(admitted as f64 <= most, "{admitted} of {most}");
    assert!(admitted >= 20 + 10 * 2, "{admitted}: what is allowed is let pass");
    assert_eq!(one.metric(ERRORS).await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gateways_let_a_window_be_filled_once() {
    let house = House::new().await;
    for (rate, count) in [("5/min", 5), ("3/hour", 3), ("1000/hour", 1000)] {
        let _: () = house.redis.ask(&["FLUSHALL"]).await;
        let lines = format!("rate = \"{rate}\"\nalgorithm = \"sliding_window\"\nby = \"global\"");
        let limits = [("login", lines.as_str())];
        let (one, other) = (
            house.gateway(PATIENT, &limits).await,
            house.gateway(PATIENT, &limits).await,
        );
        let admitted = press([&one, &other], Duration::from_secs(2)).await;
        assert!(admitted <= count, "{rate}: {admitted}");
        // A thousand may take longer than that on a busy machine; the others are used up many times.
        assert!(admitted == count || count == 1000, "{rate}: {admitted}");
        println!("{rate}: {admitted} let pass");
    }
}

#[tokio::test]
async fn several_limits_cost_one_round_trip_and_are_charged_all_or_none() {
    let house = House::new().await;
    let limits = [
        ("wide", "rate = \"100/hour\"\nby = \"global\""),
        (
            "narrow",
            "rate = \"2/hour\"\nby = \"global\"\nalgorithm = \"sliding_window\"",
        ),
    ];
    let gateway = house.gateway(PATIENT, &limits).await;
    let _: () = house.redis.ask(&["CONFIG", "RESETSTAT"]).await;
    for (wide, narrow) in [(99, 1), (98, 0)] {
        let response = gateway.get("/").await;
        assert_eq!(
            (left(&response, "wide"), left(&response, "narrow")),
            (Some(wide), Some(narrow))
        );
    }
    for _ in 0..3 {
        let response = gateway.get("/").await;
        refused(&response, 429, "rate_limited");
        let retry: u64 = response.head.first("retry-after").unwrap().parse().unwrap();
        assert!((3590..=3600).contains(&retry), "{retry}");
        assert_eq!(left(&response, "narrow"), Some(0));
    }
    let stats: String = house.redis.ask(&["INFO", "commandstats"]).await;
    let scripts = stats.lines().find(|line| line.starts_with("cmdstat_evalsha:")).unwrap();
    // Five requests, and the first time the script was not there yet.
    assert!(scripts.contains("calls=6,"), "{scripts}");
    // The refused ones charged nothing; and every key ends by itself.
    let keys: Vec<String> = house.redis.ask(&["KEYS", "gateway:limit:*"]).await;
    assert_eq!(keys.len(), 2, "{keys:?}");
    for key in &keys {
        let left: i64 = house.redis.ask(&["PTTL", key]).await;
        assert!((1..=3_600_002).contains(&left), "{key}: {left} ms");
        if key.contains(":wide:") {
            let state: String = house.redis.ask(&["GET", key]).await;
            let debt: f64 = state.split(' ').nth(1).unwrap().parse().unwrap();
            let units = debt / 1024.0 / 36_000_000.0;
            assert!(units > 1.9 && units <= 2.0, "{state}: {units}");
        }
    }
}

#[tokio::test]
async fn a_request_that_another_limit_refuses_gets_back_what_it_was_charged_in_redis() {
    let house = House::new().await;
    let issuer = Issuer::start().await;
    let own = "[limits.own]\nrate = \"1/hour\"\nby = \"user\"\n";
    let setup = house.setup_for(&issuer, &[("address", "rate = \"2/hour\"\nby = \"ip\"")]);
    let config = setup
        .config()
        .replace("limits = [\"address\"]", "limits = [\"address\", \"own\"]");
    let gateway = Gateway::with(&(config + own)).start().await;
    is_connected(&gateway).await;
    let ask = async |user: &str, id: &str| {
        let token = issuer.token_with(json!({ "sub": user, "jti": id }));
        gateway.send(&Request::get("/").bearer(&token)).await
    };
    assert_eq!(status(&ask("ada", "1").await), 200);
    // Ada's second token is new: her address is asked before anybody looks at it, and then she herself has no more.
    for id in ["2", "3", "4", "5"] {
        refused(&ask("ada", id).await, 429, "rate_limited");
    }
    eventually("the charge is given back", async || {
        (status(&ask("bob", "1").await) == 200).then_some(())
    })
    .await;
    refused(&ask("eve", "1").await, 429, "rate_limited");
}

#[tokio::test]
async fn limits_by_address_stand_before_a_key_fetch_and_a_signature_check() {
    let house = House::new().await;
    let issuer = Issuer::start().await;
    let setup = house.setup_for(&issuer, &[("address", "rate = \"3/hour\"\nby = \"ip\"")]);
    let gateway = setup.start().await;
    is_connected(&gateway).await;
    let forged = issuer.token() + "x";
    for _ in 0..3 {
        refused(
            &gateway.send(&Request::get("/").bearer(&forged)).await,
            401,
            "invalid_token",
        );
    }
    let good = issuer.token();
    let response = gateway.send(&Request::get("/").bearer(&good)).await;
    refused(&response, 429, "rate_limited");
    assert_eq!(gateway.access_line_of(&response).await["limit"], "address");
    let judged = "jwt_validation_total{service=\"gateway\",status=\"invalid_token\"}";
    gateway.metric_becomes(judged, 3.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_under_load_fails_no_request_and_is_shared_again_when_it_is_back() {
    let house = House::new().await;
    let limits = [("api", "rate = \"1000000/day\"\nby = \"global\"")];
    let (one, other) = (
        house.gateway(PATIENT, &limits).await,
        house.gateway(PATIENT, &limits).await,
    );
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut callers = tokio::task::JoinSet::new();
    for place in 0..16 {
        let mut client = [&one, &other][place % 2].client().await;
        let (stop, asked) = (stop.clone(), asked.clone());
        callers.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(status(&client.send(&Request::get("/")).await), 200);
                asked.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let more = async |count: usize| {
        let enough = asked.load(Ordering::Relaxed) + count;
        eventually("requests go on", async || {
            (asked.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
    };
    more(200).await;
    house.redis.die().await;
    one.metric_becomes(UP, 0.0).await;
    other.metric_becomes(UP, 0.0).await;
    more(200).await;
    let (errors, counted) = (one.metric(ERRORS).await.unwrap(), asked.load(Ordering::Relaxed));
    assert!(errors > 0.0);
    house.redis.come_back().await;
    one.metric_becomes(UP, 1.0).await;
    other.metric_becomes(UP, 1.0).await;
    more(200).await;
    stop.store(true, Ordering::Relaxed);
    callers.join_all().await;
    println!(
        "{} requests, all 200; {errors} asked Redis in vain by {counted}",
        asked.load(Ordering::Relaxed)
    );
    // Shared again: each sees what both counted since.
    for gateway in [&one, &other] {
        let seen = left(&gateway.get("/").await, "api").unwrap();
        assert!(seen < 1_000_000 - 50, "{seen}");
    }
}

#[tokio::test]
async fn while_redis_is_away_each_limit_does_as_it_says() {
    let house = House::new().await;
    for (policy, expected) in [
        ("local", [200, 200, 429]),
        ("allow", [200, 200, 200]),
        ("deny", [429, 429, 429]),
    ] {
        let lines = format!("rate = \"2/hour\"\nby = \"global\"\non_store_error = \"{policy}\"");
        let gateway = house.gateway(PATIENT, &[("it", &lines)]).await;
        house.redis.die().await;
        gateway.metric_becomes(UP, 0.0).await;
        for expected in expected {
            let response = gateway.get("/").await;
            assert_eq!(status(&response), expected, "{policy}");
            if expected == 429 {
                refused(&response, 429, "rate_limited");
                assert!(response.head.first("retry-after").is_some());
            }
        }
        assert!(gateway.metric(ERRORS).await.unwrap() >= 3.0, "{policy}");
        house.redis.come_back().await;
        gateway.metric_becomes(UP, 1.0).await;
        // What was counted here does not matter there.
        assert_eq!(left(&gateway.get("/").await, "it"), Some(1), "{policy}");
    }
}

#[tokio::test]
async fn a_redis_that_hangs_costs_the_first_request_its_timeout_and_the_next_nothing() {
    let house = House::new().await;
    let timeout = Duration::from_secs(2);
    let gateway = house
        .gateway("timeout = \"2s\"", &[("it", "rate = \"1000/s\"\nby = \"global\"")])
        .await;
    let mut client = gateway.client().await;
    assert_eq!(status(&client.send(&Request::get("/")).await), 200);
    house.redis.freeze().await;
    let mut took = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        assert_eq!(status(&client.send(&Request::get("/")).await), 200);
        took.push(began.elapsed());
    }
    let (first, longest_after) = (took[0], *took[1..].iter().max().unwrap());
    println!("first {first:?}, longest after {longest_after:?}");
    assert!(first < timeout + timeout / 2, "{first:?}");
    assert!(longest_after < timeout / 2, "{longest_after:?}");
    house.redis.thaw().await;
    gateway.metric_becomes(UP, 1.0).await;
}

#[tokio::test]
async fn what_could_not_be_counted_together_is_refused() {
    let house = House::new().await;
    for (sections, said) in [
        (
            "[limits.a]\nrate = '1/s'\nstore = 'redis'",
            "limits.a.store: needs a [redis]",
        ),
        (
            "[redis]\nurl = 'redis://r'\n[limits.a]\nconcurrent = 3\nstore = 'redis'",
            "limits.a.store: is of a `rate`",
        ),
    ] {
        let route = "[[routes]]\nname = 'a'\npaths = ['/*']\nupstream = 'echo'\nauth = 'none'\n";
        let setup = Gateway::with(&format!("{route}{sections}")).upstream("echo", &house.echo);
        let output = setup.run(&["check"]).await;
        let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{sections}: {told}");
        assert!(told.contains(said), "{sections}: {told}");
    }
}

/// The script in a real Redis, at times that the test chooses.
struct Scripted {
    redis: Redis,
    text: String,
}

impl Scripted {
    async fn new() -> Self {
        let text = include_str!("../../src/runtime/meters/store.lua");
        let clock = "redis.call('TIME')";
        assert_eq!(text.matches(clock).count(), 1);
        Self {
            redis: Redis::start().await,
            text: text.replace(clock, "{ ARGV[#ARGV - 1], ARGV[#ARGV] }"),
        }
    }

    async fn call(&self, operation: &str, numbers: (&str, [u64; 3]), units: u64, now_us: u64) -> Vec<i64> {
        let (kind, [a, b, c]) = numbers;
        let mut command: Vec<String> = ["EVAL", &self.text, "1", "key", operation, kind]
            .map(str::to_owned)
            .into();
        command.extend([a, b, c, units, now_us / 1_000_000, now_us % 1_000_000].map(|number| number.to_string()));
        self.redis.ask(&command).await
    }
}

/// The same numbers in every run, well spread.
fn dice(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[tokio::test]
async fn the_script_counts_as_gcra_does_here() {
    let scripted = Scripted::new().await;
    let quota = Quota {
        count: 30,
        window_s: 60,
        burst: 4,
    };
    let interval_us = quota.interval_ns() / 1000;
    let numbers = ("gcra", [interval_us * 1024, interval_us * 1024 * 4, 0]);
    let mut roll = dice(1);
    let (mut now, mut tat, mut taken) = (1_700_000_000_000_000u64, 0, Vec::new());
    for step in 0..1500 {
        // Times that the keys of the test outlive: what is over is over by the arithmetic, not because the key has gone.
        now += roll(3_000_000);
        match roll(10) {
            0 => {
                let amount = 1 + roll(3);
                tat = quota.spend(tat, u32::try_from(amount).unwrap(), now * 1000);
                scripted.call("spend", numbers, amount, now).await;
            }
            1 if !taken.is_empty() => {
                let at = taken.swap_remove(usize::try_from(roll(taken.len() as u64)).unwrap());
                tat = quota.refund(tat, at * 1000, now * 1000);
                scripted.call("refund", numbers, at, now).await;
            }
            roll => {
                let cost = u32::from(roll != 2);
                let said = scripted.call("admit", numbers, cost.into(), now).await;
                assert_eq!(said[0], i64::try_from(now).unwrap());
                match quota.admit(tat, cost, now * 1000) {
                    Ok((next, left)) => {
                        assert_eq!(said[1], 1, "step {step}");
                        assert_eq!(quota.left(u64::try_from(said[2]).unwrap() * 1000), left, "step {step}");
                        if cost > 0 {
                            taken.push(now);
                        }
                        tat = next;
                    }
                    Err(wait) => assert_eq!(
                        (said[1], said[2]),
                        (0, i64::try_from(wait.0 / 1000).unwrap()),
                        "step {step}"
                    ),
                }
            }
        }
    }
}

#[tokio::test]
async fn the_script_counts_as_a_window_does_here() {
    for count in [5, 1000] {
        let scripted = Scripted::new().await;
        let quota = Quota {
            count,
            window_s: 3600,
            burst: count,
        };
        let step_us = (Window::step_ns(&quota) / 1000).max(1);
        let numbers = ("window", [3_600_000_000, count.into(), step_us]);
        let mut roll = dice(count.into());
        let (mut now, mut window, mut taken) = (1_700_000_000_000_000u64, Window::default(), Vec::new());
        let longest_gap = 2 * 3_600_000_000 / u64::from(count);
        for step in 0..1500 {
            now += roll(longest_gap);
            match roll(10) {
                0 => {
                    let amount = 1 + roll(3);
                    window.spend(&quota, u32::try_from(amount).unwrap(), now * 1000);
                    scripted.call("spend", numbers, amount, now).await;
                }
                1 if !taken.is_empty() => {
                    let at = taken.swap_remove(usize::try_from(roll(taken.len() as u64)).unwrap());
                    // As a limit does: what is over is forgotten first.
                    let _ = window.admit(&quota, 0, now * 1000);
                    scripted.call("admit", numbers, 0, now).await;
                    window.refund(&quota, at * 1000);
                    scripted.call("refund", numbers, at, now).await;
                }
                roll => {
                    let cost = u32::from(roll != 2);
                    let said = scripted.call("admit", numbers, cost.into(), now).await;
                    match window.admit(&quota, cost, now * 1000) {
                        Ok((at_ns, left)) => {
                            assert_eq!(said[1], 1, "{count}, step {step}");
                            let (units, until) = (said[2].unsigned_abs(), said[3].unsigned_abs() * 1000);
                            assert_eq!(Window::left(&quota, units, until), left, "{count}, step {step}");
                            if cost > 0 {
                                assert_eq!(said[4].unsigned_abs() * 1000, at_ns, "{count}, step {step}");
                                taken.push(at_ns / 1000);
                            }
                        }
                        Err(wait) => {
                            assert_eq!(
                                (said[1], said[2].unsigned_abs() * 1000),
                                (0, wait.0),
                                "{count}, step {step}"
                            );
                        }
                    }
                }
            }
        }
    }
}
