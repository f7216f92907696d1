//! The path of one request, as one short story: recorded from here on, judged, then forwarded or refused.

use std::sync::Arc;

use http::Response;

use crate::policy::action::Action;
use crate::policy::denial::{Code, Denial};
use crate::policy::verdict::Permit;
use crate::protocol::refusal::Refusal;
use crate::protocol::turn::in_turn;
use crate::runtime::snapshot::Snapshot;

use super::connection::Client;
use super::forward::{self, Outgoing};
use super::http2::OpenStream;
use super::judging::{Judged, facts, judge};
use super::record::Record;
use super::respond::{self, Carried};
use super::response_body::ResponseBody;

/// Answers one request; `refusal`: what is wrong with its head.
pub async fn answer(
    client: &Arc<Client>,
    outgoing: Box<Outgoing>,
    refusal: Option<Refusal>,
    stream: Option<OpenStream>,
) -> Response<ResponseBody> {
    let snapshot = client.worker.gateway.snapshot();
    let record = Record::begin(client, snapshot.clone(), &outgoing.head, stream);
    match refusal {
        Some(refusal) => respond::denial(record, refused_head(refusal), &Carried::default()),
        None => judge_and_answer(client, &snapshot, record, outgoing).await,
    }
}

async fn judge_and_answer(
    client: &Arc<Client>,
    snapshot: &Arc<Snapshot>,
    mut record: Box<Record>,
    outgoing: Box<Outgoing>,
) -> Response<ResponseBody> {
    let (permit, carried) = match judge(client, snapshot, &mut record, &outgoing.head).await {
        Judged::Allowed(permit, carried) => (permit, carried),
        Judged::Refused(denial, carried) => return respond::denial(record, denial, &carried),
        Judged::Preflight(preflight) => return respond::preflight(record, &preflight),
    };
    in_turn().await;
    act(client, snapshot, record, permit, &carried, outgoing).await
}

/// Does what the route does.
async fn act(
    client: &Arc<Client>,
    snapshot: &Snapshot,
    mut record: Box<Record>,
    permit: Permit<'_>,
    carried: &Carried<'_>,
    outgoing: Box<Outgoing>,
) -> Response<ResponseBody> {
    match &permit.route().action {
        Action::Forward(to) => match forward::forward(client, snapshot, &mut record, permit, to, outgoing).await {
            Ok(answer) => respond::forwarded(record, answer, carried),
            Err(error) => respond::failure(record, error, carried),
        },
        Action::Respond(answer) => respond::fixed(record, permit, answer, carried),
        // Facts are read again: redirects are few, and every forwarded request would keep what they need.
        Action::Redirect(redirect) => match facts(client, &record, &outgoing.head) {
            Ok(facts) => {
                let target = facts.target(permit.pattern());
                respond::redirect(record, permit, redirect, &target, carried)
            }
            Err(denial) => respond::denial(record, denial, carried),
        },
    }
}

/// What was refused of a head, as the denial that the client is told.
#[must_use]
pub fn refused_head(refusal: Refusal) -> Denial {
    match refusal {
        Refusal::Malformed(fault) => Denial::malformed(fault.as_str()),
        Refusal::TimedOut => Denial::plain(Code::RequestTimeout, "head_timeout"),
        Refusal::TargetTooLong => Denial::plain(Code::TargetTooLong, "target_too_long"),
        Refusal::HeadTooLarge => Denial::plain(Code::HeadTooLarge, "head_too_large"),
        Refusal::Connect => Denial::plain(Code::NotImplemented, "connect"),
    }
}
