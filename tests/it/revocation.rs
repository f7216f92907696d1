//! What is revoked in the shared Redis, by whomever, is refused by every gateway within a second; and what happens while Redis is away.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{
    Gateway, Issuer, Redis, Request, Response, Setup, Upstream, eventually, other_text, refused, sha256,
};

const CURRENT: &str = "gateway_revocations_current";

/// A house whose one route takes tokens.
struct House {
    redis: Redis,
    issuer: Issuer,
    echo: Upstream,
}

impl House {
    async fn new() -> Self {
        Self {
            redis: Redis::start().await,
            issuer: Issuer::start().await,
            echo: Upstream::echo().await,
        }
    }

    fn setup(&self, revocation: &str) -> Setup {
        let route = "[[routes]]\nname = \"all\"\npaths = [\"/*\"]\nupstream = \"echo\"\nauth = \"jwt\"\n";
        Gateway::with(&format!(
            "{}[revocation]\n{revocation}\n{route}",
            self.redis.section("")
        ))
        .upstream("echo", &self.echo)
        .issuer("main", &self.issuer)
    }

    /// A gateway that knows what is revoked.
    async fn gateway(&self, revocation: &str) -> Gateway {
        let gateway = self.setup(revocation).start().await;
        gateway.metric_becomes(CURRENT, 1.0).await;
        gateway
    }

    fn token(&self, user: &str, id: &str) -> String {
        self.issuer.token_with(json!({ "sub": user, "jti": id }))
    }
}

async fn ask(gateway: &Gateway, token: &str) -> Response {
    gateway.send(&Request::get("/").bearer(token)).await
}

async fn is_let_in(gateway: &Gateway, token: &str) {
    let response = ask(gateway, token).await;
    assert_eq!(response.head.status(), 200, "{:?}", response.head);
}

/// Waits for the refusal; gives how long it took.
async fn becomes(gateway: &Gateway, token: &str, status: u16) -> Duration {
    let began = Instant::now();
    eventually(&format!("{status} for the token"), async || {
        (ask(gateway, token).await.head.status() == status).then_some(())
    })
    .await;
    began.elapsed()
}

async fn is_revoked(gateway: &Gateway, token: &str) -> Duration {
    let took = becomes(gateway, token, 401).await;
    let response = ask(gateway, token).await;
    refused(&response, 401, "token_revoked");
    let challenge = response.head.first("www-authenticate").unwrap();
    assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
    took
}

#[tokio::test]
async fn r23_a_revocation_on_one_gateway_is_refused_by_both_within_a_second_also_for_known_tokens() {
    let house = House::new().await;
    let (one, other) = (house.gateway("").await, house.gateway("").await);
    let by_id = house.token("ada", "t-1");
    let by_file = house.token("bob", "t-2");
    let by_user = house.token("eve", "t-3");
    let bystander = house.token("kim", "t-4");
    for gateway in [&one, &other] {
        for token in [&by_id, &by_file, &by_user, &bystander] {
            is_let_in(gateway, token).await;
            is_let_in(gateway, token).await;
        }
    }
    one.write("token", format!("{by_file}\n"));
    for (arguments, token) in [
        (["revoke", "--jti", "t-1"], &by_id),
        (["revoke", "--token-file", "token"], &by_file),
        (["revoke", "--user", "eve"], &by_user),
    ] {
        let output = one.run(&arguments).await;
        assert!(output.status.success(), "{output:?}");
        let (here, there) = (is_revoked(&one, token).await, is_revoked(&other, token).await);
        println!("{arguments:?}: refused after {here:?} and {there:?}");
        assert!(here + there < Duration::from_secs(1), "{here:?} {there:?}");
    }
    is_let_in(&one, &bystander).await;
    is_let_in(&other, &bystander).await;
    one.metric_becomes("gateway_revocations", 3.0).await;
    let line = one.access_line(|line| line["reason"] == "token_revoked").await;
    assert_eq!((&line["status"], &line["detail"]), (&json!(401), &json!("revoked")));
}

