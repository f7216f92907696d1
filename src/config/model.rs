//! `gateway.toml` as plain values: one struct a section, one field a key, named as the operator writes them.
//!
//! Nothing here decides anything. Durations are [`Duration`]s, sizes are bytes, networks are [`IpNet`]s; whatever
//! names another section is still the name. Defaults are those of the reference and live in [`super::read`].

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::secret::Secret;

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
    /// Overrides written by `gateway mode`; relative to the config's folder.
    pub overrides_file: PathBuf,
    /// `false`: in every chain `jwt` becomes `internal`.
    pub use_jwt_auth: bool,
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

/// `[issuers.NAME]`.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The `iss` of its tokens; one issuer may leave it out.
    pub issuer: Option<String>,
    /// Where its keys are fetched.
    pub jwks_url: Option<String>,
    /// Find `jwks_url` by OIDC discovery or RFC 8414.
    pub discovery: bool,
    /// Its keys in a file, which is watched.
    pub jwks_file: Option<PathBuf>,
    /// HMAC secrets, several live ones.
    pub secrets: Vec<Secret>,
    /// Any of these must be in `aud`; empty: any, or none.
    pub audiences: Vec<String>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// What else a token must claim.
    pub required_claims: BTreeMap<String, ClaimRule>,
    /// Clock skew that is forgiven.
    pub leeway: Duration,
    /// `exp - iat` at most; zero is any.
    pub max_token_lifetime: Duration,
    /// Between background fetches.
    pub refresh_interval: Duration,
    /// How long the last good keys serve while the issuer cannot be reached.
    pub max_stale: Duration,
    /// Of one fetch.
    pub request_timeout: Duration,
    /// Where its tokens are found.
    pub token_sources: Vec<TokenSource>,
    /// Foreign origins that may use cookie tokens.
    pub origins: Vec<String>,
    /// Put before every user of this issuer.
    pub user_prefix: String,
    /// Which claims become which part of the identity.
    pub claims: ClaimNames,
    /// The auth service judges its tokens.
    pub remote: Option<RemoteTokens>,
}

/// A signature algorithm of RFC 7518, or EdDSA (RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

/// A value of `required_claims`.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimRule {
    /// `true`: the claim is there.
    Present,
    /// The claim is one of these (or a list that has one of them).
    OneOf(Vec<Scalar>),
}

/// A TOML scalar that a claim can be compared with.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Scalar {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
}

/// An entry of `token_sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `"header"`: `Authorization: Bearer`.
    Authorization,
    /// `"header:NAME"`.
    Header(String),
    /// `"query:NAME"`.
    Query(String),
    /// `"cookie:NAME"`.
    Cookie(String),
    /// `"websocket_protocol"`.
    WebSocketProtocol,
}

/// `issuers.NAME.claims`: claim paths (`"realm_access.roles"`); lists are united.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClaimNames {
    pub user: Vec<String>,
    pub tenant: Vec<String>,
    pub client: Vec<String>,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub roles: Vec<String>,
    pub tier: Vec<String>,
}

/// `issuers.NAME.remote`.
#[derive(Debug, Clone)]
pub struct RemoteTokens {
    /// Who is asked.
    pub url: String,
    /// How.
    pub kind: RemoteTokenKind,
}

/// `remote.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteTokenKind {
    /// The token is sent as `Authorization: Bearer`.
    Bearer,
    /// RFC 7662.
    Introspection,
}

/// `[api_keys]`.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    /// Where keys are found.
    pub sources: Vec<KeySource>,
    /// What keys begin with; empty: anything.
    pub prefixes: Vec<String>,
    /// The keys of the config.
    pub keys: Vec<ApiKey>,
    /// Who is asked for others.
    pub remote: Option<RemoteKeys>,
}

/// An entry of `api_keys.sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `"header:NAME"`.
    Header(String),
    /// `"bearer"`: `Authorization: Bearer`.
    Bearer,
    /// `"basic"`: the password of `Authorization: Basic`.
    Basic,
}

