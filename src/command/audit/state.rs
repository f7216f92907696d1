//! The store that gateways share, and what they count.

use super::{Audit, Finding, is_clear_and_far};
use crate::config::model::LimitStore;

impl Audit<'_> {
    pub(super) fn state(&mut self) {
        let config = self.config;
        if let Some(redis) = &config.redis {
            self.note_if(
                is_clear_and_far(redis.url.expose()),
                Finding::StoreInTheClear,
                "redis.url",
            );
            let keyless = redis.record_key.is_none();
            self.note_if(keyless, Finding::ModesUnsigned, "redis.record_key");
            let asks_for_keys = config.api_keys.as_ref().is_some_and(|keys| keys.remote.is_some());
            let asks = asks_for_keys || config.issuers.values().any(|issuer| issuer.remote.is_some());
            self.note_if(keyless && asks, Finding::AnswersUnshared, "redis.record_key");
            for (name, limit) in &config.limits {
                let alone = limit.store == LimitStore::Local && limit.concurrent.is_none();
                self.note_if(alone, Finding::LimitsOfOneProcess, format!("limits.{name}.store"));
            }
        }
        let serves_on = config
            .revocation
            .as_ref()
            .is_some_and(|revocation| revocation.serve_on_store_error);
        self.note_if(serves_on, Finding::RevocationServesOn, "revocation.on_store_error");
    }
}