/// ECDSA lets everybody who has a token write it in one other way.
#[tokio::test]
async fn r23_a_token_is_revoked_in_both_its_texts_whichever_was_named() {
    let house = House::new().await;
    let gateway = house.gateway("").await;
    for (user, named, other) in [("ada", 0, 1), ("bob", 1, 0)] {
        let token = house.token(user, "t-1");
        let texts = [other_text(&token), token];
        for text in &texts {
            is_let_in(&gateway, text).await;
        }
        gateway.write("token", &texts[named]);
        let output = gateway.run(&["revoke", "--token-file", "token"]).await;
        assert!(output.status.success(), "{output:?}");
        is_revoked(&gateway, &texts[named]).await;
        refused(&ask(&gateway, &texts[other]).await, 401, "token_revoked");
    }
}

#[tokio::test]
async fn a_users_tokens_are_revoked_if_they_were_issued_before_his_time_or_do_not_say_when() {
    let house = House::new().await;
    let gateway = house.gateway("").await;
    let now = house.issuer.claims()["iat"].as_i64().unwrap();
    let issued = |iat: serde_json::Value| house.issuer.token_with(json!({ "iat": iat }));
    let (before, at, after, never) = (
        issued(json!(now - 11)),
        issued(json!(now - 10)),
        issued(json!(now - 9)),
        issued(json!(null)),
    );
    for token in [&before, &at, &after, &never] {
        is_let_in(&gateway, token).await;
    }
    let _: () = house
        .redis
        .ask(&["SET", "gateway:revoked:user:ada", &(now - 10).to_string()])
        .await;
    is_revoked(&gateway, &before).await;
    is_revoked(&gateway, &never).await;
    is_let_in(&gateway, &at).await;
    is_let_in(&gateway, &after).await;
    // What is no time was meant to revoke something. One that is too long to be one is none, and is not read (r38).
    let long = format!("1{}", " ".repeat(8 << 20));
    for value in [
        &["SET", "gateway:revoked:user:ada", "all"][..],
        &["SET", "gateway:revoked:user:ada", ""],
        &["SET", "gateway:revoked:user:ada", &long],
        &["HSET", "gateway:revoked:user:ada", "a", "b"],
    ] {
        let _: () = house.redis.ask(&["DEL", "gateway:revoked:user:ada"]).await;
        becomes(&gateway, &after, 200).await;
        let _: redis::Value = house.redis.ask(value).await;
        is_revoked(&gateway, &after).await;
    }
    let sent = house.redis.sent().await;
    assert!(sent < 1 << 20, "{sent}");
}

#[tokio::test]
async fn keys_of_other_services_revoke_and_their_end_restores() {
    let house = House::new().await;
    let keys = "keys = [\"blacklist:{token}\", \"token_blacklist:{jti}\", \"banned:{user}:now\"]\nusers = \"\"";
    let gateway = house.gateway(keys).await;
    let token = house.token("ada", "t-1");
    let whole = format!("blacklist:{token}");
    for key in [&whole, "token_blacklist:t-1", "banned:ada:now"] {
        is_let_in(&gateway, &token).await;
        let _: () = house.redis.ask(&["SETEX", key, "600", "revoked"]).await;
        is_revoked(&gateway, &token).await;
        let _: () = house.redis.ask(&["DEL", key]).await;
        becomes(&gateway, &token, 200).await;
    }
    // By whatever type of value, until it expires, and until all is flushed.
    let _: i64 = house.redis.ask(&["SADD", "token_blacklist:t-1", "x"]).await;
    is_revoked(&gateway, &token).await;
    let _: i64 = house.redis.ask(&["PEXPIRE", "token_blacklist:t-1", "50"]).await;
    becomes(&gateway, &token, 200).await;
    let _: () = house
        .redis
        .ask(&["MSET", &whole, "1", "token_blacklist:t-1", "1"])
        .await;
    is_revoked(&gateway, &token).await;
    let _: i64 = house.redis.ask(&["DEL", "token_blacklist:t-1"]).await;
    gateway.metric_becomes("gateway_revocations", 1.0).await;
    is_revoked(&gateway, &token).await;
    let _: () = house.redis.ask(&["FLUSHALL"]).await;
    becomes(&gateway, &token, 200).await;
}

