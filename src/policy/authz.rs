//! What an identity must hold: scopes, permissions, roles, audiences, claims.
//!
//! Wildcards live in what is granted, never in what is required.

use std::fmt;
use std::sync::Arc;

use super::denial::{Challenge, Code, Denial, Tells};
use super::identity::{ClaimPath, HeaderText, Identity};
use super::token::{ClaimRule, VerifiedToken};

/// One set of requirements; an empty list requires nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Requirement {
    /// All of these scopes.
    pub scopes_all: Vec<String>,
    /// One of these scopes.
    pub scopes_any: Vec<String>,
    /// All of these permissions.
    pub permissions_all: Vec<String>,
    /// One of these permissions.
    pub permissions_any: Vec<String>,
    /// One of these roles.
    pub roles_any: Vec<String>,
    /// One of these in the token's `aud`.
    pub audiences: Vec<String>,
    /// Claims of the token; a path segment's name stands for what the request has there.
    pub claims: Vec<(ClaimPath, RequiredClaim)>,
    /// What a challenge names: the scopes above, space-joined.
    pub challenge: Arc<str>,
}

/// What a required claim must be.
#[derive(Debug, Clone, PartialEq)]
pub enum RequiredClaim {
    /// As for an issuer.
    Fixed(ClaimRule),
    /// Equal to the path segment of that name.
    Segment(String),
}

impl Requirement {
    /// Whether nothing is required.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Judges `identity` (`None`: anonymous), proven by `token` if by one; `segment` gives the request's named path segments.
    ///
    /// # Errors
    /// 403 with the first thing that is missing, scopes first.
    pub fn judge(
        &self,
        identity: Option<&Identity>,
        token: Option<&VerifiedToken>,
        segment: impl Fn(&str) -> Option<String>,
    ) -> Result<(), Denial> {
        let granted = |part: fn(&Identity) -> &Vec<HeaderText>| identity.map(part).map_or(&[][..], Vec::as_slice);
        let scopes = granted(|identity| &identity.scopes);
        if !all(&self.scopes_all, scopes) || !any(&self.scopes_any, scopes) {
            let missing = missing(&self.scopes_all, &self.scopes_any, scopes);
            return Err(Denial {
                tells: Tells::Challenge(Challenge::Scope(self.challenge.clone())),
                ..Denial::lacking(Code::InsufficientScope, "scope_missing", missing)
            });
        }
        let permissions = granted(|identity| &identity.permissions);
        if !all(&self.permissions_all, permissions) || !any(&self.permissions_any, permissions) {
            let missing = missing(&self.permissions_all, &self.permissions_any, permissions);
            return Err(lacking("permission_missing", missing));
        }
        let roles = granted(|identity| &identity.roles);
        let has_role = |role: &String| roles.iter().any(|own| own.as_str() == role);
        if !self.roles_any.is_empty() && !self.roles_any.iter().any(has_role) {
            return Err(lacking("role_missing", self.roles_any.join(" or ")));
        }
        let audiences = token.map_or(&[][..], |token| &token.audiences);
        let is_for = |wanted: &String| audiences.iter().any(|own| **own == **wanted);
        if !self.audiences.is_empty() && !self.audiences.iter().any(is_for) {
            return Err(lacking("audience_missing", self.audiences.join(" or ")));
        }
        for (path, rule) in &self.claims {
            let claim = token.and_then(|token| token.kept_claim(path));
            let holds = match rule {
                RequiredClaim::Fixed(rule) => rule.holds(claim),
                RequiredClaim::Segment(name) => segment(name).is_some_and(|value| claim_is(claim, &value)),
            };
            if !holds {
                return Err(lacking("claim_mismatch", format!("{} {rule}", path.as_str())));
            }
        }
        Ok(())
    }
}

fn lacking(detail: &'static str, missing: String) -> Denial {
    Denial::lacking(Code::PermissionDenied, detail, missing)
}

/// What `granted` lacks: of all, each one that is not there; of any, the whole choice.
fn missing(wanted_all: &[String], wanted_any: &[String], granted: &[HeaderText]) -> String {
    let one_by_one = wanted_all.iter().filter(|one| !holds(granted, one)).cloned();
    let mut lacks: Vec<String> = one_by_one.collect();
    if !any(wanted_any, granted) {
        lacks.push(wanted_any.join(" or "));
    }
    lacks.join(", ")
}

