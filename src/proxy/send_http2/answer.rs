//! The body of an answer that comes on a stream of HTTP/2, and the request's body that may still be on its way there.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::{HeaderMap, header};
use http_body::Frame;
use tokio::task::JoinHandle;

use crate::protocol::exchange::Fault;
use crate::runtime::http2_connections::Http2Stream;

use super::upload::Upload;

/// What follows an answer's head. When it is dropped before its end the stream is reset, with whatever was still to be sent.
#[derive(Debug)]
pub struct Http2Answer {
    body: RecvStream,
    /// Bytes still to come, if the head said how many.
    left: Option<u64>,
    /// All data has come.
    data_ended: bool,
    ended: bool,
    upload: Option<Uploading>,
    place: Http2Stream,
}

/// The task of a request's body, which ends with this.
#[derive(Debug)]
struct Uploading(JoinHandle<Result<(), Fault>>);

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Http2Answer {
    /// Follows this head.
    ///
    /// # Errors
    /// The head says two things.
    pub(super) fn new(
        head: &HeaderMap,
        body: RecvStream,
        upload: Option<Upload>,
        place: Http2Stream,
    ) -> Result<Self, Fault> {
        let mut lengths = head.get_all(header::CONTENT_LENGTH).iter();
        let length = lengths.next();
        if lengths.next().is_some() {
            return Err(Fault::Nonsense("more than one Content-Length"));
        }
        let left = if body.is_end_stream() {
            Some(0)
        } else {
            length.and_then(|length| length.to_str().ok()?.parse().ok())
        };
        Ok(Self {
            body,
            left,
            data_ended: false,
            ended: false,
            upload: upload.map(|upload| Uploading(tokio::spawn(upload.without_haste()))),
            place,
        })
    }

    /// The next of it; `None`: it has ended, cleanly.
    pub fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if !self.data_ended {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(data)) => {
                    // Fails only for more than was received.
                    let _ = self.body.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(self.fails(cx, &error)),
                None => self.data_ended = true,
            }
        }
        let trailers = match ready!(self.body.poll_trailers(cx)) {
            Ok(trailers) => trailers,
            Err(error) => return Poll::Ready(self.fails(cx, &error)),
        };
        self.ended = true;
        Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn fails(&mut self, cx: &mut Context<'_>, error: &h2::Error) -> Option<Result<Frame<Bytes>, Fault>> {
        self.ended = true;
        // RFC 9113 §8.1: all was said, and no more of the request is wanted. Any other reason cuts an answer off.
        let is_all = error.is_reset() && error.reason() == Some(Reason::NO_ERROR);
        if is_all && self.left.is_none_or(|left| left == 0) {
            return None;
        }
        let of_upload = self.upload.as_mut().map(|upload| Pin::new(&mut upload.0).poll(cx));
        let fault = match of_upload {
            Some(Poll::Ready(Ok(Err(fault)))) => fault,
            Some(Poll::Ready(Ok(Ok(())) | Err(_)) | Poll::Pending) | None => Fault::Broken,
        };
        if fault == Fault::TimedOut || !error.is_reset() {
            self.place.retire();
        }
        Some(Err(fault))
    }

    /// Whether all of it has come.
    pub fn is_end(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    /// How long the rest is, if that is known.
    pub const fn length(&self) -> Option<u64> {
        self.left
    }
}
