//! Where a narrower path hides methods of a wider one: a method that the most specific pattern has no route for is 405, and never
//! falls to a wider pattern. That is as the contract has it, and seldom as it was meant: `check` warns.

use std::collections::BTreeMap;

use http::Method;

use crate::config::model::Config;
use crate::policy::pattern::{Pattern, Segment};
use crate::policy::route::Place;

use super::Served;

/// A wider route, hidden at a narrower path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The narrower route's place in the file.
    pub narrow: usize,
    /// The wider route's.
    pub wide: usize,
    /// The narrower pattern.
    pub path: String,
    /// Methods of the wider route that are 405 there; empty: all but those that the narrower path has routes for.
    pub methods: Vec<Method>,
    /// Those that it has routes for.
    pub taken: Vec<Method>,
}

/// Each wider route that some narrower path hides, once a pair of routes.
pub(in crate::compile) fn hidden(config: &Config, served: &[Served]) -> Vec<Hidden> {
    let mut found: BTreeMap<(usize, usize), Hidden> = BTreeMap::new();
    for listener in &config.listeners {
        let places = served.iter().filter(|place| place.serves(&listener.name));
        let places: Vec<&Place> = places.map(|served| &served.place).collect();
        for narrow in &places {
            let Some(taken) = taken_at(narrow, &places) else {
                continue;
            };
            for wide in places.iter().filter(|wide| is_wider(wide, narrow)) {
                let hidden: Vec<Method> = wide
                    .methods
                    .iter()
                    .filter(|method| !taken.contains(method))
                    .cloned()
                    .collect();
                if hidden.is_empty() && !wide.methods.is_any() {
                    continue;
                }
                found.entry((narrow.route, wide.route)).or_insert_with(|| Hidden {
                    narrow: narrow.route,
                    wide: wide.route,
                    path: narrow.pattern.to_string(),
                    methods: hidden,
                    taken: taken.clone(),
                });
            }
        }
    }
    found.into_values().collect()
}

/// The methods that have a route at exactly this host and pattern; `None`: all have.
fn taken_at(place: &Place, places: &[&Place]) -> Option<Vec<Method>> {
    let mut taken: Vec<Method> = Vec::new();
    let same = |other: &&&Place| other.host == place.host && is_same(&other.pattern, &place.pattern);
    for other in places.iter().filter(same) {
        if other.methods.is_any() {
            return None;
        }
        taken.extend(other.methods.iter().cloned());
    }
    Some(taken)
}

fn is_wider(wide: &Place, narrow: &Place) -> bool {
    let same_host = wide.host == narrow.host;
    let hosts = match (wide.host.as_deref(), narrow.host.as_deref()) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(narrow)) => {
            same_host || wide.strip_prefix('*').is_some_and(|suffix| narrow.ends_with(suffix))
        }
    };
    hosts && takes_all_of(&wide.pattern, &narrow.pattern) && !(same_host && is_same(&wide.pattern, &narrow.pattern))
}

/// Whether every path that `narrow` takes fits `wide` too.
fn takes_all_of(wide: &Pattern, narrow: &Pattern) -> bool {
    let (own, other) = (wide.segments(), narrow.segments());
    let length_fits = if wide.is_below() {
        own.len() <= other.len()
    } else {
        own.len() == other.len() && !narrow.is_below()
    };
    length_fits
        && own.iter().zip(other).all(|(own, other)| match (own, other) {
            (Segment::Named(_), Segment::Literal(text)) => !text.is_empty(),
            (Segment::Named(_), Segment::Named(_)) => true,
            (Segment::Literal(own), Segment::Literal(other)) => own == other,
            (Segment::Literal(_), Segment::Named(_)) => false,
        })
}

/// Whether both take the same paths: names of segments tell nothing apart.
fn is_same(one: &Pattern, other: &Pattern) -> bool {
    takes_all_of(one, other) && takes_all_of(other, one) && one.is_below() == other.is_below()
}