/// One thing that is required, alone.
#[derive(Debug)]
pub struct Part {
    /// The key in the config.
    pub key: &'static str,
    /// What is wanted; of several, any one does.
    pub wanted: Vec<String>,
    /// As a requirement of its own, to be judged as the whole is.
    pub alone: Requirement,
}

impl Requirement {
    /// What is required, taken apart in the order of judgement: all of the parts hold exactly when the whole does.
    #[must_use]
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut part = |key, wanted: &[String], set: &dyn Fn(&mut Self, Vec<String>)| {
            if !wanted.is_empty() {
                let mut alone = Self::default();
                set(&mut alone, wanted.to_vec());
                parts.push(Part {
                    key,
                    wanted: wanted.to_vec(),
                    alone,
                });
            }
        };
        for one in self.scopes_all.chunks(1) {
            part("scopes_all", one, &|alone, wanted| alone.scopes_all = wanted);
        }
        part("scopes_any", &self.scopes_any, &|alone, wanted| {
            alone.scopes_any = wanted
        });
        for one in self.permissions_all.chunks(1) {
            part("permissions_all", one, &|alone, wanted| alone.permissions_all = wanted);
        }
        part("permissions_any", &self.permissions_any, &|alone, wanted| {
            alone.permissions_any = wanted
        });
        part("roles_any", &self.roles_any, &|alone, wanted| alone.roles_any = wanted);
        part("audiences", &self.audiences, &|alone, wanted| alone.audiences = wanted);
        for (path, rule) in &self.claims {
            part("claims", &[format!("{} {rule}", path.as_str())], &|alone, _| {
                alone.claims = vec![(path.clone(), rule.clone())];
            });
        }
        parts
    }
}

impl fmt::Display for RequiredClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(ClaimRule::Present) => f.write_str("present"),
            Self::Fixed(ClaimRule::OneOf(values)) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "= {}", values.join(" or "))
            }
            Self::Segment(name) => write!(f, "= {{path.{name}}}"),
        }
    }
}

/// Whether a claim is `value`, or a list that has it; a number is compared as its decimal text.
fn claim_is(claim: Option<&serde_json::Value>, value: &str) -> bool {
    use serde_json::Value;
    match claim {
        Some(Value::String(text)) => text == value,
        Some(Value::Number(number)) => number.as_i64().is_some_and(|number| number.to_string() == value),
        Some(Value::Array(items)) => items.iter().any(|item| !item.is_array() && claim_is(Some(item), value)),
        Some(Value::Null | Value::Bool(_) | Value::Object(_)) | None => false,
    }
}

fn all(required: &[String], granted: &[HeaderText]) -> bool {
    required.iter().all(|one| holds(granted, one))
}

fn any(required: &[String], granted: &[HeaderText]) -> bool {
    required.is_empty() || required.iter().any(|one| holds(granted, one))
}

fn holds(granted: &[HeaderText], required: &str) -> bool {
    granted.iter().any(|grant| grants(grant.as_str(), required))
}

/// `*` grants everything; a trailing `*` (`tasks.*`, `groups:*`) everything that begins so and goes on: not `tasks`, not `tasks.`.
#[must_use]
pub fn grants(grant: &str, required: &str) -> bool {
    match grant.strip_suffix('*') {
        Some(prefix) => required.len() > prefix.len() && required.starts_with(prefix),
        None => grant == required,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_is_missing_and_nothing_that_is_there() {
        let granted: Vec<HeaderText> = ["a", "x.*"].into_iter().filter_map(HeaderText::new).collect();
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (all, any, expected) in [
            (&["a", "b", "x.1", "c"][..], &[][..], "b, c"),
            (&["a"], &["d", "e"], "d or e"),
            (&["b"], &["d", "x.2"], "b"),
            (&["b"], &["d", "e"], "b, d or e"),
        ] {
            assert_eq!(missing(&texts(all), &texts(any), &granted), expected);
        }
    }

    #[test]
    fn wildcards_grant_what_begins_so_and_goes_on() {
        for (grant, required, granted) in [
            ("tasks.read", "tasks.read", true),
            ("tasks.read", "tasks.reads", false),
            ("tasks.*", "tasks.read", true),
            ("tasks.*", "tasks.read.all", true),
            ("tasks.*", "tasks", false),
            ("tasks.*", "tasks.", false),
            ("tasks.*", "tasksx.read", false),
            ("groups:*", "groups:7", true),
            ("*", "anything", true),
            ("ta*ks", "tasks", false),
            ("tasks.read", "tasks.*", false),
            ("", "", true),
        ] {
            assert_eq!(grants(grant, required), granted, "{grant} {required}");
        }
    }
}
