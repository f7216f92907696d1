//! The config reader from outside: text, files and environment in; values or errors out.

mod environment;
mod errors;
mod files;
mod hardening;
mod reference;
mod remote;
mod sections;
mod values;

use std::path::Path;

use super::model::{Config, Route};
use super::{ConfigErrors, Environment, Loaded, load_text};

/// The whole reference, every section of it.
const REFERENCE: &str = include_str!("reference.toml");

/// The least that holds; more sections can follow it.
const LEAST: &str = r#"
[[listeners]]
name = "public"
[upstreams.app]
urls = ["http://app:8001"]
[[routes]]
name = "chat"
paths = ["/chat/*"]
upstream = "app"
auth = "none"
"#;

fn load(text: &str) -> Result<Loaded, ConfigErrors> {
    load_in(text, &Environment::default())
}

fn load_in(text: &str, environment: &Environment) -> Result<Loaded, ConfigErrors> {
    load_text(Path::new("gateway.toml"), text, environment)
}

/// The config of [`LEAST`] and more.
fn config(more: &str) -> Config {
    config_in(more, &Environment::default())
}

fn config_in(more: &str, environment: &Environment) -> Config {
    match load_in(&format!("{LEAST}{more}"), environment) {
        Ok(loaded) => loaded.config,
        Err(errors) => panic!("{errors}"),
    }
}

/// The only route of [`LEAST`], with further keys.
fn route(keys: &str) -> Route {
    config(keys).routes.remove(0)
}

/// What is wrong with [`LEAST`] and more, one a line, without the places.
fn wrong(more: &str) -> Vec<String> {
    wrong_in(more, &Environment::default())
}

fn wrong_in(more: &str, environment: &Environment) -> Vec<String> {
    wrong_with(&format!("{LEAST}{more}"), environment)
}

fn wrong_with(text: &str, environment: &Environment) -> Vec<String> {
    match load_in(text, environment) {
        Ok(_) => Vec::new(),
        Err(errors) => errors
            .iter()
            .map(|error| format!("{}: {}", error.key, error.message))
            .collect(),
    }
}

/// Exactly one error, which has these words in it.
#[track_caller]
fn assert_wrong(errors: &[String], words: &[&str]) {
    assert_eq!(errors.len(), 1, "{errors:#?}");
    for word in words {
        assert!(errors[0].contains(word), "{word:?} in {:?}", errors[0]);
    }
}

/// What the reference's own references need.
fn reference_environment() -> Environment {
    Environment::from([
        ("INTERNAL_API_KEY", "a-legacy-key-of-ours"),
        ("HOKUSAI_SERVICE_TOKEN", "a-service-token"),
        ("REDIS_URL", "redis://redis:6379"),
        ("GATEWAY_RECORD_KEY", "0123456789abcdef0123456789abcdef"),
        ("AGENT_RUNTIME_KEY", "a-key-of-the-agent-runtime"),
    ])
}
