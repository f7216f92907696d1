//! What is enough: a rate limit, and guesses at secrets. Last, for they use up what they test. Then what operators see of it all.

use super::Wallet;
use super::case::{Case, Exchange, Party, Play, refusal};
use super::expect::{Expect, Is};
use crate::demo::client::Request;
use crate::demo::world::KEY_PREFIX;

/// In this order.
pub(super) fn cases(wallet: &Wallet) -> Vec<Case> {
    let announced = || {
        vec![
            Expect::Header("RateLimit-Policy", Is::Containing("demo-burst")),
            Expect::Header("RateLimit", Is::Containing("demo-burst")),
        ]
    };
    let burst = |expect: Vec<Expect>| Exchange {
        request: Request::get("/burst"),
        expect,
    };
    let allowed = || burst([vec![Expect::Status(200)], announced()].concat());
    let enough = [
        refusal(429, "rate_limited"),
        announced(),
        vec![Expect::Header("Retry-After", Is::Positive)],
    ];
    vec![
        Case::playing(
            "rate-limit",
            "three a minute: the fourth is 429, and says when to come back",
            Play::Exchanges {
                with: Party::Gateway,
                exchanges: vec![allowed(), allowed(), allowed(), burst(enough.concat())],
                closed: false,
            },
        )
        .on_tour(),
        Case::playing(
            "guessing",
            "wrong keys in a row: refused unheard, while a right one still passes",
            Play::Guesses {
                guess: Request::get("/jobs/7").header("X-API-Key", &format!("{KEY_PREFIX}guess")),
                known: Request::get("/jobs/7").header("X-API-Key", &wallet.api_key),
            },
        ),
        operators(
            "ready",
            "the gateway says that it is ready",
            "/readyz",
            vec![Expect::Status(200)],
        ),
        operators(
            "metrics",
            "and counts what it decided, by route, method and reason",
            "/metrics",
            vec![
                Expect::Status(200),
                Expect::Counted(&["gateway_requests_total{", "route=\"account\"", "status=\"401\""]),
                Expect::Counted(&["gateway_auth_decisions_total{", "route=\"account\"", "method=\"jwt\""]),
            ],
        )
        .on_tour(),
    ]
}

fn operators(name: &'static str, shows: &'static str, path: &str, expect: Vec<Expect>) -> Case {
    Case::playing(
        name,
        shows,
        Play::Exchanges {
            with: Party::Admin,
            exchanges: vec![Exchange {
                request: Request::get(path),
                expect,
            }],
            closed: false,
        },
    )
}
