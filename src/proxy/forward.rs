//! An allowed request on its way: its headers made the upstream's, sent, and its answer made ready for the client.

use std::sync::Arc;

use http::request::Parts;
use http::{StatusCode, header};

use crate::policy::action::{Forward, Target};
use crate::policy::credential::{WEBSOCKET_PROTOCOL, websocket_bearer};
use crate::policy::headers::Hop;
use crate::policy::hop_by_hop::strip_response;
use crate::policy::trace::Span;
use crate::policy::verdict::Permit;
use crate::protocol::exchange::ResponseHead;
use crate::protocol::turn::in_turn;
use crate::protocol::{Spelling, give_back_map};
use crate::runtime::request_body::{BodyFault, ClientBody, Progress, RequestBody};
use crate::runtime::snapshot::Snapshot;

use super::connection::Client;
use super::expiry::Expiry;
use super::failure::ForwardError;
use super::location::Public;
use super::record::Record;
use super::reply::Reply;
use super::respond::{Answer, AnswerBody};
use super::response_body::{FromUpstream, Lease};
use super::send::{Sending, is_idempotent};
use super::tunnel::Tunnel;
use super::upgrade::Upgrade;

/// A request that may go.
pub struct Outgoing {
    /// Its head: the client's until it is judged, from then on what the upstream is to get.
    pub head: Parts,
    /// Its body.
    pub body: ClientBody,
    /// How its headers' names were written; `None`: lower case.
    pub spelling: Option<Spelling>,
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
    mut outgoing: Box<Outgoing>,
) -> Result<Answer, ForwardError> {
    let route = permit.route();
    let upstream = snapshot.upstreams.get(to.upstream).ok_or(ForwardError::Unreachable)?;
    let mut place = upstream.enter().ok_or(ForwardError::Full)?;
    let hides = outgoing.upgrade.is_some() && route.headers.hide_websocket_tokens;
    let bearer = hides.then(|| websocket_bearer(&outgoing.head.headers)).flatten();
    let body = for_upstream(client, snapshot, record, &permit, to, &mut outgoing)?;
    let progress = record.progress.clone();
    let sending = Sending {
        place: &mut place,
        upstream,
        worker: client.worker.index,
        head: &outgoing.head,
        spelling: outgoing.spelling.as_ref(),
        own_host: !route.headers.keeps_host(&outgoing.head.headers),
        response_timeout: to.response_timeout,
        progress: progress.as_deref(),
        now_ns: record.now.monotonic_ns,
        clock: client.worker.gateway.clock,
    };
    let answered = sending.send(body).await;
    record.sent_to(upstream, place.endpoint_place());
    record.waited();
    in_turn().await;
    let (ResponseHead { response, spelling }, reply) =
        answered.map_err(|error| blame_client(error, progress.as_deref()))?;
    let (mut head, ()) = response.into_parts();
    strip_response(&mut head.headers, head.status);
    if route.headers.rewrite_location
        && head.headers.contains_key(header::LOCATION)
        && let Some(endpoint) = place.endpoint()
    {
        let public = Public::of(record, &outgoing.head.headers, route.headers.preserve_host);
        public.rewrite_location(&mut head.headers, endpoint, to.rewrite.as_ref());
    }
    let lease = Lease {
        place,
        worker: client.worker.index,
    };
    let clock = client.worker.gateway.clock;
    let ends = permit.ends_s().and_then(|ends_s| Expiry::at(ends_s, clock.unix_ms()));
    let body = if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // One that nobody asked for, or that answers somebody else's key, is nonsense (hardening r30).
        let upgrade = outgoing.upgrade.filter(|upgrade| upgrade.is_accepted_by(&head.headers));
        let client = upgrade.ok_or(ForwardError::BadGateway)?.client;
        let Reply::Http1(exchange) = reply else {
            return Err(ForwardError::BadGateway);
        };
        if let Some(bearer) = bearer {
            // Browsers break off a WebSocket for which they offered subprotocols and none was chosen.
            head.headers.entry(WEBSOCKET_PROTOCOL).or_insert(bearer);
        }
        AnswerBody::Tunnel(client, Tunnel::new(*exchange, lease, ends))
    } else if outgoing
        .upgrade
        .is_some_and(|upgrade| upgrade.is_feigned_by(head.status))
    {
        // No tunnel without a 101, and nothing that looks like one.
        return Err(ForwardError::BadGateway);
    } else {
        let idle_timeout = upstream.spec.config.stream_idle_timeout;
        AnswerBody::Stream(FromUpstream::new(reply, lease, idle_timeout, ends))
    };
    give_back_map(outgoing.head.headers);
    Ok(Answer { head, spelling, body })
}

/// Makes the client's request the upstream's, and gives its body.
fn for_upstream(
    client: &Client,
    snapshot: &Snapshot,
    record: &mut Record,
    permit: &Permit<'_>,
    to: &Forward,
    outgoing: &mut Outgoing,
) -> Result<RequestBody, ForwardError> {
    let route = permit.route();
    let Outgoing {
        head, body, upgrade, ..
    } = outgoing;
    let hop = Hop {
        origin: &record.origin,
        peer: &client.peer_value,
        believed: snapshot.policy.believed(client.admitted.listener.index),
        secret_allowed: snapshot.policy.secret_allowed_from(record.origin.client),
        secure: client.transport().is_secure(),
        request_id: &record.request_id,
        upgrade: upgrade.as_ref().map(|upgrade| upgrade.protocol.clone()),
        trace: record.trace.span().and_then(Span::onward),
    };
    let body = std::mem::replace(body, ClientBody::Empty);
    let (body, progress) = RequestBody::of(body, route.max_body, is_idempotent(&head.method));
    snapshot
        .policy
        .headers
        .to_upstream(&mut head.headers, &route.headers, permit.identity(), &hop);
    record.progress = progress;
    if let Some(rewrite) = &to.rewrite {
        let target = Target {
            host: None,
            uri: &head.uri,
            pattern: permit.pattern(),
        };
        head.uri = rewrite.uri(&target).ok_or(ForwardError::BadGateway)?;
    }
    Ok(body)
}

/// An exchange that failed because of the request's body is the client's failure, not the upstream's.
fn blame_client(error: ForwardError, progress: Option<&Progress>) -> ForwardError {
    match progress.and_then(Progress::fault) {
        Some(BodyFault::TooLarge) => ForwardError::BodyTooLarge,
        Some(BodyFault::Broken) => ForwardError::BodyBroken,
        None => error,
    }
}
