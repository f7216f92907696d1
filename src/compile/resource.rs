//! `[resource]`: the metadata that tells clients which authorization servers' tokens are taken here (RFC 9728), as a route that
//! answers by itself.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde_json::json;

use crate::config::Problems;
use crate::config::model::{Config, TokenSource};
use crate::policy::action::{Action, Fixed};
use crate::policy::address::Networks;
use crate::policy::digest::key_of;
use crate::policy::headers::RouteHeaders;
use crate::policy::identity::AuthMethod;
use crate::policy::mode::Mode;
use crate::policy::pattern::Pattern;
use crate::policy::route::{Methods, Place, Route};
use crate::policy::setting::Setting;

use super::routes::Served;
use super::token_sources;

/// The route's name.
const NAME: &str = "oauth-protected-resource";

/// RFC 9728 §3.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// What challenges and the metadata's route are made of.
struct Resource {
    /// Where the metadata is, for challenges.
    url: String,
    /// Its path for a resource that has one (RFC 9728 §3.1).
    path: String,
}

impl Resource {
    fn of(resource: &str) -> Option<Self> {
        let uri: Uri = resource.parse().ok()?;
        // It stands between quotes in challenges.
        let quotable = !resource.contains(['"', '\\']);
        let (scheme, authority) = (uri.scheme_str()?, uri.authority().filter(|_| quotable)?);
        // A bare "/" goes before the well-known path is put in.
        let path = if uri.path() == "/" { "" } else { uri.path() };
        let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
        Some(Self {
            url: format!("{scheme}://{authority}{WELL_KNOWN}{path}{query}"),
            path: format!("{WELL_KNOWN}{path}"),
        })
    }
}

/// Where the metadata is, to be named in challenges.
pub(super) fn metadata_url(config: &Config) -> Option<Arc<str>> {
    let resource = Resource::of(&config.resource.as_ref()?.resource)?;
    Some(Arc::from(resource.url))
}

/// The route that answers with the metadata, on every host that has routes; one that the operator wrote for that path stands.
pub(super) fn route(
    config: &Config,
    served: &[Served],
    index: usize,
    problems: &mut Problems,
) -> Option<(Route, Vec<Served>)> {
    let written = config.resource.as_ref()?;
    let Some(resource) = Resource::of(&written.resource) else {
        problems.at("resource.resource", "is no URL of a resource");
        return None;
    };
    if config.routes.iter().any(|route| route.name == NAME) {
        problems.at(
            &format!("routes.{NAME}.name"),
            "is that of the route that [resource] adds; choose another",
        );
    }
    let mut patterns = Vec::new();
    for path in [WELL_KNOWN, resource.path.as_str()] {
        match Pattern::parse(path) {
            Ok(pattern) if !patterns.contains(&pattern) => patterns.push(pattern),
            Ok(_same) => {}
            Err(message) => problems.at("resource.resource", format!("has a path that {message}")),
        }
    }
    let mut hosts: Vec<Option<&String>> = vec![None];
    hosts.extend(served.iter().map(|served| served.place.host.as_ref()));
    hosts.sort();
    hosts.dedup();
    let methods = Methods::new(vec![Method::GET, Method::OPTIONS]);
    let mut places = Vec::new();
    for (host, pattern) in hosts
        .iter()
        .flat_map(|host| patterns.iter().map(move |pattern| (host, pattern)))
    {
        let is_taken = |served: &&Served| served.place.host.as_ref() == *host && *served.place.pattern == *pattern;
        if served.iter().find(is_taken).is_none() {
            places.push(Served::everywhere(Place {
                route: index,
                host: host.cloned(),
                pattern: Arc::new(pattern.clone()),
                methods: methods.clone(),
            }));
        }
    }
    Some((answering(config, index), places))
}

fn answering(config: &Config, index: usize) -> Route {
    let open = HeaderValue::from_static("*");
    Route {
        name: Arc::from(NAME),
        index,
        key: key_of(NAME.as_bytes()),
        allowed_from: Networks::default(),
        auth: Mode::new(vec![AuthMethod::None]),
        shadow: None,
        canary: None,
        token_places: Vec::new(),
        issuers: Vec::new(),
        remote_issuers: Vec::new(),
        requirements: Vec::new(),
        address_limits: Vec::new(),
        caller_limits: Vec::new(),
        reads_tokens: false,
        allow_encoded_slash: false,
        max_body: 0,
        cors: None,
        headers: RouteHeaders {
            // Clients in browsers read it from anywhere: it is public, and names no caller.
            response_set: vec![
                (ACCESS_CONTROL_ALLOW_ORIGIN, Setting::Fixed(open.clone())),
                (ACCESS_CONTROL_ALLOW_HEADERS, Setting::Fixed(open)),
                (CACHE_CONTROL, Setting::Fixed(HeaderValue::from_static("max-age=300"))),
            ],
            ..RouteHeaders::default()
        },
        action: Action::Respond(Fixed {
            status: StatusCode::OK,
            content_type: Some(HeaderValue::from_static("application/json")),
            body: Bytes::from(metadata(config)),
        }),
        access_log: config.log.access,
        close_on_expiry: false,
    }
}

/// RFC 9728 §2; what is empty is left out.
fn metadata(config: &Config) -> String {
    let Some(resource) = &config.resource else {
        return String::new();
    };
    let sources: Vec<&TokenSource> = token_sources(config).collect();
    let ways = [
        ("header", sources.contains(&&TokenSource::Authorization)),
        (
            "query",
            sources.contains(&&TokenSource::Query("access_token".to_owned())),
        ),
    ];
    let ways: Vec<&str> = ways.iter().filter(|(_, taken)| *taken).map(|(way, _)| *way).collect();
    let mut document = json!({ "resource": resource.resource });
    for (member, list) in [
        ("authorization_servers", json!(resource.authorization_servers)),
        ("scopes_supported", json!(resource.scopes_supported)),
        ("bearer_methods_supported", json!(ways)),
    ] {
        if list.as_array().is_some_and(|list| !list.is_empty())
            && let Some(document) = document.as_object_mut()
        {
            document.insert(member.to_owned(), list);
        }
    }
    format!("{document}\n")
}
