//! The judge: two pure steps around the one wait. [`open`] says what must be known, [`decide`] says what happens.
//!
//! The order of the checks is the order of the contract's answers; the reason for each place stands beside it.

use std::sync::Arc;

use super::Policy;
use super::authn::api_key::{KeyFault, KnownKey};
use super::canary::Arm;
use super::credential::Presented;
use super::denial::{Challenge, Code, Denial, Tells};
use super::facts::Facts;
use super::identity::AuthMethod;
use super::limit::{Answer, Ask, Meter};
use super::mode::Mode;
use super::opinion::opine;
use super::path::PathFault;
use super::pattern::Pattern;
use super::route::Route;
use super::token::{TokenFault, VerifiedToken};
use super::verdict::{Allowances, Effect, Permit, Verdict};

mod limits;

pub use limits::{AuthFailures, limited};
use limits::{Held, asks};

/// A request that has a route, and whose credential was found but not judged.
#[derive(Debug)]
pub struct Case<'p, 'r> {
    /// The route.
    pub route: &'p Route,
    /// The mode that judges.
    pub mode: &'p Mode,
    /// The side of the route's canary, if it has one.
    pub arm: Option<Arm>,
    /// The route's pattern that matched.
    pub pattern: &'p Pattern,
    /// What was presented.
    pub presented: Presented<'r>,
    held: Held<'p>,
}

/// What the judge cannot know by itself, gathered before it decides.
#[derive(Debug, Clone)]
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

impl Evidence {
    /// Who knew the API key; where nobody was asked, the config.
    #[must_use]
    pub const fn known_by(&self) -> KnownBy {
        match self {
            Self::Key(KeyEvidence { by, .. }) | Self::Refused { by, .. } => *by,
            Self::None | Self::Token(_) => KnownBy::Config,
        }
    }
}

/// What is said of an API key, and by whom.
#[derive(Debug, Clone)]
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
    // Before any route is looked for: what the handshake opened is not open under another name (r40).
    if facts.is_misdirected() {
        return Err(Denial::plain(Code::MisdirectedRequest, "host_not_of_the_handshake").into());
    }
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
    let arm = route
        .canary
        .as_ref()
        .map(|canary| canary.arm(&policy.places, &route.token_places, facts));
    let mode = route.mode_on(arm);
    let on_route = |denial| Box::new(Refused::on(route, arm, denial));
    if facts.path.has_encoded_slash() && !route.allow_encoded_slash {
        return Err(on_route(encoded_slash()));
    }
    let presented = policy
        .places
        .presented(&mode.chain, &route.token_places, facts)
        .map_err(on_route)?;
    if !route.allows_from(facts.origin.client) {
        return Err(on_route(Denial::plain(Code::AddressNotAllowed, "address_not_allowed")));
    }
    let mut case = Case {
        route,
        mode,
        arm,
        pattern: &found.pattern,
        presented,
        held: Held::default(),
    };
    // Before a stranger can buy a key fetch or a signature check.
    let (own, shared) = asks(&route.address_limits, route, facts, None);
    case.held.later = shared;
    match case.held.ask(&own, meter, facts.now.monotonic_ns) {
        Ok(()) => Ok(case),
        Err(denial) => Err(Box::new(Refused {
            denial,
            route: Some(route),
            arm,
            allowances: case.held.allowances,
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
    /// The side of its canary.
    pub arm: Option<Arm>,
    /// What is left of its limits.
    pub allowances: Allowances<'a>,
}

impl<'a> Refused<'a> {
    /// On a route, before any limit counted.
    #[must_use]
    pub fn on(route: &'a Route, arm: Option<Arm>, denial: Denial) -> Self {
        Self {
            denial,
            route: Some(route),
            arm,
            allowances: Allowances::new(),
        }
    }
}

impl From<Denial> for Box<Refused<'_>> {
    fn from(denial: Denial) -> Self {
        Box::new(Refused {
            denial,
            route: None,
            arm: None,
            allowances: Allowances::new(),
        })
    }
}

/// Decides the case, but for the word of limits that gateways share: whoever concludes it asks for that.
pub fn decide<'p>(
    policy: &Policy,
    facts: &Facts<'_>,
    mut case: Case<'p, '_>,
    evidence: &Evidence,
    meter: &impl Meter,
) -> Undecided<'p> {
    let mut verdict = Verdict {
        route: &case.route.name,
        method: case.presented.method,
        arm: case.arm,
        identity: None,
        permitted: None,
        unfit: None,
        allowances: Allowances::new(),
        effect: Effect::Denial(Denial::plain(Code::Unauthorized, "undecided")),
    };
    let outcome = judge(policy, facts, &mut case, evidence, meter, &mut verdict);
    Undecided {
        verdict,
        outcome,
        ends_s: ends_s(case.route, evidence),
        route: case.route,
        pattern: case.pattern,
        held: case.held,
    }
}

/// A route may end with the token what the token let in.
fn ends_s(route: &Route, evidence: &Evidence) -> Option<i64> {
    let Evidence::Token(Ok(token)) = evidence else {
        return None;
    };
    route.close_on_expiry.then(|| token.ends_s())
}

