//! Errors: all at once, each with its place, its key and what would be valid.

use super::{LEAST, assert_wrong, load, wrong, wrong_with};
use crate::config::Environment;

#[test]
fn reports_everything_at_once_with_line_and_column() {
    let text = r#"[server]
drain_timeout = "soon"
  worker = 4

[[listeners]]
name = "public"
max_connections = 0

[upstreams.app]
urls = ["http://app:8001", "ftp://app"]

[[routes]]
name = "chat"
paths = ["/chat/*"]
upstream = "app"
"#;
    let errors = load(text).unwrap_err().to_string();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!(
        lines,
        [
            "gateway.toml:2:17: server.drain_timeout: expected a duration such as \"250ms\", \"30s\", \"5m\", \"1h\" or \"1d\", of 365 days at most, found \"soon\"",
            "gateway.toml:3:3: server.worker: unknown key; did you mean \"workers\"?",
            "gateway.toml:7:19: listeners.public.max_connections: expected a whole number from 1 to 10000000, found 0",
            "gateway.toml:10:28: upstreams.app.urls[1]: expected \"http://host:port\" or \"https://host:port\" without a path, or \"unix:/path\", found \"ftp://app\"",
            "gateway.toml:12:1: routes.chat.auth: is missing; say who is let in: \"none\", \"internal\", \"api_key\", \"jwt\", \"hybrid\" or a list of methods",
        ]
    );
}

#[test]
fn reports_several_syntax_errors_and_nothing_that_follows_from_them() {
    let errors = load("a = \nb = 1\nc = [1,,2]\n").unwrap_err().to_string();
    assert!(errors.contains("gateway.toml:1:"), "{errors}");
    assert!(errors.contains("gateway.toml:3:"), "{errors}");
    assert!(!errors.contains("listeners"), "{errors}");
}

#[test]
fn counts_columns_in_characters() {
    let errors = load("log = { format = \"ümläut\", level = 3 }").unwrap_err();
    assert!(errors.to_string().contains("gateway.toml:1:36: log.level"), "{errors}");
}

#[test]
fn a_key_twice_is_a_syntax_error() {
    let twice = wrong("[log]\nlevel = 'info'\nlevel = 'warn'");
    assert_wrong(&twice, &["duplicate key: level is there already; keep one"]);
}

#[test]
fn an_unknown_key_far_from_all_names_those_that_are_valid() {
    assert_wrong(
        &wrong("[log]\ncolour = true"),
        &["log.colour: unknown key; valid here: access, format, level, user_agent"],
    );
}

#[test]
fn a_misspelt_word_is_told_which_was_probably_meant() {
    let errors = wrong("[log]\nlevel = 'inof'");
    assert_wrong(&errors, &["expected one of", "found \"inof\"; did you mean \"info\"?"]);
    let far = wrong("[log]\nlevel = 'everything'");
    assert!(!far[0].contains("did you mean"), "{far:?}");
}

#[test]
fn a_misspelt_method_is_refused_and_an_unusual_one_is_not() {
    let routes = |method: &str| LEAST.replace("name = \"chat\"", &format!("name = \"chat\"\nmethods = [\"{method}\"]"));
    for (written, meant) in [("PSOT", "POST"), ("DELET", "DELETE"), ("GTE", "GET"), ("PATH", "PATCH")] {
        let errors = wrong_with(&routes(written), &Environment::default());
        assert_wrong(
            &errors,
            &["routes.chat.methods[0]", &format!("did you mean \"{meant}\"?")],
        );
    }
    for fits in ["PUT", "POST", "PURGE", "PROPFIND", "LOCK", "M-SEARCH"] {
        assert!(load(&routes(fits)).is_ok(), "{fits}");
    }
}

#[test]
fn a_file_that_is_no_utf8_is_refused_where_it_stops_being() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("gateway.toml");
    std::fs::write(&path, b"[log]\nlevel = \"caf\xe9\"\n").unwrap();
    let errors = crate::config::load(&path, &Environment::default())
        .unwrap_err()
        .to_string();
    assert!(
        errors.ends_with("gateway.toml:2:13: is no UTF-8 from here on; save the file as UTF-8"),
        "{errors}"
    );
}

