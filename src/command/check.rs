//! `gateway check`: everything that is wrong with the config, one a line.

use std::path::Path;
use std::process::ExitCode;

use super::compiled;

/// 0, or 3 with the errors on standard error.
pub(super) fn run(config: &Path) -> ExitCode {
    match compiled(config) {
        Ok((_, compiled)) => {
            let routes = compiled.policy.routes.len();
            println!(
                "{}: valid, {routes} route{}",
                config.display(),
                if routes == 1 { "" } else { "s" }
            );
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}
