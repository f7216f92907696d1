//! The judge: two pure steps around the one wait. [`open`] says what must be known, [`decide`] says what happens.
//!
//! The order of the checks is the order of the contract's answers; the reason for each place stands beside it.

use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use smallvec::SmallVec;

use super::Policy;
use super::authn::api_key::{Found, KeyFault, KnownKey};
use super::credential::{Credential, Presented};
use super::denial::{Challenge, Code, Denial, Tells};
use super::facts::Facts;
use super::identity::{AuthMethod, Identity};
use super::limit::{BucketKey, Limit, LimitId, Meter, Quota};
use super::path::PathFault;
use super::pattern::Pattern;
use super::route::Route;
use super::token::{TokenFault, VerifiedToken};
use super::verdict::{Allowance, Allowances, Effect, Permit, Verdict};

/// A request that has a route, and whose credential was found but not judged.
#[derive(Debug)]
pub struct Case<'p, 'r> {
    /// The route.
    pub route: &'p Route,
    /// Its pattern that matched.
    pub pattern: &'p Pattern,
    /// What was presented.
    pub presented: Presented<'r>,
    charges: SmallVec<[Charge<'p>; 2]>,
    allowances: Allowances<'p>,
}

/// What the judge cannot know by itself, gathered before it decides.
#[derive(Debug)]
pub enum Evidence {
    /// Nothing was needed.
    None,
    /// What the token's issuer says of it.
    Token(Result<Arc<VerifiedToken>, TokenFault>),
    /// What is said of the API key.
    Key(KeyEvidence),
    /// It is refused already, and counted: too many failures came from there for anybody to be asked, or this one was counted
    /// before it was asked about.
    Refused {
        /// Why.
        denial: Denial,
        /// Who says so, of an API key.
        by: KnownBy,
    },
}

/// What is said of an API key, and by whom.
#[derive(Debug)]
pub struct KeyEvidence {
    /// Its owner, or why it has none.
    pub said: Result<Arc<KnownKey>, KeyFault>,
    /// Who says so.
    pub by: KnownBy,
}

/// Who knew an API key: the `source` of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KnownBy {
    /// The list in the config.
    Config,
    /// This process's cache.
    Cache,
    /// The cache that gateways share.
    Shared,
    /// The auth service.
    Remote,
    /// The cache, since the auth service could not be asked.
    Stale,
}

/// A charge that can be taken back.
#[derive(Debug)]
struct Charge<'a> {
    limit: LimitId,
    key: BucketKey,
    quota: &'a Quota,
}

/// Opens the case.
///
/// # Errors
/// The first refusal that needs no identity.
pub fn open<'p, 'r>(
    policy: &'p Policy,
    facts: &Facts<'r>,
    meter: &impl Meter,
) -> Result<Case<'p, 'r>, Box<Refused<'p>>> {
    // Two credentials in one header are ambiguous on any route, also where nobody would look at them (r05).
    policy.places.refuse_duplicates(facts.headers)?;
    // Only a route can say that `%2F` may be part of a segment.
    let encoded_slash = || Denial::malformed(PathFault::EncodedSlash.name());
    let found = policy.table(facts.listener).find(facts).map_err(|denial| {
        let no_route = denial.code == Code::NoRoute;
        if no_route && facts.path.has_encoded_slash() {
            encoded_slash()
        } else {
            denial
        }
    })?;
    let route = policy
        .routes
        .get(found.route)
        .ok_or(Denial::plain(Code::NoRoute, "no_route"))?;
    let on_route = |denial| {
        Box::new(Refused {
            denial,
            route: Some(route),
            allowances: Allowances::new(),
        })
    };
    if facts.path.has_encoded_slash() && !route.allow_encoded_slash {
        return Err(on_route(encoded_slash()));
    }
    let presented = policy
        .places
        .presented(&route.chain, &route.token_sources, facts.headers)
        .map_err(on_route)?;
    if !route.allowed_from.is_empty() && !route.allowed_from.contain(facts.origin.client) {
        return Err(on_route(Denial::plain(Code::AddressNotAllowed, "address_not_allowed")));
    }
    let mut case = Case {
        route,
        pattern: &found.pattern,
        presented,
        charges: SmallVec::new(),
        allowances: Allowances::new(),
    };
    // Before a stranger can buy a key fetch or a signature check.
    match case.charge(&route.address_limits, facts, None, meter) {
        Ok(()) => Ok(case),
        Err(denial) => Err(Box::new(Refused {
            denial,
            route: Some(route),
            allowances: case.allowances,
        })),
    }
}

/// A case that was refused at once.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Why.
    pub denial: Denial,
    /// The route, if one was found.
    pub route: Option<&'a Route>,
    /// What is left of its limits.
    pub allowances: Allowances<'a>,
}

