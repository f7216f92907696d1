//! The reference of `gateway.toml` as code: one function a section, one line a key, with its default.
//!
//! Imports the machinery of `config`. What sections say of each other (does the upstream exist?) is checked by
//! whoever compiles the config; what a section says of itself is checked here.

mod auth;
mod issuer;
mod limit;
mod route;
mod secrets;
mod server;
mod store;
mod upstream;
mod web;

use std::time::Duration;

use super::cursor::{Cursor, Naming};
use super::document::Table;
use super::model::Config;
use super::{overrides, value as v};

const BY_NAME: Naming = Naming {
    key: "name",
    unique: true,
};

/// The whole document.
pub(super) fn config(t: &mut Cursor<'_, '_>) -> Config {
    let server = t.section("server", server::server);
    overrides::read(t.reader, &server.overrides_file);
    let methods = auth::Methods::of(t);
    let defaults: Table = t.peek_table("defaults").cloned().unwrap_or_default();
    t.section("defaults", |t| {
        route::shared(t, "", &methods);
    });
    let config = Config {
        listeners: some_of(t, "listeners", server::listeners),
        admin: t.section("admin", server::admin),
        log: t.section("log", server::log),
        identity: t.section("identity", server::identity),
        issuers: t.tables("issuers", issuer::issuer),
        api_keys: t.table("api_keys", secrets::api_keys),
        internal: t.table("internal", secrets::internal),
        roles: t.open("roles", v::some_text, |t, role| t.list(role, Vec::new(), v::some_text)),
        resource: t.table("resource", web::resource),
        redis: t.table("redis", store::redis),
        revocation: t.table("revocation", store::revocation),
        cors: t.tables("cors", web::cors),
        limits: t.tables("limits", limit::limit),
        auth_failures: t.table("auth_failures", limit::auth_failures),
        upstreams: t.tables("upstreams", upstream::upstream),
        routes: some_of(t, "routes", |t| {
            t.named_list("routes", BY_NAME, |t, name| {
                t.inherit(&defaults, "defaults");
                route::route(t, name, &methods)
            })
        }),
        telemetry: t.table("telemetry", server::telemetry),
        server,
    };
    overrides::report_strangers(t.reader, &config.routes);
    issuer::one_without_iss(t, &config.issuers);
    auth::switched_off(t, &config);
    config
}

/// A list of tables without which there is nothing to do.
fn some_of<'e, T>(t: &mut Cursor<'_, 'e>, key: &str, read: impl FnOnce(&mut Cursor<'_, 'e>) -> Vec<T>) -> Vec<T> {
    let noted = t.reader.problems.count();
    let list = read(t);
    if list.is_empty() && t.reader.problems.count() == noted {
        t.problem(key, format!("at least one is needed; write a [[{key}]] with a name"));
    }
    list
}

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

const fn hours(count: u64) -> Duration {
    Duration::from_secs(3600 * count)
}

fn strings<const COUNT: usize>(words: [&str; COUNT]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}
