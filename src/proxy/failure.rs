//! Why an allowed request got no answer from its upstream: the one place that gives each failure its status and its text.

use http::StatusCode;

/// Why an allowed request was not answered by its upstream; the one place that gives each its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardError {
    /// No endpoint could be connected to.
    Unreachable,
    /// `max_in_flight` are under way.
    Full,
    /// It broke off, or spoke nonsense, before the response's head.
    BadGateway,
    /// It did not answer in time.
    Timeout,
    /// The request's body is longer than the route allows.
    BodyTooLarge,
    /// The client did not go on with the request's body.
    BodyStalled,
    /// The client broke the request's body off, or framed it wrongly.
    BodyBroken,
}

impl ForwardError {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Unreachable | Self::Full => StatusCode::SERVICE_UNAVAILABLE,
            Self::BadGateway => StatusCode::BAD_GATEWAY,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
        }
    }

    /// The `error` of the answer.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable | Self::Full => "upstream_unavailable",
            Self::BadGateway => "bad_gateway",
            Self::Timeout => "upstream_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::BodyStalled => "request_timeout",
            Self::BodyBroken => "malformed_request",
        }
    }

    /// The `error_description` of the answer.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Unreachable => "The service behind this resource cannot be reached.",
            Self::Full => "The service behind this resource is busy; retry later.",
            Self::BadGateway => "The service behind this resource did not answer properly.",
            Self::Timeout => "The service behind this resource did not answer in time.",
            Self::BodyTooLarge => "The request body is too large.",
            Self::BodyStalled => "The request body did not arrive in time.",
            Self::BodyBroken => "The request body is malformed or incomplete.",
        }
    }

    /// The exact cause, for the log.
    #[must_use]
    pub const fn detail(self) -> &'static str {
        match self {
            Self::Unreachable => "no_endpoint_connected",
            Self::Full => "max_in_flight",
            Self::BadGateway => "broken_before_response",
            Self::Timeout => "no_response_in_time",
            Self::BodyTooLarge => "body_over_max",
            Self::BodyStalled => "body_idle",
            Self::BodyBroken => "body_broken",
        }
    }

    /// Whether the client is to blame: its connection cannot go on.
    #[must_use]
    pub const fn is_clients(self) -> bool {
        matches!(self, Self::BodyTooLarge | Self::BodyStalled | Self::BodyBroken)
    }
}
