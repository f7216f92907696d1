//! `gateway run`: serves until told to stop, then drains.

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::config::model::Config;
use crate::observe::metrics::Metrics;
use crate::runtime::gateway::Gateway;
use crate::runtime::log::Log;
use crate::runtime::reload::Watch;

use super::serving::Serving;
use super::{compiled, failed, invalid_config};

/// 0 after a clean end, 3 for an invalid config, 1 for what could not be bound or started.
pub(super) fn run(path: &Path) -> ExitCode {
    let loaded = match compiled(path) {
        Ok((loaded, _)) => loaded,
        Err(code) => return code,
    };
    let log = match Log::begin(&loaded.config.log) {
        Ok(log) => log,
        Err(error) => return failed(error),
    };
    let watch = Watch::new(path.to_owned(), &loaded);
    let workers = worker_count(&loaded.config);
    let metrics = match Metrics::new(env!("CARGO_PKG_VERSION")) {
        Ok(metrics) => metrics,
        Err(error) => return failed(error),
    };
    let gateway = match Gateway::new(loaded, metrics, log.clone(), workers) {
        Ok(gateway) => gateway,
        Err(errors) => return invalid_config(&errors),
    };
    let control = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = control.and_then(|control| control.block_on(serve(gateway, watch)));
    log.end();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

async fn serve(gateway: Gateway, watch: Watch) -> io::Result<()> {
    // Before anything listens: a signal from now on is a request to drain, not a death.
    let mut stop = Stop::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let serving = Serving::start(gateway).await?;
    let asked = Arc::new(Notify::new());
    tokio::spawn(watch.run(serving.gateway.clone(), asked.clone()));
    loop {
        tokio::select! {
            () = stop.told() => break,
            _ = hangup.recv() => asked.notify_one(),
        }
    }
    tracing::info!("draining");
    serving.drain(stop.told()).await;
    tracing::info!("stopped");
    Ok(())
}

/// SIGTERM and SIGINT.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// From now on they no longer kill the process.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// One a core, unless the config says otherwise.
pub(super) fn worker_count(config: &Config) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    config.server.workers.unwrap_or_else(cores)
}
