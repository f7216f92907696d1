//! Bytes as a config: it is read and compiled, or every error says where it is.

use std::path::Path;

use gateway::compile::compile;
use gateway::config::{Environment, Problems, load_text};

/// A folder that is not there: includes and `${file:}`s find nothing.
const NAME: &str = "/nonexistent/gateway.toml";

/// These bytes as `gateway.toml`.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match load_text(Path::new(NAME), text, &Environment::default()) {
        Ok(loaded) => {
            let mut problems = Problems::new(loaded.sources);
            if compile(&loaded.config, &mut problems).is_none() {
                let errors = problems.into_errors();
                assert!(errors.iter().next().is_some(), "refused without a reason");
            }
        }
        Err(errors) => {
            for error in errors.iter() {
                assert!(!error.to_string().is_empty());
            }
            assert!(errors.iter().next().is_some(), "refused without a reason");
        }
    }
}
