//! What the judge must know and cannot: gathered here, the only wait before a decision, and usually none.

use std::sync::Arc;

use crate::observe::metrics::Metrics;
use crate::policy::authn::api_key::{Found, KeyFault, KnownKey};
use crate::policy::authn::jwt;
use crate::policy::authn::remote::RemoteTokenRules;
use crate::policy::credential::Credential;
use crate::policy::denial::Denial;
use crate::policy::digest::SecretDigest;
use crate::policy::facts::Facts;
use crate::policy::identity::AuthMethod;
use crate::policy::judge::{Case, Evidence, KeyEvidence, KnownBy};
use crate::policy::token::{TokenFault, VerifiedToken};

use super::keys::{Judged, Keys};
use super::revocation::Standing;
use super::snapshot::Snapshot;
use super::validator::guesses::Allowance;
use super::validator::{Answer, Validator};

/// What the judge needs of the case, if it is at hand.
///
/// # Errors
/// What must be asked for; mostly nothing.
pub fn known<'r>(
    metrics: &Metrics,
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &Case<'_, 'r>,
) -> Result<Evidence, Unknown<'r>> {
    match case.presented.credential {
        Credential::Token(token) => known_token(metrics, snapshot, facts, case, token),
        Credential::ApiKey(ref key) => key_at_hand(snapshot, facts, key, true).map_err(|digest| Unknown::Key {
            key: key.to_vec(),
            digest,
        }),
        Credential::Internal(_) | Credential::Anonymous | Credential::Absent => Ok(Evidence::None),
    }
}

/// What somebody must be asked for.
pub enum Unknown<'r> {
    /// A token that nobody has verified yet.
    Token {
        /// It.
        token: &'r str,
        /// Where an auth service may know it.
        digest: Option<SecretDigest>,
    },
    /// A key that the auth service may know.
    Key {
        /// It.
        key: Vec<u8>,
        /// By which it is asked.
        digest: SecretDigest,
    },
}

/// Asks for what is not known: the issuer's keys, or an auth service.
pub async fn ask(
    metrics: &Metrics,
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &mut Case<'_, '_>,
    unknown: Unknown<'_>,
) -> Evidence {
    match unknown {
        Unknown::Token { token, digest } => of_token(metrics, snapshot, facts, case, token, digest).await,
        Unknown::Key { key, digest } => of_key(snapshot, facts, case, &key, digest).await,
    }
}

