//! Preflights (Fetch §3.2.2): judged by the route of the request that they ask for, and answered before anybody is authenticated,
//! for a browser sends no credential with them. And who speaks of origins where a request never came to its route.

use std::sync::Arc;

use super::Policy;
use super::cors::{Cors, CrossOrigin, preflight_for};
use super::denial::{Code, Denial};
use super::facts::Facts;
use super::judge::Refused;
use super::path::PathFault;
use super::pattern::Pattern;
use super::route::Route;

/// A preflight that the gateway answers.
#[derive(Debug)]
pub struct Preflight<'p> {
    /// The route of the request that is asked for.
    pub route: &'p Route,
    /// Its pattern that matched.
    pub pattern: &'p Pattern,
    /// What its policy says.
    pub cross_origin: CrossOrigin<'p>,
}

/// The preflight that this request is; `None`: it is none, or its route has no `cors`, and it is a request like any other.
///
/// It counts in no limit: a browser asks once and then sends the request that counts.
///
/// # Errors
/// What would refuse the request itself before anybody asks who is calling.
pub fn preflight<'p>(policy: &'p Policy, facts: &Facts<'_>) -> Result<Option<Preflight<'p>>, Box<Refused<'p>>> {
    let Some(asked) = preflight_for(facts.method, facts.headers) else {
        return Ok(None);
    };
    let Ok(found) = policy.table(facts.listener).find_for(facts, &asked) else {
        return Ok(None);
    };
    let Some(route) = policy.routes.get(found.route) else {
        return Ok(None);
    };
    let Some(cors) = &route.cors else {
        return Ok(None);
    };
    policy.places.refuse_duplicates(facts.headers)?;
    let refused = |denial| Err(Box::new(Refused::on(route, None, denial)));
    if facts.path.has_encoded_slash() && !route.allow_encoded_slash {
        return refused(Denial::malformed(PathFault::EncodedSlash.name()));
    }
    if !route.allows_from(facts.origin.client) {
        return refused(Denial::plain(Code::AddressNotAllowed, "address_not_allowed"));
    }
    Ok(Some(Preflight {
        route,
        pattern: &found.pattern,
        cross_origin: cors.judge(facts.headers),
    }))
}

/// The policy by which pages may read a refusal that came before the request had a route: that of the route it would have had; where
/// none takes its method, the one that all routes of its path agree on, among those that have any.
#[must_use]
pub fn policy_without_route<'p>(policy: &'p Policy, facts: &Facts<'_>) -> Option<&'p Cors> {
    let table = policy.table(facts.listener);
    let cors = |place: usize| policy.routes.get(place)?.cors.as_ref();
    if let Ok(found) = table.find(facts) {
        return cors(found.route).map(Arc::as_ref);
    }
    let mut known = table.whatever_method(facts).filter_map(cors);
    let first = known.next()?;
    known.all(|other| Arc::ptr_eq(first, other)).then(|| first.as_ref())
}
