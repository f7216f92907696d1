//! `gateway explain`: what would become of a request, and why, without sending it.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;

/// The request.
#[derive(Debug, Args)]
pub(super) struct Options {}

pub(super) fn run(_config: &Path, _options: &Options) -> ExitCode {
    ExitCode::FAILURE
}
