//! JSON Web Tokens (RFC 7515, 7517-7519, 8037, 8725, 9068): what a token says, whether an issuer's key signed it, and
//! whom it proves.
//!
//! The signature check is aws-lc-rs's; header, key choice and claims are judged here, because a library's validation
//! reads the clock, takes tokens without `aud` and `iss`, and ignores `crit`. Time is judged per request, by
//! [`VerifiedToken::judge_time`](crate::policy::token::VerifiedToken::judge_time). Depends on `policy::token` and
//! `policy::identity`.

mod jwk;
mod jws;
mod key_set;
mod twin;
pub(super) mod verify;

#[cfg(test)]
mod tests;

pub use jwk::SkipReason;
pub use jws::{Claimed, MAX_TOKEN_BYTES, Unverified, claimed_by, claimed_caller, parse};
pub use key_set::{JwksError, KeySet, MAX_JWKS_BYTES, MAX_KEYS, SkippedKey};
pub use verify::verify;
