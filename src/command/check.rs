//! `gateway check`: everything that is wrong with the config, one a line; and what is valid, and seldom meant.

use std::path::Path;
use std::process::ExitCode;

use http::Method;

use crate::compile::Hidden;
use crate::config::Sources;
use crate::policy::route::Route;

use super::compiled;

/// 0, or 3 with the errors on standard error. Warnings stand there too.
pub(super) fn run(config: &Path) -> ExitCode {
    match compiled(config) {
        Ok((loaded, compiled)) => {
            let routes = &compiled.policy.routes;
            for hidden in &compiled.hidden {
                if let Some(warning) = warning(hidden, routes, &loaded.sources) {
                    eprintln!("{warning}");
                }
            }
            println!(
                "{}: valid, {} route{}",
                config.display(),
                routes.len(),
                if routes.len() == 1 { "" } else { "s" }
            );
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

/// `FILE:LINE:COL: key.path: warning: …`
fn warning(hidden: &Hidden, routes: &[Route], sources: &Sources) -> Option<String> {
    let (narrow, wide) = (routes.get(hidden.narrow)?, routes.get(hidden.wide)?);
    let key = format!("routes.{}.methods", narrow.name);
    let taken = listed(&hidden.taken);
    let lost = if hidden.methods.is_empty() {
        format!("everything but {taken}")
    } else {
        listed(&hidden.methods)
    };
    Some(format!(
        "{}: {key}: warning: hides {lost} of the wider route \"{}\" at {}: there they are 405; take these methods too, or add a \
         route that does",
        sources.of(&key),
        wide.name,
        hidden.path,
    ))
}

/// GET includes HEAD.
fn listed(methods: &[Method]) -> String {
    let named = |method: &&Method| **method != Method::HEAD || !methods.contains(&Method::GET);
    let names: Vec<&str> = methods.iter().filter(named).map(Method::as_str).collect();
    names.join(", ")
}
