//! The command line: arguments in, exit code out; one file a subcommand.

mod audit;
mod check;
mod demo;
mod explain;
mod health;
mod key;
mod mode;
mod revoke;
mod routes;
mod run;
mod serving;
mod sockets;
mod takeover;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::compile::{Compiled, compile};
use crate::config::{ConfigErrors, Environment, Loaded, load_and};

/// An authenticating reverse proxy: JWTs, API keys and legacy secrets judged in one chain.
#[derive(Debug, Parser)]
#[command(name = "gateway", version, about)]
struct Arguments {
    /// The config file; else GATEWAY_CONFIG, else ./gateway.toml.
    #[arg(
        long,
        global = true,
        env = "GATEWAY_CONFIG",
        default_value = "gateway.toml",
        value_name = "PATH"
    )]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT, then drain.
    Run(run::Options),
    /// Start a complete example, with an identity provider and upstreams of its own, and print what to try.
    Demo(demo::Options),
    /// Say everything that is wrong with the config.
    Check(check::Options),
    /// Say what would become of a request, and why, without sending it.
    Explain(explain::Options),
    /// Show the table of routes.
    Routes(routes::Options),
    /// Set the auth mode of a route, above the config file; list modes, or take them back.
    Mode(mode::Options),
    /// Make or hash an API key; create, list or revoke those of the auth service.
    #[command(subcommand)]
    Key(key::Command),
    /// Revoke a token, a user's tokens or an API key on every gateway that shares the Redis.
    Revoke(revoke::Options),
    /// Ask the running gateway whether it is ready.
    Health,
}

/// Exit codes that scripts rely on.
mod exit {
    /// Something else went wrong.
    pub(super) const FAILED: u8 = 1;
    /// `explain`: the request would be refused.
    pub(super) const DENIED: u8 = 2;
    /// `explain`: something is missing that the verdict depends on.
    pub(super) const CANNOT_TELL: u8 = 4;
    /// The config is invalid.
    pub(super) const INVALID_CONFIG: u8 = 3;
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let Arguments { config, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            // A slip of the pen must not look like `explain`'s 2, a refusal.
            return ExitCode::from(if error.use_stderr() { exit::FAILED } else { 0 });
        }
    };
    match command {
        Command::Run(options) => run::run(&config, &options),
        Command::Demo(options) => demo::run(&options),
        Command::Check(options) => check::run(&config, &options),
        Command::Explain(options) => explain::run(&config, &options),
        Command::Routes(options) => routes::run(&config, &options),
        Command::Mode(options) => mode::run(&config, &options),
        Command::Key(command) => key::run(&config, &command),
        Command::Revoke(options) => revoke::run(&config, &options),
        Command::Health => health::run(&config),
    }
}

/// Reads and compiles the config as a running gateway would; on failure everything that is wrong has been printed.
fn compiled(path: &Path) -> Result<(Loaded, Compiled), ExitCode> {
    load_and(path, &Environment::of_process(), compile).map_err(|errors| invalid_config(&errors))
}

/// Prints everything that is wrong with a config.
fn invalid_config(errors: &ConfigErrors) -> ExitCode {
    eprintln!("{errors}");
    ExitCode::from(exit::INVALID_CONFIG)
}

/// Waits for an answer, on a runtime of its own; an error: the system gave none.
fn waiting_for<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map(|runtime| runtime.block_on(answer))
        .map_err(|error| error.to_string())
}

/// Prints a value as JSON, and ends with `code`.
fn print_json(value: &impl Serialize, code: ExitCode) -> ExitCode {
    match serde_json::to_string_pretty(value) {
        Ok(text) => {
            println!("{text}");
            code
        }
        Err(error) => failed(error),
    }
}

/// What a file holds; else why it cannot be read.
fn content_of(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// What others wrote, as a person may see it: nothing in it steers the terminal, begins a line or hides what follows.
fn shown(text: &str) -> impl std::fmt::Display {
    text.escape_debug()
}

/// Prints why a command failed.
fn failed(reason: impl std::fmt::Display) -> ExitCode {
    eprintln!("gateway: {reason}");
    ExitCode::from(exit::FAILED)
}
