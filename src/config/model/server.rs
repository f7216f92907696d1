//! The process itself: `[server]`, `[[listeners]]`, `[admin]`, `[log]`, `[identity]`, `[telemetry]`. Imports `secret`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::config::secret::Secret;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Worker threads; `None` is `"auto"`, one a core.
    pub workers: Option<usize>,
    /// How long the gateway, told to stop, still accepts while `/readyz` already says no.
    pub drain_delay: Duration,
    /// How long requests in flight may take to finish after that.
    pub drain_timeout: Duration,
    /// Whether HTTP/1.1 header names keep the case they were written in.
    pub header_case: HeaderCase,
    /// Overrides written by `gateway mode`, beside the config.
    pub overrides_file: PathBuf,
    /// Where `gateway run --takeover` finds the gateway that runs.
    pub takeover_socket: PathBuf,
    /// `false`: in every chain `jwt` becomes `internal`.
    pub use_jwt_auth: bool,
    /// DNS servers that are asked for upstreams' names; none: the system's.
    pub nameservers: Vec<SocketAddr>,
}

/// `server.header_case`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderCase {
    /// As the client and the upstream wrote them.
    Preserve,
    /// Lower case.
    Lower,
}

/// One of `[[listeners]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, unique among listeners.
    pub name: String,
    /// Where it binds; port 0 takes any free one.
    pub address: SocketAddr,
    /// Peers that may say who the client is.
    pub trusted_proxies: Vec<IpNet>,
    /// The one forwarding header that is believed from them.
    pub client_address_from: ClientAddressFrom,
    /// PROXY protocol v1 and v2, from `trusted_proxies` only.
    pub proxy_protocol: bool,
    /// Connections open at once.
    pub max_connections: usize,
    /// Connections open at once from one address; 0 is any number.
    pub max_connections_per_address: usize,
    /// For a whole request head, from its first byte.
    pub header_timeout: Duration,
    /// Between the requests of a connection.
    pub idle_timeout: Duration,
    /// Bytes of a request head, request line included.
    pub max_header_bytes: usize,
    /// Certificates, chosen by SNI; none: plain HTTP.
    pub certificates: Vec<Certificate>,
    /// Mutual TLS.
    pub client_auth: Option<ClientAuth>,
}

/// `client_address_from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddressFrom {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// `X-Real-IP`.
    XRealIp,
}

/// One of `[[listeners.certificates]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// PEM chain.
    pub cert: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// `[listeners.client_auth]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// PEM of the authorities that sign clients.
    pub ca: PathBuf,
    /// `"required"` (true) or `"optional"` (false).
    pub required: bool,
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where health, metrics and status are served.
    pub address: SocketAddr,
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    /// JSON lines or text for people.
    pub format: LogFormat,
    /// The least severe event that is written.
    pub level: LogLevel,
    /// One line a request.
    pub access: bool,
    /// Whether that line has the client's `User-Agent`.
    pub user_agent: bool,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// `log.level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// `[identity]`: header names; an empty one is switched off.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IdentityHeaders {
    pub user_header: String,
    pub request_header: String,
    pub tenant_header: String,
    pub scopes_header: String,
    pub roles_header: String,
    pub permissions_header: String,
    pub client_header: String,
    pub method_header: String,
    /// Header name → claim; an empty claim switches that header off.
    pub claims: BTreeMap<String, String>,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Telemetry {
    /// A collector's base URL; spans are made only for one.
    pub otlp: Option<String>,
    /// The share of the traces that begin here, 0 to 1.
    pub sample: f64,
    /// Sent to the collector with every export.
    pub headers: BTreeMap<String, Secret>,
}
