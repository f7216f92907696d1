//! The access line told as a span: what OpenTelemetry's collectors are sent (OTLP 1.x), with the attributes that its semantic
//! conventions give an HTTP server, and the gateway's own as `gateway.…`. Depends on `policy` for the trace's context.
//!
//! INVARIANT: a span has less than the line, never more: no query, no credential, no header's value but the host, and nobody's name
//! either, for traces are read by more people than logs are. What a stranger wrote is cut at 2048 bytes.

use http::uri::Authority;

use super::Decision;
use super::access_log::AccessLine;
use super::line::LONGEST;
use super::protobuf::{bytes, fixed32, fixed64, integer, message};
use crate::policy::identity::AuthMethod;
use crate::policy::trace::Span;

/// Numbers of the fields in `opentelemetry/proto/…/v1/*.proto`.
mod field {
    /// `ExportTraceServiceRequest`.
    pub(super) const RESOURCE_SPANS: u32 = 1;
    /// `ResourceSpans`.
    pub(super) const RESOURCE: u32 = 1;
    pub(super) const SCOPE_SPANS: u32 = 2;
    /// `Resource`.
    pub(super) const RESOURCE_ATTRIBUTES: u32 = 1;
    /// `ScopeSpans`.
    pub(super) const SCOPE: u32 = 1;
    pub(super) const SPANS: u32 = 2;
    /// `InstrumentationScope`.
    pub(super) const SCOPE_NAME: u32 = 1;
    pub(super) const SCOPE_VERSION: u32 = 2;
    /// `Span`.
    pub(super) const TRACE_ID: u32 = 1;
    pub(super) const SPAN_ID: u32 = 2;
    pub(super) const PARENT_SPAN_ID: u32 = 4;
    pub(super) const NAME: u32 = 5;
    pub(super) const KIND: u32 = 6;
    pub(super) const START: u32 = 7;
    pub(super) const END: u32 = 8;
    pub(super) const ATTRIBUTES: u32 = 9;
    pub(super) const STATUS: u32 = 15;
    pub(super) const FLAGS: u32 = 16;
    /// `Status`.
    pub(super) const STATUS_CODE: u32 = 3;
    /// `KeyValue`.
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
    /// `AnyValue`.
    pub(super) const STRING: u32 = 1;
    pub(super) const INTEGER: u32 = 3;
    pub(super) const DOUBLE: u32 = 4;
}

/// `SPAN_KIND_SERVER`.
const SERVER: u64 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;
/// `SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK`, and `…_IS_REMOTE_MASK`: whether the parent is another process' is known, and it is.
const KNOWN_WHETHER_REMOTE: u32 = 0x100;
const REMOTE: u32 = 0x200;

/// Methods that are told by their names (RFC 9110 §9, RFC 5789); others are strangers' words.
const METHODS: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// The status of a request whose client left before it was answered. Nobody was sent it.
const CLIENT_LEFT: u16 = 499;

/// A request that has ended, as a span.
#[derive(Debug)]
pub struct ServerSpan<'a> {
    /// Its context.
    pub span: &'a Span,
    /// When its head had come, in nanoseconds since the Unix epoch.
    pub began_ns: u64,
    /// When its answer had ended.
    pub ended_ns: u64,
    /// Whether it came over TLS.
    pub secure: bool,
    /// What is told of it.
    pub line: &'a AccessLine<'a>,
}

