//! What the upstream sees: nothing that a stranger made up, everything else as it was sent.

use super::Wallet;
use super::case::{Case, as_user};
use super::expect::{Expect, Is, is};
use crate::demo::client::Request;

/// All of them; the public route, where nobody is asked who they are, is the one to try forgeries on.
pub(super) fn cases(wallet: &Wallet) -> Vec<Case> {
    let public = || Request::get("/public/hello");
    let seen = |expect: Vec<Expect>| [vec![Expect::Status(200)], expect].concat();
    vec![
        Case::exchange(
            "spoofed-identity",
            "a stranger's X-User-ID, X-Tenant-ID and X-User-Roles are removed",
            public()
                .header("X-User-ID", "root")
                .header("X-Tenant-ID", "acme")
                .header("X-User-Roles", "admin")
                .header("X-User-Email", "root@example.com"),
            seen(vec![
                Expect::Upstream("X-User-ID", Is::Absent),
                Expect::Upstream("X-Tenant-ID", Is::Absent),
                Expect::Upstream("X-User-Roles", Is::Absent),
                Expect::Upstream("X-User-Email", Is::Absent),
            ]),
        )
        .on_tour(),
        Case::exchange(
            "spoofed-identity-alias",
            "… and X_User_ID and X.User.ID, which some servers read as the same",
            public()
                .header("X_User_ID", "root")
                .header("x.user.id", "root")
                .header("x-USER_id", "root"),
            seen(vec![Expect::Upstream("X-User-ID", Is::Absent)]),
        ),
        Case::exchange(
            "spoofed-identity-with-token",
            "… also from somebody known: bob stays bob",
            Request::get("/account/me")
                .header("X-User-ID", "ada")
                .header("X_User_ID", "ada")
                .bearer(&wallet.bob),
            as_user("bob", "jwt"),
        )
        .on_tour(),
        Case::exchange(
            "spoofed-address",
            "a stranger's X-Forwarded-For, Forwarded and X-Real-IP are removed: nobody is a trusted proxy",
            public()
                .header("X-Forwarded-For", "10.0.0.1")
                .header("X_Forwarded_For", "10.0.0.1")
                .header("Forwarded", "for=10.0.0.1")
                .header("X-Real-IP", "10.0.0.1")
                .header("X-Forwarded-Proto", "https"),
            seen(vec![
                Expect::Upstream("X-Forwarded-For", is("127.0.0.1")),
                Expect::Upstream("X-Forwarded-Proto", is("http")),
                Expect::Upstream("Forwarded", Is::Absent),
                Expect::Upstream("X-Real-IP", Is::Absent),
            ]),
        ),
        Case::exchange(
            "connection-names-identity",
            "`Connection: X-User-ID, Authorization` takes away what the client sent, never what the gateway adds",
            Request::get("/account/me")
                .bearer(&wallet.bob)
                .header("Connection", "X-User-ID, X-Request-ID, Authorization"),
            [
                as_user("bob", "jwt"),
                vec![Expect::Upstream("Authorization", Is::Absent)],
            ]
            .concat(),
        ),
        Case::exchange(
            "hop-by-hop",
            "headers for this hop only end here (RFC 9110 §7.6.1)",
            public()
                .header("Connection", "X-Hop")
                .header("X-Hop", "1")
                .header("Keep-Alive", "timeout=5")
                .header("Kept", "1"),
            seen(vec![
                Expect::Upstream("X-Hop", Is::Absent),
                Expect::Upstream("Keep-Alive", Is::Absent),
                Expect::Upstream("Kept", is("1")),
            ]),
        ),
        Case::exchange(
            "request-id-made",
            "every request gets an id, the same on both sides",
            public(),
            seen(vec![Expect::SameRequestId]),
        ),
        Case::exchange(
            "request-id-kept",
            "… the client's own, if it has one",
            public().header("X-Request-ID", "my-trace:42"),
            seen(vec![
                Expect::Header("X-Request-ID", is("my-trace:42")),
                Expect::SameRequestId,
            ]),
        ),
        Case::exchange(
            "request-id-replaced",
            "… unless it is none",
            public().header("X-Request-ID", "<script>"),
            seen(vec![
                Expect::Header("X-Request-ID", Is::OtherThan("<script>")),
                Expect::SameRequestId,
            ]),
        ),
        Case::exchange(
            "headers-unchanged",
            "all else arrives as it was sent: case, order, duplicates",
            public()
                .header("MLFLOW_TRACKING_TOKEN", "secret")
                .header("x-TRACE", "1")
                .header("X-Amz-Security-Token", "abc==")
                .header("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
                .header("x-TRACE", "2, 3")
                .header("X-oDD-cAsE", "Kept As-Is; q=\"1\""),
            seen(vec![
                Expect::Verbatim("MLFLOW_TRACKING_TOKEN", vec!["MLFLOW_TRACKING_TOKEN: secret"]),
                Expect::Verbatim("X-Amz-Security-Token", vec!["X-Amz-Security-Token: abc=="]),
                Expect::Verbatim(
                    "traceparent",
                    vec!["traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
                ),
                Expect::Verbatim("X-Trace", vec!["x-TRACE: 1", "x-TRACE: 2, 3"]),
                Expect::Verbatim("X-Odd-Case", vec!["X-oDD-cAsE: Kept As-Is; q=\"1\""]),
            ]),
        ),
        Case::exchange(
            "path-unchanged",
            "the target is forwarded as it was written",
            Request::get("/public/%61b%20c;v=1?q=%2F..%2f&&r"),
            seen(vec![
                Expect::Field("/path", is("/public/%61b%20c;v=1")),
                Expect::Field("/query", is("q=%2F..%2f&&r")),
            ]),
        ),
    ]
}
