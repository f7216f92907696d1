//! Credentials on the wire: every way in which a token fails, where keys come from and what becomes of requests meanwhile.

use gateway::demo::tokens::now;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{
    Client, Gate, Gateway, Issuer, Key, Request, Response, Setup, Upstream, eventually, forged, refused, sha256, status,
};

const TOKENS: &str = r#"
[[routes]]
name = "tokens"
paths = ["/*"]
upstream = "echo"
auth = "jwt"
"#;

fn with(token: &str) -> Request {
    Request::get("/").bearer(token)
}

fn house(echo: &Upstream) -> Setup {
    Gateway::with(TOKENS).upstream("echo", echo)
}

/// Sends so many of a request at once, each on its own connection.
async fn at_once(gateway: &Gateway, count: usize, request: Request) -> JoinSet<Response> {
    let mut all = JoinSet::new();
    for _ in 0..count {
        let (to, request) = (gateway.address, request.clone());
        all.spawn(async move { Client::of(to).await.send(&request).await });
    }
    all
}

mod faults {
    use super::*;

    #[tokio::test]
    async fn r20_claims_that_do_not_hold_are_401() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let lines = "algorithms = [\"ES256\"]\naudiences = [\"codelab-api\", \"other\"]\nleeway = \"0s\"\n\
                     required_claims = { type = \"access\" }\nmax_token_lifetime = \"1h\"";
        let gateway = house(&echo).issuer_with("main", &issuer, lines).start().await;
        let good = json!({ "aud": ["codelab-api"], "type": "access" });
        let token = |changes: Value| {
            let mut claims = good.clone();
            claims
                .as_object_mut()
                .unwrap()
                .extend(changes.as_object().unwrap().clone());
            issuer.token_with(claims)
        };
        assert_eq!(status(&gateway.send(&with(&token(json!({})))).await), 200);
        let soon = now() + 60;
        for changes in [
            json!({ "exp": null }),
            json!({ "exp": soon.to_string() }),
            json!({ "exp": [soon] }),
            json!({ "exp": { "a": soon } }),
            json!({ "exp": -1 }),
            json!({ "exp": 1e300 }),
            json!({ "exp": true }),
            json!({ "nbf": "x" }),
            json!({ "nbf": now() + 600 }),
            json!({ "iat": now() + 600 }),
            json!({ "iat": "now" }),
            json!({ "iat": null }),
            json!({ "exp": now() + 7200 }),
            json!({ "iss": null }),
            json!({ "iss": [issuer.name] }),
            json!({ "iss": "" }),
            json!({ "iss": format!("{}/", issuer.name) }),
            json!({ "aud": null }),
            json!({ "aud": "codelab-api-2" }),
            json!({ "aud": [] }),
            json!({ "aud": [7] }),
            json!({ "aud": { "codelab-api": 1 } }),
            json!({ "type": "refresh" }),
            json!({ "type": null }),
            json!({ "type": ["refresh"] }),
            json!({ "sub": null }),
            json!({ "sub": "" }),
            json!({ "sub": 1.5 }),
            json!({ "sub": ["ada"] }),
            json!({ "sub": true }),
            json!({ "scope": 7 }),
            json!({ "roles": { "admin": true } }),
            json!({ "permissions": ["a", 1] }),
        ] {
            println!("{changes}");
            refused(&gateway.send(&with(&token(changes))).await, 401, "invalid_token");
        }
        let expired = token(json!({ "iat": now() - 60, "exp": now() - 1 }));
        refused(&gateway.send(&with(&expired)).await, 401, "token_expired");
        // Expired, and not only that.
        let worse = token(json!({ "iat": now() - 60, "exp": now() - 1, "aud": "elsewhere" }));
        refused(&gateway.send(&with(&worse)).await, 401, "invalid_token");
        assert_eq!(echo.count(), 1);
    }

    #[tokio::test]
    async fn a_claim_that_stands_twice_is_401() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let claims = issuer.claims().to_string();
        let twice = claims.replacen('{', "{\"sub\":\"root\",", 1);
        let token = issuer.key.sign_with(&issuer.key.header(), &twice);
        refused(&gateway.send(&with(&token)).await, 401, "invalid_token");
    }

    #[tokio::test]
    async fn r21_the_algorithm_and_the_key_come_from_the_config_and_never_from_the_token() {
        let (echo, issuer, other) = (Upstream::echo().await, Issuer::start().await, Issuer::start().await);
        let (rsa, ec, ed) = (Key::rsa("rsa"), Key::ec("ec"), Key::ed("ed"));
        let secret = "a secret of the config, 32 bytes long at least";
        issuer.publish(&[
            &rsa,
            &ec,
            &ed,
            &Key::hmac("oct", "a published secret is no secret at all"),
            &issuer.key,
        ]);
        other.publish(&[&Key::ec("theirs")]);
        let lines = format!("algorithms = [\"RS256\", \"ES256\", \"EdDSA\", \"HS256\"]\nsecrets = [\"{secret}\"]");
        let setup = house(&echo)
            .issuer_with("main", &issuer, &lines)
            .issuer("other", &other);
        let gateway = setup.start().await;
        let claims = issuer.claims();
        for key in [&rsa, &ec, &ed, &Key::hmac("any", secret)] {
            assert_eq!(
                status(&gateway.send(&with(&key.sign(&claims))).await),
                200,
                "{}",
                key.algorithm()
            );
        }
        let text = claims.to_string();
        let header = |changes: Value| {
            let mut header = ec.header();
            header
                .as_object_mut()
                .unwrap()
                .extend(changes.as_object().unwrap().clone());
            header
        };
        let unsigned = |alg: &str| {
            let token = ec.sign_with(&header(json!({ "alg": alg })), &text);
            token[..=token.rfind('.').unwrap()].to_owned()
        };
        let stranger = Key::ec("ec");
        let with_header = |changes: Value| stranger.sign_with(&header(changes), &text);
        let crit = |changes: Value| ec.sign_with(&header(changes), &text);
        for token in [
            unsigned("none"),
            unsigned("None"),
            unsigned("nOnE"),
            unsigned("NONE"),
            unsigned(""),
            unsigned("ES256"),
            ec.sign_with(&header(json!({ "alg": "none" })), &text),
            Key::hmac("rsa", rsa.public_pem()).sign(&claims),
            Key::hmac("rsa", rsa.public_pem().trim_end()).sign(&claims),
            Key::hmac("rsa", rsa.jwk().to_string()).sign(&claims),
            Key::hmac("oct", "a published secret is no secret at all").sign(&claims),
            Key::hmac("any", "").sign(&claims),
            ec.sign_with(&header(json!({ "alg": "RS256" })), &text),
            rsa.sign_with(&json!({ "alg": "RS256", "kid": "ec" }), &text),
            ec.sign_with(&header(json!({ "kid": "rsa" })), &text),
            rsa.sign_with(&json!({ "alg": "RS512", "kid": "rsa" }), &text),
            rsa.sign_with(&json!({ "alg": "PS256", "kid": "rsa" }), &text),
            ec.sign_with(&header(json!({ "alg": "es256" })), &text),
            stranger.sign(&claims),
            with_header(json!({ "jwk": stranger.jwk() })),
            with_header(json!({ "kid": null, "jwk": stranger.jwk() })),
            with_header(json!({ "jku": other.jwks_url(), "kid": "theirs" })),
            with_header(json!({ "x5u": other.jwks_url() })),
            with_header(json!({ "x5c": ["MII"] })),
            crit(json!({ "crit": ["exp"] })),
            crit(json!({ "crit": ["b64"], "b64": false })),
            crit(json!({ "crit": [] })),
            crit(json!({ "b64": false })),
            // Under issuer B's kid, and B's keys under A's name.
            Key::ec("theirs").sign(&claims),
            other.key.sign(&claims),
            issuer.key.sign(&other.claims()),
        ] {
            println!("{token}");
            refused(&gateway.send(&with(&token)).await, 401, "invalid_token");
        }
        assert_eq!(echo.count(), 4);
    }

    #[tokio::test]
    async fn what_has_not_the_form_of_a_signed_token_is_401() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let good = issuer.token();
        let parts: Vec<_> = good.split('.').collect();
        for token in [
            String::new(),
            "a".to_owned(),
            "..".to_owned(),
            parts[..2].join("."),
            format!("{good}."),
            format!("{good}.{}", parts[2]),
            format!("{good}="),
            format!("{good}A"),
            format!(".{good}"),
            good.replace('.', ".."),
            format!(
                "{}.{}.{}",
                parts[0],
                parts[1],
                parts[2].chars().rev().collect::<String>()
            ),
            format!("{}.{}.{}", parts[0], parts[0], parts[2]),
            format!("{good} extra"),
            format!("{good},{good}"),
            "x".repeat(20_000),
        ] {
            println!("{token}");
            refused(&gateway.send(&with(&token)).await, 401, "invalid_token");
        }
        for scheme in ["bearer", "BEARER", "Bearer "] {
            let request = Request::get("/").header("authorization", &format!("{scheme} {good}"));
            assert_eq!(status(&gateway.send(&request).await), 200, "{scheme}");
        }
        let raw = [b"GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer \xff\xfe\r\n\r\n".as_slice()].concat();
        refused(&gateway.raw(raw).await, 401, "invalid_token");
    }

    #[tokio::test]
    async fn r29_a_token_is_taken_from_no_other_place() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let token = issuer.token();
        for request in [
            Request::new("POST", "/")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(&format!("access_token={token}")),
            Request::get(&format!("/?access_token={token}")),
            Request::get("/").header("Cookie", &format!("access_token={token}")),
            Request::get("/").header("Sec-WebSocket-Protocol", &format!("bearer, {token}")),
            Request::get("/").header("X-Access-Token", &token),
            Request::get("/").header("Proxy-Authorization", &format!("Bearer {token}")),
            Request::get("/").header("Authorization", &format!("Token {token}")),
            Request::get("/").header("Authorization", &token),
        ] {
            refused(&gateway.send(&request).await, 401, "unauthorized");
        }
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn a_token_may_not_be_the_user_of_the_internal_callers() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let setup = house(&echo).and("[internal]\nkeys = [\"a-long-secret\"]\nuser = \"system\"");
        let gateway = setup.issuer("main", &issuer).start().await;
        refused(
            &gateway
                .send(&with(&issuer.token_with(json!({ "sub": "system" }))))
                .await,
            401,
            "invalid_token",
        );
        assert_eq!(
            status(
                &gateway
                    .send(&with(&issuer.token_with(json!({ "sub": "systems" }))))
                    .await
            ),
            200
        );
    }

    #[tokio::test]
    async fn two_issuers_same_sub_are_two_users_by_their_prefix() {
        let (echo, one, two) = (Upstream::echo().await, Issuer::start().await, Issuer::start().await);
        let prefixed = |prefix: &str| format!("algorithms = [\"ES256\"]\nuser_prefix = \"{prefix}\"");
        let setup = house(&echo).issuer_with("one", &one, &prefixed("one:"));
        let gateway = setup.issuer_with("two", &two, &prefixed("two:")).start().await;
        for (issuer, user) in [(&one, "one:ada"), (&two, "two:ada")] {
            assert_eq!(status(&gateway.send(&with(&issuer.token())).await), 200);
            assert_eq!(echo.last().header("x-user-id").as_deref(), Some(user));
        }
    }

    #[tokio::test]
    async fn a_route_may_take_tokens_of_some_issuers_only() {
        let (echo, one, two) = (Upstream::echo().await, Issuer::start().await, Issuer::start().await);
        let setup = Gateway::with(&format!("{TOKENS}issuers = [\"one\"]")).upstream("echo", &echo);
        let gateway = setup.issuer("one", &one).issuer("two", &two).start().await;
        assert_eq!(status(&gateway.send(&with(&one.token())).await), 200);
        refused(&gateway.send(&with(&two.token())).await, 401, "invalid_token");
    }
}

