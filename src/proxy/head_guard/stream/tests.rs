//! What hyper would read, and when.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::advance;

use super::super::{Exchange, Fault, Head, Heads};
use super::*;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";

fn limits() -> Limits {
    Limits {
        max_head_bytes: 1024,
        max_target_bytes: 256,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(75),
    }
}

/// A guarded connection, polled by hand as hyper does.
struct Rig<S> {
    guard: Guarded<S>,
    heads: Heads,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Rig<DuplexStream> {
    fn open() -> (Self, DuplexStream) {
        let (client, server) = duplex(64 * 1024);
        (Self::over(server), client)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Rig<S> {
    fn over(stream: S) -> Self {
        let seam = Arc::new(Seam::default());
        let guard = Guarded::new(stream, limits(), Arc::clone(&seam));
        Self {
            guard,
            heads: Heads { seam },
            woken: Arc::default(),
        }
    }

    /// One read of at most `room` bytes.
    fn read_some(&mut self, room: usize) -> Poll<io::Result<String>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut space = vec![0; room];
        let mut buf = ReadBuf::new(&mut space);
        ready!(Pin::new(&mut self.guard).poll_read(&mut Context::from_waker(&waker), &mut buf))?;
        Poll::Ready(Ok(String::from_utf8_lossy(buf.filled()).into_owned()))
    }

    fn read(&mut self) -> Poll<io::Result<String>> {
        self.read_some(8192)
    }

    #[track_caller]
    fn reads(&mut self, expected: &str) {
        match self.read() {
            Poll::Ready(Ok(read)) => assert_eq!(read, expected),
            other => panic!("{other:?} instead of {expected:?}"),
        }
    }

    #[track_caller]
    fn ends(&mut self) {
        self.reads("");
    }

    #[track_caller]
    fn waits(&mut self) {
        let read = self.read();
        assert!(read.is_pending(), "{read:?}");
    }

    /// The handler's part for a sound request.
    #[track_caller]
    fn take(&self) -> Exchange {
        let Head { refusal, exchange, .. } = self.heads.take();
        assert_eq!(refusal, None);
        exchange
    }

    #[track_caller]
    fn refuses(&mut self, refusal: Refusal) {
        let Poll::Ready(Ok(read)) = self.read() else {
            panic!("no stand-in")
        };
        assert!(
            read.ends_with(" HTTP/1.1\r\nHost: invalid\r\nConnection: close\r\n\r\n"),
            "{read:?}"
        );
        assert_eq!(self.heads.take().refusal, Some(refusal));
        self.waits();
    }

    fn shutdown(&mut self) -> Poll<io::Result<()>> {
        let waker = Waker::from(Arc::clone(&self.woken));
        Pin::new(&mut self.guard).poll_shutdown(&mut Context::from_waker(&waker))
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut cx = Context::from_waker(Waker::noop());
        Pin::new(&mut self.guard).poll_write(&mut cx, bytes)
    }

    fn woken(&self) -> usize {
        self.woken.0.swap(0, Ordering::Relaxed)
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_and_its_body_pass_as_they_come() {
    let (mut rig, mut client) = Rig::open();
    rig.waits();
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel";
    client.write_all(post.as_bytes()).await.unwrap();
    rig.reads(post);
    assert_eq!(rig.heads.take().bytes, post.len() - 3);
    rig.waits();
    client.write_all(b"lo").await.unwrap();
    rig.reads("lo");
    rig.waits();
    assert_eq!(rig.guard.held.capacity(), 0, "no buffer was needed");
}

#[tokio::test(start_paused = true)]
async fn a_head_in_pieces_passes_whole() {
    for cut in 1..GET.len() {
        let (mut rig, mut client) = Rig::open();
        client.write_all(&GET.as_bytes()[..cut]).await.unwrap();
        rig.waits();
        client.write_all(&GET.as_bytes()[cut..]).await.unwrap();
        rig.reads(GET);
        rig.take();
        assert_eq!(rig.guard.held.capacity(), 0, "the buffer is given back");
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_larger_than_hypers_buffer_passes_in_pieces() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    let mut read = String::new();
    while let Poll::Ready(piece) = rig.read_some(10) {
        read += &piece.unwrap();
    }
    assert_eq!(read, GET);
    rig.take();
}

#[tokio::test(start_paused = true)]
async fn the_next_head_passes_only_when_the_last_was_taken() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.repeat(3).as_bytes()).await.unwrap();
    rig.reads(GET);
    rig.waits();
    let first = rig.take();
    assert_eq!(rig.woken(), 1, "taking the mark wakes a reader that waits for it");
    rig.reads(GET);
    drop(first);
    rig.waits();
    rig.take();
    rig.reads(GET);
    rig.take();
    rig.waits();
    assert_eq!(rig.woken(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_saw_the_head_of_is_refused() {
    let (rig, _client) = Rig::open();
    assert_eq!(rig.heads.take().refusal, Some(Refusal::Malformed(Fault::Unmarked)));
}

#[tokio::test(start_paused = true)]
async fn behind_a_refused_head_nothing_is_parsed() {
    let (mut rig, mut client) = Rig::open();
    let smuggled =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n{GET}");
    client.write_all(smuggled.as_bytes()).await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::ContentLengthWithTransferEncoding));
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.waits();
    drop(client);
    rig.waits();
}

#[tokio::test(start_paused = true)]
async fn a_refused_head_waits_for_its_turn() {
    let (mut rig, mut client) = Rig::open();
    client
        .write_all(format!("{GET}GET /\r\n\r\n").as_bytes())
        .await
        .unwrap();
    rig.reads(GET);
    rig.waits();
    rig.take();
    rig.refuses(Refusal::Malformed(Fault::RequestLine));
}

#[tokio::test(start_paused = true)]
async fn r32_refuses_as_soon_as_a_line_is_bad() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(b"GET / HTTP/1.1\r\nHost: a\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::BareLf));
}

#[tokio::test(start_paused = true)]
async fn r38_refuses_heads_that_are_too_long_before_they_end() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(&[b'a'; 400]).await.unwrap();
    rig.refuses(Refusal::TargetTooLong);
    let (mut rig, mut client) = Rig::open();
    client.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    client.write_all(&[b'a'; 1024]).await.unwrap();
    rig.refuses(Refusal::HeadTooLarge);
}

#[tokio::test(start_paused = true)]
async fn a_chunked_body_ends_where_its_framing_says() {
    let (mut rig, mut client) = Rig::open();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "5;x\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n";
    client.write_all(format!("{head}{body}{GET}").as_bytes()).await.unwrap();
    rig.reads(&format!("{head}{body}"));
    rig.waits();
    rig.take();
    rig.reads(GET);
}

#[tokio::test(start_paused = true)]
async fn r31_a_framing_error_is_an_error_for_good_behind_what_was_sound() {
    let (mut rig, mut client) = Rig::open();
    let sound = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello";
    client
        .write_all(format!("{sound}xx0\r\n\r\n{GET}").as_bytes())
        .await
        .unwrap();
    rig.reads(sound);
    rig.take();
    for _ in 0..2 {
        let Poll::Ready(Err(error)) = rig.read() else {
            panic!("no error")
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_is_seen_while_a_request_is_under_way() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    let _exchange = rig.take();
    rig.waits();
    drop(client);
    assert_eq!(rig.woken(), 1);
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn the_end_of_input_within_a_head_is_just_that() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(b"GET / HT").await.unwrap();
    rig.waits();
    drop(client);
    rig.ends();
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r38_a_head_that_does_not_end_in_time_is_refused() {
    let (mut rig, mut client) = Rig::open();
    advance(Duration::from_secs(4)).await;
    rig.waits();
    advance(Duration::from_secs(4)).await;
    client.write_all(b"HEAD /a HTTP/1.1\r\n").await.unwrap();
    rig.waits();
    advance(Duration::from_millis(1990)).await;
    rig.waits();
    advance(Duration::from_millis(20)).await;
    rig.reads("HEAD /a HTTP/1.1\r\nHost: invalid\r\nConnection: close\r\n\r\n");
    assert_eq!(rig.heads.take().refusal, Some(Refusal::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn r38_a_connection_that_never_sends_a_byte_ends_without_a_word() {
    let (mut rig, _client) = Rig::open();
    rig.waits();
    advance(Duration::from_millis(9990)).await;
    rig.waits();
    advance(Duration::from_millis(20)).await;
    rig.ends();
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r38_a_later_head_has_its_own_time_from_its_first_byte() {
    let (mut rig, mut client) = Rig::open();
    rig.waits();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
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
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    let exchange = rig.take();
    rig.waits();
    advance(Duration::from_secs(600)).await;
    rig.waits();
    drop(exchange);
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
    let (mut rig, mut client) = Rig::open();
    let mut set = BTreeSet::new();
    for _request in 0..30 {
        rig.waits();
        set.insert(rig.guard.clock.sleep.as_ref().unwrap().deadline());
        advance(Duration::from_secs(2)).await;
        client.write_all(GET.as_bytes()).await.unwrap();
        rig.reads(GET);
        drop(rig.take());
    }
    assert_eq!(set.len(), 2, "once for the first head, once when that had run off");
}

/// A request was handled, and half of its response fits the connection.
async fn half_written() -> (Rig<DuplexStream>, DuplexStream) {
    let (mut client, server) = duplex(16);
    let mut rig = Rig::over(server);
    client.write_all(&GET.as_bytes()[..16]).await.unwrap();
    rig.waits();
    client.write_all(&GET.as_bytes()[16..]).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
    assert!(rig.write(&[0; 16]).is_ready());
    assert!(rig.write(&[0; 16]).is_pending());
    (rig, client)
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_a_response_to_be_out() {
    let (mut rig, mut client) = half_written().await;
    rig.heads.drain();
    rig.waits();
    client.read_exact(&mut [0; 16]).await.unwrap();
    assert!(rig.write(&[0; 16]).is_ready());
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r38_a_client_that_takes_nothing_of_a_response_is_idle() {
    let (mut rig, mut client) = half_written().await;
    rig.waits();
    advance(Duration::from_secs(60)).await;
    rig.waits();
    client.read_exact(&mut [0; 16]).await.unwrap();
    assert!(rig.write(&[0; 16]).is_ready());
    assert!(rig.write(&[0; 16]).is_pending());
    rig.waits();
    advance(Duration::from_secs(70)).await;
    rig.waits();
    advance(Duration::from_secs(10)).await;
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn r30_no_byte_passes_behind_an_upgrade_before_it_is_settled() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(format!("{UPGRADE}early").as_bytes()).await.unwrap();
    rig.reads(UPGRADE);
    let exchange = rig.take();
    rig.waits();
    client.write_all(b" bytes").await.unwrap();
    rig.waits();
    rig.woken();
    rig.heads.settle_upgrade(true);
    assert_eq!(rig.woken(), 1);
    rig.reads("early bytes");
    drop(exchange);
    client.write_all(b"\n\n\0raw").await.unwrap();
    rig.reads("\n\n\0raw");
    advance(Duration::from_secs(3600)).await;
    rig.waits();
    drop(client);
    rig.ends();
    assert!(rig.shutdown().is_ready());
}

#[tokio::test(start_paused = true)]
async fn r30_a_declined_upgrade_is_followed_by_requests() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(format!("{UPGRADE}{GET}").as_bytes()).await.unwrap();
    rig.reads(UPGRADE);
    let exchange = rig.take();
    rig.waits();
    rig.heads.settle_upgrade(false);
    rig.heads.settle_upgrade(true);
    drop(exchange);
    rig.reads(GET);
    rig.take();
    rig.heads.settle_upgrade(true);
    client.write_all(b"not a head\r\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::Version));
}

#[tokio::test(start_paused = true)]
async fn r30_an_upgrade_that_is_never_settled_is_declined() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(format!("{UPGRADE}{GET}").as_bytes()).await.unwrap();
    rig.reads(UPGRADE);
    let exchange = rig.take();
    rig.waits();
    drop(exchange);
    rig.reads(GET);
}

#[tokio::test(start_paused = true)]
async fn r30_an_upgrade_with_a_body_is_undecided_behind_it() {
    let (mut rig, mut client) = Rig::open();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nUpgrade: x\r\nContent-Length: 4\r\n\r\n";
    client.write_all(format!("{head}bo").as_bytes()).await.unwrap();
    rig.reads(&format!("{head}bo"));
    let _exchange = rig.take();
    rig.heads.settle_upgrade(true);
    rig.waits();
    client.write_all(b"dyraw").await.unwrap();
    rig.reads("dy");
    rig.reads("raw");
}

#[tokio::test(start_paused = true)]
async fn r39_what_is_held_behind_an_upgrade_is_bounded() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    rig.reads(UPGRADE);
    let _exchange = rig.take();
    client.write_all(&[b'x'; 60_000]).await.unwrap();
    rig.waits();
    assert!(
        rig.guard.held.len() < MAX_UNDECIDED_BYTES + 8192,
        "{}",
        rig.guard.held.len()
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_before_its_upgrade_is_missed() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    rig.reads(UPGRADE);
    let _exchange = rig.take();
    rig.waits();
    drop(client);
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sent_before_it_left_is_still_read() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(format!("{UPGRADE}{GET}").as_bytes()).await.unwrap();
    drop(client);
    rig.reads(UPGRADE);
    drop(rig.take());
    rig.reads(GET);
    rig.take();
    rig.ends();

    let (mut rig, mut client) = Rig::open();
    client.write_all(UPGRADE.as_bytes()).await.unwrap();
    rig.reads(UPGRADE);
    let _exchange = rig.take();
    client.write_all(b"last words").await.unwrap();
    drop(client);
    rig.waits();
    rig.heads.settle_upgrade(true);
    rig.reads("last words");
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn draining_ends_an_idle_connection_at_once() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
    rig.waits();
    rig.heads.drain();
    assert_eq!(rig.woken(), 1);
    rig.ends();

    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    let exchange = rig.take();
    rig.heads.drain();
    rig.waits();
    rig.woken();
    drop(exchange);
    assert_eq!(rig.woken(), 1);
    rig.ends();
    client.shutdown().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn draining_still_answers_the_first_request_of_a_connection_that_was_just_made() {
    let (mut rig, mut client) = Rig::open();
    rig.waits();
    rig.heads.drain();
    rig.waits();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
    rig.ends();

    let (mut rig, _silent) = Rig::open();
    rig.waits();
    rig.heads.drain();
    rig.waits();
    advance(FIRST_BYTE_TIME).await;
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn draining_lets_a_head_that_has_begun_finish() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(&GET.as_bytes()[..9]).await.unwrap();
    rig.waits();
    rig.heads.drain();
    rig.waits();
    client.write_all(&GET.as_bytes()[9..]).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
    rig.ends();
}

#[tokio::test(start_paused = true)]
async fn closing_between_requests_does_not_linger() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
    assert!(rig.shutdown().is_ready());
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn closing_between_requests_lingers_if_bytes_have_come() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(GET.as_bytes()).await.unwrap();
    rig.reads(GET);
    drop(rig.take());
    client.write_all(b"more").await.unwrap();
    assert!(rig.shutdown().is_pending());
    drop(client);
    assert!(rig.shutdown().is_ready());
}

#[tokio::test(start_paused = true)]
async fn closing_with_input_outstanding_waits_for_the_client_to_finish() {
    let (mut rig, mut client) = Rig::open();
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\nabc")
        .await
        .unwrap();
    rig.read().is_ready();
    drop(rig.take());
    assert!(rig.shutdown().is_pending());
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "our side is shut");
    client.write_all(&[0; 5000]).await.unwrap();
    assert!(rig.shutdown().is_pending());
    drop(client);
    assert!(rig.shutdown().is_ready());
}

#[tokio::test(start_paused = true)]
async fn closing_waits_a_second_and_so_many_bytes_at_most() {
    let (mut rig, mut client) = Rig::open();
    client.write_all(b"nonsense\r\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::RequestLine));
    assert!(rig.shutdown().is_pending());
    advance(Duration::from_millis(990)).await;
    assert!(rig.shutdown().is_pending());
    advance(Duration::from_millis(20)).await;
    assert!(rig.shutdown().is_ready());

    let (mut rig, mut client) = Rig::open();
    client.write_all(b"nonsense\r\n").await.unwrap();
    rig.refuses(Refusal::Malformed(Fault::RequestLine));
    for sent in 0..LINGER_BYTES / 4096 {
        assert!(rig.shutdown().is_pending(), "{sent}");
        client.write_all(&[0; 4096]).await.unwrap();
    }
    assert!(rig.shutdown().is_ready());
}

/// A stream whose reads are given, and which then has no more.
struct Script(VecDeque<Vec<u8>>);

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Some(mut next) = self.0.pop_front() else {
            return Poll::Pending;
        };
        let rest = next.split_off(next.len().min(buf.remaining()));
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        buf.put_slice(&next);
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

/// All that hyper gets, one mark taken for each head, and how many there were.
fn pump(rig: &mut Rig<Script>, room: usize) -> (Vec<u8>, Vec<Option<Refusal>>) {
    let mut got = Vec::new();
    let mut marks = Vec::new();
    loop {
        match rig.read_some(room) {
            Poll::Ready(Ok(read)) if read.is_empty() => return (got, marks),
            Poll::Ready(Ok(read)) => got.extend(read.into_bytes()),
            Poll::Ready(Err(_)) => return (got, marks),
            Poll::Pending if rig.heads.seam.state.lock().mark.is_some() => marks.push(rig.heads.take().refusal),
            Poll::Pending => return (got, marks),
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
    fn hyper_gets_sound_requests_exactly_as_they_were_sent(
        requests in requests(),
        lengths in proptest::collection::vec(1_usize..60, 0..20),
        room in 1_usize..300,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let sent = requests.concat();
        let mut rig = Rig::over(script(sent.as_bytes(), &lengths));
        let (got, marks) = pump(&mut rig, room);
        prop_assert_eq!(String::from_utf8(got).unwrap(), sent);
        prop_assert_eq!(marks, vec![None; requests.len()]);
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_outrun_their_marks(
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
        room in 1_usize..100,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let bytes = pieces.concat();
        let mut whole = Rig::over(script(&bytes, &[]));
        let mut cut = Rig::over(script(&bytes, &lengths));
        let (got, marks) = pump(&mut whole, 8192);
        prop_assert_eq!(pump(&mut cut, room), (got, marks));
    }
}
