//! An allowed request on its way: its headers made the upstream's, an endpoint and a connection found, its answer awaited.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::config::model::{Endpoint as Url, HeaderCase};
use crate::policy::headers::{Hop, strip_response};
use crate::policy::verdict::Permit;
use crate::runtime::request_body::{BodyFault, Progress, RequestBody};
use crate::runtime::snapshot::Snapshot;
use crate::runtime::upstream::{Connection, Endpoint, Upstream};

use super::connection::Client;
use super::dial::dial;
use super::record::Record;
use super::respond::{Answer, AnswerBody};
use super::response_body::{FromUpstream, Lease};
use super::tunnel::Tunnel;

/// A request that may go.
pub struct Outgoing {
    /// Its head, as the client sent it.
    pub parts: Parts,
    /// Its body.
    pub body: Incoming,
    /// The protocol to upgrade to, and the client's side of it.
    pub upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// Whether the client may present the legacy secret.
    pub secret_allowed: bool,
}

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

/// Forwards a permitted request, and gives the head of its answer.
///
/// # Errors
/// Why there is none.
pub async fn forward(
    client: &Arc<Client>,
    snapshot: &Snapshot,
    record: &mut Record,
    permit: Permit<'_>,
    outgoing: Outgoing,
) -> Result<Answer, ForwardError> {
    let route = permit.route();
    let upstream = snapshot
        .upstreams
        .get(route.upstream)
        .ok_or(ForwardError::Unreachable)?;
    let place = upstream.enter().ok_or(ForwardError::Full)?;
    let Outgoing {
        mut parts,
        body,
        upgrade,
        secret_allowed,
    } = outgoing;
    let (body, progress) = RequestBody::of(body, route.max_body);
    record.progress.clone_from(&progress);
    let public_host = parts.headers.get(header::HOST).cloned();
    let believed = snapshot.policy.listeners.get(client.admitted.listener.index);
    let endpoint = upstream.pick(0).ok_or(ForwardError::Unreachable)?;
    let (protocol, client_side) = upgrade.unzip();
    let hop = Hop {
        origin: &record.origin,
        peer: &client.peer_value,
        believed: believed.map_or(crate::policy::address::Believed::XForwardedFor, |(trust, _)| {
            trust.believed
        }),
        secret_allowed,
        secure: false,
        authority: &endpoint.authority,
        request_id: &record.request_id,
        upgrade: protocol,
    };
    snapshot
        .policy
        .headers
        .to_upstream(&mut parts.headers, &route.headers, permit.identity(), &hop);
    parts.uri = origin_form(&parts.uri);
    parts.version = http::Version::HTTP_11;
    let mut sending = Sending {
        upstream,
        worker: client.worker.index,
        preserve_case: snapshot.config.server.header_case == HeaderCase::Preserve,
        response_timeout: route.response_timeout,
        progress: progress.as_deref(),
        attempts: 1 + usize::try_from(upstream.spec.config.retries).unwrap_or(0),
        sent_to: None,
    };
    let began = record.elapsed_ns();
    let answered = sending.send(Request::from_parts(parts, body)).await;
    if let Some(endpoint) = sending.sent_to {
        record.sent_to(upstream, endpoint);
    }
    record.waited(record.elapsed_ns().saturating_sub(began));
    let (mut response, connection, endpoint) = answered.map_err(|error| blame_client(error, progress.as_deref()))?;
    let lease = Lease {
        place,
        endpoint,
        worker: client.worker.index,
        connection: Some(connection),
    };
    let status = response.status();
    strip_response(response.headers_mut(), status);
    if route.headers.rewrite_location
        && let Some(endpoint) = upstream.endpoints.get(endpoint)
    {
        rewrite_location(response.headers_mut(), endpoint, public_host.as_ref());
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel(response, client_side, lease);
    }
    let (head, body) = response.into_parts();
    let stream = FromUpstream::new(body, lease, upstream.spec.config.stream_idle_timeout);
    Ok(Answer {
        head,
        body: AnswerBody::Stream(stream),
    })
}

/// A 101 that nobody asked for is nonsense (hardening r30).
fn tunnel(mut response: Response<Incoming>, client: Option<OnUpgrade>, lease: Lease) -> Result<Answer, ForwardError> {
    let upstream = hyper::upgrade::on(&mut response);
    let client = client.ok_or(ForwardError::BadGateway)?;
    let (head, _) = response.into_parts();
    let lease = Lease {
        connection: None,
        ..lease
    };
    Ok(Answer {
        head,
        body: AnswerBody::Tunnel(Tunnel {
            client,
            upstream,
            lease,
        }),
    })
}

/// The target as it goes on the wire: the client's own bytes, without scheme and authority.
fn origin_form(uri: &Uri) -> Uri {
    if uri.authority().is_none() {
        return uri.clone();
    }
    let path = uri.path_and_query().cloned();
    path.map_or_else(Uri::default, Uri::from)
}

/// A request on its way to one of an upstream's endpoints.
struct Sending<'a> {
    upstream: &'a Upstream,
    worker: usize,
    preserve_case: bool,
    response_timeout: Duration,
    progress: Option<&'a Progress>,
    attempts: usize,
    sent_to: Option<usize>,
}