/// A verified token is remembered; what it may do is judged anew.
mod remembered {
    use super::*;

    #[tokio::test]
    async fn r22_a_token_that_begins_like_a_known_one_is_judged_by_itself() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let good = issuer.token();
        for _ in 0..2 {
            assert_eq!(status(&gateway.send(&with(&good)).await), 200);
        }
        gateway
            .metric_becomes("gateway_token_cache_total{result=\"hit\"}", 1.0)
            .await;
        refused(&gateway.send(&with(&forged(&good))).await, 401, "invalid_token");
        let cut = &good[..good.len() - 1];
        refused(&gateway.send(&with(cut)).await, 401, "invalid_token");
    }

    #[tokio::test]
    async fn r23_expiry_and_rules_are_judged_on_every_use() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let route = "[[routes]]\nname = \"admin\"\npaths = [\"/admin\"]\nupstream = \"echo\"\nauth = \"jwt\"\nrequire = { roles_any = [\"admin\"] }";
        let setup = house(&echo).and(route);
        let gateway = setup
            .issuer_with("main", &issuer, "algorithms = [\"ES256\"]\nleeway = \"0s\"")
            .start()
            .await;
        let brief = issuer.token_with(json!({ "exp": now() + 2 }));
        assert_eq!(status(&gateway.send(&with(&brief)).await), 200);
        refused(
            &gateway.send(&Request::get("/admin").bearer(&brief)).await,
            403,
            "permission_denied",
        );
        let refusal = eventually("the known token expires", async || {
            Some(gateway.send(&with(&brief)).await).filter(|response| status(response) != 200)
        })
        .await;
        refused(&refusal, 401, "token_expired");
    }

    #[tokio::test]
    async fn a_token_is_forgotten_with_the_key_that_verified_it() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let setup = house(&echo).issuer_with(
            "main",
            &issuer,
            "algorithms = [\"ES256\"]\nrefresh_interval = \"100ms\"",
        );
        let gateway = setup.start().await;
        let old = issuer.token();
        assert_eq!(status(&gateway.send(&with(&old)).await), 200);
        let fresh = Key::ec("key-2");
        issuer.publish(&[&fresh]);
        let refusal = eventually("the old key's token is refused", async || {
            Some(gateway.send(&with(&old)).await).filter(|response| status(response) != 200)
        })
        .await;
        refused(&refusal, 401, "invalid_token");
        assert_eq!(status(&gateway.send(&with(&fresh.sign(&issuer.claims()))).await), 200);
    }
}

