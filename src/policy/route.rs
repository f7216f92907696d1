//! The routes, and which one takes a request: host, then the most specific path pattern, then the method.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::Method;

use super::action::Action;
use super::address::Networks;
use super::authz::Requirement;
use super::canary::{Arm, Canary};
use super::cors::Cors;
use super::credential::TokenPlace;
use super::denial::{Code, Denial, Tells};
use super::facts::Facts;
use super::headers::RouteHeaders;
use super::identity::AuthMethod;
use super::limit::Limit;
use super::mode::Mode;
use super::path::RequestPath;
use super::pattern::{Pattern, Segment};

/// A route: who may pass, and what then happens.
#[derive(Debug)]
pub struct Route {
    /// Its name: in labels, logs and `explain`.
    pub name: Arc<str>,
    /// Its place among the routes.
    pub index: usize,
    /// Its name as a key of limits, which outlive a reload that moves the route.
    pub key: u128,
    /// Client networks; empty: any.
    pub allowed_from: Networks,
    /// The mode in force.
    pub auth: Mode,
    /// Also judged, never enforced.
    pub shadow: Option<Mode>,
    /// In force instead, for a share of the callers.
    pub canary: Option<Canary>,
    /// Where its tokens are, whichever mode takes them.
    pub token_places: Vec<TokenPlace>,
    /// Issuers (by place) whose tokens it takes.
    pub issuers: Vec<usize>,
    /// Those of them whose tokens are judged elsewhere.
    pub remote_issuers: Vec<usize>,
    /// What the caller must hold: for all methods, then by method.
    pub requirements: Vec<(Methods, Requirement)>,
    /// Limits by address, judged before anybody is authenticated.
    pub address_limits: Vec<Arc<Limit>>,
    /// The caller's limits, judged last.
    pub caller_limits: Vec<Arc<Limit>>,
    /// Token usage is read from answers.
    pub reads_tokens: bool,
    /// `%2F` stays part of its segment.
    pub allow_encoded_slash: bool,
    /// Bytes of a request body; 0: any.
    pub max_body: u64,
    /// Who may read its answers across origins; `None`: that is the upstream's affair.
    pub cors: Option<Arc<Cors>>,
    /// What is done to headers.
    pub headers: RouteHeaders,
    /// What is done with a request that was let in.
    pub action: Action,
    /// Whether the access line is written.
    pub access_log: bool,
    /// Whether what streams ends with the token that let it in.
    pub close_on_expiry: bool,
}

impl Route {
    /// Every method that can decide, on either arm.
    #[must_use]
    pub fn enforced_methods(&self) -> Vec<AuthMethod> {
        let canary = self.canary.iter().flat_map(|canary| &canary.mode.chain);
        self.auth.chain.iter().chain(canary).copied().collect()
    }

    /// The mode in force on an arm; `None`: there is no canary.
    #[must_use]
    pub fn mode_on(&self, arm: Option<Arm>) -> &Mode {
        match (arm, &self.canary) {
            (Some(Arm::Canary), Some(canary)) => &canary.mode,
            (Some(Arm::Canary | Arm::Stable) | None, _) => &self.auth,
        }
    }

    /// All its limits, in the order in which they are judged.
    pub fn limits(&self) -> impl Iterator<Item = &Limit> {
        let limits = self.address_limits.iter().chain(&self.caller_limits);
        limits.map(|limit| &**limit)
    }

    /// Whether a client at that address may come at all.
    #[must_use]
    pub fn allows_from(&self, client: IpAddr) -> bool {
        self.allowed_from.is_empty() || self.allowed_from.contain(client)
    }
}

/// A set of methods; empty: any. `GET` includes `HEAD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Methods(Vec<Method>);

impl Methods {
    /// Takes the methods as written.
    #[must_use]
    pub fn new(mut methods: Vec<Method>) -> Self {
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        Self(methods)
    }

    /// Whether `method` is one of them.
    #[must_use]
    pub fn contain(&self, method: &Method) -> bool {
        self.0.is_empty() || self.0.contains(method)
    }

    /// Whether any method is.
    #[must_use]
    pub const fn is_any(&self) -> bool {
        self.0.is_empty()
    }

    /// The methods by name; none for any.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        self.0.iter()
    }

    fn overlap(&self, other: &Self) -> bool {
        // Any and some are told apart: the one with methods wins.
        self.is_any() == other.is_any() && (self.is_any() || self.0.iter().any(|method| other.0.contains(method)))
    }
}

/// Where a route can be found.
#[derive(Debug, Clone)]
pub struct Place {
    /// The route.
    pub route: usize,
    /// `None`: any host; `*.` begins a wildcard.
    pub host: Option<String>,
    /// The path.
    pub pattern: Arc<Pattern>,
    /// The methods.
    pub methods: Methods,
}

/// All routes of one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// As they were given.
    places: Vec<Place>,
    named: HashMap<Box<str>, Node>,
    /// By suffix (`.example.com`), longest first.
    wildcard: Vec<(Box<str>, Node)>,
    any: Node,
}

/// The route that takes a request, and by which of its patterns.
#[derive(Debug, Clone)]
pub struct Match {
    /// The route.
    pub route: usize,
    /// The pattern that matched.
    pub pattern: Arc<Pattern>,
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<[u8]>, Node>,
    named: Option<Box<Node>>,
    exact: Option<Leaf>,
    below: Option<Leaf>,
}

/// The routes of one host and one pattern.
#[derive(Debug)]
struct Leaf {
    entries: Vec<(Methods, Match)>,
    allow: Arc<str>,
}

