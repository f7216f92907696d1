//! `gateway check --audit`: what a valid config leaves open. Each finding has a name, a severity, a why and a mend; `docs/audit.md`
//! has them all.

mod callers;
mod findings;
mod network;
mod routes;
mod state;

use std::net::IpAddr;

use ipnet::IpNet;

use crate::compile::Compiled;
use crate::config::Loaded;
use crate::config::model::Config;

pub(super) use findings::{Finding, Severity};

/// One thing that was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) finding: Finding,
    /// The key that it is about.
    pub(super) key: String,
}

/// What is looked at, and what was found.
struct Audit<'a> {
    config: &'a Config,
    compiled: &'a Compiled,
    /// The text of the config's own files.
    texts: Vec<String>,
    /// Seconds since the Unix epoch.
    now_s: i64,
    found: Vec<Found>,
}

/// Everything, the most severe first.
pub(super) fn audit(loaded: &Loaded, compiled: &Compiled, now_s: i64) -> Vec<Found> {
    let is_toml = |path: &&std::path::PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let texts = loaded.files.iter().filter(is_toml);
    let mut audit = Audit {
        config: &loaded.config,
        compiled,
        texts: texts.filter_map(|path| std::fs::read_to_string(path).ok()).collect(),
        now_s,
        found: Vec::new(),
    };
    audit.network();
    audit.issuers();
    audit.api_keys();
    audit.internal();
    audit.routes();
    audit.identity();
    audit.fallbacks();
    audit.state();
    audit.found.sort_by_key(|found| found.finding.severity());
    audit.found
}

impl Audit<'_> {
    fn note(&mut self, finding: Finding, key: impl Into<String>) {
        let key = key.into();
        self.found.push(Found { finding, key });
    }

    fn note_if(&mut self, is_so: bool, finding: Finding, key: impl Into<String>) {
        if is_so {
            self.note(finding, key);
        }
    }
}

/// Everybody.
fn is_everywhere(network: &IpNet) -> bool {
    network.prefix_len() == 0
}

/// Loopback, link-local, RFC 1918, RFC 4193 and RFC 6598: nobody comes from there over the internet.
fn is_private(network: &IpNet) -> bool {
    let private = [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
        "fe80::/10",
    ];
    let mut private = private.iter().filter_map(|network| network.parse::<IpNet>().ok());
    private.any(|private| private.contains(network))
}

/// A URL that goes in the clear to a host that is not known to be near: no loopback, no private address, no name of one word or of a
/// cluster.
fn is_clear_and_far(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://").or(url.strip_prefix("redis://")) else {
        return false;
    };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    if let Ok(address) = name.trim_matches(['[', ']']).parse::<IpAddr>() {
        return !is_private(&IpNet::from(address));
    }
    let near = [".local", ".internal", ".svc", ".localhost", ".lan", ".test"];
    name.contains('.') && !near.iter().any(|suffix| name.ends_with(suffix))
}