mod keys {
    use super::*;

    #[tokio::test]
    async fn a_key_file_is_a_source_and_is_watched() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let second = Key::ec("key-2");
        let set = |keys: &[&Key]| json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string();
        let section = format!(
            "[issuers.main]\nissuer = \"{}\"\njwks_file = \"keys.json\"\nalgorithms = [\"ES256\"]",
            issuer.name
        );
        let gateway = house(&echo)
            .and(&section)
            .file("keys.json", set(&[&issuer.key]))
            .start()
            .await;
        assert_eq!(status(&gateway.send(&with(&issuer.token())).await), 200);
        let fresh = second.sign(&issuer.claims());
        refused(&gateway.send(&with(&fresh)).await, 401, "invalid_token");
        gateway.write("keys.json", set(&[&issuer.key, &second]));
        eventually("the new key is known", async || {
            (status(&gateway.send(&with(&fresh)).await) == 200).then_some(())
        })
        .await;
        assert_eq!(issuer.fetches(), 0);
    }

    #[tokio::test]
    async fn an_unknown_key_of_a_file_is_refused_at_once() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let set = json!({ "keys": [issuer.key.jwk()] }).to_string();
        // Whoever waited for a fetch that never comes would wait that long, and be given up.
        let section = format!(
            "[issuers.main]\nissuer = \"{}\"\njwks_file = \"keys.json\"\nalgorithms = [\"ES256\"]\nrequest_timeout = \"1h\"",
            issuer.name
        );
        let gateway = house(&echo).and(&section).file("keys.json", set).start().await;
        refused(
            &gateway.send(&with(&Key::ec("unknown").sign(&issuer.claims()))).await,
            401,
            "invalid_token",
        );
    }

    #[tokio::test]
    async fn several_secrets_live_beside_each_other_and_need_no_network() {
        let echo = Upstream::echo().await;
        let (old, new) = (
            "the old secret is thirty-two bytes",
            "the new secret is thirty-two bytes",
        );
        let section = format!("[issuers.legacy]\nsecrets = [\"{old}\", \"{new}\"]");
        let gateway = house(&echo).and(&section).start().await;
        let claims = json!({ "sub": "ada", "exp": now() + 60 });
        for secret in [old, new] {
            assert_eq!(
                status(&gateway.send(&with(&Key::hmac("any", secret).sign(&claims))).await),
                200
            );
        }
        refused(
            &gateway
                .send(&with(
                    &Key::hmac("any", "another secret of thirty-two bytes").sign(&claims),
                ))
                .await,
            401,
            "invalid_token",
        );
        // This issuer takes tokens without `iss`, and none with one.
        let named = json!({ "iss": "somebody", "sub": "ada", "exp": now() + 60 });
        refused(
            &gateway.send(&with(&Key::hmac("any", new).sign(&named))).await,
            401,
            "invalid_token",
        );
    }

    #[tokio::test]
    async fn tokens_signed_with_a_secret_do_not_wait_for_the_issuers_keys() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        issuer.go_down();
        let secret = "a secret of the config, 32 bytes long";
        let lines = format!("algorithms = [\"ES256\", \"HS256\"]\nsecrets = [\"{secret}\"]");
        let gateway = house(&echo).issuer_with("main", &issuer, &lines).start().await;
        assert_eq!(
            status(
                &gateway
                    .send(&with(&Key::hmac("any", secret).sign(&issuer.claims())))
                    .await
            ),
            200
        );
        refused(&gateway.send(&with(&issuer.token())).await, 503, "auth_unavailable");
    }

    #[tokio::test]
    async fn r24_an_unknown_key_id_buys_one_fetch_for_all_who_wait() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        assert_eq!(issuer.fetches(), 1);
        let gate = Gate::shut();
        let mut rotated = issuer;
        rotated.key = Key::ec("key-2");
        rotated.wait_for(&gate);
        let waiting = at_once(&gateway, 20, with(&rotated.token())).await;
        rotated.server.got(2).await;
        gate.open();
        for response in waiting.join_all().await {
            assert_eq!(status(&response), 200, "{:?}", response.head);
        }
        assert_eq!(rotated.fetches(), 2);
        // Too soon for another.
        for kid in ["key-3", "key-4", "key-5"] {
            refused(
                &gateway.send(&with(&Key::ec(kid).sign(&rotated.claims()))).await,
                401,
                "invalid_token",
            );
        }
        assert_eq!(rotated.fetches(), 2);
    }

    #[tokio::test]
    async fn r07_a_fetch_that_fails_ends_all_who_wait_and_poisons_nobody() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let good = issuer.token();
        assert_eq!(status(&gateway.send(&with(&good)).await), 200);
        issuer.say("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n");
        let unknown = Key::ec("unknown").sign(&issuer.claims());
        for response in at_once(&gateway, 8, with(&unknown)).await.join_all().await {
            refused(&response, 401, "invalid_token");
        }
        assert_eq!(status(&gateway.send(&with(&good)).await), 200, "good keys serve on");
        assert_eq!(
            status(&gateway.send(&with(&issuer.token_with(json!({ "sub": "bob" })))).await),
            200
        );
    }

    #[tokio::test]
    async fn an_issuer_that_was_never_reached_is_503_until_it_heals() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        issuer.go_down();
        let gateway = house(&echo).issuer("main", &issuer).start().await;
        let token = issuer.token();
        refused(&gateway.send(&with(&token)).await, 503, "auth_unavailable");
        let failed = gateway.event("JWKS refresh failed").await;
        assert_eq!(failed["issuer"], "main");
        assert_eq!(
            gateway.metric("gateway_dependency_up{dependency=\"main\"}").await,
            Some(0.0)
        );
        // Nobody knows who it is, so nothing else is tried, and other issuers' tokens are none.
        refused(
            &gateway
                .send(&with(&issuer.token_with(json!({ "iss": "elsewhere" }))))
                .await,
            401,
            "invalid_token",
        );
        issuer.publish(&[&issuer.key]);
        eventually("the issuer is asked again", async || {
            (status(&gateway.send(&with(&token)).await) == 200).then_some(())
        })
        .await;
        gateway
            .metric_becomes("gateway_dependency_up{dependency=\"main\"}", 1.0)
            .await;
    }

    #[tokio::test]
    async fn a_request_waits_for_the_first_fetch_and_readiness_does_too() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let gate = Gate::shut();
        issuer.wait_for(&gate);
        let gateway = house(&echo).issuer("main", &issuer).begin().await;
        issuer.server.got(1).await;
        assert_eq!(status(&gateway.ask_admin("/readyz").await), 503);
        let waiting = at_once(&gateway, 4, with(&issuer.token())).await;
        gate.open();
        for response in waiting.join_all().await {
            assert_eq!(status(&response), 200);
        }
        gateway.is_ready().await;
        assert_eq!(issuer.fetches(), 1);
    }

    #[tokio::test]
    async fn a_first_fetch_that_hangs_is_503_after_its_time() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        issuer.wait_for(&Gate::shut());
        let lines = "algorithms = [\"ES256\"]\nrequest_timeout = \"200ms\"";
        let gateway = house(&echo).issuer_with("main", &issuer, lines).begin().await;
        refused(&gateway.send(&with(&issuer.token())).await, 503, "auth_unavailable");
        gateway.is_ready().await;
    }

    #[tokio::test]
    async fn keys_that_nobody_confirmed_for_too_long_are_503_and_never_401() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let lines = "algorithms = [\"ES256\"]\nmax_stale = \"100ms\"\nrefresh_interval = \"30m\"";
        let gateway = house(&echo).issuer_with("main", &issuer, lines).start().await;
        issuer.go_down();
        let token = issuer.token();
        let refusal = eventually("the keys are stale", async || {
            Some(gateway.send(&with(&token)).await).filter(|response| status(response) != 200)
        })
        .await;
        refused(&refusal, 503, "auth_unavailable");
    }

    #[tokio::test]
    async fn r38_a_key_set_that_is_nonsense_or_empty_does_not_replace_a_good_one() {
        let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
        let lines = "algorithms = [\"ES256\"]\nrefresh_interval = \"50ms\"";
        let gateway = house(&echo).issuer_with("main", &issuer, lines).start().await;
        let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(2 << 20));
        for document in ["{\"keys\":[]}", "[]", "<html>", "", &large] {
            let length = document.len();
            issuer.say(&format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{document}"
            ));
            let before = gateway
                .metric("jwks_refresh_failures_total{issuer=\"main\"}")
                .await
                .unwrap();
            eventually("a refresh fails", async || {
                let failures = gateway.metric("jwks_refresh_failures_total{issuer=\"main\"}").await;
                failures.filter(|failures| *failures > before)
            })
            .await;
            let fresh = issuer.token_with(json!({ "jti": length.to_string() }));
            assert_eq!(status(&gateway.send(&with(&fresh)).await), 200);
            issuer.publish(&[&issuer.key]);
            gateway
                .metric_becomes("gateway_dependency_up{dependency=\"main\"}", 1.0)
                .await;
        }
    }
}

