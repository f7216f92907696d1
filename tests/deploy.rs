//! What lies under `deploy/` speaks of the gateway as it is: alerts and dashboard ask for metrics that exist, alerts fire when
//! they should, and every config that users copy holds and leaves nothing wide open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What begins the names of our metrics.
const PREFIXES: [&str; 3] = ["gateway_", "jwt_", "jwks_"];

/// What a histogram is asked by.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let exist = metrics();
    for file in [
        "deploy/prometheus/alerts.yml",
        "deploy/prometheus/older_names.yml",
        "deploy/grafana/gateway.json",
    ] {
        // What a rule is recorded as is no question.
        let text = read(file);
        let questions = text.lines().filter(|line| !line.trim().starts_with("- record: "));
        let asked: BTreeSet<_> = questions.flat_map(names_in).collect();
        assert!(!asked.is_empty(), "{file} asks for nothing");
        for name in asked {
            let plain = OF_HISTOGRAMS.iter().find_map(|end| name.strip_suffix(end));
            assert!(
                exist.contains(&name) || plain.is_some_and(|plain| exist.contains(plain)),
                "{file} asks for {name}, which the gateway does not have"
            );
        }
    }
}

#[test]
fn every_metric_that_tells_of_trouble_is_on_the_dashboard() {
    let shown = names_in(&read("deploy/grafana/gateway.json"));
    let missing: Vec<_> = metrics()
        .into_iter()
        .filter(|name| !shown.iter().any(|shown| shown.starts_with(name.as_str())))
        // Shown by others: hits and misses of keys by the age of keys, fetches by their failures, and what never changes.
        .filter(|name| {
            ![
                "jwks_cache",
                "jwks_refresh_total",
                "gateway_build",
                "gateway_dependency_duration",
            ]
            .iter()
            .any(|other| name.starts_with(other))
        })
        .collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

#[test]
fn each_alert_fires_when_it_should_and_only_then() {
    let output = Command::new("promtool")
        .args(["test", "rules", "alerts_test.yml"])
        .current_dir(root().join("deploy/prometheus"))
        .output()
        .expect("promtool, which .ci/test installs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn each_alert_has_a_test() {
    let (alerts, tests) = (
        read("deploy/prometheus/alerts.yml"),
        read("deploy/prometheus/alerts_test.yml"),
    );
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "{name} has no test");
    }
}

#[test]
fn each_config_that_users_copy_holds_and_leaves_no_door_open() {
    let others = [root().join("gateway.toml"), root().join("deploy/compose.toml")];
    for recipe in [files("deploy/recipes"), files("deploy/recipes/complete"), others.into()].concat() {
        let text = std::fs::read_to_string(&recipe).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
        command
            .env_clear()
            .arg("--config")
            .arg(&recipe)
            .args(["check", "--audit"]);
        // By the rule of deploy/recipes/README.md what has no default is a secret.
        let included = read("gateway.toml");
        for name in references(&text)
            .chain(references(&included))
            .filter(|name| !name.contains(":-"))
        {
            // No two are alike.
            command.env(name, format!("{:0>64}", name.len()));
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let wrong = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}{wrong}", recipe.display());
    }
}

#[test]
fn each_recipe_is_in_the_list_and_has_its_test() {
    let (list, tests) = (read("deploy/recipes/README.md"), root().join("tests/real"));
    for recipe in files("deploy/recipes") {
        let name = recipe.file_stem().unwrap().to_str().unwrap();
        assert!(
            list.contains(&format!("]({name}.toml)")),
            "deploy/recipes/README.md does not list {name}.toml"
        );
        let test = tests.join(format!("test_{}.py", name.replace('-', "_")));
        assert!(test.exists(), "{name}.toml has no {}", test.display());
    }
}

#[test]
fn each_complete_config_is_in_the_list() {
    let list = read("deploy/recipes/README.md");
    for config in files("deploy/recipes/complete") {
        let name = config.file_name().unwrap().to_str().unwrap();
        assert!(list.contains(&format!("](complete/{name})")), "{name} is not listed");
    }
}

/// The configs of a folder.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let files = entries.map(|entry| entry.unwrap().path());
    let configs: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|end| end == "toml"))
        .collect();
    assert!(!configs.is_empty(), "no configs in {folder}");
    configs
}

/// `NAME` and `NAME:-default` of each `${env:…}` that is not in a comment.
fn references(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .flat_map(|line| line.split("${env:").skip(1))
        .filter_map(|rest| rest.split('}').next())
}

/// The names of the table of metrics.
fn metrics() -> BTreeSet<String> {
    let table = read("src/observe/metrics/families.rs");
    let rows = table.split('"').skip(1).step_by(2);
    rows.filter(|text| is_name(text)).map(str::to_owned).collect()
}

fn names_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| is_name(word))
        .map(str::to_owned)
        .collect()
}

fn is_name(word: &str) -> bool {
    PREFIXES
        .iter()
        .any(|prefix| word.starts_with(prefix) && word.len() > prefix.len())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
