//! A route's modes: the one in force, its shadow and its canary, with `server.use_jwt_auth` applied and each method's section there.

use crate::config::model;
use crate::policy::canary::Canary;
use crate::policy::identity::AuthMethod;
use crate::policy::mode::Mode;

use super::Compiling;

/// What judges the callers of a route.
pub(super) struct Modes {
    pub(super) auth: Mode,
    pub(super) shadow: Option<Mode>,
    pub(super) canary: Option<Canary>,
}

impl Modes {
    /// Whether any of them takes tokens, so that the route needs issuers and places to look for them.
    pub(super) fn take_tokens(&self) -> bool {
        let canary = self.canary.as_ref().map(|canary| &canary.mode);
        [Some(&self.auth), self.shadow.as_ref(), canary]
            .into_iter()
            .flatten()
            .any(Mode::takes_tokens)
    }
}

impl Compiling<'_, '_> {
    /// Every method of a mode has what it needs, or the config is refused (hardening r18).
    pub(super) fn modes(&mut self) -> Modes {
        let jwt = self.config.server.use_jwt_auth;
        let written = self.written;
        let canary = written.canary.as_ref();
        Modes {
            auth: self.mode("auth", &written.auth, jwt),
            // It opens nothing and shuts nobody out, and says when the way back is clear.
            shadow: written.shadow.as_ref().map(|mode| self.mode("shadow", mode, true)),
            // `gateway mode` means everybody, also when it takes back what a canary tries.
            canary: canary
                .filter(|canary| !written.overridden && (jwt || !canary.auth.chain.contains(&model::AuthMethod::Jwt)))
                .map(|canary| Canary::new(self.mode("canary.auth", &canary.auth, jwt), canary.percent)),
        }
    }

    /// With `jwt` switched off it is `internal`, once.
    fn mode(&mut self, key: &str, written: &model::AuthMode, jwt: bool) -> Mode {
        let mut chain = Vec::new();
        for method in &written.chain {
            let method = match method {
                model::AuthMethod::Jwt if !jwt => AuthMethod::Internal,
                model::AuthMethod::Jwt => AuthMethod::Jwt,
                model::AuthMethod::ApiKey => AuthMethod::ApiKey,
                model::AuthMethod::Internal => AuthMethod::Internal,
                model::AuthMethod::None => AuthMethod::None,
            };
            if !chain.contains(&method) {
                chain.push(method);
            }
        }
        for method in &chain {
            let missing = match method {
                AuthMethod::Jwt if self.config.issuers.is_empty() => "[issuers.NAME]",
                AuthMethod::ApiKey if self.config.api_keys.is_none() => "[api_keys]",
                AuthMethod::Internal if self.config.internal.is_none() => "[internal]",
                AuthMethod::Jwt | AuthMethod::ApiKey | AuthMethod::Internal | AuthMethod::None => continue,
            };
            let name = method.name();
            self.problem(key, format!("uses `{name}`, which needs a section {missing}"));
        }
        Mode::new(chain)
    }
}
