//! What goes wrong around the gateway: upstreams, issuers and clients that break off, hang, or talk nonsense.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{
    Gate, Gateway, Issuer, OPEN, Request, Upstream, eventually, open_to, refused, soon, with_listener,
};

const NO_BODY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

fn post(body: &str) -> Request {
    Request::new("POST", "/").body(body)
}

#[tokio::test]
async fn an_upstream_that_refuses_connections_is_503() {
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", Upstream::nobody().await, "")
        .start()
        .await;
    refused(&gateway.get("/").await, 503, "upstream_unavailable");
    refused(&gateway.send(&post("x")).await, 503, "upstream_unavailable");
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn an_endpoint_that_is_down_costs_a_retry_and_no_request() {
    let upstream = Upstream::echo().await;
    let (down, up) = (Upstream::nobody().await, upstream.address);
    let gateway = Gateway::with(OPEN)
        .and(&format!(
            "[upstreams.up]\nurls = [\"http://{down}\", \"http://{up}\"]\n"
        ))
        .start()
        .await;
    for _ in 0..6 {
        assert_eq!(gateway.send(&post("whole")).await.head.status(), 200);
        assert_eq!(upstream.last().body, b"whole");
        assert_eq!(upstream.last().header("host"), Some(up.to_string()));
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_off_before_its_head_is_502() {
    for reset in [false, true] {
        let upstream = Upstream::conversing(move |mut conversation| async move {
            conversation.request().await;
            if reset {
                conversation.reset();
            }
        })
        .await;
        let gateway = open_to(&upstream).start().await;
        refused(&gateway.send(&post("x")).await, 502, "bad_gateway");
        assert_eq!(upstream.count(), 1, "a POST that was sent is not sent again");
        refused(&gateway.get("/").await, 502, "bad_gateway");
        assert_eq!(upstream.count(), 3, "a GET is tried once more");
        gateway.holds_nothing().await;
    }
}

#[tokio::test]
async fn r33_a_response_that_is_cut_off_reaches_the_client_as_one_and_its_connection_is_not_used_again() {
    for head in ["Content-Length: 100", "Transfer-Encoding: chunked"] {
        for reset in [false, true] {
            let gate = Gate::shut();
            let theirs = gate.clone();
            let upstream = Upstream::conversing(move |mut conversation| {
                let gate = theirs.clone();
                async move {
                    conversation.request().await;
                    conversation
                        .send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n5\r\nhello\r\n"))
                        .await;
                    gate.passed().await;
                    if reset {
                        conversation.reset();
                    }
                }
            })
            .await;
            let gateway = open_to(&upstream).start().await;
            let mut client = gateway.client().await;
            client.write(Request::get("/").bytes(gateway.address)).await;
            let mut body = client.head().await.response_body().unwrap();
            let first = soon("a piece", client.connection.piece(&mut body)).await;
            assert!(first.unwrap().is_some());
            gate.open();
            let rest = soon("the end", client.connection.rest(body)).await;
            assert!(
                rest.is_err(),
                "{head}: a body that was cut off came out whole: {rest:?}"
            );
            gateway.holds_nothing().await;
            client = gateway.client().await;
            client.write(Request::get("/").bytes(gateway.address)).await;
            assert_eq!(client.head().await.status(), 200);
            assert_eq!(upstream.connections(), 2);
        }
    }
}

#[tokio::test]
async fn r33_a_connection_whose_response_went_on_behind_its_end_is_not_used_again() {
    let upstream =
        Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 200 OK\r\nX-Evil: 1\r\n\r\n").await;
    let gateway = open_to(&upstream).start().await;
    for round in 1..4 {
        let response = gateway.get("/").await;
        assert_eq!((response.head.status(), &*response.body), (200, &b"hi"[..]));
        assert_eq!(response.head.first("x-evil"), None, "somebody got another's answer");
        assert_eq!(upstream.connections(), round);
    }
}

#[tokio::test]
async fn r33_a_connection_whose_request_was_not_taken_whole_is_not_used_again() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        while conversation.head().await.is_some() {
            conversation.send(NO_BODY).await;
        }
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let mut client = gateway.client().await;
    client
        .write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 90000\r\n\r\nabc")
        .await;
    assert_eq!(client.head().await.status(), 200);
    drop(client);
    assert_eq!(gateway.get("/").await.head.status(), 200);
    assert_eq!(upstream.connections(), 2);
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn an_upstream_that_speaks_nonsense_is_502() {
    for nonsense in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 abc\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX A: 1\r\nContent-Length: 0\r\n\r\n",
    ] {
        let upstream = Upstream::saying(nonsense).await;
        let gateway = open_to(&upstream).start().await;
        refused(&gateway.send(&post("x")).await, 502, "bad_gateway");
        gateway.holds_nothing().await;
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.closed().await;
    })
    .await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "response_timeout = \"100ms\"")
        .start()
        .await;
    refused(&gateway.get("/").await, 504, "upstream_timeout");
    refused(&gateway.send(&post("x")).await, 504, "upstream_timeout");
    assert_eq!(upstream.count(), 2);
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn a_stream_that_falls_silent_is_cut() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation
            .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
            .await;
        conversation.closed().await;
    })
    .await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "stream_idle_timeout = \"100ms\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.write(Request::get("/").bytes(gateway.address)).await;
    let body = client.head().await.response_body().unwrap();
    assert!(soon("the cut", client.connection.rest(body)).await.is_err());
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn a_client_that_does_not_go_on_with_its_body_is_408() {
    let upstream = Upstream::echo().await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "body_idle_timeout = \"100ms\"")
        .start()
        .await;
    let mut client = gateway.client().await;
    client
        .write("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        .await;
    refused(&client.response().await, 408, "request_timeout");
    client.is_closed().await;
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn an_upstream_that_does_not_take_the_body_is_504() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        conversation.head().await;
        // Reads no more, until the gateway has given up.
        std::future::pending::<()>().await;
    })
    .await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "body_idle_timeout = \"100ms\"")
        .start()
        .await;
    let (mut reads, mut writes) = TcpStream::connect(gateway.address).await.unwrap().into_split();
    let head = "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n";
    writes.write_all(head.as_bytes()).await.unwrap();
    let uploading = tokio::spawn(async move { writes.write_all(&vec![0; 200 << 20]).await });
    let mut start = [0; 12];
    soon("an answer", reads.read_exact(&mut start)).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 504");
    uploading.abort();
}

