//! From claims, a token's or an auth service's answer, to the caller they prove. Each claim that becomes a header is one
//! header-safe value, or the credential is refused; nothing is cut, replaced or left out. Depends on `policy::identity` and
//! `policy::token`.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::policy::identity::{AuthMethod, CallerKeys, ClaimPath, HeaderText, Identity, IdentityHeaders, RoleTable};
use crate::policy::token::{IdentityClaims, TokenFault};

type Claims = Map<String, Value>;

/// Most scopes, permissions or roles of a token.
const MAX_ITEMS: usize = 256;

/// The longest identity header, in bytes: more than servers take is better refused here.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// What claims are read by.
pub(super) struct Reader<'r> {
    pub(super) method: AuthMethod,
    pub(super) paths: &'r IdentityClaims,
    /// Put before the user.
    pub(super) user_prefix: &'r str,
    /// The internal callers' own name.
    pub(super) reserved_user: Option<&'r str>,
    pub(super) roles: &'r RoleTable,
    pub(super) headers: &'r IdentityHeaders,
    /// The issuer's name in the config.
    pub(super) issuer: Option<&'r Arc<str>>,
}

/// The caller whom claims that hold tell of.
pub(super) fn identity(claims: &Claims, rules: &Reader<'_>, credential: u128) -> Result<Identity, TokenFault> {
    let paths = rules.paths;
    let roles = list(claims, &paths.roles, Reading::OneValue)?;
    let permissions = list(claims, &paths.permissions, Reading::SplitAtSpaces)?;
    let scopes = list(claims, &paths.scopes, Reading::SplitAtSpaces)?;
    // The header joins scopes by spaces; one with a space would be two there (RFC 6749 §3.3).
    if scopes.iter().any(|scope| scope.as_str().contains(' ')) {
        return Err(TokenFault::BadClaim);
    }
    let user = user(claims, rules)?;
    let tenant = one(claims, &paths.tenant)?;
    let mut identity = Identity {
        method: rules.method,
        keys: CallerKeys::of(&user, tenant.as_ref(), credential),
        user,
        acting_for: None,
        tenant,
        client: one(claims, &paths.client)?,
        scopes,
        permissions: rules.roles.permissions(permissions, &roles),
        roles,
        tier: one(claims, &paths.tier)?.map(|tier| tier.as_str().into()),
        issuer: rules.issuer.cloned(),
        key_id: None,
        headers: Vec::new(),
    };
    let further = rules
        .headers
        .claims
        .iter()
        .map(|(_, path)| further_header(path, claims));
    let further = further.collect::<Result<Vec<_>, _>>()?;
    identity.headers = rules.headers.of(&identity, &further);
    if identity.headers.iter().any(|(_, value)| value.len() > MAX_HEADER_BYTES) {
        return Err(TokenFault::BadClaim);
    }
    Ok(identity)
}

fn user(claims: &Claims, rules: &Reader<'_>) -> Result<HeaderText, TokenFault> {
    let claim = first(claims, &rules.paths.user).ok_or(TokenFault::BadUser)?;
    let own = text(claim)?;
    if own.is_empty() {
        return Err(TokenFault::BadUser);
    }
    let user = HeaderText::new(&format!("{}{own}", rules.user_prefix)).ok_or(TokenFault::BadClaim)?;
    // An issuer, or whoever may choose a name there, must not make the internal callers' own.
    if rules.reserved_user == Some(user.as_str()) {
        return Err(TokenFault::BadUser);
    }
    Ok(user)
}

/// One value; `None`: it is not there.
pub(super) fn one(claims: &Claims, paths: &[ClaimPath]) -> Result<Option<HeaderText>, TokenFault> {
    let Some(claim) = first(claims, paths) else {
        return Ok(None);
    };
    HeaderText::new(&text(claim)?).map(Some).ok_or(TokenFault::BadClaim)
}

/// A string, or an integer, which many issuers have for ids.
fn text(claim: &Value) -> Result<Cow<'_, str>, TokenFault> {
    match claim {
        Value::String(text) => Ok(Cow::Borrowed(text)),
        Value::Number(number) if !number.is_f64() => Ok(Cow::Owned(number.to_string())),
        Value::Number(_) | Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(TokenFault::BadClaim)
        }
    }
}

/// How a string that stands where a list may is read.
#[derive(Clone, Copy)]
enum Reading {
    SplitAtSpaces,
    OneValue,
}

/// What all `paths` give, each item once, in order of first mention.
fn list(claims: &Claims, paths: &[ClaimPath], reading: Reading) -> Result<Vec<HeaderText>, TokenFault> {
    let mut all: Vec<HeaderText> = Vec::new();
    let mut add = |item: &str| {
        let item = HeaderText::item(item).ok_or(TokenFault::BadClaim)?;
        if !all.contains(&item) {
            all.push(item);
        }
        if all.len() > MAX_ITEMS {
            Err(TokenFault::BadClaim)
        } else {
            Ok(())
        }
    };
    for claim in present(claims, paths) {
        match (claim, reading) {
            (Value::String(items), Reading::SplitAtSpaces) => {
                items
                    .split(' ')
                    .filter(|item| !item.is_empty())
                    .try_for_each(&mut add)?;
            }
            (Value::String(item), Reading::OneValue) => add(item)?,
            (Value::Array(items), _) => {
                items
                    .iter()
                    .try_for_each(|item| add(item.as_str().ok_or(TokenFault::BadClaim)?))?;
            }
            (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_), _) => {
                return Err(TokenFault::BadClaim);
            }
        }
    }
    Ok(all)
}

/// The value of a further header: a string, an integer or a truth value. A list or an object is not one value.
fn further_header(path: &ClaimPath, claims: &Claims) -> Result<Option<HeaderText>, TokenFault> {
    match path.find(claims) {
        Some(Value::Bool(truth)) => Ok(HeaderText::new(if *truth { "true" } else { "false" })),
        _ => one(claims, std::slice::from_ref(path)),
    }
}

fn first<'c>(claims: &'c Claims, paths: &[ClaimPath]) -> Option<&'c Value> {
    present(claims, paths).next()
}

/// The claims at `paths` that are there; null is not.
fn present<'c>(claims: &'c Claims, paths: &[ClaimPath]) -> impl Iterator<Item = &'c Value> {
    paths
        .iter()
        .filter_map(|path| path.find(claims))
        .filter(|claim| !claim.is_null())
}
