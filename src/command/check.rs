//! `gateway check`: everything that is wrong with the config, one a line; with `--audit` what it leaves open though nothing is wrong;
//! with `--schema` the shape of a config, for editors. What is valid and seldom meant is warned of.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use http::Method;

use crate::compile::Hidden;
use crate::config::{Source, Sources, schema};
use crate::policy::route::Route;
use crate::runtime::clock::Clock;

use super::audit::{self, Finding, Severity};
use super::{compiled, exit, print_json};

/// What else is said.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Say what the config leaves open, with severity and mend; 1 if something is `high`.
    #[arg(long)]
    audit: bool,
    /// Print the JSON Schema of gateway.toml; no config is read.
    #[arg(long, conflicts_with = "audit")]
    schema: bool,
}

/// 0, or 3 with the errors on standard error; with `--audit` 1 if a finding is `high`.
pub(super) fn run(config: &Path, options: &Options) -> ExitCode {
    if options.schema {
        return print_json(&schema(), ExitCode::SUCCESS);
    }
    let (loaded, compiled) = match compiled(config) {
        Ok(compiled) => compiled,
        Err(code) => return code,
    };
    let found = audit::audit(&loaded, &compiled, Clock::start().now().unix_s);
    let line = |found: &audit::Found, kind: &str| {
        let at = match loaded.sources.of(&found.key) {
            Source::File(file) => file.display().to_string(),
            other => other.to_string(),
        };
        let finding = found.finding;
        format!(
            "{at}: {}: {kind}{}; mend: {}",
            found.key,
            finding.says(),
            finding.mend()
        )
    };
    let routes = &compiled.policy.routes;
    for hidden in &compiled.hidden {
        if let Some(warning) = warning(hidden, routes, &loaded.sources) {
            eprintln!("{warning}");
        }
    }
    // What a rollback would run into is said unasked: nobody should find out at night.
    for found in found.iter().filter(|found| !options.audit && warns(found.finding)) {
        eprintln!("{}", line(found, "warning: "));
    }
    if options.audit {
        for found in &found {
            println!(
                "{} {}: {}",
                found.finding.severity().name(),
                found.finding.name(),
                line(found, "")
            );
        }
    }
    let routes = routes.len();
    let plural = if routes == 1 { "" } else { "s" };
    let findings = if options.audit {
        format!(", {} findings", found.len())
    } else {
        String::new()
    };
    println!("{}: valid, {routes} route{plural}{findings}", config.display());
    if options.audit && found.iter().any(|found| found.finding.severity() == Severity::High) {
        return ExitCode::from(exit::FAILED);
    }
    ExitCode::SUCCESS
}

fn warns(finding: Finding) -> bool {
    matches!(finding, Finding::FallbackForbidden | Finding::FallbackOneBucket)
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
