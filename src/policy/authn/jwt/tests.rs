//! Tokens and keys from outside: published vectors, every algorithm, and what must not pass, class by class.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod accepted;
mod issuer;
mod jwks;
mod properties;
mod refused_claims;
mod refused_forms;
mod refused_keys;
mod refused_signatures;
mod rfc_vectors;

use crate::policy::token::{TokenFault, VerifiedToken};

use super::{KeySet, parse, verify};

/// The whole judgement of one request at [`issuer::NOW`].
fn judge(token: &str, keys: &KeySet) -> Result<VerifiedToken, TokenFault> {
    let verified = verify(&parse(token)?, &issuer::rules(), keys)?;
    verified.judge_time(issuer::NOW)?;
    Ok(verified)
}

/// A token that must not pass: what is wrong with it, the token, the fault to be named.
type Refused = (String, String, TokenFault);

fn refuse_all(cases: Vec<Refused>, keys: &KeySet) {
    let mut wrong = Vec::new();
    for (name, token, fault) in cases {
        match judge(&token, keys) {
            Err(found) if found == fault => {}
            Err(found) => wrong.push(format!("{name}: {found:?} instead of {fault:?}")),
            Ok(_) => wrong.push(format!("{name}: PASSED instead of {fault:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_tables_hold_at_least_120_tokens_that_must_not_pass() {
    let tables = [
        refused_forms::cases(),
        refused_keys::cases(),
        refused_signatures::cases(),
        refused_claims::cases(),
    ];
    let names: std::collections::BTreeSet<_> = tables.iter().flatten().map(|(name, ..)| name).collect();
    let tokens: std::collections::BTreeSet<_> = tables.iter().flatten().map(|(_, token, _)| token).collect();
    assert!(
        names.len() >= 120 && tokens.len() >= 120,
        "{} named, {} different",
        names.len(),
        tokens.len()
    );
}
