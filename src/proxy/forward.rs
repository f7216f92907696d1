//! An allowed request on its way: its headers made the upstream's, sent, and its answer made ready for the client.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;

use crate::config::model::HeaderCase;
use crate::policy::action::{Forward, Target};
use crate::policy::credential::{WEBSOCKET_PROTOCOL, websocket_bearer};
use crate::policy::headers::Hop;
use crate::policy::hop_by_hop::strip_response;
use crate::policy::verdict::Permit;
use crate::runtime::request_body::{BodyFault, Progress, RequestBody};
use crate::runtime::snapshot::Snapshot;

use super::connection::Client;
use super::expiry::Expiry;
use super::failure::ForwardError;
use super::location::Public;
use super::record::Record;
use super::respond::{Answer, AnswerBody};
use super::response_body::{FromUpstream, Lease};
use super::send::Sending;
use super::tunnel::Tunnel;
use super::upgrade::Upgrade;

/// A request that may go.
pub struct Outgoing {
    /// As the client sent it.
    pub request: Request<Incoming>,
    /// The upgrade that it asks for.
    pub upgrade: Option<Upgrade>,
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
    to: &Forward,
    outgoing: Box<Outgoing>,
) -> Result<Answer, ForwardError> {
    let route = permit.route();
    let upstream = snapshot.upstreams.get(to.upstream).ok_or(ForwardError::Unreachable)?;
    let mut place = upstream.enter().ok_or(ForwardError::Full)?;
    let Outgoing { request, upgrade } = *outgoing;
    let protocol = upgrade.as_ref().map(|upgrade| upgrade.protocol.clone());
    let hides = route.headers.hide_websocket_tokens;
    let bearer = hides.then(|| websocket_bearer(request.headers())).flatten();
    let request = for_upstream(client, snapshot, record, &permit, to, protocol, request)?;
    let public = Public::of(record, request.headers(), route.headers.preserve_host);
    let progress = record.progress.clone();
    let sending = Sending {
        place: &mut place,
        worker: client.worker.index,
        preserve_case: snapshot.config.server.header_case == HeaderCase::Preserve,
        own_host: !route.headers.keeps_host(request.headers()),
        response_timeout: to.response_timeout,
        progress: progress.as_deref(),
    };
    let answered = sending.send(request).await;
    record.sent_to(upstream, place.endpoint_place());
    record.waited();
    let (mut response, connection) = answered.map_err(|error| blame_client(error, progress.as_deref()))?;
    if !is_framed_soundly(response.headers()) {
        return Err(ForwardError::BadGateway);
    }
    let status = response.status();
    strip_response(response.headers_mut(), status);
    if let Some(endpoint) = place.endpoint().filter(|_| route.headers.rewrite_location) {
        public.rewrite_location(response.headers_mut(), endpoint, to.rewrite.as_ref());
    }
    let lease = Lease {
        place,
        worker: client.worker.index,
        connection: Some(connection),
    };
    let now_ms = client.worker.gateway.clock.unix_ms();
    let ends = permit.ends_s().and_then(|ends_s| Expiry::at(ends_s, now_ms));
    if status == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(bearer) = bearer {
            // Browsers break off a WebSocket for which they offered subprotocols and none was chosen.
            response.headers_mut().entry(WEBSOCKET_PROTOCOL).or_insert(bearer);
        }
        return tunnel(response, upgrade, lease, ends);
    }
    let (head, body) = response.into_parts();
    let stream = FromUpstream::new(body, lease, upstream.spec.config.stream_idle_timeout, ends);
    Ok(Answer {
        head,
        body: AnswerBody::Stream(stream),
    })
}

/// The client's request as the upstream is to get it.
fn for_upstream(
    client: &Client,
    snapshot: &Snapshot,
    record: &mut Record,
    permit: &Permit<'_>,
    to: &Forward,
    upgrade: Option<HeaderValue>,
    request: Request<Incoming>,
) -> Result<Box<Request<RequestBody>>, ForwardError> {
    let route = permit.route();
    let hop = Hop {
        origin: &record.origin,
        peer: &client.peer_value,
        believed: snapshot.policy.believed(client.admitted.listener.index),
        secret_allowed: snapshot.policy.secret_allowed_from(record.origin.client),
        secure: client.transport().is_secure(),
        request_id: &record.request_id,
        upgrade,
    };
    let (mut parts, body) = request.into_parts();
    let (body, progress) = RequestBody::of(body, route.max_body);
    snapshot
        .policy
        .headers
        .to_upstream(&mut parts.headers, &route.headers, permit.identity(), &hop);
    record.progress = progress;
    body.frame(&mut parts.headers);
    parts.uri = match &to.rewrite {
        None => origin_form(&parts.uri),
        Some(rewrite) => {
            let target = Target {
                host: None,
                uri: &parts.uri,
                pattern: permit.pattern(),
            };
            rewrite.uri(&target).ok_or(ForwardError::BadGateway)?
        }
    };
    parts.version = http::Version::HTTP_11;
    Ok(Box::new(Request::from_parts(parts, body)))
}

/// RFC 9112 §6.1, §6.3: `Content-Length` beside `Transfer-Encoding` is how responses are smuggled, and of a coding but `chunked`,
/// which nobody asked for, the client would never learn. hyper takes both.
fn is_framed_soundly(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| {
        let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        chunked && !headers.contains_key(header::CONTENT_LENGTH)
    })
}

/// A 101 that nobody asked for is nonsense (hardening r30).
fn tunnel(
    mut response: Response<Incoming>,
    upgrade: Option<Upgrade>,
    lease: Lease,
    ends: Option<Expiry>,
) -> Result<Answer, ForwardError> {
    let upstream = hyper::upgrade::on(&mut response);
    let upgrade = upgrade.filter(|upgrade| upgrade.is_accepted_by(response.headers()));
    let client = upgrade.ok_or(ForwardError::BadGateway)?.client;
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
            ends,
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

/// An exchange that failed because of the request's body is the client's failure, not the upstream's.
fn blame_client(error: ForwardError, progress: Option<&Progress>) -> ForwardError {
    match progress.and_then(Progress::fault) {
        Some(BodyFault::TooLarge) => ForwardError::BodyTooLarge,
        Some(BodyFault::Broken) => ForwardError::BodyBroken,
        None => error,
    }
}
