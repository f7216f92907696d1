//! `[upstreams.NAME]`.
//!
//! Imports the machinery of `config`.

use super::secs;
use crate::config::cursor::Cursor;
use crate::config::model::{Balance, Health, Upstream, UpstreamTls};
use crate::config::value as v;

pub(super) fn upstream(t: &mut Cursor<'_, '_>) -> Upstream {
    Upstream {
        urls: t.some("urls", v::endpoint),
        balance: t.key("balance", Balance::LeastRequests, balance),
        http2: t.key("http2", false, v::boolean),
        connect_timeout: t.key("connect_timeout", secs(2), v::some_duration),
        response_timeout: t.key("response_timeout", secs(30), v::duration),
        try_timeout: t.key("try_timeout", secs(0), v::duration),
        body_idle_timeout: t.key("body_idle_timeout", secs(60), v::some_duration),
        stream_idle_timeout: t.key("stream_idle_timeout", secs(0), v::duration),
        max_in_flight: t.key("max_in_flight", 0, v::integer(0..=10_000_000)),
        retries: t.key("retries", 1, v::integer(0..=10)),
        health: t.table("health", health),
        tls: t.table("tls", tls),
    }
}

fn health(t: &mut Cursor<'_, '_>) -> Health {
    Health {
        path: t.key("path", "/health".to_owned(), v::url_path),
        interval: t.key("interval", secs(5), v::some_duration),
        timeout: t.key("timeout", secs(2), v::some_duration),
        unhealthy_after: t.key("unhealthy_after", 3, v::integer(1..=1000)),
        healthy_after: t.key("healthy_after", 2, v::integer(1..=1000)),
    }
}

fn tls(t: &mut Cursor<'_, '_>) -> UpstreamTls {
    if t.given("cert") != t.given("key") {
        t.problem("", "needs `cert` and `key` together, or neither");
    }
    UpstreamTls {
        ca: t.file("ca"),
        cert: t.file("cert"),
        key: t.file("key"),
        server_name: t.optional("server_name", v::host),
    }
}

fn balance(value: &v::Value) -> Result<Balance, v::Wrong> {
    v::one_of(&[
        ("least_requests", Balance::LeastRequests),
        ("round_robin", Balance::RoundRobin),
    ])(value)
}
