//! Which route takes which request.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use http::{HeaderMap, Uri};
use proptest::prelude::*;

use super::*;
use crate::policy::address::Origin;
use crate::policy::facts::Now;

/// Routes as `[METHODS ][HOST]PATTERN`; the answer is the place in the list, or the denial's code and `Allow`.
fn find(routes: &[&str], request: &str) -> String {
    with_facts(routes, request, |table, facts| match table.find(facts) {
        Ok(found) => routes[found.route].to_owned(),
        Err(Denial {
            tells: Tells::Allow(allow),
            ..
        }) => format!("405 {allow}"),
        Err(denial) => denial.code.name().to_owned(),
    })
}

/// Routes that nearly took the request, with why not.
fn near(routes: &[&str], request: &str) -> Vec<String> {
    with_facts(routes, request, |table, facts| {
        let taken = table.find(facts).ok().map(|found| found.route);
        let misses = table.near_misses(facts, taken);
        let told = misses
            .iter()
            .map(|miss| format!("{:?} {}", miss.why, routes[miss.place.route]));
        told.collect()
    })
}

fn with_facts<T>(routes: &[&str], request: &str, ask: impl FnOnce(&RouteTable, &Facts<'_>) -> T) -> T {
    let places: Vec<Place> = routes
        .iter()
        .enumerate()
        .map(|(route, text)| place(route, text))
        .collect();
    let table = RouteTable::new(&places).unwrap();
    let (method, url) = request.split_once(' ').unwrap();
    let (method, target) = (method.parse().unwrap(), url.parse::<Uri>().unwrap());
    let headers = HeaderMap::new();
    let origin = Origin {
        peer: IpAddr::from([127, 0, 0, 1]),
        peer_trusted: false,
        client: IpAddr::from([127, 0, 0, 1]),
    };
    let now = Now {
        unix_s: 0,
        monotonic_ns: 0,
    };
    let facts = Facts::read(&method, &target, &headers, origin, 0, now).unwrap();
    ask(&table, &facts)
}

fn place(route: usize, text: &str) -> Place {
    let (methods, url) = text.rsplit_once(' ').unwrap_or(("", text));
    let slash = url.find('/').unwrap();
    let methods = methods.split_whitespace().map(|name| name.parse().unwrap()).collect();
    Place {
        route,
        host: (slash > 0).then(|| url[..slash].to_owned()),
        pattern: Arc::new(Pattern::parse(&url[slash..]).unwrap()),
        methods: Methods::new(methods),
    }
}

#[test]
fn a_pattern_matches_by_whole_segments() {
    let routes = ["/api/*", "/exact"];
    for path in ["/api", "/api/", "/api/x", "/api/x/y"] {
        assert_eq!(find(&routes, &format!("GET {path}")), "/api/*", "{path}");
    }
    for path in ["/apix", "/ap", "/", "/exact/", "/exactly", "/exact/x"] {
        assert_eq!(find(&routes, &format!("GET {path}")), "no_route", "{path}");
    }
    assert_eq!(find(&routes, "GET /exact"), "/exact");
    assert_eq!(
        find(&routes, "GET /%65xact"),
        "/exact",
        "matching is on the decoded path"
    );
}

#[test]
fn exact_beats_named_beats_the_longest_beginning() {
    let routes = ["/*", "/a/*", "/a/{x}/*", "/a/{x}", "/a/b", "/a/b/*", "/{y}/b/c"];
    for (path, route) in [
        ("/z", "/*"),
        ("/", "/*"),
        ("/a", "/a/*"),
        ("/a/", "/a/*"),
        ("/a/b", "/a/b"),
        ("/a/c", "/a/{x}"),
        ("/a/c/d", "/a/{x}/*"),
        ("/a/b/d", "/a/b/*"),
        ("/a/b/c", "/{y}/b/c"),
    ] {
        assert_eq!(find(&routes, &format!("GET {path}")), route, "{path}");
    }
}

#[test]
fn a_named_host_beats_a_wildcard_beats_any() {
    let routes = [
        "/x/*",
        "api.example.com/x/*",
        "*.example.com/x/*",
        "*.eu.example.com/x/*",
        "/only",
    ];
    for (url, route) in [
        ("http://api.example.com/x/y", "api.example.com/x/*"),
        ("http://API.example.com:8443/x/y", "api.example.com/x/*"),
        ("http://b.example.com/x/y", "*.example.com/x/*"),
        ("http://a.b.example.com/x/y", "*.example.com/x/*"),
        ("http://a.eu.example.com/x/y", "*.eu.example.com/x/*"),
        ("http://example.com/x/y", "/x/*"),
        ("http://notexample.com/x/y", "/x/*"),
        ("http://api.example.com/only", "/only"),
    ] {
        assert_eq!(find(&routes, &format!("GET {url}")), route, "{url}");
    }
}

#[test]
fn methods_are_chosen_within_the_most_specific_pattern_and_never_outside_it() {
    let routes = ["GET /a", "POST /a", "/*", "/b", "DELETE /b"];
    assert_eq!(find(&routes, "GET /a"), "GET /a");
    assert_eq!(find(&routes, "HEAD /a"), "GET /a");
    assert_eq!(find(&routes, "POST /a"), "POST /a");
    assert_eq!(find(&routes, "PUT /a"), "405 GET, HEAD, POST");
    assert_eq!(find(&routes, "PUT /b"), "/b");
    assert_eq!(find(&routes, "DELETE /b"), "DELETE /b");
}

#[test]
fn r16_the_query_never_helps_a_match() {
    assert_eq!(find(&["/admin"], "GET /x?/admin"), "no_route");
    assert_eq!(find(&["/admin"], "GET /admin?x=/y"), "/admin");
}

#[test]
fn routes_that_cannot_be_told_apart_are_named() {
    for (a, b) in [
        ("/a", "/a"),
        ("/a/{x}", "/a/{y}"),
        ("GET /a", "POST HEAD /a"),
        ("h.example/a/*", "h.example/a/*"),
    ] {
        assert_eq!(
            RouteTable::new(&[place(0, a), place(1, b)]).unwrap_err(),
            [(0, 1)],
            "{a} {b}"
        );
    }
    for (a, b) in [
        ("/a", "/a/*"),
        ("GET /a", "/a"),
        ("GET /a", "POST /a"),
        ("h.example/a", "/a"),
    ] {
        assert!(RouteTable::new(&[place(0, a), place(1, b)]).is_ok(), "{a} {b}");
    }
}

#[test]
fn a_named_segment_gives_its_value() {
    let pattern = Pattern::parse("/orgs/{org}/x/*").unwrap();
    let path = RequestPath::read("/orgs/ac%20me/x/y").unwrap();
    assert_eq!(pattern.value(&path, "org").unwrap(), "ac me");
    assert_eq!(pattern.value(&path, "other"), None);
}

#[test]
fn patterns_that_could_never_match_are_refused() {
    for text in [
        "a", "", "/a//b", "/a/*/b", "/a*", "/{}", "/{a b}", "/x{a}", "/a?b", "/a%20", "/../a", "/{a}/{a}",
    ] {
        assert!(Pattern::parse(text).is_err(), "{text}");
    }
}

#[test]
fn a_near_miss_says_what_kept_the_route_from_the_request() {
    let routes = ["/*", "POST /a", "h.example/a", "/a/{x}", "/b/c"];
    assert_eq!(
        near(&routes, "GET /a"),
        ["Method POST /a", "LessSpecific /*", "Host h.example/a"]
    );
    assert_eq!(near(&routes, "POST /a"), ["LessSpecific /*", "Host h.example/a"]);
    assert_eq!(
        near(&routes, "GET http://h.example/a"),
        ["Method POST /a", "LessSpecific /*"]
    );
}

#[test]
fn other_paths_are_told_of_only_where_nothing_fits() {
    let routes = ["/api/v1/chat", "/api/v1/tasks/*", "/api/v2/chat", "/other"];
    assert_eq!(
        near(&routes, "GET /api/v1/chats"),
        ["Path /api/v1/chat", "Path /api/v1/tasks/*", "Path /api/v2/chat"]
    );
    assert_eq!(near(&routes, "GET /api/v1/chat"), [""; 0]);
    assert_eq!(near(&routes, "GET /"), [""; 0]);
}

proptest! {
    #[test]
    fn a_pattern_covers_exactly_the_paths_that_the_table_finds_by_it(
        pattern in "(/(a|b|\\{x\\})){0,3}(/\\*)?", path in "(/(a|b|c)){0,3}/?"
    ) {
        let pattern = if pattern.is_empty() { "/" } else { &pattern };
        prop_assume!(Pattern::parse(pattern).is_ok() && path.starts_with('/'));
        let found = find(&[pattern], &format!("GET {path}"));
        let path = RequestPath::read(&path).unwrap();
        prop_assert_eq!(Pattern::parse(pattern).unwrap().covers(&path), found == pattern);
    }
}
