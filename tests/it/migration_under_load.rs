//! The whole way of docs/migration.md and back, on live traffic through the shipped `gateway.toml` with all of its limits: nobody is
//! refused whom the plan does not mean to refuse, and nobody is dropped at any switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::json;

use crate::harness::{Gateway, Issuer, Key, Request, Upstream, eventually};

const SHIPPED: &str = include_str!("../../gateway.toml");

/// The one secret that all old callers share.
const SECRET: &str = "internal-secret-0123456789-0123456789";

/// Requests a second, of all callers together.
const RATE: u32 = 200;

/// Those of a phase that are looked at.
const PHASE: usize = 150;

/// How a caller proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    /// By the secret.
    Old,
    /// By both: it has moved, and does not know what the gateway takes.
    Moved,
    /// By a token.
    New,
}

/// Who asked, and how it was answered.
type Answer = (Caller, u16);

fn refused(answers: &[Answer]) -> Vec<Answer> {
    answers.iter().filter(|(_, status)| *status != 200).copied().collect()
}

/// The shipped file, where it is: its services and secrets at hand, the client a trusted proxy, and the networks of old callers beyond
/// it named for as long as they have the secret. `chat` is how the route of the plan proves who calls.
fn config(issuer: &Issuer, upstream: &Upstream, chat: &str) -> String {
    let (jwks, runtime) = (issuer.jwks_url(), format!("http://{}", upstream.address));
    let mut text = SHIPPED.to_owned();
    for (shipped, here) in [
        ("${env:INTERNAL_API_KEY}", SECRET),
        ("${env:LLM_PROXY_KEY}", "llm-proxy-key"),
        ("${env:ISSUER:-https://auth.codelab.local}", &issuer.name),
        ("${env:JWKS_URL:-http://auth-service:8003/.well-known/jwks.json}", &jwks),
        ("${env:AGENT_RUNTIME_URL:-http://agent-runtime:8001}", &runtime),
        ("address = \"0.0.0.0:8080\"", "address = \"127.0.0.1:0\""),
        ("address = \"127.0.0.1:9090\"", "address = \"127.0.0.1:0\""),
        ("trusted_proxies = []", "trusted_proxies = [\"127.0.0.1/32\"]"),
        (
            "allowed_from = [\"127.0.0.0/8\"",
            "allowed_from = [\"203.0.113.0/24\", \"127.0.0.0/8\"",
        ),
        ("auth = \"hybrid\" ", &format!("{chat} ")),
    ] {
        assert_eq!(text.matches(shipped).count(), 1, "gateway.toml has {shipped} once");
        text = text.replace(shipped, here);
    }
    text
}

