//! What is told of a request, gathered on its way and written once, when its response has ended: metrics, the access line and the span.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header};

use crate::observe::Decision;
use crate::policy::address::Origin;
use crate::policy::canary::Arm;
use crate::policy::denial::{Code, Denial, Tells};
use crate::policy::facts::{Facts, Now};
use crate::policy::identity::{AuthMethod, Identity};
use crate::policy::judge::KnownBy;
use crate::policy::route::Route;
use crate::policy::setting::Subject;
use crate::policy::shadow::Shadowed;
use crate::policy::trace::Trace;
use crate::policy::usage::{Tokens, UsageReader};
use crate::policy::verdict::{Allowances, Effect, Verdict};
use crate::runtime::request_body::Progress;
use crate::runtime::shadow::Compared;
use crate::runtime::snapshot::Snapshot;
use crate::runtime::upstream::Upstream;

use super::connection::Client;
use super::failure::ForwardError;
use super::grpc;
use super::holds::Holds;
use super::http2::OpenStream;

mod audit;
mod head;
mod telling;

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
    /// In nanoseconds since the Unix epoch.
    began_ns: u64,
    /// Where it came from.
    pub origin: Origin,
    /// Its id, the client's or ours.
    pub request_id: HeaderValue,
    /// The trace that it belongs to.
    pub trace: Trace,
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
    /// When the judge had spoken, in nanoseconds since the head had come; `None`: it was not asked.
    judged_ns: Option<u64>,
    identity: Option<Arc<Identity>>,
    limit: Option<Arc<str>>,
    /// What it holds of limits.
    holds: Holds,
    /// Reads what the answer says that it cost.
    usage: Option<Box<UsageReader>>,
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
        request: &Parts,
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
        let origin = trust.map_or(stranger, |trust| trust.origin(peer, &request.headers));
        let log = &snapshot.config.log;
        gateway.metrics.requests_in_flight.inc();
        let began_ns = gateway.clock.unix_ns();
        let monotonic_ns = gateway.clock.monotonic_ns();
        Box::new(Self {
            now: Now {
                unix_s: i64::try_from(began_ns / 1_000_000_000).unwrap_or(i64::MAX),
                monotonic_ns,
            },
            began_ns,
            origin,
            request_id: head::id_of(&snapshot, &request.headers),
            trace: head::trace_of(&snapshot, &request.headers),
            bytes_out: 0,
            progress: None,
            tunnel_in: 0,
            untrusted_forwarding: !origin.peer_trusted && head::says_where_from(&request.headers),
            method: request.method.clone(),
            target: request.uri.clone(),
            version: request.version,
            host: request.headers.get(header::HOST).cloned(),
            user_agent: log
                .user_agent
                .then(|| request.headers.get(header::USER_AGENT).cloned())
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
            judged_ns: None,
            identity: None,
            limit: None,
            holds: Holds::default(),
            usage: None,
            upstream: None,
            upstream_ns: None,
            overhead_ns: 0,
            client: client.clone(),
            snapshot,
            is_grpc: grpc::is_call(request.version, &request.headers),
            _stream: stream,
        })
    }

    /// Limits have granted it this, and no more: what is to be settled later is held until then.
    pub fn hold(&mut self, allowances: &Allowances<'_>) {
        self.holds = Holds::of(allowances);
    }

    /// The judge has spoken.
    pub fn judged(&mut self, route: &Route, verdict: &Verdict<'_>) {
        self.route = Some(route.index);
        self.arm = verdict.arm;
        self.auth_method = verdict.method;
        self.identity.clone_from(&verdict.identity);
        self.permitted = verdict.permitted;
        self.judged_ns = Some(self.elapsed_ns());
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
        if let Some(route) = route {
            audit::failed_credential(self, route, denial);
        }
    }

    /// It was allowed, and its answer ended before it was whole: why.
    pub fn ended_early(&mut self, detail: &'static str) {
        self.detail = Some(detail);
    }

    /// It went to that endpoint, last.
    pub fn sent_to(&mut self, upstream: &Arc<Upstream>, endpoint: Option<usize>) {
        self.upstream = endpoint.map(|endpoint| (upstream.clone(), endpoint));
    }

    /// The upstream has answered, or failed to: what passed since the judgement was its time.
    pub fn waited(&mut self) {
        let elapsed_ns = self.elapsed_ns();
        self.overhead_ns = self.judged_ns.unwrap_or_default();
        self.upstream_ns = Some(elapsed_ns.saturating_sub(self.overhead_ns));
    }

    /// The request was allowed, and could not be forwarded.
    pub fn failed(&mut self, error: &ForwardError) {
        self.reason = Some(error.name());
        self.detail = Some(error.detail());
    }

    /// The answer says what it cost: it is read as it passes.
    pub fn read_usage(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.usage = UsageReader::of(status, headers).map(Box::new);
    }

    /// The next bytes of the response's body.
    pub fn sent(&mut self, bytes: &[u8]) {
        self.bytes_out += bytes.len() as u64;
        if let Some(usage) = &mut self.usage {
            usage.read(bytes);
        }
    }

    /// The response's head goes out. What is left of limits changes where they do not count that status.
    pub fn answered<'a>(&mut self, status: StatusCode, allowances: &Allowances<'a>) -> Option<Allowances<'a>> {
        self.status = status;
        if self.reason == Some(CLIENT_CLOSED) {
            self.reason = None;
        }
        if self.upstream_ns.is_none() {
            self.overhead_ns = self.elapsed_ns();
        }
        if self.holds.is_empty() {
            return None;
        }
        let mut settled = allowances.clone();
        let now_ns = self.client.worker.gateway.clock.monotonic_ns();
        self.holds
            .answered(status.as_u16(), &self.snapshot.meters, now_ns, &mut settled);
        Some(settled)
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

    /// Gives back what is held, and charges what the answer cost.
    fn settle(&mut self, elapsed_ns: u64, tokens: Option<Tokens>) {
        if !self.holds.is_empty() {
            let now_ns = self.now.monotonic_ns.saturating_add(elapsed_ns);
            let tokens = tokens.map_or(0, |tokens| tokens.total());
            self.holds
                .ended(self.status.as_u16(), tokens, &self.snapshot.meters, now_ns);
        }
    }

    fn tokens(&self) -> Option<Tokens> {
        let asked = self.progress.as_ref().map_or(0, |progress| progress.bytes());
        self.usage.as_ref()?.tokens(asked)
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed_ns = self.elapsed_ns();
        let tokens = self.tokens();
        self.settle(elapsed_ns, tokens);
        self.measure(elapsed_ns, tokens);
        self.tell(elapsed_ns, tokens);
    }
}
