//! The path of one request, as one short story: facts, case, evidence, verdict, then forward or refuse; recorded at its end.

use std::sync::Arc;

use http::Response;
use http::request::Parts;

use crate::policy::action::Action;
use crate::policy::denial::{Code, Denial};
use crate::policy::facts::Facts;
use crate::policy::judge::{self, Refused};
use crate::policy::preflight::{Preflight, policy_without_route, preflight};
use crate::policy::verdict::{Effect, Permit, Verdict};
use crate::protocol::refusal::Refusal;
use crate::protocol::turn::in_turn;
use crate::runtime::snapshot::Snapshot;
use crate::runtime::{evidence, shadow};

use super::connection::Client;
use super::forward::{self, Outgoing};
use super::http2::OpenStream;
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
    // A future of its own: what only the judgement needs is gone when the request waits for its upstream.
    match judge(client, snapshot, &mut record, &outgoing.head).await {
        Judged::Allowed(permit, carried) => {
            in_turn().await;
            act(client, snapshot, record, permit, &carried, outgoing).await
        }
        Judged::Refused(denial, carried) => respond::denial(record, denial, &carried),
        Judged::Preflight(preflight) => respond::preflight(record, &preflight),
    }
}

/// What becomes of a request, with what its answer carries.
enum Judged<'a> {
    Allowed(Permit<'a>, Carried<'a>),
    Refused(Denial, Carried<'a>),
    Preflight(Preflight<'a>),
}

async fn judge<'a>(client: &Client, snapshot: &'a Snapshot, record: &mut Record, request: &Parts) -> Judged<'a> {
    // The head is kept whole until the verdict: facts borrow it, and nothing is taken off before it was judged.
    let mut facts = match facts(client, record, request) {
        Ok(facts) => facts,
        Err(denial) => return Judged::Refused(denial, Carried::default()),
    };
    match preflight(&snapshot.policy, &facts) {
        Ok(None) => {}
        Ok(Some(preflight)) => return Judged::Preflight(preflight),
        Err(refused) => return refuse(record, *refused, snapshot, &facts),
    }
    let mut case = match judge::open(&snapshot.policy, &facts, &snapshot.meters) {
        Ok(case) => case,
        Err(refused) => return refuse(record, *refused, snapshot, &facts),
    };
    let route = case.route;
    // From here on a request may be given up while it waits: what it holds is given back with its record.
    record.hold(case.allowances());
    let gateway = &client.worker.gateway;
    let evidence = evidence::gather(&gateway.metrics, snapshot, &facts, &mut case).await;
    record.known_by = evidence.known_by();
    if !route.caller_limits.is_empty() {
        // Limits count by the time of the decision, and evidence may have taken its time.
        facts.now.monotonic_ns = gateway.clock.monotonic_ns();
    }
    let shadowed = shadow::ask(snapshot, &facts, &case, &evidence);
    let undecided = judge::decide(&snapshot.policy, &facts, case, &evidence, &snapshot.meters);
    record.hold(undecided.allowances());
    let now_ns = facts.now.monotonic_ns;
    let answer = evidence::of_shared_limits(snapshot, undecided.asks(), now_ns).await;
    let verdict = undecided.conclude(answer, &snapshot.meters, now_ns);
    record.hold(&verdict.allowances);
    record.judged(route, &verdict);
    if let Some(shadowed) = shadowed {
        record.shadowed(route, &facts, &verdict, &shadowed);
    }
    let Verdict { allowances, effect, .. } = verdict;
    let carried = Carried::of(Some(route), allowances, facts.headers);
    match effect {
        Effect::Permit(permit) => Judged::Allowed(permit, carried),
        Effect::Denial(denial) => Judged::Refused(denial, carried),
    }
}

/// Refused before anybody was asked who is calling.
fn refuse<'a>(record: &mut Record, refused: Refused<'a>, snapshot: &'a Snapshot, facts: &Facts<'_>) -> Judged<'a> {
    record.arm = refused.arm;
    let mut carried = Carried::of(refused.route, refused.allowances, facts.headers);
    if refused.route.is_none() {
        // Or a page's code would see a network error instead of the refusal.
        let cors = policy_without_route(&snapshot.policy, facts);
        carried.cross_origin = cors.map(|cors| cors.judge(facts.headers));
    }
    Judged::Refused(refused.denial, carried)
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

fn facts<'r>(client: &'r Client, record: &Record, request: &'r Parts) -> Result<Facts<'r>, Denial> {
    Facts::read(
        &request.method,
        &request.uri,
        &request.headers,
        record.origin,
        client.admitted.listener.index,
        record.now,
    )
    .map(|facts| facts.over(client.transport()))
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
