//! `[issuers.NAME]`: who may sign tokens, and what a token must claim.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::secrets::Asking;
use crate::config::secret::Secret;

/// `[issuers.NAME]`.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// The `iss` of its tokens; one issuer may leave it out.
    pub issuer: Option<String>,
    /// Where its keys are fetched.
    pub jwks_url: Option<String>,
    /// Find `jwks_url` by OIDC discovery or RFC 8414.
    pub discovery: bool,
    /// Its keys in a file, which is watched.
    pub jwks_file: Option<PathBuf>,
    /// Certificates (PEM) that its server's must lead to, instead of the system's.
    pub ca: Option<PathBuf>,
    /// HMAC secrets, several live ones.
    pub secrets: Vec<Secret>,
    /// Any of these must be in `aud`; empty: any, or none.
    pub audiences: Vec<String>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// What else a token must claim.
    pub required_claims: BTreeMap<String, ClaimRule>,
    /// Clock skew that is forgiven.
    pub leeway: Duration,
    /// `exp - iat` at most; zero is any.
    pub max_token_lifetime: Duration,
    /// Between background fetches.
    pub refresh_interval: Duration,
    /// How long the last good keys serve while the issuer cannot be reached.
    pub max_stale: Duration,
    /// Of one fetch.
    pub request_timeout: Duration,
    /// Where its tokens are found.
    pub token_sources: Vec<TokenSource>,
    /// Foreign origins that may use cookie tokens.
    pub origins: Vec<String>,
    /// Put before every user of this issuer.
    pub user_prefix: String,
    /// Which claims become which part of the identity.
    pub claims: ClaimNames,
    /// The auth service judges its tokens.
    pub remote: Option<RemoteTokens>,
}

/// A signature algorithm of RFC 7518, or EdDSA (RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

/// A value of `required_claims`.
#[derive(Debug, Clone, PartialEq)]
pub enum ClaimRule {
    /// `true`: the claim is there.
    Present,
    /// The claim is one of these (or a list that has one of them).
    OneOf(Vec<Scalar>),
}

/// A TOML scalar that a claim can be compared with.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)]
pub enum Scalar {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
}

/// An entry of `token_sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `"header"`: `Authorization: Bearer`.
    Authorization,
    /// `"header:NAME"`.
    Header(String),
    /// `"query:NAME"`.
    Query(String),
    /// `"cookie:NAME"`.
    Cookie(String),
    /// `"websocket_protocol"`.
    WebSocketProtocol,
}

/// `issuers.NAME.claims`: claim paths (`"realm_access.roles"`); lists are united.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ClaimNames {
    pub user: Vec<String>,
    pub tenant: Vec<String>,
    pub client: Vec<String>,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub roles: Vec<String>,
    pub tier: Vec<String>,
}

/// `issuers.NAME.remote`.
#[derive(Debug, Clone)]
pub struct RemoteTokens {
    /// Who is asked.
    pub url: String,
    /// How.
    pub kind: RemoteTokenKind,
    /// `"GET"` instead of `"POST"`; with `bearer` only.
    pub get: bool,
    /// Our own credential, with `introspection` only.
    pub bearer: Option<Secret>,
    /// Or this one: HTTP Basic (RFC 6749 §2.3.1).
    pub client_id: String,
    /// Its password.
    pub client_secret: Option<Secret>,
    /// Times and bounds.
    pub asking: Asking,
}

/// `remote.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteTokenKind {
    /// The token is sent as `Authorization: Bearer`.
    Bearer,
    /// RFC 7662.
    Introspection,
}