/// What is known of the case here and now: nobody is asked, nothing is counted.
#[must_use]
pub fn at_hand(snapshot: &Snapshot, facts: &Facts<'_>, case: &Case<'_, '_>) -> Evidence {
    let token = match case.presented.credential {
        Credential::Token(token) => token,
        Credential::ApiKey(ref key) => {
            // Without evidence the judge cannot say.
            return key_at_hand(snapshot, facts, key, false).unwrap_or(Evidence::None);
        }
        Credential::Internal(_) | Credential::Anonymous | Credential::Absent => return Evidence::None,
    };
    let mut issuers = case.route.issuers.iter().filter_map(|place| snapshot.keys.get(*place));
    if let Some(known) = issuers.find_map(|keys| keys.known(token)) {
        return Evidence::Token(not_revoked(snapshot, known));
    }
    if !case.route.remote_issuers.is_empty()
        && let Some(evidence) = remote_token_at_hand(snapshot, facts, case, token)
    {
        return evidence;
    }
    if let Err(denial) = snapshot.policy.may_ask(facts, AuthMethod::Jwt, &snapshot.meters) {
        return refused(denial, KnownBy::Config);
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

/// What is known of a key without asking anybody; else the digest by which the auth service may know it. With `in_use` an answer
/// that is about to end is renewed.
fn key_at_hand(snapshot: &Snapshot, facts: &Facts<'_>, key: &[u8], in_use: bool) -> Result<Evidence, SecretDigest> {
    let validator = snapshot.validators.api_keys.as_ref();
    if validator.is_none() && snapshot.revocations.is_none() {
        // The judge knows them all.
        return Ok(Evidence::None);
    }
    let by_config = |said| {
        let by = KnownBy::Config;
        Ok(Evidence::Key(KeyEvidence { said, by }))
    };
    let digest = match snapshot.policy.api_keys.find(key) {
        Found::Known(known) => return by_config(key_not_revoked(snapshot, known.clone())),
        Found::Refused(fault) => return by_config(Err(fault)),
        Found::Remote(digest) => digest,
    };
    let (Some(validator), Some(key)) = (validator, in_one_word(key)) else {
        return by_config(Err(KeyFault::Unknown));
    };
    let asked = validator.asked(key, digest, facts.origin.client, facts.now.monotonic_ns);
    let known = if in_use {
        validator.known(&asked)
    } else {
        validator.peek(&asked)
    };
    let Answer { said, by, .. } = known.ok_or(digest)?;
    let said = said.and_then(|known| key_not_revoked(snapshot, known));
    Ok(Evidence::Key(KeyEvidence { said, by }))
}

/// A key that only the auth service may know.
async fn of_key(
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &mut Case<'_, '_>,
    key: &[u8],
    digest: SecretDigest,
) -> Evidence {
    if let Err(denial) = admitted(snapshot, facts, case).await {
        return refused(denial, KnownBy::Config);
    }
    let (Some(validator), Some(key)) = (&snapshot.validators.api_keys, in_one_word(key)) else {
        return Evidence::None;
    };
    let asked = validator.asked(key, digest, facts.origin.client, facts.now.monotonic_ns);
    match validator
        .ask(&asked, allowance(snapshot, facts, AuthMethod::ApiKey))
        .await
    {
        Ok(Answer {
            said: Err(fault),
            by,
            counted: true,
        }) => refused(fault.denial(), by),
        Ok(Answer { said, by, .. }) => {
            let said = said.and_then(|known| key_not_revoked(snapshot, known));
            Evidence::Key(KeyEvidence { said, by })
        }
        Err(denial) => refused(denial, KnownBy::Config),
    }
}

const fn refused(denial: Denial, by: KnownBy) -> Evidence {
    Evidence::Refused { denial, by }
}

/// What can stand in a request of ours unchanged: visible ASCII. No auth service has made a key or a token of anything else.
fn in_one_word(credential: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(credential).ok()?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && !text.is_empty()).then_some(text)
}

/// Where a look-up for this request counts as a failure until it is none.
fn allowance<'s>(snapshot: &'s Snapshot, facts: &Facts<'_>, method: AuthMethod) -> Option<Allowance<'s>> {
    let ask = snapshot.policy.guesses_of(facts, method)?;
    Some(Allowance {
        guesses: &snapshot.validators.guesses,
        meters: &snapshot.meters,
        ask,
    })
}

/// A token that was verified before. It is in the cache of the one issuer that verified it, so a hit needs no parsing.
fn known_token<'r>(
    metrics: &Metrics,
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &Case<'_, '_>,
    token: &'r str,
) -> Result<Evidence, Unknown<'r>> {
    let hit = |said: Result<Arc<VerifiedToken>, TokenFault>| {
        metrics.token_cache_hits.inc();
        Ok(Evidence::Token(said.and_then(|token| not_revoked(snapshot, token))))
    };
    let mut issuers = case.route.issuers.iter().filter_map(|place| snapshot.keys.get(*place));
    if let Some(verified) = issuers.find_map(|keys| keys.known(token)) {
        return hit(Ok(verified));
    }
    let places = case.route.remote_issuers.as_slice();
    let digest = (!places.is_empty()).then(|| SecretDigest::of(token.as_bytes()));
    if let Some(digest) = digest {
        for validator in places.iter().filter_map(|place| validator_of(snapshot, *place)) {
            let asked = validator.asked(token, digest, facts.origin.client, facts.now.monotonic_ns);
            if let Some(answer) = validator.known(&asked) {
                return hit(answer.said);
            }
        }
    }
    metrics.token_cache_misses.inc();
    Err(Unknown::Token { token, digest })
}

async fn of_token(
    metrics: &Metrics,
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &mut Case<'_, '_>,
    token: &str,
    digest: Option<SecretDigest>,
) -> Evidence {
    if let Some(digest) = digest
        && let Some(evidence) = of_remote_token(snapshot, facts, case, token, digest).await
    {
        return evidence;
    }
    if let Err(denial) = snapshot.policy.may_ask(facts, AuthMethod::Jwt, &snapshot.meters) {
        return refused(denial, KnownBy::Config);
    }
    if let Err(denial) = admitted(snapshot, facts, case).await {
        return refused(denial, KnownBy::Config);
    }
    let verified = verified(metrics, snapshot, case, token).await;
    Evidence::Token(verified.and_then(|token| not_revoked(snapshot, token)))
}

