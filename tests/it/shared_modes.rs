//! Shared modes against somebody who may write the Redis that gateways share, and has no secret of theirs.

use serde_json::json;

use crate::harness::{Gateway, Issuer, Redis, Setup, Upstream};

const SECRET: &str = "internal-secret-0123456789";

/// One route, `chat`, that takes tokens.
fn setup(issuer: &Issuer, upstream: &Upstream, redis: &Redis, lines: &str) -> Setup {
    let route = "[[routes]]\nname = \"chat\"\npaths = [\"/chat/*\"]\nupstream = \"up\"\nauth = \"jwt\"\n";
    Gateway::with(&format!("[internal]\nkeys = [\"{SECRET}\"]\n{route}"))
        .and(&redis.section(lines))
        .issuer("lab", issuer)
        .upstream("up", upstream)
}

#[tokio::test]
async fn what_others_wrote_to_redis_steers_no_terminal() {
    let (issuer, upstream, redis) = (Issuer::start().await, Upstream::echo().await, Redis::start().await);
    let forged = "x\"\n2026-11-22T00:00:00Z INFO FORGED\u{1b}[31m\r\u{2028}\u{202e}\u{9b}";
    let _: u64 = redis.ask(&["HSET", "gateway:modes", forged, forged]).await;
    let report = json!({
        "name": forged,
        "seen_ms": 9_999_999_999_999_u64,
        "revision": "",
        "modes": { "chat": { "mode": forged, "by": forged }, forged: { "mode": forged, "by": "shared" } },
    });
    let _: u64 = redis.ask(&["HSET", "gateway:gateways", "z", &report.to_string()]).await;
    let setup = setup(&issuer, &upstream, &redis, "");
    for (words, exit, forgeries) in [
        // The mode's route and itself; the gateway's name, and what it reports of that route.
        (&["mode", "--shared"][..], 0, 5),
        // The gateway's name, and a route that it still reports, with its mode.
        (&["mode", "--reset", "--shared"], 1, 3),
    ] {
        let (code, stdout, stderr) = setup.says(words).await;
        let text = stdout + &stderr;
        assert_eq!((code, text.matches("FORGED").count()), (exit, forgeries), "{text:?}");
        let steers = |c: char| c != '\n' && c.is_control() || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!text.contains(steers), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("2026")), "{text:?}");
    }
}