#[tokio::test]
async fn what_was_revoked_before_a_gateway_came_is_known_to_it() {
    let house = House::new().await;
    let fill = "for i = 1, 20000 do redis.call('SET', 'gateway:revoked:jti:t-' .. i, 1); redis.call('SET', 'other:' .. i, 1) end";
    let _: redis::Value = house.redis.ask(&["EVAL", fill, "0"]).await;
    let gateway = house.gateway("").await;
    assert_eq!(gateway.metric("gateway_revocations").await, Some(20_000.0));
    for id in ["t-1", "t-9999", "t-20000"] {
        refused(&ask(&gateway, &house.token("ada", id)).await, 401, "token_revoked");
    }
    is_let_in(&gateway, &house.token("ada", "t-20001")).await;
}

#[tokio::test]
async fn while_redis_is_away_what_was_known_serves_and_is_read_anew_when_it_is_back() {
    let house = House::new().await;
    let gateway = house.gateway("").await;
    let (revoked, good) = (house.token("ada", "t-1"), house.token("ada", "t-2"));
    let _: () = house.redis.ask(&["SET", "gateway:revoked:jti:t-1", "1"]).await;
    is_revoked(&gateway, &revoked).await;
    house.redis.die().await;
    gateway.metric_becomes(CURRENT, 0.0).await;
    gateway.event("revocations not followed").await;
    let status = gateway.ask_admin("/status.json").await.json()["revocation"].clone();
    assert_eq!(
        (&status["current"], &status["on_store_error"]),
        (&json!(false), &json!("serve"))
    );
    refused(&ask(&gateway, &revoked).await, 401, "token_revoked");
    is_let_in(&gateway, &good).await;
    // It comes back with other revocations than it went with.
    house.redis.come_back().await;
    let _: () = house.redis.ask(&["SET", "gateway:revoked:jti:t-2", "1"]).await;
    is_revoked(&gateway, &good).await;
    becomes(&gateway, &revoked, 200).await;
    gateway.metric_becomes(CURRENT, 1.0).await;
}

#[tokio::test]
async fn with_deny_nobody_is_let_in_by_revocations_that_may_be_old() {
    let house = House::new().await;
    house.redis.die().await;
    let gateway = house.setup("on_store_error = \"deny\"").start().await;
    let token = house.token("ada", "t-1");
    let response = ask(&gateway, &token).await;
    refused(&response, 503, "auth_unavailable");
    let line = gateway.access_line_of(&response).await;
    assert_eq!(line["detail"], "revocations_unknown");
    house.redis.come_back().await;
    becomes(&gateway, &token, 200).await;
    // A Redis that hangs is as one that is gone.
    house.redis.freeze().await;
    let took = becomes(&gateway, &token, 503).await;
    println!("refused {took:?} after Redis froze");
    assert!(took < Duration::from_secs(2), "{took:?}");
    house.redis.thaw().await;
    becomes(&gateway, &token, 200).await;
}

/// Writes this config over the gateway's, and waits until it is in force.
async fn reload(gateway: &Gateway, config: &str) {
    let generation = gateway.metric("gateway_config_generation").await.unwrap();
    gateway.write("gateway.toml", config);
    gateway
        .metric_becomes("gateway_config_generation", generation + 1.0)
        .await;
}

#[tokio::test]
async fn a_reload_that_changes_redis_while_it_is_away_forgets_nothing() {
    let (house, another) = (House::new().await, Redis::away());
    let gateway = house.gateway("").await;
    let (revoked, good) = (house.token("ada", "t-1"), house.token("ada", "t-2"));
    let _: () = house.redis.ask(&["SET", "gateway:revoked:jti:t-1", "1"]).await;
    is_revoked(&gateway, &revoked).await;
    house.redis.die().await;
    gateway.metric_becomes(CURRENT, 0.0).await;
    let (config, url) = (gateway.config(), house.redis.url());
    let same = format!("\"{url}\"\ntimeout = \"80ms\"");
    let other_store = format!("\"{}\"", another.url());
    let other_keys = config.replace(
        "[revocation]",
        "[revocation]\nkeys = [\"gone:{jti}\", \"gateway:revoked:jti:{jti}\"]",
    );
    for changed in [
        config.replace(&format!("\"{url}\""), &same),
        other_keys,
        config.replace(&format!("\"{url}\""), &other_store),
    ] {
        reload(&gateway, &changed).await;
        refused(&ask(&gateway, &revoked).await, 401, "token_revoked");
        is_let_in(&gateway, &good).await;
        assert_eq!(gateway.metric("gateway_revocations").await, Some(1.0));
    }
    // What the new one has counts as soon as it has been read, and nothing else.
    another.come_back().await;
    becomes(&gateway, &revoked, 200).await;
    let _: () = another.ask(&["SET", "gateway:revoked:jti:t-2", "1"]).await;
    is_revoked(&gateway, &good).await;
    gateway.metric_becomes("gateway_revocations", 1.0).await;
}

