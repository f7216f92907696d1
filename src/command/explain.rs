//! `gateway explain`: what would become of a request, and why, without sending it.
//!
//! It has no judgement of its own: the head guard, the facts, the judge and the header rules of a running gateway are asked, with
//! a meter that counts nothing; the rest of this is reading and showing what they said.

mod evidence;
mod from_log;
mod report;
mod request;
mod route_choice;
mod secrecy;
mod sent;
mod text;
mod verdict;

use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::compile::Compiled;
use crate::demo::Paint;
use crate::policy::limit::{DryMeter, LimitId};
use crate::runtime::clock::Clock;

use super::{compiled, content_of, exit, failed, print_json};
use evidence::Keys;
use from_log::Logged;
use report::{Decision, Report};
use request::Written;
use verdict::Gateway;

/// The request.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// Its method.
    #[arg(value_name = "METHOD", required_unless_present = "request_id")]
    method: Option<String>,
    /// http[s]://HOST/PATH?QUERY, or /PATH?QUERY for any host. It is judged as written, not tidied up.
    #[arg(value_name = "URL", required_unless_present = "request_id")]
    url: Option<String>,
    /// A header, `Name: value`; or @FILE, one header a line. May be given again and again.
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<OsString>,
    /// The address that the connection comes from.
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    from: IpAddr,
    /// The listener that takes it; else the first that speaks the URL's scheme.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Signing keys of the token's issuer, a JWK set; instead of those that the config names.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    /// Ask the network: the token's issuer for its signing keys, an auth service for its word, Redis for what is revoked.
    #[arg(long)]
    online: bool,
    /// Explain a request that was logged, by its X-Request-ID.
    #[arg(long, value_name = "ID", requires = "log", conflicts_with_all = ["method", "url", "headers"])]
    request_id: Option<String>,
    /// The access log, in JSON, that has its line.
    #[arg(long, value_name = "FILE", requires = "request_id")]
    log: Option<PathBuf>,
    /// Take this limit as used up by everybody. May be given again and again.
    #[arg(long, value_name = "LIMIT")]
    exhausted: Vec<String>,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// 0 allow, 2 deny, 3 invalid config, 4 cannot tell; 1 when it could not even be tried.
pub(super) fn run(config: &Path, options: &Options) -> ExitCode {
    let (loaded, compiled) = match compiled(config) {
        Ok(compiled) => compiled,
        Err(code) => return code,
    };
    let listeners = &loaded.config.listeners;
    let read = header_lines(&options.headers).and_then(|lines| {
        let keys = Keys::new(options.jwks.as_deref(), options.online)?;
        if options.log.is_some() && options.request_id.is_none() {
            return Err("--log needs the --request-id that is looked for".to_owned());
        }
        let (Some(log), Some(id)) = (&options.log, &options.request_id) else {
            let (method, url) = (options.method.as_deref(), options.url.as_deref());
            let written = Written::new(method.unwrap_or_default(), url.unwrap_or_default(), lines)?;
            return Ok((written, keys, None));
        };
        let logged = Logged::find(log, id)?;
        let (method, url) = logged.request()?;
        Ok((Written::new(&method, &url, lines)?, keys, Some(logged)))
    });
    let (written, keys, logged) = match read {
        Ok(read) => read,
        Err(reason) => return failed(reason),
    };
    let named = options.listener.as_deref();
    let named = named.or(logged.as_ref().and_then(Logged::listener));
    let place = match named {
        None => written.listener_of(listeners),
        Some(name) => match listeners.iter().position(|listener| listener.name == name) {
            Some(place) => place,
            None => return failed(format!("no listener \"{name}\"")),
        },
    };
    let Some(listener) = listeners.get(place) else {
        return failed("the config has no listener");
    };
    let meter = match exhausted(&compiled, &options.exhausted) {
        Ok(meter) => meter,
        Err(reason) => return failed(reason),
    };
    let gateway = Gateway {
        config: &loaded.config,
        compiled: &compiled,
        listener,
        place,
        now: Clock::start().now(),
        meter,
    };
    let from = logged.as_ref().and_then(Logged::client).unwrap_or(options.from);
    let report = gateway.explain(&written, from, &keys);
    let report = match logged {
        Some(logged) => logged.tell(report),
        None => report,
    };
    show(&report, options.json)
}

/// A meter that counts nothing, and by which these limits refuse.
fn exhausted(compiled: &Compiled, names: &[String]) -> Result<DryMeter, String> {
    let place = |name: &String| {
        let place = compiled.limits.iter().position(|limit| *limit.name == **name);
        place.map(LimitId).ok_or_else(|| {
            let known: Vec<&str> = compiled.limits.iter().map(|limit| &*limit.name).collect();
            format!("no limit \"{name}\"; there are: {}", known.join(", "))
        })
    };
    let exhausted = names.iter().map(place).collect::<Result<_, _>>()?;
    Ok(DryMeter { exhausted })
}

/// The lines of `-H`, in their order; those of a file where a file is named.
fn header_lines(options: &[OsString]) -> Result<Vec<Vec<u8>>, String> {
    let mut lines = Vec::new();
    for option in options {
        match option.as_bytes().strip_prefix(b"@") {
            None => lines.push(option.as_bytes().to_vec()),
            Some(name) => {
                let text = content_of(Path::new(OsStr::from_bytes(name)))?;
                let own = text.split(|byte| *byte == b'\n');
                let own = own.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
                lines.extend(own.filter(|line| !line.is_empty()).map(<[u8]>::to_vec));
            }
        }
    }
    Ok(lines)
}

fn show(report: &Report, json: bool) -> ExitCode {
    let code = match report.decision {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny => ExitCode::from(exit::DENIED),
        Decision::Unknown => ExitCode::from(exit::CANNOT_TELL),
    };
    if json {
        return print_json(report, code);
    }
    print!("{}", text::of(report, Paint::for_stdout()));
    code
}