mod api_keys {
    use super::*;

    fn house(echo: &Upstream) -> Setup {
        let (old, new, expired) = (sha256("hok_old"), sha256("hok_new"), sha256("hok_expired"));
        let text = format!(
            r#"
[identity]
scopes_header = "X-Scopes"
[api_keys]
sources = ["header:X-API-Key", "bearer", "basic"]
prefixes = ["hok_"]
[[api_keys.keys]]
id = "ci"
hash = "{old}"
user = "svc_ci"
scopes = ["model:read", "mlflow:access"]
[[api_keys.keys]]
id = "ci"
hash = "{new}"
user = "svc_ci"
[[api_keys.keys]]
id = "gone"
hash = "{expired}"
user = "svc_gone"
expires = 2020-01-01T00:00:00Z
[internal]
keys = ["the-old-secret", "the-new-secret"]
[[routes]]
name = "keys"
paths = ["/*"]
upstream = "echo"
auth = "api_key"
[[routes]]
name = "inside"
paths = ["/inside"]
upstream = "echo"
auth = "internal"
"#
        );
        Gateway::with(&text).upstream("echo", echo)
    }

    #[tokio::test]
    async fn a_key_is_taken_from_its_header_as_bearer_and_as_a_password() {
        let echo = Upstream::echo().await;
        let gateway = house(&echo).start().await;
        for request in [
            Request::get("/").header("X-API-Key", "hok_old"),
            Request::get("/").bearer("hok_old"),
            Request::get("/").basic("anyone", "hok_old"),
            Request::get("/").basic("", "hok_old"),
            Request::get("/")
                .basic("anyone", "a:password")
                .header("x-api-key", "hok_old"),
            Request::get("/").bearer("hok_old").header("X-API-Key", "hok_old"),
        ] {
            println!("{request:?}");
            let response = gateway.send(&request).await;
            assert_eq!(status(&response), 200);
            let got = echo.last();
            assert_eq!(got.header("X-User-ID").as_deref(), Some("svc_ci"));
            assert_eq!(got.header("X-Scopes").as_deref(), Some("model:read mlflow:access"));
            let line = gateway.access_line_of(&response).await;
            assert_eq!(
                (&line["key_id"], &line["auth_method"]),
                (&json!("ci"), &json!("api_key"))
            );
        }
        for two in [
            Request::get("/").bearer("hok_old").header("X-API-Key", "hok_new"),
            Request::get("/").basic("a", "hok_new").header("X-API-Key", "hok_old"),
        ] {
            refused(&gateway.send(&two).await, 400, "malformed_request");
        }
    }

