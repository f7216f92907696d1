//! One look-up for all who wait for the same answer. It runs on the control runtime and belongs to none of them: who began it may
//! leave, and nobody else is the worse for it.

use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::compile::ValidatorSpec;
use crate::policy::authn::remote::{Members, NoProof, Rules};
use crate::policy::digest::SecretDigest;
use crate::policy::judge::KnownBy;

use super::call::{self, Failure};
use super::entry::{Renewal, Said, Serves};
use super::guesses::Guess;
use super::records::Record;
use super::{Asked, Validator};

/// Look-ups under way; beyond, nobody is asked.
pub(super) const MAX_FLIGHTS: usize = 16_384;

/// Requests that the auth service gets at once; further ones wait, within their time.
pub(super) const MAX_CALLS: usize = 256;

/// Before the first retry; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A look-up that is to be made.
#[derive(Debug)]
pub struct Job<R: Rules> {
    pub(super) credential: Presented,
    pub(super) digest: SecretDigest,
    pub(super) key: SecretDigest,
    from: IpAddr,
    began_ns: u64,
    landing: watch::Sender<Landing<R>>,
    guess: Option<Guess>,
    renewal: bool,
}

/// A credential for the length of a look-up.
pub(super) struct Presented(Box<str>);

impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Presented(…)")
    }
}

/// How a look-up stands.
#[derive(Debug)]
pub(super) enum Landing<R: Rules> {
    /// Under way.
    Flying,
    /// Answered.
    Landed(Said<R>, KnownBy),
    /// The auth service could not be asked.
    Lost,
}

impl<R: Rules> Landing<R> {
    pub(super) const fn has_landed(&self) -> bool {
        !matches!(self, Self::Flying)
    }
}

/// What becomes of a request that wants an answer.
pub(super) enum Boarding<R: Rules> {
    /// It came in this moment.
    Known(Said<R>),
    /// It waits for this look-up, which it began itself (`led`) or not.
    Flight {
        flight: watch::Receiver<Landing<R>>,
        led: bool,
    },
    /// Nobody is asked: the breaker is open, or there are too many look-ups.
    None,
}

impl<R: Rules> Validator<R> {
    /// Whether a look-up for this credential is under way.
    pub(super) fn is_under_way(&self, asked: &Asked<'_>) -> bool {
        self.flights.lock().get(&asked.key).is_some_and(is_alive)
    }

    /// Joins the look-up that is under way, or begins one, which takes `guess` along. A renewal begins one although the answer is
    /// known.
    pub(super) fn board(&self, asked: &Asked<'_>, guess: &mut Option<Guess>, renewal: bool) -> Boarding<R> {
        let now_ns = self.clock.monotonic_ns();
        let mut flights = self.flights.lock();
        if let Some(flight) = flights.get(&asked.key).filter(|flight| is_alive(flight)) {
            let flight = flight.clone();
            return Boarding::Flight { flight, led: false };
        }
        let landed = self.known.get(&asked.key).filter(|_| !renewal);
        if let Some(entry) = landed.filter(|entry| entry.serves(now_ns) == Serves::Fresh) {
            return Boarding::Known(entry.said.clone());
        }
        if flights.len() >= MAX_FLIGHTS || !self.breaker.admits(now_ns) {
            return Boarding::None;
        }
        let (landing, flight) = watch::channel(Landing::Flying);
        let job = Job {
            credential: Presented(asked.credential.into()),
            digest: asked.digest,
            key: asked.key,
            from: asked.from,
            began_ns: now_ns,
            landing,
            guess: guess.take(),
            renewal,
        };
        if self.jobs.try_send(job).is_err() {
            return Boarding::None;
        }
        flights.insert(asked.key, flight.clone());
        Boarding::Flight { flight, led: true }
    }

    async fn fly(self: Arc<Self>, mut job: Job<R>) {
        let mut leaving = Leaving {
            validator: &self,
            key: job.key,
            landed: false,
        };
        let timeout = self.spec.asking.timeout;
        let landing = match tokio::time::timeout(timeout, self.look_up(&job)).await {
            Ok(Some((said, by))) => Landing::Landed(said, by),
            Ok(None) => Landing::Lost,
            Err(_too_late) => {
                self.breaker.timed_out(job.began_ns, self.clock.monotonic_ns());
                self.is_down(&format!("no answer within {timeout:?}"));
                Landing::Lost
            }
        };
        leaving.landed = !matches!(landing, Landing::Lost);
        if let (Landing::Landed(Err(_), _), Some(guess)) = (&landing, job.guess.take()) {
            guess.was_wrong();
        }
        drop(leaving);
        job.landing.send_replace(landing);
    }

