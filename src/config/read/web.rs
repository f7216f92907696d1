//! `[resource]` and `[cors.NAME]`.
//!
//! Imports the machinery of `config`.

use super::{minutes, strings};
use crate::config::cursor::Cursor;
use crate::config::model::{Cors, Resource};
use crate::config::value as v;

pub(super) fn resource(t: &mut Cursor<'_, '_>) -> Resource {
    Resource {
        resource: t.required("resource", String::new(), v::url),
        authorization_servers: t.list("authorization_servers", Vec::new(), v::url),
        scopes_supported: t.list("scopes_supported", Vec::new(), v::some_text),
    }
}

pub(super) fn cors(t: &mut Cursor<'_, '_>) -> Cors {
    let methods = strings(["GET", "POST", "PUT", "PATCH", "DELETE"]);
    let headers = strings(["Authorization", "Content-Type", "X-API-Key", "X-Request-ID"]);
    let expose = strings(["X-Request-ID", "RateLimit", "Retry-After"]);
    let cors = Cors {
        origins: t.some("origins", v::origin_pattern),
        methods: t.list("methods", methods, v::method),
        headers: t.list("headers", headers, v::header_name),
        expose: t.list("expose", expose, v::header_name),
        credentials: t.key("credentials", false, v::boolean),
        max_age: t.key("max_age", minutes(10), v::duration),
    };
    // Fetch §3.2.5: browsers refuse the pair, and reflecting any origin instead would open every account.
    if cors.credentials && cors.origins.iter().any(|origin| origin == "*") {
        t.problem("credentials", "cannot go with the origin \"*\"; name the origins");
    }
    cors
}
