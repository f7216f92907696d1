//! The judgement, pure: no I/O, no clock, no logging, no `async`. Imports nothing else of the crate.
//!
//! A request becomes [`facts::Facts`]; [`judge::open`] finds its route and credential; the caller gathers the evidence that is
//! needed; [`judge::decide`] makes the [`verdict::Verdict`], which everybody else only reads.

pub mod action;
pub mod address;
pub mod authn;
pub mod authz;
pub mod canary;
pub mod cors;
pub mod credential;
pub mod denial;
pub mod digest;
pub mod facts;
pub mod headers;
pub mod hop_by_hop;
pub mod identity;
pub mod judge;
pub mod limit;
pub mod mode;
pub mod opinion;
pub mod path;
pub mod pattern;
pub mod preflight;
pub mod proxy_header;
pub mod request_id;
pub mod rewrite;
pub mod route;
pub mod setting;
pub mod shadow;
pub mod template;
pub mod token;
pub mod trace;
pub mod usage;
pub mod verdict;

use std::sync::Arc;

use address::{Believed, Networks, Trust};
use authn::api_key::ConfigKeys;
use authn::internal::InternalCallers;
use authn::jwt::{Claimed, claimed_by};
use credential::CredentialPlaces;
use headers::HeaderRules;
use judge::AuthFailures;
use route::{Route, RouteTable};
use token::{TokenFault, TokenRules};

/// Everything that decides, compiled from the config and never changed.
#[derive(Debug)]
pub struct Policy {
    /// Routes by place.
    pub routes: Vec<Route>,
    /// By listener: whom it believes and what it serves.
    pub listeners: Vec<(Trust, RouteTable)>,
    /// Issuers by place.
    pub issuers: Vec<Arc<TokenRules>>,
    /// Where credentials are found.
    pub places: CredentialPlaces,
    /// API keys of the config.
    pub api_keys: ConfigKeys,
    /// Internal callers.
    pub internal: Option<InternalCallers>,
    /// Failed credentials.
    pub auth_failures: Option<AuthFailures>,
    /// Where clients learn which tokens are taken here (RFC 9728), for challenges.
    pub resource_metadata: Option<Arc<str>>,
    /// What is done to every request's headers.
    pub headers: HeaderRules,
    /// Serves a listener that the policy does not know: nothing.
    pub nowhere: RouteTable,
}

impl Policy {
    /// The routes of a listener.
    #[must_use]
    pub fn table(&self, listener: usize) -> &RouteTable {
        self.listeners.get(listener).map_or(&self.nowhere, |(_, table)| table)
    }

    /// The one forwarding header that a listener believes, from whom it trusts.
    #[must_use]
    pub fn believed(&self, listener: usize) -> Believed {
        self.listeners
            .get(listener)
            .map_or(Believed::XForwardedFor, |(trust, _)| trust.believed)
    }

    /// Whether a listener trusts `peer` to say who the client is.
    #[must_use]
    pub fn trusts(&self, listener: usize, peer: std::net::IpAddr) -> bool {
        let trust = self.listeners.get(listener);
        trust.is_some_and(|(trust, _)| trust.proxies.contain(peer))
    }

    /// Whether the legacy secret may come from `client`; without `[internal]` its header is nothing special.
    #[must_use]
    pub fn secret_allowed_from(&self, client: std::net::IpAddr) -> bool {
        let networks: Option<&Networks> = self.internal.as_ref().map(|internal| &internal.allowed_from);
        networks.is_none_or(|networks| networks.contain(client))
    }

    /// The issuer, among those of `route`, that writes `iss`.
    #[must_use]
    pub fn issuer_of(&self, route: &Route, iss: Option<&str>) -> Option<usize> {
        let writes = |place: &&usize| {
            self.issuers
                .get(**place)
                .is_some_and(|rules| rules.issuer.as_deref() == iss)
        };
        route.issuers.iter().find(writes).copied()
    }

    /// The issuer of `route` whose auth service is to judge `token`, if it is not one whose keys do. A token that is no JWT says
    /// nothing of its issuer: it is the one's that takes tokens without `iss`, else the only one's that can be asked.
    ///
    /// # Errors
    /// It claims to be of an issuer that the route does not take.
    pub fn remote_issuer_of(&self, route: &Route, token: &str) -> Result<Option<usize>, TokenFault> {
        let is_remote = |place: &usize| route.remote_issuers.contains(place);
        match claimed_by(token) {
            Claimed::Jwt(iss) => {
                let place = self.issuer_of(route, iss.as_deref()).ok_or(TokenFault::UnknownIssuer)?;
                Ok(Some(place).filter(is_remote))
            }
            Claimed::Opaque => {
                let nameless = self.issuer_of(route, None).filter(is_remote);
                let only = match route.remote_issuers.as_slice() {
                    [only] => Some(*only),
                    _none_or_several => None,
                };
                Ok(nameless.or(only))
            }
        }
    }
}
