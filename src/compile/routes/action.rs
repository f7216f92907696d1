//! What a route does with a request: names of upstreams resolved, fixed answers and redirects made ready.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use crate::config::model;
use crate::policy::action::{Action, Asked, Fixed, Forward, Redirect};
use crate::policy::template::{Part, Template};

use super::Compiling;

/// Answers that end with their head (RFC 9110 §6.4.1).
const WITHOUT_BODY: [u16; 3] = [204, 205, 304];

/// Statuses that send a client elsewhere (RFC 9110 §15.4).
const REDIRECTS: [u16; 5] = [301, 302, 303, 307, 308];

impl Compiling<'_, '_> {
    pub(super) fn action(&mut self) -> Action {
        match &self.written.action {
            model::Action::Upstream(name) => Action::Forward(self.forward(name)),
            model::Action::Respond {
                status,
                body,
                content_type,
            } => Action::Respond(self.fixed(*status, body, content_type)),
            model::Action::Redirect { to, status } => Action::Redirect(self.redirect(*status, to)),
        }
    }

    fn forward(&mut self, name: &str) -> Forward {
        let place = self.names.upstreams.get(name).copied();
        if place.is_none() {
            let known = self.config.upstreams.keys().map(String::as_str);
            self.unknown("upstream", &format!("upstream \"{name}\""), known);
        }
        let configured = self.config.upstreams.get(name);
        let response_timeout = self
            .written
            .response_timeout
            .or(configured.map(|upstream| upstream.response_timeout));
        Forward {
            upstream: place.unwrap_or_default(),
            response_timeout: response_timeout.unwrap_or_default(),
            rewrite: self.rewrite(),
        }
    }

    /// There is no path that would be forwarded.
    fn refuse_rewrites(&mut self) {
        for (key, text) in [
            ("strip_prefix", &self.written.strip_prefix),
            ("replace_path", &self.written.replace_path),
        ] {
            if !text.is_empty() {
                self.problem(key, "is for routes with `upstream`; this one answers by itself");
            }
        }
    }

    fn fixed(&mut self, status: u16, body: &str, content_type: &str) -> Fixed {
        self.refuse_rewrites();
        if WITHOUT_BODY.contains(&status) && !body.is_empty() {
            self.problem(
                "respond.body",
                format!("cannot go with status {status}, which has no body"),
            );
        }
        let content_type = (!body.is_empty()).then(|| HeaderValue::from_str(content_type).ok());
        Fixed {
            status: self.status("respond.status", status),
            content_type: content_type.flatten(),
            body: Bytes::copy_from_slice(body.as_bytes()),
        }
    }

    fn redirect(&mut self, status: u16, to: &str) -> Redirect {
        self.refuse_rewrites();
        if !REDIRECTS.contains(&status) {
            self.problem("redirect.status", "is no redirect; 301, 302, 303, 307 and 308 are");
        }
        let template = self.template("redirect.to", to, &["host", "path", "uri", "query"]);
        if let Err(message) = judge_location(&template) {
            self.problem("redirect.to", message);
        }
        Redirect {
            status: self.status("redirect.status", status),
            to: template,
        }
    }

    fn status(&mut self, key: &str, status: u16) -> StatusCode {
        StatusCode::from_u16(status).unwrap_or_else(|_| {
            self.problem(key, "is no status");
            StatusCode::INTERNAL_SERVER_ERROR
        })
    }

    /// A text with places for what is asked for: some of `words`, and path segments that every path of the route names.
    pub(super) fn template(&mut self, key: &str, text: &str, words: &[&str]) -> Template<Asked> {
        let patterns = self.patterns();
        let named = |name: &str| patterns.iter().all(|pattern| pattern.names(name));
        let place = |word: &str| Asked::of_word(word, named).filter(|asked| is_segment(asked) || words.contains(&word));
        Template::parse(text, place).unwrap_or_else(|word| {
            let words: Vec<String> = words.iter().map(|word| format!("{{{word}}}")).collect();
            self.problem(
                key,
                format!(
                    "has {{{word}}}, which is none of {} and no path segment that every path of the route names",
                    words.join(", ")
                ),
            );
            Template::empty()
        })
    }
}

fn is_segment(asked: &Asked) -> bool {
    match asked {
        Asked::Segment(_) => true,
        Asked::Host | Asked::Path | Asked::Uri | Asked::Query => false,
    }
}

/// Where people are sent is the operator's choice: no client may have a say in the authority, nor make one out of its path.
fn judge_location(to: &Template<Asked>) -> Result<(), &'static str> {
    const BEGINNING: &str = "must begin with \"https://\", \"http://\", \"/\", \"{path}\" or \"{uri}\"";
    let mut parts = to.parts().iter();
    let start = match parts.next() {
        // It could not be read, which was reported.
        None => return Ok(()),
        Some(Part::Place(Asked::Path | Asked::Uri)) => return judge_slashes(to),
        Some(Part::Place(_)) => return Err(BEGINNING),
        Some(Part::Text(start)) => start,
    };
    if let Some(rest) = start.strip_prefix("https://").or_else(|| start.strip_prefix("http://")) {
        let in_authority = |text: &str| !text.contains(['/', '?', '#', '\\']);
        // The authority ends with the first slash, or with the request's own path, which begins with one.
        let mut still = in_authority(rest);
        for part in parts {
            match part {
                Part::Place(Asked::Segment(_) | Asked::Query) if still => {
                    return Err("may take its host from {host} only; else a client would choose where it sends people");
                }
                Part::Place(Asked::Path | Asked::Uri) => still = false,
                Part::Place(Asked::Host | Asked::Segment(_) | Asked::Query) => {}
                Part::Text(text) => still = still && in_authority(text),
            }
        }
    } else if !start.starts_with('/') || start.starts_with("//") || start.starts_with("/\\") {
        return Err(BEGINNING);
    }
    judge_slashes(to)
}

/// `/{path}` would be `//…`, which browsers take for another host.
fn judge_slashes(to: &Template<Asked>) -> Result<(), &'static str> {
    let doubled = to.parts().windows(2).any(|pair| match pair {
        [Part::Text(text), Part::Place(Asked::Path | Asked::Uri)] => text.ends_with('/'),
        _ => false,
    });
    if doubled {
        return Err("has a \"/\" before {path} or {uri}, which begin with one");
    }
    Ok(())
}
