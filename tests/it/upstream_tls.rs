//! TLS to upstreams: whom the gateway trusts, whom it expects, and what it shows.

use crate::harness::tls::{Authority, Handshake, Pair, Terminator};
use crate::harness::{Gateway, OPEN, Setup, Upstream, refused};

/// A gateway before this terminator, which trusts `authority` and has `own` in files.
fn before(terminator: &Terminator, authority: &Authority, own: &Pair, tls: &str) -> Setup {
    let port = terminator.address.port();
    Gateway::with(&format!(
        "{OPEN}[upstreams.up]\nurls = [\"https://localhost:{port}\"]\nretries = 0\ntls = {tls}\n"
    ))
    .file("ca.pem", authority.pem())
    .file("own.pem", &own.cert)
    .file("own.key", &own.key)
}

#[tokio::test]
async fn an_upstream_is_trusted_by_its_own_authority_and_shown_the_gateways_certificate() {
    let (upstream, authority, clients) = (Upstream::echo().await, Authority::new(), Authority::new());
    let own = clients.pair(&["gateway"]);
    let here = authority.pair(&["localhost"]);
    let named = authority.pair(&["inside.example"]);
    for (pair, tls, name, showed) in [
        (&here, "{ ca = \"ca.pem\" }", "localhost", false),
        (
            &here,
            "{ ca = \"ca.pem\", cert = \"own.pem\", key = \"own.key\" }",
            "localhost",
            true,
        ),
        (
            &named,
            "{ ca = \"ca.pem\", server_name = \"inside.example\" }",
            "inside.example",
            false,
        ),
    ] {
        let terminator = Terminator::before(upstream.address, pair, &clients).await;
        let gateway = before(&terminator, &authority, &own, tls).start().await;
        for _ in 0..2 {
            assert_eq!(gateway.get("/").await.head.status(), 200, "{tls}");
        }
        let handshake = Handshake {
            name: Some(name.to_owned()),
            showed,
        };
        assert_eq!(terminator.handshakes(), [handshake], "one connection, kept");
        let host = format!("localhost:{}", terminator.address.port());
        assert_eq!(upstream.last().header("host"), Some(host));
    }
}

#[tokio::test]
async fn an_upstream_of_another_authority_or_name_is_not_spoken_to() {
    let (upstream, authority, strangers) = (Upstream::echo().await, Authority::new(), Authority::new());
    let own = strangers.pair(&["gateway"]);
    for (pair, tls) in [
        (strangers.pair(&["localhost"]), "{ ca = \"ca.pem\" }"),
        (authority.pair(&["elsewhere.example"]), "{ ca = \"ca.pem\" }"),
        // What the system trusts is not asked about it.
        (authority.pair(&["localhost"]), "{}"),
    ] {
        let terminator = Terminator::before(upstream.address, &pair, &strangers).await;
        let gateway = before(&terminator, &authority, &own, tls).start().await;
        refused(&gateway.get("/").await, 503, "upstream_unavailable");
    }
    assert_eq!(upstream.count(), 0);
}
