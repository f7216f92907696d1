//! The request, led past the same judges as in a running gateway, and what each said.

use std::net::IpAddr;

use http::StatusCode;

use crate::compile::Compiled;
use crate::config::model::{Config, Listener};
use crate::policy::action::{Action, Target};
use crate::policy::authz::Requirement;
use crate::policy::canary::Arm;
use crate::policy::credential::Credential;
use crate::policy::facts::{Facts, Now, Transport};
use crate::policy::identity::{AuthMethod, Identity};
use crate::policy::judge::{self, Case, Evidence, Refused};
use crate::policy::limit::DryMeter;
use crate::policy::preflight::{Preflight, preflight};
use crate::policy::route::Route;
use crate::policy::shadow::{self, Shadowed};
use crate::policy::token::VerifiedToken;
use crate::policy::verdict::{Effect, Permit};

use super::evidence::{Keys, Missing};
use super::report::{Answered, CanarySaid, Decision, LimitSaid, Outcome, Report, Required, ShadowSaid, Step, Who};
use super::request::{Request, Written};

/// A gateway as it would be, at one listener and one time.
pub(super) struct Gateway<'c> {
    pub(super) config: &'c Config,
    pub(super) compiled: &'c Compiled,
    pub(super) listener: &'c Listener,
    /// The listener's.
    pub(super) place: usize,
    pub(super) now: Now,
    /// Counts nothing.
    pub(super) meter: DryMeter,
}

impl Gateway<'_> {
    /// The verdict on a request. A bare path fits any host: where only routes of named hosts serve it, the first of them is asked.
    pub(super) fn explain(&self, written: &Written, from: IpAddr, keys: &Keys) -> Report {
        let (report, elsewhere) = self.judge(written, from, keys);
        match elsewhere {
            Some(host) if !written.has_host() => {
                let (mut report, _) = self.judge(&written.at(&host), from, keys);
                report.assumed_host = Some(host);
                report
            }
            _ => report,
        }
    }

    /// The verdict, and if nothing is served there, a host at which something is.
    fn judge(&self, written: &Written, from: IpAddr, keys: &Keys) -> (Report, Option<String>) {
        let mut report = Report::new(&self.listener.name, from);
        let policy = &self.compiled.policy;
        let request = match written.read(self.listener) {
            Ok(request) => request,
            Err(denial) => return (report.denied(&denial), None),
        };
        let Some((trust, _)) = policy.listeners.get(self.place) else {
            return (report, None);
        };
        let origin = trust.origin(from, &request.headers);
        report.client = origin.client;
        let facts = Facts::read(
            &request.method,
            &request.target,
            &request.headers,
            origin,
            self.place,
            self.now,
        );
        let server_name = written.server_name();
        let facts = match facts {
            Ok(facts) => facts.over(self.transport(server_name.as_deref())),
            Err(denial) => return (report.denied(&denial), None),
        };
        let elsewhere = self.find_route(&mut report, &facts);
        match preflight(policy, &facts) {
            Ok(None) => {}
            Ok(Some(preflight)) => return (report.preflight(&preflight), None),
            Err(refused) => return (report.refused(&refused), elsewhere),
        }
        let case = match judge::open(policy, &facts, &self.meter) {
            Ok(case) => case,
            Err(refused) => return (report.refused(&refused), elsewhere),
        };
        report.say_arm(case.route, case.arm);
        let report = match keys.gather(self.compiled, &facts, &case) {
            Ok(evidence) => {
                report.revocation = keys.revocation(self.compiled, &case.presented.credential);
                let at_hand = |asked: &Case<'_, '_>| keys.gather(self.compiled, &facts, asked);
                let shadowed = shadow::judge(policy, &facts, &case, &evidence, at_hand);
                self.decide(report, &request, &facts, case, &evidence, shadowed)
            }
            Err(Missing(what)) => {
                report.chain = chain(&case, |method| step(method, Outcome::Unknown));
                report.say_requirements(case.route, &facts, |_| None);
                report.say_limits(case.route, None);
                report.missing = Some(what);
                report
            }
        };
        (report, None)
    }

    /// What a client that asks for `server_name` would come over.
    fn transport<'r>(&self, server_name: Option<&'r str>) -> Transport<'r> {
        if self.listener.certificates.is_empty() {
            return Transport::Plain;
        }
        Transport::Tls {
            server_name,
            client_certificates: self.listener.client_auth.is_some(),
        }
    }

    fn decide(
        &self,
        mut report: Report,
        request: &Request,
        facts: &Facts<'_>,
        case: Case<'_, '_>,
        evidence: &Evidence,
        shadowed: Result<Option<Shadowed>, Missing>,
    ) -> Report {
        let (route, pattern) = (case.route, case.pattern);
        let mut chain = chain(&case, |method| step(method, Outcome::Rejected));
        let verdict = judge::decide(&self.compiled.policy, facts, case, evidence, &self.meter)
            .alone(&self.meter, facts.now.monotonic_ns);
        let identity = verdict.identity.as_deref();
        let presented = chain.iter_mut().find(|step| step.outcome == Outcome::Rejected);
        if let Some(step) = presented {
            match (&verdict.effect, identity) {
                (_, Some(identity)) => accept(step, identity),
                // Anonymous callers are let in by `none`, and may still lack something.
                (_, None) if step.method == AuthMethod::None.name() => {
                    step.outcome = Outcome::Accepted;
                    step.proved = Some("anonymous".to_owned());
                }
                (Effect::Denial(denial), None) => step.detail = Some(denial.detail.to_owned()),
                (Effect::Permit(_), None) => {}
            }
        }
        report.chain = chain;
        report.shadow = route.shadow.as_ref().and_then(|mode| match shadowed {
            Ok(shadowed) => Some(ShadowSaid::of(&mode.name, &shadowed?, &verdict)),
            Err(Missing(what)) => Some(ShadowSaid::unknown(&mode.name, what)),
        });
        report.identity = identity.map(Who::of);
        report.revocation = report.revocation.filter(|_| identity.is_some());
        report.say_limits(route, identity.and_then(|identity| identity.tier.as_deref()));
        report.say_requirements(route, facts, |alone| {
            verdict.permitted?;
            let token = proof(evidence, identity);
            Some(
                alone
                    .judge(identity, token, |name| pattern.value(&facts.path, name))
                    .is_ok(),
            )
        });
        match verdict.effect {
            Effect::Denial(denial) => report.denied(&denial),
            Effect::Permit(permit) => self.act(report, request, facts, &permit),
        }
    }

    /// What is then done.
    fn act(&self, mut report: Report, request: &Request, facts: &Facts<'_>, permit: &Permit<'_>) -> Report {
        match &permit.route().action {
            Action::Forward(to) => report.upstream = self.sent(request, facts, permit, to),
            Action::Respond(fixed) => report.answer = Some(Answered::new(fixed.status, &fixed.headers(), &fixed.body)),
            Action::Redirect(redirect) => {
                let target = Target {
                    // A bare path has none to be told of.
                    host: Some(facts.host.as_deref().unwrap_or("(host)")),
                    ..facts.target(permit.pattern())
                };
                let headers = redirect.headers(&target).unwrap_or_default();
                report.answer = Some(Answered::new(redirect.status, &headers, &[]));
            }
        }
        report.decision = Decision::Allow;
        report
    }
}

