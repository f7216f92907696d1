//! One request to one upstream: a connection kept or made, the answer's head awaited in time, and what may be tried again.

use std::time::Duration;

use http::Method;
use http::request::Parts;
use smallvec::SmallVec;

use crate::runtime::clock::Clock;
use crate::runtime::request_body::RequestBody;
use crate::runtime::upstream::{InFlight, Upstream};
use crate::wire::Spelling;
use crate::wire::exchange::{Exchange, Fault, Outgoing, Patience, ResponseHead};

use super::dial::dial;
use super::failure::ForwardError;

/// A request on its way to one of an upstream's endpoints.
pub struct Sending<'a> {
    /// The upstream, and the request's place in it.
    pub place: &'a mut InFlight,
    /// Whose pool.
    pub worker: usize,
    /// The request's head.
    pub parts: &'a Parts,
    /// How its names were written; `None`: they are sent in lower case.
    pub spelling: Option<&'a Spelling>,
    /// `Host` names the endpoint; else it is sent as it stands.
    pub own_host: bool,
    /// From the request's last byte to the response's head; zero: no bound.
    pub response_timeout: Duration,
    /// A body follows the head.
    pub has_body: bool,
    /// When its head had come, on the clock that never goes back.
    pub now_ns: u64,
    /// That clock.
    pub clock: Clock,
}

/// An exchange with an upstream. Boxed: it is handed on from future to future.
pub type UpstreamExchange = Box<Exchange<RequestBody>>;

impl Sending<'_> {
    /// Tries until an endpoint answers: any method while nothing was sent, and idempotent ones without a body while no byte of a
    /// response came. An endpoint that cannot be connected to costs no retry while there are others.
    ///
    /// # Errors
    /// How the last attempt failed.
    pub async fn send(self, mut body: RequestBody) -> Result<(ResponseHead, UpstreamExchange), ForwardError> {
        let upstream = self.place.upstream().clone();
        let config = &upstream.spec.config;
        let repeatable = is_idempotent(&self.parts.method) && !self.has_body;
        let mut tries = Tries::new(&upstream, repeatable, self.response_timeout);
        let mut may_reuse = true;
        loop {
            let place = tries.pick(self.now_ns).ok_or(ForwardError::Unreachable)?;
            let endpoint = upstream.endpoints.get(place).ok_or(ForwardError::Unreachable)?;
            self.place.goes_to(place);
            let kept = may_reuse.then(|| endpoint.take_idle(self.worker)).flatten();
            let reused = kept.is_some();
            let connected = match kept {
                Some(connection) => Ok(connection),
                // Boxed: rare, and large enough to double what every idle connection of a client costs.
                None => Box::pin(dial(endpoint, config.connect_timeout)).await,
            };
            let connection = match connected {
                Ok(connection) => connection,
                Err(error) => {
                    tracing::warn!(endpoint = %endpoint.name, error = %error, "upstream cannot be reached");
                    endpoint.failed(self.clock.monotonic_ns());
                    tries.unreachable(place)?;
                    continue;
                }
            };
            let outgoing = Outgoing {
                parts: self.parts,
                spelling: self.spelling,
                host: self.own_host.then_some(&endpoint.authority),
            };
            let patience = Patience {
                body_idle: config.body_idle_timeout,
                response: tries.response_timeout(),
            };
            let mut exchange = Box::new(Exchange::begin(connection, outgoing, body));
            let fault = match exchange.head(patience).await {
                Ok(head) => {
                    endpoint.succeeded();
                    return Ok((head, exchange));
                }
                Err(fault) => fault,
            };
            if fault.is_the_upstreams() && !reused {
                endpoint.failed(self.clock.monotonic_ns());
            }
            body = match fault {
                // Without a body the same request can be sent once more, if it does no harm.
                Fault::Unsent if !self.has_body => RequestBody::Empty,
                Fault::Unsent => exchange.into_body().ok_or(ForwardError::BadGateway)?,
                Fault::Broken | Fault::Nonsense(_) | Fault::TimedOut if repeatable => RequestBody::Empty,
                Fault::Broken | Fault::Nonsense(_) | Fault::TimedOut | Fault::RequestBody | Fault::Starved => {
                    return Err(failure(fault));
                }
            };
            // A kept connection that the other side closed in this very moment is nobody's failure, and costs no retry; its
            // like are not tried again.
            if !reused || fault == Fault::TimedOut {
                tries.failed(place, patience.response, failure(fault))?;
            }
            may_reuse = false;
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

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests;
