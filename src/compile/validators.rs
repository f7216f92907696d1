//! Auth services that judge what the gateway cannot: `[api_keys.remote]` and `issuers.NAME.remote`, one shape for both.

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Map, Value};

use crate::config::Problems;
use crate::config::model::{self, Asking, RemoteKeyIn, RemoteTokenKind};
use crate::config::secret::Secret;
use crate::policy::authn::remote::{KeyRules, RemoteTokenRules};
use crate::policy::identity::ClaimPath;
use crate::policy::token::{IdentityClaims, TokenRules};

use super::issuers::json;
use super::{Shared, header_name};

/// The name of `[api_keys.remote]`, as a dependency and in events.
const API_KEYS: &str = "api_keys";

/// An auth service, and how its answers are read. Equal specs keep what they know across a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct ValidatorSpec<R> {
    /// In labels and events: `api_keys`, or the issuer's name.
    pub name: Arc<str>,
    /// What its answers prove.
    pub rules: R,
    /// How it is asked.
    pub question: Question,
    /// Times and bounds.
    pub asking: Asking,
    /// Certificates (PEM) that its server's must lead to; `None`: the system's.
    pub ca: Option<PathBuf>,
}

/// The form of the request.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// Where.
    pub url: String,
    /// By which method.
    pub method: Method,
    /// Where the credential stands.
    pub credential_in: CredentialIn,
    /// Further members of a JSON body.
    pub extra: Map<String, Value>,
    /// The member that holds the client's address; answers then hold for that address only.
    pub client_address: Option<String>,
    /// What we prove ourselves by: an `Authorization` header.
    pub own: Option<Own>,
}

/// Where a credential stands in the request to the auth service. Never in a URL (hardening r28).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialIn {
    /// A member of the JSON body.
    Body(String),
    /// `Authorization: Bearer`.
    Bearer,
    /// A header that holds nothing else.
    Header(HeaderName),
    /// RFC 7662 §2.1: the parameter `token` of a form.
    Form,
}

/// Our own credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Own {
    /// `Bearer`.
    Bearer(Secret),
    /// `Basic`: a client's id and secret.
    Basic(String, Secret),
}

/// `[api_keys.remote]`.
pub(super) fn of_keys(shared: &Shared<'_>, problems: &mut Problems) -> Option<ValidatorSpec<KeyRules>> {
    let config = shared.config.api_keys.as_ref()?.remote.as_ref()?;
    if let Some(bearer) = &config.bearer
        && HeaderValue::from_str(bearer.expose()).is_err()
    {
        problems.at("api_keys.remote.bearer", "must fit in a header");
    }
    let credential_in = match &config.key_in {
        RemoteKeyIn::Body(field) => CredentialIn::Body(field.clone()),
        RemoteKeyIn::Bearer => CredentialIn::Bearer,
        RemoteKeyIn::Header(name) => CredentialIn::Header(header_name(name)?),
    };
    let path = |name: &String| (!name.is_empty()).then(|| ClaimPath::new(name));
    let one = |name: &String| path(name).into_iter().collect();
    let fields = &config.fields;
    Some(ValidatorSpec {
        name: Arc::from(API_KEYS),
        rules: KeyRules {
            fields: IdentityClaims {
                user: one(&fields.user),
                tenant: one(&fields.tenant),
                client: Vec::new(),
                scopes: one(&fields.scopes),
                permissions: one(&fields.permissions),
                roles: one(&fields.roles),
                tier: one(&fields.tier),
            },
            valid: path(&fields.valid),
            key_id: path(&fields.key_id),
            expires: path(&fields.expires),
            reserved_user: shared.config.internal.as_ref().map(|internal| internal.user.clone()),
            roles: shared.roles.clone(),
            headers: shared.identity.clone(),
        },
        question: Question {
            url: config.url.clone(),
            method: Method::POST,
            credential_in,
            extra: config
                .extra
                .iter()
                .map(|(name, value)| (name.clone(), json(value)))
                .collect(),
            client_address: Some(config.client_address.clone()).filter(|field| !field.is_empty()),
            own: config.bearer.clone().map(Own::Bearer),
        },
        asking: config.asking,
        ca: config.ca.clone(),
    })
}

/// `issuers.NAME.remote`.
pub(super) fn of_tokens(issuer: &model::Issuer, rules: &Arc<TokenRules>) -> Option<ValidatorSpec<RemoteTokenRules>> {
    let remote = issuer.remote.as_ref()?;
    let introspection = match remote.kind {
        RemoteTokenKind::Bearer => false,
        RemoteTokenKind::Introspection => true,
    };
    let basic = remote.client_secret.clone();
    let basic = basic.map(|secret| Own::Basic(remote.client_id.clone(), secret));
    Some(ValidatorSpec {
        name: rules.name.clone(),
        rules: RemoteTokenRules::new(rules.clone(), introspection),
        question: Question {
            url: remote.url.clone(),
            method: if remote.get { Method::GET } else { Method::POST },
            credential_in: if introspection {
                CredentialIn::Form
            } else {
                CredentialIn::Bearer
            },
            extra: Map::new(),
            client_address: None,
            own: basic.or(remote.bearer.clone().map(Own::Bearer)),
        },
        asking: remote.asking,
        ca: issuer.ca.clone(),
    })
}
