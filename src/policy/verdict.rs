//! The judgement as a value: what the real path, `explain`, metrics and the access log all read.

use std::sync::Arc;

use smallvec::SmallVec;

use super::canary::Arm;
use super::denial::{Code, Denial};
use super::identity::{AuthMethod, Identity};
use super::limit::{Charge, Left, Limit, Plan};
use super::pattern::Pattern;
use super::route::Route;

/// What was decided about a request, and why.
#[derive(Debug)]
pub struct Verdict<'a> {
    /// The route's name.
    pub route: &'a str,
    /// The method that decided.
    pub method: AuthMethod,
    /// The side of the route's canary, if it has one.
    pub arm: Option<Arm>,
    /// Who it is, as far as it was proven: also of a caller that was then refused.
    pub identity: Option<Arc<Identity>>,
    /// Whether the route's requirement was judged, and held.
    pub permitted: Option<bool>,
    /// Why the mode itself refused, before failures, bodies and limits were counted; `None`: it did not.
    pub unfit: Option<Code>,
    /// What is left of each limit that counted the request; of a refused one, the limits that refused it.
    pub allowances: Allowances<'a>,
    /// What happens now.
    pub effect: Effect<'a>,
}

/// Limits that counted a request.
pub type Allowances<'a> = SmallVec<[Allowance<'a>; 2]>;

/// What is left of one limit.
#[derive(Debug, Clone, Copy)]
pub struct Allowance<'a> {
    /// The limit.
    pub limit: &'a Arc<Limit>,
    /// The plan of this caller.
    pub plan: &'a Plan,
    /// What is left.
    pub left: Left,
    /// Where the request was counted; `None`: this limit refused it.
    pub charge: Option<Charge>,
}

/// Allow or deny.
#[derive(Debug)]
pub enum Effect<'a> {
    /// The request may be forwarded.
    Permit(Permit<'a>),
    /// The request is answered with a refusal.
    Denial(Denial),
}

/// Proof that a request was judged and allowed. Only [`super::judge`] makes one; forwarding takes it by value.
#[derive(Debug)]
pub struct Permit<'a> {
    route: &'a Route,
    pattern: &'a Pattern,
    identity: Option<Arc<Identity>>,
    ends_s: Option<i64>,
}

impl<'a> Permit<'a> {
    /// INVARIANT: called by the judge only, once everything held.
    pub(super) const fn new(
        route: &'a Route,
        pattern: &'a Pattern,
        identity: Option<Arc<Identity>>,
        ends_s: Option<i64>,
    ) -> Self {
        Self {
            route,
            pattern,
            identity,
            ends_s,
        }
    }

    /// The route that allowed it.
    #[must_use]
    pub const fn route(&self) -> &'a Route {
        self.route
    }

    /// Its pattern that matched.
    #[must_use]
    pub const fn pattern(&self) -> &'a Pattern {
        self.pattern
    }

    /// The Unix second at which what it lets in must end; `None`: in its own time.
    #[must_use]
    pub const fn ends_s(&self) -> Option<i64> {
        self.ends_s
    }

    /// Who is let in; `None`: an anonymous caller.
    #[must_use]
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_deref()
    }
}
