//! What is refused whoever asks: malformed requests, what no route takes, services that do not answer.

use super::Wallet;
use super::case::{Case, Exchange, Party, Play, refusal, refused};
use super::expect::{Expect, Is};
use crate::demo::client::Request;

/// All of them.
pub(super) fn cases(wallet: &Wallet) -> Vec<Case> {
    let smuggled = Request::new("POST", "/public/hello")
        .header("Content-Length", "5")
        .header("Transfer-Encoding", "chunked")
        .body("0\r\n\r\n");
    let malformed = |name, shows, request| refused(name, shows, request, (400, "malformed_request"), vec![]);
    vec![
        refused(
            "no-route",
            "a path that no route takes: refused",
            Request::get("/nowhere"),
            (404, "no_route"),
            vec![],
        ),
        refused(
            "method-not-allowed",
            "a method that the route does not take, and which it does",
            Request::new("POST", "/read-only").body("{}"),
            (405, "method_not_allowed"),
            vec![Expect::Header("Allow", Is::Containing("GET"))],
        ),
        malformed(
            "encoded-slash",
            "a path that two servers read differently",
            Request::get("/public/a%2fb"),
        ),
        malformed(
            "encoded-climb",
            "… or that climbs unseen",
            Request::get("/public/..%2fadmin/users"),
        )
        .on_tour(),
        malformed(
            "dot-segments",
            "… or that climbs",
            Request::get("/public/../admin/users"),
        ),
        malformed(
            "double-slash",
            "… or has an empty segment",
            Request::get("/public//hello"),
        ),
        malformed(
            "two-authorizations",
            "two Authorization headers: who would say which one counts?",
            Request::get("/public/hello").bearer(&wallet.bob).bearer(&wallet.ada),
        ),
        malformed(
            "two-api-keys",
            "… or two API keys, good as they are",
            Request::get("/jobs/7")
                .header("X-API-Key", &wallet.api_key)
                .header("X-API-Key", &wallet.api_key),
        ),
        malformed(
            "internal-for-two-users",
            "a service acts for one user, not for two",
            Request::get("/internal/sync")
                .header("X-Internal-Auth", &wallet.internal_secret)
                .header("X-User-ID", "ada")
                .header("X-User-ID", "bob"),
        ),
        Case::playing(
            "smuggling",
            "Content-Length with Transfer-Encoding: refused, and the connection closed",
            Play::Exchanges {
                with: Party::Gateway,
                exchanges: vec![Exchange {
                    request: smuggled,
                    expect: refusal(400, "malformed_request"),
                }],
                closed: true,
            },
        ),
        refused(
            "body-too-large",
            "a body longer than the route takes",
            Request::new("POST", "/small").body("more than sixteen bytes"),
            (413, "body_too_large"),
            vec![],
        ),
        refused(
            "address-not-allowed",
            "a route for another network",
            Request::get("/elsewhere"),
            (403, "address_not_allowed"),
            vec![],
        ),
        refused(
            "upstream-down",
            "a service that is not there",
            Request::get("/down"),
            (503, "upstream_unavailable"),
            vec![],
        ),
        refused(
            "upstream-broken",
            "a service that hangs up without an answer",
            Request::get("/broken"),
            (502, "bad_gateway"),
            vec![],
        ),
        refused(
            "upstream-slow",
            "a service that does not answer in time",
            Request::get("/slow"),
            (504, "upstream_timeout"),
            vec![],
        ),
    ]
}
