//! `gateway key create`, `list` and `revoke` against an auth service, which is the demo's; and a gateway that asks it.

use gateway::demo::identity_provider::IdentityProvider;

use crate::harness::{Gateway, Request, Setup, Upstream, eventually};

fn setup(provider: &IdentityProvider, manage: &str) -> Setup {
    let issuer = &provider.issuer;
    Gateway::with(&format!(
        "[api_keys]\n[api_keys.remote]\nurl = \"{issuer}/api/v1/keys/validate\"\ncache_ttl = \"200ms\"\nnegative_ttl = \"200ms\"\n{manage}\n\
         [[routes]]\nname = \"keys\"\npaths = [\"/keys\"]\nupstream = \"echo\"\nauth = \"api_key\"\n\
         require = {{ scopes_all = [\"model:read\"] }}\n"
    ))
}

#[tokio::test]
async fn a_key_is_made_used_listed_and_revoked() {
    let provider = IdentityProvider::start().await.unwrap();
    let echo = Upstream::echo().await;
    let manage = format!(
        "manage_url = \"{}/api/v1/keys\"\nmanage_token = \"${{env:ADMIN}}\"",
        provider.issuer
    );
    let setup = setup(&provider, &manage)
        .env("ADMIN", &provider.admin_token)
        .upstream("echo", &echo);

    let create = [
        "key",
        "create",
        "--name",
        "ci",
        "--scopes",
        "model:read,b",
        "--user",
        "svc_ci",
        "--expires-in",
        "90d",
    ];
    let (code, shown, errors) = setup.says(&create).await;
    assert_eq!(code, 0, "{errors}");
    let key = shown.lines().next().unwrap().to_owned();
    let id = shown
        .lines()
        .find_map(|line| line.strip_prefix("# key_id: "))
        .unwrap()
        .to_owned();

    let (code, listed, _) = setup.says(&["key", "list"]).await;
    assert_eq!(code, 0);
    assert!(
        listed.starts_with(&id) && listed.contains("svc_ci") && !listed.contains(&key),
        "{listed}"
    );
    let (code, missing, errors) = setup.says(&["key", "revoke", "nobody/../x"]).await;
    assert_eq!((code, missing.as_str()), (1, ""), "{errors}");

    // The same config, serving.
    let gateway = setup.start().await;
    let with_key = Request::get("/keys").header("X-API-Key", &key);
    assert_eq!(gateway.send(&with_key).await.head.status(), 200);
    assert_eq!(echo.last().header("x-user-id").as_deref(), Some("svc_ci"));
    let revoke = Request::new("DELETE", &format!("/api/v1/keys/{id}")).bearer(&provider.admin_token);
    let revoked = gateway::demo::client::send(provider.server.address, &revoke)
        .await
        .unwrap();
    assert_eq!(revoked.head.status(), 200);
    eventually("it is refused", async || {
        (gateway.send(&with_key).await.head.status() == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_missing_or_refused_is_said_plainly_and_no_token_is_shown() {
    let provider = IdentityProvider::start().await.unwrap();
    let url = format!("manage_url = \"{}/api/v1/keys\"", provider.issuer);
    for (manage, says) in [
        (String::new(), "manage_url is not set"),
        (url.clone(), "manage_token is not set"),
        (
            format!("{url}\nmanage_token = \"wrong-token\""),
            "refused api_keys.remote.manage_token",
        ),
        (
            "manage_url = \"http://127.0.0.1:9/keys\"\nmanage_token = \"wrong-token\"".to_owned(),
            "127.0.0.1:9",
        ),
    ] {
        let setup = setup(&provider, &manage).and("[upstreams.echo]\nurls = [\"http://127.0.0.1:9\"]");
        for command in [
            &["key", "list"][..],
            &["key", "create", "--name", "x"],
            &["key", "revoke", "x"],
        ] {
            let (code, shown, errors) = setup.says(command).await;
            assert_eq!((code, shown.as_str()), (1, ""), "{errors}");
            assert!(errors.contains(says) && !errors.contains("wrong-token"), "{errors}");
        }
    }
}