    #[tokio::test]
    async fn r26_r28_a_wrong_an_expired_a_foreign_and_a_huge_key_get_the_same_answer() {
        let echo = Upstream::echo().await;
        let gateway = house(&echo).start().await;
        let long = format!("hok_{}", "a".repeat(20_000));
        let mut said = Vec::new();
        for key in [
            "hok_wrong",
            "hok_ol",
            "hok_old2",
            "hok_expired",
            "sk_old",
            "",
            "HOK_old",
            &long,
            "hok_\u{e9}",
            &sha256("hok_old"),
            "{{hok_old}}",
            "hok_%s%n",
            "hok_old' OR '1'='1",
        ] {
            println!("{key}");
            let response = gateway.send(&Request::get("/").header("X-API-Key", key)).await;
            refused(&response, 401, "invalid_api_key");
            said.push(response.json()["error_description"].clone());
        }
        assert!(said.iter().all(|text| *text == said[0]));
        // What does not look like a key of ours is none, in a header that is not for keys alone.
        for request in [
            Request::get("/").bearer("sk_old"),
            Request::get("/").basic("a", "sk_old"),
        ] {
            refused(&gateway.send(&request).await, 401, "unauthorized");
        }
        assert_eq!(echo.count(), 0);
    }

    #[tokio::test]
    async fn two_hashes_of_one_id_and_two_secrets_are_a_rotation() {
        let echo = Upstream::echo().await;
        let gateway = house(&echo).start().await;
        for key in ["hok_old", "hok_new"] {
            let response = gateway.send(&Request::get("/").header("X-API-Key", key)).await;
            assert_eq!(status(&response), 200);
            assert_eq!(gateway.access_line_of(&response).await["key_id"], "ci");
        }
        for secret in ["the-old-secret", "the-new-secret"] {
            let response = gateway
                .send(&Request::get("/inside").header("X-Internal-Auth", secret))
                .await;
            assert_eq!(status(&response), 200);
        }
        for secret in [
            "the-old-secre",
            "the-old-secret2",
            "The-old-secret",
            "the-old-secret,the-new-secret",
        ] {
            let response = gateway
                .send(&Request::get("/inside").header("X-Internal-Auth", secret))
                .await;
            refused(&response, 401, "invalid_internal_auth");
        }
    }

