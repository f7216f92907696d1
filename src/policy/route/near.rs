//! Routes that nearly took a request, and what kept each from it: told by `explain`, never part of a decision.

use super::{Place, RouteTable};
use crate::policy::facts::Facts;

/// Routes with another path that are named for a request without any.
const MAX_OTHER_PATHS: usize = 3;

/// A route that did not take the request.
#[derive(Debug)]
pub struct NearMiss<'t> {
    /// The nearest of the route's places.
    pub place: &'t Place,
    /// What kept it from taking the request.
    pub why: Why,
}

/// What kept a route from taking a request, the nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Host and path fit, the method does not.
    Method,
    /// All fits, but a more specific host or path was chosen.
    LessSpecific,
    /// The path fits, the host does not.
    Host,
    /// The path does not fit, but begins alike.
    Path,
}

impl RouteTable {
    /// Routes other than `taken` that nearly took the request, each once, the nearest first. Routes with another path are told of
    /// only where none was taken.
    #[must_use]
    pub fn near_misses(&self, facts: &Facts<'_>, taken: Option<usize>) -> Vec<NearMiss<'_>> {
        let mut misses: Vec<NearMiss<'_>> = Vec::new();
        for place in self.places.iter().filter(|place| Some(place.route) != taken) {
            let Some(why) = place.why_not(facts) else { continue };
            match misses.iter_mut().find(|miss| miss.place.route == place.route) {
                Some(known) if known.why <= why => {}
                Some(known) => *known = NearMiss { place, why },
                None => misses.push(NearMiss { place, why }),
            }
        }
        misses.sort_by_key(|miss| (miss.why, std::cmp::Reverse(miss.place.pattern.agreeing(&facts.path).0)));
        let fitting = misses.iter().take_while(|miss| miss.why != Why::Path).count();
        let others = if taken.is_none() && fitting == 0 {
            MAX_OTHER_PATHS
        } else {
            0
        };
        misses.truncate(fitting + others);
        misses
    }
}

impl Place {
    /// `None`: it has nothing in common with the request.
    fn why_not(&self, facts: &Facts<'_>) -> Option<Why> {
        let host = self.has_host(facts.host.as_deref());
        if !self.pattern.covers(&facts.path) {
            return (host && self.pattern.agreeing(&facts.path).0 > 0).then_some(Why::Path);
        }
        Some(match (host, self.methods.contain(facts.method)) {
            (false, _) => Why::Host,
            (true, false) => Why::Method,
            (true, true) => Why::LessSpecific,
        })
    }

    fn has_host(&self, host: Option<&str>) -> bool {
        let Some(own) = &self.host else { return true };
        host.is_some_and(|host| match own.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == own,
        })
    }
}
