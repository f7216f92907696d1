//! `strip_prefix` and `replace_path`: judged against the route's own paths, and made ready.

use http::{HeaderValue, Uri};

use crate::policy::action::Asked;
use crate::policy::path::RequestPath;
use crate::policy::pattern::Pattern;
use crate::policy::rewrite::{Prefix, Rewrite};
use crate::policy::template::{Part, Template};

use super::Compiling;

impl Compiling<'_, '_> {
    pub(super) fn rewrite(&mut self) -> Option<Rewrite> {
        let (strip, replace) = (&self.written.strip_prefix, &self.written.replace_path);
        if !strip.is_empty() {
            self.judge_strip(strip);
        }
        let prefix = Prefix {
            strip: strip.matches('/').count(),
            public: strip.as_str().into(),
            upstream: Box::default(),
        };
        if replace.is_empty() {
            return (!strip.is_empty()).then_some(Rewrite::Prefix(prefix));
        }
        let path = self.template("replace_path", replace, &["path"]);
        if let Err(message) = judge_path(&path) {
            self.problem("replace_path", message);
        }
        match path.parts() {
            [Part::Place(Asked::Path)] => Some(Rewrite::Prefix(prefix)),
            [Part::Text(upstream), Part::Place(Asked::Path)] => Some(Rewrite::Prefix(Prefix {
                upstream: upstream.clone(),
                ..prefix
            })),
            _ if strip.is_empty() => Some(Rewrite::Whole(path)),
            _ => {
                self.problem(
                    "replace_path",
                    "stands instead of `strip_prefix`; use one of them, or end it in {path} to put it before what is left",
                );
                None
            }
        }
    }

    /// For `X-Forwarded-Prefix`.
    pub(super) fn prefix(&self) -> Option<HeaderValue> {
        let strip = &self.written.strip_prefix;
        (!strip.is_empty()).then(|| HeaderValue::from_str(strip).ok())?
    }

    /// Every path of the route must begin with it, or a request could be forwarded whose path is not below it.
    fn judge_strip(&mut self, strip: &str) {
        let prefix = match Pattern::parse(strip) {
            Ok(prefix) if !strip.ends_with('/') && !prefix.is_below() && prefix.is_literal() => prefix,
            Ok(_) => {
                return self.problem(
                    "strip_prefix",
                    "must be whole segments, such as \"/chat\", without \"/\" at its end",
                );
            }
            Err(message) => return self.problem("strip_prefix", message),
        };
        let begins = |pattern: &Pattern| pattern.segments().starts_with(prefix.segments());
        if let Some(other) = self.patterns().into_iter().find(|pattern| !begins(pattern)) {
            self.problem(
                "strip_prefix",
                format!("must be the beginning of every path of the route; {other} has another"),
            );
        }
    }
}

/// A segment that a client chose stands alone: glued to a text it could become a dot segment.
fn judge_path(path: &Template<Asked>) -> Result<(), &'static str> {
    let parts = path.parts();
    for (index, part) in parts.iter().enumerate() {
        let before = index.checked_sub(1).and_then(|before| parts.get(before));
        let after = parts.get(index + 1);
        match (part, before, after) {
            (Part::Place(Asked::Segment(_)), Some(Part::Text(before)), None) if before.ends_with('/') => {}
            (Part::Place(Asked::Segment(_)), Some(Part::Text(before)), Some(Part::Text(after)))
                if before.ends_with('/') && after.starts_with('/') => {}
            (Part::Place(Asked::Segment(_)), ..) => return Err("may have {name} as a whole segment only"),
            (Part::Place(_), None, None) => {}
            (Part::Place(_), Some(Part::Text(before)), None) if !before.ends_with('/') && parts.len() == 2 => {}
            (Part::Place(_), ..) => {
                return Err("may have {path}, which begins with a \"/\", at its end only, behind a text");
            }
            (Part::Text(_), ..) => {}
        }
    }
    // `/x` is a path and a segment that any place could be filled with.
    let filled = path.fill(|asked| match asked {
        Asked::Path => Some("/x".into()),
        _segment => Some("x".into()),
    });
    let filled = filled.unwrap_or_default();
    let sound = filled.is_empty()
        || (RequestPath::read(&filled).is_ok_and(|path| !path.has_encoded_slash()) && filled.parse::<Uri>().is_ok());
    if sound {
        return Ok(());
    }
    Err("is a path that two servers could read as two: no \"//\", dot segments or encoded slashes")
}
