//! What a route does to headers: names and values made ready.

use http::HeaderValue;

use crate::policy::headers::RouteHeaders;

use super::super::header_name;
use super::Compiling;

impl Compiling<'_, '_> {
    pub(super) fn headers(&mut self) -> RouteHeaders {
        let written = self.written;
        let mut set = Vec::new();
        for (name, value) in &written.set_headers {
            match (header_name(name), HeaderValue::from_str(value.expose())) {
                (Some(name), Ok(mut value)) => {
                    value.set_sensitive(true);
                    set.push((name, value));
                }
                _ => self.problem(
                    &format!("set_headers.{name}"),
                    "is no header value: visible characters, spaces and tabs only",
                ),
            }
        }
        let mut response_set = Vec::new();
        for (name, value) in &written.response_headers_set {
            match (header_name(name), HeaderValue::from_str(value)) {
                (Some(name), Ok(value)) => response_set.push((name, value)),
                _ => self.problem(
                    &format!("response_headers.set.{name}"),
                    "is no header value: visible characters, spaces and tabs only",
                ),
            }
        }
        RouteHeaders {
            set,
            remove: written
                .remove_headers
                .iter()
                .filter_map(|name| header_name(name))
                .collect(),
            preserve_host: written.preserve_host,
            response_set,
            response_remove: written
                .response_headers_remove
                .iter()
                .filter_map(|name| header_name(name))
                .collect(),
            rewrite_location: written.rewrite_location,
        }
    }
}
