//! What the judge must know and cannot: gathered here, the only wait before a decision, and usually none.

use std::sync::Arc;

use crate::observe::metrics::Metrics;
use crate::policy::authn::jwt;
use crate::policy::credential::Credential;
use crate::policy::denial::{Code, Denial};
use crate::policy::facts::Facts;
use crate::policy::identity::AuthMethod;
use crate::policy::judge::{Case, Evidence, Undecided};
use crate::policy::token::{TokenFault, VerifiedToken};
use crate::policy::verdict::Verdict;

use super::keys::{Judged, Keys};
use super::revocation::Standing;
use super::snapshot::Snapshot;

/// Gathers what the case needs.
pub async fn gather(metrics: &Metrics, snapshot: &Snapshot, facts: &Facts<'_>, case: &mut Case<'_, '_>) -> Evidence {
    match case.presented.credential {
        Credential::Token(token) => of_token(metrics, snapshot, facts, case, token).await,
        Credential::ApiKey(ref key) => of_key(snapshot, facts, key),
        Credential::Internal(_) | Credential::Anonymous | Credential::Absent => Evidence::None,
    }
}

/// The judge knows the keys of the config; only whether one was revoked he cannot.
fn of_key(snapshot: &Snapshot, facts: &Facts<'_>, key: &[u8]) -> Evidence {
    let Some(revocations) = &snapshot.revocations else {
        return Evidence::None;
    };
    let Ok(caller) = snapshot.policy.api_keys.judge(key, facts.now.unix_s) else {
        return Evidence::None;
    };
    match revocations.of_caller(&caller) {
        Standing::Good => Evidence::None,
        Standing::Revoked => Evidence::NotAsked(Denial::plain(Code::InvalidApiKey, "key_revoked")),
        Standing::Unknown => Evidence::NotAsked(Denial::plain(Code::AuthUnavailable, "revocations_unknown")),
    }
}

/// What is known of the case here and now: nobody is asked, nothing is counted.
#[must_use]
pub fn at_hand(snapshot: &Snapshot, facts: &Facts<'_>, case: &Case<'_, '_>) -> Evidence {
    let token = match case.presented.credential {
        Credential::Token(token) => token,
        Credential::ApiKey(ref key) => return of_key(snapshot, facts, key),
        Credential::Internal(_) | Credential::Anonymous | Credential::Absent => return Evidence::None,
    };
    let mut issuers = case.route.issuers.iter().filter_map(|place| snapshot.keys.get(*place));
    if let Some(known) = issuers.find_map(|keys| keys.known(token)) {
        return Evidence::Token(not_revoked(snapshot, known));
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
    Evidence::Token(verified.and_then(|token| not_revoked(snapshot, token)))
}

async fn of_token(
    metrics: &Metrics,
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &mut Case<'_, '_>,
    token: &str,
) -> Evidence {
    // A token is in the cache of the one issuer that verified it, so a hit needs no parsing.
    let issuers = case.route.issuers.iter().filter_map(|place| snapshot.keys.get(*place));
    for keys in issuers {
        if let Some(verified) = keys.known(token) {
            metrics.token_cache_hits.inc();
            return Evidence::Token(not_revoked(snapshot, verified));
        }
    }
    metrics.token_cache_misses.inc();
    if let Err(denial) = snapshot.policy.may_ask(facts, AuthMethod::Jwt, &snapshot.meters) {
        return Evidence::NotAsked(denial);
    }
    if let Err(denial) = admitted(snapshot, facts, case).await {
        return Evidence::NotAsked(denial);
    }
    let verified = verified(metrics, snapshot, case, token).await;
    Evidence::Token(verified.and_then(|token| not_revoked(snapshot, token)))
}

/// Before anything is bought for a stranger, the limits by address are asked that gateways share.
async fn admitted(snapshot: &Snapshot, facts: &Facts<'_>, case: &mut Case<'_, '_>) -> Result<(), Denial> {
    if case.asks().is_empty() {
        return Ok(());
    }
    let now_ns = facts.now.monotonic_ns;
    let answer = Box::pin(snapshot.meters.admit_shared(case.asks(), now_ns)).await;
    case.answered(answer, &snapshot.meters, now_ns)
}

/// Asks the limits that gateways share, all that are left in one go, and ends the judgement.
pub async fn conclude<'p>(snapshot: &Snapshot, undecided: Undecided<'p>, now_ns: u64) -> Verdict<'p> {
    if undecided.asks().is_empty() {
        return undecided.alone(&snapshot.meters, now_ns);
    }
    // A box: what most requests do not have should not make the future of each larger.
    let answer = Box::pin(snapshot.meters.admit_shared(undecided.asks(), now_ns)).await;
    undecided.conclude(answer, &snapshot.meters, now_ns)
}

/// Judged on every request, also of a token known already (r23).
fn not_revoked(snapshot: &Snapshot, token: Arc<VerifiedToken>) -> Result<Arc<VerifiedToken>, TokenFault> {
    match &snapshot.revocations {
        Some(revocations) => revocations.judge(&token).map(|()| token),
        None => Ok(token),
    }
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