#[test]
fn an_unknown_section_is_refused() {
    assert_wrong(
        &wrong("[upstream.app]\nurls = []"),
        &["upstream: unknown key", "\"upstreams\""],
    );
}

#[test]
fn a_value_of_the_wrong_type_names_the_type_that_fits() {
    for (more, words) in [
        ("[server]\ndrain_timeout = 30", ["a duration such as", "found 30"]),
        ("[log]\naccess = 'yes'", ["true or false", "found \"yes\""]),
        ("[admin]\naddress = []", ["an address and port", "found a list"]),
        (
            "[server.workers]\na = 1",
            ["\"auto\", or a whole number", "found a table"],
        ),
        (
            "[internal]\nkeys = 'plainly-a-secret'",
            ["expected a list", "found a string"],
        ),
        ("[roles]\nadmin = '*'", ["expected a list", "found a string"]),
    ] {
        assert_wrong(&wrong(more), &words);
    }
    assert_wrong(
        &wrong_with("server = 1\n", &Environment::default())[2..],
        &["server: expected a table, found an integer"],
    );
}

#[test]
fn a_config_without_listeners_or_routes_is_refused() {
    let errors = wrong_with("", &Environment::default());
    assert_eq!(
        errors,
        [
            "listeners: at least one is needed; write a [[listeners]] with a name",
            "routes: at least one is needed; write a [[routes]] with a name",
        ]
    );
    let errors = wrong_with("listeners = []\nroutes = []", &Environment::default());
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn a_name_twice_is_refused_and_both_places_are_named() {
    assert_wrong(
        &wrong("[[routes]]\nname = 'chat'\npaths = ['/b']\nupstream = 'app'\nauth = 'none'"),
        &["routes[1].name", "is defined twice, first at gateway.toml:7:8"],
    );
}

#[test]
fn names_that_one_variable_would_set_are_refused() {
    assert_wrong(
        &wrong("[upstreams.A-b]\nurls = ['http://a']\n[upstreams.a_b]\nurls = ['http://b']"),
        &["upstreams.a_b", "\"A-b\"", "GATEWAY__UPSTREAMS__A_B"],
    );
    assert_wrong(
        &wrong("[[routes]]\nname = 'CHAT'\npaths = ['/b']\nupstream = 'app'\nauth = 'none'"),
        &["routes.CHAT", "\"chat\"", "GATEWAY__ROUTES__CHAT"],
    );
}

#[test]
fn a_name_that_cannot_be_a_label_is_refused() {
    let long = "x".repeat(65);
    for name in ["", "a b", "ü", "a.b", long.as_str()] {
        let text = LEAST.replace("\"chat\"", &format!("{name:?}"));
        assert_wrong(
            &wrong_with(&text, &Environment::default()),
            &["routes[0].name", "1 to 64 of"],
        );
        let errors = wrong(&format!("[limits.{name:?}]\nrate = '1/s'"));
        assert_wrong(&errors, &["as a name, expected 1 to 64 of"]);
    }
}

#[test]
fn an_entry_without_a_name_is_known_by_its_place() {
    let text = LEAST.replace("name = \"chat\"", "auht = 1");
    let errors = wrong_with(&text, &Environment::default());
    assert_eq!(errors.len(), 2, "{errors:#?}");
    assert!(errors[0].starts_with("routes[0].name: is missing"), "{errors:#?}");
    assert!(
        errors[1].starts_with("routes[0].auht: unknown key; did you mean \"auth\"?"),
        "{errors:#?}"
    );
}

#[test]
fn a_compiler_finds_the_place_of_a_key_or_of_what_encloses_it() {
    let loaded = load(LEAST).unwrap();
    let mut problems = crate::config::Problems::new(loaded.sources);
    problems.at("routes.chat.upstream", "no such upstream; have: app");
    problems.at("routes.chat.limits[3]", "no such limit");
    problems.at("routes.chat.paths[0]", "no such pattern");
    problems.at("admin.address", "is taken");
    assert_eq!(
        problems.finish().unwrap_err().to_string(),
        "gateway.toml: admin.address: is taken\n\
         gateway.toml:6:1: routes.chat.limits[3]: no such limit\n\
         gateway.toml:8:10: routes.chat.paths[0]: no such pattern\n\
         gateway.toml:9:12: routes.chat.upstream: no such upstream; have: app"
    );
}
