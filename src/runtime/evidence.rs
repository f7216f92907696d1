//! What the judge must know and cannot: gathered here, the only wait before a decision, and usually none.

use std::sync::Arc;

use crate::observe::metrics::Metrics;
use crate::policy::authn::jwt;
use crate::policy::credential::Credential;
use crate::policy::facts::Facts;
use crate::policy::identity::AuthMethod;
use crate::policy::judge::{Case, Evidence};
use crate::policy::token::{TokenFault, VerifiedToken};

use super::keys::{Judged, Keys};
use super::snapshot::Snapshot;

/// Gathers what the case needs.
pub async fn gather(metrics: &Metrics, snapshot: &Snapshot, facts: &Facts<'_>, case: &Case<'_, '_>) -> Evidence {
    match case.presented.credential {
        Credential::Token(token) => of_token(metrics, snapshot, facts, case, token).await,
        Credential::ApiKey(_) | Credential::Internal(_) | Credential::Anonymous | Credential::Absent => Evidence::None,
    }
}

/// What is known of the case here and now: nobody is asked, nothing is counted.
#[must_use]
pub fn at_hand(snapshot: &Snapshot, facts: &Facts<'_>, case: &Case<'_, '_>) -> Evidence {
    let token = match case.presented.credential {
        Credential::Token(token) => token,
        Credential::ApiKey(_) | Credential::Internal(_) | Credential::Anonymous | Credential::Absent => {
            return Evidence::None;
        }
    };
    let mut issuers = case.route.issuers.iter().filter_map(|place| snapshot.keys.get(*place));
    if let Some(known) = issuers.find_map(|keys| keys.known(token)) {
        return Evidence::Token(Ok(known));
    }
    if let Err(denial) = snapshot.policy.may_ask(facts, AuthMethod::Jwt, &snapshot.meters) {
        return Evidence::NotAsked(denial);
    }
    let verified = jwt::parse(token).and_then(|parsed| {
        let issuer = snapshot.policy.issuer_of(case.route, parsed.issuer());
        let keys = issuer.and_then(|place| snapshot.keys.get(place));
        match keys.ok_or(TokenFault::UnknownIssuer)?.judge(token, &parsed) {
            Judged::Known(outcome) => outcome,
            Judged::Fetch(fault) => Err(fault),
        }
    });
    Evidence::Token(verified)
}

async fn of_token(
    metrics: &Metrics,
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &Case<'_, '_>,
    token: &str,
) -> Evidence {
    // A token is in the cache of the one issuer that verified it, so a hit needs no parsing.
    let issuers = case.route.issuers.iter().filter_map(|place| snapshot.keys.get(*place));
    for keys in issuers {
        if let Some(verified) = keys.known(token) {
            metrics.token_cache_hits.inc();
            return Evidence::Token(Ok(verified));
        }
    }
    metrics.token_cache_misses.inc();
    if let Err(denial) = snapshot.policy.may_ask(facts, AuthMethod::Jwt, &snapshot.meters) {
        return Evidence::NotAsked(denial);
    }
    Evidence::Token(verified(metrics, snapshot, case, token).await)
}

async fn verified(
    metrics: &Metrics,
    snapshot: &Snapshot,
    case: &Case<'_, '_>,
    token: &str,
) -> Result<Arc<VerifiedToken>, TokenFault> {
    let parsed = jwt::parse(token)?;
    let issuer = snapshot.policy.issuer_of(case.route, parsed.issuer());
    let keys: &Keys = issuer
        .and_then(|place| snapshot.keys.get(place))
        .ok_or(TokenFault::UnknownIssuer)?;
    let seen = keys.fetches();
    match keys.judge(token, &parsed) {
        Judged::Known(outcome) => {
            metrics.jwks_cache_hits.inc();
            outcome
        }
        Judged::Fetch(fault) => {
            metrics.jwks_cache_misses.inc();
            if !Box::pin(keys.fetched_again(fault, seen)).await {
                return Err(fault);
            }
            match keys.judge(token, &parsed) {
                Judged::Known(outcome) => outcome,
                Judged::Fetch(fault) => Err(fault),
            }
        }
    }
}
