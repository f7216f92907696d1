//! `gateway demo`: a whole example in one process; `--once` tries it as a stranger would, and can fail.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use crate::config::{Environment, load_text};
use crate::demo::{self, Listeners, Paint, World};
use crate::observe::metrics::Metrics;
use crate::runtime::gateway::Gateway;
use crate::runtime::log::Log;

use super::run::{Stop, worker_count};
use super::serving::{Leaving, Serving};
use super::sockets::Inherited;
use super::{failed, invalid_config, waiting_for};

/// How the demo runs.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The gateway's port; any free one otherwise.
    #[arg(long, default_value_t = 0, value_name = "N")]
    port: u16,
    /// Run every line, print how each came out, and exit: 0 if all came out as they should, else 1.
    #[arg(long)]
    once: bool,
}

/// 0 / 1.
pub(super) fn run(options: &Options) -> ExitCode {
    match waiting_for(play(options)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => failed(error),
        Err(error) => failed(error),
    }
}

async fn play(options: &Options) -> io::Result<ExitCode> {
    let mut stop = Stop::new()?;
    let world = World::start().await?;
    // The demo is as it is anywhere: no variable of this machine may change it.
    let environment = Environment::default();
    let text = world.config(&Listeners::on_port(options.port))?;
    let loaded = match load_text(Path::new("demo.toml"), &text, &environment) {
        Ok(loaded) => loaded,
        Err(errors) => return Ok(invalid_config(&errors)),
    };
    let log = Log::begin(&loaded.config.log)?;
    let workers = worker_count(&loaded.config);
    let metrics = Metrics::new(env!("CARGO_PKG_VERSION")).map_err(io::Error::other)?;
    let gateway = match Gateway::new(loaded, metrics, log, workers) {
        Ok(gateway) => gateway,
        Err(errors) => return Ok(invalid_config(&errors)),
    };
    let serving = Serving::start(Arc::new(gateway), Inherited::default()).await?;
    let public = serving
        .listeners
        .first()
        .map(|(_, address)| *address)
        .ok_or_else(|| io::Error::other("no listener"))?;
    let code = if options.once {
        try_all(public, &serving, &world, &mut stop).await?
    } else {
        show(public, &serving, &world)?;
        stop.told().await;
        ExitCode::SUCCESS
    };
    serving.drain(Leaving::ForGood, std::future::ready(())).await;
    Ok(code)
}

async fn try_all(
    public: std::net::SocketAddr,
    serving: &Serving,
    world: &World,
    stop: &mut Stop,
) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let trying = demo::run_script(public, serving.admin, world, &mut out, Paint::for_stdout());
    let report = tokio::select! {
        report = trying => report?,
        () = stop.told() => return Ok(ExitCode::from(130)),
    };
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn show(public: std::net::SocketAddr, serving: &Serving, world: &World) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let listeners = Listeners {
        public,
        admin: serving.admin,
        access_log: false,
    };
    writeln!(out, "{}", world.config(&listeners)?)?;
    writeln!(
        out,
        "{}",
        demo::banner(public, serving.admin, world, Paint::for_stdout())?
    )?;
    if out.is_terminal() {
        writeln!(out, "Ctrl-C ends it.")?;
    }
    out.flush()
}
