//! What the whole config must fulfil, and the config that is shipped: it is the first that people read, and copy.

use std::path::Path;

use super::compile;
use crate::config::{Environment, Problems, load_text};

const SHIPPED: &str = include_str!("../../gateway.toml");

fn problems(text: &str, environment: &Environment) -> String {
    let loaded = match load_text(Path::new("gateway.toml"), text, environment) {
        Ok(loaded) => loaded,
        Err(errors) => return errors.to_string(),
    };
    let mut problems = Problems::new(loaded.sources.clone());
    match compile(&loaded.config, &mut problems) {
        Some(_) => String::new(),
        None => problems.into_errors().to_string(),
    }
}

/// A config that holds, with one route `a` that ends in these lines.
fn with_route(lines: &str) -> String {
    format!(
        r#"
        [[listeners]]
        name = "public"
        address = "127.0.0.1:0"
        [issuers.main]
        jwks_url = "http://auth.example/jwks.json"
        [api_keys]
        prefixes = ["hok_"]
        [internal]
        keys = ["0123456789abcdef"]
        [limits.slow]
        rate = "5/min"
        [upstreams.app]
        urls = ["http://127.0.0.1:1"]
        [[routes]]
        name = "a"
        upstream = "app"
        {lines}
        "#
    )
}

#[test]
fn the_shipped_config_compiles_with_the_secrets_that_it_names() {
    let environment = Environment::from([
        ("INTERNAL_API_KEY", "0123456789abcdef0123456789abcdef"),
        ("LLM_PROXY_KEY", "0123456789abcdef"),
    ]);
    assert_eq!(problems(SHIPPED, &environment), "");
}

#[test]
fn spans_go_below_the_collector_s_base_url() {
    let url = |otlp: &str| {
        let lines = format!("paths = [\"/a\"]\nauth = \"none\"\n[telemetry]\notlp = \"{otlp}\"");
        let loaded = load_text(Path::new("gateway.toml"), &with_route(&lines), &Environment::default()).ok()?;
        let mut problems = Problems::new(loaded.sources);
        let telemetry = compile(&loaded.config, &mut problems)?.telemetry?;
        Some(telemetry.url)
    };
    for (otlp, whole) in [
        ("http://otel:4318", "http://otel:4318/v1/traces"),
        ("https://otlp.example/otlp/", "https://otlp.example/otlp/v1/traces"),
        ("http://otel:4318/v1/traces", "http://otel:4318/v1/traces"),
    ] {
        assert_eq!(url(otlp).as_deref(), Some(whole));
    }
    assert_eq!(url("http://otel:4318/?key=tattle"), None, "queries get into logs");
}

#[test]
fn r27_the_shipped_config_has_no_secret_of_its_own() {
    let problems = problems(SHIPPED, &Environment::default());
    for name in ["INTERNAL_API_KEY", "LLM_PROXY_KEY"] {
        assert!(problems.contains(name), "{problems}");
    }
}

#[test]
fn a_route_that_holds_has_no_problems() {
    let text =
        with_route("paths = [\"/x/{org}/*\"]\nauth = \"hybrid\"\nrequire = { claims = { org = \"{path.org}\" } }");
    assert_eq!(problems(&text, &Environment::default()), "");
}