/// Answers the first request of each connection, and hangs up on the second.
async fn forgetful() -> Upstream {
    Upstream::conversing(|mut conversation| async move {
        conversation.request().await;
        conversation.send(NO_BODY).await;
        conversation.request().await;
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_went_stale_is_no_error_for_a_get() {
    let upstream = forgetful().await;
    let gateway = open_to(&upstream).start().await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/").await.head.status(), 200);
    }
}

#[tokio::test]
async fn a_post_is_tried_again_only_when_nothing_of_it_was_sent() {
    let upstream = forgetful().await;
    let gateway = open_to(&upstream).start().await;
    assert_eq!(gateway.get("/").await.head.status(), 200);
    refused(&gateway.send(&post("once")).await, 502, "bad_gateway");
    let posts = upstream
        .requests()
        .iter()
        .filter(|received| received.body == b"once")
        .count();
    assert_eq!(posts, 1);

    let (told, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let upstream = Upstream::conversing(move |mut conversation| {
        let told = told.clone();
        async move {
            conversation.request().await;
            conversation.send(NO_BODY).await;
            drop(conversation);
            told.send(()).unwrap();
        }
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    for count in 1..5 {
        assert_eq!(gateway.send(&post("once")).await.head.status(), 200);
        ends.recv().await.unwrap();
        assert_eq!(upstream.count(), count);
    }
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again_whole_if_its_body_is_small() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        // Takes it, says nothing, and hangs up.
        conversation.request().await;
    })
    .await;
    let gateway = open_to(&upstream).start().await;
    let (small, large) = ("x".repeat(64 << 10), "x".repeat((64 << 10) + 1));
    for (method, body, sent) in [
        ("PUT", &small, 2),
        ("DELETE", &small, 2),
        ("PUT", &large, 1),
        ("POST", &small, 1),
    ] {
        let before = upstream.count();
        refused(
            &gateway.send(&Request::new(method, "/").body(body)).await,
            502,
            "bad_gateway",
        );
        let requests = upstream.requests();
        assert_eq!(requests.len() - before, sent, "{method} of {}", body.len());
        for received in &requests[before..] {
            assert_eq!(received.body, body.as_bytes());
            assert_eq!(received.header("content-length"), Some(body.len().to_string()));
        }
    }
    let mut chunked = gateway.client().await;
    let before = upstream.count();
    chunked
        .write("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")
        .await;
    refused(&chunked.response().await, 502, "bad_gateway");
    assert_eq!(upstream.count() - before, 1, "nobody knew how long it would be");
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn more_requests_than_max_in_flight_are_503() {
    let gate = Gate::shut();
    let theirs = gate.clone();
    let upstream = Upstream::conversing(move |mut conversation| {
        let gate = theirs.clone();
        async move {
            while conversation.request().await.is_some() {
                gate.passed().await;
                conversation.send(NO_BODY).await;
            }
        }
    })
    .await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "max_in_flight = 1")
        .start()
        .await;
    let mut client = gateway.client().await;
    client.write(Request::get("/").bytes(gateway.address)).await;
    upstream.got(1).await;
    refused(&gateway.get("/").await, 503, "upstream_unavailable");
    gate.open();
    assert_eq!(client.response().await.head.status(), 200);
    gateway.holds_nothing().await;
    assert_eq!(gateway.get("/").await.head.status(), 200);
}

const BOTH: &str = "
[[routes]]
name = \"open\"
paths = [\"/open\"]
upstream = \"up\"
auth = \"none\"
[[routes]]
name = \"tokens\"
paths = [\"/tokens\"]
upstream = \"up\"
auth = \"jwt\"
";

#[tokio::test]
async fn an_issuer_that_hangs_holds_up_readiness_and_its_own_tokens_and_no_other_route() {
    let (upstream, issuer, gate) = (Upstream::echo().await, Issuer::start().await, Gate::shut());
    issuer.wait_for(&gate);
    let gateway = Gateway::with(BOTH)
        .upstream("up", &upstream)
        .issuer("main", &issuer)
        .begin()
        .await;
    issuer.server.got(1).await;
    assert_eq!(gateway.ask_admin("/readyz").await.head.status(), 503);
    assert_eq!(gateway.ask_admin("/livez").await.head.status(), 200);
    assert_eq!(gateway.get("/open").await.head.status(), 200);
    let mut client = gateway.client().await;
    client
        .write(Request::get("/tokens").bearer(&issuer.token()).bytes(gateway.address))
        .await;
    gateway.metric_becomes("gateway_requests_in_flight", 1.0).await;
    gate.open();
    assert_eq!(
        client.response().await.head.status(),
        200,
        "it waited for the first fetch"
    );
    gateway.is_ready().await;
    assert_eq!(issuer.fetches(), 1);
}

#[tokio::test]
async fn an_issuer_that_is_down_at_the_start_holds_up_nothing_and_its_tokens_are_503() {
    let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
    issuer.go_down();
    let gateway = Gateway::with(BOTH)
        .upstream("up", &upstream)
        .issuer("main", &issuer)
        .start()
        .await;
    assert_eq!(gateway.get("/open").await.head.status(), 200);
    let request = Request::get("/tokens").bearer(&issuer.token());
    refused(&gateway.send(&request).await, 503, "auth_unavailable");
    gateway.event("JWKS refresh failed").await;
    issuer.publish(&[&issuer.key]);
    eventually("the issuer is asked again", async || {
        (gateway.send(&request).await.head.status() == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn r07_requests_with_unknown_keys_all_end_while_the_fetch_fails() {
    let (upstream, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = Gateway::with(BOTH)
        .upstream("up", &upstream)
        .issuer("main", &issuer)
        .start()
        .await;
    issuer.go_down();
    let stranger = crate::harness::Key::ec("unknown");
    let request = Request::get("/tokens").bearer(&stranger.sign(&issuer.claims()));
    let (one, two, three) = tokio::join!(gateway.send(&request), gateway.send(&request), gateway.send(&request));
    for response in [one, two, three] {
        refused(&response, 401, "invalid_token");
    }
    let good = gateway.send(&Request::get("/tokens").bearer(&issuer.token())).await;
    assert_eq!(good.head.status(), 200, "the keys at hand still serve");
    assert_eq!(issuer.fetches(), 2, "one for all of them");
}

#[tokio::test]
async fn r38_a_head_that_does_not_come_in_time_is_408() {
    let upstream = Upstream::echo().await;
    let gateway = with_listener("header_timeout = \"200ms\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    client.write("GET / HTTP/1.1\r\nHost: a\r\n").await;
    refused(&client.response().await, 408, "request_timeout");
    client.is_closed().await;
    let mut silent = gateway.client().await;
    silent.is_closed().await;
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn r38_an_idle_connection_is_closed_without_a_word() {
    let upstream = Upstream::echo().await;
    let gateway = with_listener("idle_timeout = \"100ms\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let mut client = gateway.client().await;
    assert_eq!(client.send(&Request::get("/")).await.head.status(), 200);
    client.is_closed().await;
}

#[tokio::test]
async fn r38_connections_beyond_the_bounds_are_closed_at_once() {
    for bound in ["max_connections = 1", "max_connections_per_address = 1"] {
        let upstream = Upstream::echo().await;
        let gateway = with_listener(bound).upstream("up", &upstream).start().await;
        let mut first = gateway.client().await;
        assert_eq!(first.send(&Request::get("/")).await.head.status(), 200);
        gateway.client().await.is_closed().await;
        assert_eq!(first.send(&Request::get("/")).await.head.status(), 200);
        drop(first);
        gateway
            .metric_becomes("gateway_connections{listener=\"public\"}", 0.0)
            .await;
        assert_eq!(gateway.get("/").await.head.status(), 200);
    }
}

#[tokio::test]
async fn an_upstream_that_is_silent_is_told_that_the_client_closed() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        let (received, _) = conversation.head().await.unwrap();
        if received.line.starts_with("GET /begun") {
            conversation
                .send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
                .await;
        }
        conversation.closed().await;
    })
    .await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "response_timeout = \"0s\"")
        .start()
        .await;
    let (mut waits, mut begun) = (gateway.client().await, gateway.client().await);
    waits.write("GET /waits HTTP/1.1\r\nHost: a\r\n\r\n").await;
    begun.write("GET /begun HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(begun.head().await.status(), 200);
    upstream.got(2).await;
    drop((waits, begun));
    gateway.holds_nothing().await;
}

#[tokio::test]
async fn a_client_that_is_gone_leaves_nothing_behind() {
    let upstream = Upstream::conversing(|mut conversation| async move {
        let (received, _) = conversation.head().await.unwrap();
        if received.line.starts_with("GET /waits") {
            return conversation.closed().await;
        }
        // A client that only says no more is one too (RFC 9112 §9.6): that it is gone shows when it is written to.
        conversation.send("HTTP/1.1 200 OK\r\n\r\n").await;
        while conversation.connection.send(&[b'x'; 1024]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let gateway = Gateway::with(OPEN)
        .upstream_with("up", upstream.address, "response_timeout = \"200ms\"")
        .start()
        .await;
    for request in [
        "GET /waits HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /streams HTTP/1.1\r\nHost: a\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
    ] {
        let before = upstream.count();
        let mut client = gateway.client().await;
        client.write(request).await;
        upstream.got(before + 1).await;
        client.reset();
        gateway.holds_nothing().await;
    }
    gateway
        .metric_becomes("gateway_connections{listener=\"public\"}", 0.0)
        .await;
}
