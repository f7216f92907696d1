//! `[[routes]]` and `[defaults]`.
//!
//! Imports the machinery of `config`.

use std::collections::BTreeMap;

use super::auth::{self, Methods};
use crate::config::cursor::Cursor;
use crate::config::model::{Action, Canary, ClaimRule, Llm, Require, Route, Rule};
use crate::config::secret::Secret;
use crate::config::value as v;

/// What a route can do with a request: exactly one.
const ACTIONS: [&str; 3] = ["upstream", "respond", "redirect"];

pub(super) fn route(t: &mut Cursor<'_, '_>, name: String, methods: &Methods) -> Route {
    one_action(t);
    if !t.given("auth") {
        t.problem(
            "auth",
            "is missing; say who is let in: \"none\", \"internal\", \"api_key\", \"jwt\", \"hybrid\" or a list of methods",
        );
    }
    let shared = shared(t, &name, methods);
    Route {
        name,
        hosts: t.list("hosts", Vec::new(), v::host),
        paths: t.some("paths", v::some_text),
        ..shared
    }
}

/// The keys that `[defaults]` can hold too. A route's own key replaces that of the defaults whole.
pub(super) fn shared(t: &mut Cursor<'_, '_>, route: &str, methods: &Methods) -> Route {
    let (response_headers_set, response_headers_remove) = t.section("response_headers", response_headers);
    let auth = auth::enforced(t, route, methods);
    Route {
        name: String::new(),
        hosts: Vec::new(),
        paths: Vec::new(),
        listeners: t.list("listeners", Vec::new(), v::name),
        methods: t.list("methods", Vec::new(), v::method),
        allowed_from: t.list("allowed_from", Vec::new(), v::network),
        action: action(t),
        auth: auth.mode,
        auth_in_file: auth.in_file,
        overridden: auth.overridden,
        shadow: t.optional("shadow", v::mode),
        canary: t.table("canary", |t| canary(t, methods)),
        issuers: t.list("issuers", Vec::new(), v::name),
        token_sources: t.list("token_sources", Vec::new(), v::token_source),
        require: t.section("require", require),
        rules: t.unnamed_list("rules", rule),
        limits: t.list("limits", Vec::new(), v::name),
        cors: t.optional("cors", v::name),
        strip_prefix: t.key("strip_prefix", String::new(), v::url_path_or_unset),
        replace_path: t.key("replace_path", String::new(), v::url_path_or_unset),
        response_timeout: t.key("response_timeout", None, v::duration_or_unset),
        max_body: t.key("max_body", 0, v::size),
        set_headers: t.open("set_headers", v::writable_header, |t, header| {
            t.required(header, Secret::new(String::new()), v::secret_header_value)
        }),
        remove_headers: t.list("remove_headers", Vec::new(), v::header_name),
        response_headers_set,
        response_headers_remove,
        preserve_host: t.key("preserve_host", false, v::boolean),
        rewrite_location: t.key("rewrite_location", true, v::boolean),
        access_log: t.key("access_log", true, v::boolean),
        close_on_expiry: t.key("close_on_expiry", false, v::boolean),
        allow_encoded_slash: t.key("allow_encoded_slash", false, v::boolean),
        llm: t.optional(
            "llm",
            v::one_of(&[("openai", Llm::OpenAi), ("anthropic", Llm::Anthropic)]),
        ),
    }
}

fn canary(t: &mut Cursor<'_, '_>, methods: &Methods) -> Canary {
    if !t.given("auth") {
        t.problem("auth", "is missing; a canary needs the mode that it tries");
    }
    Canary {
        auth: auth::enforced(t, "", methods).mode,
        percent: t.required("percent", 0.0, v::number(0.0..=100.0)),
    }
}

fn require(t: &mut Cursor<'_, '_>) -> Require {
    Require {
        scopes_all: t.list("scopes_all", Vec::new(), v::some_text),
        scopes_any: t.list("scopes_any", Vec::new(), v::some_text),
        permissions_all: t.list("permissions_all", Vec::new(), v::some_text),
        permissions_any: t.list("permissions_any", Vec::new(), v::some_text),
        roles_any: t.list("roles_any", Vec::new(), v::some_text),
        audiences: t.list("audiences", Vec::new(), v::some_text),
        claims: t.open("claims", v::some_text, |t, claim| {
            t.required(claim, ClaimRule::Present, v::claim_rule)
        }),
    }
}

fn rule(t: &mut Cursor<'_, '_>) -> Rule {
    Rule {
        methods: t.list("methods", Vec::new(), v::method),
        require: t.section("require", require),
    }
}

fn response_headers(t: &mut Cursor<'_, '_>) -> (BTreeMap<String, String>, Vec<String>) {
    let set = t.open("set", v::writable_header, |t, header| {
        t.required(header, String::new(), v::header_value)
    });
    (set, t.list("remove", Vec::new(), v::header_name))
}

fn action(t: &mut Cursor<'_, '_>) -> Action {
    let upstream = t.optional("upstream", v::name).map(Action::Upstream);
    let respond = t.table("respond", |t| Action::Respond {
        status: t.key("status", 200, v::integer(200..=599)),
        body: t.key("body", String::new(), v::text),
        content_type: t.key("content_type", "text/plain".to_owned(), v::header_value),
    });
    let redirect = t.table("redirect", |t| Action::Redirect {
        to: t.required("to", String::new(), v::some_printable),
        status: t.key("status", 308, v::integer(300..=399)),
    });
    let action = upstream.or(respond).or(redirect);
    action.unwrap_or(Action::Upstream(String::new()))
}

/// A route's own action replaces that of the defaults, whichever it is.
fn one_action(t: &mut Cursor<'_, '_>) {
    if ACTIONS.iter().any(|action| t.own(action)) {
        for action in ACTIONS {
            t.disinherit(action);
        }
    }
    if ACTIONS.iter().filter(|action| t.given(action)).count() != 1 {
        t.problem("", "needs exactly one of `upstream`, `respond` and `redirect`");
    }
}
