//! Lines that a request leaves whatever becomes of the access log: a service that speaks for a user is trusted to, and a credential
//! that does not hold is what operators look for at night.

use crate::policy::denial::{Code, Denial};
use crate::policy::identity::{AuthMethod, HeaderText, Identity};
use crate::policy::route::Route;
use crate::policy::verdict::Verdict;

use super::Record;

/// The audit line of an internal caller that acts for a user; of nobody else.
pub(super) fn acting_for(record: &Record, route: &Route, verdict: &Verdict<'_>) {
    let Some(service) = verdict.identity.as_deref() else {
        return;
    };
    if let Some(user) = &service.acting_for {
        write(record, route, service, user);
    }
}

#[cold]
fn write(record: &Record, route: &Route, service: &Identity, user: &HeaderText) {
    tracing::info!(
        request_id = record.request_id.to_str().unwrap_or_default(),
        user_id = service.user.as_str(),
        acting_for = user.as_str(),
        client_ip = %record.origin.client,
        route = &*route.name,
        decision = record.decision.name(),
        "internal caller acts for a user"
    );
}

/// The line of a credential that was presented and does not hold; sampled, since anybody can present one.
pub(super) fn failed_credential(record: &Record, route: &Route, denial: &Denial) {
    let failed = match denial.code {
        Code::InvalidToken
        | Code::TokenExpired
        | Code::TokenRevoked
        | Code::InvalidApiKey
        | Code::InvalidInternalAuth
        | Code::AuthUnavailable => record.auth_method,
        Code::MalformedRequest
        | Code::RequestTimeout
        | Code::TargetTooLong
        | Code::HeadTooLarge
        | Code::MisdirectedRequest
        | Code::NotImplemented
        | Code::NoRoute
        | Code::MethodNotAllowed
        | Code::AddressNotAllowed
        | Code::RateLimited
        | Code::Unauthorized
        | Code::InsufficientScope
        | Code::PermissionDenied
        | Code::BodyTooLarge => return,
    };
    let message = match failed {
        AuthMethod::Jwt => "JWT validation failed",
        AuthMethod::ApiKey => "API key validation failed",
        AuthMethod::Internal => "internal secret refused",
        AuthMethod::None => return,
    };
    let sampler = record.snapshot.failed_credentials.get(route.index);
    let Some(untold) = sampler.and_then(|sampler| sampler.admit()) else {
        return;
    };
    tracing::warn!(
        request_id = record.request_id.to_str().unwrap_or_default(),
        route = &*route.name,
        reason = denial.code.name(),
        detail = denial.detail,
        client_ip = %record.origin.client,
        untold,
        "{message}"
    );
}
