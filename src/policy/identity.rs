//! Who was proven: the one shape that a token, an API key and an internal secret all come to.
//!
//! What goes into a header is checked when the identity is made ([`HeaderText`]), so nothing downstream can put a
//! stranger's bytes on the wire. Depends on nothing else here.

use std::sync::Arc;

use http::HeaderValue;
use http::header::HeaderName;

use super::digest::key_of;

/// How an identity was proven, and the `method` of metrics, log lines and `explain`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AuthMethod {
    Jwt,
    ApiKey,
    Internal,
    None,
}

impl AuthMethod {
    /// Every method, in the order of the label table.
    pub const ALL: [Self; 4] = [Self::Jwt, Self::ApiKey, Self::Internal, Self::None];

    /// The name in config, labels and logs.
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

/// 1 to 256 bytes of 0x20-0x7E, no space at either end: text that is one header value and cannot end it.
///
/// Spaces around a value are not part of it (RFC 9110 §5.5): the upstream would read ` admin` as `admin`, somebody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderText(HeaderValue);

impl HeaderText {
    /// The longest text, in bytes.
    pub const MAX: usize = 256;

    /// `None` when the text is empty, too long, holds a byte outside 0x20-0x7E, or begins or ends with a space.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let fits = (1..=Self::MAX).contains(&text.len());
        let printable = text.bytes().all(|b| (0x20..=0x7e).contains(&b));
        let bare = !text.starts_with(' ') && !text.ends_with(' ');
        (fits && printable && bare).then(|| HeaderValue::from_str(text).ok().map(Self))?
    }

    /// As [`Self::new`], for an item of a comma-joined list: no comma either.
    #[must_use]
    pub fn item(text: &str) -> Option<Self> {
        if text.contains(',') { None } else { Self::new(text) }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // INVARIANT: made from visible ASCII only, so `to_str` cannot fail.
        self.0.to_str().unwrap_or_default()
    }

    /// The value to set; shares its bytes.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

/// A proven caller. Made once per verified credential and shared by every request that presents it.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// How it was proven.
    pub method: AuthMethod,
    /// The caller: a person, or for an internal caller the service's own name.
    pub user: HeaderText,
    /// Whom a trusted internal caller acts for.
    pub acting_for: Option<HeaderText>,
    /// The tenant.
    pub tenant: Option<HeaderText>,
    /// The OAuth client.
    pub client: Option<HeaderText>,
    /// Granted scopes.
    pub scopes: Vec<HeaderText>,
    /// Granted permissions, those of its roles included.
    pub permissions: Vec<HeaderText>,
    /// Roles.
    pub roles: Vec<HeaderText>,
    /// Chooses the rate of a limit.
    pub tier: Option<Arc<str>>,
    /// The issuer's name in the config, for a token.
    pub issuer: Option<Arc<str>>,
    /// The API key's id.
    pub key_id: Option<Arc<str>>,
    /// What limits count this caller by.
    pub keys: CallerKeys,
    /// The headers of `[identity]`, ready to be set.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// Digests that limits count a caller by, made with the identity so that no request has to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CallerKeys {
    /// Of the user.
    pub user: u128,
    /// Of the tenant.
    pub tenant: Option<u128>,
    /// Of the credential.
    pub credential: u128,
}

impl CallerKeys {
    /// The keys of a caller; `credential` is a digest already.
    #[must_use]
    pub fn of(user: &HeaderText, tenant: Option<&HeaderText>, credential: u128) -> Self {
        Self {
            user: key_of(user.as_str().as_bytes()),
            tenant: tenant.map(|tenant| key_of(tenant.as_str().as_bytes())),
            credential,
        }
    }
}

impl Identity {
    /// Whether limits by user count it as one: a service that acts for nobody is none.
    #[must_use]
    pub fn counts_as_user(&self) -> bool {
        self.method != AuthMethod::Internal || self.acting_for.is_some()
    }