impl ServerSpan<'_> {
    /// Appends it to other spans.
    pub fn write(&self, out: &mut Vec<u8>) {
        message(out, field::SPANS, |out| self.write_fields(out));
    }

    fn write_fields(&self, out: &mut Vec<u8>) {
        let (span, line) = (self.span, self.line);
        bytes(out, field::TRACE_ID, span.trace.bytes());
        bytes(out, field::SPAN_ID, span.id.bytes());
        let mut flags = u32::from(span.flags()) | KNOWN_WHETHER_REMOTE;
        if let Some(parent) = span.parent {
            bytes(out, field::PARENT_SPAN_ID, parent.bytes());
            flags |= REMOTE;
        }
        fixed32(out, field::FLAGS, flags);
        let method = line.method.map(|method| known_method(method).unwrap_or("_OTHER"));
        self.write_name(out, method);
        integer(out, field::KIND, SERVER);
        fixed64(out, field::START, self.began_ns);
        fixed64(out, field::END, self.ended_ns);
        text(out, "http.request.method", method);
        text(out, "url.scheme", Some(if self.secure { "https" } else { "http" }));
        self.write_http(out);
        self.write_own(out);
        if line.status.is_server_error() {
            message(out, field::STATUS, |out| integer(out, field::STATUS_CODE, ERROR));
        }
    }

    /// `GET chat`: of few values, so that spans can be grouped by it.
    fn write_name(&self, out: &mut Vec<u8>, method: Option<&str>) {
        let method = method.filter(|method| *method != "_OTHER").unwrap_or("HTTP");
        match self.line.route {
            Some(route) => bytes(out, field::NAME, format!("{method} {route}")),
            None => bytes(out, field::NAME, method),
        }
    }

    fn write_http(&self, out: &mut Vec<u8>) {
        let line = self.line;
        text(out, "url.path", line.path.map(printable).as_deref());
        text(out, "http.route", line.route);
        let status = line.status.as_u16();
        whole(out, "http.response.status_code", status);
        let version = line.protocol.strip_prefix("HTTP/");
        text(out, "network.protocol.version", version);
        if let Some(client) = line.client_ip {
            text(out, "client.address", Some(&client.to_string()));
        }
        if let Some(host) = line.host.and_then(|host| Authority::try_from(host).ok()) {
            let name = host.host().trim_start_matches('[').trim_end_matches(']');
            text(out, "server.address", Some(printable(name.as_bytes()).as_ref()));
            if let Some(port) = host.port_u16() {
                whole(out, "server.port", port);
            }
        }
        if line.status.is_server_error() || status == CLIENT_LEFT {
            let kind = line.reason.unwrap_or_else(|| line.status.as_str());
            text(out, "error.type", Some(kind));
        }
        if let Some(tokens) = line.tokens {
            whole(out, "gen_ai.usage.input_tokens", tokens.input);
            whole(out, "gen_ai.usage.output_tokens", tokens.output);
        }
    }

    /// Fields of the line, under their names there.
    fn write_own(&self, out: &mut Vec<u8>) {
        let line = self.line;
        text(out, "gateway.request_id", Some(line.request_id));
        text(out, "gateway.listener", Some(line.listener));
        text(out, "gateway.auth_mode", line.auth_mode);
        text(out, "gateway.auth_method", line.auth_method.map(AuthMethod::name));
        text(out, "gateway.decision", line.decision.map(Decision::name));
        text(out, "gateway.reason", line.reason);
        text(out, "gateway.detail", line.detail);
        text(out, "gateway.arm", line.arm);
        text(out, "gateway.shadow", line.shadow);
        text(out, "gateway.issuer", line.issuer);
        text(out, "gateway.limit", line.limit);
        text(out, "gateway.upstream", line.upstream);
        text(out, "gateway.endpoint", line.endpoint);
        if let Some(waited) = line.upstream_duration {
            let ms = (waited.as_secs_f64() * 1e3).to_bits();
            attribute(out, "gateway.upstream_ms", |out| fixed64(out, field::DOUBLE, ms));
        }
    }
}

/// Who sends the spans: what stands around them in every export.
#[derive(Debug)]
pub struct Sender {
    resource: Vec<u8>,
    scope: Vec<u8>,
}

impl Sender {
    /// This process, by an id of its own.
    #[must_use]
    pub fn new(instance: &str) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let (mut resource, mut scope) = (Vec::new(), Vec::new());
        message(&mut resource, field::RESOURCE, |out| {
            for (key, value) in [
                ("service.name", "gateway"),
                ("service.version", version),
                ("service.instance.id", instance),
            ] {
                pair(out, field::RESOURCE_ATTRIBUTES, key, |out| {
                    bytes(out, field::STRING, value)
                });
            }
        });
        message(&mut scope, field::SCOPE, |out| {
            bytes(out, field::SCOPE_NAME, "gateway");
            bytes(out, field::SCOPE_VERSION, version);
        });
        Self { resource, scope }
    }

    /// An export of these spans, which were written one after the other.
    #[must_use]
    pub fn export<'s>(&self, spans: impl Iterator<Item = &'s [u8]>) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, field::RESOURCE_SPANS, |out| {
            out.extend_from_slice(&self.resource);
            message(out, field::SCOPE_SPANS, |out| {
                out.extend_from_slice(&self.scope);
                spans.for_each(|spans| out.extend_from_slice(spans));
            });
        });
        out
    }
}

fn known_method(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

/// A text, if there is one.
fn text(out: &mut Vec<u8>, key: &str, value: Option<&str>) {
    if let Some(value) = value {
        attribute(out, key, |out| bytes(out, field::STRING, value));
    }
}

fn whole(out: &mut Vec<u8>, key: &str, value: impl Into<u64>) {
    let value = value.into();
    attribute(out, key, |out| integer(out, field::INTEGER, value));
}

fn attribute(out: &mut Vec<u8>, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    pair(out, field::ATTRIBUTES, key, value);
}

fn pair(out: &mut Vec<u8>, field: u32, key: &str, value: impl FnOnce(&mut Vec<u8>)) {
    message(out, field, |out| {
        bytes(out, field::KEY, key);
        message(out, field::VALUE, value);
    });
}

/// What a stranger wrote: UTF-8, as Protocol Buffers ask of text, and not too long.
fn printable(text: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(text.get(..LONGEST).unwrap_or(text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
