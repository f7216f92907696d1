//! Canaries: which share of a route's callers is judged by another mode.
//!
//! A caller has one place between 0 and 1, the same at every gateway and on every route, by who it *claims* to be and never by the
//! bytes of its token; the canary takes all places below its share. So a refreshed token changes nothing, and a larger share only
//! adds callers. A false claim only chooses the judge, who then judges it.

use super::authn::jwt::claimed_caller;
use super::credential::{Claimant, CredentialPlaces, TokenPlace};
use super::digest::{SecretDigest, key_of};
use super::facts::Facts;
use super::mode::Mode;

/// Places there are.
const PLACES: u64 = 1 << 32;

/// Another mode for a share of the callers.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// Who judges them.
    pub mode: Mode,
    /// As configured.
    pub percent: f64,
    /// Places below this are the canary's.
    below: u64,
}

/// Which of a canary's two sides a request is on: the `arm` of metrics and log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    /// Judged as before.
    Stable,
    /// Judged by the canary's mode.
    Canary,
}

impl Arm {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stable, Self::Canary];

    /// The name in labels and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }
}

impl Canary {
    /// `percent` of all callers, 0 to 100, are judged by `mode`.
    #[must_use]
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss
    )]
    pub fn new(mode: Mode, percent: f64) -> Self {
        let share = (percent / 100.0).clamp(0.0, 1.0);
        Self {
            mode,
            percent,
            below: (share * PLACES as f64).round() as u64,
        }
    }

    /// The arm of a request's caller.
    #[must_use]
    pub fn arm(&self, places: &CredentialPlaces, token_places: &[TokenPlace], facts: &Facts<'_>) -> Arm {
        if place(&places.claimant(token_places, facts), facts) < self.below {
            Arm::Canary
        } else {
            Arm::Stable
        }
    }
}

/// By the token's `iss` and `sub`, else by the API key, else by the client address. Never by the internal secret, which many share.
fn place(claimant: &Claimant<'_>, facts: &Facts<'_>) -> u64 {
    let named = claimant.token.and_then(claimed_caller);
    let digest = match (named, &claimant.api_key) {
        // No claim of one kind may be spelled so that it falls on another's place: each kind has its word in front.
        (Some((issuer, subject)), _) => key_of(format!("token\0{}\0{subject}", issuer.unwrap_or_default()).as_bytes()),
        (None, Some(key)) => key_of(format!("key\0{:032x}", SecretDigest::of(key).half()).as_bytes()),
        (None, None) => key_of(format!("address\0{}", facts.origin.client.to_canonical()).as_bytes()),
    };
    // The upper 32 of 128 bits.
    u64::try_from(digest >> 96).unwrap_or(PLACES)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
