//! `gateway mode`: rollback and roll-forward. Sets the mode of a route above the config file, in the overrides file beside it or,
//! with `--shared`, in the store that several gateways share; gateways that run apply it by themselves.
//!
//! INVARIANT: what is written was loaded and compiled with the whole config first, by the rules that a running gateway loads with
//! (hardening r46), so that it can be applied and opens nothing.

mod all_gateways;
mod overrides_file;

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::compile::{Compiled, DecidedBy, ModeInForce, compile};
use crate::config::model::{AuthMethod, Config, Route};
use crate::config::{Environment, Loaded, Modes, load_and, modes_in, nearest};
use crate::demo::Paint;

use super::{compiled, exit, failed, invalid_config, print_json};
use overrides_file::{Held, text_of};

/// What is to be changed.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The route, and its mode from now on: none, internal, api_key, jwt, hybrid, or methods joined by commas. With --all only the
    /// mode. Without either: the list of routes and their modes.
    #[arg(value_name = "ROUTE MODE", num_args = 0..=2)]
    words: Vec<String>,
    /// Every route whose chain has `jwt`.
    #[arg(long, conflicts_with = "reset")]
    all: bool,
    /// Take the override of a route back, or of all.
    #[arg(long, value_name = "ROUTE", num_args = 0..=1, default_missing_value = "", conflicts_with = "words")]
    reset: Option<String>,
    /// For all gateways that share the store of `[redis]`; waits until each has applied it.
    #[arg(long)]
    shared: bool,
    /// The list as JSON.
    #[arg(long)]
    json: bool,
}

/// 0; 3 for no such route or mode, one that is not usable there, or one that the environment pins; 1 if it could not be written, or
/// a gateway did not apply it in time.
pub(super) fn run(config: &Path, options: &Options) -> ExitCode {
    let words: Vec<&str> = options.words.iter().map(String::as_str).collect();
    // To take an override back must be possible whatever is wrong with it.
    if let Some(route) = &options.reset {
        let route = (!route.is_empty()).then_some(route.as_str());
        return reset(config, route, options.shared);
    }
    let (loaded, compiled) = match compiled(config) {
        Ok(compiled) => compiled,
        Err(code) => return code,
    };
    let (routes, mode) = match (options.all, words.as_slice()) {
        (false, []) if options.shared => return all_gateways::list(&loaded.config, &compiled),
        (false, []) => return list(&loaded.config, &compiled.modes, options.json),
        (false, [route, mode]) => (vec![(*route).to_owned()], *mode),
        (true, [mode]) => (with_jwt(&loaded.config, mode), *mode),
        (true, _) => return failed("with --all give the mode alone: gateway mode --all internal"),
        (false, _) => return failed("give a route and its mode: gateway mode chat internal"),
    };
    match set(config, &loaded, &compiled, &routes, mode, options.shared) {
        Ok(code) => code,
        Err(Refusal(why)) => {
            eprintln!("gateway: {why}");
            ExitCode::from(exit::INVALID_CONFIG)
        }
    }
}

/// Why a change is not made; what runs stays as it is.
struct Refusal(String);

fn set(
    path: &Path,
    loaded: &Loaded,
    compiled: &Compiled,
    routes: &[String],
    mode: &str,
    shared: bool,
) -> Result<ExitCode, Refusal> {
    if routes.is_empty() {
        let none = "no route takes tokens, by the file or by an override: there is nothing to set";
        return Err(Refusal(none.to_owned()));
    }
    let before = &compiled.modes;
    for route in routes {
        is_free(&loaded.config, before, route, mode)?;
    }
    let changed: Modes = routes.iter().map(|route| (route.clone(), mode.to_owned())).collect();
    if shared {
        let after = fits(path, Environment::of_process().with_shared(changed.clone()))?;
        let effective = |route: &String| Some((route.clone(), of(&loaded.config, &after, route)?.effective.clone()));
        return Ok(all_gateways::set(
            &loaded.config,
            compiled,
            &changed,
            &routes.iter().filter_map(effective).collect(),
        ));
    }
    let file = &loaded.config.server.overrides_file;
    // Before it is read. That it cannot be held is said only of a mode that fits.
    let held = Held::take(file);
    let mut overrides = modes_in(file).map_err(|errors| Refusal(errors.to_string()))?;
    overrides.extend(changed);
    let text = text_of(&overrides);
    let after = fits(path, Environment::of_process().with_overrides(text.clone()))?;
    if let Err(error) = held.and_then(|held| held.write(&text)) {
        return Ok(failed(error));
    }
    for route in routes {
        let mode = |modes| of(&loaded.config, modes, route).map_or("-", |mode| &mode.effective);
        println!("{route}: {} -> {}", mode(before), mode(&after));
    }
    println!("written to {}; a running gateway applies it within 2 s", file.display());
    Ok(ExitCode::SUCCESS)
}

fn of<'m>(config: &Config, modes: &'m [ModeInForce], route: &str) -> Option<&'m ModeInForce> {
    let place = config.routes.iter().position(|known| known.name == route)?;
    modes.get(place)
}

