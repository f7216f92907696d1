//! `[[routes]]`: what goes where, and who is let in.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use ipnet::IpNet;

use super::issuer::{ClaimRule, TokenSource};
use crate::config::secret::Secret;

/// One of `[[routes]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name, unique among routes.
    pub name: String,
    /// Listeners it is served on; empty: all.
    pub listeners: Vec<String>,
    /// Hosts; empty: any.
    pub hosts: Vec<String>,
    /// Path patterns.
    pub paths: Vec<String>,
    /// Methods, upper case; empty: any.
    pub methods: Vec<String>,
    /// Client networks; empty: any.
    pub allowed_from: Vec<IpNet>,
    /// What is done with an allowed request; exactly one.
    pub action: Action,
    /// Who is let in.
    pub auth: AuthMode,
    /// What the files say of that, whatever overrides and variables do.
    pub auth_in_file: AuthMode,
    /// An override has put another mode in force, for all callers: a canary stops.
    pub overridden: bool,
    /// Also judged, never enforced.
    pub shadow: Option<AuthMode>,
    /// A share of callers is judged by another mode.
    pub canary: Option<Canary>,
    /// Issuers whose tokens it takes; empty: all.
    pub issuers: Vec<String>,
    /// Where its tokens are found; empty: as its issuers say.
    pub token_sources: Vec<TokenSource>,
    /// What the caller must hold.
    pub require: Require,
    /// Further requirements by method.
    pub rules: Vec<Rule>,
    /// Limits by name.
    pub limits: Vec<String>,
    /// A CORS policy by name.
    pub cors: Option<String>,
    /// Taken off the path.
    pub strip_prefix: String,
    /// Instead of the path.
    pub replace_path: String,
    /// Unset: the upstream's.
    pub response_timeout: Option<Duration>,
    /// Bytes of a request body; zero: any.
    pub max_body: u64,
    /// Set on the request to the upstream, as written.
    pub set_headers: BTreeMap<String, Secret>,
    /// Taken off the request to the upstream.
    pub remove_headers: Vec<String>,
    /// Set on the response.
    pub response_headers_set: BTreeMap<String, String>,
    /// Taken off the response.
    pub response_headers_remove: Vec<String>,
    /// Send the client's `Host`.
    pub preserve_host: bool,
    /// Turn a `Location` that names the upstream back to the public one.
    pub rewrite_location: bool,
    /// Write the access line.
    pub access_log: bool,
    /// End streams when their token does.
    pub close_on_expiry: bool,
    /// `%2F` stays part of its segment.
    pub allow_encoded_slash: bool,
    /// Read token usage from answers.
    pub llm: Option<Llm>,
}

/// What a route does with an allowed request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Action {
    Upstream(String),
    Respond {
        status: u16,
        body: String,
        content_type: String,
    },
    Redirect {
        to: String,
        status: u16,
    },
}

/// A mode as written, and the chain it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMode {
    /// Tried in this order; never empty; `none` only last.
    pub chain: Vec<AuthMethod>,
}

impl fmt::Display for AuthMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chain == [AuthMethod::Jwt, AuthMethod::ApiKey, AuthMethod::Internal] {
            return f.write_str("hybrid");
        }
        let names: Vec<&str> = self.chain.iter().map(|method| method.name()).collect();
        f.write_str(&names.join(","))
    }
}

impl AuthMethod {
    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
            Self::Internal => "internal",
            Self::None => "none",
        }
    }
}

/// A link of an auth chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AuthMethod {
    Jwt,
    ApiKey,
    Internal,
    None,
}

/// `routes.NAME.canary`.
#[derive(Debug, Clone, PartialEq)]
pub struct Canary {
    /// The other mode.
    pub auth: AuthMode,
    /// 0 to 100.
    pub percent: f64,
}

/// `routes.NAME.require`.
#[derive(Debug, Clone, Default, PartialEq)]
#[allow(missing_docs)]
pub struct Require {
    pub scopes_all: Vec<String>,
    pub scopes_any: Vec<String>,
    pub permissions_all: Vec<String>,
    pub permissions_any: Vec<String>,
    pub roles_any: Vec<String>,
    pub audiences: Vec<String>,
    /// Claim path → what it must be; `"{name}"` is a path segment.
    pub claims: BTreeMap<String, ClaimRule>,
}

/// One of `routes.NAME.rules`.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub struct Rule {
    pub methods: Vec<String>,
    pub require: Require,
}

/// `routes.NAME.llm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Llm {
    OpenAi,
    Anthropic,
}