    #[tokio::test]
    async fn a_service_acts_for_the_user_that_it_names() {
        let echo = Upstream::echo().await;
        let gateway = house(&echo).start().await;
        let service = || Request::get("/inside").header("X-Internal-Auth", "the-new-secret");
        let response = gateway.send(&service().header("X-User-ID", "ada")).await;
        assert_eq!(status(&response), 200);
        assert_eq!(echo.last().header("X-User-ID").as_deref(), Some("ada"));
        let line = gateway.access_line_of(&response).await;
        assert_eq!(
            (&line["acting_for"], &line["auth_method"]),
            (&json!("ada"), &json!("internal"))
        );
        let response = gateway.send(&service()).await;
        assert_eq!(status(&response), 200);
        assert_eq!(echo.last().header("X-User-ID").as_deref(), Some("system"));
        assert_eq!(gateway.access_line_of(&response).await["user_id"], "system");
    }

    #[tokio::test]
    async fn r27_without_a_secret_of_its_own_it_does_not_start() {
        let echo = Upstream::echo().await;
        for section in [
            "[internal]",
            "[internal]\nkeys = []",
            "[internal]\nkeys = [\"\"]",
            "[internal]\nkeys = [\"${env:NONE}\"]",
        ] {
            let route = "[[routes]]\nname = \"a\"\npaths = [\"/*\"]\nupstream = \"echo\"\nauth = \"internal\"";
            let ended = Gateway::with(route)
                .and(section)
                .upstream("echo", &echo)
                .run(&["run"])
                .await;
            let said = String::from_utf8_lossy(&ended.stderr).into_owned();
            assert_eq!(ended.status.code(), Some(3), "{section}: {said}");
            assert!(said.contains("internal.keys"), "{said}");
        }
    }
}

#[tokio::test]
async fn a_token_is_good_up_to_its_leeway() {
    let (echo, issuer) = (Upstream::echo().await, Issuer::start().await);
    let gateway = house(&echo)
        .issuer_with("main", &issuer, "algorithms = [\"ES256\"]\nleeway = \"5m\"")
        .start()
        .await;
    let minutes = |count: i64| now() + 60 * count;
    for (changes, expected) in [
        (json!({ "exp": minutes(-4), "iat": minutes(-9) }), 200),
        (json!({ "exp": minutes(-6), "iat": minutes(-9) }), 401),
        (json!({ "nbf": minutes(4) }), 200),
        (json!({ "nbf": minutes(6) }), 401),
        (json!({ "iat": minutes(4) }), 200),
        (json!({ "iat": minutes(6) }), 401),
    ] {
        println!("{changes}");
        assert_eq!(
            status(&gateway.send(&with(&issuer.token_with(changes))).await),
            expected
        );
    }
}
