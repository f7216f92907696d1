//! The whole way of docs/migration.md and back, on live traffic: nobody is refused whom the plan does not mean to refuse, and nobody
//! is dropped at any switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use crate::harness::{Gateway, Issuer, Request, Upstream, eventually};

const SECRET: &str = "internal-secret-0123456789-0123456789";

/// Requests a second, of both kinds of callers together.
const RATE: u32 = 200;

/// Who calls, and how it was answered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Caller {
    Old,
    New,
}

type Answers = Arc<Mutex<Vec<(Caller, u16)>>>;

/// Answers since the last look.
fn taken(answers: &Answers) -> Vec<(Caller, u16)> {
    std::mem::take(&mut *answers.lock())
}

fn refused(answers: &[(Caller, u16)]) -> Vec<&(Caller, u16)> {
    answers.iter().filter(|(_, status)| *status != 200).collect()
}

/// One half of the old callers comes from public addresses behind the trusted proxy that this client is.
fn request(n: u32, token: &str) -> (Caller, Request) {
    let base = Request::get("/api/v1/chat/x");
    if n.is_multiple_of(2) {
        return (
            Caller::New,
            base.bearer(token).header("X-Forwarded-For", "198.51.100.7"),
        );
    }
    let from = if n % 4 == 1 {
        format!("203.0.113.{}", n % 200)
    } else {
        format!("10.0.0.{}", n % 200)
    };
    let old = base
        .header("X-Internal-Auth", SECRET)
        .header("X-User-ID", &format!("user-{}", n % 50))
        .header("X-Forwarded-For", &from);
    (Caller::Old, old)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_way_to_tokens_and_back_refuses_and_drops_nobody_by_mistake() {
    let (issuer, upstream) = (Issuer::start().await, Upstream::echo().await);
    let config = |auth: &str| {
        format!(
            r#"
[[listeners]]
name = "public"
address = "127.0.0.1:0"
trusted_proxies = ["127.0.0.1/32"]
[internal]
keys = ["{SECRET}"]
allowed_from = ["10.0.0.0/8", "127.0.0.0/8", "203.0.113.0/24"]
permissions = ["tasks.*"]
[limits.per-user]
rate = "120/min"
by = "user"
tiers = {{ free = "60/min", pro = "600/min", internal = "unlimited" }}
[limits.per-address]
rate = "500/s"
by = "ip"
[auth_failures]
rate = "30/min"
[[routes]]
name = "chat"
paths = ["/api/v1/chat/*"]
upstream = "up"
limits = ["per-address", "per-user"]
require = {{ permissions_any = ["tasks.create"] }}
{auth}
"#
        )
    };
    let setup = Gateway::with(&config("auth = \"internal\""))
        .issuer("lab", &issuer)
        .upstream("up", &upstream);
    let gateway = Arc::new(setup.start().await);
    let rest = gateway.config().replace(&config("auth = \"internal\""), "");
    let write = |auth: &str| gateway.write("gateway.toml", config(auth) + &rest);
    let tokens: Vec<String> = (0..400)
        .map(|n| {
            issuer.token_with(json!({ "sub": format!("person-{n}"), "permissions": ["tasks.create"], "tier": "pro" }))
        })
        .collect();
    let (answers, stop): (Answers, _) = (Answers::default(), Arc::new(AtomicBool::new(false)));
    // Four connections, so that a slow answer holds only its own back.
    let load: Vec<_> = (0..4u32)
        .map(|lane| {
            let (gateway, answers, stop, tokens) = (gateway.clone(), answers.clone(), stop.clone(), tokens.clone());
            tokio::spawn(async move {
                let mut client = gateway.client().await;
                let mut ticks = tokio::time::interval(Duration::from_secs(4) / RATE);
                let mut n = lane;
                while !stop.load(Ordering::Relaxed) {
                    ticks.tick().await;
                    let token = &tokens[usize::try_from(n).unwrap() % tokens.len()];
                    let (caller, request) = request(n, token);
                    let response = client.send(&request).await;
                    answers.lock().push((caller, response.head.status()));
                    n += 4;
                }
            })
        })
        .collect();
    let effective = async |mode: &str| {
        eventually(&format!("the mode is {mode}"), async || {
            let status = gateway.ask_admin("/status.json").await.json();
            (status["routes"][0]["auth"]["effective"] == mode).then_some(())
        })
        .await;
    };
    let switch = async |mode: &str| {
        let began = Instant::now();
        let output = gateway.run(&["mode", "chat", mode]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        effective(mode).await;
        began.elapsed()
    };
    // A phase: so many answers of each kind of caller.
    let phase = async || {
        // What was under way at the switch belongs to before.
        eventually("answers of after the switch", async || {
            (answers.lock().len() > 16).then_some(())
        })
        .await;
        taken(&answers);
        eventually("a phase's answers", async || {
            (answers.lock().len() >= 150).then_some(())
        })
        .await;
        taken(&answers)
    };
    let only_new_refused = |answers: &[(Caller, u16)]| {
        refused(answers)
            .iter()
            .all(|(caller, status)| (caller, *status) == (&Caller::New, 401))
    };
    let only_old_refused = |answers: &[(Caller, u16)]| {
        refused(answers)
            .iter()
            .all(|(caller, status)| (caller, *status) == (&Caller::Old, 401))
    };

    // 1: as things are. Those who come with a token alone are not served yet.
    let before = phase().await;
    assert!(only_new_refused(&before), "{:?}", refused(&before));
    // 2: the shadow listens and changes nothing.
    write("auth = \"internal\"\nshadow = [\"jwt\", \"internal\"]");
    gateway.metric_becomes("gateway_config_generation", 2.0).await;
    assert!(only_new_refused(&phase().await));
    let agrees =
        "gateway_shadow_decisions_total{difference=\"same\",enforced=\"allow\",route=\"chat\",shadow=\"allow\"}";
    let allows = "gateway_shadow_decisions_total{difference=\"would_allow\",enforced=\"unauthorized\",route=\"chat\",shadow=\"allow\"}";
    assert!(gateway.metric(agrees).await.unwrap() > 0.0 && gateway.metric(allows).await.unwrap() > 0.0);
    // 3: either.
    let mut took = vec![switch("jwt,internal").await];
    let answers_of = phase().await;
    assert_eq!(refused(&answers_of), Vec::<&(Caller, u16)>::new());
    // 4: tokens alone for a share: of the old callers' addresses some are refused, which is what the plan means by it.
    write("auth = [\"jwt\", \"internal\"]\ncanary = { auth = \"jwt\", percent = 50 }");
    assert!(gateway.run(&["mode", "--reset"]).await.status.success());
    eventually("the canary runs", async || {
        let line = gateway.lines().into_iter().rfind(|line| line["message"] == "request")?;
        line["arm"].is_string().then_some(())
    })
    .await;
    assert!(only_old_refused(&phase().await));
    // The way back from there, for everybody.
    took.push(switch("internal,jwt").await);
    let answers_of = phase().await;
    assert_eq!(refused(&answers_of), Vec::<&(Caller, u16)>::new());
    // 5: tokens for all.
    took.push(switch("jwt").await);
    let answers_of = phase().await;
    assert!(only_old_refused(&answers_of) && !refused(&answers_of).is_empty());
    // And back to where it began: not one refusal that was absent before.
    took.push(switch("internal").await);
    let after = phase().await;
    assert!(only_new_refused(&after), "{:?}", refused(&after));
    assert!(!after.iter().any(|(_, status)| matches!(status, 403 | 429)));

    stop.store(true, Ordering::Relaxed);
    for lane in load {
        lane.await.expect("no connection was dropped, at any switch");
    }
    println!("from `gateway mode` to its effect: {took:?}");
}
