//! What is told of a request, gathered on its way and written once, when its response has ended: metrics and the access line.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::observe::Decision;
use crate::observe::access_log::{AccessLine, protocol_name};
use crate::observe::metrics::{Metrics, RouteMetrics};
use crate::policy::address::Origin;
use crate::policy::canary::Arm;
use crate::policy::denial::{Code, Denial, Tells};
use crate::policy::facts::{Facts, Now};
use crate::policy::identity::{AuthMethod, HeaderText, Identity};
use crate::policy::judge::KnownBy;
use crate::policy::route::Route;
use crate::policy::setting::Subject;
use crate::policy::shadow::Shadowed;
use crate::policy::verdict::{Effect, Verdict};
use crate::runtime::request_body::{ClientBody, Progress};
use crate::runtime::shadow::Compared;
use crate::runtime::snapshot::Snapshot;
use crate::runtime::upstream::Upstream;

use super::connection::Client;
use super::failure::ForwardError;
use super::grpc;
use super::http2::OpenStream;

mod audit;
mod head;

/// The `reason` of a request whose client left before it was answered.
const CLIENT_CLOSED: &str = "client_closed_request";

/// The `reason` of a preflight that was answered here.
const PREFLIGHT: &str = "preflight";

/// nginx' word for it; nobody is sent it.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// A request under way. Written when dropped, which the response's body sees to.
pub struct Record {
    /// The connection.
    pub client: Arc<Client>,
    /// The config that the request began with.
    pub snapshot: Arc<Snapshot>,
    /// When its head had come.
    pub now: Now,
    began_ms: i64,
    /// Where it came from.
    pub origin: Origin,
    /// Its id, the client's or ours.
    pub request_id: HeaderValue,
    /// Bytes of the response's body so far.
    pub bytes_out: u64,
    /// How far the request's body came; `None`: it had none.
    pub progress: Option<Arc<Progress>>,
    /// Bytes that a tunnel took from the client.
    pub tunnel_in: u64,
    /// A stranger said where the request comes from, and was not believed.
    untrusted_forwarding: bool,
    method: Method,
    target: Uri,
    version: Version,
    /// `Host`, as it came.
    pub host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    status: StatusCode,
    route: Option<usize>,
    /// The side of the route's canary, if it has one.
    pub arm: Option<Arm>,
    shadow: Option<Compared>,
    auth_method: AuthMethod,
    decision: Decision,
    refused: Option<Code>,
    reason: Option<&'static str>,
    detail: Option<&'static str>,
    /// What a proven caller lacked.
    missing: Option<Box<str>>,
    /// Who knew the API key.
    pub known_by: KnownBy,
    permitted: Option<bool>,
    judged: bool,
    /// When it was decided, in nanoseconds since the head had come.
    judged_ns: u64,
    identity: Option<Arc<Identity>>,
    limit: Option<Arc<str>>,
    upstream: Option<(Arc<Upstream>, usize)>,
    upstream_ns: Option<u64>,
    overhead_ns: u64,
    /// A gRPC call: told of refusals in gRPC's way.
    pub is_grpc: bool,
    /// Over HTTP/2: tells the connection when this is over.
    _stream: Option<OpenStream>,
}

impl Record {
    /// Begins with what the head says.
    #[must_use]
    pub fn begin(
        client: &Arc<Client>,
        snapshot: Arc<Snapshot>,
        request: &Request<ClientBody>,
        stream: Option<OpenStream>,
    ) -> Box<Self> {
        let gateway = &client.worker.gateway;
        let listener = client.admitted.listener.index;
        let trust = snapshot.policy.listeners.get(listener).map(|(trust, _)| trust);
        let peer = client.admitted.peer;
        let stranger = Origin {
            peer,
            peer_trusted: false,
            client: peer,
        };
        let origin = trust.map_or(stranger, |trust| trust.origin(peer, request.headers()));
        let log = &snapshot.config.log;
        gateway.metrics.requests_in_flight.inc();
        let began_ms = gateway.clock.unix_ms();
        let monotonic_ns = gateway.clock.monotonic_ns();
        Box::new(Self {
            now: Now {
                unix_s: began_ms.div_euclid(1000),
                monotonic_ns,
            },
            began_ms,
            origin,
            request_id: head::id_of(&snapshot, request),
            bytes_out: 0,
            progress: None,
            tunnel_in: 0,
            untrusted_forwarding: !origin.peer_trusted && head::says_where_from(request.headers()),
            method: request.method().clone(),
            target: request.uri().clone(),
            version: request.version(),
            host: request.headers().get(header::HOST).cloned(),
            user_agent: log
                .user_agent
                .then(|| request.headers().get(header::USER_AGENT).cloned())
                .flatten(),
            status: client_closed_request(),
            route: None,
            arm: None,
            shadow: None,
            auth_method: AuthMethod::None,
            decision: Decision::Deny,
            refused: None,
            reason: Some(CLIENT_CLOSED),
            detail: None,
            missing: None,
            known_by: KnownBy::Config,
            permitted: None,
            judged: false,
            judged_ns: 0,
            identity: None,
            limit: None,
            upstream: None,
            upstream_ns: None,
            overhead_ns: 0,
            client: client.clone(),
            snapshot,
            is_grpc: grpc::is_call(request.version(), request.headers()),
            _stream: stream,
        })
    }

