//! TLS at the door: which certificate is shown, what clients must show, and that a new one drops nobody.

use rustls::HandshakeKind;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::tls::{Authority, Pair, connect};
use crate::harness::{Gateway, OPEN, Request, Setup, Upstream, eventually, refused, soon};

/// A listener with these certificates, each in files of its place: `0.pem` and `0.key`.
fn with_certificates(pairs: &[&Pair], lines: &str) -> Setup {
    let mut config = format!("[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n{lines}\n");
    for place in 0..pairs.len() {
        config += &format!("[[listeners.certificates]]\ncert = \"{place}.pem\"\nkey = \"{place}.key\"\n");
    }
    let mut setup = Gateway::with(&(config + OPEN));
    for (place, pair) in pairs.iter().enumerate() {
        setup = setup.file(&format!("{place}.pem"), &pair.cert);
        setup = setup.file(&format!("{place}.key"), &pair.key);
    }
    setup
}

/// The same, with this authority of clients.
fn with_client_auth(pair: &Pair, mode: &str, clients: &Authority) -> Setup {
    let setup = with_certificates(
        &[pair],
        &format!("client_auth = {{ ca = \"clients.pem\", mode = \"{mode}\" }}"),
    );
    setup.file("clients.pem", clients.pem())
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_of_the_name_it_asks_for() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pairs = [
        authority.pair(&["first.example", "127.0.0.1"]),
        authority.pair(&["*.example.com"]),
        authority.pair(&["api.example.com"]),
    ];
    let gateway = with_certificates(&pairs.each_ref(), "")
        .upstream("up", &upstream)
        .start()
        .await;
    for client in [authority.client(), authority.client().tls12()] {
        for (name, place) in [
            ("first.example", 0),
            ("www.example.com", 1),
            ("api.example.com", 2),
            ("127.0.0.1", 0),
        ] {
            let mut connection = client.connect(gateway.address, name).await.unwrap();
            assert_eq!(connection.shown(), pairs[place].der(), "{name}");
            let answer = connection.send(name, &Request::get("/")).await.unwrap();
            assert_eq!(answer.head.status(), 200);
        }
    }
    let unknown = authority.client().connect(gateway.address, "elsewhere.example").await;
    let error = unknown.err().expect("the first certificate is not for it").to_string();
    assert!(
        error.contains("NotValidForName") || error.contains("not valid for name"),
        "{error}"
    );
}

#[tokio::test]
async fn the_upstream_is_told_that_it_was_https_and_its_location_stays_so() {
    let upstream = Upstream::answering(|received| {
        let host = received.header("host").unwrap();
        format!("HTTP/1.1 302 Found\r\nLocation: http://{host}/next\r\nContent-Length: 0\r\n\r\n").into_bytes()
    })
    .await;
    let authority = Authority::new();
    let pair = authority.pair(&["a.example"]);
    let gateway = with_certificates(&[&pair], "").upstream("up", &upstream).start().await;
    let answer = authority
        .client()
        .send(gateway.address, "a.example", &Request::get("/"))
        .await;
    assert_eq!(answer.head.first("location"), Some("https://a.example/next"));
    assert_eq!(upstream.last().header("x-forwarded-proto").as_deref(), Some("https"));
}

#[tokio::test]
async fn a_changed_certificate_is_shown_and_drops_no_connection() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let (old, new) = (authority.pair(&["a.example"]), authority.pair(&["a.example"]));
    let gateway = with_certificates(&[&old], "").upstream("up", &upstream).start().await;
    let mut kept = authority.client().connect(gateway.address, "a.example").await.unwrap();
    assert_eq!(kept.shown(), old.der());
    // For a moment the key is not the certificate's: that is refused, and the old ones go on.
    gateway.write("0.pem", &new.cert);
    gateway.event("config reload refused").await;
    assert_eq!(shown(&authority, &gateway).await, old.der());
    gateway.write("0.key", &new.key);
    eventually("the new certificate is shown", async || {
        (shown(&authority, &gateway).await == new.der()).then_some(())
    })
    .await;
    let answer = kept.send("a.example", &Request::get("/")).await.unwrap();
    assert_eq!(answer.head.status(), 200);
}

async fn shown(authority: &Authority, gateway: &Gateway) -> CertificateDer<'static> {
    let connection = authority.client().connect(gateway.address, "a.example").await;
    connection.unwrap().shown()
}

