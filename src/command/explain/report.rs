//! What `explain` says, as plain values: the text and the JSON are both made of it. Field names are the JSON's and do not change.

use std::net::IpAddr;

use http::{HeaderMap, StatusCode};
use serde::Serialize;

use crate::policy::denial::{Code, Denial, Tells};
use crate::policy::identity::{AuthMethod, HeaderText, Identity};
use crate::policy::limit::Limit;
use crate::policy::shadow::{Difference, Shadowed};
use crate::policy::verdict::Verdict;

/// Everything that is said.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) decision: Decision,
    /// Of a refusal.
    pub(super) status: Option<u16>,
    /// The `error` of the answer.
    pub(super) error: Option<String>,
    /// The exact cause, which the client is not told.
    pub(super) detail: Option<String>,
    /// The limit that refused.
    pub(super) limit: Option<String>,
    /// In seconds, until it would not.
    pub(super) retry_after: Option<u64>,
    /// What is needed to tell.
    pub(super) missing: Option<String>,
    pub(super) listener: String,
    /// The client's address, as the listener sees it.
    pub(super) client: IpAddr,
    /// The host that a bare path was judged for, since only routes of named hosts serve it.
    pub(super) assumed_host: Option<String>,
    pub(super) route: Option<String>,
    /// The pattern that matched.
    pub(super) path: Option<String>,
    /// The route's auth mode.
    pub(super) mode: Option<String>,
    pub(super) canary: Option<CanarySaid>,
    pub(super) near_misses: Vec<NearMiss>,
    pub(super) chain: Vec<Step>,
    pub(super) shadow: Option<ShadowSaid>,
    pub(super) identity: Option<Who>,
    /// Whether what the shared store revokes was looked at, for a caller that was proven.
    pub(super) revocation: Option<Revocation>,
    pub(super) requirements: Vec<Required>,
    pub(super) limits: Vec<LimitSaid>,
    pub(super) upstream: Option<Sent>,
    /// What the gateway would answer by itself.
    pub(super) answer: Option<Answered>,
    /// The access line that is explained.
    pub(super) logged: Option<serde_json::Value>,
}

/// The verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decision {
    Allow,
    Deny,
    Unknown,
}

/// A route that did not take the request.
#[derive(Debug, Serialize)]
pub(super) struct NearMiss {
    pub(super) route: String,
    /// `method`, `less_specific`, `host`, `path` or `listener`.
    pub(super) reason: &'static str,
    pub(super) text: String,
}

/// The route's canary, and where this caller stands.
#[derive(Debug, Serialize)]
pub(super) struct CanarySaid {
    pub(super) mode: String,
    pub(super) percent: f64,
    /// `canary` or `stable`.
    pub(super) arm: &'static str,
}

/// What the route's shadow says of the request.
#[derive(Debug, Serialize)]
pub(super) struct ShadowSaid {
    pub(super) mode: String,
    pub(super) decision: Decision,
    /// The `error` by which it would refuse.
    pub(super) error: Option<&'static str>,
    pub(super) detail: Option<&'static str>,
    /// Whom it would let in, or proved and would refuse.
    pub(super) user: Option<String>,
    /// `same`, `would_deny`, `would_allow` or `other_identity`.
    pub(super) difference: Option<&'static str>,
    /// The method whose good credential a failed one before it hides.
    pub(super) hidden: Option<&'static str>,
    /// What is needed to tell.
    pub(super) missing: Option<String>,
}

impl ShadowSaid {
    pub(super) fn unknown(mode: &str, missing: String) -> Self {
        Self {
            mode: mode.to_owned(),
            decision: Decision::Unknown,
            error: None,
            detail: None,
            user: None,
            difference: None,
            hidden: None,
            missing: Some(missing),
        }
    }

    pub(super) fn of(mode: &str, shadowed: &Shadowed, verdict: &Verdict<'_>) -> Self {
        let opinion = &shadowed.opinion;
        let difference = Difference::between(
            (verdict.unfit, verdict.identity.as_deref()),
            (shadowed.code(), opinion.identity.as_deref()),
        );
        Self {
            mode: mode.to_owned(),
            decision: if opinion.denial.is_some() {
                Decision::Deny
            } else {
                Decision::Allow
            },
            error: shadowed.code().map(Code::name),
            detail: opinion.denial.as_ref().map(|denial| denial.detail),
            user: shadowed.user().map(|user| user.as_str().to_owned()),
            difference: Some(difference.name()),
            hidden: shadowed.hidden.map(AuthMethod::name),
            missing: None,
        }
    }
}

/// A step of the chain.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) method: &'static str,
    pub(super) outcome: Outcome,
    /// Whom it proved.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub(super) proved: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<String>,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Absent,
    Accepted,
    Rejected,
    Unknown,
    NotReached,
}

