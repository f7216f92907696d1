//! One request to one upstream: a connection kept or made, the answer's head awaited in time, and what may be tried again.

use std::time::Duration;

use http::Method;
use http::request::Parts;

use crate::protocol::Spelling;
use crate::protocol::exchange::{Exchange, Fault, Patience, ResponseHead};
use crate::protocol::upstream::Outgoing;
use crate::runtime::request_body::RequestBody;
use crate::runtime::upstream::InFlight;

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
}

/// An exchange with an upstream. Boxed: it is handed on from future to future.
pub type UpstreamExchange = Box<Exchange<RequestBody>>;

impl Sending<'_> {
    /// Tries until an endpoint answers: any method while nothing was sent, and idempotent ones without a body while no byte of a
    /// response came.
    ///
    /// # Errors
    /// How the last attempt failed.
    pub async fn send(self, mut body: RequestBody) -> Result<(ResponseHead, UpstreamExchange), ForwardError> {
        let upstream = self.place.upstream().clone();
        let config = &upstream.spec.config;
        let patience = Patience {
            body_idle: config.body_idle_timeout,
            response: self.response_timeout,
        };
        let repeatable = is_idempotent(&self.parts.method) && !self.has_body;
        let mut retries = config.retries;
        let mut failed = None;
        let mut may_reuse = true;
        loop {
            let place = upstream.pick(failed).ok_or(ForwardError::Unreachable)?;
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
                Err(error) if retries == 0 => {
                    tracing::warn!(endpoint = %endpoint.name, error = %error, "upstream cannot be reached");
                    return Err(ForwardError::Unreachable);
                }
                Err(error) => {
                    tracing::debug!(endpoint = %endpoint.name, error = %error, "connecting failed, trying again");
                    retries -= 1;
                    failed = Some(place);
                    continue;
                }
            };
            let outgoing = Outgoing {
                parts: self.parts,
                spelling: self.spelling,
                host: self.own_host.then_some(&endpoint.authority),
            };
            let mut exchange = Box::new(Exchange::begin(connection, outgoing, body));
            body = match exchange.head(patience).await {
                Ok(head) => return Ok((head, exchange)),
                // Without a body the same request can be sent once more, if it does no harm.
                Err(Fault::Unsent) if !self.has_body => RequestBody::Empty,
                Err(Fault::Unsent) => exchange.into_body().ok_or(ForwardError::BadGateway)?,
                Err(Fault::Broken | Fault::Nonsense(_)) if repeatable => RequestBody::Empty,
                Err(fault) => return Err(failure(fault)),
            };
            // A kept connection that the other side closed in this very moment is nobody's failure, and costs no retry; its
            // like are not tried again.
            if !reused {
                retries = retries.checked_sub(1).ok_or(ForwardError::BadGateway)?;
                failed = Some(place);
            }
            may_reuse = false;
        }
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
