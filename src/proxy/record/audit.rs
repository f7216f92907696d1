//! A service that speaks for a user is trusted to: it leaves a line of its own, whatever becomes of the access log.

use crate::policy::identity::{HeaderText, Identity};
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
