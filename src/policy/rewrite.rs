//! Another path for the upstream than the client's: a beginning exchanged, or the whole replaced; and the way back for `Location`.
//!
//! What goes on the wire is made of the client's own bytes and the config's: nothing is decoded on the way, so that what was
//! judged and what is forwarded stay one thing (hardening r17).

use http::Uri;

use super::action::{Asked, Target};
use super::template::Template;

/// What becomes of the path.
#[derive(Debug)]
pub enum Rewrite {
    /// `strip_prefix`, and `replace_path` that ends in `{path}`: another beginning.
    Prefix(Prefix),
    /// `replace_path`: another path.
    Whole(Template<Asked>),
}

/// A path's beginning, as the client and as the upstream see it. Each is empty, or begins with `/` and does not end with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefix {
    /// Segments that are taken off.
    pub strip: usize,
    /// What those are.
    pub public: Box<str>,
    /// What stands there instead.
    pub upstream: Box<str>,
}

impl Rewrite {
    /// The target for the upstream; the query stays as it came. `None` when it is no target, which the config's own part of it
    /// was judged not to be.
    #[must_use]
    pub fn uri(&self, target: &Target<'_>) -> Option<Uri> {
        let mut text = match self {
            Self::Prefix(prefix) => prefix.to_upstream(target.uri.path()),
            Self::Whole(path) => path.fill(|asked| target.raw(asked))?,
        };
        if let Some(query) = target.uri.query() {
            text.push('?');
            text.push_str(query);
        }
        text.try_into().ok()
    }
}

impl Prefix {
    /// INVARIANT (r17): begins with one `/`. A raw path has as many segments as a decoded one, none of them empty but the last.
    fn to_upstream(&self, path: &str) -> String {
        let rest = match path.match_indices('/').nth(self.strip) {
            Some((end, _)) => path.get(end..).unwrap_or_default(),
            None => "",
        };
        match (&*self.upstream, rest) {
            ("", "") => "/".to_owned(),
            (upstream, rest) => format!("{upstream}{rest}"),
        }
    }

    /// The client's path for one of the upstream's; `None`: it has none, or is the client's already.
    ///
    /// An upstream that was told of the prefix (`X-Forwarded-Prefix`) may have put it on by itself.
    #[must_use]
    pub fn to_client(&self, path: &str) -> Option<String> {
        if !self.public.is_empty() && below(path, &self.public).is_some() {
            return None;
        }
        let rest = below(path, &self.upstream)?;
        match (&*self.public, rest) {
            ("", "") => Some("/".to_owned()),
            (public, rest) => Some(format!("{public}{rest}")),
        }
    }
}

/// What follows `prefix`, by whole segments.
fn below<'p>(path: &'p str, prefix: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::path::RequestPath;
    use crate::policy::pattern::Pattern;

    fn prefix(public: &str, upstream: &str) -> Prefix {
        Prefix {
            strip: public.matches('/').count(),
            public: public.into(),
            upstream: upstream.into(),
        }
    }

    #[test]
    fn whole_segments_are_taken_off_and_put_on() {
        for (public, upstream, path, becomes) in [
            ("/chat", "", "/chat", "/"),
            ("/chat", "", "/chat/", "/"),
            ("/chat", "", "/chat/a/b", "/a/b"),
            ("/chat", "", "/%63hat/a%20b", "/a%20b"),
            ("/a/b", "", "/a/b/c/", "/c/"),
            ("/old", "/new/x", "/old", "/new/x"),
            ("/old", "/new/x", "/old/", "/new/x/"),
            ("/old", "/new/x", "/old/a", "/new/x/a"),
            ("", "/new", "/", "/new/"),
            ("", "/new", "/a", "/new/a"),
        ] {
            assert_eq!(prefix(public, upstream).to_upstream(path), becomes, "{public} {path}");
        }
    }

    #[test]
    fn the_way_back_knows_what_was_put_on_already() {
        for (public, upstream, path, becomes) in [
            ("/chat", "", "/login", Some("/chat/login")),
            ("/chat", "", "/", Some("/chat/")),
            ("/chat", "", "/chats", Some("/chat/chats")),
            ("/chat", "", "/chat", None),
            ("/chat", "", "/chat/login", None),
            ("/old", "/new", "/new/a", Some("/old/a")),
            ("/old", "/new", "/new", Some("/old")),
            ("/old", "/new", "/news", None),
            ("/old", "/new", "/elsewhere", None),
            ("", "/new", "/new", Some("/")),
            ("", "/new", "/new/a", Some("/a")),
        ] {
            let back = prefix(public, upstream).to_client(path);
            assert_eq!(back.as_deref(), becomes, "{public} {upstream} {path}");
        }
    }

    proptest! {
        #[test]
        fn r17_what_is_left_begins_with_one_slash_and_has_no_dot_segment(rest in "[a-z%0-9./;]{0,16}") {
            let path = format!("/chat/{rest}");
            if let Ok(read) = RequestPath::read(&path) {
                let left = prefix("/chat", "").to_upstream(&path);
                prop_assert!(left.starts_with('/') && !left.starts_with("//"), "{left}");
                let left = RequestPath::read(&left).unwrap();
                let decoded = |path: &RequestPath<'_>| path.segments().map(|part| part.into_owned()).collect::<Vec<_>>();
                prop_assert_eq!(&decoded(&read)[1..], &decoded(&left)[..]);
            }
        }
    }

    #[test]
    fn another_path_is_made_of_segments_and_keeps_the_query() {
        let pattern = Pattern::parse("/o/{org}/*").unwrap();
        let path = Template::parse("/tenants/{org}/x", |word| {
            Asked::of_word(word, |name| pattern.names(name))
        })
        .unwrap();
        let uri: Uri = "/o/a%2Fb/c?d=%20".parse().unwrap();
        let target = Target {
            host: None,
            uri: &uri,
            pattern: &pattern,
        };
        assert_eq!(Rewrite::Whole(path).uri(&target).unwrap(), "/tenants/a%2Fb/x?d=%20");
    }
}