    /// The judge has spoken.
    pub fn judged(&mut self, route: &Route, verdict: &Verdict<'_>) {
        self.route = Some(route.index);
        self.arm = verdict.arm;
        self.auth_method = verdict.method;
        self.identity.clone_from(&verdict.identity);
        self.permitted = verdict.permitted;
        self.judged = true;
        self.judged_ns = self.elapsed_ns();
        self.decision = match verdict.effect {
            Effect::Permit(_) => Decision::Allow,
            Effect::Denial(_) => Decision::Deny,
        };
        audit::acting_for(self, route, verdict);
    }

    /// It is a preflight, which the gateway answers for that route.
    pub fn preflight(&mut self, route: &Route) {
        self.route = Some(route.index);
        self.decision = Decision::Allow;
        self.reason = Some(PREFLIGHT);
    }

    /// The route's shadow has spoken too.
    pub fn shadowed(&mut self, route: &Route, facts: &Facts<'_>, verdict: &Verdict<'_>, shadowed: &Shadowed) {
        let shadow = self.snapshot.shadows.get(route.index).and_then(Option::as_ref);
        let request_id = self.request_id.to_str().unwrap_or_default();
        self.shadow = shadow.map(|shadow| shadow.compare(facts, request_id, verdict, shadowed));
    }

    /// The request is refused.
    pub fn denied(&mut self, denial: &Denial, route: Option<&Route>) {
        self.route = route.map(|route| route.index);
        self.decision = Decision::Deny;
        self.refused = Some(denial.code);
        self.reason = Some(denial.code.name());
        self.detail = Some(denial.detail);
        self.missing.clone_from(&denial.missing);
        if let Tells::RetryAfter { limit, .. } = &denial.tells {
            self.limit = Some(limit.clone());
        }
    }

    /// It was allowed, and ended with the token that let it in.
    pub fn expired(&mut self) {
        self.detail = Some("ended_with_its_token");
    }

    /// It went to that endpoint, last.
    pub fn sent_to(&mut self, upstream: &Arc<Upstream>, endpoint: Option<usize>) {
        self.upstream = endpoint.map(|endpoint| (upstream.clone(), endpoint));
    }

    /// The upstream has answered, or failed to: what passed since the judgement was its time.
    pub fn waited(&mut self) {
        let elapsed_ns = self.elapsed_ns();
        self.upstream_ns = Some(elapsed_ns.saturating_sub(self.judged_ns));
        self.overhead_ns = self.judged_ns;
    }

    /// The request was allowed, and could not be forwarded.
    pub fn failed(&mut self, error: &ForwardError) {
        self.reason = Some(error.name());
        self.detail = Some(error.detail());
    }

    /// The response's head goes out.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = status;
        if self.reason == Some(CLIENT_CLOSED) {
            self.reason = None;
        }
        if self.upstream_ns.is_none() {
            self.overhead_ns = self.elapsed_ns();
        }
    }

    /// The request as headers see it that are made of it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            identity: self.identity.as_deref(),
            client: self.origin.client,
            request_id: &self.request_id,
        }
    }

    /// Nanoseconds since the head had come.
    #[must_use]
    pub fn elapsed_ns(&self) -> u64 {
        self.client
            .worker
            .gateway
            .clock
            .monotonic_ns()
            .saturating_sub(self.now.monotonic_ns)
    }

    fn measure(&self, elapsed_ns: u64) {
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
        if self.judged {
            self.measure_judgement(metrics, route);
        } else if self.refused.is_some() {
            // Before anybody was asked who is calling.
            route.count_decision(AuthMethod::None, self.refused);
        }
        if let (Some((upstream, _)), Some(upstream_ns)) = (&self.upstream, self.upstream_ns) {
            upstream.metrics.duration.observe(seconds(upstream_ns));
        }
    }

    fn measure_judgement(&self, metrics: &Metrics, route: &RouteMetrics) {
        route.count_decision(self.auth_method, self.refused);
        if let Some(permitted) = self.permitted {
            route.count_permission(permitted);
        }
        // Whoever was identified presented something valid, whatever it was then refused for.
        let fault = if self.identity.is_some() { None } else { self.refused };
        match self.auth_method {
            AuthMethod::Jwt => {
                metrics.jwt_validations.count(fault);
                metrics.jwt_validation_duration.observe(seconds(self.judged_ns));
            }
            AuthMethod::ApiKey => metrics.api_key_validations.of(self.known_by).count(fault),
            AuthMethod::Internal | AuthMethod::None => {}
        }
    }

    fn write(&self, elapsed_ns: u64) {
        let route = self.route.and_then(|place| self.snapshot.policy.routes.get(place));
        let wanted = route.map_or(self.snapshot.config.log.access, |route| route.access_log);
        if !wanted {
            return;
        }
        let identity = self.identity.as_deref();
        let endpoint = self
            .upstream
            .as_ref()
            .and_then(|(upstream, place)| upstream.endpoints.get(*place));
        let line = AccessLine {
            time_ms: self
                .began_ms
                .saturating_add(i64::try_from(elapsed_ns / 1_000_000).unwrap_or(0)),
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
            auth_method: self.judged.then_some(self.auth_method),
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
            upstream: self.upstream.as_ref().map(|(upstream, _)| &*upstream.spec.name),
            endpoint: endpoint.map(|endpoint| &*endpoint.name),
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
            ..AccessLine::default()
        };
        self.client.worker.lines.write(|out, format| line.write(format, out));
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed_ns = self.elapsed_ns();
        self.measure(elapsed_ns);
        self.write(elapsed_ns);
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 104 days")]
fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
