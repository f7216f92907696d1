//! One request to one upstream: a connection kept or made, the answer's head awaited in time, and what may be tried again.

use std::time::Duration;

use http::{Method, Request, Response, header};
use hyper::body::Incoming;

use crate::runtime::request_body::{Progress, RequestBody};
use crate::runtime::upstream::{Connection, InFlight, Upstream};

use super::dial::dial;
use super::dial_http2;
use super::failure::ForwardError;

/// A request on its way to one of an upstream's endpoints.
pub struct Sending<'a> {
    /// The upstream, and the request's place in it.
    pub place: &'a mut InFlight,
    /// Whose pool.
    pub worker: usize,
    /// Keep header names as they are written.
    pub preserve_case: bool,
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
    pub async fn send(
        self,
        mut request: Box<Request<RequestBody>>,
    ) -> Result<(Response<Incoming>, Connection), ForwardError> {
        let upstream = self.place.upstream().clone();
        let repeatable = is_idempotent(request.method()) && self.progress.is_none();
        let mut retries = upstream.spec.config.retries;
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
                None => Box::pin(dial(endpoint, self.worker, &upstream.spec, self.preserve_case)).await,
            };
            let mut connection = match connected {
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
            if self.own_host {
                request.headers_mut().insert(header::HOST, endpoint.authority.clone());
            }
            let spare = (repeatable && (reused || retries > 0)).then(|| copy_of(&request));
            let answered = match &mut connection {
                Connection::Http1(sender) => self.answered(&upstream, sender.try_send_request(*request)).await,
                Connection::Http2(stream) => {
                    dial_http2::translate(&mut request, upstream.spec.tls.is_some());
                    let response = stream.sender.try_send_request(*request);
                    // Boxed: another future of the same size, which only such upstreams need.
                    Box::pin(self.answered(&upstream, response)).await
                }
            };
            request = match answered {
                Ok(response) => return Ok((response, connection)),
                Err(Failed::Timeout(error)) => return Err(error),
                Err(Failed::Unsent(unsent)) => unsent,
                Err(Failed::Broken) => spare.ok_or(ForwardError::BadGateway)?,
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

    /// Waits for the head of the response, as long as the route allows.
    async fn answered(
        &self,
        upstream: &Upstream,
        response: impl Future<Output = Result<Response<Incoming>, Unanswered>>,
    ) -> Result<Response<Incoming>, Failed> {
        let sent = match self.progress {
            None if self.response_timeout.is_zero() => response.await,
            None => tokio::time::timeout(self.response_timeout, response)
                .await
                .map_err(|_| Failed::Timeout(ForwardError::Timeout))?,
            // Boxed: only requests with a body are watched, and every connection would pay for it.
            Some(progress) => tokio::select! {
                biased;
                response = response => response,
                error = Box::pin(self.watch(upstream, progress)) => return Err(Failed::Timeout(error)),
            },
        };
        sent.map_err(|mut error| match error.take_message() {
            Some(unsent) => Failed::Unsent(Box::new(unsent)),
            None => Failed::Broken,
        })
    }

    /// Ends when the body stands still for `body_idle_timeout`, or the response is overdue once the body is through.
    async fn watch(&self, upstream: &Upstream, progress: &Progress) -> ForwardError {
        let idle = upstream.spec.config.body_idle_timeout;
        let mut frames = progress.frames();
        while !progress.is_finished() {
            if tokio::time::timeout(idle, progress.finished()).await.is_ok() {
                break;
            }
            let now = progress.frames();
            if now == frames {
                return if progress.is_starved() {
                    ForwardError::BodyStalled
                } else {
                    ForwardError::Timeout
                };
            }
            frames = now;
        }
        if self.response_timeout.is_zero() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.response_timeout).await;
        ForwardError::Timeout
    }
}

/// hyper's word for a request that got no response, with the request itself if it was not sent.
type Unanswered = hyper::client::conn::TrySendError<Request<RequestBody>>;

/// How an attempt failed.
enum Failed {
    /// Nothing was written: the request is as it was.
    Unsent(Box<Request<RequestBody>>),
    /// Something was written, and no response came.
    Broken,
    /// Time ran out.
    Timeout(ForwardError),
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

/// The same request once more; it has no body.
fn copy_of(request: &Request<RequestBody>) -> Box<Request<RequestBody>> {
    let mut copy = Request::new(RequestBody::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Box::new(copy)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