    /// Looks at what other gateways were told; else asks until there is an answer, or it has been asked often enough.
    async fn look_up(&self, job: &Job<R>) -> Option<(Said<R>, KnownBy)> {
        if let Some(said) = self.told_to_others(job).await {
            return Some((said, KnownBy::Shared));
        }
        let _place = self.places.acquire().await.ok()?;
        let mut pause = FIRST_PAUSE;
        let mut left = self.spec.asking.retries;
        loop {
            let failure = match self.attempt(job).await {
                Ok(said) => {
                    self.is_up();
                    return Some((said, KnownBy::Remote));
                }
                Err(failure) => failure,
            };
            if failure.alive {
                self.says_nothing(&failure.reason);
            } else {
                self.breaker.failed(self.clock.monotonic_ns());
                self.is_down(&failure.reason);
                if self.spec.ca.is_some() {
                    // It may have changed: it is read anew the next time.
                    self.client.store(None);
                }
            }
            if left == 0 || self.breaker.is_open() {
                return None;
            }
            left -= 1;
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// A renewal is content with an answer that need not be renewed at once.
    async fn told_to_others(&self, job: &Job<R>) -> Option<Said<R>> {
        let shared = self.shared.load_full()?;
        let record = shared.look_up(&job.key).await?;
        let entry = self.read(job.digest, record.members.as_ref(), record.asked_ms).ok()?;
        let now_ns = self.clock.monotonic_ns();
        let serves = entry.serves(now_ns) == Serves::Fresh && !(job.renewal && entry.is_due(now_ns));
        serves.then(|| self.keep(job.key, entry))
    }

    async fn attempt(&self, job: &Job<R>) -> Result<Said<R>, Failure> {
        let client = self.client()?;
        let timer = self.metrics.duration.start_timer();
        let spec = &self.spec;
        let refuses = spec.rules.status_refuses();
        let answer = call::ask(&client, &spec.question, refuses, &job.credential.0, job.from).await;
        timer.observe_duration();
        let answer = answer?;
        let asked_ms = self.clock.unix_ms();
        let entry = self.read(job.digest, answer.as_ref(), asked_ms);
        let entry = entry.map_err(|no_proof| match no_proof {
            NoProof::Nonsense(what) => Failure::nonsense(what),
            NoProof::Refused(_) => Failure::nonsense("it was refused"),
        })?;
        if let Some(shared) = self.shared.load_full() {
            let members = answer.map(|answer| looked_at(spec, &answer));
            let fresh_for = entry.fresh_for(self.clock.monotonic_ns());
            let lasts_ms = u64::try_from(fresh_for.as_millis()).unwrap_or(u64::MAX);
            // Before anybody is told here: whoever then goes to another gateway is known there.
            shared.tell(&job.key, &Record { asked_ms, members }, lasts_ms).await;
        }
        Ok(self.keep(job.key, entry))
    }

    fn client(&self) -> Result<Arc<reqwest::Client>, Failure> {
        if let Some(client) = self.client.load_full() {
            return Ok(client);
        }
        let client = Arc::new(call::client(&self.spec).map_err(Failure::dead)?);
        self.client.store(Some(client.clone()));
        Ok(client)
    }

    fn is_up(&self) {
        self.breaker.succeeded(self.clock.monotonic_ns());
        // Also after an answer that said nothing: that one was up as well.
        if !self.last_error.load().is_empty() {
            self.last_error.store(Arc::default());
        }
        if self.metrics.up.get() != 1 {
            self.metrics.up.set(1);
            tracing::info!(validator = %self.spec.name, "auth service answers again");
        }
    }

    fn is_down(&self, reason: &str) {
        self.metrics.up.set(0);
        self.says_nothing(reason);
    }

    fn says_nothing(&self, reason: &str) {
        self.last_error.store(Arc::new(reason.to_owned()));
        if self.lines.check().is_ok() {
            tracing::warn!(validator = %self.spec.name, error = %reason, "auth service cannot be asked");
        }
    }
}

/// What is kept of an answer outside of this process.
fn looked_at<R: Rules>(spec: &ValidatorSpec<R>, answer: &Members) -> Members {
    let members = spec.rules.members().into_iter();
    members
        .filter_map(|path| Some((path.as_str().to_owned(), path.find(answer)?.clone())))
        .collect()
}

/// Whether somebody is still at it.
fn is_alive<R: Rules>(flight: &watch::Receiver<Landing<R>>) -> bool {
    flight.has_changed().is_ok()
}

/// Ends a flight, however it ends. What stood in for its answer may go on doing so if there is none.
struct Leaving<'v, R: Rules> {
    validator: &'v Validator<R>,
    key: SecretDigest,
    landed: bool,
}

impl<R: Rules> Drop for Leaving<'_, R> {
    fn drop(&mut self) {
        if !self.landed
            && let Some(entry) = self.validator.known.get(&self.key)
        {
            entry.renewal(Renewal::Failed);
        }
        self.validator.flights.lock().remove(&self.key);
    }
}

/// Makes the look-ups that requests ask for, until nobody can; on the control runtime.
pub async fn serve<R: Rules>(validator: Weak<Validator<R>>, mut queue: mpsc::Receiver<Job<R>>) {
    while let Some(job) = queue.recv().await {
        let Some(live) = validator.upgrade() else { return };
        tokio::spawn(live.fly(job));
    }
}

/// Asks once, and keeps nothing.
///
/// # Errors
/// Why there is no answer.
pub async fn ask_once<R: Rules>(
    spec: &ValidatorSpec<R>,
    credential: &str,
    digest: SecretDigest,
    from: IpAddr,
    now_s: i64,
) -> Result<Said<R>, String> {
    let client = call::client(spec)?;
    let refuses = spec.rules.status_refuses();
    let answer = call::ask(&client, &spec.question, refuses, credential, from).await;
    match read(spec, digest, answer.map_err(|failure| failure.reason)?.as_ref(), now_s) {
        Ok(proof) => Ok(Ok(Arc::new(proof))),
        Err(NoProof::Refused(fault)) => Ok(Err(fault)),
        Err(NoProof::Nonsense(what)) => Err(what.to_owned()),
    }
}

/// What an answer proves; `None`: its status said no.
pub(super) fn read<R: Rules>(
    spec: &ValidatorSpec<R>,
    digest: SecretDigest,
    answer: Option<&Members>,
    now_s: i64,
) -> Result<R::Proof, NoProof<R::Fault>> {
    match answer {
        None => Err(NoProof::Refused(R::REFUSED)),
        Some(members) => spec.rules.read(members, digest.half(), now_s),
    }
}
