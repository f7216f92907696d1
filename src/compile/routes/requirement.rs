//! What a route requires of a caller, and the path segments that it may name.

use std::sync::Arc;

use crate::config::model;
use crate::policy::authz::{RequiredClaim, Requirement};
use crate::policy::identity::ClaimPath;

use super::super::issuers::claim_rule;
use super::Compiling;

impl Compiling<'_, '_> {
    pub(super) fn requirement(&mut self, key: &str, written: &model::Require) -> Requirement {
        // Each once, in the order in which they are written.
        let mut scopes: Vec<&str> = Vec::new();
        for scope in written.scopes_all.iter().chain(&written.scopes_any) {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        // RFC 6749 §3.3: a challenge names them within quotes, joined by spaces.
        let is_scope = |scope: &&str| {
            !scope.is_empty()
                && scope
                    .bytes()
                    .all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        };
        if let Some(bad) = scopes.iter().find(|scope| !is_scope(scope)) {
            self.problem(
                key,
                format!("requires {bad:?}, which is no scope: visible ASCII without space, quote or backslash"),
            );
        }
        let mut claims = Vec::new();
        for (path, rule) in &written.claims {
            let rule = match segment_name(rule) {
                None => RequiredClaim::Fixed(claim_rule(rule)),
                Some(name) => {
                    if self.patterns().iter().any(|pattern| !pattern.names(name)) {
                        self.problem(
                            &format!("{key}.claims.{path}"),
                            format!("names the path segment {{{name}}}, which not every path of the route has"),
                        );
                    }
                    RequiredClaim::Segment(name.to_owned())
                }
            };
            claims.push((ClaimPath::new(path), rule));
        }
        let required = written
            .scopes_all
            .iter()
            .chain(&written.scopes_any)
            .chain(&written.permissions_all)
            .chain(&written.permissions_any);
        if required.into_iter().any(|one| one.contains('*')) {
            self.problem(key, "may not require a wildcard; wildcards are for what is granted");
        }
        Requirement {
            scopes_all: written.scopes_all.clone(),
            scopes_any: written.scopes_any.clone(),
            permissions_all: written.permissions_all.clone(),
            permissions_any: written.permissions_any.clone(),
            roles_any: written.roles_any.clone(),
            audiences: written.audiences.clone(),
            claims,
            challenge: Arc::from(scopes.join(" ")),
        }
    }
}

/// `"{path.org}"` or `"{org}"`: the segment's name.
fn segment_name(rule: &model::ClaimRule) -> Option<&str> {
    let model::ClaimRule::OneOf(values) = rule else {
        return None;
    };
    let [model::Scalar::String(text)] = values.as_slice() else {
        return None;
    };
    let name = text.strip_prefix('{')?.strip_suffix('}')?;
    Some(name.strip_prefix("path.").unwrap_or(name))
}
