//! What becomes of a request: facts, case, evidence, verdict. Pure steps of the policy, and between them what must be asked of others.

use http::request::Parts;
use smallvec::SmallVec;

use crate::policy::denial::Denial;
use crate::policy::facts::Facts;
use crate::policy::judge::{self, Case, Evidence, Refused, Undecided};
use crate::policy::limit;
use crate::policy::preflight::{Preflight, policy_without_route, preflight};
use crate::policy::shadow::Shadowed;
use crate::policy::verdict::{Effect, Permit, Verdict};
use crate::runtime::evidence::{self, Unknown};
use crate::runtime::shadow;
use crate::runtime::snapshot::Snapshot;

use super::connection::Client;
use super::record::Record;
use super::respond::Carried;

/// What becomes of a request, with what its answer carries.
pub enum Judged<'a> {
    /// It may go.
    Allowed(Permit<'a>, Carried<'a>),
    /// It may not.
    Refused(Denial, Carried<'a>),
    /// A browser asks first; the gateway answers.
    Preflight(Preflight<'a>),
}

/// Judges. Mostly nobody must be asked: then it is done at once and on the stack, whose memory is warm and everybody's; who waits does
/// so in a box, for which no connection has to keep room.
pub async fn judge<'a>(client: &Client, snapshot: &'a Snapshot, record: &mut Record, request: &Parts) -> Judged<'a> {
    let asks = match open(client, snapshot, record, request) {
        Ok(judged) => return judged,
        Err(asks) => asks,
    };
    Box::pin(once_answered(client, snapshot, record, asks)).await
}

/// What the judgement comes to by itself. An error is no failure: somebody must be asked first.
type Step<'a, 'r> = Result<Judged<'a>, Box<Asks<'a, 'r>>>;

#[allow(clippy::large_enum_variant, reason = "few are made, and each in a box")]
enum Asks<'a, 'r> {
    /// Who is calling?
    Who(Facts<'r>, Case<'a, 'r>, Unknown<'r>),
    /// May it, by the limits that gateways share?
    Limits(Facts<'r>, Undecided<'a>, Option<Shadowed>),
}

fn open<'a, 'r>(client: &'r Client, snapshot: &'a Snapshot, record: &mut Record, request: &'r Parts) -> Step<'a, 'r> {
    // The head is kept whole until the verdict: facts borrow it, and nothing is taken off before it was judged.
    let facts = match facts(client, record, request) {
        Ok(facts) => facts,
        Err(denial) => return Ok(Judged::Refused(denial, Carried::default())),
    };
    match preflight(&snapshot.policy, &facts) {
        Ok(None) => {}
        Ok(Some(preflight)) => return Ok(Judged::Preflight(preflight)),
        Err(refused) => return Ok(refuse(record, *refused, snapshot, &facts)),
    }
    let case = match judge::open(&snapshot.policy, &facts, &snapshot.meters) {
        Ok(case) => case,
        Err(refused) => return Ok(refuse(record, *refused, snapshot, &facts)),
    };
    // From here on a request may be given up while it waits: what it holds is given back with its record.
    record.hold(case.allowances());
    match evidence::known(&client.worker.gateway.metrics, snapshot, &facts, &case) {
        Ok(evidence) => decide(snapshot, record, facts, case, &evidence),
        Err(unknown) => Err(Box::new(Asks::Who(facts, case, unknown))),
    }
}

fn decide<'a, 'r>(
    snapshot: &'a Snapshot,
    record: &mut Record,
    facts: Facts<'r>,
    case: Case<'a, 'r>,
    evidence: &Evidence,
) -> Step<'a, 'r> {
    record.known_by = evidence.known_by();
    let shadowed = shadow::ask(snapshot, &facts, &case, evidence);
    let undecided = judge::decide(&snapshot.policy, &facts, case, evidence, &snapshot.meters);
    record.hold(undecided.allowances());
    if undecided.asks().is_empty() {
        Ok(conclude(
            snapshot,
            record,
            &facts,
            undecided,
            shadowed,
            Ok(SmallVec::new()),
        ))
    } else {
        Err(Box::new(Asks::Limits(facts, undecided, shadowed)))
    }
}

fn conclude<'a>(
    snapshot: &'a Snapshot,
    record: &mut Record,
    facts: &Facts<'_>,
    undecided: Undecided<'a>,
    shadowed: Option<Shadowed>,
    answer: limit::Answer,
) -> Judged<'a> {
    let route = undecided.route();
    let verdict = undecided.conclude(answer, &snapshot.meters, facts.now.monotonic_ns);
    record.hold(&verdict.allowances);
    record.judged(route, &verdict);
    if let Some(shadowed) = shadowed {
        record.shadowed(route, facts, &verdict, &shadowed);
    }
    let Verdict { allowances, effect, .. } = verdict;
    let carried = Carried::of(Some(route), allowances, facts.headers);
    match effect {
        Effect::Permit(permit) => Judged::Allowed(permit, carried),
        Effect::Denial(denial) => Judged::Refused(denial, carried),
    }
}

/// Judges with what others say.
async fn once_answered<'a>(
    client: &Client,
    snapshot: &'a Snapshot,
    record: &mut Record,
    mut asks: Box<Asks<'a, '_>>,
) -> Judged<'a> {
    let gateway = &client.worker.gateway;
    loop {
        let step = match *asks {
            Asks::Who(mut facts, mut case, unknown) => {
                let evidence = evidence::ask(&gateway.metrics, snapshot, &facts, &mut case, unknown).await;
                // Limits count by the time of the decision, and evidence may have taken its time.
                facts.now.monotonic_ns = gateway.clock.monotonic_ns();
                decide(snapshot, record, facts, case, &evidence)
            }
            Asks::Limits(facts, undecided, shadowed) => {
                let answer = snapshot
                    .meters
                    .admit_shared(undecided.asks(), facts.now.monotonic_ns)
                    .await;
                Ok(conclude(snapshot, record, &facts, undecided, shadowed, answer))
            }
        };
        asks = match step {
            Ok(judged) => return judged,
            Err(more) => more,
        };
    }
}

/// Refused before anybody was asked who is calling.
#[cold]
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

/// What the judge reads of a request.
///
/// # Errors
/// It cannot be read.
pub fn facts<'r>(client: &'r Client, record: &Record, request: &'r Parts) -> Result<Facts<'r>, Denial> {
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
