//! Routes: their names resolved, their chains judged usable, their patterns placed.

mod action;
mod headers;
mod hidden;
mod modes;
mod path;
mod requirement;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use http::Method;

use crate::config::Problems;
use crate::config::model::{self, Config};
use crate::policy::address::Networks;
use crate::policy::cors::{Cors, CorsSpec};
use crate::policy::credential::{Places, Taker, TokenPlace, TokenSource};
use crate::policy::digest::key_of;
use crate::policy::headers::RouteHeaders;
use crate::policy::identity::AuthMethod;
use crate::policy::limit::Limit;
use crate::policy::pattern::Pattern;
use crate::policy::route::{Methods, Place, Route};

use super::token_source;

pub use hidden::Hidden;
pub(super) use hidden::hidden;

/// Where a route is served.
pub(super) struct Served {
    pub(super) place: Place,
    listeners: Vec<String>,
}

impl Served {
    /// On every listener.
    pub(super) const fn everywhere(place: Place) -> Self {
        Self {
            place,
            listeners: Vec::new(),
        }
    }

    /// Whether the listener of that name serves it.
    pub(super) fn serves(&self, listener: &str) -> bool {
        self.listeners.is_empty() || self.listeners.iter().any(|name| name == listener)
    }
}

/// The places of what routes name.
#[derive(Debug)]
pub struct Names<'c> {
    issuers: Vec<&'c str>,
    upstreams: HashMap<&'c str, usize>,
    cors: HashMap<&'c str, Arc<Cors>>,
}

impl<'c> Names<'c> {
    /// Places are the order of names.
    #[must_use]
    pub fn of(config: &'c Config) -> Self {
        Self {
            issuers: config.issuers.keys().map(String::as_str).collect(),
            upstreams: config
                .upstreams
                .keys()
                .enumerate()
                .map(|(place, name)| (name.as_str(), place))
                .collect(),
            cors: config
                .cors
                .iter()
                .map(|(name, written)| (name.as_str(), Arc::new(cors(written))))
                .collect(),
        }
    }
}

/// Every route, in the order of the file, and every place it is served at.
pub(super) fn routes(
    config: &Config,
    names: &Names<'_>,
    limits: &BTreeMap<String, Arc<Limit>>,
    problems: &mut Problems,
) -> (Vec<Route>, Vec<Served>) {
    let mut routes = Vec::with_capacity(config.routes.len());
    let mut served = Vec::new();
    for (index, written) in config.routes.iter().enumerate() {
        let mut compiling = Compiling {
            config,
            written,
            names,
            at: format!("routes.{}", written.name),
            problems,
        };
        served.extend(compiling.places(index));
        routes.push(compiling.route(index, limits));
    }
    (routes, served)
}

/// Two routes that would take the same request.
pub(super) fn report_twins(config: &Config, twins: &[(usize, usize)], problems: &mut Problems) {
    for (first, second) in twins {
        if let (Some(first), Some(second)) = (config.routes.get(*first), config.routes.get(*second)) {
            problems.at(
                &format!("routes.{}.paths", second.name),
                format!(
                    "cannot be told apart from route \"{}\": give them other hosts, paths or methods",
                    first.name
                ),
            );
        }
    }
}

struct Compiling<'c, 'p> {
    config: &'c Config,
    written: &'c model::Route,
    names: &'c Names<'c>,
    at: String,
    problems: &'p mut Problems,
}

impl Compiling<'_, '_> {
    fn problem(&mut self, key: &str, message: impl Into<String>) {
        self.problems.at(&format!("{}.{key}", self.at), message);
    }

    /// Of the route's paths, as far as they are any.
    fn patterns(&self) -> Vec<Pattern> {
        let paths = self.written.paths.iter();
        paths.filter_map(|path| Pattern::parse(path).ok()).collect()
    }

