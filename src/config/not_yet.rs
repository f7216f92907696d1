//! Keys of the reference whose feature is not built yet: refused by name unless they hold their default, so that a
//! key that is accepted works.
//!
//! Imports `error` and `model`. A feature that arrives deletes its line.

use super::error::Problems;
use super::model::Config;

/// Notes every key that is ahead of its feature.
pub(super) fn refuse(config: &Config, problems: &mut Problems) {
    let mut later = |used: bool, key: String| {
        if used {
            problems.at(&key, "not available in this version yet; leave it out");
        }
    };
    later(config.telemetry.is_some(), "telemetry".to_owned());
}
