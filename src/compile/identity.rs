//! Identities that the config itself holds: identity headers, roles, API keys, internal callers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::config::Problems;
use crate::config::model;
use crate::policy::address::Networks;
use crate::policy::authn::api_key::{ConfigKeys, KnownKey};
use crate::policy::authn::internal::InternalCallers;
use crate::policy::digest::SecretDigest;
use crate::policy::identity::{AuthMethod, CallerKeys, ClaimPath, HeaderText, Identity, IdentityHeaders, RoleTable};

use super::{Shared, header_name};

/// `[identity]`.
pub(super) fn headers(config: &model::IdentityHeaders, problems: &mut Problems) -> IdentityHeaders {
    let further = config.claims.iter().filter(|(_, claim)| !claim.is_empty());
    let headers = IdentityHeaders {
        user: header_name(&config.user_header),
        tenant: header_name(&config.tenant_header),
        client: header_name(&config.client_header),
        method: header_name(&config.method_header),
        scopes: header_name(&config.scopes_header),
        roles: header_name(&config.roles_header),
        permissions: header_name(&config.permissions_header),
        claims: further
            .filter_map(|(name, claim)| Some((header_name(name)?, ClaimPath::new(claim))))
            .collect(),
    };
    let request = header_name(&config.request_header);
    let mut seen: Vec<&http::HeaderName> = request.iter().collect();
    for name in headers.names() {
        if seen.contains(&name) {
            problems.at(
                "identity",
                format!("\"{name}\" is named twice; each part of an identity needs a header of its own"),
            );
        }
        seen.push(name);
    }
    headers
}

/// `[roles]`.
pub(super) fn roles(config: &BTreeMap<String, Vec<String>>, problems: &mut Problems) -> RoleTable {
    let mut table = BTreeMap::new();
    for (role, permissions) in config {
        let permissions = items(&format!("roles.{role}"), permissions, problems);
        table.insert(role.clone(), permissions);
    }
    RoleTable::new(table)
}

/// `[[api_keys.keys]]`.
pub(super) fn api_keys(shared: &Shared<'_>, problems: &mut Problems) -> ConfigKeys {
    let Some(config) = &shared.config.api_keys else {
        return ConfigKeys::default();
    };
    let sent_as_authorization = config
        .sources
        .iter()
        .any(|source| !matches!(source, model::KeySource::Header(_)));
    if sent_as_authorization && config.prefixes.is_empty() {
        problems.at(
            "api_keys.prefixes",
            "needs a prefix that tells keys from tokens and passwords, since `sources` has \"bearer\" or \"basic\"",
        );
    }
    let reserved = shared.config.internal.as_ref().map(|internal| internal.user.as_str());
    let mut keys = HashMap::new();
    for key in &config.keys {
        let at = format!("api_keys.keys.{}", key.id);
        if reserved == Some(key.user.as_str()) {
            problems.at(
                &format!("{at}.user"),
                "is the internal callers' own name (internal.user); no key may bear it",
            );
        }
        let digest = SecretDigest::from_bytes(key.hash);
        let caller = Caller {
            method: AuthMethod::ApiKey,
            user: &key.user,
            tenant: &key.tenant,
            scopes: &key.scopes,
            permissions: &key.permissions,
            roles: &key.roles,
            tier: &key.tier,
            key_id: Some(&key.id),
            credential: digest.half(),
        };
        let Some(identity) = caller.identity(&at, shared, problems) else {
            continue;
        };
        let known = KnownKey {
            identity: Arc::new(identity),
            expires: key.expires,
        };
        if keys.insert(digest, Arc::new(known)).is_some() {
            problems.at(
                &format!("{at}.hash"),
                "is the hash of another entry too; one key cannot be two callers",
            );
        }
    }
    ConfigKeys::new(config.prefixes.clone(), keys, config.remote.is_some())
}

/// `[internal]`.
pub(super) fn internal(shared: &Shared<'_>, problems: &mut Problems) -> Option<InternalCallers> {
    let config = shared.config.internal.as_ref()?;
    let caller = Caller {
        method: AuthMethod::Internal,
        user: &config.user,
        tenant: &config.tenant,
        scopes: &config.scopes,
        permissions: &config.permissions,
        roles: &config.roles,
        tier: &config.tier,
        key_id: None,
        credential: 0,
    };
    let identity = caller.identity("internal", shared, problems)?;
    Some(InternalCallers {
        header: header_name(&config.header)?,
        secrets: config
            .keys
            .iter()
            .map(|key| SecretDigest::of(key.expose().as_bytes()))
            .collect(),
        allowed_from: Networks::new(config.allowed_from.clone()),
        identity: Arc::new(identity),
        headers: shared.identity.clone(),
    })
}

/// A caller as the config describes one.
struct Caller<'c> {
    method: AuthMethod,
    user: &'c str,
    tenant: &'c str,
    scopes: &'c [String],
    permissions: &'c [String],
    roles: &'c [String],
    tier: &'c str,
    key_id: Option<&'c str>,
    credential: u128,
}

impl Caller<'_> {
    fn identity(&self, at: &str, shared: &Shared<'_>, problems: &mut Problems) -> Option<Identity> {
        let Some(user) = HeaderText::new(self.user) else {
            problems.at(&format!("{at}.user"), UNFIT);
            return None;
        };
        let tenant = HeaderText::new(self.tenant);
        if tenant.is_none() && !self.tenant.is_empty() {
            problems.at(&format!("{at}.tenant"), UNFIT);
        }
        let roles = items(&format!("{at}.roles"), self.roles, problems);
        let own = items(&format!("{at}.permissions"), self.permissions, problems);
        let mut identity = Identity {
            method: self.method,
            keys: CallerKeys::of(&user, tenant.as_ref(), self.credential),
            user,
            acting_for: None,
            tenant,
            client: None,
            scopes: items(&format!("{at}.scopes"), self.scopes, problems),
            permissions: shared.roles.permissions(own, &roles),
            roles,
            tier: (!self.tier.is_empty()).then(|| Arc::from(self.tier)),
            issuer: None,
            key_id: self.key_id.map(Arc::from),
            headers: Vec::new(),
        };
        identity.headers = shared.identity.of(&identity, &[]);
        Some(identity)
    }
}

const UNFIT: &str = "must fit in a header: 1-256 characters of printable ASCII";

fn items(at: &str, texts: &[String], problems: &mut Problems) -> Vec<HeaderText> {
    let mut items = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        match HeaderText::item(text) {
            Some(item) => items.push(item),
            None => problems.at(
                &format!("{at}[{index}]"),
                "must fit in a list in a header: 1-256 characters of printable ASCII without comma",
            ),
        }
    }
    items
}
