//! The auth modes that are enforced: file < overrides < environment, and what the latter two may not do (r46).
//!
//! Imports the machinery of `config`.

use crate::config::cursor::Cursor;
use crate::config::model::{AuthMethod, AuthMode, Config};
use crate::config::value as v;

/// The methods that the config has something to judge by.
pub(super) struct Methods {
    jwt: bool,
    api_key: bool,
    internal: bool,
}

impl Methods {
    /// By the sections that were written; to be asked before they are read.
    pub(super) fn of(t: &Cursor<'_, '_>) -> Self {
        Self {
            jwt: t.peek_table("issuers").is_some_and(|issuers| !issuers.is_empty()),
            api_key: t.given("api_keys"),
            internal: t.given("internal"),
        }
    }

    /// The section that a method lacks.
    fn lacks(&self, method: AuthMethod) -> Option<&'static str> {
        let (has, section) = match method {
            AuthMethod::Jwt => (self.jwt, "[issuers.NAME]"),
            AuthMethod::ApiKey => (self.api_key, "[api_keys]"),
            AuthMethod::Internal => (self.internal, "[internal]"),
            AuthMethod::None => (true, ""),
        };
        (!has).then_some(section)
    }
}

/// The key `auth` of the route of that name, or of a canary or `[defaults]`, which have none. An empty chain stands
/// for a mode that was left out or refused.
///
/// INVARIANT (r46): nothing but the file itself lets anybody in without a credential. What an override, a variable
/// or a reference adds must also have a section to be judged by.
pub(super) fn enforced(t: &mut Cursor<'_, '_>, route: &str, methods: &Methods) -> AuthMode {
    let nobody = AuthMode { chain: Vec::new() };
    let in_files = t.in_files("auth", v::mode).unwrap_or_else(|| nobody.clone()).chain;
    if let Some(node) = t.reader.overrides.remove(route) {
        t.replace("auth", node);
    }
    let mode = t.key("auth", nobody, v::mode);
    for method in mode.chain.iter().filter(|method| !in_files.contains(method)) {
        if *method == AuthMethod::None {
            t.problem(
                "auth",
                "`none` is not in the file here; no override, variable or reference can open a route, only the file itself",
            );
        } else if let Some(section) = methods.lacks(*method) {
            t.problem(
                "auth",
                format!("there is no {section} to judge by; write that section, or use another mode"),
            );
        }
    }
    mode
}

/// `use_jwt_auth = false` sends every caller of a `jwt` chain to `internal`, which must then exist.
pub(super) fn switched_off(t: &mut Cursor<'_, '_>, config: &Config) {
    let mut chains = config.routes.iter().map(|route| &route.auth.chain);
    if !config.server.use_jwt_auth && config.internal.is_none() && chains.any(|chain| chain.contains(&AuthMethod::Jwt))
    {
        t.problem(
            "server.use_jwt_auth",
            "is false, so that `jwt` becomes `internal`, and there is no [internal] to judge by; write that section",
        );
    }
}
