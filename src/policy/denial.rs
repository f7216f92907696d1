//! A refusal as a value: what the client is told, and what only the operator is.
//!
//! The one place that gives each code its status and its text. Texts are for people and never name a cause that would help an
//! attacker; [`Denial::detail`] goes to the log and to `explain` only.

use std::sync::Arc;

use http::StatusCode;

/// The `error` of an answer: a closed set, and the `reason` label of metrics and logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Code {
    MalformedRequest,
    RequestTimeout,
    TargetTooLong,
    HeadTooLarge,
    MisdirectedRequest,
    NotImplemented,
    NoRoute,
    MethodNotAllowed,
    AddressNotAllowed,
    RateLimited,
    Unauthorized,
    InvalidToken,
    TokenExpired,
    TokenRevoked,
    InvalidApiKey,
    InvalidInternalAuth,
    AuthUnavailable,
    InsufficientScope,
    PermissionDenied,
    BodyTooLarge,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 20] = [
        Self::MalformedRequest,
        Self::RequestTimeout,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::MisdirectedRequest,
        Self::NotImplemented,
        Self::NoRoute,
        Self::MethodNotAllowed,
        Self::AddressNotAllowed,
        Self::RateLimited,
        Self::Unauthorized,
        Self::InvalidToken,
        Self::TokenExpired,
        Self::TokenRevoked,
        Self::InvalidApiKey,
        Self::InvalidInternalAuth,
        Self::AuthUnavailable,
        Self::InsufficientScope,
        Self::PermissionDenied,
        Self::BodyTooLarge,
    ];

    /// The `error` in the answer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MalformedRequest => "malformed_request",
            Self::RequestTimeout => "request_timeout",
            Self::TargetTooLong | Self::HeadTooLarge => "request_too_large",
            Self::MisdirectedRequest => "misdirected_request",
            Self::NotImplemented => "not_implemented",
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed => "method_not_allowed",
            Self::AddressNotAllowed => "address_not_allowed",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::InvalidToken => "invalid_token",
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::InvalidApiKey => "invalid_api_key",
            Self::InvalidInternalAuth => "invalid_internal_auth",
            Self::AuthUnavailable => "auth_unavailable",
            Self::InsufficientScope => "insufficient_scope",
            Self::PermissionDenied => "permission_denied",
            Self::BodyTooLarge => "body_too_large",
        }
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest => StatusCode::BAD_REQUEST,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::MisdirectedRequest => StatusCode::MISDIRECTED_REQUEST,
            Self::NotImplemented => StatusCode::NOT_IMPLEMENTED,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::AddressNotAllowed | Self::InsufficientScope | Self::PermissionDenied => StatusCode::FORBIDDEN,
            Self::RateLimited => StatusCode::TOO_MANY_REQUESTS,
            Self::Unauthorized
            | Self::InvalidToken
            | Self::TokenExpired
            | Self::TokenRevoked
            | Self::InvalidApiKey
            | Self::InvalidInternalAuth => StatusCode::UNAUTHORIZED,
            Self::AuthUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// The `error_description` of the answer.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request is malformed or ambiguous.",
            Self::RequestTimeout => "The request head did not arrive in time.",
            Self::TargetTooLong => "The request target is too long.",
            Self::HeadTooLarge => "The request head is too large.",
            Self::MisdirectedRequest => "This connection was not opened for that host.",
            Self::NotImplemented => "The method or transfer coding is not supported.",
            Self::NoRoute => "Nothing is served here.",
            Self::MethodNotAllowed => "This resource does not take that method.",
            Self::AddressNotAllowed => "This resource is not open to your network.",
            Self::RateLimited => "Too many requests; retry after the time given in Retry-After.",
            Self::Unauthorized => "This resource needs a credential.",
            Self::InvalidToken => "The access token is not valid.",
            Self::TokenExpired => "The access token has expired.",
            Self::TokenRevoked => "The access token was revoked.",
            Self::InvalidApiKey => "The API key is not valid.",
            Self::InvalidInternalAuth => "The internal credential is not valid.",
            Self::AuthUnavailable => "Credentials cannot be checked at the moment; retry later.",
            Self::InsufficientScope => "The credential lacks a scope that this resource needs.",
            Self::PermissionDenied => "The caller is not permitted to do this.",
            Self::BodyTooLarge => "The request body is too large.",
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq)]
pub struct Denial {
    /// What the client is told.
    pub code: Code,
    /// The exact cause, for the operator only.
    pub detail: &'static str,
    /// What else the answer carries.
    pub tells: Tells,
    /// What a proven caller lacks, for the operator only.
    pub missing: Option<Box<str>>,
}

/// What a refusal carries besides its body.
#[derive(Debug, Clone, PartialEq)]
pub enum Tells {
    /// Nothing.
    Nothing,
    /// `Allow`, for 405.
    Allow(Arc<str>),
    /// A challenge (RFC 6750 §3), for 401 and for missing scopes.
    Challenge(Challenge),
    /// `Retry-After` in seconds, and the limit's name for the log.
    RetryAfter {
        /// At least 1.
        seconds: u64,
        /// The limit that is exhausted.
        limit: Arc<str>,
    },
}

/// What `WWW-Authenticate` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// `Bearer realm="gateway"`: the route takes tokens, none was judged.
    Bearer,
    /// With `error="invalid_token"` and this description: a token was presented.
    InvalidToken(&'static str),
    /// With `error="insufficient_scope"` and these scopes, space-joined.
    Scope(Arc<str>),
    /// `ApiKey realm="gateway"`: the route takes no tokens.
    ApiKey,
}

impl Denial {
    /// A refusal that carries nothing else.
    #[must_use]
    pub const fn plain(code: Code, detail: &'static str) -> Self {
        Self {
            code,
            detail,
            tells: Tells::Nothing,
            missing: None,
        }
    }

    /// A proven caller lacks something.
    #[must_use]
    pub fn lacking(code: Code, detail: &'static str, missing: String) -> Self {
        Self {
            missing: Some(missing.into_boxed_str()),
            ..Self::plain(code, detail)
        }
    }

    /// A request that is malformed, or that two servers could read as two.
    #[must_use]
    pub const fn malformed(detail: &'static str) -> Self {
        Self::plain(Code::MalformedRequest, detail)
    }
}