/// One of `[[api_keys.keys]]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ApiKey {
    pub id: String,
    /// SHA-256 of the key's bytes.
    pub hash: [u8; 32],
    pub user: String,
    pub tenant: String,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub roles: Vec<String>,
    pub tier: String,
    /// Seconds since the Unix epoch.
    pub expires: Option<i64>,
}

/// `[api_keys.remote]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct RemoteKeys {
    pub url: String,
    pub key_in: RemoteKeyIn,
    pub extra: BTreeMap<String, Scalar>,
    pub client_address: String,
    pub bearer: Option<Secret>,
    pub cache_ttl: Duration,
    pub negative_ttl: Duration,
    pub stale_if_error: Duration,
    pub timeout: Duration,
    pub retries: u32,
    pub max_entries: usize,
    pub fields: RemoteFields,
    pub manage_url: Option<String>,
    pub manage_token: Option<Secret>,
}

/// `api_keys.remote.request.key_in`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteKeyIn {
    /// `"body:FIELD"`.
    Body(String),
    /// `"bearer"`.
    Bearer,
    /// `"header:NAME"`.
    Header(String),
}

/// `api_keys.remote.fields`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RemoteFields {
    pub user: String,
    pub tenant: String,
    pub scopes: String,
    pub permissions: String,
    pub roles: String,
    pub tier: String,
    pub valid: String,
    pub key_id: String,
    pub expires: String,
}

/// `[internal]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Internal {
    pub header: String,
    pub keys: Vec<Secret>,
    pub allowed_from: Vec<IpNet>,
    pub user: String,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub roles: Vec<String>,
    pub tenant: String,
    pub tier: String,
}

/// `[resource]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Resource {
    pub resource: String,
    pub authorization_servers: Vec<String>,
    pub scopes_supported: Vec<String>,
}

/// `[redis]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Redis {
    pub url: Secret,
    pub key_prefix: String,
    pub timeout: Duration,
    pub record_key: Option<Secret>,
}

/// `[revocation]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Revocation {
    pub keys: Vec<String>,
    pub users: String,
    /// `"serve"` (true) or `"deny"` (false).
    pub serve_on_store_error: bool,
}

/// `[cors.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Cors {
    pub origins: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    pub max_age: Duration,
}

/// So many requests in so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At least 1.
    pub count: u32,
    /// 1 s, 1 min, 1 h or 1 day.
    pub per: Duration,
}

/// A value of `tiers`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TierRate {
    /// `"unlimited"`.
    Unlimited,
    /// Instead of the limit's own rate.
    Rate(Rate),
}

/// `[limits.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Required unless `concurrent` is set.
    pub rate: Option<Rate>,
    /// Default: the rate's count.
    pub burst: Option<u32>,
    /// How requests are counted.
    pub algorithm: LimitAlgorithm,
    /// Whose requests are counted together.
    pub by: LimitBy,
    /// Another rate for callers of that tier.
    pub tiers: BTreeMap<String, TierRate>,
    /// Response statuses that are counted; empty: every request.
    pub charge_on: Vec<u16>,
    /// Where the counters are.
    pub store: LimitStore,
    /// What happens while Redis is away.
    pub on_store_error: OnStoreError,
    /// Live keys at most; further ones share one bucket.
    pub max_keys: usize,
    /// Shown in `RateLimit` headers.
    pub announce: bool,
    /// What is counted.
    pub unit: LimitUnit,
    /// Requests in flight, instead of a rate.
    pub concurrent: Option<u32>,
    /// IPv6 callers are counted by networks of this length.
    pub ipv6_prefix: u8,
}

/// `limits.NAME.algorithm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitAlgorithm {
    Gcra,
    SlidingWindow,
}

/// `limits.NAME.by`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitBy {
    User,
    Ip,
    Credential,
    Tenant,
    Route,
    Global,
    Header(String),
}

/// `limits.NAME.store`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitStore {
    Local,
    Redis,
}

/// `limits.NAME.on_store_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OnStoreError {
    Local,
    Deny,
    Allow,
}

/// `limits.NAME.unit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LimitUnit {
    Requests,
    Tokens,
}

