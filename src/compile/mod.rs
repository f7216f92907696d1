//! `Config` → [`Policy`], and the specs of what lives longer than one: the only place that knows both sides.
//!
//! Names are resolved here, once: a request meets places in lists, ready header values and digests. All mistakes are collected.

mod identity;
mod in_force;
mod issuers;
mod limits;
mod resource;
mod revocation;
mod routes;
mod store;
mod telemetry;
mod tls;
mod validators;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};

use crate::config::Problems;
use crate::config::model::{self, Config, Endpoint};
use crate::config::secret::Secret;
use crate::policy::Policy;
use crate::policy::address::{Believed, Networks, Trust};
use crate::policy::authn::jwt::KeySet;
use crate::policy::authn::remote::{KeyRules, RemoteTokenRules};
use crate::policy::credential::{CredentialPlaces, KeySources, TokenSource};
use crate::policy::headers::{HeaderRules, WrittenNames};
use crate::policy::identity::{IdentityHeaders, RoleTable};
use crate::policy::limit::{By, Measure, Unit};
use crate::policy::route::RouteTable;
use crate::policy::token::TokenRules;

pub use in_force::{DecidedBy, ModeInForce};
pub use revocation::{KeyPattern, RevocationSpec, Subject};
pub use routes::{Hidden, Names};
pub use store::{Servers, StoreSpec};
pub use telemetry::TelemetrySpec;
pub use tls::{ClientTls, ServerTls};
pub use validators::{CredentialIn, Own, Question, ValidatorSpec};

/// A compiled config: the judgement, and what it needs around it.
#[derive(Debug)]
pub struct Compiled {
    /// What decides.
    pub policy: Policy,
    /// By place in [`Policy::issuers`].
    pub issuers: Vec<IssuerSpec>,
    /// Who knows further API keys.
    pub api_keys: Option<ValidatorSpec<KeyRules>>,
    /// By [`crate::policy::limit::LimitId`].
    pub limits: Vec<LimitSpec>,
    /// By place in the routes' `upstream`.
    pub upstreams: Vec<UpstreamSpec>,
    /// By listener; `None`: it is plain.
    pub tls: Vec<Option<ServerTls>>,
    /// What gateways share.
    pub store: Option<StoreSpec>,
    /// What is revoked, by keys of the store.
    pub revocation: Option<RevocationSpec>,
    /// Where spans go; `None`: none are made.
    pub telemetry: Option<TelemetrySpec>,
    /// Wider routes that narrower ones hide, which is seldom meant.
    pub hidden: Vec<Hidden>,
    /// By route: the mode in force, and why.
    pub modes: Vec<ModeInForce>,
}

/// An issuer, and where its keys come from. Equal specs keep their keys and verified tokens across a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct IssuerSpec {
    /// What its tokens must be.
    pub rules: Arc<TokenRules>,
    /// Where its public keys are.
    pub source: KeySource,
    /// Live HMAC secrets.
    pub secrets: Vec<Secret>,
    /// Between background fetches.
    pub refresh_interval: Duration,
    /// How long the last good keys serve.
    pub max_stale: Duration,
    /// Of one fetch.
    pub request_timeout: Duration,
    /// Who judges its tokens instead of keys.
    pub remote: Option<ValidatorSpec<RemoteTokenRules>>,
    /// Certificates (PEM) that its server's must lead to; `None`: the system's.
    pub ca: Option<PathBuf>,
}

impl IssuerSpec {
    /// What its tokens are verified by: its published keys, joined by its secrets.
    #[must_use]
    pub fn with_secrets(&self, mut published: KeySet) -> KeySet {
        let secrets: Vec<&[u8]> = self.secrets.iter().map(|secret| secret.expose().as_bytes()).collect();
        published.add_secrets(&secrets);
        published
    }
}

/// Where an issuer's public keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Fetched.
    Url(String),
    /// Fetched from where this issuer's metadata says.
    Discovery(String),
    /// Read from a file, and again when it changes.
    File(PathBuf),
    /// It has only secrets.
    None,
}

