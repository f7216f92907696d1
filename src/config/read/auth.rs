//! The auth modes that are enforced: file < overrides < shared < environment, and what all but the file may not do (r46).
//!
//! Imports the machinery of `config`.

use crate::config::cursor::Cursor;
use crate::config::document::{Node, Value};
use crate::config::error::Source;
use crate::config::model::{AuthMethod, AuthMode, Config};
use crate::config::value as v;

/// The methods that the config has something to judge by.
pub(super) struct Methods {
    jwt: bool,
    api_key: bool,
    internal: bool,
}

/// The mode of a route.
pub(super) struct Enforced {
    /// The one in force. Empty: left out, or refused.
    pub(super) mode: AuthMode,
    /// The one that the files have.
    pub(super) in_file: AuthMode,
    /// An override has put it in force.
    pub(super) overridden: bool,
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

    /// Why nothing but the file may put this chain in the place of `in_file`.
    fn objections(&self, chain: &[AuthMethod], in_file: &[AuthMethod]) -> Vec<String> {
        let added = chain.iter().filter(|method| !in_file.contains(method));
        let objection = |method: &AuthMethod| {
            match (method, self.lacks(*method)) {
            (AuthMethod::None, _) => Some(
                "`none` is not in the file here; no override, variable or reference can open a route, only the file itself"
                    .to_owned(),
            ),
            (_, Some(section)) => Some(format!(
                "there is no {section} to judge by; write that section, or use another mode"
            )),
            (_, None) => None,
        }
        };
        added.filter_map(objection).collect()
    }
}

/// The key `auth` of the route of that name, or of a canary or `[defaults]`, which have none.
///
/// INVARIANT (r46): nothing but the file itself lets anybody in without a credential. What an override, a shared mode, a variable
/// or a reference adds must also have a section to be judged by.
pub(super) fn enforced(t: &mut Cursor<'_, '_>, route: &str, methods: &Methods) -> Enforced {
    let nobody = AuthMode { chain: Vec::new() };
    let in_file = t.in_files("auth", v::mode).unwrap_or_else(|| nobody.clone());
    let mut overridden = false;
    if let Some(node) = t.reader.overrides.remove(route) {
        t.replace("auth", node);
        overridden = true;
    }
    if let Some(mode) = t.reader.shared.remove(route) {
        match shared(&mode, methods, &in_file.chain) {
            Ok(node) => {
                t.replace("auth", node);
                overridden = true;
            }
            Err(why) => t.reader.ignored.push((route.to_owned(), why)),
        }
    }
    overridden &= !t.is_set_by_variable("auth");
    let mode = t.key("auth", nobody, v::mode);
    for objection in methods.objections(&mode.chain, &in_file.chain) {
        t.problem("auth", objection);
    }
    Enforced {
        mode,
        in_file,
        overridden,
    }
}

/// A mode that gateways share, if it fits this config.
fn shared(mode: &str, methods: &Methods, in_file: &[AuthMethod]) -> Result<Node, String> {
    let value = Value::Outside(mode.to_owned());
    let chain = v::mode(&value).map_err(|_| "is no mode".to_owned())?.chain;
    match methods.objections(&chain, in_file).into_iter().next() {
        Some(objection) => Err(objection),
        None => Ok(Node::at(Source::Shared, value)),
    }
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