    /// A name that nothing bears, and those that something does.
    fn unknown<'n>(&mut self, key: &str, named: &str, known: impl Iterator<Item = &'n str>) {
        let known: Vec<&str> = known.collect();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            known.join(", ")
        };
        self.problem(key, format!("no {named}; there are: {known}"));
    }

    fn places(&mut self, route: usize) -> Vec<Served> {
        let written = self.written;
        for (index, listener) in written.listeners.iter().enumerate() {
            if !self.config.listeners.iter().any(|known| known.name == *listener) {
                let known = self.config.listeners.iter().map(|listener| listener.name.as_str());
                self.unknown(
                    &format!("listeners[{index}]"),
                    &format!("listener \"{listener}\""),
                    known,
                );
            }
        }
        let mut patterns = Vec::new();
        for (index, path) in written.paths.iter().enumerate() {
            match Pattern::parse(path) {
                Ok(pattern) => patterns.push(Arc::new(pattern)),
                Err(message) => self.problem(&format!("paths[{index}]"), message),
            }
        }
        let mut hosts = Vec::new();
        for (index, host) in written.hosts.iter().enumerate() {
            match host_pattern(host) {
                Some(host) => hosts.push(Some(host)),
                None => self.problem(
                    &format!("hosts[{index}]"),
                    "is no host; valid: \"api.example.com\", \"*.example.com\", without port",
                ),
            }
        }
        if written.hosts.is_empty() {
            hosts.push(None);
        }
        let methods = methods(&written.methods);
        let all = hosts
            .iter()
            .flat_map(|host| patterns.iter().map(move |pattern| (host, pattern)));
        all.map(|(host, pattern)| Served {
            place: Place {
                route,
                host: host.clone(),
                pattern: pattern.clone(),
                methods: methods.clone(),
            },
            listeners: written.listeners.clone(),
        })
        .collect()
    }

    fn route(&mut self, index: usize, limits: &BTreeMap<String, Arc<Limit>>) -> Route {
        let written = self.written;
        let modes = self.modes();
        let issuers = if modes.take_tokens() {
            self.issuers()
        } else {
            Vec::new()
        };
        let token_places = self.token_places(&issuers);
        let hide_websocket_tokens = token_places
            .iter()
            .any(|place| place.source == TokenSource::WebSocketProtocol);
        let (address_limits, caller_limits) = self.limits(limits);
        let mut requirements = vec![(Methods::default(), self.requirement("require", &written.require))];
        for (place, rule) in written.rules.iter().enumerate() {
            let requirement = self.requirement(&format!("rules[{place}].require"), &rule.require);
            requirements.push((methods(&rule.methods), requirement));
        }
        requirements.retain(|(_, requirement)| !requirement.is_empty());
        if modes.auth.chain == [AuthMethod::None] && !requirements.is_empty() {
            self.problem(
                "require",
                "can never hold where `auth` is \"none\"; choose a mode that proves who is calling",
            );
        }
        Route {
            name: Arc::from(written.name.as_str()),
            index,
            key: key_of(written.name.as_bytes()),
            allowed_from: Networks::new(written.allowed_from.clone()),
            auth: modes.auth,
            shadow: modes.shadow,
            canary: modes.canary,
            remote_issuers: self.judged_elsewhere(&issuers),
            token_places,
            issuers,
            requirements,
            address_limits,
            caller_limits,
            reads_tokens: written.llm.is_some(),
            allow_encoded_slash: written.allow_encoded_slash,
            max_body: written.max_body,
            cors: self.cors(),
            headers: RouteHeaders {
                hide_websocket_tokens,
                ..self.headers()
            },
            action: self.action(),
            access_log: written.access_log && self.config.log.access,
            close_on_expiry: written.close_on_expiry,
        }
    }

    fn issuers(&mut self) -> Vec<usize> {
        let written = self.written;
        if written.issuers.is_empty() {
            return (0..self.names.issuers.len()).collect();
        }
        let mut places = Vec::new();
        for (index, issuer) in written.issuers.iter().enumerate() {
            match self.names.issuers.iter().position(|name| name == issuer) {
                Some(place) => places.push(place),
                None => {
                    let known = self.names.issuers.iter().copied();
                    self.unknown(&format!("issuers[{index}]"), &format!("issuer \"{issuer}\""), known);
                }
            }
        }
        places
    }

    fn judged_elsewhere(&self, issuers: &[usize]) -> Vec<usize> {
        let issuer = |place: &usize| self.config.issuers.values().nth(*place);
        let remote = |place: &&usize| issuer(place).is_some_and(|issuer| issuer.remote.is_some());
        issuers.iter().filter(remote).copied().collect()
    }

    /// Each place once, with the issuers that take tokens from there: all of the route's, where the route names its own places.
    fn token_places(&mut self, issuers: &[usize]) -> Vec<TokenPlace> {
        let mut places: Vec<TokenPlace> = Vec::new();
        for (name, issuer) in issuers
            .iter()
            .filter_map(|place| self.config.issuers.iter().nth(*place))
        {
            let taker = Taker {
                issuer: Arc::from(name.as_str()),
                origins: issuer.origins.clone().into(),
            };
            let sources = if self.written.token_sources.is_empty() {
                &issuer.token_sources
            } else {
                &self.written.token_sources
            };
            for source in sources.iter().filter_map(token_source) {
                match places.iter_mut().find(|place| place.source == source) {
                    Some(place) => place.takers.push(taker.clone()),
                    None => places.push(TokenPlace {
                        source,
                        takers: vec![taker.clone()],
                    }),
                }
            }
        }
        for place in &mut places {
            place.takers.dedup();
        }
        if places.len() > Places::MOST {
            self.problem(
                "token_sources",
                format!("with its issuers' are more than {}; name fewer", Places::MOST),
            );
        }
        places
    }

    fn cors(&mut self) -> Option<Arc<Cors>> {
        let name = self.written.cors.as_ref()?;
        let cors = self.names.cors.get(name.as_str()).cloned();
        if cors.is_none() {
            let known = self.config.cors.keys().map(String::as_str);
            self.unknown("cors", &format!("[cors.{name}]"), known);
        }
        cors
    }

    fn limits(&mut self, limits: &BTreeMap<String, Arc<Limit>>) -> (Vec<Arc<Limit>>, Vec<Arc<Limit>>) {
        let written = self.written;
        let mut found: Vec<Arc<Limit>> = Vec::new();
        for (index, name) in written.limits.iter().enumerate() {
            match limits.get(name) {
                Some(limit) if found.iter().any(|other| other.id == limit.id) => {
                    self.problem(&format!("limits[{index}]"), format!("names \"{name}\" twice"));
                }
                Some(limit) if limit.counts_tokens() && written.llm.is_none() => self.problem(
                    &format!("limits[{index}]"),
                    format!(
                        "counts tokens (\"{name}\"), which only a route with `llm` reads; set `llm`, or leave it out"
                    ),
                ),
                Some(limit) => found.push(limit.clone()),
                // What is wrong with it is told where it is written.
                None if self.config.limits.contains_key(name) => {}
                None => {
                    let known = self.config.limits.keys().map(String::as_str);
                    self.unknown(&format!("limits[{index}]"), &format!("limit \"{name}\""), known);
                }
            }
        }
        found.into_iter().partition(|limit| limit.is_by_address())
    }
}

fn methods(names: &[String]) -> Methods {
    Methods::new(
        names
            .iter()
            .filter_map(|name| Method::from_bytes(name.as_bytes()).ok())
            .collect(),
    )
}

fn cors(written: &model::Cors) -> Cors {
    Cors::new(&CorsSpec {
        origins: &written.origins,
        methods: &written.methods,
        headers: &written.headers,
        expose: &written.expose,
        credentials: written.credentials,
        max_age: written.max_age,
    })
}

fn host_pattern(host: &str) -> Option<String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let sound = crate::policy::facts::host_name(name)?;
    let bare = !name.contains(':') || name.starts_with('[');
    let lower = if host.starts_with("*.") {
        format!("*.{sound}")
    } else {
        sound.into_owned()
    };
    bare.then_some(lower)
}