impl From<Denial> for Box<Refused<'_>> {
    fn from(denial: Denial) -> Self {
        Box::new(Refused {
            denial,
            route: None,
            allowances: Allowances::new(),
        })
    }
}

/// Decides the case.
pub fn decide<'p>(
    policy: &Policy,
    facts: &Facts<'_>,
    mut case: Case<'p, '_>,
    evidence: &Evidence,
    meter: &impl Meter,
) -> Verdict<'p> {
    let mut verdict = Verdict {
        method: case.presented.method,
        identity: None,
        permitted: None,
        allowances: Allowances::new(),
        effect: Effect::Denial(Denial::plain(Code::Unauthorized, "undecided")),
    };
    let outcome = judge(policy, facts, &mut case, evidence, meter, &mut verdict);
    verdict.allowances = std::mem::take(&mut case.allowances);
    verdict.effect = match outcome {
        Ok(()) => Effect::Permit(Permit::new(case.route, verdict.identity.clone())),
        Err(denial) => Effect::Denial(denial),
    };
    verdict
}

fn judge<'p>(
    policy: &Policy,
    facts: &Facts<'_>,
    case: &mut Case<'p, '_>,
    evidence: &Evidence,
    meter: &impl Meter,
    verdict: &mut Verdict<'p>,
) -> Result<(), Denial> {
    let route = case.route;
    // 401 or 503: who it is comes before what it may do.
    verdict.identity = authenticate(policy, facts, case, evidence)
        .map_err(|denial| match evidence {
            Evidence::Refused { .. } => denial,
            Evidence::None | Evidence::Token(_) | Evidence::Key(_) => {
                policy.count_failure(facts, case.presented.method, denial, meter)
            }
        })
        .map_err(|denial| challenge(route, denial))?;
    // 403: only a proven caller is told that it lacks something.
    let authorised = authorise(facts, case, evidence, verdict.identity.as_deref());
    verdict.permitted = Some(authorised.is_ok());
    authorised?;
    // 413 before the limits: a refused request charges none of them.
    refuse_long_body(route, facts)?;
    // 429 last, and all or none.
    case.charge(&route.caller_limits, facts, verdict.identity.as_deref(), meter)
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
                Evidence::Token(Ok(token)) => token.judge_time(now_s).map(|()| token),
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

/// RFC 9110 §11.6.1: a 401 says what would be accepted.
fn challenge(route: &Route, mut denial: Denial) -> Denial {
    let said = match denial.code {
        Code::InvalidToken | Code::TokenExpired => Challenge::InvalidToken(denial.code.description()),
        Code::Unauthorized | Code::InvalidApiKey | Code::InvalidInternalAuth if route.takes_tokens() => {
            Challenge::Bearer
        }
        Code::Unauthorized | Code::InvalidApiKey | Code::InvalidInternalAuth => Challenge::ApiKey,
        _other_statuses => return denial,
    };
    denial.tells = Tells::Challenge(said);
    denial
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

fn refuse_long_body(route: &Route, facts: &Facts<'_>) -> Result<(), Denial> {
    if route.max_body == 0 {
        return Ok(());
    }
    let declared = facts
        .headers
        .get(CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > route.max_body) {
        return Err(Denial::plain(Code::BodyTooLarge, "content_length"));
    }
    Ok(())
}

impl<'p> Case<'p, '_> {
    /// Judges all of `limits` and counts the request in each, or in none: on a refusal every charge of this request is taken back.
    fn charge(
        &mut self,
        limits: &'p [Arc<Limit>],
        facts: &Facts<'_>,
        identity: Option<&Identity>,
        meter: &impl Meter,
    ) -> Result<(), Denial> {
        for limit in limits {
            let tier = identity.and_then(|identity| identity.tier.as_deref());
            let Some(plan) = limit.plan_for(tier) else { continue };
            let key = limit.bucket(facts, self.route.key, identity);
            match meter.charge(limit.id, key, &plan.quota, facts.now.monotonic_ns) {
                Ok(left) => {
                    self.charges.push(Charge {
                        limit: limit.id,
                        key,
                        quota: &plan.quota,
                    });
                    self.allowances.push(Allowance { limit, plan, left });
                }
                Err(wait) => {
                    for charge in self.charges.drain(..) {
                        meter.refund(charge.limit, charge.key, charge.quota);
                    }
                    let left = super::limit::Left {
                        remaining: 0,
                        reset_s: wait.seconds(),
                    };
                    self.allowances.clear();
                    self.allowances.push(Allowance { limit, plan, left });
                    return Err(limited(limit, wait.seconds()));
                }
            }
        }
        Ok(())
    }
}

/// The refusal by an exhausted limit.
#[must_use]
pub fn limited(limit: &Limit, seconds: u64) -> Denial {
    Denial {
        code: Code::RateLimited,
        detail: "limit_exhausted",
        tells: Tells::RetryAfter {
            seconds,
            limit: limit.name.clone(),
        },
        missing: None,
    }
}
