//! Header surgery: what a stranger may not say is taken off, what the gateway says is put on, all else stays as it came.
//!
//! Order matters and is kept here in one place: hop-by-hop first (RFC 9110 §7.6.1), so that no `Connection` of the client can
//! name what is set afterwards (hardening r04); then every copy and alias of what the gateway writes (r01, r02); then ours.

use std::collections::HashMap;
use std::net::IpAddr;

use http::HeaderMap;
use http::header::{self, Entry, HeaderName, HeaderValue};
use smallvec::SmallVec;

use super::address::{Believed, Origin, X_FORWARDED_FOR, X_REAL_IP};
use super::credential::hide_websocket_tokens;
use super::hop_by_hop::{HOP_BY_HOP, remove_nominated, wants_trailers};
use super::identity::{AuthMethod, Identity, IdentityHeaders};
use super::setting::{Setting, Subject};
use super::trace::Onward;

/// `X-Forwarded-Proto`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
/// `X-Forwarded-Prefix`: no standard, but what servers behind a prefix read (Traefik's, Spring's and Werkzeug's word for it).
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Headers that the gateway writes on a usual request: room for them is made once.
const MOST_WRITTEN: usize = 8;

/// What becomes of a client's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Ends at this hop.
    HopByHop,
    /// Written by the gateway: no client's copy passes.
    Ours,
    /// An identity header: only an internal caller's own passes.
    Identity,
    /// Says who the client is: only from a trusted proxy, and only the form that is believed.
    Forwarding,
    /// The legacy secret: only from its own networks.
    Secret,
    /// A credential: passes under its own name, never under an alias.
    Credential,
}

/// The header rules of a policy.
#[derive(Debug, Default)]
pub struct HeaderRules {
    /// By name, folded; names without `_` and `.` fold to themselves.
    fates: HashMap<Box<str>, Fate>,
    /// Bit n: some name in `fates` has n bytes. Spares most headers the look-up.
    lengths: u64,
    /// The request id's header.
    pub request_id: Option<HeaderName>,
}

/// What one route does to headers.
#[derive(Debug, Default)]
pub struct RouteHeaders {
    /// Set on the request, last.
    pub set: Vec<(HeaderName, Setting)>,
    /// Taken off the request.
    pub remove: Vec<HeaderName>,
    /// What was taken off the path, for `X-Forwarded-Prefix`.
    pub prefix: Option<HeaderValue>,
    /// Send the client's `Host`.
    pub preserve_host: bool,
    /// Set on the response.
    pub response_set: Vec<(HeaderName, Setting)>,
    /// Taken off the response.
    pub response_remove: Vec<HeaderName>,
    /// Tokens may stand in `Sec-WebSocket-Protocol`: they are taken out of it.
    pub hide_websocket_tokens: bool,
    /// Turn a `Location` that names the upstream back to the public one.
    pub rewrite_location: bool,
}

impl RouteHeaders {
    /// Whether the `Host` that a request has after the surgery is sent on: the client's, if there is one.
    #[must_use]
    pub fn keeps_host(&self, headers: &HeaderMap) -> bool {
        self.preserve_host && headers.contains_key(header::HOST)
    }
}

/// What is put on a request besides its identity.
#[derive(Debug)]
pub struct Hop<'a> {
    /// Where it came from.
    pub origin: &'a Origin,
    /// The peer's address as text, made once a connection.
    pub peer: &'a HeaderValue,
    /// By which header a trusted proxy may say so.
    pub believed: Believed,
    /// Whether the client's networks may present the legacy secret.
    pub secret_allowed: bool,
    /// `https` downstream.
    pub secure: bool,
    /// The request id.
    pub request_id: &'a HeaderValue,
    /// Whether the connection is to be upgraded, and to what.
    pub upgrade: Option<HeaderValue>,
    /// The span that the request goes on within; `None`: what its client says of a trace passes.
    pub trace: Option<Onward>,
}

/// The names that [`HeaderRules`] needs to know.
#[derive(Debug)]
pub struct WrittenNames<'a> {
    /// The request id's header.
    pub request_id: Option<HeaderName>,
    /// Identity headers.
    pub identity: &'a IdentityHeaders,
    /// Headers that some route sets.
    pub set: Vec<HeaderName>,
    /// Headers that hold credentials.
    pub credentials: Vec<HeaderName>,
    /// The header of the legacy secret.
    pub secret: Option<HeaderName>,
}

