//! The access line: what is written about a request at its end. Depends on `policy` for what a verdict names.
//!
//! It runs for every request, so it appends to a buffer and allocates nothing.

use std::net::IpAddr;
use std::time::Duration;

use http::{StatusCode, Version};
use tracing::Level;

use super::line::{Line, key};
use super::{Decision, Format};
use crate::policy::identity::{AuthMethod, HeaderText};
use crate::policy::usage::Tokens;

/// One line. Absent fields are left out; texts over 2048 bytes are cut.
///
/// INVARIANT: no field holds a header's value (save `host` and, when asked for, `user_agent`), a query or a credential.
#[derive(Debug, Clone, Default)]
pub struct AccessLine<'a> {
    /// When the line is written, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// `X-Request-ID`.
    pub request_id: &'a str,
    /// The listener's name.
    pub listener: &'a str,
    /// `HTTP/1.1`.
    pub protocol: &'a str,
    /// The authority that the client named, as it came; not if it holds a password (RFC 3986 §3.2.1).
    pub host: Option<&'a [u8]>,
    /// The route's name.
    pub route: Option<&'a str>,
    /// The method as it came; `None`: the head could not be read.
    pub method: Option<&'a str>,
    /// The path as it came, without the query.
    pub path: Option<&'a [u8]>,
    /// The answer's status.
    pub status: StatusCode,
    /// Bytes of the request's body that were read.
    pub bytes_in: u64,
    /// Bytes of the response's body that were written.
    pub bytes_out: u64,
    /// From the head's arrival to the end of the answer.
    pub duration: Duration,
    /// From the attempt to connect to the upstream's response head.
    pub upstream_duration: Option<Duration>,
    /// The client address.
    pub client_ip: Option<IpAddr>,
    /// The chain that judged: `hybrid`, or methods joined by commas.
    pub auth_mode: Option<&'a str>,
    /// The method that decided.
    pub auth_method: Option<AuthMethod>,
    /// Allow or deny.
    pub decision: Option<Decision>,
    /// The answer's `error`, when the gateway made it.
    pub reason: Option<&'a str>,
    /// The exact cause, which the client is not told.
    pub detail: Option<&'a str>,
    /// What a proven caller lacked, which the client is not told.
    pub missing: Option<&'a str>,
    /// The arm of a canary.
    pub arm: Option<&'a str>,
    /// What the route's shadow would have changed.
    pub shadow: Option<&'a str>,
    /// The `error` by which the shadow would refuse.
    pub shadow_reason: Option<&'a str>,
    /// The user that the upstream was told.
    pub user_id: Option<&'a str>,
    /// Whom an internal caller acted for.
    pub acting_for: Option<&'a str>,
    /// The OAuth client.
    pub client_id: Option<&'a str>,
    /// The API key's id.
    pub key_id: Option<&'a str>,
    /// The issuer's name in the config.
    pub issuer: Option<&'a str>,
    /// The tenant.
    pub tenant: Option<&'a str>,
    /// Granted scopes.
    pub scopes: &'a [HeaderText],
    /// The limit that refused.
    pub limit: Option<&'a str>,
    /// What the answer of a language model cost.
    pub tokens: Option<Tokens>,
    /// The upstream's name.
    pub upstream: Option<&'a str>,
    /// The endpoint that answered.
    pub endpoint: Option<&'a str>,
    /// The trace's id.
    pub trace_id: Option<&'a str>,
    /// With `log.user_agent` only.
    pub user_agent: Option<&'a [u8]>,
}

impl AccessLine<'_> {
    /// Appends the line and its `\n`. Its level is `error` from status 500 on, else `info`; `log.level` does not filter it.
    pub fn write(&self, format: Format, out: &mut Vec<u8>) {
        let level = if self.status.as_u16() >= 500 {
            Level::ERROR
        } else {
            Level::INFO
        };
        let mut line = Line::begin(out, format, self.time_ms, level);
        line.message("request");
        line.text(key!("request_id"), self.request_id);
        line.word(key!("listener"), self.listener);
        line.word(key!("protocol"), self.protocol);
        line.optional(key!("host"), self.host);
        line.optional_word(key!("route"), self.route);
        line.optional(key!("method"), self.method);
        line.optional(key!("path"), self.path);
        line.integer(key!("status"), self.status.as_u16());
        line.integer(key!("bytes_in"), self.bytes_in);
        line.integer(key!("bytes_out"), self.bytes_out);
        line.millis(key!("duration_ms"), self.duration);
        if let Some(duration) = self.upstream_duration {
            line.millis(key!("upstream_ms"), duration);
        }
        if let Some(address) = self.client_ip {
            line.address(key!("client_ip"), address);
        }
        line.optional_word(key!("auth_mode"), self.auth_mode);
        line.optional_word(key!("auth_method"), self.auth_method.map(AuthMethod::name));
        line.optional_word(key!("decision"), self.decision.map(Decision::name));
        line.optional_word(key!("reason"), self.reason);
        line.optional(key!("detail"), self.detail);
        line.optional(key!("missing"), self.missing);
        line.optional_word(key!("arm"), self.arm);
        line.optional_word(key!("shadow"), self.shadow);
        line.optional_word(key!("shadow_reason"), self.shadow_reason);
        line.optional(key!("user_id"), self.user_id);
        line.optional(key!("acting_for"), self.acting_for);
        line.optional(key!("client_id"), self.client_id);
        line.optional(key!("key_id"), self.key_id);
        line.optional_word(key!("issuer"), self.issuer);
        line.optional(key!("tenant"), self.tenant);
        line.texts(key!("scope"), self.scopes.iter().map(HeaderText::as_str));
        line.optional_word(key!("limit"), self.limit);
        if let Some(tokens) = self.tokens {
            line.integer(key!("input_tokens"), tokens.input);
            line.integer(key!("output_tokens"), tokens.output);
            if tokens.estimated {
                line.literal(key!("tokens_estimated"), true);
            }
        }
        line.optional_word(key!("upstream"), self.upstream);
        line.optional(key!("endpoint"), self.endpoint);
        line.optional(key!("trace_id"), self.trace_id);
        line.optional(key!("user_agent"), self.user_agent);
        line.word(key!("service"), "gateway");
        line.end();
    }
}

/// The name of a protocol's version in the line.
#[must_use]
pub const fn protocol_name(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _http_1_1 => "HTTP/1.1",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