#[test]
fn r18_what_a_route_names_must_be_there_and_what_it_asks_must_be_possible() {
    for (lines, key, says) in [
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nlimits = [\"fast\"]",
            "routes.a.limits[0]",
            "there are: slow",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nlimits = [\"slow\", \"slow\"]",
            "routes.a.limits[1]",
            "twice",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nissuers = [\"other\"]",
            "routes.a.issuers[0]",
            "there are: main",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nlisteners = [\"x\"]",
            "routes.a.listeners[0]",
            "there are: public",
        ),
        (
            "paths = [\"x\"]\nauth = \"jwt\"",
            "routes.a.paths[0]",
            "must begin with \"/\"",
        ),
        (
            "paths = [\"/x*\"]\nauth = \"jwt\"",
            "routes.a.paths[0]",
            "only as its last segment",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nhosts = [\"a.example:80\"]",
            "routes.a.hosts[0]",
            "without a port",
        ),
        (
            "paths = [\"/\"]\nauth = \"none\"\nrequire = { roles_any = [\"admin\"] }",
            "routes.a.require",
            "never hold",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nrequire = { permissions_any = [\"a.*\"] }",
            "routes.a.require",
            "wildcard",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nrequire = { scopes_all = ['a\"b'] }",
            "routes.a.require",
            "no scope",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nrequire = { claims = { o = \"{org}\" } }",
            "routes.a.require.claims.o",
            "{org}",
        ),
        (
            "paths = [\"/\", \"/\"]\nauth = \"jwt\"",
            "routes.a.paths",
            "cannot be told apart",
        ),
        (
            "paths = [\"/\"]\nauth = \"jwt\"\nset_headers = { X-A = \"\\u0007\" }",
            "routes.a.set_headers.X-A",
            "a header's value",
        ),
    ] {
        let told = problems(&with_route(lines), &Environment::default());
        assert!(
            told.contains(&format!("{key}: ")) && told.contains(says),
            "{lines}\n{told}"
        );
    }
}

#[test]
fn an_answer_of_the_gateways_own_must_be_one_and_send_nobody_where_a_client_wants() {
    for (action, key, says) in [
        ("respond = { status = 204, body = \"x\" }", "respond.body", "no body"),
        (
            "redirect = { to = \"/x\", status = 304 }",
            "redirect.status",
            "no redirect",
        ),
        ("redirect = { to = \"/{who}\" }", "redirect.to", "{who}"),
        ("redirect = { to = \"x\" }", "redirect.to", "must begin"),
        ("redirect = { to = \"//x\" }", "redirect.to", "must begin"),
        ("redirect = { to = \"{host}/x\" }", "redirect.to", "must begin"),
        ("redirect = { to = \"ftp://{host}/x\" }", "redirect.to", "must begin"),
        ("redirect = { to = \"/{path}\" }", "redirect.to", "begin with one"),
        (
            "redirect = { to = \"https://{host}/{uri}\" }",
            "redirect.to",
            "begin with one",
        ),
        (
            "redirect = { to = \"https://{org}.example/\" }",
            "redirect.to",
            "from {host} only",
        ),
        (
            "redirect = { to = \"https://x{query}/\" }",
            "redirect.to",
            "from {host} only",
        ),
    ] {
        let lines = format!("paths = [\"/{{org}}/*\"]\nauth = \"none\"\n{action}");
        let text = with_route(&lines).replace("upstream = \"app\"\n        paths", "paths");
        let told = problems(&text, &Environment::default());
        assert!(
            told.contains(&format!("routes.a.{key}: ")) && told.contains(says),
            "{action}\n{told}"
        );
    }
    for to in [
        "https://{host}{uri}",
        "https://x/{org}",
        "https://x{path}?{query}",
        "{path}/",
        "/n/{path.org}",
        "/n{path}",
    ] {
        let lines = format!("paths = [\"/{{org}}/*\"]\nauth = \"none\"\nredirect = {{ to = \"{to}\" }}");
        let text = with_route(&lines).replace("upstream = \"app\"\n        paths", "paths");
        assert_eq!(problems(&text, &Environment::default()), "", "{to}");
    }
}

#[test]
fn r17_another_path_must_be_one_for_every_request_of_the_route() {
    for (keys, key, says) in [
        ("strip_prefix = \"/y\"", "strip_prefix", "beginning of every path"),
        ("strip_prefix = \"/x/y\"", "strip_prefix", "/x/{org}/* has another"),
        ("strip_prefix = \"/x/\"", "strip_prefix", "whole segments"),
        ("strip_prefix = \"/\"", "strip_prefix", "whole segments"),
        ("strip_prefix = \"/x/*\"", "strip_prefix", "whole segments"),
        ("strip_prefix = \"/x/{org}\"", "strip_prefix", "whole segments"),
        ("replace_path = \"/a//b\"", "replace_path", "two servers"),
        ("replace_path = \"/a/../b\"", "replace_path", "two servers"),
        ("replace_path = \"/a%2Fb\"", "replace_path", "two servers"),
        ("replace_path = \"/{who}\"", "replace_path", "{who}"),
        ("replace_path = \"/{host}\"", "replace_path", "{host}"),
        ("replace_path = \"/.{org}\"", "replace_path", "whole segment"),
        ("replace_path = \"/{org}.\"", "replace_path", "whole segment"),
        ("replace_path = \"/a{path}/b\"", "replace_path", "at its end"),
        ("replace_path = \"/a/{path}\"", "replace_path", "at its end"),
        (
            "strip_prefix = \"/x\"\nreplace_path = \"/a\"",
            "replace_path",
            "instead of",
        ),
        ("cors = \"app\"", "cors", "no [cors.app]"),
        (
            "set_headers = { X-A = \"{userid}\" }",
            "set_headers.X-A",
            "none of {user}",
        ),
        (
            "response_headers = { set = { X-A = \"{path}\" } }",
            "response_headers.set.X-A",
            "none of {user}",
        ),
    ] {
        let lines = format!("paths = [\"/x/{{org}}/*\"]\nauth = \"jwt\"\n{keys}");
        let told = problems(&with_route(&lines), &Environment::default());
        assert!(
            told.contains(&format!("routes.a.{key}: ")) && told.contains(says),
            "{keys}\n{told}"
        );
    }
    for keys in [
        "strip_prefix = \"/x\"",
        "replace_path = \"/a/{org}/b\"",
        "replace_path = \"/a/{path.org}\"",
        "replace_path = \"/a{path}\"",
        "strip_prefix = \"/x\"\nreplace_path = \"/a/b{path}\"",
        "set_headers = { X-A = '{\"a\":1}', X-B = \"{user}/{tenant}/{client_ip}/{request_id}\" }",
    ] {
        let lines = format!("paths = [\"/x/{{org}}/*\"]\nauth = \"jwt\"\n{keys}");
        assert_eq!(problems(&with_route(&lines), &Environment::default()), "", "{keys}");
    }
}

#[test]
fn a_mode_without_what_it_needs_is_refused() {
    let bare = "[[listeners]]\nname = \"p\"\n[upstreams.app]\nurls = [\"http://127.0.0.1:1\"]\n[[routes]]\nname = \"a\"\n\
                paths = [\"/\"]\nupstream = \"app\"\nauth = \"hybrid\"";
    let told = problems(bare, &Environment::default());
    for section in ["[issuers.NAME]", "[api_keys]", "[internal]"] {
        assert!(told.contains(section), "{told}");
    }
}

#[test]
fn keys_from_authorization_need_a_prefix_and_no_key_is_the_internal_caller() {
    let text = with_route("paths = [\"/\"]\nauth = \"api_key\"");
    let unmarked = text.replace("prefixes = [\"hok_\"]", "sources = [\"bearer\"]");
    let told = problems(&unmarked, &Environment::default());
    assert!(told.contains("api_keys.prefixes: needs a prefix"), "{told}");
    let hash = "ab".repeat(32);
    let keys = format!("[[api_keys.keys]]\nid = \"k\"\nhash = \"sha256:{hash}\"\nuser = \"system\"\n[internal]");
    let told = problems(&text.replace("[internal]", &keys), &Environment::default());
    assert!(
        told.contains("api_keys.keys.k.user: is the internal callers' own name"),
        "{told}"
    );
    let twice = keys.replace("\"system\"", "\"a\"").replace("[internal]", "")
        + &keys.replace("\"system\"", "\"b\"").replace("\"k\"", "\"l\"");
    let told = problems(&text.replace("[internal]", &twice), &Environment::default());
    assert!(told.contains("one key cannot be two callers"), "{told}");
}
