//! The config that is shipped must hold: it is the first that people read, and copy.

use std::path::Path;

use super::compile;
use crate::config::{Environment, Problems, load_text};

const SHIPPED: &str = include_str!("../../gateway.toml");

fn problems(environment: &Environment) -> String {
    let loaded = match load_text(Path::new("gateway.toml"), SHIPPED, environment) {
        Ok(loaded) => loaded,
        Err(errors) => return errors.to_string(),
    };
    let mut problems = Problems::new(loaded.sources.clone());
    match compile(&loaded.config, &mut problems) {
        Some(_) => String::new(),
        None => problems.into_errors().to_string(),
    }
}

#[test]
fn the_shipped_config_compiles_with_the_secrets_that_it_names() {
    let environment = Environment::from([
        ("INTERNAL_API_KEY", "0123456789abcdef0123456789abcdef"),
        ("LLM_PROXY_KEY", "0123456789abcdef"),
    ]);
    assert_eq!(problems(&environment), "");
}

#[test]
fn r27_the_shipped_config_has_no_secret_of_its_own() {
    let problems = problems(&Environment::default());
    for name in ["INTERNAL_API_KEY", "LLM_PROXY_KEY"] {
        assert!(problems.contains(name), "{problems}");
    }
}
