//! A client's connection, polled by hand: what arrives, when, and how it ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Body as _, Frame};
use parking_lot::Mutex;
use proptest::prelude::*;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};
use tokio::time::advance;

use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn limits() -> Limits {
    Limits {
        max_head_bytes: 1024,
        max_target_bytes: 256,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
    }
}

/// A connection, and who serves it.
struct Rig {
    connection: Arc<Mutex<Downstream>>,
    draining: bool,
}

impl Rig {
    fn open() -> (Self, DuplexStream) {
        let (client, server) = duplex(64 * 1024);
        (Self::over(server), client)
    }

    fn over(stream: impl super::super::stream::Duplex + 'static) -> Self {
        let connection = Downstream::new(Stream::Other(Box::new(stream)), &[], limits(), true);
        Self {
            connection: Arc::new(Mutex::new(connection)),
            draining: false,
        }
    }

    fn arrival(&self) -> Poll<Option<Arrival>> {
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.lock().poll_arrival(&mut cx, self.draining)
    }

    /// A sound request has come.
    #[track_caller]
    fn arrives(&self) -> Arrival {
        match self.arrival() {
            Poll::Ready(Some(arrival)) if arrival.refusal.is_none() => arrival,
            other => panic!("{other:?} instead of a request"),
        }
    }

    #[track_caller]
    fn refuses(&self, refusal: Refusal) -> Request<()> {
        match self.arrival() {
            Poll::Ready(Some(arrival)) => {
                assert_eq!(arrival.refusal, Some(refusal));
                arrival.request
            }
            other => panic!("{other:?} instead of {refusal:?}"),
        }
    }

    #[track_caller]
    fn waits(&self) {
        let arrival = self.arrival();
        assert!(arrival.is_pending(), "{arrival:?}");
    }

    #[track_caller]
    fn ends(&self) {
        let arrival = self.arrival();
        assert!(matches!(arrival, Poll::Ready(None)), "{arrival:?}");
    }

    fn body(&self, arrival: &Arrival) -> RequestStream {
        RequestStream::new(Arc::clone(&self.connection), arrival.body.unwrap())
    }

    /// Answers the request under way with `text`; what follows.
    fn answers(&self, text: &'static str) -> After {
        let (head, ()) = Response::new(()).into_parts();
        let mut cx = Context::from_waker(Waker::noop());
        let mut connection = self.connection.lock();
        connection.answer(&head, None, Some(text.len() as u64), self.draining);
        connection.push(Bytes::from_static(text.as_bytes())).unwrap();
        connection.finish(None).unwrap();
        assert!(connection.poll_flush(&mut cx).is_ready());
        connection.after(&mut cx)
    }

    fn flush(&self) -> Poll<io::Result<()>> {
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.lock().poll_flush(&mut cx)
    }

    fn gone(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.lock().poll_gone(&mut cx).is_ready()
    }

    fn close(&self) -> Poll<()> {
        let mut cx = Context::from_waker(Waker::noop());
        self.connection.lock().poll_close(&mut cx)
    }
}

fn next(body: &mut RequestStream) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
    let mut cx = Context::from_waker(Waker::noop());
    Pin::new(body).poll_frame(&mut cx)
}