/// What the auth service of its issuer says; `None`: its issuer has keys.
async fn of_remote_token(
    snapshot: &Snapshot,
    facts: &Facts<'_>,
    case: &mut Case<'_, '_>,
    token: &str,
    digest: SecretDigest,
) -> Option<Evidence> {
    let place = match snapshot.policy.remote_issuer_of(case.route, token) {
        Ok(place) => place?,
        Err(fault) => return Some(Evidence::Token(Err(fault))),
    };
    let fits = token.len() <= jwt::MAX_TOKEN_BYTES;
    let Some(token) = in_one_word(token.as_bytes()).filter(|_| fits) else {
        return Some(Evidence::Token(Err(TokenFault::Malformed)));
    };
    if let Err(denial) = admitted(snapshot, facts, case).await {
        return Some(refused(denial, KnownBy::Config));
    }
    let validator = validator_of(snapshot, place)?;
    let asked = validator.asked(token, digest, facts.origin.client, facts.now.monotonic_ns);
    let answer = validator.ask(&asked, allowance(snapshot, facts, AuthMethod::Jwt)).await;
    Some(match answer {
        Ok(Answer {
            said: Err(fault),
            by,
            counted: true,
        }) => refused(fault.denial(), by),
        Ok(Answer { said, .. }) => Evidence::Token(said.and_then(|token| not_revoked(snapshot, token))),
        Err(denial) => refused(denial, KnownBy::Config),
    })
}

/// `None`: its issuer has keys.
fn remote_token_at_hand(snapshot: &Snapshot, facts: &Facts<'_>, case: &Case<'_, '_>, token: &str) -> Option<Evidence> {
    let place = match snapshot.policy.remote_issuer_of(case.route, token) {
        Ok(place) => place?,
        Err(fault) => return Some(Evidence::Token(Err(fault))),
    };
    let validator = validator_of(snapshot, place)?;
    let digest = SecretDigest::of(token.as_bytes());
    let asked = validator.asked(token, digest, facts.origin.client, facts.now.monotonic_ns);
    let known = validator.peek(&asked);
    let said = known.map_or(Err(TokenFault::ValidatorUnavailable), |answer| answer.said);
    Some(Evidence::Token(said.and_then(|token| not_revoked(snapshot, token))))
}

fn validator_of(snapshot: &Snapshot, place: usize) -> Option<&Arc<Validator<RemoteTokenRules>>> {
    snapshot.validators.tokens.get(place)?.as_ref()
}

/// Before anything is bought for a stranger, the limits by address are asked that gateways share.
async fn admitted(snapshot: &Snapshot, facts: &Facts<'_>, case: &mut Case<'_, '_>) -> Result<(), Denial> {
    if case.asks().is_empty() {
        return Ok(());
    }
    let now_ns = facts.now.monotonic_ns;
    let answer = snapshot.meters.admit_shared(case.asks(), now_ns).await;
    case.answered(answer, &snapshot.meters, now_ns)
}

/// Judged on every request, also of a token known already (r23).
fn not_revoked(snapshot: &Snapshot, token: Arc<VerifiedToken>) -> Result<Arc<VerifiedToken>, TokenFault> {
    match &snapshot.revocations {
        Some(revocations) => revocations.judge(&token).map(|()| token),
        None => Ok(token),
    }
}

/// The same of a key, whoever knew it.
fn key_not_revoked(snapshot: &Snapshot, known: Arc<KnownKey>) -> Result<Arc<KnownKey>, KeyFault> {
    let Some(revocations) = &snapshot.revocations else {
        return Ok(known);
    };
    match revocations.of_caller(&known.identity) {
        Standing::Good => Ok(known),
        Standing::Revoked => Err(KeyFault::Revoked),
        Standing::Unknown => Err(KeyFault::RevocationsUnknown),
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
            if !keys.fetched_again(fault, seen).await {
                return Err(fault);
            }
            match keys.judge(token, &parsed) {
                Judged::Known(outcome) => outcome,
                Judged::Fetch(fault) => Err(fault),
            }
        }
    }
}
