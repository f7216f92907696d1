//! What a mode says of a request: who it is, and what it may do. The two answers that depend on the mode, and nothing else;
//! the enforced judgement, the shadow and `explain` all come here for them.

use std::sync::Arc;

use super::Policy;
use super::authn::api_key::{Found, KeyFault};
use super::credential::Credential;
use super::denial::{Code, Denial};
use super::facts::Facts;
use super::identity::{AuthMethod, Identity};
use super::judge::{Case, Evidence};
use super::token::TokenFault;

/// What a mode says of a request: who it is, and whether it may. Limits and bodies are not its affair, and nothing is counted.
#[derive(Debug)]
pub struct Opinion {
    /// The method that decided.
    pub method: AuthMethod,
    /// Who it is, as far as it was proven.
    pub identity: Option<Arc<Identity>>,
    /// Whether the route's requirement was judged, and held.
    pub permitted: Option<bool>,
    /// Why not.
    pub denial: Option<Denial>,
}

impl Opinion {
    /// Nobody's credential was even looked at.
    #[must_use]
    pub const fn refusal(denial: Denial) -> Self {
        Self {
            method: AuthMethod::None,
            identity: None,
            permitted: None,
            denial: Some(denial),
        }
    }
}

/// Judges who it is and what it may do: the two answers that depend on the mode.
#[must_use]
pub fn opine(policy: &Policy, facts: &Facts<'_>, case: &Case<'_, '_>, evidence: &Evidence) -> Opinion {
    let mut opinion = Opinion {
        method: case.presented.method,
        identity: None,
        permitted: None,
        denial: None,
    };
    // 401 or 503: who it is comes before what it may do.
    match authenticate(policy, facts, case, evidence) {
        Ok(identity) => opinion.identity = identity,
        Err(denial) => {
            opinion.denial = Some(denial);
            return opinion;
        }
    }
    // 403: only a proven caller is told that it lacks something.
    opinion.denial = authorise(facts, case, evidence, opinion.identity.as_deref()).err();
    opinion.permitted = Some(opinion.denial.is_none());
    opinion
}

fn authenticate(
    policy: &Policy,
    facts: &Facts<'_>,
    case: &Case<'_, '_>,
    evidence: &Evidence,
) -> Result<Option<Arc<Identity>>, Denial> {
    let now_s = facts.now.unix_s;
    match &case.presented.credential {
        Credential::Anonymous => Ok(None),
        Credential::Absent => Err(Denial::plain(Code::Unauthorized, "no_credential")),
        Credential::Token(_) => {
            let token = match evidence {
                Evidence::Token(Ok(token)) => token
                    .judge_time(now_s)
                    .and_then(|()| judge_place(case, facts, &token.identity))
                    .map(|()| token),
                Evidence::Token(Err(fault)) => Err(*fault),
                Evidence::Refused { denial, .. } => return Err(denial.clone()),
                // No evidence: nobody can say (fail closed).
                Evidence::None | Evidence::Key(_) => Err(TokenFault::KeysUnavailable),
            };
            token
                .map(|token| Some(token.identity.clone()))
                .map_err(TokenFault::denial)
        }
        Credential::ApiKey(key) => {
            let said = match evidence {
                Evidence::Key(evidence) => evidence.said.clone(),
                Evidence::Refused { denial, .. } => return Err(denial.clone()),
                Evidence::None | Evidence::Token(_) => match policy.api_keys.find(key) {
                    Found::Known(known) => Ok(known.clone()),
                    Found::Refused(fault) => Err(fault),
                    // Without his word nobody can say (fail closed).
                    Found::Remote(_) => Err(KeyFault::Unavailable),
                },
            };
            let owner = said.and_then(|known| known.judge_time(now_s).map(|()| known.identity.clone()));
            owner.map(Some).map_err(KeyFault::denial)
        }
        Credential::Internal(secret) => match &policy.internal {
            Some(callers) => callers.judge(secret, &facts.origin, facts.headers).map(Some),
            None => Err(Denial::plain(Code::InvalidInternalAuth, "internal_not_configured")),
        },
    }
}

/// An issuer's tokens hold in that issuer's places only: those of one that takes cookies make no cookie of another's a token.
fn judge_place(case: &Case<'_, '_>, facts: &Facts<'_>, identity: &Identity) -> Result<(), TokenFault> {
    let issuer = identity.issuer.as_deref().unwrap_or_default();
    let taken = case.presented.places.take(&case.route.token_places, issuer, facts);
    taken.then_some(()).ok_or(TokenFault::UnknownIssuer)
}

fn authorise(
    facts: &Facts<'_>,
    case: &Case<'_, '_>,
    evidence: &Evidence,
    identity: Option<&Identity>,
) -> Result<(), Denial> {
    let token = match (evidence, identity) {
        (Evidence::Token(Ok(token)), Some(identity)) if identity.method == AuthMethod::Jwt => Some(&**token),
        _ => None,
    };
    let segment = |name: &str| case.pattern.value(&facts.path, name);
    let asked = case
        .route
        .requirements
        .iter()
        .filter(|(methods, _)| methods.contain(facts.method));
    for (_, requirement) in asked {
        requirement.judge(identity, token, segment)?;
    }
    Ok(())
}
