//! The way back: a `Location` that leads to the upstream is turned so that it leads to the gateway.

use http::{HeaderMap, HeaderValue, header};

use crate::config::model::Endpoint as Url;
use crate::policy::headers::{X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::policy::rewrite::{Prefix, Rewrite};
use crate::runtime::upstream::Endpoint;

use super::record::Record;

/// The gateway as the client sees it, by what was just told to the upstream.
pub(super) struct Public {
    scheme: Option<HeaderValue>,
    host: Option<HeaderValue>,
    /// The upstream was told this host as its own.
    preserved: bool,
}

impl Public {
    pub(super) fn of(record: &Record, headers: &HeaderMap, preserved: bool) -> Self {
        // A stranger's word was taken off and ours put on, which the record knows without a look-up.
        if !record.origin.peer_trusted {
            let secure = record.client.transport().is_secure();
            return Self {
                scheme: Some(HeaderValue::from_static(if secure { "https" } else { "http" })),
                host: record.host.clone(),
                preserved,
            };
        }
        Self {
            scheme: headers.get(X_FORWARDED_PROTO).cloned(),
            host: headers.get(X_FORWARDED_HOST).cloned(),
            preserved,
        }
    }

    /// A `Location` with the upstream's own authority would lead the client past the gateway, and one with a path that only the
    /// upstream knows would lead nowhere.
    pub(super) fn rewrite_location(&self, headers: &mut HeaderMap, endpoint: &Endpoint, rewrite: Option<&Rewrite>) {
        let Some(location) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else {
            return;
        };
        let prefix = match rewrite {
            Some(Rewrite::Prefix(prefix)) => Some(prefix),
            // Many paths may have become this one: there is no way back.
            Some(Rewrite::Whole(_)) | None => None,
        };
        let Some(rewritten) = self.rewritten(location, endpoint, prefix) else {
            return;
        };
        if let Ok(value) = HeaderValue::try_from(rewritten) {
            headers.insert(header::LOCATION, value);
        }
    }

    /// `None`: it stays as it is.
    fn rewritten(&self, location: &str, endpoint: &Endpoint, prefix: Option<&Prefix>) -> Option<String> {
        let scheme = match endpoint.url {
            Url::Http { .. } | Url::Unix(_) => "http://",
            Url::Https { .. } => "https://",
        };
        let own = location
            .strip_prefix(scheme)
            .and_then(|rest| after_authority(rest, endpoint.authority.to_str().ok()?));
        let text =
            |value: &Option<HeaderValue>| value.as_ref().and_then(|value| value.to_str().ok().map(str::to_owned));
        let root = match (text(&self.scheme), text(&self.host)) {
            (Some(scheme), Some(host)) => format!("{scheme}://{host}"),
            _ => String::new(),
        };
        if let Some(rest) = own {
            return Some(format!("{root}{}", to_client(rest, prefix)));
        }
        let prefix = prefix?;
        if location.starts_with('/') && !location.starts_with("//") {
            return Some(to_client(location, Some(prefix)));
        }
        let preserved = self.preserved && !root.is_empty();
        let rest = preserved.then(|| after_authority(location, &root)).flatten()?;
        Some(format!("{root}{}", to_client(rest, Some(prefix))))
    }
}

/// What follows an authority that ends there.
fn after_authority<'l>(text: &'l str, authority: &str) -> Option<&'l str> {
    let rest = text.strip_prefix(authority)?;
    (rest.is_empty() || rest.starts_with(['/', '?', '#'])).then_some(rest)
}

/// Path, query and fragment as the client must ask for them.
fn to_client(rest: &str, prefix: Option<&Prefix>) -> String {
    let Some(prefix) = prefix else {
        return rest.to_owned();
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (path, behind) = rest.split_at(end);
    let path = if path.is_empty() { "/" } else { path };
    let turned = prefix.to_client(path);
    format!("{}{behind}", turned.as_deref().unwrap_or(path))
}