#[tokio::test]
async fn with_deny_a_reload_makes_nothing_current_that_is_old() {
    let house = House::new().await;
    let gateway = house.gateway("on_store_error = \"deny\"").await;
    let token = house.token("ada", "t-1");
    becomes(&gateway, &token, 200).await;
    house.redis.die().await;
    becomes(&gateway, &token, 503).await;
    let (config, url) = (gateway.config(), house.redis.url());
    let changed = config.replace(&format!("\"{url}\""), &format!("\"{url}\"\ntimeout = \"80ms\""));
    reload(&gateway, &changed).await;
    refused(&ask(&gateway, &token).await, 503, "auth_unavailable");
    house.redis.come_back().await;
    becomes(&gateway, &token, 200).await;
}

#[tokio::test]
async fn an_api_key_is_revoked_by_its_id_itself_or_its_user() {
    let house = House::new().await;
    let (secret, hash) = ("hok_live_one", sha256("hok_live_one"));
    let keys = format!("[api_keys]\n[[api_keys.keys]]\nid = \"ci\"\nhash = \"{hash}\"\nuser = \"svc\"\n");
    let revocation = "keys = [\"by-id:{key_id}\", \"by-digest:{token_sha256}\", \"by-user:{user}\"]";
    let config = house
        .setup(revocation)
        .and(&keys)
        .config()
        .replace("\"jwt\"", "[\"jwt\", \"api_key\"]");
    let gateway = Gateway::with(&config).start().await;
    gateway.metric_becomes(CURRENT, 1.0).await;
    let ask = async || gateway.send(&Request::get("/").header("X-API-Key", secret)).await;
    let becomes = async |status: u16| {
        eventually("the key's standing", async || {
            (ask().await.head.status() == status).then_some(())
        })
        .await;
    };
    let by_digest = format!("by-digest:{}", hash.trim_start_matches("sha256:").to_uppercase());
    for key in ["by-id:ci", &by_digest, "by-user:svc"] {
        becomes(200).await;
        let _: () = house.redis.ask(&["SET", key, "1"]).await;
        becomes(401).await;
        let response = ask().await;
        refused(&response, 401, "invalid_api_key");
        assert_eq!(gateway.access_line_of(&response).await["detail"], "key_revoked");
        let _: () = house.redis.ask(&["DEL", key]).await;
    }
    becomes(200).await;
    let output = gateway.run(&["revoke", "--key-id", "ci"]).await;
    assert!(output.status.success(), "{output:?}");
    becomes(401).await;
}

