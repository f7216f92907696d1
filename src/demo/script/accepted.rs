//! Who is let in: every auth method, and what the upstream is then told of the caller.

use super::Wallet;
use super::case::{Case, Exchange, Party, Play, as_user};
use super::expect::{Expect, Is, is};
use crate::demo::client::Request;
use crate::demo::tokens::{BOB, Person};

/// In order of a newcomer's interest.
pub(super) fn cases(wallet: &Wallet) -> Vec<Case> {
    let Wallet {
        bob,
        ada,
        bob_es256,
        api_key,
        internal_secret,
    } = wallet;
    let with = |mut expect: Vec<Expect>, more: Vec<Expect>| {
        expect.extend(more);
        expect
    };
    let chat = Request::new("POST", "/api/v1/chat/messages").body(r#"{"text":"hi"}"#);
    let completion = r#"{"model":"demo-small","messages":[{"role":"user","content":"hi"}]}"#;
    vec![
        Case::exchange(
            "anonymous",
            "a public route needs no credential, and its upstream is told of no user",
            Request::get("/public/hello"),
            vec![
                Expect::Status(200),
                Expect::Upstream("X-User-ID", Is::Absent),
                Expect::SameRequestId,
            ],
        )
        .on_tour(),
        grant(&BOB),
        Case::exchange(
            "jwt-rs256",
            "a token of the identity provider (RS256); its claims become headers",
            Request::get("/account/me").bearer(bob),
            with(
                as_user("bob", "jwt"),
                vec![
                    Expect::Upstream("X-Tenant-ID", is("acme")),
                    Expect::Upstream("X-User-Email", is("bob@example.com")),
                    Expect::Upstream("X-User-Roles", is("user")),
                    Expect::Upstream("Authorization", is(&format!("Bearer {bob}"))),
                ],
            ),
        )
        .on_tour(),
        Case::exchange(
            "jwt-es256",
            "the same under the provider's other key (ES256)",
            Request::get("/account/me").bearer(bob_es256),
            as_user("bob", "jwt"),
        )
        .on_tour(),
        Case::exchange(
            "jwt-scheme-in-any-case",
            "`bearer` is as good as `Bearer` (RFC 9110 §11.1)",
            Request::get("/account/me").header("authorization", &format!("bEARER {bob}")),
            as_user("bob", "jwt"),
        ),
        Case::exchange(
            "api-key-header",
            "an API key in its own header",
            Request::get("/jobs/7").header("X-API-Key", api_key),
            with(
                as_user("svc_demo", "api_key"),
                vec![
                    Expect::Upstream("X-Tenant-ID", is("acme")),
                    Expect::Upstream("X-API-Key", is(api_key)),
                ],
            ),
        )
        .on_tour(),
        Case::exchange(
            "api-key-bearer",
            "an API key as Bearer, as the OpenAI SDK sends it",
            Request::get("/v1/models").bearer(api_key),
            vec![Expect::Status(200), Expect::Field("/data/0/id", is("demo-small"))],
        )
        .on_tour(),
        Case::exchange(
            "api-key-basic",
            "an API key as the password of Basic, as MLflow sends it",
            Request::get("/mlflow/api/2.0/mlflow/experiments/search").basic("mlflow", api_key),
            as_user("svc_demo", "api_key"),
        )
        .on_tour(),
        Case::exchange(
            "internal",
            "a service with the shared secret, for itself",
            Request::get("/internal/sync").header("X-Internal-Auth", internal_secret),
            as_user("system", "internal"),
        )
        .on_tour(),
        Case::exchange(
            "internal-acting-for-a-user",
            "a service names the user it acts for, and is believed",
            Request::get("/internal/sync")
                .header("X-Internal-Auth", internal_secret)
                .header("X-User-ID", "ada")
                .header("X-Tenant-ID", "acme"),
            with(
                as_user("ada", "internal"),
                vec![Expect::Upstream("X-Tenant-ID", is("acme"))],
            ),
        )
        .on_tour(),
        Case::exchange(
            "hybrid-jwt",
            "hybrid takes a token",
            chat.clone().bearer(bob),
            with(as_user("bob", "jwt"), vec![Expect::Field("/body/bytes", is("13"))]),
        )
        .on_tour(),
        Case::exchange(
            "hybrid-api-key",
            "hybrid takes an API key",
            chat.clone().header("X-API-Key", api_key),
            as_user("svc_demo", "api_key"),
        ),
        Case::exchange(
            "hybrid-internal",
            "hybrid takes the shared secret",
            Request::get("/api/v1/chat/messages").header("X-Internal-Auth", internal_secret),
            as_user("system", "internal"),
        ),
        Case::exchange(
            "hybrid-first-decides",
            "with two good credentials the first of the chain says who it is",
            chat.header("X-API-Key", api_key).bearer(bob),
            as_user("bob", "jwt"),
        ),
        Case::exchange(
            "role",
            "an admin opens what needs the role",
            Request::get("/admin/users").bearer(ada),
            with(
                as_user("ada", "jwt"),
                vec![Expect::Upstream("X-User-Roles", is("admin"))],
            ),
        ),
        Case::exchange(
            "scope",
            "a token with the scope opens what needs it",
            Request::get("/reports/2026").bearer(ada),
            as_user("ada", "jwt"),
        ),
        Case::exchange(
            "chat-completion",
            "an LLM behind the gateway greets the caller by name",
            Request::new("POST", "/v1/chat/completions")
                .bearer(bob)
                .body(completion),
            vec![
                Expect::Status(200),
                Expect::Field("/choices/0/message/content", Is::Containing("Hello bob,")),
            ],
        )
        .on_tour(),
        Case::exchange(
            "public-looks-at-no-credential",
            "a bad token on a public route is just a header",
            Request::get("/public/hello").bearer("not.a.token"),
            vec![
                Expect::Status(200),
                Expect::Upstream("X-User-ID", Is::Absent),
                Expect::Verbatim("Authorization", vec!["Authorization: Bearer not.a.token"]),
            ],
        ),
    ]
}

/// The password grant: where a stranger gets the token for all that follows.
fn grant(person: &Person) -> Case {
    let form = format!(
        "grant_type=password&username={}&password={}",
        person.name, person.password
    );
    let request = Request::new("POST", "/token")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .body(&form);
    let expect = vec![
        Expect::Status(200),
        Expect::Field("/token_type", is("Bearer")),
        Expect::Field("/access_token", Is::Containing(".")),
    ];
    Case::playing(
        "password-grant",
        "the identity provider gives a token for a password",
        Play::Exchanges {
            with: Party::IdentityProvider,
            exchanges: vec![Exchange { request, expect }],
            closed: false,
        },
    )
    .on_tour()
}
