//! What a record tells when its request has ended: metrics, the access line, and the span where one is sampled.

use std::time::Duration;

use http::HeaderValue;

use crate::observe::access_log::{AccessLine, protocol_name};
use crate::observe::metrics::{Metrics, RouteMetrics};
use crate::observe::span::ServerSpan;
use crate::policy::canary::Arm;
use crate::policy::denial::Code;
use crate::policy::identity::{AuthMethod, HeaderText};
use crate::policy::trace::{Digits, Span, TraceId};
use crate::policy::usage::Tokens;

use super::Record;

impl Record {
    pub(super) fn measure(&self, elapsed_ns: u64, tokens: Option<Tokens>) {
        let metrics = &self.client.worker.gateway.metrics;
        metrics.requests_in_flight.dec();
        if self.untrusted_forwarding {
            self.client.admitted.listener.metrics.untrusted_forwarding.inc();
        }
        let route = self
            .route
            .and_then(|place| self.snapshot.routes.get(place))
            .unwrap_or(&metrics.no_route);
        route.count_request(&self.method, self.status);
        if let Some(arm) = self.arm
            && let Some(Some(canary)) = self.route.and_then(|place| self.snapshot.canaries.get(place))
        {
            canary.count(arm, self.status);
        }
        route.duration.observe(seconds(elapsed_ns));
        route.overhead.observe(seconds(self.overhead_ns));
        if let Some(tokens) = tokens {
            route.count_tokens(tokens);
        }
        if let Some(judged_ns) = self.judged_ns {
            self.measure_judgement(metrics, route, judged_ns);
        } else if self.refused.is_some() {
            // Before anybody was asked who is calling.
            route.count_decision(AuthMethod::None, self.refused);
        }
        if let (Some((upstream, _)), Some(upstream_ns)) = (&self.upstream, self.upstream_ns) {
            upstream.metrics.duration.observe(seconds(upstream_ns));
        }
    }

    fn measure_judgement(&self, metrics: &Metrics, route: &RouteMetrics, judged_ns: u64) {
        route.count_decision(self.auth_method, self.refused);
        if let Some(permitted) = self.permitted {
            route.count_permission(permitted);
        }
        // Whoever was identified presented something valid, whatever it was then refused for.
        let fault = if self.identity.is_some() { None } else { self.refused };
        match self.auth_method {
            AuthMethod::Jwt => {
                metrics.jwt_validations.count(fault);
                metrics.jwt_validation_duration.observe(seconds(judged_ns));
            }
            AuthMethod::ApiKey => metrics.api_key_validations.of(self.known_by).count(fault),
            AuthMethod::Internal | AuthMethod::None => {}
        }
    }

    pub(super) fn tell(&self, elapsed_ns: u64, tokens: Option<Tokens>) {
        let route = self.route.and_then(|place| self.snapshot.policy.routes.get(place));
        let is_logged = route.map_or(self.snapshot.config.log.access, |route| route.access_log);
        let span = self.trace.span().filter(|span| span.is_sampled());
        if !is_logged && span.is_none() {
            return;
        }
        let ended_ns = self.began_ns.saturating_add(elapsed_ns);
        let trace_id = self.trace.id().as_ref().map(TraceId::digits);
        let identity = self.identity.as_deref();
        let endpoint = self
            .upstream
            .as_ref()
            .and_then(|(upstream, place)| upstream.endpoints.get(*place));
        let line = AccessLine {
            time_ms: i64::try_from(ended_ns / 1_000_000).unwrap_or(i64::MAX),
            request_id: self.request_id.to_str().unwrap_or_default(),
            listener: &self.client.admitted.listener.config.name,
            protocol: protocol_name(self.version),
            host: self
                .host
                .as_ref()
                .map(HeaderValue::as_bytes)
                .filter(|host| !host.contains(&b'@')),
            route: route.map(|route| &*route.name),
            method: Some(self.method.as_str()),
            path: Some(self.target.path().as_bytes()),
            status: self.status,
            bytes_in: self
                .progress
                .as_ref()
                .map_or(self.tunnel_in, |progress| progress.bytes()),
            bytes_out: self.bytes_out,
            duration: Duration::from_nanos(elapsed_ns),
            upstream_duration: self.upstream_ns.map(Duration::from_nanos),
            client_ip: Some(self.origin.client),
            auth_mode: route.map(|route| &*route.mode_on(self.arm).name),
            auth_method: self.judged_ns.map(|_| self.auth_method),
            decision: Some(self.decision),
            reason: self.reason,
            detail: self.detail,
            missing: self.missing.as_deref(),
            arm: self.arm.map(Arm::name),
            shadow: self.shadow.map(|shadow| shadow.difference.name()),
            shadow_reason: self.shadow.and_then(|shadow| shadow.refused).map(Code::name),
            user_id: identity.map(|identity| identity.user.as_str()),
            acting_for: identity
                .and_then(|identity| identity.acting_for.as_ref())
                .map(HeaderText::as_str),
            client_id: identity
                .and_then(|identity| identity.client.as_ref())
                .map(HeaderText::as_str),
            key_id: identity.and_then(|identity| identity.key_id.as_deref()),
            issuer: identity.and_then(|identity| identity.issuer.as_deref()),
            tenant: identity
                .and_then(|identity| identity.tenant.as_ref())
                .map(HeaderText::as_str),
            scopes: identity.map_or(&[][..], |identity| &identity.scopes),
            limit: self.limit.as_deref(),
            tokens,
            upstream: self.upstream.as_ref().map(|(upstream, _)| &*upstream.spec.name),
            endpoint: endpoint.map(|endpoint| &*endpoint.name),
            trace_id: trace_id.as_ref().map(Digits::as_str),
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
        };
        if is_logged {
            self.client.worker.lines.write(|out, format| line.write(format, out));
        }
        if let Some(span) = span {
            self.export(span, ended_ns, &line);
        }
    }

    fn export(&self, span: &Span, ended_ns: u64, line: &AccessLine<'_>) {
        if let Some(telemetry) = &self.snapshot.telemetry {
            let span = ServerSpan {
                span,
                began_ns: self.began_ns,
                ended_ns,
                secure: self.client.transport().is_secure(),
                line,
            };
            telemetry.record(self.client.worker.index, &span);
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
