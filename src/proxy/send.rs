//! One request to one upstream: a connection kept or made, the answer's head awaited in time, and what may be tried again.

use std::io;
use std::time::Duration;

use http::Method;
use http::request::Parts;
use smallvec::SmallVec;

use crate::protocol::Spelling;
use crate::protocol::exchange::{Exchange, Fault, Patience, ResponseHead};
use crate::protocol::upstream::Outgoing;
use crate::runtime::clock::Clock;
use crate::runtime::request_body::{Progress, RequestBody};
use crate::runtime::upstream::{Connection, Endpoint, InFlight, Upstream};

use super::dial::dial;
use super::failure::ForwardError;
use super::reply::Reply;
use super::send_http2;

/// A request on its way to one of an upstream's endpoints.
pub struct Sending<'a> {
    /// The upstream, and the request's place in it.
    pub place: &'a mut InFlight,
    /// That upstream.
    pub upstream: &'a Upstream,
    /// Whose pool.
    pub worker: usize,
    /// The request's head.
    pub head: &'a Parts,
    /// How its names were written; `None`: they are sent in lower case.
    pub spelling: Option<&'a Spelling>,
    /// `Host` names the endpoint; else it is sent as it stands.
    pub own_host: bool,
    /// From the request's last byte to the response's head; zero: no bound.
    pub response_timeout: Duration,
    /// How far the body came; `None`: there is none.
    pub progress: Option<&'a Progress>,
    /// When its head had come, on the clock that never goes back.
    pub now_ns: u64,
    /// That clock.
    pub clock: Clock,
}

impl Sending<'_> {
    /// Tries until an endpoint answers: any method while nothing was sent, and idempotent ones while no byte of a response came, if
    /// they have no body or one that was kept. An endpoint that cannot be connected to costs no retry while there are others.
    ///
    /// # Errors
    /// How the last attempt failed.
    pub async fn send(self, mut body: RequestBody) -> Result<(ResponseHead, Reply), ForwardError> {
        let upstream = self.upstream;
        let repeatable = is_idempotent(&self.head.method) && self.progress.is_none_or(Progress::keeps);
        let mut tries = Tries::new(upstream, repeatable, self.response_timeout);
        let mut may_reuse = true;
        loop {
            let place = tries.pick(self.now_ns).ok_or(ForwardError::Unreachable)?;
            let endpoint = upstream.endpoints.get(place).ok_or(ForwardError::Unreachable)?;
            self.place.goes_to(place);
            let (connection, reused) = match self.connection(endpoint, may_reuse).await {
                (Ok(connection), reused) => (connection, reused),
                (Err(error), _) => {
                    tracing::warn!(endpoint = %endpoint.name, error = %error, "upstream cannot be reached");
                    endpoint.failed(self.clock.monotonic_ns());
                    tries.unreachable(place)?;
                    continue;
                }
            };
            let attempt = Attempt {
                outgoing: Outgoing {
                    head: self.head,
                    spelling: self.spelling,
                    host: self.own_host.then_some(&endpoint.authority),
                },
                patience: Patience {
                    body_idle: upstream.spec.config.body_idle_timeout,
                    response: tries.response_timeout(),
                },
                secure: upstream.spec.tls.is_some(),
            };
            let Unanswered { fault, body: unsent } = match attempt.make(connection, body).await {
                Ok(answered) => {
                    if let Some(progress) = self.progress {
                        progress.forget();
                    }
                    endpoint.succeeded();
                    return Ok(answered);
                }
                Err(unanswered) => unanswered,
            };
            if fault.is_the_upstreams() && !reused {
                endpoint.failed(self.clock.monotonic_ns());
            }
            let again = match (fault, unsent) {
                (Fault::Unsent, Some(body)) => Some(body),
                (Fault::Unsent, None) => self.again(),
                // The same request can be sent once more, if it does no harm.
                (Fault::Broken | Fault::Nonsense(_) | Fault::TimedOut, _) => repeatable.then(|| self.again()).flatten(),
                (Fault::RequestBody | Fault::Starved, _) => None,
            };
            body = again.ok_or(failure(fault))?;
            // A kept connection that the other side closed in this very moment is nobody's failure, and costs no retry; its
            // like are not tried again.
            if !reused || fault == Fault::TimedOut {
                tries.failed(place, attempt.patience.response, failure(fault))?;
            }
            may_reuse = false;
        }
    }
}