type Sent = (Response<Incoming>, Connection, usize);

impl Sending<'_> {
    /// Tries until an endpoint answers: any method while nothing was sent, and idempotent ones without a body while no byte of a
    /// response came.
    async fn send(&mut self, mut request: Request<RequestBody>) -> Result<Sent, ForwardError> {
        let repeatable = is_idempotent(request.method()) && self.progress.is_none();
        let mut attempt = 0;
        loop {
            let endpoint = self.upstream.pick(attempt).ok_or(ForwardError::Unreachable)?;
            attempt += 1;
            self.sent_to = self
                .upstream
                .endpoints
                .iter()
                .position(|other| std::ptr::eq(other, endpoint));
            let (mut connection, reused) = match endpoint.take_idle(self.worker) {
                Some(connection) => (connection, true),
                None => match self.dial(endpoint).await {
                    Ok(connection) => (connection, false),
                    Err(error) if attempt < self.attempts => {
                        tracing::debug!(endpoint = %endpoint.name, error = %error, "connecting failed, trying again");
                        continue;
                    }
                    Err(error) => {
                        tracing::warn!(endpoint = %endpoint.name, error = %error, "upstream cannot be reached");
                        return Err(ForwardError::Unreachable);
                    }
                },
            };
            // A kept connection may have been closed by the other side in this very moment: that is nobody's failure, and one
            // more attempt does not count as a retry.
            let spare = (repeatable && (reused || attempt < self.attempts)).then(|| copy_of(&request));
            endpoint.begin();
            let outcome = self.exchange(&mut connection, request).await;
            match outcome {
                Ok(response) => {
                    let place = self.sent_to.unwrap_or_default();
                    return Ok((response, connection, place));
                }
                Err(failed) => {
                    endpoint.end();
                    match (failed, spare) {
                        (Failed::Unsent(unsent), _) if reused || attempt < self.attempts => request = *unsent,
                        (Failed::Broken, Some(spare)) => request = spare,
                        (Failed::Unsent(_) | Failed::Broken, _) => return Err(ForwardError::BadGateway),
                        (Failed::Timeout(error), _) => return Err(error),
                    }
                }
            }
        }
    }

    async fn dial(&self, endpoint: &Endpoint) -> std::io::Result<Connection> {
        dial(endpoint, self.upstream.spec.config.connect_timeout, self.preserve_case).await
    }

    async fn exchange(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, Failed> {
        let response = connection.try_send_request(request);
        let sent = match self.progress {
            None if self.response_timeout.is_zero() => response.await,
            None => tokio::time::timeout(self.response_timeout, response)
                .await
                .map_err(|_| Failed::Timeout(ForwardError::Timeout))?,
            Some(progress) => tokio::select! {
                biased;
                response = response => response,
                error = self.watch(progress) => return Err(Failed::Timeout(error)),
            },
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(unsent) => Failed::Unsent(Box::new(unsent)),
            None => Failed::Broken,
        })
    }

    /// Ends when the body stands still for `body_idle_timeout`, or the response is overdue once the body is through.
    async fn watch(&self, progress: &Progress) -> ForwardError {
        let idle = self.upstream.spec.config.body_idle_timeout;
        let mut frames = progress.frames();
        while !progress.is_finished() {
            if tokio::time::timeout(idle, progress.finished()).await.is_ok() {
                break;
            }
            let now = progress.frames();
            if now == frames {
                return if progress.is_starved() {
                    ForwardError::BodyStalled
                } else {
                    ForwardError::Timeout
                };
            }
            frames = now;
        }
        if self.response_timeout.is_zero() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.response_timeout).await;
        ForwardError::Timeout
    }
}

/// How an attempt failed.
enum Failed {
    /// Nothing was written: the request is as it was.
    Unsent(Box<Request<RequestBody>>),
    /// Something was written, and no response came.
    Broken,
    /// Time ran out.
    Timeout(ForwardError),
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
    ]
    .contains(method)
}

/// The same request once more; it has no body.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    copy
}

/// An exchange that failed because of the request's body is the client's failure, not the upstream's.
fn blame_client(error: ForwardError, progress: Option<&Progress>) -> ForwardError {
    match progress.and_then(Progress::fault) {
        Some(BodyFault::TooLarge) => ForwardError::BodyTooLarge,
        Some(BodyFault::Broken) => ForwardError::BodyBroken,
        None => error,
    }
}

/// A `Location` with the upstream's own authority would lead the client past the gateway: it becomes relative to the public one.
fn rewrite_location(headers: &mut HeaderMap, endpoint: &Endpoint, public_host: Option<&HeaderValue>) {
    let Some(location) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let scheme = match endpoint.url {
        Url::Http { .. } | Url::Unix(_) => "http://",
        Url::Https { .. } => "https://",
    };
    let own = endpoint.authority.to_str().unwrap_or_default();
    let rest = location.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(own));
    let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#'])) else {
        return;
    };
    let public = public_host.and_then(|host| host.to_str().ok());
    let rewritten = match public {
        Some(host) => format!("http://{host}{rest}"),
        None => rest.to_owned(),
    };
    if let Ok(value) = HeaderValue::try_from(rewritten) {
        headers.insert(header::LOCATION, value);
    }
}
