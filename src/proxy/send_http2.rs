//! A request as it goes over an HTTP/2 connection, and the head of its answer.

mod answer;
mod upload;

use std::pin::Pin;
use std::task::{Poll, ready};

use h2::Reason;
use http::header;
use http::request::Parts;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::Body;
use tokio::time::{Sleep, sleep};

use crate::protocol::declared_trailers;
use crate::protocol::exchange::{Fault, Patience, ResponseHead};
use crate::runtime::http2_connections::Http2Stream;
use crate::runtime::request_body::RequestBody;

use super::send::Unanswered;
pub use answer::Http2Answer;
use upload::Upload;

/// The request with this head; `host` stands in place of its own.
pub fn request(parts: &Parts, host: Option<&HeaderValue>, secure: bool) -> Request<()> {
    let mut request = Request::new(());
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
    stream: Http2Stream,
    request: Request<()>,
    mut body: RequestBody,
    patience: Patience,
) -> Result<(ResponseHead, Http2Answer), Unanswered> {
    body.limit_trailers(declared_trailers(request.headers()));
    let mut sender = stream.sender();
    let ready = std::future::poll_fn(|cx| sender.poll_ready(cx)).await;
    let Ok((mut response, to)) = ready.and_then(|()| sender.send_request(request, body.is_end_stream())) else {
        stream.retire();
        return Err(Unanswered {
            fault: Fault::Unsent,
            body: Some(body),
        });
    };
    let mut upload = (!body.is_end_stream()).then(|| Upload::new(body, to, patience.body_idle));
    let mut overdue: Option<Pin<Box<Sleep>>> = None;
    let answered = std::future::poll_fn(|cx| {
        if let Poll::Ready(answered) = Pin::new(&mut response).poll(cx) {
            return Poll::Ready(answered.map_err(|error| fault_of(&error, &stream)));
        }
        if let Some(uploading) = &mut upload {
            ready!(Pin::new(uploading).poll(cx))?;
            upload = None;
        }
        if patience.response.is_zero() {
            return Poll::Pending;
        }
        let overdue = overdue.get_or_insert_with(|| Box::pin(sleep(patience.response)));
        ready!(overdue.as_mut().poll(cx));
        Poll::Ready(Err(Fault::TimedOut))
    });
    let unanswered = |fault| Unanswered { fault, body: None };
    let (parts, body) = match answered.await {
        Ok(response) => response.into_parts(),
        Err(fault) => {
            if fault == Fault::TimedOut {
                // Nobody can tell whether only this stream stands still.
                stream.retire();
            }
            return Err(unanswered(fault));
        }
    };
    let answer = Http2Answer::new(&parts.headers, body, upload, stream).map_err(unanswered)?;
    let head = ResponseHead {
        response: Response::from_parts(parts, ()),
        spelling: None,
    };
    Ok((head, answer))
}

fn fault_of(error: &h2::Error, stream: &Http2Stream) -> Fault {
    // Only the one stream of a connection was reset (RFC 9113 §5.4.2).
    if !error.is_reset() {
        stream.retire();
    }
    // RFC 9113 §8.7: it was not looked at.
    if error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM) {
        Fault::Unsent
    } else {
        Fault::Broken
    }
}

/// Makes an HTTP/1.1 request HTTP/2's: `:scheme` and `:authority` for Host (RFC 9113 §8.3.1).
fn translate(request: &mut Request<()>, secure: bool) {
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
        let kept = request(&parts, None, false);
        assert_eq!(kept.uri(), "http://a:80/x?y");
        assert!(kept.headers().is_empty());
        let own = HeaderValue::from_static("b");
        assert_eq!(request(&parts, Some(&own), true).uri(), "https://b/x?y");
    }
}
