//! `[upstreams.NAME]`. Imports nothing of the crate.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// `[upstreams.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its endpoints.
    pub urls: Vec<Endpoint>,
    /// How one is chosen.
    pub balance: Balance,
    /// Speak HTTP/2 to it.
    pub http2: bool,
    /// Of one connection attempt.
    pub connect_timeout: Duration,
    /// From the request's last byte to the response's head; zero: none.
    pub response_timeout: Duration,
    /// Of one attempt at an idempotent request; zero: half of `response_timeout`.
    pub try_timeout: Duration,
    /// While a request body flows.
    pub body_idle_timeout: Duration,
    /// Between chunks of a response; zero: none.
    pub stream_idle_timeout: Duration,
    /// Requests in flight at most; zero: any number.
    pub max_in_flight: usize,
    /// Further attempts.
    pub retries: u32,
    /// Active health checks.
    pub health: Option<Health>,
    /// TLS to it.
    pub tls: Option<UpstreamTls>,
}

/// One of `upstreams.NAME.urls`. A host is as it stands in a URL: IPv6 in brackets. The port is the scheme's unless
/// given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Endpoint {
    Http { host: String, port: u16 },
    Https { host: String, port: u16 },
    Unix(PathBuf),
}

impl Endpoint {
    /// The name that is to be resolved; `None`: it is an address, or a path.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Http { host, .. } | Self::Https { host, .. } => {
                let is_address = host.starts_with('[') || host.parse::<Ipv4Addr>().is_ok();
                (!is_address).then_some(host)
            }
            Self::Unix(_) => None,
        }
    }
}

/// `upstreams.NAME.balance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Power of two choices.
    LeastRequests,
    /// In turn.
    RoundRobin,
}

/// `upstreams.NAME.health`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Health {
    pub path: String,
    pub interval: Duration,
    pub timeout: Duration,
    pub unhealthy_after: u32,
    pub healthy_after: u32,
}

/// `upstreams.NAME.tls`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct UpstreamTls {
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub server_name: Option<String>,
}
