//! A request as it goes over an HTTP/2 connection that hyper drives, and the head of its answer.

use http::header;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::Incoming;

use crate::protocol::declared_trailers;
use crate::protocol::exchange::{Fault, Patience, ResponseHead};
use crate::runtime::http2_connections::Http2Stream;
use crate::runtime::request_body::{Progress, RequestBody};

use super::send::Unanswered;

/// The request with this head; `host` stands in place of its own.
pub fn request(parts: &Parts, host: Option<&HeaderValue>, body: RequestBody, secure: bool) -> Request<RequestBody> {
    let mut request = Request::new(body);
    request.method_mut().clone_from(&parts.method);
    request.uri_mut().clone_from(&parts.uri);
    request.headers_mut().clone_from(&parts.headers);
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host.clone());
    }
    translate(&mut request, secure);
    request
}

/// Sends it and waits for the head of the answer.
///
/// # Errors
/// Why there is none.
pub async fn head(
    stream: &mut Http2Stream,
    request: Request<RequestBody>,
    patience: Patience,
    progress: Option<&Progress>,
) -> Result<(ResponseHead, Incoming), Unanswered> {
    let overdue = |fault| Unanswered { fault, body: None };
    let response = stream.sender.try_send_request(request);
    let sent = match progress {
        None if patience.response.is_zero() => response.await,
        None => tokio::time::timeout(patience.response, response)
            .await
            .map_err(|_| overdue(Fault::TimedOut))?,
        Some(progress) => tokio::select! {
            biased;
            response = response => response,
            fault = watch(patience, progress) => return Err(overdue(fault)),
        },
    };
    match sent {
        Ok(response) => Ok(split(response)),
        Err(mut error) => Err(match error.take_message() {
            Some(unsent) => {
                stream.retire();
                Unanswered {
                    fault: Fault::Unsent,
                    body: Some(unsent.into_body()),
                }
            }
            None => {
                if !is_of_one_stream(error.error()) {
                    stream.retire();
                }
                overdue(Fault::Broken)
            }
        }),
    }
}

/// Whether only the one stream of a connection was reset (RFC 9113 §5.4.2).
fn is_of_one_stream(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<h2::Error>());
    cause.is_some_and(h2::Error::is_reset)
}

fn split(response: Response<Incoming>) -> (ResponseHead, Incoming) {
    let (parts, body) = response.into_parts();
    let response = Response::from_parts(parts, ());
    let head = ResponseHead {
        response,
        spelling: None,
    };
    (head, body)
}

/// Ends when the body stands still for `body_idle_timeout`, or the response is overdue once the body is through.
async fn watch(patience: Patience, progress: &Progress) -> Fault {
    let idle = patience.body_idle;
    let mut frames = progress.frames();
    while !progress.is_finished() {
        if tokio::time::timeout(idle, progress.finished()).await.is_ok() {
            break;
        }
        let now = progress.frames();
        if now == frames {
            return if progress.is_starved() {
                Fault::Starved
            } else {
                Fault::TimedOut
            };
        }
        frames = now;
    }
    if patience.response.is_zero() {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(patience.response).await;
    Fault::TimedOut
}

/// Makes an HTTP/1.1 request HTTP/2's: `:scheme` and `:authority` for Host (RFC 9113 §8.3.1), and no trailer but those declared.
fn translate(request: &mut Request<RequestBody>, secure: bool) {
    let declared = declared_trailers(request.headers());
    request.body_mut().limit_trailers(declared);
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(header::HOST);
    let authority = host.and_then(|host| host.to_str().ok()?.parse().ok());
    let Some(authority) = authority else { return };
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    parts.authority = Some(authority);
    let path = request.uri().path_and_query().cloned();
    parts.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    if let Ok(uri) = Uri::from_parts(parts) {
        *request.uri_mut() = uri;
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn host_becomes_the_authority() {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.uri = "/x?y".parse().unwrap();
        parts.headers.insert("host", "a:80".parse().unwrap());
        let kept = request(&parts, None, RequestBody::Empty, false);
        assert_eq!(kept.uri(), "http://a:80/x?y");
        assert!(kept.headers().is_empty());
        let own = HeaderValue::from_static("b");
        assert_eq!(
            request(&parts, Some(&own), RequestBody::Empty, true).uri(),
            "https://b/x?y"
        );
    }
}