impl KeySource {
    /// Whether the network has them.
    #[must_use]
    pub const fn is_fetched(&self) -> bool {
        match self {
            Self::Url(_) | Self::Discovery(_) => true,
            Self::File(_) | Self::None => false,
        }
    }
}

/// A limit's counters. Equal specs keep them across a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSpec {
    /// Its name.
    pub name: Arc<str>,
    /// Live keys at most.
    pub max_keys: usize,
    /// What is allowed, to callers of no listed tier; another rate counts afresh.
    pub rate: Measure,
    /// Whose requests are counted together.
    pub by: By,
    /// What is counted.
    pub unit: Unit,
    /// IPv6 callers are counted by networks of this length.
    pub ipv6_prefix: u8,
    /// Gateways count together, in the store; and what happens while it is away.
    pub in_store: Option<model::OnStoreError>,
}

impl LimitSpec {
    /// All that gives a count its meaning: another rate or another `by` counts afresh.
    #[must_use]
    pub fn meaning(&self) -> String {
        format!("{:?} {:?} {:?} {}", self.rate, self.by, self.unit, self.ipv6_prefix)
    }
}

/// An upstream. Equal specs keep their connections across a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// Its name.
    pub name: Arc<str>,
    /// As configured.
    pub config: model::Upstream,
    /// What its `https://` endpoints are spoken to with; `None`: it has none.
    pub tls: Option<ClientTls>,
}

/// What the whole compilation shares.
struct Shared<'c> {
    config: &'c Config,
    identity: Arc<IdentityHeaders>,
    roles: Arc<RoleTable>,
}

/// Compiles the config.
///
/// `None` when there were problems; they are in `problems`, all of them.
pub fn compile(config: &Config, problems: &mut Problems) -> Option<Compiled> {
    let before = problems.count();
    let shared = Shared {
        config,
        identity: Arc::new(identity::headers(&config.identity, problems)),
        roles: Arc::new(identity::roles(&config.roles, problems)),
    };
    let names = Names::of(config);
    let (issuers, rules) = issuers::issuers(&shared);
    let (limit_specs, limits) = limits::limits(config, problems);
    let auth_failures = limits::auth_failures(config, limit_specs.len());
    let api_keys = identity::api_keys(&shared, problems);
    let remote_keys = validators::of_keys(&shared, problems);
    let internal = identity::internal(&shared, problems);
    let (mut routes, mut places) = routes::routes(config, &names, &limits, problems);
    let modes = ModeInForce::of_all(config, problems.sources(), &routes);
    if let Some((route, served)) = resource::route(config, &places, routes.len(), problems) {
        routes.push(route);
        places.extend(served);
    }
    let places_of_credentials = credential_places(config);
    let headers = header_rules(&shared, &places_of_credentials);
    let listeners = config.listeners.iter().map(|listener| {
        let own: Vec<_> = places
            .iter()
            .filter(|place| place.serves(&listener.name))
            .map(|place| place.place.clone())
            .collect();
        let table = RouteTable::new(&own).unwrap_or_else(|twins| {
            routes::report_twins(config, &twins, problems);
            RouteTable::default()
        });
        (trust(listener), table)
    });
    let listeners = listeners.collect();
    let mut specs = limit_specs;
    specs.extend(auth_failures.as_ref().map(|(spec, _)| spec.clone()));
    let compiled = Compiled {
        hidden: routes::hidden(config, &places),
        policy: Policy {
            routes,
            listeners,
            issuers: rules,
            places: places_of_credentials,
            api_keys,
            internal,
            auth_failures: auth_failures.map(|(_, failures)| failures),
            resource_metadata: resource::metadata_url(config),
            headers,
            nowhere: RouteTable::default(),
        },
        issuers,
        api_keys: remote_keys,
        limits: specs,
        upstreams: upstreams(config, problems),
        tls: config
            .listeners
            .iter()
            .map(|listener| tls::of_listener(listener, problems))
            .collect(),
        store: store::store(config.redis.as_ref(), problems),
        revocation: revocation::revocation(config, problems),
        telemetry: telemetry::telemetry(config, problems),
        modes,
    };
    (problems.count() == before).then_some(compiled)
}