#[tokio::test]
async fn sessions_are_resumed_also_across_a_reload_that_changes_something_else() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pair = authority.pair(&["a.example"]);
    let gateway = with_certificates(&[&pair], "").upstream("up", &upstream).start().await;
    for client in [authority.client(), authority.client().tls12()] {
        let config = client.config();
        let kind = async || {
            let mut connection = connect(config.clone(), gateway.address, "a.example").await.unwrap();
            connection.send("a.example", &Request::get("/")).await.unwrap();
            connection.tls().handshake_kind().unwrap()
        };
        assert_eq!(kind().await, HandshakeKind::Full);
        assert_eq!(kind().await, HandshakeKind::Resumed);
        let generation = gateway.metric("gateway_config_generation").await.unwrap();
        gateway.signal("HUP");
        gateway
            .metric_becomes("gateway_config_generation", generation + 1.0)
            .await;
        assert_eq!(kind().await, HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn required_client_certificates_are_required_and_must_be_of_the_authority() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let (clients, strangers) = (Authority::new(), Authority::new());
    let pair = authority.pair(&["a.example"]);
    let gateway = with_client_auth(&pair, "required", &clients)
        .upstream("up", &upstream)
        .start()
        .await;
    let ask = async |client: crate::harness::tls::TlsClient| {
        let mut connection = client.connect(gateway.address, "a.example").await.ok()?;
        let answer = connection.send("a.example", &Request::get("/")).await.ok()?;
        Some(answer.head.status())
    };
    for version in [|client| client, crate::harness::tls::TlsClient::tls12] {
        let client = version(authority.client());
        assert_eq!(ask(client.clone()).await, None);
        assert_eq!(ask(client.clone().showing(&strangers.pair(&["me"]))).await, None);
        assert_eq!(ask(client.showing(&clients.pair(&["me"]))).await, Some(200));
    }
    assert_eq!(upstream.count(), 2);
    gateway
        .metric_becomes(
            "gateway_connections_refused_total{listener=\"public\",reason=\"tls_handshake\"}",
            4.0,
        )
        .await;
}

#[tokio::test]
async fn optional_client_certificates_may_be_missing_and_not_be_of_others() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let (clients, strangers) = (Authority::new(), Authority::new());
    let pair = authority.pair(&["a.example"]);
    let gateway = with_client_auth(&pair, "optional", &clients)
        .upstream("up", &upstream)
        .start()
        .await;
    let client = authority.client();
    for client in [client.clone(), client.clone().showing(&clients.pair(&["me"]))] {
        let answer = client.send(gateway.address, "a.example", &Request::get("/")).await;
        assert_eq!(answer.head.status(), 200);
    }
    let stranger = client.tls12().showing(&strangers.pair(&["me"]));
    assert!(stranger.connect(gateway.address, "a.example").await.is_err());
}

#[tokio::test]
async fn r40_under_client_certificates_a_host_other_than_the_handshakes_is_misdirected() {
    let (upstream, authority, clients) = (Upstream::echo().await, Authority::new(), Authority::new());
    let pair = authority.pair(&["a.example", "b.example"]);
    for mode in ["required", "optional"] {
        let gateway = with_client_auth(&pair, mode, &clients)
            .upstream("up", &upstream)
            .start()
            .await;
        let client = authority.client().showing(&clients.pair(&["me"]));
        let mut connection = client.connect(gateway.address, "a.example").await.unwrap();
        for (host, served) in [("A.example:443", true), ("b.example", false), ("a.example", true)] {
            let answer = connection.send(host, &Request::get("/")).await.unwrap();
            if served {
                assert_eq!(answer.head.status(), 200, "{host}");
            } else {
                refused(&answer, 421, "misdirected_request");
            }
        }
    }
    // Without client certificates a certificate for both is for both.
    let gateway = with_certificates(&[&pair], "").upstream("up", &upstream).start().await;
    let mut connection = authority.client().connect(gateway.address, "a.example").await.unwrap();
    let answer = connection.send("b.example", &Request::get("/")).await.unwrap();
    assert_eq!(answer.head.status(), 200);
}

#[tokio::test]
async fn r38_a_handshake_that_does_not_end_is_ended() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pair = authority.pair(&["a.example"]);
    let gateway = with_certificates(&[&pair], "header_timeout = \"100ms\"")
        .upstream("up", &upstream)
        .start()
        .await;
    let refused = "gateway_connections_refused_total{listener=\"public\",reason=\"tls_handshake\"}";
    for (bytes, count) in [
        (&b""[..], 0.0),
        (b"\x16\x03\x01\x02\x00\x01", 1.0),
        (b"GET / HTTP/1.1\r\n\r\n", 2.0),
    ] {
        let mut stream = TcpStream::connect(gateway.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut rest = Vec::new();
        let _ = soon("the gateway closes", stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
        gateway.metric_becomes(refused, count).await;
    }
    gateway
        .metric_becomes("gateway_connections{listener=\"public\"}", 0.0)
        .await;
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_inside_tls() {
    let (upstream, authority) = (Upstream::echo().await, Authority::new());
    let pair = authority.pair(&["a.example"]);
    let mut gateway = with_certificates(&[&pair], "").upstream("up", &upstream).start().await;
    let mut idle = authority.client().connect(gateway.address, "a.example").await.unwrap();
    assert_eq!(
        idle.send("a.example", &Request::get("/")).await.unwrap().head.status(),
        200
    );
    gateway.signal("TERM");
    assert!(soon("the gateway closes", idle.0.is_closed()).await.unwrap());
    assert_eq!(gateway.ended().await.code(), Some(0));
}
