//! Judgements under whole configs, and what a reload carries over.

use std::path::Path;

use http::{HeaderMap, Method, Uri};

use super::*;
use crate::compile::compile;
use crate::config::{Environment, Problems, load_text};
use crate::policy::address::Origin;
use crate::policy::denial::Code;
use crate::policy::facts::{Facts, Now};
use crate::policy::judge::{self, Evidence};
use crate::policy::verdict::Effect;

const BEFORE_ROUTES: &str = r#"
    [[listeners]]
    name = "public"
    address = "127.0.0.1:0"
    [upstreams.u]
    urls = ["http://a"]
    [limits.per-route]
    rate = "1/hour"
    by = "route"
"#;

fn snapshot(routes: &[&str], previous: Option<&Snapshot>) -> Snapshot {
    let mut text = BEFORE_ROUTES.to_owned();
    for name in routes {
        text.push_str(&format!(
            "[[routes]]\nname = \"{name}\"\npaths = [\"/{name}\"]\nupstream = \"u\"\nauth = \"none\"\nlimits = [\"per-route\"]\n"
        ));
    }
    let loaded = load_text(Path::new("gateway.toml"), &text, &Environment::default()).unwrap();
    let mut problems = Problems::new(loaded.sources);
    let compiled = compile(&loaded.config, &mut problems).unwrap();
    let metrics = Metrics::new("test").unwrap();
    Snapshot::new(loaded.config, compiled, previous, &metrics, Clock::start(), 1)
}

/// The code that an anonymous `GET` is refused with; `None`: it is allowed.
fn refused(snapshot: &Snapshot, target: &str) -> Option<Code> {
    let (target, headers): (Uri, _) = (target.parse().unwrap(), HeaderMap::new());
    let origin = Origin {
        peer: [127, 0, 0, 1].into(),
        peer_trusted: false,
        client: [127, 0, 0, 1].into(),
    };
    let now = Now {
        unix_s: 0,
        monotonic_ns: 1,
    };
    let facts = Facts::read(&Method::GET, &target, &headers, origin, 0, now).unwrap();
    let case = match judge::open(&snapshot.policy, &facts, &snapshot.meters) {
        Ok(case) => case,
        Err(refused) => return Some(refused.denial.code),
    };
    let meters = &snapshot.meters;
    let undecided = judge::decide(&snapshot.policy, &facts, case, &Evidence::None, meters);
    match undecided.alone(meters, now.monotonic_ns).effect {
        Effect::Permit(_) => None,
        Effect::Denial(denial) => Some(denial.code),
    }
}

#[test]
fn a_limit_by_route_follows_its_route_through_a_reload_that_moves_it() {
    let first = snapshot(&["a"], None);
    assert_eq!(refused(&first, "/a"), None);
    assert_eq!(refused(&first, "/a"), Some(Code::RateLimited));
    let second = snapshot(&["new", "a"], Some(&first));
    assert_eq!(refused(&second, "/a"), Some(Code::RateLimited));
    assert_eq!(refused(&second, "/new"), None);
}

#[test]
fn r14_an_encoded_slash_is_ambiguous_also_where_there_is_no_route() {
    assert_eq!(
        refused(&snapshot(&["a"], None), "/nowhere%2fx"),
        Some(Code::MalformedRequest)
    );
}
