//! Keys of the reference whose feature is not built yet: refused by name unless they hold their default, so that a
//! key that is accepted works.
//!
//! Imports `error` and `model`. A feature that arrives deletes its line.

use super::error::Problems;
use super::model::{Config, LimitUnit};

/// Notes every key that is ahead of its feature.
pub(super) fn refuse(config: &Config, problems: &mut Problems) {
    let mut later = |used: bool, key: String| {
        if used {
            problems.at(&key, "not available in this version yet; leave it out");
        }
    };
    later(config.telemetry.is_some(), "telemetry".to_owned());
    for (name, limit) in &config.limits {
        let key = |key| format!("limits.{name}.{key}");
        later(limit.unit == LimitUnit::Tokens, key("unit"));
        later(!limit.charge_on.is_empty(), key("charge_on"));
        later(limit.concurrent.is_some(), key("concurrent"));
    }
    for route in &config.routes {
        let key = |key| format!("routes.{}.{key}", route.name);
        later(route.llm.is_some(), key("llm"));
    }
}
