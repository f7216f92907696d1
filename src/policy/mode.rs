//! A mode: an ordered chain of methods, and the names that it goes by. A route has one that is enforced, and may have one that
//! is only listened to ([`super::shadow`]) and one for a share of its callers ([`super::canary`]).

use std::sync::Arc;

use super::identity::AuthMethod;

/// A chain of methods, compiled: each has what it needs to judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mode {
    /// `hybrid`, or the methods joined by commas.
    pub name: Arc<str>,
    /// Tried in this order.
    pub chain: Vec<AuthMethod>,
}

impl Mode {
    /// A mode of this chain.
    #[must_use]
    pub fn new(chain: Vec<AuthMethod>) -> Self {
        let name = if chain == [AuthMethod::Jwt, AuthMethod::ApiKey, AuthMethod::Internal] {
            "hybrid".to_owned()
        } else {
            let names: Vec<&str> = chain.iter().map(|method| method.name()).collect();
            names.join(",")
        };
        Self {
            name: Arc::from(name),
            chain,
        }
    }

    /// Whether it takes tokens: then its 401 is a Bearer challenge.
    #[must_use]
    pub fn takes_tokens(&self) -> bool {
        self.chain.contains(&AuthMethod::Jwt)
    }
}
