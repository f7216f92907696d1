//! One request to one upstream: a connection kept or made, the answer's head awaited in time, and what may be tried again.

use std::time::Duration;

use http::request::Parts;
use http::{HeaderValue, Method};

use crate::protocol::Spelling;
use crate::protocol::exchange::{Exchange, Fault, Patience, ResponseHead};
use crate::protocol::upstream::Outgoing;
use crate::runtime::request_body::{Progress, RequestBody};
use crate::runtime::upstream::{Connection, InFlight};

use super::dial::dial;
use super::failure::ForwardError;
use super::reply::Reply;
use super::send_http2;

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
    /// How far the body came; `None`: there is none.
    pub progress: Option<&'a Progress>,
}

impl Sending<'_> {
    /// Tries until an endpoint answers: any method while nothing was sent, and idempotent ones without a body while no byte of a
    /// response came.
    ///
    /// # Errors
    /// How the last attempt failed.
    pub async fn send(self, mut body: RequestBody) -> Result<(ResponseHead, Reply), ForwardError> {
        let upstream = self.place.upstream().clone();
        let config = &upstream.spec.config;
        let patience = Patience {
            body_idle: config.body_idle_timeout,
            response: self.response_timeout,
        };
        let repeatable = is_idempotent(&self.parts.method) && self.progress.is_none();
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
                None => Box::pin(dial(endpoint, self.worker, &upstream.spec)).await,
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
            let host = self.own_host.then_some(&endpoint.authority);
            let unanswered = match connection {
                Connection::Http1(connection) => {
                    let mut exchange = Box::new(Exchange::begin(connection, self.outgoing(host), body));
                    match exchange.head(patience).await {
                        Ok(head) => return Ok((head, Reply::Http1(exchange))),
                        Err(fault) => Unanswered {
                            fault,
                            body: exchange.into_body(),
                        },
                    }
                }
                Connection::Http2(mut stream) => {
                    let secure = upstream.spec.tls.is_some();
                    let request = send_http2::request(self.parts, host, body, secure);
                    // Boxed: only such upstreams need it, and every connection would pay for it.
                    match Box::pin(send_http2::head(&mut stream, request, patience, self.progress)).await {
                        Ok((head, body)) => return Ok((head, Reply::Http2(body, stream))),
                        Err(unanswered) => unanswered,
                    }
                }
            };
            body = match (unanswered.fault, unanswered.body) {
                // Without a body the same request can be sent once more, if it does no harm.
                (Fault::Unsent, _) if self.progress.is_none() => RequestBody::Empty,
                (Fault::Unsent, Some(body)) => body,
                (Fault::Broken | Fault::Nonsense(_), _) if repeatable => RequestBody::Empty,
                (fault, _) => return Err(failure(fault)),
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

    fn outgoing<'s>(&'s self, host: Option<&'s HeaderValue>) -> Outgoing<'s> {
        Outgoing {
            parts: self.parts,
            spelling: self.spelling,
            host,
        }
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
