//! Clients and upstreams that are not of our making: curl, nghttp2, grpcio, h2, websockets, uvicorn.
//!
//! The Python ones live in `target/peers`, which `.ci/test` makes of `tests/peers/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use crate::harness::tls::Authority;
use crate::harness::{Gateway, OPEN, Upstream, soon};

fn manifest() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of `tests/peers`: it says its upstream's port, if it has one, is told the gateway's address, and ends well.
async fn peer(script: &str, gateway_before: impl AsyncFnOnce(Option<u16>) -> Gateway, has_upstream: bool) {
    let python = manifest().join("target/peers/bin/python");
    assert!(python.exists(), "no {}: run .ci/test, which makes it", python.display());
    let mut child = Command::new(python)
        .arg(manifest().join("tests/peers").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = if has_upstream {
        let line = soon("its port", lines.next_line()).await.unwrap();
        Some(line.expect("a port").parse().unwrap())
    } else {
        None
    };
    let gateway = gateway_before(port).await;
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(format!("{}\n", gateway.address).as_bytes())
        .await
        .unwrap();
    let last = soon("its verdict", lines.next_line()).await.unwrap();
    assert_eq!(
        last.as_deref(),
        Some("all as it should be"),
        "{script}; its trace is above"
    );
    assert!(soon("its end", child.wait()).await.unwrap().success());
}

#[tokio::test]
async fn grpcio_calls_every_kind_of_method_with_metadata_and_deadlines() {
    let routes = "[internal]\nkeys = [\"0123456789abcdef\"]\n\
        [[routes]]\nname = \"echo\"\npaths = [\"/test.Echo/*\"]\nupstream = \"up\"\nauth = \"none\"\n\
        [[routes]]\nname = \"secret\"\npaths = [\"/secret.Echo/*\"]\nupstream = \"up\"\nauth = \"internal\"\n";
    let before = async |port: Option<u16>| {
        let address = ([127, 0, 0, 1], port.unwrap()).into();
        Gateway::with(routes)
            .upstream_with("up", address, "http2 = true")
            .start()
            .await
    };
    peer("grpc_peer.py", before, true).await;
}

#[tokio::test]
async fn websockets_talks_to_uvicorn_with_large_messages_and_close_codes() {
    let before = async |port: Option<u16>| {
        let address = ([127, 0, 0, 1], port.unwrap()).into();
        Gateway::with(OPEN).upstream_with("up", address, "").start().await
    };
    peer("websocket_peer.py", before, true).await;
}

#[tokio::test]
async fn pythons_h2_keeps_the_bounds_and_is_told_of_a_connection_error() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let before = async |_port: Option<u16>| Gateway::with(OPEN).upstream("up", &upstream).start().await;
    peer("h2_peer.py", before, false).await;
}

async fn run(command: &str, arguments: &[&str]) -> Output {
    let output = Command::new(command).args(arguments).kill_on_drop(true).output();
    soon("the command ends", output).await.expect("it is installed")
}

#[tokio::test]
async fn curl_speaks_every_version_over_tls_and_without() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pair = authority.pair(&["localhost", "127.0.0.1"]);
    let config = format!(
        "[[listeners]]\nname = \"plain\"\naddress = \"127.0.0.1:0\"\n\
         [[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\n\
         certificates = [{{ cert = \"a.pem\", key = \"a.key\" }}]\n{OPEN}"
    );
    let gateway = Gateway::with(&config)
        .file("a.pem", &pair.cert)
        .file("a.key", &pair.key)
        .file("ca.pem", authority.pem())
        .upstream("up", &upstream)
        .start()
        .await;
    let ca = gateway.path("ca.pem");
    let ca: &str = Path::to_str(&ca).unwrap();
    for (listener, scheme, version, spoken) in [
        ("plain", "http", "--http1.1", "1.1"),
        // A server answers in its own version (RFC 9110 §2.5).
        ("plain", "http", "--http1.0", "1.1"),
        ("plain", "http", "--http2-prior-knowledge", "2"),
        ("tls", "https", "--http1.1", "1.1"),
        ("tls", "https", "--http2", "2"),
        ("tls", "https", "--tls-max 1.2", "2"),
    ] {
        let url = format!("{scheme}://{}/x", gateway.listeners[listener]);
        let mut asked = vec!["-sS", "--cacert", ca];
        asked.extend(version.split(' '));
        asked.extend(["-d", "body", "-w", "\n%{http_version} %{http_code}", &url]);
        let output = run("curl", &asked).await;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        assert_eq!(last, format!("{spoken} 200"), "{version} {output:?}");
        assert!(text.contains("body"), "{text}");
    }
}

#[tokio::test]
async fn nghttp2_asks_and_loads() {
    let upstream = Upstream::saying("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    let gateway = Gateway::with(OPEN).upstream("up", &upstream).start().await;
    let url = format!("http://{}/", gateway.address);
    let output = run("nghttp", &["-v", &url]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains(":status: 200") && output.status.success(), "{text}");
    let output = run("h2load", &["-n", "5000", "-c", "10", "-m", "50", &url]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("5000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{text}"
    );
    let output = run("h2load", &["--h1", "-n", "2000", "-c", "10", &url]).await;
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("2000 succeeded, 0 failed, 0 errored, 0 timeout"),
        "{text}"
    );
}
