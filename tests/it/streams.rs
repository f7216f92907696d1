//! Bodies on their way: piece by piece in both directions, never gathered; and the corners of HTTP/1.1 around them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway::demo::wire::Body;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Conversation, Gate, Gateway, OPEN, Request, Upstream, eventually, open_to, refused, soon};

const MIB: u64 = 1 << 20;

/// What a body may cost the gateway at most, whatever its length: its own size as a debug build, and buffers.
const MEMORY: u64 = 96 * MIB;

/// All that sockets on both sides may hold of a body that nobody reads: the kernel's buffers, which grow to some MiB each.
const ON_THE_WAY: u64 = 64 * MIB;

/// Answers each piece of a request's body with the same piece, as it comes.
async fn reflect(mut conversation: Conversation) {
    while let Some((_, mut body)) = conversation.head().await {
        conversation
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        while let Ok(Some(piece)) = conversation.connection.piece(&mut body).await {
            conversation.connection.send_chunk(&piece).await.unwrap();
        }
        conversation.send("0\r\n\r\n").await;
    }
}

#[tokio::test]
async fn a_request_and_its_response_stream_side_by_side() {
    let upstream = Upstream::conversing(reflect).await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    for round in 0..2 {
        client
            .write("POST /talk HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let mut body = client.head().await.response_body().unwrap();
        for piece in ["one", "two", "three"] {
            client.connection.send_chunk(piece.as_bytes()).await.unwrap();
            let back = soon("the piece comes back", client.connection.piece(&mut body)).await;
            assert_eq!(back.unwrap().unwrap(), piece, "round {round}");
        }
        client.write("0\r\n\r\n").await;
        assert_eq!(client.connection.rest(body).await.unwrap(), b"");
    }
    assert_eq!(
        upstream.connections(),
        1,
        "a clean end on both sides keeps the connection"
    );
}

#[tokio::test]
async fn server_sent_events_arrive_one_by_one_and_the_head_before_them() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::shut()).collect();
    let theirs = gates.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let gates = theirs.clone();
        async move {
            conversation.request().await;
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\r\n")
                .await;
            for (place, gate) in gates.iter().enumerate() {
                gate.passed().await;
                conversation.send(format!("data: {place}\n\n")).await;
            }
        }
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client.write(Request::get("/events").bytes(gateway.address)).await;
    let head = client.head().await;
    assert_eq!(head.first("content-type"), Some("text/event-stream"));
    let mut body = head.response_body().unwrap();
    for (place, gate) in gates.iter().enumerate() {
        gate.open();
        let event = soon("an event", client.connection.piece(&mut body)).await;
        assert_eq!(event.unwrap().unwrap(), format!("data: {place}\n\n"));
    }
    assert_eq!(soon("the end", client.connection.piece(&mut body)).await.unwrap(), None);
}

/// Bytes that went, counted while they go.
type Count = Arc<AtomicU64>;

/// Writes zeros and counts them.
async fn pour(stream: &mut TcpStream, bytes: u64, written: &Count) {
    let zeros = vec![0; 256 * 1024];
    let mut left = usize::try_from(bytes).unwrap();
    while left > 0 {
        let count = stream
            .write(&zeros[..left.min(zeros.len())])
            .await
            .expect("it reads on");
        left -= count;
        written.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// Reads so many bytes, all zeros.
async fn drink(stream: &mut TcpStream, bytes: u64) {
    let (mut buffer, zeros) = (vec![1; 256 * 1024], vec![0; 256 * 1024]);
    let mut left = usize::try_from(bytes).unwrap();
    while left > 0 {
        let room = left.min(buffer.len());
        let count = stream.read(&mut buffer[..room]).await.unwrap();
        assert!(count > 0, "cut off {left} bytes before the end");
        assert_eq!(buffer[..count], zeros[..count]);
        left -= count;
    }
}

async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a head", stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Waits until nothing more goes. Looking too early only makes the test kinder: it never fails for that.
async fn stalls(gateway: &Gateway, count: &Count) -> u64 {
    let mut before = 0;
    let mut same = 0;
    eventually("the writer has to wait", async || {
        gateway.ask_admin("/livez").await;
        let now = count.load(Ordering::Relaxed);
        same = if now == before { same + 1 } else { 0 };
        before = now;
        (now > 0 && same >= 20).then_some(now)
    })
    .await
}

/// Takes one upload of `bytes`, once `gate` is open.
async fn takes_an_upload(bytes: u64, gate: Gate) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        gate.passed().await;
        drink(&mut stream, bytes).await;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
        stream.write_all(answer.as_bytes()).await.unwrap();
    });
    address
}