/// All data and trailers of a body that has come.
fn all(body: &mut RequestStream) -> Result<(String, Option<HeaderMap>), Cut> {
    let (mut text, mut trailers) = (String::new(), None);
    loop {
        match next(body) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) => text += &String::from_utf8_lossy(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Poll::Ready(Some(Err(cut))) => return Err(cut),
            Poll::Ready(None) => return Ok((text, trailers)),
            Poll::Pending => panic!("the body is not whole: {text}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_arrives_with_its_body() {
    let (rig, mut client) = Rig::open();
    rig.waits();
    let head = "PUT /a?b HTTP/1.1\r\nHOST: a\r\nX-One: 1\r\nContent-Length: 5\r\n\r\n";
    client.write_all(format!("{head}hel").as_bytes()).await.unwrap();
    let arrival = rig.arrives();
    assert_eq!(
        (arrival.request.method().as_str(), arrival.request.uri().path()),
        ("PUT", "/a")
    );
    assert_eq!(arrival.request.headers()["x-one"], "1");
    assert!(matches!(arrival.body, Some(BodyLength::Known(5))));
    let mut body = rig.body(&arrival);
    assert_eq!(body.size_hint().exact(), Some(5));
    assert_eq!(
        next(&mut body).map(|frame| frame.unwrap().unwrap().into_data().unwrap()),
        Poll::Ready("hel".into())
    );
    assert!(next(&mut body).is_pending());
    client.write_all(b"lo").await.unwrap();
    assert_eq!(all(&mut body).unwrap().0, "lo");
    assert!(body.is_end_stream());
    assert_eq!(rig.answers("ok"), After::Next);
    rig.waits();
    assert_eq!(
        rig.connection.lock().held.capacity(),
        0,
        "an idle connection holds no buffer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_head_in_pieces_arrives_whole() {
    for cut in 1..GET.len() {
        let (rig, mut client) = Rig::open();
        client.write_all(&GET.as_bytes()[..cut]).await.unwrap();
        rig.waits();
        client.write_all(&GET.as_bytes()[cut..]).await.unwrap();
        rig.arrives();
        assert_eq!(rig.connection.lock().held.capacity(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_arrive_one_by_one() {
    let (rig, mut client) = Rig::open();
    let sent = format!("{GET}{CHUNKED}3\r\nabc\r\n0\r\n\r\n{GET}GET / HTTP/1.1\n{GET}");
    client.write_all(sent.as_bytes()).await.unwrap();
    rig.arrives();
    assert_eq!(rig.answers(""), After::Next);
    let post = rig.arrives();
    assert_eq!(all(&mut rig.body(&post)).unwrap().0, "abc");
    assert_eq!(rig.answers(""), After::Next);
    rig.arrives();
    assert_eq!(rig.answers(""), After::Next);
    rig.refuses(Refusal::Malformed(Fault::BareLf));
    assert_eq!(rig.answers(""), After::Close);
}

#[tokio::test(start_paused = true)]
async fn behind_a_refused_head_nothing_is_read() {
    let (rig, mut client) = Rig::open();
    let smuggled =
        format!("POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{GET}");
    client.write_all(smuggled.as_bytes()).await.unwrap();
    let told = rig.refuses(Refusal::Malformed(Fault::ContentLengthWithTransferEncoding));
    assert_eq!((told.method().as_str(), told.uri().path()), ("POST", "/a"));
    assert_eq!(rig.answers(""), After::Close);
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r32_refuses_as_soon_as_a_line_is_bad() {
    let (rig, mut client) = Rig::open();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::BareLf));
}

#[tokio::test(start_paused = true)]
async fn r38_refuses_heads_that_are_too_long_before_they_end() {
    let (rig, mut client) = Rig::open();
    client.write_all(&[b'a'; 400]).await.unwrap();
    rig.refuses(Refusal::TargetTooLong);
    let (rig, mut client) = Rig::open();
    client.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    client.write_all(&[b'a'; 1024]).await.unwrap();
    rig.refuses(Refusal::HeadTooLarge);
}

#[tokio::test(start_paused = true)]
async fn trailers_come_behind_the_body() {
    let (rig, mut client) = Rig::open();
    let body = "5;x\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    client
        .write_all(format!("{CHUNKED}{body}{GET}").as_bytes())
        .await
        .unwrap();
    let (text, trailers) = all(&mut rig.body(&rig.arrives())).unwrap();
    assert_eq!(
        (text.as_str(), &trailers.unwrap()["x-sum"]),
        ("hello", &HeaderValue::from_static("1"))
    );
    assert_eq!(rig.answers(""), After::Next);
    rig.arrives();
}

#[tokio::test(start_paused = true)]
async fn r31_a_framing_error_in_a_body_reaches_its_reader_and_ends_the_connection() {
    for body in [
        "3\r\nabcd\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "0\r\nX : a\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
    ] {
        let (rig, mut client) = Rig::open();
        client
            .write_all(format!("{CHUNKED}{body}{GET}").as_bytes())
            .await
            .unwrap();
        assert!(all(&mut rig.body(&rig.arrives())).is_err(), "{body:?}");
        assert_eq!(rig.answers(""), After::Close);
        rig.ends();
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_wanted_is_dropped_if_it_is_short_and_comes() {
    let (rig, mut client) = Rig::open();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    client.write_all(format!("{head}he").as_bytes()).await.unwrap();
    rig.arrives();
    assert_eq!(rig.answers(""), After::Next);
    rig.waits();
    client.write_all(format!("llo{GET}").as_bytes()).await.unwrap();
    rig.arrives();
    client.write_all(format!("{head}he").as_bytes()).await.unwrap();
    assert_eq!(rig.answers(""), After::Next);
    rig.arrives();
    assert_eq!(rig.answers(""), After::Next);
    rig.waits();
    advance(Duration::from_secs(11)).await;
    rig.ends();
    for head in [
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        CHUNKED,
    ] {
        let (rig, mut client) = Rig::open();
        client.write_all(head.as_bytes()).await.unwrap();
        rig.arrives();
        assert_eq!(rig.answers(""), After::Close, "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_asked_for_when_it_is_read() {
    let (rig, mut client) = Rig::open();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut body = rig.body(&rig.arrives());
    assert!(next(&mut body).is_pending());
    assert!(next(&mut body).is_pending());
    let mut asked = [0; 64];
    let length = client.read(&mut asked).await.unwrap();
    assert_eq!(&asked[..length], b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"ok").await.unwrap();
    assert_eq!(all(&mut body).unwrap().0, "ok");
    assert_eq!(rig.answers(""), After::Next);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_is_not_gone() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    assert!(!rig.gone());
    client.shutdown().await.unwrap();
    assert!(!rig.gone());
    assert_eq!(rig.answers("ok"), After::Next);
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_has_gone_when_nothing_was_written_to_it_for_a_while() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    advance(LAST_WORDS_TIME * 2).await;
    assert!(!rig.gone(), "it may say more");
    client.shutdown().await.unwrap();
    assert!(!rig.gone());
    advance(LAST_WORDS_TIME / 2).await;
    assert!(rig.flush().is_ready(), "nothing to write changes nothing");
    assert!(!rig.gone());
    advance(LAST_WORDS_TIME).await;
    assert!(rig.gone());
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_is_there_as_long_as_it_is_written_to() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    client.shutdown().await.unwrap();
    assert!(!rig.gone());
    let (head, ()) = Response::new(()).into_parts();
    rig.connection.lock().answer(&head, None, None, false);
    for _ in 0..10 {
        advance(LAST_WORDS_TIME / 2).await;
        rig.connection.lock().push(Bytes::from_static(b"more")).unwrap();
        assert!(rig.flush().is_ready());
        assert!(!rig.gone());
    }
    advance(LAST_WORDS_TIME).await;
    assert!(rig.gone());
}

#[tokio::test(start_paused = true)]
async fn r39_what_a_client_sends_ahead_is_bounded() {
    let (rig, mut client) = Rig::open();
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    rig.arrives();
    client.write_all(&[b'x'; 60_000]).await.unwrap();
    assert!(!rig.gone());
    let held = rig.connection.lock().held.len();
    assert!(held <= 2 * MAX_AHEAD, "{held}");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_within_a_head_is_just_that() {
    let (rig, mut client) = Rig::open();
    client.write_all(b"GET / HT").await.unwrap();
    rig.waits();
    drop(client);
    rig.ends();
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r38_a_head_that_does_not_end_in_time_is_refused() {
    let (rig, mut client) = Rig::open();
    advance(Duration::from_secs(4)).await;
    rig.waits();
    advance(Duration::from_secs(4)).await;
    client.write_all(b"HEAD /a HTTP/1.1\r\n").await.unwrap();
    rig.waits();
    advance(Duration::from_millis(1990)).await;
    rig.waits();
    advance(Duration::from_millis(20)).await;
    let told = rig.refuses(Refusal::TimedOut);
    assert_eq!((told.method().as_str(), told.uri().path()), ("HEAD", "/a"));
}

#[tokio::test(start_paused = true)]
async fn r38_a_connection_that_never_sends_a_byte_ends_without_a_word() {
    let (rig, _client) = Rig::open();
    rig.waits();
    advance(Duration::from_millis(9990)).await;
    rig.waits();
    advance(Duration::from_millis(20)).await;
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r38_a_later_head_has_its_own_time_from_its_first_byte() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    rig.answers("");
    rig.waits();
    advance(Duration::from_secs(60)).await;
    rig.waits();
    client.write_all(b"GET").await.unwrap();
    rig.waits();
    advance(Duration::from_millis(9990)).await;
    rig.waits();
    advance(Duration::from_millis(20)).await;
    rig.refuses(Refusal::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn r38_an_idle_connection_ends_without_a_word() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    advance(Duration::from_secs(600)).await;
    rig.answers("");
    rig.waits();
    advance(Duration::from_secs(74)).await;
    rig.waits();
    client.write_all(b"\r\n").await.unwrap();
    rig.waits();
    advance(Duration::from_secs(2)).await;
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_leaves_the_timer_wheel_alone() {
    let (rig, mut client) = Rig::open();
    let mut set = BTreeSet::new();
    for _request in 0..30 {
        rig.waits();
        set.insert(rig.connection.lock().clock.alarm.is_set_for());
        advance(Duration::from_secs(2)).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        rig.arrives();
        rig.answers("");
    }
    assert_eq!(set.len(), 2, "once for the first head, once when that had run off");
}

#[tokio::test(start_paused = true)]
async fn r38_a_client_that_takes_nothing_of_an_answer_is_given_up() {
    let (mut client, server) = duplex(32);
    let rig = Rig::over(server);
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    let (head, ()) = Response::new(()).into_parts();
    rig.connection.lock().answer(&head, None, Some(0), false);
    assert!(rig.flush().is_pending());
    advance(Duration::from_secs(60)).await;
    assert!(rig.flush().is_pending());
    client.read_exact(&mut [0; 16]).await.unwrap();
    assert!(rig.flush().is_pending());
    advance(Duration::from_secs(70)).await;
    assert!(rig.flush().is_pending());
    advance(Duration::from_secs(10)).await;
    assert!(matches!(rig.flush(), Poll::Ready(Err(_))));
}

#[tokio::test(start_paused = true)]
async fn draining_ends_an_idle_connection_and_lets_a_head_that_has_begun_finish() {
    let (mut rig, mut client) = Rig::open();
    rig.waits();
    client.write_all(&GET.as_bytes()[..9]).await.unwrap();
    rig.waits();
    rig.draining = true;
    rig.waits();
    client.write_all(&GET.as_bytes()[9..]).await.unwrap();
    rig.arrives();
    assert_eq!(rig.answers(""), After::Close);

    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    rig.answers("");
    rig.waits();
    rig.draining = true;
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn draining_still_answers_the_first_request_of_a_connection_that_was_just_made() {
    let (mut rig, mut client) = Rig::open();
    rig.waits();
    rig.draining = true;
    rig.waits();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    assert_eq!(rig.answers(""), After::Close);

    let (mut rig, _silent) = Rig::open();
    rig.waits();
    rig.draining = true;
    rig.waits();
    advance(FIRST_BYTE_TIME).await;
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r30_bytes_behind_an_upgrade_are_the_tunnels_after_a_101_and_a_request_otherwise() {
    let (rig, mut client) = Rig::open();
    client.write_all(format!("{UPGRADE}early").as_bytes()).await.unwrap();
    rig.arrives();
    assert!(!rig.gone());
    let connection = Arc::into_inner(rig.connection).unwrap().into_inner();
    let (mut stream, ahead) = connection.into_tunnel();
    assert_eq!(ahead, "early");
    client.write_all(b"\n\n\0raw").await.unwrap();
    let mut raw = [0; 6];
    stream.read_exact(&mut raw).await.unwrap();
    assert_eq!(&raw, b"\n\n\0raw");

    let (rig, mut client) = Rig::open();
    client
        .write_all(format!("{UPGRADE}not a head\r\n").as_bytes())
        .await
        .unwrap();
    rig.arrives();
    assert_eq!(rig.answers(""), After::Next);
    rig.refuses(Refusal::Malformed(Fault::Version));
}

#[tokio::test(start_paused = true)]
async fn closing_between_requests_does_not_linger_unless_bytes_have_come() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    rig.answers("");
    assert!(rig.close().is_ready());
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();

    let (rig, mut client) = Rig::open();
    client.write_all(b"more").await.unwrap();
    assert!(rig.close().is_pending());
    drop(client);
    assert!(rig.close().is_ready());
}

#[tokio::test(start_paused = true)]
async fn closing_waits_a_second_and_so_many_bytes_at_most() {
    let (rig, mut client) = Rig::open();
    client.write_all(b"nonsense\r\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::RequestLine));
    assert!(rig.close().is_pending());
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "our side is shut");
    advance(Duration::from_millis(990)).await;
    assert!(rig.close().is_pending());
    advance(Duration::from_millis(20)).await;
    assert!(rig.close().is_ready());

    let (rig, mut client) = Rig::open();
    client.write_all(b"nonsense\r\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::RequestLine));
    for sent in 0..256 / 4 {
        assert!(rig.close().is_pending(), "{sent}");
        client.write_all(&[0; 4096]).await.unwrap();
    }
    assert!(rig.close().is_ready());
}

/// What a client reads as the answer to a request.
async fn heard(
    request: &str,
    status: u16,
    fields: &[(&'static str, &'static str)],
    body: Option<&'static str>,
) -> String {
    let (rig, mut client) = Rig::open();
    client.write_all(request.as_bytes()).await.unwrap();
    rig.arrives();
    let mut response = Response::builder().status(status).header("date", "now");
    for (name, value) in fields {
        response = response.header(*name, *value);
    }
    let (head, ()) = response.body(()).unwrap().into_parts();
    {
        let mut cx = Context::from_waker(Waker::noop());
        let mut connection = rig.connection.lock();
        let known = fields.iter().any(|(name, _)| *name == "content-length");
        let length = body.filter(|_| known || body == Some("")).map(|body| body.len() as u64);
        connection.answer(&head, None, length, false);
        if let Some(body) = body {
            connection.push(Bytes::from_static(body.as_bytes())).unwrap();
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", HeaderValue::from_static("1"));
        trailers.insert("x-other", HeaderValue::from_static("2"));
        connection.finish(Some(&trailers)).unwrap();
        assert!(connection.poll_flush(&mut cx).is_ready());
    }
    drop(rig);
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_framed_as_its_client_can_read_it() {
    let old = "GET / HTTP/1.0\r\n\r\n";
    let kept = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    let head = "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n";
    let takes = "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n";
    let two = [("content-length", "2")];
    let trailer = [("trailer", "X-Sum")];
    for (request, status, fields, body, answer) in [
        (
            GET,
            200,
            &two[..],
            Some("hi"),
            "200 OK\r\ncontent-length: 2\r\ndate: now\r\n\r\nhi",
        ),
        (
            GET,
            200,
            &[],
            Some("hi"),
            "200 OK\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        ),
        (
            old,
            200,
            &[],
            Some("hi"),
            "200 OK\r\ndate: now\r\nconnection: close\r\n\r\nhi",
        ),
        (
            kept,
            200,
            &two,
            Some("hi"),
            "200 OK\r\ncontent-length: 2\r\ndate: now\r\nconnection: keep-alive\r\n\r\nhi",
        ),
        (
            head,
            200,
            &[("content-length", "9")],
            Some(""),
            "200 OK\r\ncontent-length: 9\r\ndate: now\r\n\r\n",
        ),
        (
            GET,
            304,
            &[("content-length", "9")],
            Some(""),
            "304 Not Modified\r\ncontent-length: 9\r\ndate: now\r\n\r\n",
        ),
        (
            GET,
            204,
            &[("content-length", "0")],
            Some(""),
            "204 No Content\r\ndate: now\r\n\r\n",
        ),
        (
            GET,
            200,
            &[("content-length", "9")],
            Some("hi"),
            "200 OK\r\ndate: now\r\ncontent-length: 2\r\n\r\nhi",
        ),
        (
            GET,
            200,
            &trailer,
            Some(""),
            "200 OK\r\ntrailer: X-Sum\r\ndate: now\r\ncontent-length: 0\r\n\r\n",
        ),
        (
            takes,
            200,
            &trailer,
            Some("hi"),
            "200 OK\r\ntrailer: X-Sum\r\ndate: now\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 1\r\n\r\n",
        ),
    ] {
        let heard = heard(request, status, fields, body).await;
        let mut lines: Vec<_> = heard.split_inclusive("\r\n").collect();
        let mut expected = format!("HTTP/1.1 {answer}");
        let mut wanted: Vec<_> = expected.split_inclusive("\r\n").collect();
        lines.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(lines, wanted, "{request:?} {fields:?}: {heard}");
        expected.clear();
    }
}

#[tokio::test(start_paused = true)]
async fn r33_a_body_of_another_length_than_its_head_said_is_an_error() {
    let (rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.arrives();
    let (head, ()) = Response::new(()).into_parts();
    let mut connection = rig.connection.lock();
    connection.answer(&head, None, Some(3), false);
    assert!(connection.push(Bytes::from_static(b"ab")).is_ok());
    assert!(connection.finish(None).is_err());
    assert!(connection.push(Bytes::from_static(b"cd")).is_err());
}

/// A stream whose reads are given, and which then has no more.
struct Script(VecDeque<Vec<u8>>);

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(next) = self.0.pop_front() {
            buf.put_slice(&next);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Cuts `bytes` into pieces of the given lengths, the rest into one.
fn script(bytes: &[u8], lengths: &[usize]) -> Script {
    let mut pieces = VecDeque::new();
    let mut rest = bytes;
    for &length in lengths {
        let (piece, behind) = rest.split_at(length.min(rest.len()));
        rest = behind;
        pieces.push_back(piece.to_vec());
    }
    pieces.push_back(rest.to_vec());
    pieces.retain(|piece| !piece.is_empty());
    Script(pieces)
}

/// All that arrives: each request with its body, or why there is none.
fn arrivals(bytes: &[u8], lengths: &[usize]) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let rig = Rig::over(script(bytes, lengths));
    let mut all_of_them = Vec::new();
    loop {
        let Poll::Ready(Some(arrival)) = rig.arrival() else {
            return all_of_them;
        };
        let body = arrival.body.map(|_| all(&mut rig.body(&arrival)).ok());
        let Arrival { request, refusal, .. } = &arrival;
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        all_of_them.push(format!("{method} {uri} {headers:?} {refusal:?} {body:?}"));
        if rig.answers("") == After::Close {
            return all_of_them;
        }
    }
}

fn requests() -> impl Strategy<Value = Vec<String>> {
    let head = "[A-Z]{1,6} /[a-z0-9/?=&]{0,20}";
    let fields = proptest::collection::vec("X-[A-Za-z-]{0,8}: {0,2}[ -~]{0,30}\r\n", 0..4);
    let chunk = ("[a-z\r\n]{1,20}", "(;[a-z]{1,5})?")
        .prop_map(|(data, extension)| format!("{:x}{extension}\r\n{data}\r\n", data.len()));
    let body = prop_oneof![
        Just("\r\n".to_owned()),
        "[a-z\r\n]{0,40}".prop_map(|body| format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        (proptest::collection::vec(chunk, 0..4), "(X-T: [a-z]{0,5}\r\n)?").prop_map(|(chunks, trailer)| format!(
            "Transfer-Encoding: chunked\r\n\r\n{}0\r\n{trailer}\r\n",
            chunks.concat()
        )),
    ];
    let request = (head, fields, body)
        .prop_map(|(head, fields, body)| format!("{head} HTTP/1.1\r\nHost: a\r\n{}{body}", fields.concat()));
    proptest::collection::vec(request, 1..5)
}

proptest! {
    #[test]
    fn sound_requests_arrive_all_however_they_are_cut(
        requests in requests(),
        lengths in proptest::collection::vec(1_usize..60, 0..20),
    ) {
        let sent = requests.concat();
        let whole = arrivals(sent.as_bytes(), &[]);
        prop_assert_eq!(whole.len(), requests.len(), "{:?}", whole);
        prop_assert!(whole.iter().all(|arrival| arrival.contains(" None ")), "{:?}", whole);
        prop_assert_eq!(arrivals(sent.as_bytes(), &lengths), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_are_read_the_same_however_they_are_cut(
        pieces in proptest::collection::vec(prop_oneof![
            Just(GET.as_bytes().to_vec()),
            Just(b"POST / HTTP/1.1\r\nHost: a\r\n".to_vec()),
            Just(b"Transfer-Encoding: chunked\r\n".to_vec()),
            Just(b"Content-Length: 3\r\n".to_vec()),
            Just(b"Upgrade: a\r\n".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"3\r\nabc\r\n0\r\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ], 0..20),
        lengths in proptest::collection::vec(1_usize..30, 0..30),
    ) {
        let bytes = pieces.concat();
        // How far a refused request line has come may be told differently.
        let method = |arrival: &String| arrival.rsplit(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
        let whole: Vec<_> = arrivals(&bytes, &[]).iter().map(method).collect();
        let cut: Vec<_> = arrivals(&bytes, &lengths).iter().map(method).collect();
        prop_assert_eq!(cut, whole);
    }
}