#[tokio::test]
async fn revoking_says_what_it_cannot_do() {
    let house = House::new().await;
    let setup = house.setup("keys = [\"blacklist:{token}\"]\nusers = \"\"");
    for (arguments, said) in [
        (
            &["revoke", "--jti", "t-1"][..],
            "revocation.keys has no pattern with {jti}",
        ),
        (
            &["revoke", "--user", "ada"],
            "revocation.keys has no pattern with {user}",
        ),
        (&["revoke", "--token-file", "missing"], "missing: No such file"),
        (&["revoke"], "--jti <ID>"),
        (&["revoke", "--jti", "a", "--user", "b"], "cannot be used with"),
        (&["revoke", "--jti", "a", "--ttl", "soon"], "expected a duration"),
    ] {
        let output = setup.run(arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {told}");
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
    let setup = house.setup("").file("token", "eyJh.eyJz.c2ln\n");
    let output = setup.run(&["revoke", "--token-file", "token", "--ttl", "1h"]).await;
    assert!(output.status.success(), "{output:?}");
    let keys: Vec<String> = house.redis.ask(&["KEYS", "*"]).await;
    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert!(
        key.starts_with("gateway:revoked:token:") && key.len() == 22 + 64,
        "{key}"
    );
    let left: i64 = house.redis.ask(&["TTL", key]).await;
    assert!((3590..=3600).contains(&left), "{left}");
    house.redis.die().await;
    let output = setup.run(&["revoke", "--jti", "t-1"]).await;
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && told.contains("no connection to Redis"),
        "{told}"
    );
}

#[tokio::test]
async fn a_revocation_that_could_not_work_is_refused() {
    let house = House::new().await;
    for (sections, said) in [
        ("[revocation]", "revocation: needs a [redis]"),
        (
            "[redis]\nurl = 'redis://r'\n[revocation]\nkeys = ['{jti}']",
            "revocation.keys: \"{jti}\": expected a key with",
        ),
        (
            "[redis]\nurl = 'redis://r'\n[revocation]\nusers = 'u:{jti}'",
            "revocation.users: expected a key with {user}",
        ),
    ] {
        let route = "[[routes]]\nname = 'a'\npaths = ['/*']\nupstream = 'echo'\nauth = 'none'\n";
        let setup = Gateway::with(&format!("{route}{sections}")).upstream("echo", &house.echo);
        let output = setup.run(&["check"]).await;
        let told = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(3), "{sections}: {told}");
        assert!(told.contains(said), "{sections}: {told}");
    }
}

#[tokio::test]
async fn explain_asks_redis_where_it_may_and_says_so_where_it_does_not() {
    let house = House::new().await;
    let hash = sha256("hok_live_one");
    let keys = format!("[api_keys]\n[[api_keys.keys]]\nid = \"ci\"\nhash = \"{hash}\"\nuser = \"svc\"\n");
    let config = house
        .setup("")
        .and(&keys)
        .config()
        .replace("\"jwt\"", "[\"jwt\", \"api_key\"]");
    let jwks = json!({ "keys": [house.issuer.key.jwk()] }).to_string();
    let setup = Gateway::with(&config).file("jwks.json", jwks);
    let bearer = format!("Authorization: Bearer {}", house.token("ada", "t-1"));
    let explained = async |how: &[&str], credential: &str| {
        let arguments = [&["explain", "GET", "/", "--json", "-H", credential], how].concat();
        let output = setup.run(&arguments).await;
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code().unwrap(), report)
    };
    let (offline, online) = (&["--jwks", "jwks.json"][..], &["--online"][..]);
    for (how, asked) in [(offline, "not_asked"), (online, "asked")] {
        for credential in [bearer.as_str(), "X-API-Key: hok_live_one"] {
            let (code, report) = explained(how, credential).await;
            assert_eq!((code, &report["revocation"]), (0, &json!(asked)), "{report}");
        }
        let (code, report) = explained(how, "X-API-Key: wrong").await;
        assert_eq!((code, &report["revocation"]), (2, &json!(null)), "{report}");
    }
    let _: () = house.redis.ask(&["SET", "gateway:revoked:jti:t-1", "1"]).await;
    let _: () = house.redis.ask(&["SET", "gateway:revoked:key:ci", "1"]).await;
    for (credential, error, detail) in [
        (bearer.as_str(), "token_revoked", "revoked"),
        ("X-API-Key: hok_live_one", "invalid_api_key", "key_revoked"),
    ] {
        assert_eq!(explained(offline, credential).await.0, 0, "it does not know");
        let (code, report) = explained(online, credential).await;
        assert_eq!(
            (code, &report["error"], &report["detail"]),
            (2, &json!(error), &json!(detail))
        );
    }
    house.redis.die().await;
    let (code, report) = explained(online, &bearer).await;
    assert_eq!(code, 4, "{report}");
    assert!(
        report["missing"]
            .as_str()
            .unwrap()
            .starts_with("what is revoked: no connection"),
        "{report}"
    );
}
