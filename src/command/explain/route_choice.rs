//! Which route takes the request, and the near misses: why the others do not.

use std::sync::Arc;

use crate::policy::facts::Facts;
use crate::policy::route::{Place, Why};

use super::report::{NearMiss, Report};
use super::verdict::Gateway;

impl Gateway<'_> {
    /// Names the route and the near misses; for a request that nothing serves, a host at which something would.
    pub(super) fn find_route(&self, report: &mut Report, facts: &Facts<'_>) -> Option<String> {
        let policy = &self.compiled.policy;
        let table = policy.table(self.place);
        let found = table.find(facts);
        let taken = found.as_ref().ok().map(|found| found.route);
        if let Ok(found) = &found
            && let Some(route) = policy.routes.get(found.route)
        {
            report.route = Some(route.name.to_string());
            report.path = Some(found.pattern.to_string());
            report.mode = Some(route.auth.name.to_string());
        }
        let misses = table.near_misses(facts, taken);
        let told = misses.iter().filter_map(|miss| {
            let route = policy.routes.get(miss.place.route)?;
            Some(near_miss(&route.name, miss.place, miss.why))
        });
        report.near_misses = told.collect();
        report.near_misses.extend(self.at_other_listeners(facts, taken));
        let nothing_fits = misses.iter().all(|miss| miss.why > Why::LessSpecific);
        if taken.is_some() || !nothing_fits {
            return None;
        }
        let mut hosts: Vec<&Place> = misses
            .iter()
            .filter(|miss| miss.why == Why::Host)
            .map(|miss| miss.place)
            .collect();
        hosts.sort_by_key(|place| (!place.methods.contain(facts.method), place.route));
        let host = hosts.first()?.host.as_deref()?;
        Some(
            host.strip_prefix('*')
                .map_or(host.to_owned(), |suffix| format!("any{suffix}")),
        )
    }

    fn at_other_listeners(&self, facts: &Facts<'_>, taken: Option<usize>) -> Vec<NearMiss> {
        let policy = &self.compiled.policy;
        let others = policy.listeners.iter().zip(&self.config.listeners).enumerate();
        let misses = others
            .filter(|(place, _)| *place != self.place)
            .filter_map(|(_, ((_, table), listener))| {
                let found = table.find(facts).ok().filter(|found| Some(found.route) != taken)?;
                let route = policy.routes.get(found.route)?;
                Some(NearMiss {
                    route: route.name.to_string(),
                    reason: "listener",
                    text: format!("is served at the listener \"{}\"", listener.name),
                })
            });
        misses.collect()
    }
}

fn near_miss(route: &Arc<str>, place: &Place, why: Why) -> NearMiss {
    let path = &place.pattern;
    let methods: Vec<&str> = place.methods.iter().map(http::Method::as_str).collect();
    let (reason, text) = match why {
        Why::Method => ("method", format!("{path} fits, but takes only {}", methods.join(", "))),
        Why::LessSpecific => (
            "less_specific",
            format!("{path} fits too, but a more specific one comes first"),
        ),
        Why::Host => (
            "host",
            format!(
                "{path} fits, but only for host {}",
                place.host.as_deref().unwrap_or("-")
            ),
        ),
        Why::Path => ("path", format!("{path} begins alike, but does not fit")),
    };
    NearMiss {
        route: route.to_string(),
        reason,
        text,
    }
}
