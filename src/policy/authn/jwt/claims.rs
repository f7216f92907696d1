//! From claims to the caller they prove. Each claim that becomes a header is one header-safe value, or the token is
//! refused; nothing is cut, replaced or left out. Depends on `policy::identity` and `policy::token`.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::policy::identity::{AuthMethod, CallerKeys, ClaimPath, HeaderText, Identity};
use crate::policy::token::{TokenFault, TokenRules};

type Claims = Map<String, Value>;

/// Most scopes, permissions or roles of a token.
const MAX_ITEMS: usize = 256;

/// The longest identity header, in bytes: more than servers take is better refused here.
const MAX_HEADER_BYTES: usize = 8 * 1024;

/// The caller of a token whose signature and registered claims hold.
pub(super) fn identity(claims: &Claims, rules: &TokenRules, credential: u128) -> Result<Identity, TokenFault> {
    let paths = &rules.claims;
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
        method: AuthMethod::Jwt,
        keys: CallerKeys::of(&user, tenant.as_ref(), credential),
        user,
        acting_for: None,
        tenant,
        client: one(claims, &paths.client)?,
        scopes,
        permissions: rules.roles.permissions(permissions, &roles),
        roles,
        tier: one(claims, &paths.tier)?.map(|tier| tier.as_str().into()),
        issuer: Some(rules.name.clone()),
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

fn user(claims: &Claims, rules: &TokenRules) -> Result<HeaderText, TokenFault> {
    let claim = first(claims, &rules.claims.user).ok_or(TokenFault::BadUser)?;
    let own = text(claim)?;
    if own.is_empty() {
        return Err(TokenFault::BadUser);
    }
    let user = HeaderText::new(&format!("{}{own}", rules.user_prefix)).ok_or(TokenFault::BadClaim)?;
    // An issuer, or whoever may choose a name there, must not make the internal callers' own.
    if rules.reserved_user.as_deref() == Some(user.as_str()) {
        return Err(TokenFault::BadUser);
    }
    Ok(user)
}

fn one(claims: &Claims, paths: &[ClaimPath]) -> Result<Option<HeaderText>, TokenFault> {
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