/// `[auth_failures]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthFailures {
    /// Failures from one address before further ones are refused.
    pub rate: Rate,
    /// Whose failures are counted together: `ip`.
    pub by: LimitBy,
    /// Count and refuse failed JWTs too.
    pub include_jwt: bool,
}

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

/// One of `upstreams.NAME.urls`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Endpoint {
    Http { host: String, port: u16 },
    Https { host: String, port: u16 },
    Unix(PathBuf),
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

/// One of `[[routes]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, unique among routes.
    pub name: String,
    /// Listeners it is served on; empty: all.
    pub listeners: Vec<String>,
    /// Hosts; empty: any.
    pub hosts: Vec<String>,
    /// Path patterns.
    pub paths: Vec<String>,
    /// Methods, upper case; empty: any.
    pub methods: Vec<String>,
    /// Client networks; empty: any.
    pub allowed_from: Vec<IpNet>,
    /// What is done with an allowed request; exactly one.
    pub action: Action,
    /// Who is let in.
    pub auth: AuthMode,
    /// Also judged, never enforced.
    pub shadow: Option<AuthMode>,
    /// A share of callers is judged by another mode.
    pub canary: Option<Canary>,
    /// Issuers whose tokens it takes; empty: all.
    pub issuers: Vec<String>,
    /// Where its tokens are found; empty: as its issuers say.
    pub token_sources: Vec<TokenSource>,
    /// What the caller must hold.
    pub require: Require,
    /// Further requirements by method.
    pub rules: Vec<Rule>,
    /// Limits by name.
    pub limits: Vec<String>,
    /// A CORS policy by name.
    pub cors: Option<String>,
    /// Taken off the path.
    pub strip_prefix: String,
    /// Instead of the path.
    pub replace_path: String,
    /// Unset: the upstream's.
    pub response_timeout: Option<Duration>,
    /// Bytes of a request body; zero: any.
    pub max_body: u64,
    /// Set on the request to the upstream, as written.
    pub set_headers: BTreeMap<String, Secret>,
    /// Taken off the request to the upstream.
    pub remove_headers: Vec<String>,
    /// Set on the response.
    pub response_headers_set: BTreeMap<String, String>,
    /// Taken off the response.
    pub response_headers_remove: Vec<String>,
    /// Send the client's `Host`.
    pub preserve_host: bool,
    /// Turn a `Location` that names the upstream back to the public one.
    pub rewrite_location: bool,
    /// Write the access line.
    pub access_log: bool,
    /// End streams when their token does.
    pub close_on_expiry: bool,
    /// `%2F` stays part of its segment.
    pub allow_encoded_slash: bool,
    /// Read token usage from answers.
    pub llm: Option<Llm>,
}

/// What a route does with an allowed request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Upstream(String),
    Respond {
        status: u16,
        body: String,
        content_type: String,
    },
    Redirect {
        to: String,
        status: u16,
    },
}

/// A mode as written, and the chain it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMode {
    /// Tried in this order; never empty; `none` only last.
    pub chain: Vec<AuthMethod>,
}

/// A link of an auth chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AuthMethod {
    Jwt,
    ApiKey,
    Internal,
    None,
}

/// `routes.NAME.canary`.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// The other mode.
    pub auth: AuthMode,
    /// 0 to 100.
    pub percent: f64,
}

/// `routes.NAME.require`.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Require {
    pub scopes_all: Vec<String>,
    pub scopes_any: Vec<String>,
    pub permissions_all: Vec<String>,
    pub permissions_any: Vec<String>,
    pub roles_any: Vec<String>,
    pub audiences: Vec<String>,
    /// Claim path → what it must be; `"{name}"` is a path segment.
    pub claims: BTreeMap<String, ClaimRule>,
}

/// One of `routes.NAME.rules`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Rule {
    pub methods: Vec<String>,
    pub require: Require,
}

/// `routes.NAME.llm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Llm {
    OpenAi,
    Anthropic,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Telemetry {
    pub otlp: Option<String>,
    pub sample: f64,
}