/// A name or a mode that is none, and what has a higher word than an override, are told in the words of this command.
fn is_free(config: &Config, before: &[ModeInForce], route: &str, mode: &str) -> Result<(), Refusal> {
    let names = || config.routes.iter().map(|route| route.name.as_str());
    let Some(now) = of(config, before, route) else {
        let meant = nearest(route, names()).map(|name| format!("; did you mean \"{name}\"?"));
        let known = || format!("; there are: {}", names().collect::<Vec<_>>().join(", "));
        return Err(Refusal(format!("no route \"{route}\"{}", meant.unwrap_or_else(known))));
    };
    if now.by == DecidedBy::Environment {
        return Err(Refusal(format!(
            "{route} is pinned to {} by the environment variable {}; unset it first",
            now.effective, now.at
        )));
    }
    if !config.server.use_jwt_auth && takes_tokens(mode) {
        return Err(Refusal(
            "server.use_jwt_auth is false, so that `jwt` is `internal` everywhere; switch it on first".to_owned(),
        ));
    }
    Ok(())
}

/// The config as it would be, whole, by the rules that a gateway loads with.
fn fits(path: &Path, environment: Environment) -> Result<Vec<ModeInForce>, Refusal> {
    let (loaded, compiled) = load_and(path, &environment, compile).map_err(|errors| Refusal(errors.to_string()))?;
    if let Some((route, why)) = loaded.ignored_modes.first() {
        return Err(Refusal(format!("routes.{route}.auth: {why}")));
    }
    Ok(compiled.modes)
}

/// Whether a mode as it was typed has `jwt` in its chain.
fn takes_tokens(mode: &str) -> bool {
    mode.split(',').any(|method| matches!(method.trim(), "jwt" | "hybrid"))
}

/// Routes that take tokens, by the file or by an override. A canary that takes them counts where the mode takes it back, not where it
/// would roll it out to everybody.
fn with_jwt(config: &Config, mode: &str) -> Vec<String> {
    let back = !takes_tokens(mode);
    let jwt = |chain: &[AuthMethod]| chain.contains(&AuthMethod::Jwt);
    let takes = |route: &&Route| {
        let canary = route.canary.as_ref().is_some_and(|canary| jwt(&canary.auth.chain));
        jwt(&route.auth.chain) || jwt(&route.auth_in_file.chain) || (back && canary)
    };
    config
        .routes
        .iter()
        .filter(takes)
        .map(|route| route.name.clone())
        .collect()
}

fn reset(path: &Path, route: Option<&str>, shared: bool) -> ExitCode {
    // Without the overrides file, which may be what is broken.
    let environment = Environment::of_process().with_overrides(String::new());
    let (loaded, compiled) = match load_and(path, &environment, compile) {
        Ok(loaded) => loaded,
        Err(errors) => return invalid_config(&errors),
    };
    let is_known = |name: &str| loaded.config.routes.iter().any(|route| route.name == name);
    if shared {
        return all_gateways::reset(&loaded.config, &compiled, route);
    }
    let file = &loaded.config.server.overrides_file;
    let held = Held::take(file);
    let mut overrides = match (modes_in(file), route) {
        (Ok(overrides), _) => overrides,
        (Err(_), None) => Modes::new(),
        (Err(why), Some(_)) => return failed(format!("{why}; `gateway mode --reset` takes all of it back")),
    };
    match route {
        None => overrides.clear(),
        Some(route) if overrides.remove(route).is_none() => {
            if !is_known(route) {
                eprintln!("gateway: no route \"{route}\", and no override of that name");
                return ExitCode::from(exit::INVALID_CONFIG);
            }
            println!("{route} has no override");
            return ExitCode::SUCCESS;
        }
        Some(_) => {}
    }
    if let Err(error) = held.and_then(|held| held.write(&text_of(&overrides))) {
        return failed(error);
    }
    println!("written to {}; a running gateway applies it within 2 s", file.display());
    ExitCode::SUCCESS
}

/// A line of the list; field names are the JSON's and do not change.
#[derive(Debug, Serialize)]
struct Row<'m> {
    route: &'m str,
    #[serde(flatten)]
    mode: &'m ModeInForce,
}

fn list(config: &Config, modes: &[ModeInForce], json: bool) -> ExitCode {
    let both = config.routes.iter().zip(modes);
    let rows: Vec<Row<'_>> = both
        .map(|(route, mode)| Row {
            route: &route.name,
            mode,
        })
        .collect();
    if json {
        return print_json(&rows, ExitCode::SUCCESS);
    }
    let paint = Paint::for_stdout();
    let width = rows.iter().map(|row| row.route.chars().count()).max().unwrap_or(0);
    for Row { route, mode } in rows {
        let mut line = format!("{route:width$}  {}", paint.strong(&mode.effective));
        if mode.by != DecidedBy::File {
            line.push_str(&format!("  (file: {}; by {})", mode.configured, mode.at));
        }
        for (what, mode) in [("shadow", &mode.shadow), ("canary", &mode.canary)] {
            if let Some(mode) = mode {
                line.push_str(&format!("  {what} {mode}"));
            }
        }
        println!("{line}");
    }
    ExitCode::SUCCESS
}
