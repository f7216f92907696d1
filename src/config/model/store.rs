//! `[redis]` and `[revocation]`: state shared by several gateways.

use std::time::Duration;

use crate::config::secret::Secret;

/// `[redis]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Redis {
    pub url: Secret,
    pub key_prefix: String,
    pub timeout: Duration,
    pub record_key: Option<Secret>,
}

/// `[revocation]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Revocation {
    pub keys: Vec<String>,
    pub users: String,
    /// `"serve"` (true) or `"deny"` (false).
    pub serve_on_store_error: bool,
}
