//! `gateway run`: serves until told to stop, then drains.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use crate::config::model::Config;
use crate::observe::metrics::Metrics;
use crate::runtime::gateway::Gateway;
use crate::runtime::log::Log;
use crate::runtime::reload::Watch;
use crate::runtime::shared_modes;

use super::serving::{Leaving, Serving};
use super::sockets::Inherited;
use super::takeover::{Offer, Takeover};
use super::{compiled, failed, invalid_config};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Take the listening sockets of the gateway that runs with this config, which drains once this one serves.
    #[arg(long)]
    takeover: bool,
}

/// 0 after a clean end, 3 for an invalid config, 1 for what could not be bound, taken over or started.
pub(super) fn run(path: &Path, options: &Options) -> ExitCode {
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
    let served = control.and_then(|control| control.block_on(serve(Arc::new(gateway), watch, options.takeover)));
    log.end();
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(error),
    }
}

async fn serve(gateway: Arc<Gateway>, watch: Watch, takes_over: bool) -> io::Result<()> {
    // Before anything listens: a signal from now on is a request to drain, not a death.
    let mut stop = Stop::new()?;
    let mut hangup = signal(SignalKind::hangup())?;
    let door = gateway.snapshot().config.server.takeover_socket.clone();
    let (takeover, inherited) = if takes_over {
        let (takeover, inherited) = Takeover::begin(&door)?;
        (Some(takeover), inherited)
    } else {
        (None, Inherited::from_service_manager()?)
    };
    let asked = Arc::new(Notify::new());
    tokio::spawn(watch.run(gateway.clone(), asked.clone()));
    tokio::spawn(shared_modes::keep(gateway.clone()));
    let serving = tokio::select! {
        serving = Serving::start(gateway, inherited) => serving?,
        () = stop.told() => return Ok(()),
    };
    let offer = enter_service(takeover, &door);
    let leaving = {
        let taken = async {
            match &offer {
                Some(offer) => offer.taken(&serving.sockets).await,
                None => std::future::pending().await,
            }
        };
        let mut taken = pin!(taken);
        loop {
            tokio::select! {
                () = stop.told() => break Leaving::ForGood,
                () = &mut taken => break Leaving::ToSuccessor,
                _ = hangup.recv() => asked.notify_one(),
            }
        }
    };
    match leaving {
        Leaving::ForGood => {
            tell_service_manager(&[NotifyState::Stopping]);
            offer.into_iter().for_each(Offer::close);
            tracing::info!("draining");
        }
        Leaving::ToSuccessor => tracing::info!("draining: another gateway took over"),
    }
    serving.drain(leaving, stop.told()).await;
    tracing::info!("stopped");
    Ok(())
}

/// The gateway before is told to drain, the service manager that this is the service now, and the door is open for the next.
fn enter_service(takeover: Option<Takeover>, door: &Path) -> Option<Offer> {
    if let Some(takeover) = takeover {
        match takeover.complete() {
            Ok(()) => tracing::info!("took over"),
            Err(error) => tracing::warn!(error = %error, "the gateway before has gone already"),
        }
    }
    tell_service_manager(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
    Offer::open(door)
        .inspect_err(|error| tracing::info!(path = %door.display(), error = %error, "takeover is not offered"))
        .ok()
}

/// sd_notify(3); nothing is told where nobody asked for it.
fn tell_service_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(error = %error, "the service manager could not be told");
    }
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