impl Sending<'_> {
    /// One that is kept, or else a new one; whether it was kept.
    async fn connection(&self, endpoint: &Endpoint, may_reuse: bool) -> (io::Result<Connection>, bool) {
        let kept = if may_reuse {
            endpoint.take_idle(self.worker)
        } else {
            None
        };
        match kept {
            Some(connection) => (Ok(connection), true),
            // Boxed: rare, and large enough to double what every idle connection of a client costs.
            None => (Box::pin(dial(endpoint, self.worker, &self.upstream.spec)).await, false),
        }
    }

    /// The body from its beginning; `None`: what was sent of it is gone.
    fn again(&self) -> Option<RequestBody> {
        self.progress.map_or(Some(RequestBody::Empty), Progress::again)
    }
}

/// One request on one connection.
pub struct Attempt<'r> {
    /// Its head.
    pub outgoing: Outgoing<'r>,
    /// How long it may take.
    pub patience: Patience,
    /// The upstream is `https`.
    pub secure: bool,
}

impl Attempt<'_> {
    /// Sends it and waits for the response's head.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn make(&self, connection: Connection, body: RequestBody) -> Result<(ResponseHead, Reply), Unanswered> {
        match connection {
            Connection::Http1(connection) => {
                let mut exchange = Box::new(Exchange::begin(connection, self.outgoing, body));
                match exchange.head(self.patience).await {
                    Ok(head) => Ok((head, Reply::Http1(exchange))),
                    Err(fault) => Err(Unanswered {
                        fault,
                        body: exchange.into_body(),
                    }),
                }
            }
            Connection::Http2(stream) => {
                let Outgoing { head, host, .. } = self.outgoing;
                let request = send_http2::request(head, host, self.secure);
                // Boxed: only such upstreams need it, and every connection would pay for it.
                let (head, answer) = Box::pin(send_http2::head(stream, request, body, self.patience)).await?;
                Ok((head, Reply::Http2(answer)))
            }
        }
    }
}

/// What may still be tried of one request.
struct Tries<'u> {
    upstream: &'u Upstream,
    repeatable: bool,
    retries: u32,
    /// Endpoints of this round.
    tried: SmallVec<[usize; 4]>,
    /// Of `response_timeout`; zero: no bound.
    time: Duration,
}

impl<'u> Tries<'u> {
    fn new(upstream: &'u Upstream, repeatable: bool, time: Duration) -> Self {
        upstream.budget.earn();
        Self {
            upstream,
            repeatable,
            retries: upstream.spec.config.retries,
            tried: SmallVec::new(),
            time,
        }
    }

    fn pick(&self, now_ns: u64) -> Option<usize> {
        self.upstream.pick(&self.tried, now_ns)
    }

    /// How long this attempt may wait for a response. A default that cuts an attempt short would only do harm where there is no
    /// other endpoint to ask.
    fn response_timeout(&self) -> Duration {
        let config = &self.upstream.spec.config;
        let one = match config.try_timeout {
            Duration::ZERO if self.upstream.endpoints.len() > 1 => self.time / 2,
            timeout => timeout,
        };
        if !self.repeatable || self.retries == 0 || one.is_zero() {
            self.time
        } else if self.time.is_zero() {
            one
        } else {
            one.min(self.time)
        }
    }

    /// Nothing was sent: the next endpoint costs nothing, another round a retry.
    fn unreachable(&mut self, place: usize) -> Result<(), ForwardError> {
        self.tried.push(place);
        let others = self.tried.len() < self.upstream.endpoints.len();
        if !(others && self.upstream.spec.config.retries > 0) {
            self.retries = self.retries.checked_sub(1).ok_or(ForwardError::Unreachable)?;
            self.tried.clear();
        }
        Ok(())
    }

    /// An attempt that had so much time failed: whether there is another.
    fn failed(&mut self, place: usize, had: Duration, error: ForwardError) -> Result<(), ForwardError> {
        if error == ForwardError::Timeout && !self.time.is_zero() {
            self.time = self.time.checked_sub(had).filter(|left| !left.is_zero()).ok_or(error)?;
        }
        self.retries = self.retries.checked_sub(1).ok_or(error)?;
        if !self.upstream.budget.spend() {
            return Err(error);
        }
        self.tried.push(place);
        if self.tried.len() >= self.upstream.endpoints.len() {
            self.tried.clear();
        }
        Ok(())
    }
}

/// An attempt that brought no answer.
pub struct Unanswered {
    /// Why.
    pub fault: Fault,
    /// The request's body, if nothing of it was taken.
    pub body: Option<RequestBody>,
}

/// What the client is told of a fault that nothing more can be tried about.
const fn failure(fault: Fault) -> ForwardError {
    match fault {
        Fault::Unsent | Fault::Broken | Fault::Nonsense(_) => ForwardError::BadGateway,
        Fault::RequestBody => ForwardError::BodyBroken,
        Fault::Starved => ForwardError::BodyStalled,
        Fault::TimedOut => ForwardError::Timeout,
    }
}

/// RFC 9110 §9.2.2.
pub fn is_idempotent(method: &Method) -> bool {
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
