//! `gateway routes`: the table of routes.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

/// How it is shown.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(_config: &Path, _options: &Options) -> ExitCode {
    ExitCode::FAILURE
}
