//! What a route does to headers: names and values made ready.

use http::HeaderValue;
use http::header::HeaderName;

use crate::policy::headers::RouteHeaders;
use crate::policy::setting::{Known, Setting};
use crate::policy::template::Template;

use super::super::header_name;
use super::Compiling;

impl Compiling<'_, '_> {
    pub(super) fn headers(&mut self) -> RouteHeaders {
        let written = self.written;
        let set = written.set_headers.iter();
        let set =
            set.filter_map(|(name, value)| self.setting(&format!("set_headers.{name}"), name, value.expose(), true));
        let set = set.collect();
        let response_set = written.response_headers_set.iter();
        let response_set = response_set
            .filter_map(|(name, value)| self.setting(&format!("response_headers.set.{name}"), name, value, false));
        let response_set = response_set.collect();
        let names = |names: &[String]| names.iter().filter_map(|name| header_name(name)).collect();
        RouteHeaders {
            hide_websocket_tokens: false,
            set,
            remove: names(&written.remove_headers),
            prefix: self.prefix(),
            preserve_host: written.preserve_host,
            response_set,
            response_remove: names(&written.response_headers_remove),
            rewrite_location: written.rewrite_location,
        }
    }

    /// `sensitive`: it may hold a credential.
    fn setting(&mut self, key: &str, name: &str, text: &str, sensitive: bool) -> Option<(HeaderName, Setting)> {
        let template = match Template::parse(text, Known::of_word) {
            Ok(template) => template,
            Err(_) => {
                let words = Known::WORDS.map(|word| format!("{{{word}}}")).join(", ");
                self.problem(key, format!("has a word in braces that is none of {words}"));
                return None;
            }
        };
        let Some(fixed) = template.literal() else {
            return Some((
                header_name(name)?,
                Setting::Made {
                    text: template,
                    sensitive,
                },
            ));
        };
        match (header_name(name), HeaderValue::from_str(fixed)) {
            (Some(name), Ok(mut value)) => {
                value.set_sensitive(sensitive);
                Some((name, Setting::Fixed(value)))
            }
            _ => {
                self.problem(key, "is no header value: visible characters, spaces and tabs only");
                None
            }
        }
    }
}