impl HeaderRules {
    /// Compiles the names.
    #[must_use]
    pub fn new(names: WrittenNames<'_>) -> Self {
        let mut rules = Self {
            request_id: names.request_id.clone(),
            ..Self::default()
        };
        // Later entries win: a credential that some route sets is still a credential on the others.
        for name in names.set {
            rules.add(&name, Fate::Ours);
        }
        for name in names.credentials {
            rules.add(&name, Fate::Credential);
        }
        if let Some(name) = names.secret {
            rules.add(&name, Fate::Secret);
        }
        for name in names.identity.names() {
            rules.add(name, Fate::Identity);
        }
        if let Some(name) = names.request_id {
            rules.add(&name, Fate::Ours);
        }
        for name in [header::FORWARDED, X_REAL_IP] {
            rules.add(&name, Fate::Forwarding);
        }
        for name in HOP_BY_HOP {
            rules.add(&name, Fate::HopByHop);
        }
        rules
    }

    fn add(&mut self, name: &HeaderName, fate: Fate) {
        let folded = fold(name.as_str());
        self.lengths |= 1u64.checked_shl(length_bit(&folded)).unwrap_or(0);
        self.fates.insert(folded.into(), fate);
    }

    /// The fate of a header, and whether it came under an alias.
    fn fate(&self, name: &str) -> Option<(Fate, bool)> {
        let alias = name.bytes().any(|byte| matches!(byte, b'_' | b'.'));
        let folded;
        let name = if alias {
            folded = fold(name);
            folded.as_str()
        } else {
            name
        };
        if name.starts_with("x-forwarded-") {
            return Some((Fate::Forwarding, alias));
        }
        if self.lengths >> length_bit(name) & 1 == 0 {
            return None;
        }
        self.fates.get(name).map(|fate| (*fate, alias))
    }

    /// Makes the client's headers the upstream's.
    pub fn to_upstream(
        &self,
        headers: &mut HeaderMap,
        route: &RouteHeaders,
        identity: Option<&Identity>,
        hop: &Hop<'_>,
    ) {
        let trailers = self.remove_what_ends_here(headers, identity, hop);
        self.limit_trailers(headers, &route.remove);
        // Before `remove_headers`: an upstream that is to know of no trace is told of none.
        if let Some(trace) = &hop.trace {
            trace.write(headers);
        }
        for name in &route.remove {
            headers.remove(name);
        }
        if route.hide_websocket_tokens {
            hide_websocket_tokens(headers);
        }
        headers.reserve(MOST_WRITTEN);
        set_forwarding(headers, hop);
        if let Some(own) = &route.prefix {
            let prefix = forwarded_prefix(headers, own);
            headers.insert(X_FORWARDED_PREFIX, prefix);
        }
        for (name, value) in identity.iter().flat_map(|identity| &identity.headers) {
            // INVARIANT: a caller's own copy is left only for internal callers, and was judged to be single and sound.
            if let Entry::Vacant(vacant) = headers.entry(name) {
                vacant.insert(value.clone());
            }
        }
        if let Some(name) = &self.request_id {
            headers.insert(name.clone(), hop.request_id.clone());
        }
        // A request that upgrades has no body whose trailers could be awaited.
        if trailers && hop.upgrade.is_none() {
            headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if let Some(protocol) = &hop.upgrade {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol.clone());
        }
        let subject = Subject {
            identity,
            client: hop.origin.client,
            request_id: hop.request_id,
        };
        for (name, setting) in &route.set {
            if let Some(value) = setting.value(&subject) {
                headers.insert(name.clone(), value);
            }
        }
    }

    /// Takes off what is for this hop and what a stranger may not say, in one pass over the names: a look-up for each name that
    /// could be there would cost more than the few that are. Whether `TE: trailers` was among them.
    fn remove_what_ends_here(&self, headers: &mut HeaderMap, identity: Option<&Identity>, hop: &Hop<'_>) -> bool {
        let internal = identity.is_some_and(|identity| identity.method == AuthMethod::Internal);
        let mut gone: SmallVec<[HeaderName; 8]> = SmallVec::new();
        for name in headers.keys() {
            let goes = match self.fate(name.as_str()) {
                None => false,
                Some((_, true)) => true,
                Some((Fate::HopByHop | Fate::Ours, _)) => true,
                Some((Fate::Identity, _)) => !internal,
                Some((Fate::Secret, _)) => !hop.secret_allowed,
                Some((Fate::Credential, _)) => false,
                Some((Fate::Forwarding, _)) => !hop.vouches_for(name),
            };
            if goes {
                gone.push(name.clone());
            }
        }
        let trailers = gone.contains(&header::TE) && wants_trailers(headers);
        if gone.contains(&header::CONNECTION) {
            remove_nominated(headers);
        }
        for name in gone {
            headers.remove(name);
        }
        trailers
    }