fn judge<'p>(
    policy: &Policy,
    facts: &Facts<'_>,
    case: &mut Case<'p, '_>,
    evidence: &Evidence,
    meter: &impl Meter,
    verdict: &mut Verdict<'p>,
) -> Result<(), Denial> {
    let opinion = opine(policy, facts, case, evidence);
    verdict.identity = opinion.identity;
    verdict.permitted = opinion.permitted;
    if let Some(denial) = opinion.denial {
        verdict.unfit = Some(denial.code);
        // A wrong credential is counted, once; one too many is not worth an answer.
        let denial = match evidence {
            Evidence::Refused { .. } => denial,
            Evidence::None | Evidence::Token(_) | Evidence::Key(_) => {
                policy.count_failure(facts, opinion.method, denial, meter)
            }
        };
        return Err(challenge(case.mode, denial));
    }
    let route = case.route;
    // 413 before the limits: a refused request charges none of them.
    if route.max_body > 0 && facts.declared_length().is_some_and(|length| length > route.max_body) {
        return Err(Denial::plain(Code::BodyTooLarge, "content_length"));
    }
    // 429 last, and all or none.
    let (own, shared) = asks(&route.caller_limits, route, facts, verdict.identity.as_deref());
    case.held.ask(&own, meter, facts.now.monotonic_ns)?;
    case.held.later.extend(shared);
    Ok(())
}

/// A verdict that only the limits that gateways share can still turn into a refusal.
#[derive(Debug)]
#[must_use]
pub struct Undecided<'p> {
    verdict: Verdict<'p>,
    outcome: Result<(), Denial>,
    ends_s: Option<i64>,
    route: &'p Route,
    pattern: &'p Pattern,
    held: Held<'p>,
}

impl<'p> Undecided<'p> {
    /// The case's route.
    #[must_use]
    pub const fn route(&self) -> &'p Route {
        self.route
    }

    /// The limits to be asked, all together; often none.
    #[must_use]
    pub fn asks(&self) -> &[Ask<'p>] {
        &self.held.later
    }

    /// What it was granted so far: to be given back if nothing comes of it.
    #[must_use]
    pub const fn allowances(&self) -> &Allowances<'p> {
        &self.held.allowances
    }

    /// Their answer, and with it the verdict. A refusal stands before any other: limits by address come first, and those of the
    /// caller are asked only if nothing else refuses.
    pub fn conclude(mut self, answer: Answer, meter: &impl Meter, now_ns: u64) -> Verdict<'p> {
        let outcome = self.held.answered(answer, meter, now_ns).and(self.outcome);
        let mut verdict = self.verdict;
        verdict.allowances = self.held.allowances;
        verdict.effect = match outcome {
            Ok(()) => {
                let permit = Permit::new(self.route, self.pattern, verdict.identity.clone(), self.ends_s);
                Effect::Permit(permit)
            }
            Err(denial) => Effect::Denial(denial),
        };
        verdict
    }

    /// The verdict of a gateway that counts for itself alone.
    pub fn alone(self, meter: &impl Meter, now_ns: u64) -> Verdict<'p> {
        let answer = meter.admit(&self.held.later, now_ns);
        self.conclude(answer, meter, now_ns)
    }
}

/// RFC 9110 §11.6.1: a 401 says what would be accepted.
fn challenge(mode: &Mode, mut denial: Denial) -> Denial {
    let said = match denial.code {
        Code::InvalidToken | Code::TokenExpired | Code::TokenRevoked => {
            Challenge::InvalidToken(denial.code.description())
        }
        Code::Unauthorized | Code::InvalidApiKey | Code::InvalidInternalAuth if mode.takes_tokens() => {
            Challenge::Bearer
        }
        Code::Unauthorized | Code::InvalidApiKey | Code::InvalidInternalAuth => Challenge::ApiKey,
        _other_statuses => return denial,
    };
    denial.tells = Tells::Challenge(said);
    denial
}

impl<'p, 'r> Case<'p, 'r> {
    /// What the request presents to another chain of methods.
    ///
    /// # Errors
    /// 400 when that is ambiguous.
    pub fn presented_to(
        &self,
        policy: &Policy,
        facts: &Facts<'r>,
        chain: &[AuthMethod],
    ) -> Result<Presented<'r>, Denial> {
        policy.places.presented(chain, &self.route.token_places, facts)
    }

    /// The case as the shadow's mode sees it, with what it was presented. It charges nothing.
    #[must_use]
    pub fn of_shadow(&self, mode: &'p Mode, presented: Presented<'r>) -> Self {
        Self {
            route: self.route,
            mode,
            arm: None,
            pattern: self.pattern,
            presented,
            held: Held::default(),
        }
    }
}

impl<'p> Case<'p, '_> {
    /// Limits by address that gateways share. They are to be asked before anything is bought for this request; where nothing is,
    /// they can wait for the caller's.
    #[must_use]
    pub fn asks(&self) -> &[Ask<'p>] {
        &self.held.later
    }

    /// The answer of those limits.
    ///
    /// # Errors
    /// One of them refused.
    pub fn answered(&mut self, answer: Answer, meter: &impl Meter, now_ns: u64) -> Result<(), Denial> {
        self.held.answered(answer, meter, now_ns)
    }

    /// What it was granted so far: to be given back if nothing comes of it.
    #[must_use]
    pub const fn allowances(&self) -> &Allowances<'p> {
        &self.held.allowances
    }
}