impl Report {
    /// Refused before anybody is asked who is calling.
    fn refused(mut self, refused: &Refused<'_>) -> Self {
        match refused.route {
            None => (self.route, self.path, self.mode) = (None, None, None),
            Some(route) => {
                self.name(route, refused.arm);
                self.say_limits(route, None);
            }
        }
        self.denied(&refused.denial)
    }

    /// The gateway answers by itself, as the route of the request says that is asked for.
    fn preflight(mut self, preflight: &Preflight<'_>) -> Self {
        self.path = Some(preflight.pattern.to_string());
        self.name(preflight.route, None);
        self.near_misses.retain(|miss| *miss.route != *preflight.route.name);
        let headers = preflight.cross_origin.preflight();
        self.answer = Some(Answered::new(StatusCode::NO_CONTENT, &headers, &[]));
        self.decision = Decision::Allow;
        self
    }

    /// The route, none of whose methods was asked.
    fn name(&mut self, route: &Route, arm: Option<Arm>) {
        self.route = Some(route.name.to_string());
        self.say_arm(route, arm);
        let steps = route.mode_on(arm).chain.iter();
        self.chain = steps.map(|method| step(*method, Outcome::NotReached)).collect();
    }

    fn say_arm(&mut self, route: &Route, arm: Option<Arm>) {
        self.mode = Some(route.mode_on(arm).name.to_string());
        self.canary = route.canary.as_ref().zip(arm).map(|(canary, arm)| CanarySaid {
            mode: canary.mode.name.to_string(),
            percent: canary.percent,
            arm: arm.name(),
        });
    }

    fn say_limits(&mut self, route: &Route, tier: Option<&str>) {
        self.limits = route.limits().map(|limit| LimitSaid::of(limit, tier)).collect();
    }

    fn say_requirements(&mut self, route: &Route, facts: &Facts<'_>, met: impl Fn(&Requirement) -> Option<bool>) {
        let asked = route
            .requirements
            .iter()
            .filter(|(methods, _)| methods.contain(facts.method));
        let parts = asked.flat_map(|(_, requirement)| requirement.parts());
        self.requirements = parts
            .map(|part| Required {
                met: met(&part.alone),
                require: part.key,
                wanted: part.wanted,
            })
            .collect();
    }
}

/// The steps of the chain; `presented` is what is said of the one whose credential is there.
fn chain(case: &Case<'_, '_>, presented: impl Fn(AuthMethod) -> Step) -> Vec<Step> {
    let chosen = match case.presented.credential {
        Credential::Absent => None,
        Credential::Token(_) | Credential::ApiKey(_) | Credential::Internal(_) | Credential::Anonymous => case
            .mode
            .chain
            .iter()
            .position(|method| *method == case.presented.method),
    };
    let steps = case.mode.chain.iter().enumerate().map(|(place, method)| match chosen {
        Some(chosen) if place == chosen => presented(*method),
        Some(chosen) if place > chosen => step(*method, Outcome::NotReached),
        Some(_) | None => step(*method, Outcome::Absent),
    });
    steps.collect()
}

fn step(method: AuthMethod, outcome: Outcome) -> Step {
    Step {
        method: method.name(),
        outcome,
        proved: None,
        detail: None,
    }
}

fn accept(step: &mut Step, identity: &Identity) {
    step.outcome = Outcome::Accepted;
    step.proved = Some(identity.user.as_str().to_owned());
    let key = identity.key_id.as_ref().map(|key| format!("key {key}"));
    let issuer = identity.issuer.as_ref().map(|issuer| format!("issuer {issuer}"));
    let acting = identity
        .acting_for
        .as_ref()
        .map(|user| format!("acting for {}", user.as_str()));
    step.detail = key.or(issuer).or(acting);
}
/// The token that proves `identity`, if it was one.
fn proof<'e>(evidence: &'e Evidence, identity: Option<&Identity>) -> Option<&'e VerifiedToken> {
    match (evidence, identity) {
        (Evidence::Token(Ok(token)), Some(identity)) if identity.method == AuthMethod::Jwt => Some(&**token),
        _ => None,
    }
}