/// Half of the callers with a secret come from public addresses behind the trusted proxy that this client is.
fn request(n: u32, token: &str) -> (Caller, Request) {
    let place = n % 200;
    let from = match n % 2 {
        0 => format!("203.0.113.{place}"),
        _ => format!("10.0.0.{place}"),
    };
    let base = Request::new("POST", "/api/v1/chat/x").body("{}");
    let secret = |request: Request, from: &str| {
        let request = request
            .header("X-Internal-Auth", SECRET)
            .header("X-Forwarded-For", from);
        // Some services act for a user, some for nobody.
        if n.is_multiple_of(3) {
            request
        } else {
            request.header("X-User-ID", &format!("user-{}", n % 50))
        }
    };
    match n / 2 % 3 {
        0 => (Caller::Old, secret(base, &from)),
        1 => (Caller::Moved, secret(base, &from).bearer(token)),
        _ => (
            Caller::New,
            base.bearer(token)
                .header("X-Forwarded-For", &format!("198.51.100.{place}")),
        ),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_way_to_tokens_and_back_refuses_and_drops_nobody_by_mistake() {
    let (issuer, upstream) = (Issuer::with(Key::rsa("key-1")).await, Upstream::echo().await);
    let config = |chat: &str| config(&issuer, &upstream, chat);
    let gateway = Arc::new(Gateway::with(&config("auth = \"internal\"")).start().await);
    let write = |chat: &str| gateway.write("gateway.toml", config(chat));
    let tokens: Vec<String> = (0..400)
        .map(|n| {
            let claims = json!({ "sub": format!("person-{n}"), "aud": "codelab-api", "type": "access", "tier": "pro",
                                 "permissions": ["tasks.create"] });
            issuer.token_with(claims)
        })
        .collect();
    let (answers, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
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
    let began = Instant::now();
    let total = std::cell::Cell::new(0);
    let taken = || -> Vec<Answer> {
        let answers = std::mem::take(&mut *answers.lock());
        total.set(total.get() + answers.len());
        answers
    };
    let becomes = async |mode: &str| {
        eventually(&format!("the mode is {mode}"), async || {
            let status = gateway.ask_admin("/status.json").await.json();
            (status["routes"][0]["auth"]["effective"] == mode).then_some(())
        })
        .await;
    };
    // The command and its effect; how long both took.
    let switch = async |mode: &str| {
        let began = Instant::now();
        let output = gateway.run(&["mode", "chat", mode]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        becomes(mode).await;
        began.elapsed()
    };
    let phase = async || {
        // What was under way at the switch belongs to before.
        eventually("answers of after the switch", async || {
            (answers.lock().len() > 16).then_some(())
        })
        .await;
        taken();
        eventually("a phase's answers", async || {
            (answers.lock().len() >= PHASE).then_some(())
        })
        .await;
        taken()
    };
    let refuses = async |whom: Option<Caller>, step: &str| {
        let refused = refused(&phase().await);
        let meant = |(caller, status): &Answer| Some(*caller) == whom && *status == 401;
        assert!(refused.iter().all(meant), "{step}: {refused:?}");
        refused.len()
    };

    // As things are: those who come with a token alone are not served yet.
    assert!(refuses(Some(Caller::New), "before").await > 0);
    // The shadow listens and changes nothing.
    write("auth = \"internal\"\nshadow = [\"jwt\", \"internal\"]");
    gateway.metric_becomes("gateway_config_generation", 2.0).await;
    refuses(Some(Caller::New), "shadow").await;
    let decided = |enforced: &str, difference: &str| {
        format!(
            "gateway_shadow_decisions_total{{difference=\"{difference}\",enforced=\"{enforced}\",route=\"chat\",shadow=\"allow\"}}"
        )
    };
    for series in [
        decided("allow", "same"),
        decided("allow", "other_identity"),
        decided("unauthorized", "would_allow"),
    ] {
        assert!(gateway.metric(&series).await.unwrap() > 0.0, "{series}");
    }
    // Either.
    let mut took = vec![switch("jwt,internal").await];
    refuses(None, "either").await;
    // Tokens alone for a share: some of the old callers are refused, which is what the plan means by it.
    write("auth = [\"jwt\", \"internal\"]\ncanary = { auth = \"jwt\", percent = 50 }");
    assert!(gateway.run(&["mode", "--reset"]).await.status.success());
    eventually("the canary runs", async || {
        let line = gateway.lines().into_iter().rfind(|line| line["message"] == "request")?;
        line["arm"].is_string().then_some(())
    })
    .await;
    assert!(refuses(Some(Caller::Old), "canary").await > 0);
    // The way back from there, for everybody.
    took.push(switch("internal,jwt").await);
    refuses(None, "back from the canary").await;
    // Tokens for all.
    took.push(switch("jwt").await);
    assert!(refuses(Some(Caller::Old), "tokens").await > 0);
    // And back to where it began: not one refusal that was absent before.
    took.push(switch("internal").await);
    refuses(Some(Caller::New), "rollback").await;
    // The same for a whole gateway, by its file.
    write("auth = \"jwt\"");
    assert!(gateway.run(&["mode", "--reset"]).await.status.success());
    becomes("jwt").await;
    assert!(refuses(Some(Caller::Old), "tokens, by the file").await > 0);
    let off = config("auth = \"jwt\"").replace("drain_delay = \"0s\"", "use_jwt_auth = false\ndrain_delay = \"0s\"");
    gateway.write("gateway.toml", off);
    becomes("internal").await;
    refuses(Some(Caller::New), "rollback by the file").await;

    stop.store(true, Ordering::Relaxed);
    for lane in load {
        lane.await.expect("no connection was dropped, at any switch");
    }
    let rate = f64::from(u32::try_from(total.get()).unwrap()) / began.elapsed().as_secs_f64();
    println!("{rate:.0} requests/s; `gateway mode` and its effect took {took:?}");
}
