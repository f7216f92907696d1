//! `[api_keys]` and `[internal]`: credentials that are compared, not verified.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::issuer::Scalar;
use crate::config::secret::Secret;

/// `[api_keys]`.
#[derive(Debug, Clone)]
pub struct ApiKeys {
    /// Where keys are found.
    pub sources: Vec<KeySource>,
    /// What keys begin with; empty: anything.
    pub prefixes: Vec<String>,
    /// The keys of the config.
    pub keys: Vec<ApiKey>,
    /// Who is asked for others.
    pub remote: Option<RemoteKeys>,
}

/// An entry of `api_keys.sources`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// `"header:NAME"`.
    Header(String),
    /// `"bearer"`: `Authorization: Bearer`.
    Bearer,
    /// `"basic"`: the password of `Authorization: Basic`.
    Basic,
}

/// One of `[[api_keys.keys]]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct ApiKey {
    pub id: String,
    /// SHA-256 of the key's bytes.
    pub hash: [u8; 32],
    pub user: String,
    pub tenant: String,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub roles: Vec<String>,
    pub tier: String,
    /// Seconds since the Unix epoch.
    pub expires: Option<i64>,
}

/// `[api_keys.remote]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct RemoteKeys {
    pub url: String,
    pub key_in: RemoteKeyIn,
    pub extra: BTreeMap<String, Scalar>,
    pub client_address: String,
    pub bearer: Option<Secret>,
    pub asking: Asking,
    pub fields: RemoteFields,
    pub ca: Option<PathBuf>,
    pub manage_url: Option<String>,
    pub manage_token: Option<Secret>,
}

/// How an auth service is asked, and for how long its answers serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Asking {
    pub cache_ttl: Duration,
    pub negative_ttl: Duration,
    pub stale_if_error: Duration,
    /// Of the whole look-up, retries included.
    pub timeout: Duration,
    pub retries: u32,
    pub max_entries: usize,
}

/// `api_keys.remote.request.key_in`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteKeyIn {
    /// `"body:FIELD"`.
    Body(String),
    /// `"bearer"`.
    Bearer,
    /// `"header:NAME"`.
    Header(String),
}

/// `api_keys.remote.fields`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RemoteFields {
    pub user: String,
    pub tenant: String,
    pub scopes: String,
    pub permissions: String,
    pub roles: String,
    pub tier: String,
    pub valid: String,
    pub key_id: String,
    pub expires: String,
}

/// `[internal]`.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Internal {
    pub header: String,
    pub keys: Vec<Secret>,
    pub allowed_from: Vec<IpNet>,
    pub user: String,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub roles: Vec<String>,
    pub tenant: String,
    pub tier: String,
}