    /// Only declared trailers are sent on, and many a server takes them for headers (RFC 9110 §6.5.1): what a client may not say
    /// in its head it may not declare for the end either (hardening r01).
    fn limit_trailers(&self, headers: &mut HeaderMap, removed: &[HeaderName]) {
        if !headers.contains_key(header::TRAILER) {
            return;
        }
        let mut declared: SmallVec<[HeaderName; 4]> = SmallVec::new();
        for value in headers.get_all(header::TRAILER) {
            let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            declared.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
        }
        headers.remove(header::TRAILER);
        for name in declared {
            if self.fate(name.as_str()).is_none() && !removed.contains(&name) {
                headers.append(header::TRAILER, HeaderValue::from(name));
            }
        }
    }
}

impl Hop<'_> {
    /// Whether the peer is trusted to have written this forwarding header (hardening r43).
    fn vouches_for(&self, name: &HeaderName) -> bool {
        let form = if *name == header::FORWARDED {
            Believed::Forwarded
        } else if *name == X_REAL_IP {
            Believed::XRealIp
        } else {
            Believed::XForwardedFor
        };
        self.origin.peer_trusted && form == self.believed
    }
}

/// Lower case, `_` and `.` as `-`: what a server behind CGI or WSGI would read the name as (hardening r02).
fn fold(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '_' | '.' => '-',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

fn length_bit(name: &str) -> u32 {
    u32::try_from(name.len()).unwrap_or(63).min(63)
}

fn set_forwarding(headers: &mut HeaderMap, hop: &Hop<'_>) {
    let told = (hop.believed == Believed::XForwardedFor)
        .then(|| forwarded_chain(headers, hop.origin.peer))
        .flatten();
    let chain = match told {
        Some(chain) => chain,
        // Told by another header, or by nobody: the client, and the proxy that vouched for it.
        None if hop.origin.client == hop.origin.peer => hop.peer.clone(),
        None => {
            let text = format!("{}, {}", hop.origin.client, hop.origin.peer);
            HeaderValue::try_from(text).unwrap_or_else(|_| hop.peer.clone())
        }
    };
    headers.insert(X_FORWARDED_FOR, chain);
    // What a stranger said was taken off; only a trusted proxy's word can still be there.
    let told = hop.origin.peer_trusted;
    if !(told && headers.contains_key(X_FORWARDED_PROTO)) {
        let scheme = if hop.secure { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    if !(told && headers.contains_key(X_FORWARDED_HOST))
        && let Some(host) = headers.get(header::HOST)
    {
        let host = host.clone();
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// What was taken off here, behind what a trusted proxy took off before: together they are where the client sees the upstream's root.
fn forwarded_prefix(headers: &HeaderMap, own: &HeaderValue) -> HeaderValue {
    let mut told = headers.get_all(X_FORWARDED_PREFIX).iter();
    let outer = told.next().filter(|_| told.next().is_none());
    let outer = outer
        .and_then(|outer| outer.to_str().ok())
        .map(|outer| outer.trim_end_matches('/'));
    let sound = outer.filter(|outer| outer.starts_with('/') && !outer.starts_with("//") && !outer.contains([',', ' ']));
    let both = sound.and_then(|outer| HeaderValue::try_from(format!("{outer}{}", own.to_str().ok()?)).ok());
    both.unwrap_or_else(|| own.clone())
}

/// The chain that a trusted proxy sent, with that proxy at its end; all copies become one value.
fn forwarded_chain(headers: &HeaderMap, peer: IpAddr) -> Option<HeaderValue> {
    let mut chain = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(value.as_bytes());
        chain.extend_from_slice(b", ");
    }
    if chain.is_empty() {
        return None;
    }
    chain.extend_from_slice(peer.to_string().as_bytes());
    HeaderValue::try_from(chain).ok()
}

/// An address as a header's value.
#[must_use]
pub fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_string()).unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests;
