//! `gateway.toml` as plain values: one struct a section, one field a key, named as the operator writes them.
//!
//! Nothing here decides anything. Durations are `Duration`s, sizes are bytes, networks are `IpNet`s; whatever
//! names another section is still the name. Paths of files are joined to the config's folder. Defaults are
//! those of the reference and live beside the keys in `read`.

mod issuer;
mod limit;
mod route;
mod secrets;
mod server;
mod store;
mod upstream;
mod web;

use std::collections::BTreeMap;

pub use issuer::{Algorithm, ClaimNames, ClaimRule, Issuer, RemoteTokenKind, RemoteTokens, Scalar, TokenSource};
pub use limit::{AuthFailures, Limit, LimitAlgorithm, LimitBy, LimitStore, LimitUnit, OnStoreError, Rate, TierRate};
pub use route::{Action, AuthMethod, AuthMode, Canary, Llm, Require, Route, Rule};
pub use secrets::{ApiKey, ApiKeys, Asking, Internal, KeySource, RemoteFields, RemoteKeyIn, RemoteKeys};
pub use server::{
    Admin, Certificate, ClientAddressFrom, ClientAuth, HeaderCase, IdentityHeaders, Listener, Log, LogFormat, LogLevel,
    Server, Telemetry,
};
pub use store::{Redis, Revocation};
pub use upstream::{Balance, Endpoint, Health, Upstream, UpstreamTls};
pub use web::{Cors, Resource};

/// The whole configuration, as written (file, includes, overrides, environment).
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`: the process itself.
    pub server: Server,
    /// `[[listeners]]`: where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// `[admin]`: the operators' own port.
    pub admin: Admin,
    /// `[log]`: what is written to standard output.
    pub log: Log,
    /// `[identity]`: the headers that tell the upstream who calls.
    pub identity: IdentityHeaders,
    /// `[issuers.NAME]`: who may sign tokens.
    pub issuers: BTreeMap<String, Issuer>,
    /// `[api_keys]`.
    pub api_keys: Option<ApiKeys>,
    /// `[internal]`: the legacy shared secret.
    pub internal: Option<Internal>,
    /// `[roles]`: role → the permissions it grants.
    pub roles: BTreeMap<String, Vec<String>>,
    /// `[resource]`: RFC 9728 protected-resource metadata.
    pub resource: Option<Resource>,
    /// `[redis]`: state shared by several gateways.
    pub redis: Option<Redis>,
    /// `[revocation]`.
    pub revocation: Option<Revocation>,
    /// `[cors.NAME]`.
    pub cors: BTreeMap<String, Cors>,
    /// `[limits.NAME]`.
    pub limits: BTreeMap<String, Limit>,
    /// `[auth_failures]`.
    pub auth_failures: Option<AuthFailures>,
    /// `[upstreams.NAME]`.
    pub upstreams: BTreeMap<String, Upstream>,
    /// `[[routes]]`, with `[defaults]` already merged in, in the order of the file.
    pub routes: Vec<Route>,
    /// `[telemetry]`.
    pub telemetry: Option<Telemetry>,
}
