//! `gateway mode --shared`: modes in the store that several gateways share, and the wait until each of them has applied one.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use redis::{Cmd, FromRedisValue, cmd};

use crate::command::{exit, failed, shown, waiting_for};
use crate::compile::{Compiled, DecidedBy, StoreSpec};
use crate::config::Modes;
use crate::runtime::shared_modes::{ALIVE_MS, GATEWAYS, MODES, REVISION, Report, Reported, ms, revision_of};
use crate::runtime::store::{Link, StoreError, within};

/// How long the gateways have.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at what they report.
const LOOK: Duration = Duration::from_millis(100);

/// Of one question; a person waits for it.
const ANSWER: Duration = Duration::from_secs(2);

/// The store, asked by hand.
struct Shared<'s> {
    spec: &'s StoreSpec,
    link: Link,
}

/// Sets each route's mode, as it will be reported once it is in force: route → (as written, as reported).
pub(super) fn set(compiled: &Compiled, modes: &Modes, effective: &BTreeMap<String, String>) -> ExitCode {
    with(compiled, async |mut shared| {
        for (route, mode) in modes {
            let _: u64 = shared
                .ask(cmd("HSET").arg(shared.spec.key(MODES)).arg(route).arg(mode))
                .await?;
        }
        shared.is_another().await?;
        let done = |route: &str, reported: Option<&Reported>| {
            reported.is_some_and(|reported| effective.get(route) == Some(&reported.mode))
        };
        let routes: Vec<&str> = modes.keys().map(String::as_str).collect();
        shared.wait(&routes, done).await
    })
}

/// Takes back the mode of a route, or of all.
pub(super) fn reset(compiled: &Compiled, route: Option<&str>) -> ExitCode {
    with(compiled, async |mut shared| {
        let modes = shared.modes().await?;
        let routes: Vec<&str> = modes
            .keys()
            .map(String::as_str)
            .filter(|name| route.is_none_or(|route| route == *name))
            .collect();
        if routes.is_empty() {
            println!(
                "no mode is shared{}",
                route.map(|route| format!(" for {route}")).unwrap_or_default()
            );
            return Ok(ExitCode::SUCCESS);
        }
        let key = shared.spec.key(MODES);
        let _: u64 = match route {
            Some(route) => shared.ask(cmd("HDEL").arg(key).arg(route)).await?,
            None => shared.ask(cmd("DEL").arg(key)).await?,
        };
        shared.is_another().await?;
        shared
            .wait(&routes, |_, reported| {
                reported.is_none_or(|reported| reported.by != DecidedBy::Shared.name())
            })
            .await
    })
}

/// Prints the shared modes, and which gateways report what.
pub(super) fn list(compiled: &Compiled) -> ExitCode {
    with(compiled, async |mut shared| {
        let modes = shared.modes().await?;
        if modes.is_empty() {
            println!("no mode is shared");
        }
        for (route, mode) in &modes {
            println!("{}  {}", shown(route), shown(mode));
        }
        for report in shared.gateways().await?.values() {
            let ours = report.modes.iter().filter(|(route, _)| modes.contains_key(*route));
            let said: Vec<String> = ours
                .map(|(route, reported)| format!("{} {}", shown(route), shown(&reported.mode)))
                .collect();
            println!(
                "gateway {}: {}",
                shown(&report.name),
                if said.is_empty() {
                    "-".to_owned()
                } else {
                    said.join(", ")
                }
            );
        }
        Ok(ExitCode::SUCCESS)
    })
}

fn with(compiled: &Compiled, ask: impl AsyncFnOnce(Shared<'_>) -> Result<ExitCode, StoreError>) -> ExitCode {
    let Some(spec) = &compiled.store else {
        eprintln!("gateway: --shared needs a [redis] that the gateways share");
        return ExitCode::from(exit::INVALID_CONFIG);
    };
    let asked = waiting_for(async {
        let link = Link::open(&spec.servers).await?;
        ask(Shared { spec, link }).await
    });
    match asked {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => failed(error),
        Err(error) => failed(error),
    }
}

impl Shared<'_> {
    async fn ask<T: FromRedisValue>(&mut self, command: &mut Cmd) -> Result<T, StoreError> {
        within(ANSWER, command.query_async(&mut self.link)).await
    }

    /// Names the new state of the modes, so that reports of before are told from reports of after.
    async fn is_another(&mut self) -> Result<(), StoreError> {
        let name = uuid::Uuid::now_v7().to_string();
        self.ask(cmd("SET").arg(self.spec.key(REVISION)).arg(name)).await
    }

    /// All that are shared, by route.
    async fn modes(&mut self) -> Result<Modes, StoreError> {
        let modes: BTreeMap<Vec<u8>, Vec<u8>> = self.ask(cmd("HGETALL").arg(self.spec.key(MODES))).await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(modes.iter().map(|(route, mode)| (text(route), text(mode))).collect())
    }

    /// Gateways that are there, by their ids.
    async fn gateways(&mut self) -> Result<BTreeMap<Vec<u8>, Report>, StoreError> {
        let reports: BTreeMap<Vec<u8>, Vec<u8>> = self.ask(cmd("HGETALL").arg(self.spec.key(GATEWAYS))).await?;
        let now_ms = ms(self.ask(&mut cmd("TIME")).await?);
        let read = reports
            .into_iter()
            .filter_map(|(id, report)| Some((id, serde_json::from_slice::<Report>(&report).ok()?)));
        let live = read.filter(|(_, report)| now_ms.saturating_sub(report.seen_ms) <= ALIVE_MS);
        Ok(live.collect())
    }

    /// Waits until every gateway that is there reports these routes as `done`, and prints each; 1 if one does not in time.
    async fn wait(
        &mut self,
        routes: &[&str],
        done: impl Fn(&str, Option<&Reported>) -> bool,
    ) -> Result<ExitCode, StoreError> {
        let began = tokio::time::Instant::now();
        let mut told = Vec::new();
        loop {
            let revision: Vec<u8> = self.ask(&mut revision_of(self.spec)).await?;
            let revision = String::from_utf8_lossy(&revision);
            let gateways = self.gateways().await?;
            let lacking = |report: &Report| -> Vec<String> {
                let lacks = |route: &&&str| !done(route, report.modes.get(**route));
                routes.iter().filter(lacks).map(|route| (*route).to_owned()).collect()
            };
            for (id, report) in &gateways {
                if !told.contains(id) && report.revision == revision && lacking(report).is_empty() {
                    let seconds = began.elapsed().as_secs_f64();
                    println!("{}: in force after {seconds:.1} s", shown(&report.name));
                    told.push(id.clone());
                }
            }
            if gateways.keys().all(|id| told.contains(id)) {
                if gateways.is_empty() {
                    println!("written; no gateway is there now, and each applies it when it starts");
                }
                return Ok(ExitCode::SUCCESS);
            }
            if began.elapsed() >= PATIENCE {
                for (_, report) in gateways.iter().filter(|(id, _)| !told.contains(id)) {
                    let why: Vec<String> = lacking(report)
                        .iter()
                        .map(|name| match (shown(name), report.modes.get(name)) {
                            (route, Some(Reported { mode, by })) => {
                                format!("{route} is {} by {}", shown(mode), shown(by))
                            }
                            (route, None) => format!("it has no route {route}"),
                        })
                        .collect();
                    eprintln!(
                        "{}: not in force after {} s: {}",
                        shown(&report.name),
                        PATIENCE.as_secs(),
                        why.join(", ")
                    );
                }
                return Ok(ExitCode::from(exit::FAILED));
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
