//! The metrics of one route, found without a look-up by label. Depends on `policy` for the names of codes and methods.

use std::sync::OnceLock;

use http::{Method, StatusCode};
use prometheus::{Histogram, IntCounter, IntCounterVec};

use super::NO_ROUTE;
use super::families::Families;
use super::outcomes::Outcomes;
use crate::observe::Decision;
use crate::policy::denial::Code;
use crate::policy::identity::AuthMethod;
use crate::policy::usage::Tokens;

/// The `method` label; whatever else a client sends is the last.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "other",
];

/// The registered statuses (IANA HTTP Status Code Registry), in order: their counters are found without a look-up.
pub(super) const STATUSES: [u16; 61] = [
    100, 101, 102, 103, 200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400,
    401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426,
    428, 429, 431, 451, 500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// What the gateway answers when an upstream fails it.
pub(super) const UPSTREAM_FAILURES: [u16; 3] = [502, 503, 504];

/// The metrics of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    name: String,
    requests: IntCounterVec,
    /// By the place of the method and of the status, each filled when it is first counted.
    counters: [OnceLock<Box<[OnceLock<IntCounter>]>>; METHODS.len()],
    /// From the arrival of the head to the end of the answer, in seconds.
    pub duration: Histogram,
    /// Our own share of it, in seconds.
    pub overhead: Histogram,
    jwt: Outcomes,
    api_key: Outcomes,
    internal: Outcomes,
    none: Outcomes,
    permission_allowed: IntCounter,
    permission_denied: IntCounter,
    /// Of a route that reads them: those that a model read, and those that it wrote.
    tokens: Option<[IntCounter; 2]>,
}

impl RouteMetrics {
    /// There from the start, at zero: requests of each of `methods` (empty: GET and POST) by 200 and every status that the
    /// gateway itself answers on a route; decisions of each method of authentication by every reason that it can have.
    pub(super) fn new(families: &Families, name: &str, methods: &[Method]) -> Self {
        let routed = name != NO_ROUTE;
        let decisions = |method: AuthMethod| {
            Outcomes::new(
                &families.auth_decisions,
                &[name, method.name(), Decision::Allow.name(), "ok"],
                &[name, method.name(), Decision::Deny.name()],
                reasons(method, routed),
            )
        };
        let permissions = |decision: Decision| families.permission_checks.with_label_values(&[name, decision.name()]);
        let metrics = Self {
            name: name.to_owned(),
            requests: families.requests.clone(),
            counters: Default::default(),
            duration: families.request_duration.with_label_values(&[name]),
            overhead: families.overhead.with_label_values(&[name]),
            jwt: decisions(AuthMethod::Jwt),
            api_key: decisions(AuthMethod::ApiKey),
            internal: decisions(AuthMethod::Internal),
            none: decisions(AuthMethod::None),
            permission_allowed: permissions(Decision::Allow),
            permission_denied: permissions(Decision::Deny),
            tokens: None,
        };
        let methods = if methods.is_empty() {
            &[Method::GET, Method::POST]
        } else {
            methods
        };
        let refusals = AuthMethod::ALL.into_iter().flat_map(|method| reasons(method, routed));
        let others = UPSTREAM_FAILURES.into_iter().chain([200]).filter(|_| routed);
        let statuses: Vec<u16> = refusals.map(|code| code.status().as_u16()).chain(others).collect();
        for method in methods {
            for status in &statuses {
                // Found once, it is there.
                let _ = metrics.counter(method, *status);
            }
        }
        metrics
    }

    /// Counts one answered request.
    pub fn count_request(&self, method: &Method, status: StatusCode) {
        match self.counter(method, status.as_u16()) {
            Some(counter) => counter.inc(),
            None => self.look_up(method, status.as_u16()).inc(),
        }
    }

    /// With its counters of tokens: it reads them from answers.
    pub(super) fn with_tokens(mut self, families: &Families) -> Self {
        let tokens = |kind| families.llm_tokens.with_label_values(&[self.name.as_str(), kind]);
        self.tokens = Some([tokens("input"), tokens("output")]);
        self
    }

    /// Counts what an answer cost.
    pub fn count_tokens(&self, tokens: Tokens) {
        if let Some([input, output]) = &self.tokens {
            input.inc_by(tokens.input.into());
            output.inc_by(tokens.output.into());
        }
    }

    /// Counts one decision; `None`: allowed.
    pub fn count_decision(&self, method: AuthMethod, denied: Option<Code>) {
        let outcomes = match method {
            AuthMethod::Jwt => &self.jwt,
            AuthMethod::ApiKey => &self.api_key,
            AuthMethod::Internal => &self.internal,
            AuthMethod::None => &self.none,
        };
        outcomes.count(denied);
    }

    /// Counts one caller who was judged by what the route requires.
    pub fn count_permission(&self, allowed: bool) {
        if allowed {
            self.permission_allowed.inc();
        } else {
            self.permission_denied.inc();
        }
    }

    /// The counter of a registered status.
    fn counter(&self, method: &Method, status: u16) -> Option<&IntCounter> {
        let place = STATUSES.binary_search(&status).ok()?;
        let by_status = self.counters.get(method_place(method))?;
        let by_status = by_status.get_or_init(|| STATUSES.iter().map(|_| OnceLock::new()).collect());
        let counter = by_status.get(place)?;
        Some(counter.get_or_init(|| self.look_up(method, status)))
    }

    fn look_up(&self, method: &Method, status: u16) -> IntCounter {
        let method = METHODS.get(method_place(method)).unwrap_or(&"other");
        let mut digits = itoa::Buffer::new();
        self.requests
            .with_label_values(&[self.name.as_str(), method, digits.format(status)])
    }
}

fn method_place(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::CONNECT => 8,
        _ => 9,
    }
}

/// The codes that can be given with a route, or without one, when `method` decides.
fn reasons(method: AuthMethod, routed: bool) -> impl Iterator<Item = Code> {
    Code::ALL.into_iter().filter(move |code| {
        let on_route = deciders(*code);
        if routed {
            on_route.contains(&method)
        } else {
            method == AuthMethod::None && (on_route.is_empty() || *code == Code::MalformedRequest)
        }
    })
}

/// Which methods can decide by a code on a route; none: it comes before there is a route.
pub(super) const fn deciders(code: Code) -> &'static [AuthMethod] {
    use AuthMethod::{ApiKey, Internal, Jwt, None};
    match code {
        Code::RequestTimeout
        | Code::TargetTooLong
        | Code::HeadTooLarge
        | Code::MisdirectedRequest
        | Code::NotImplemented
        | Code::NoRoute
        | Code::MethodNotAllowed => &[],
        // An internal caller's malformed X-User-ID, or a path that only the route makes ambiguous.
        Code::MalformedRequest => &[Internal, None],
        Code::AddressNotAllowed | Code::Unauthorized => &[None],
        Code::InvalidToken | Code::TokenExpired | Code::TokenRevoked => &[Jwt],
        Code::InvalidApiKey => &[ApiKey],
        Code::InvalidInternalAuth => &[Internal],
        Code::AuthUnavailable => &[Jwt, ApiKey],
        Code::RateLimited | Code::InsufficientScope | Code::PermissionDenied | Code::BodyTooLarge => &AuthMethod::ALL,
    }
}
