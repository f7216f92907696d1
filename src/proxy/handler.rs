//! The path of one request, as one short story: facts, case, evidence, verdict, then forward or refuse; recorded at its end.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::policy::denial::{Code, Denial};
use crate::policy::facts::Facts;
use crate::policy::headers::upgrade_of;
use crate::policy::judge;
use crate::policy::verdict::{Allowances, Effect, Verdict};
use crate::runtime::evidence;
use crate::runtime::snapshot::Snapshot;

use super::connection::Client;
use super::forward::{self, Outgoing};
use super::head_guard::Refusal;
use super::record::Record;
use super::respond;
use super::response_body::ResponseBody;

/// Answers one request.
pub async fn handle(client: Arc<Client>, mut request: Request<Incoming>) -> Response<ResponseBody> {
    let head = client.heads.take();
    let gateway = &client.worker.gateway;
    let snapshot = gateway.snapshot();
    let upgrade = upgrade_of(request.version(), request.method(), request.headers());
    let upgrade = upgrade.map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
    let (parts, body) = request.into_parts();
    let record = Record::begin(&client, snapshot.clone(), &parts, head.exchange);
    match head.refusal {
        Some(refusal) => respond::denial(record, refused_by_guard(refusal), None, &Allowances::new()),
        None => judge_and_answer(&client, &snapshot, record, parts, body, upgrade).await,
    }
}

async fn judge_and_answer(
    client: &Arc<Client>,
    snapshot: &Arc<Snapshot>,
    mut record: Box<Record>,
    parts: Parts,
    body: Incoming,
    upgrade: Option<(HeaderValue, OnUpgrade)>,
) -> Response<ResponseBody> {
    // The head is kept whole until the verdict: facts borrow it, and nothing is taken off before it was judged.
    let facts = match facts(client, &record, &parts.method, &parts.uri, &parts.headers) {
        Ok(facts) => facts,
        Err(denial) => return respond::denial(record, denial, None, &Allowances::new()),
    };
    let case = match judge::open(&snapshot.policy, &facts, &snapshot.meters) {
        Ok(case) => case,
        Err(refused) => return respond::denial(record, refused.denial, refused.route, &refused.allowances),
    };
    let route = case.route;
    let metrics = &client.worker.gateway.metrics;
    let evidence = evidence::gather(metrics, snapshot, &facts, &case).await;
    let verdict = judge::decide(&snapshot.policy, &facts, case, &evidence, &snapshot.meters);
    record.judged(route, &verdict);
    let Verdict { allowances, effect, .. } = verdict;
    let permit = match effect {
        Effect::Denial(denial) => return respond::denial(record, denial, Some(route), &allowances),
        Effect::Permit(permit) => permit,
    };
    let secret_allowed = snapshot.policy.secret_allowed_from(record.origin.client);
    let outgoing = Outgoing {
        parts,
        body,
        upgrade,
        secret_allowed,
    };
    match forward::forward(client, snapshot, &mut record, permit, outgoing).await {
        Ok(answer) => respond::forwarded(record, answer, route, &allowances),
        Err(error) => respond::failure(record, error, route, &allowances),
    }
}

fn facts<'r>(
    client: &Client,
    record: &Record,
    method: &'r Method,
    target: &'r Uri,
    headers: &'r HeaderMap,
) -> Result<Facts<'r>, Denial> {
    Facts::read(
        method,
        target,
        headers,
        record.origin,
        client.admitted.listener.index,
        record.now,
    )
}

/// What the head guard refused, as the denial that the client is told.
#[must_use]
pub fn refused_by_guard(refusal: Refusal) -> Denial {
    match refusal {
        Refusal::Malformed(fault) => Denial::malformed(fault.as_str()),
        Refusal::TimedOut => Denial::plain(Code::RequestTimeout, "head_timeout"),
        Refusal::TargetTooLong => Denial::plain(Code::TargetTooLong, "target_too_long"),
        Refusal::HeadTooLarge => Denial::plain(Code::HeadTooLarge, "head_too_large"),
        Refusal::Connect => Denial::plain(Code::NotImplemented, "connect"),
    }
}