impl RouteTable {
    /// Builds the table.
    ///
    /// # Errors
    /// Pairs of routes that cannot be told apart.
    pub fn new(places: &[Place]) -> Result<Self, Vec<(usize, usize)>> {
        let mut table = Self {
            places: places.to_vec(),
            ..Self::default()
        };
        let mut twins = Vec::new();
        for place in places {
            let root = table.host_node(place.host.as_deref());
            if let Err(other) = root.insert(place) {
                twins.push((other, place.route));
            }
        }
        table
            .wildcard
            .sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        if twins.is_empty() { Ok(table) } else { Err(twins) }
    }

    fn host_node(&mut self, host: Option<&str>) -> &mut Node {
        let Some(host) = host else { return &mut self.any };
        let Some(suffix) = host.strip_prefix('*') else {
            return self.named.entry(host.into()).or_default();
        };
        let known = self.wildcard.iter().position(|(known, _)| **known == *suffix);
        let place = known.unwrap_or(self.wildcard.len());
        if known.is_none() {
            self.wildcard.push((suffix.into(), Node::default()));
        }
        match self.wildcard.get_mut(place) {
            Some((_, node)) => node,
            None => &mut self.any,
        }
    }

    /// The route that takes the request.
    ///
    /// # Errors
    /// 404, or 405 when the most specific pattern has no route for the method.
    pub fn find(&self, facts: &Facts<'_>) -> Result<&Match, Denial> {
        self.find_for(facts, facts.method)
    }

    /// The route that would take the request with that method.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn find_for(&self, facts: &Facts<'_>, method: &Method) -> Result<&Match, Denial> {
        let leaf = self.leaf(facts).ok_or(Denial::plain(Code::NoRoute, "no_route"))?;
        leaf.take(method)
    }

    /// The routes of the most specific pattern that the request fits, whatever their methods.
    pub fn whatever_method(&self, facts: &Facts<'_>) -> impl Iterator<Item = usize> {
        let entries = self.leaf(facts).into_iter().flat_map(|leaf| &leaf.entries);
        entries.map(|(_, found)| found.route)
    }

    fn leaf(&self, facts: &Facts<'_>) -> Option<&Leaf> {
        let mut hosts = self.hosts(facts.host.as_deref());
        hosts.find_map(|node| node.find(&facts.path))
    }

    /// A named host beats a wildcard, the longer wildcard the shorter, and any host comes last.
    fn hosts<'t>(&'t self, host: Option<&str>) -> impl Iterator<Item = &'t Node> {
        let named = host.and_then(|host| self.named.get(host));
        let wildcards = self
            .wildcard
            .iter()
            .filter(move |(suffix, _)| host.is_some_and(|host| host.len() > suffix.len() && host.ends_with(&**suffix)));
        named
            .into_iter()
            .chain(wildcards.map(|(_, node)| node))
            .chain(std::iter::once(&self.any))
    }
}

impl Node {
    fn insert(&mut self, place: &Place) -> Result<(), usize> {
        let mut node = self;
        for segment in place.pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literal.entry(text.clone()).or_default(),
                Segment::Named(_) => node.named.get_or_insert_with(Box::default),
            };
        }
        let leaf = if place.pattern.is_below() {
            &mut node.below
        } else {
            &mut node.exact
        };
        let leaf = leaf.get_or_insert_with(|| Leaf {
            entries: Vec::new(),
            allow: Arc::from(""),
        });
        leaf.insert(place)
    }

    /// A pattern that covers the whole path beats one that covers its beginning; among those, the longest beginning.
    fn find(&self, path: &RequestPath<'_>) -> Option<&Leaf> {
        let mut longest = None;
        self.walk(path.segments(), 0, &mut longest)
            .or(longest.map(|(_, leaf)| leaf))
    }

    /// Literal segments are tried before named ones, so that the first whole match is the most specific.
    fn walk<'t, 's>(
        &'t self,
        mut rest: impl Iterator<Item = std::borrow::Cow<'s, [u8]>> + Clone,
        depth: usize,
        longest: &mut Option<(usize, &'t Leaf)>,
    ) -> Option<&'t Leaf> {
        if let Some(leaf) = &self.below
            && longest.is_none_or(|(length, _)| depth > length)
        {
            *longest = Some((depth, leaf));
        }
        let Some(segment) = rest.next() else {
            return self.exact.as_ref();
        };
        let literal = self.literal.get(&*segment);
        literal
            .and_then(|node| node.walk(rest.clone(), depth + 1, longest))
            .or_else(|| {
                let named = self.named.as_ref().filter(|_| !segment.is_empty())?;
                named.walk(rest, depth + 1, longest)
            })
    }
}

impl Leaf {
    fn insert(&mut self, place: &Place) -> Result<(), usize> {
        if let Some((_, twin)) = self.entries.iter().find(|(methods, _)| methods.overlap(&place.methods)) {
            return Err(twin.route);
        }
        let found = Match {
            route: place.route,
            pattern: place.pattern.clone(),
        };
        self.entries.push((place.methods.clone(), found));
        self.entries.sort_by_key(|(methods, _)| methods.is_any());
        let names: Vec<&str> = self
            .entries
            .iter()
            .flat_map(|(methods, _)| methods.iter())
            .map(Method::as_str)
            .collect();
        self.allow = Arc::from(names.join(", "));
        Ok(())
    }

    fn take(&self, method: &Method) -> Result<&Match, Denial> {
        let taken = self.entries.iter().find(|(methods, _)| methods.contain(method));
        taken.map(|(_, found)| found).ok_or_else(|| Denial {
            code: Code::MethodNotAllowed,
            detail: "method_not_allowed",
            tells: Tells::Allow(self.allow.clone()),
            missing: None,
        })
    }
}

mod near;
#[cfg(test)]
mod tests;

pub use near::{NearMiss, Why};