/// Sends one download of `bytes`.
async fn gives_a_download(bytes: u64, written: Count) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_head(&mut stream).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        pour(&mut stream, bytes, &written).await;
    });
    address
}

async fn open_to_address(address: std::net::SocketAddr) -> Gateway {
    Gateway::with(OPEN).upstream_with("up", address, "").start().await
}

#[tokio::test]
async fn an_upload_that_nobody_takes_waits_at_the_client() {
    const BYTES: u64 = 256 * MIB;
    let gate = Gate::shut();
    let gateway = open_to_address(takes_an_upload(BYTES, gate.clone()).await).await;
    let written = Count::default();
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let count = written.clone();
    let uploading = tokio::spawn(async move {
        pour(&mut client, BYTES, &count).await;
        client
    });
    let stalled = stalls(&gateway, &written).await;
    assert!(stalled < ON_THE_WAY, "{stalled} bytes went to nobody");
    gate.open();
    let mut client = soon("the rest goes", uploading).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
    let peak = gateway.peak_memory();
    assert!(peak < MEMORY, "it took {peak} bytes of memory");
}

#[tokio::test]
async fn a_download_that_nobody_takes_waits_at_the_upstream() {
    const BYTES: u64 = 256 * MIB;
    let written = Count::default();
    let gateway = open_to_address(gives_a_download(BYTES, written.clone()).await).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    client
        .write_all(b"GET /down HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
    let stalled = stalls(&gateway, &written).await;
    assert!(stalled < ON_THE_WAY, "{stalled} bytes went to nobody");
    soon("the rest comes", drink(&mut client, BYTES)).await;
    let peak = gateway.peak_memory();
    assert!(peak < MEMORY, "it took {peak} bytes of memory");
}

#[tokio::test]
async fn a_gibibyte_goes_through_in_constant_memory() {
    const BYTES: u64 = 1024 * MIB;
    let gate = Gate::shut();
    gate.open();
    let gateway = open_to_address(takes_an_upload(BYTES, gate).await).await;
    let mut client = TcpStream::connect(gateway.address).await.unwrap();
    let head = format!("PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: {BYTES}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    soon("all of it goes", pour(&mut client, BYTES, &Count::default())).await;
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
    let peak = gateway.peak_memory();
    assert!(peak < MEMORY, "it took {peak} bytes of memory");
}

/// Everything up to and with `end`.
async fn until(connection: &mut gateway::demo::client::Connection, end: &str) -> String {
    let mut text = Vec::new();
    while !text.ends_with(end.as_bytes()) {
        let byte = soon(end, connection.exactly(1)).await;
        text.extend_from_slice(&byte.unwrap_or_else(|_| panic!("closed after {:?}", String::from_utf8_lossy(&text))));
    }
    String::from_utf8(text).unwrap()
}

/// Reads a chunked request with its trailers, which go to `trailers`, and answers.
async fn sends_its_trailers(request: &str) -> (String, String) {
    let (told, mut trailers) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::conversing(move |mut conversation| {
        let told = told.clone();
        async move {
            let (received, _) = conversation.head().await.unwrap();
            let body = until(&mut conversation.connection, "\r\n\r\n").await;
            told.send((String::from_utf8(received.head).unwrap(), body)).unwrap();
            conversation.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    assert_eq!(gateway.raw(request).await.head.status(), 200);
    trailers.recv().await.unwrap()
}

#[tokio::test]
async fn declared_trailers_of_a_request_pass() {
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n";
    let (head, body) = sends_its_trailers(request).await;
    assert!(head.to_lowercase().contains("trailer: x-sum"), "{head}");
    assert!(body.to_lowercase().ends_with("0\r\nx-sum: 42\r\n\r\n"), "{body}");
}

#[tokio::test]
async fn r01_no_trailer_brings_what_the_gateway_writes() {
    for name in [
        "X-User-ID",
        "x_user_id",
        "X-Request-ID",
        "X-Forwarded-For",
        "Connection",
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum, {name}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n{name}: root\r\nX-Sum: 42\r\n\r\n"
        );
        let (_, body) = sends_its_trailers(&request).await;
        assert!(
            body.to_lowercase().ends_with("0\r\nx-sum: 42\r\n\r\n"),
            "{name}: {body}"
        );
    }
}

#[tokio::test]
async fn declared_trailers_of_a_response_pass_to_a_client_that_takes_them() {
    let upstream = Upstream::saying(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 42\r\n\r\n",
    )
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    let request = Request::get("/").header("TE", "trailers").header("Connection", "TE");
    client.write(request.bytes(gateway.address)).await;
    client.head().await;
    let body = until(&mut client.connection, "\r\n\r\n").await;
    assert!(body.to_lowercase().ends_with("0\r\nx-sum: 42\r\n\r\n"), "{body}");
    assert_eq!(upstream.last().header("te").as_deref(), Some("trailers"));
}

#[tokio::test]
async fn an_answer_without_a_body_keeps_its_headers_and_the_connection() {
    let upstream = Upstream::answering(|received| {
        let answer: &[u8] = match received.line.split(' ').nth(1).unwrap() {
            "/head" => b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nContent-Type: text/x\r\n\r\n",
            "/204" => b"HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n",
            "/304" => b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 1000\r\n\r\n",
            _ => b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        };
        answer.to_vec()
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    let head = client.send(&Request::new("HEAD", "/head")).await.head;
    assert_eq!((head.status(), head.first("content-length")), (200, Some("1000")));
    assert_eq!(head.first("content-type"), Some("text/x"));
    let head = client.send(&Request::get("/204")).await.head;
    assert_eq!((head.status(), head.first("x-a")), (204, Some("1")));
    assert_eq!(
        (head.first("content-length"), head.first("transfer-encoding")),
        (None, None)
    );
    let head = client.send(&Request::get("/304")).await.head;
    assert_eq!((head.status(), head.first("etag")), (304, Some("\"1\"")));
    assert_eq!(client.send(&Request::get("/")).await.body, b"hi");
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn a_refusal_of_head_has_no_body_and_keeps_the_connection() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with("[[routes]]\nname = \"a\"\npaths = [\"/a\"]\nupstream = \"up\"\nauth = \"none\"\n")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    assert_eq!(client.send(&Request::new("HEAD", "/b")).await.head.status(), 404);
    assert_eq!(client.send(&Request::get("/a")).await.head.status(), 200);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_and_a_close() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n").await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client.write("GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
    let head = client.head().await;
    assert_eq!((head.status(), head.first("transfer-encoding")), (200, None));
    assert_eq!(client.until_close().await, b"hi");
    assert!(upstream.last().line.ends_with("HTTP/1.1"), "{}", upstream.last().line);
}

#[tokio::test]
async fn a_client_of_http_1_0_may_keep_the_connection() {
    let upstream = Upstream::echo().await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client
            .write("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
            .await;
        let response = client.response().await;
        assert_eq!(response.head.status(), 200);
        assert!(
            response.head.has_token("connection", "keep-alive"),
            "{:?}",
            response.head
        );
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let upstream = Upstream::echo().await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    let requests: Vec<u8> = (0..5)
        .flat_map(|n| Request::new("POST", &format!("/{n}")).body("x").bytes(gateway.address))
        .collect();
    client.write(requests).await;
    for n in 0..5 {
        let body = String::from_utf8(client.response().await.body).unwrap();
        assert!(body.starts_with(&format!("POST /{n} ")), "{body}");
    }
}

const GUARDED: &str = "
[api_keys]
[[routes]]
name = \"guarded\"
paths = [\"/guarded\"]
upstream = \"up\"
auth = \"api_key\"
[[routes]]
name = \"small\"
paths = [\"/small\"]
upstream = \"up\"
auth = \"none\"
max_body = \"1MiB\"
[[routes]]
name = \"open\"
paths = [\"/open\"]
upstream = \"up\"
auth = \"none\"
[[api_keys.keys]]
id = \"a\"
hash = \"sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae\"
user = \"a\"
";

#[tokio::test]
async fn a_body_is_asked_for_only_once_the_request_is_allowed() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(GUARDED).upstream("up", &upstream).start().await;
    let expecting = |target: &str| {
        Request::new("POST", target)
            .header("Expect", "100-continue")
            .header("Content-Length", "4")
            .bytes(gateway.address)
    };
    let mut client = gateway.client().await;
    client.write(expecting("/guarded")).await;
    let head = soon("an answer", client.connection.head()).await.unwrap().unwrap();
    assert_eq!(head.status(), 401, "no 100 before it");

    let mut client = gateway.client().await;
    client.write(expecting("/open")).await;
    let head = soon("an answer", client.connection.head()).await.unwrap().unwrap();
    assert_eq!(head.status(), 100);
    client.write("body").await;
    assert!(client.response().await.body.ends_with(b"body"));
}

#[tokio::test]
async fn a_refusal_reaches_a_client_that_still_uploads() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(GUARDED).upstream("up", &upstream).start().await;
    for (target, status) in [("/guarded", 401), ("/small", 413), ("/elsewhere", 404)] {
        let mut client = TcpStream::connect(gateway.address).await.unwrap();
        let head = format!(
            "PUT {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
            8 * MIB
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let (mut reads, mut writes) = client.into_split();
        // What does not fit may be refused: only the answer counts.
        let uploading = tokio::spawn(async move { writes.write_all(&vec![0; 8 << 20]).await });
        let mut start = [0; 12];
        soon("an answer", reads.read_exact(&mut start)).await.unwrap();
        assert_eq!(start, *format!("HTTP/1.1 {status}").as_bytes());
        uploading.abort();
    }
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_413_while_it_streams() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(GUARDED).upstream("up", &upstream).start().await;
    let mut client = gateway.client().await;
    client
        .write("PUT /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.connection.send_chunk(&vec![0; 1 << 20]).await.unwrap();
    client.connection.send_chunk(b"x").await.unwrap();
    refused(&client.response().await, 413, "body_too_large");
    client.is_closed().await;
    gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
    // Half a request is no request: the connection to the upstream was not used again.
    assert_eq!(gateway.get("/open").await.head.status(), 200);
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_reaches_the_client() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        let _ = conversation.head().await;
        conversation
            .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
            .await;
        conversation.closed().await;
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client
        .write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\nbeginning")
        .await;
    let response = client.response().await;
    assert_eq!((response.head.status(), &*response.body), (403, &b"no"[..]));
    gateway.metric_becomes("gateway_requests_in_flight", 0.0).await;
}

#[tokio::test]
async fn a_client_that_will_say_no_more_still_hears_the_answer() {
    let gate = Gate::shut();
    let theirs = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let gate = theirs.clone();
        async move {
            conversation.request().await;
            gate.passed().await;
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                .await;
        }
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client.write(Request::get("/").bytes(gateway.address)).await;
    client.half_close().await;
    upstream.got(1).await;
    gate.open();
    assert_eq!(client.response().await.body, b"hi");
    client.is_closed().await;
}

#[tokio::test]
async fn an_answer_that_ends_with_the_connection_is_whole() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.send("HTTP/1.1 200 OK\r\n\r\nall of it").await;
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    assert_eq!(gateway.get("/").await.body, b"all of it");
    assert!(matches!(
        gateway.get("/").await.head.response_body().unwrap(),
        Body::Chunked { .. }
    ));
}