/// An identity.
#[derive(Debug, Serialize)]
pub(super) struct Who {
    method: &'static str,
    user: String,
    acting_for: Option<String>,
    tenant: Option<String>,
    client: Option<String>,
    scopes: Vec<String>,
    permissions: Vec<String>,
    roles: Vec<String>,
    tier: Option<String>,
    issuer: Option<String>,
    key_id: Option<String>,
}

impl Who {
    pub(super) fn of(identity: &Identity) -> Self {
        let text = |text: &HeaderText| text.as_str().to_owned();
        let list = |texts: &[HeaderText]| texts.iter().map(text).collect();
        Self {
            method: identity.method.name(),
            user: text(&identity.user),
            acting_for: identity.acting_for.as_ref().map(text),
            tenant: identity.tenant.as_ref().map(text),
            client: identity.client.as_ref().map(text),
            scopes: list(&identity.scopes),
            permissions: list(&identity.permissions),
            roles: list(&identity.roles),
            tier: identity.tier.as_deref().map(str::to_owned),
            issuer: identity.issuer.as_deref().map(str::to_owned),
            key_id: identity.key_id.as_deref().map(str::to_owned),
        }
    }
}

/// Whether the shared store was asked what is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Revocation {
    /// It was, and does not revoke the caller.
    Asked,
    /// It was not, and may revoke the caller.
    NotAsked,
}

/// One thing that the route requires of this request.
#[derive(Debug, Serialize)]
pub(super) struct Required {
    /// The key in the config.
    pub(super) require: &'static str,
    /// Any one of these.
    pub(super) wanted: Vec<String>,
    /// `None`: it did not come to that.
    pub(super) met: Option<bool>,
}

/// A limit that would count the request.
#[derive(Debug, Serialize)]
pub(super) struct LimitSaid {
    pub(super) name: String,
    pub(super) by: String,
    /// `120/min`, or `unlimited`.
    pub(super) rate: String,
    pub(super) burst: Option<u32>,
    /// Statuses of answers that it counts; empty: all.
    pub(super) charge_on: Vec<u16>,
    /// It counts tokens of answers, not requests.
    pub(super) tokens: bool,
    /// The caller's tier, if the limit has a rate of its own for it.
    pub(super) tier: Option<String>,
}

impl LimitSaid {
    pub(super) fn of(limit: &Limit, tier: Option<&str>) -> Self {
        let plan = limit.plan_for(tier);
        let listed = tier.filter(|tier| limit.tiers.iter().any(|(name, _)| **name == **tier));
        Self {
            name: limit.name.to_string(),
            by: limit.by.to_string(),
            rate: plan.map_or_else(|| "unlimited".to_owned(), |plan| plan.measure.to_string()),
            burst: plan.and_then(|plan| plan.measure.burst()),
            charge_on: limit.charge_on.clone(),
            tokens: limit.counts_tokens(),
            tier: listed.map(str::to_owned),
        }
    }
}

/// The head that the upstream would get.
#[derive(Debug, Serialize)]
pub(super) struct Sent {
    pub(super) name: String,
    /// Its first endpoint.
    pub(super) url: String,
    /// That and the target: where the request goes.
    pub(super) full_url: String,
    pub(super) method: String,
    pub(super) target: String,
    /// Name and value, in no particular order across names.
    pub(super) headers: Vec<(String, String)>,
    /// Those of them that the client did not send, or not with that value.
    pub(super) added: Vec<(String, String)>,
    /// Names of the client's headers that do not go on as they came.
    pub(super) removed: Vec<String>,
}

/// An answer that the gateway would give by itself.
#[derive(Debug, Serialize)]
pub(super) struct Answered {
    pub(super) status: u16,
    /// Name and value of what makes the answer what it is.
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Option<String>,
}

impl Answered {
    pub(super) fn new(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
        Self {
            status: status.as_u16(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
                .collect(),
            body: (!body.is_empty()).then(|| text(body)),
        }
    }
}

impl Report {
    /// Nothing is known yet.
    pub(super) fn new(listener: &str, client: IpAddr) -> Self {
        Self {
            decision: Decision::Unknown,
            status: None,
            error: None,
            detail: None,
            limit: None,
            retry_after: None,
            missing: None,
            listener: listener.to_owned(),
            client,
            assumed_host: None,
            route: None,
            path: None,
            mode: None,
            canary: None,
            near_misses: Vec::new(),
            chain: Vec::new(),
            shadow: None,
            identity: None,
            revocation: None,
            requirements: Vec::new(),
            limits: Vec::new(),
            logged: None,
            upstream: None,
            answer: None,
        }
    }

    /// The request is refused.
    pub(super) fn denied(mut self, denial: &Denial) -> Self {
        self.decision = Decision::Deny;
        self.status = Some(denial.code.status().as_u16());
        self.error = Some(denial.code.name().to_owned());
        self.detail = Some(denial.detail.to_owned());
        if let Tells::RetryAfter { seconds, limit } = &denial.tells {
            self.limit = Some(limit.to_string());
            self.retry_after = Some(*seconds);
        }
        self
    }
}