fn trust(listener: &model::Listener) -> Trust {
    Trust {
        proxies: Networks::new(listener.trusted_proxies.clone()),
        believed: match listener.client_address_from {
            model::ClientAddressFrom::XForwardedFor => Believed::XForwardedFor,
            model::ClientAddressFrom::Forwarded => Believed::Forwarded,
            model::ClientAddressFrom::XRealIp => Believed::XRealIp,
        },
    }
}

/// A header name that the reader has already judged.
fn header_name(name: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).ok()
}

/// Wherever a token may be: as issuers have it, and as routes do.
fn token_sources(config: &Config) -> impl Iterator<Item = &model::TokenSource> {
    let of_issuers = config.issuers.values().flat_map(|issuer| &issuer.token_sources);
    let of_routes = config.routes.iter().flat_map(|route| &route.token_sources);
    of_issuers.chain(of_routes)
}

fn token_source(source: &model::TokenSource) -> Option<TokenSource> {
    match source {
        model::TokenSource::Authorization => Some(TokenSource::Authorization),
        model::TokenSource::Header(name) => header_name(name).map(TokenSource::Header),
        model::TokenSource::Query(name) => Some(TokenSource::Query(name.as_str().into())),
        model::TokenSource::Cookie(name) => Some(TokenSource::Cookie(name.as_str().into())),
        model::TokenSource::WebSocketProtocol => Some(TokenSource::WebSocketProtocol),
    }
}

fn credential_places(config: &Config) -> CredentialPlaces {
    let mut api_keys = KeySources::default();
    if let Some(keys) = &config.api_keys {
        api_keys.prefixes.clone_from(&keys.prefixes);
        for source in &keys.sources {
            match source {
                model::KeySource::Header(name) => api_keys.headers.extend(header_name(name)),
                model::KeySource::Bearer => api_keys.bearer = true,
                model::KeySource::Basic => api_keys.basic = true,
            }
        }
    }
    let internal = config
        .internal
        .as_ref()
        .and_then(|internal| header_name(&internal.header));
    // The three well-known names are single on any gateway: behind it somebody may still read them.
    let mut single = vec![
        header::AUTHORIZATION,
        HeaderName::from_static("x-api-key"),
        HeaderName::from_static("x-internal-auth"),
    ];
    let mut parameters = Vec::new();
    for source in token_sources(config).filter_map(token_source) {
        match source {
            TokenSource::Header(name) => single.push(name),
            TokenSource::Query(name) => parameters.push(name),
            TokenSource::Authorization | TokenSource::Cookie(_) | TokenSource::WebSocketProtocol => {}
        }
    }
    single.extend(api_keys.headers.iter().cloned().chain(internal.clone()));
    single.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    single.dedup();
    CredentialPlaces {
        api_keys,
        internal,
        single,
        parameters,
    }
}

fn header_rules(shared: &Shared<'_>, places: &CredentialPlaces) -> HeaderRules {
    let set = shared.config.routes.iter().flat_map(|route| route.set_headers.keys());
    HeaderRules::new(WrittenNames {
        request_id: header_name(&shared.config.identity.request_header),
        identity: &shared.identity,
        set: set.filter_map(|name| header_name(name)).collect(),
        credentials: places.single.clone(),
        secret: places.internal.clone(),
    })
}

fn upstreams(config: &Config, problems: &mut Problems) -> Vec<UpstreamSpec> {
    for (name, upstream) in &config.upstreams {
        let has_tls = upstream.urls.iter().any(|url| matches!(url, Endpoint::Https { .. }));
        let has_plain = upstream.urls.iter().any(|url| !matches!(url, Endpoint::Https { .. }));
        if has_tls && has_plain {
            problems.at(
                &format!("upstreams.{name}.urls"),
                "mixes https:// with plain endpoints; use one or the other",
            );
        }
    }
    let specs = config.upstreams.iter().map(|(name, upstream)| UpstreamSpec {
        name: Arc::from(name.as_str()),
        config: upstream.clone(),
        tls: tls::of_upstream(name, upstream, problems),
    });
    specs.collect()
}

#[cfg(test)]
mod tests;
