//! The PROXY protocol: a trusted proxy says whose connection it hands on, and nobody else does.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::tls::Authority;
use crate::harness::{Client, Gateway, OPEN, Request, Setup, Upstream, refused, soon};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n";
/// The same in version 2, with a TLV behind.
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10\xc0\0\x02\x07\x0a\0\0\x01\x12\x67\x01\xbb\x04\0\x01x";

fn with_proxies(proxies: &str, lines: &str) -> Setup {
    Gateway::with(&format!(
        "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\nproxy_protocol = true\n\
         trusted_proxies = [\"{proxies}\"]\n{lines}\n{OPEN}"
    ))
}

/// A client whose connection begins with these bytes.
async fn after(header: &[u8], to: SocketAddr) -> Client {
    let mut stream = TcpStream::connect(to).await.unwrap();
    stream.write_all(header).await.unwrap();
    Client::over(to, stream)
}

/// What the upstream was told of where a request came from.
async fn told(upstream: &Upstream, header: &[u8], to: SocketAddr) -> String {
    let forged = Request::get("/").header("X-Forwarded-For", "203.0.113.1");
    let answer = after(header, to).await.send(&forged).await;
    assert_eq!(answer.head.status(), 200);
    upstream.last().header("x-forwarded-for").unwrap()
}

#[tokio::test]
async fn the_client_is_whom_the_proxy_tells() {
    let upstream = Upstream::echo().await;
    let gateway = with_proxies("127.0.0.1", "").upstream("up", &upstream).start().await;
    for (header, client) in [
        (V1, "192.0.2.7"),
        (V2, "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", "2001:db8::7"),
    ] {
        // What the client itself says is a stranger's word.
        assert_eq!(told(&upstream, header, gateway.address).await, client);
        let line = gateway.access_line(|line| line["client_ip"] == client).await;
        assert_eq!(line["status"], 200);
    }
    // Who speaks for itself is a trusted proxy like any other.
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        assert_eq!(told(&upstream, header, gateway.address).await, "203.0.113.1, 127.0.0.1");
    }
}

#[tokio::test]
async fn a_header_of_somebody_else_is_no_http() {
    let upstream = Upstream::echo().await;
    let gateway = with_proxies("10.0.0.0/8", "").upstream("up", &upstream).start().await;
    assert_eq!(
        gateway.get("/").await.head.status(),
        200,
        "who is no proxy needs no header"
    );
    let mut client = after(V1, gateway.address).await;
    client.write(Request::get("/").bytes(gateway.address)).await;
    refused(&client.response().await, 400, "malformed_request");
    // Not asked for, it is not taken from a trusted proxy either.
    let plain = with_proxies("127.0.0.1", "");
    let config = plain.config().replace("proxy_protocol = true", "");
    let gateway = Gateway::with(&config).upstream("up", &upstream).start().await;
    let mut client = after(V1, gateway.address).await;
    client.write(Request::get("/").bytes(gateway.address)).await;
    refused(&client.response().await, 400, "malformed_request");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn r38_a_proxy_without_a_sound_header_is_closed_in_time() {
    let upstream = Upstream::echo().await;
    let gateway = with_proxies("127.0.0.1", "header_timeout = \"100ms\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let counted = "gateway_connections_refused_total{listener=\"public\",reason=\"proxy_protocol\"}";
    for (bytes, count) in [
        (&b""[..], 0.0),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1.0),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711", 2.0),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\n", 3.0),
        (&[b'P'; 5000], 4.0),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", 5.0),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut said = Vec::new();
        let _ = soon("the gateway closes", stream.read_to_end(&mut said)).await;
        assert!(said.is_empty(), "{said:?}");
        gateway.metric_becomes(counted, count).await;
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn tls_and_its_bytes_come_behind_the_header() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pair = authority.pair(&["a.example"]);
    let gateway = with_proxies("127.0.0.1", "certificates = [{ cert = \"a.pem\", key = \"a.key\" }]")
        .file("a.pem", &pair.cert)
        .file("a.key", &pair.key)
        .upstream("up", &upstream)
        .start()
        .await;
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(V2).await.unwrap();
    let mut connection = authority.client().over(stream, "a.example").await.unwrap();
    let answer = connection.send("a.example", &Request::get("/")).await.unwrap();
    assert_eq!(answer.head.status(), 200);
    assert_eq!(upstream.last().header("x-forwarded-for").as_deref(), Some("192.0.2.7"));
}

#[tokio::test]
async fn the_bound_by_address_counts_those_whom_the_proxy_tells() {
    let upstream = Upstream::echo().await;
    let gateway = with_proxies("127.0.0.1", "max_connections_per_address = 1")
        .upstream("up", &upstream)
        .start()
        .await;
    let other = b"PROXY TCP4 192.0.2.8 10.0.0.1 4711 443\r\n";
    let mut kept = Vec::new();
    for header in [V1, other] {
        let mut client = after(header, gateway.address).await;
        assert_eq!(client.send(&Request::get("/")).await.head.status(), 200);
        kept.push(client);
    }
    after(V1, gateway.address).await.is_closed().await;
    let bound = "gateway_connections_refused_total{listener=\"public\",reason=\"max_connections_per_address\"}";
    gateway.metric_becomes(bound, 1.0).await;
    kept.clear();
    gateway
        .metric_becomes("gateway_connections{listener=\"public\"}", 0.0)
        .await;
    let mut again = after(V1, gateway.address).await;
    assert_eq!(again.send(&Request::get("/")).await.head.status(), 200);
}