    /// The user that the upstream is told: whom the caller acts for, else the caller.
    #[must_use]
    pub fn subject(&self) -> &HeaderText {
        self.acting_for.as_ref().unwrap_or(&self.user)
    }
}

/// Which header carries which part of an identity; `None`: switched off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct IdentityHeaders {
    pub user: Option<HeaderName>,
    pub tenant: Option<HeaderName>,
    pub client: Option<HeaderName>,
    pub method: Option<HeaderName>,
    pub scopes: Option<HeaderName>,
    pub roles: Option<HeaderName>,
    pub permissions: Option<HeaderName>,
    /// Further headers, each from a claim path.
    pub claims: Vec<(HeaderName, ClaimPath)>,
}

/// A path to a claim: `realm_access.roles`. A claim whose own name has dots is found first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClaimPath(Arc<str>);

impl ClaimPath {
    /// Takes the path as written.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self(Arc::from(path))
    }

    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The claim, if the token has it: by its whole name, else step by step through objects.
    #[must_use]
    pub fn find<'c>(&self, claims: &'c serde_json::Map<String, serde_json::Value>) -> Option<&'c serde_json::Value> {
        if let Some(value) = claims.get(&*self.0) {
            return Some(value);
        }
        let mut steps = self.0.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.as_object()?.get(step))
    }
}

impl IdentityHeaders {
    /// Every header name that these write.
    pub fn names(&self) -> impl Iterator<Item = &HeaderName> {
        [
            &self.user,
            &self.tenant,
            &self.client,
            &self.method,
            &self.scopes,
            &self.roles,
            &self.permissions,
        ]
        .into_iter()
        .flatten()
        .chain(self.claims.iter().map(|(name, _)| name))
    }

    /// The headers that tell an upstream of `identity`, and of the `extra` claims found in its token (one value a
    /// further header, in the order of [`Self::claims`]). Empty lists set no header.
    #[must_use]
    pub fn of(&self, identity: &Identity, extra: &[Option<HeaderText>]) -> Vec<(HeaderName, HeaderValue)> {
        let mut headers = Vec::with_capacity(4);
        let mut set = |name: &Option<HeaderName>, value: Option<HeaderValue>| {
            if let (Some(name), Some(value)) = (name, value) {
                headers.push((name.clone(), value));
            }
        };
        set(&self.user, Some(identity.subject().value()));
        set(&self.tenant, identity.tenant.as_ref().map(HeaderText::value));
        set(&self.client, identity.client.as_ref().map(HeaderText::value));
        set(&self.method, Some(HeaderValue::from_static(identity.method.name())));
        set(&self.scopes, joined(&identity.scopes, " "));
        set(&self.roles, joined(&identity.roles, ","));
        set(&self.permissions, joined(&identity.permissions, ","));
        for ((name, _), value) in self.claims.iter().zip(extra) {
            set(&Some(name.clone()), value.as_ref().map(HeaderText::value));
        }
        headers
    }
}

fn joined(items: &[HeaderText], separator: &str) -> Option<HeaderValue> {
    let texts: Vec<&str> = items.iter().map(HeaderText::as_str).collect();
    (!texts.is_empty()).then(|| HeaderValue::from_str(&texts.join(separator)).ok())?
}

/// `[roles]`: what each role permits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleTable(std::collections::BTreeMap<String, Vec<HeaderText>>);

impl RoleTable {
    /// Role → permissions.
    #[must_use]
    pub fn new(table: std::collections::BTreeMap<String, Vec<HeaderText>>) -> Self {
        Self(table)
    }

    /// `own` permissions and those of `roles`, each once, in order of first mention.
    #[must_use]
    pub fn permissions(&self, own: Vec<HeaderText>, roles: &[HeaderText]) -> Vec<HeaderText> {
        let mut all = own;
        for role in roles {
            for permission in self.0.get(role.as_str()).into_iter().flatten() {
                if !all.contains(permission) {
                    all.push(permission.clone());
                }
            }
        }
        all
    }
}
