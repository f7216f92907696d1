//! What one gateway was told by an auth service serves the others, through a real Redis; and without it each asks for itself.

use serde_json::{Value, json};

use crate::harness::{AuthService, Gateway, Redis, Upstream, eventually, sha256, status, with_key};

const ROUTES: &str = r#"
[[routes]]
name = "keys"
paths = ["/keys/*"]
upstream = "echo"
auth = "api_key"
"#;

const RECORD_KEY: &str = "record_key = \"a-key-of-our-gateways-0123456789ab\"";

/// A gateway of several that share what they are told.
async fn one_of(redis: &Redis, service: &AuthService, echo: &Upstream, record_key: &str) -> Gateway {
    // On a busy machine an answer may take long; only one test is about how long.
    one_that_waits("15s", redis, service, echo, record_key).await
}

async fn one_that_waits(
    timeout: &str,
    redis: &Redis,
    service: &AuthService,
    echo: &Upstream,
    record_key: &str,
) -> Gateway {
    let gateway = Gateway::with(ROUTES)
        .and(&service.api_keys(""))
        .and(&redis.section(&format!("timeout = \"{timeout}\"\n{record_key}")))
        .upstream("echo", echo)
        .start()
        .await;
    gateway
        .metric_becomes("gateway_dependency_up{dependency=\"redis\"}", 1.0)
        .await;
    connected(&gateway).await;
    gateway
}

async fn connected(gateway: &Gateway) {
    eventually("Redis is connected", async || {
        let status = gateway.ask_admin("/status.json").await.json();
        (status["redis"]["up"] == true).then_some(())
    })
    .await;
}

fn validations(source: &str) -> String {
    format!("gateway_api_key_validations_total{{source=\"{source}\",status=\"success\"}}")
}

#[tokio::test]
async fn a_second_gateway_never_asks_for_what_the_first_knows() {
    let (redis, service, echo) = (Redis::start().await, AuthService::start().await, Upstream::echo().await);
    let first = one_of(&redis, &service, &echo, RECORD_KEY).await;
    let second = one_of(&redis, &service, &echo, RECORD_KEY).await;
    let scopes = json!({ "user_id": "ada", "key_id": "k-1", "scopes": ["a", "b"], "api_key": "the-key" });
    service.knows("the-key", scopes);
    assert_eq!(status(&first.send(&with_key("the-key")).await), 200);
    let response = second.send(&with_key("the-key")).await;
    assert_eq!(status(&response), 200);
    assert_eq!(second.access_line_of(&response).await["key_id"], "k-1");
    assert_eq!(status(&first.send(&with_key("wrong")).await), 401);
    assert_eq!(status(&second.send(&with_key("wrong")).await), 401);
    assert_eq!(service.count(), 2);
    second.metric_becomes(&validations("shared"), 1.0).await;
    // And from now on it knows by itself.
    assert_eq!(status(&second.send(&with_key("the-key")).await), 200);
    second.metric_becomes(&validations("cache"), 1.0).await;

    // r12: whoever reads Redis finds neither a key nor what he could try guesses by.
    let names: Vec<String> = redis.ask(&["KEYS", "gateway:answer:*"]).await;
    assert_eq!(names.len(), 2);
    for name in names {
        let value: Vec<u8> = redis.ask(&["GET", &name]).await;
        let text = format!("{name} {}", String::from_utf8_lossy(&value));
        let digest = sha256("the-key");
        assert!(
            !text.contains("the-key") && !text.contains(digest.trim_start_matches("sha256:")),
            "{text}"
        );
        let lasts: i64 = redis.ask(&["PTTL", &name]).await;
        assert!((1..=300_000).contains(&lasts), "{lasts}");
    }
}

#[tokio::test]
async fn r45_whoever_writes_redis_becomes_nobody() {
    let (redis, service, echo) = (Redis::start().await, AuthService::start().await, Upstream::echo().await);
    service.knows_user("adas-key", "ada");
    service.knows_user("roots-key", "root");
    let records = async || {
        let names: Vec<String> = redis.ask(&["KEYS", "gateway:answer:*"]).await;
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        for name in names {
            let value = redis.ask(&["GET", &name]).await;
            records.push((name, value));
        }
        records
    };
    let first = one_of(&redis, &service, &echo, RECORD_KEY).await;
    assert_eq!(status(&first.send(&with_key("adas-key")).await), 200);
    let adas = records().await.pop().unwrap();
    assert_eq!(status(&first.send(&with_key("roots-key")).await), 200);
    let roots = records().await.into_iter().find(|(name, _)| *name != adas.0).unwrap();
    assert_eq!(service.count(), 2);

    let text = String::from_utf8_lossy(&adas.1[32..]).into_owned();
    assert!(text.contains("\"ada\""), "{text}");
    let forged = [&adas.1[..32], text.replace("\"ada\"", "\"root\"").as_bytes()].concat();
    let mut asked = service.count();
    for value in [
        forged,
        roots.1.clone(),
        adas.1[32..].to_vec(),
        Vec::new(),
        vec![b'x'; 100_000],
    ] {
        let () = redis.ask(&[b"SET", adas.0.as_bytes(), &value]).await;
        let other = one_of(&redis, &service, &echo, RECORD_KEY).await;
        let response = other.send(&with_key("adas-key")).await;
        assert_eq!(other.access_line_of(&response).await["user_id"], "ada");
        asked += 1;
        assert_eq!(service.count(), asked, "not believed: asked anew");
    }
    // A gateway with another key, or with none, believes nobody.
    for key in ["record_key = \"another-key-of-ours-0123456789abcdef\"", ""] {
        let stranger = one_of(&redis, &service, &echo, key).await;
        assert_eq!(status(&stranger.send(&with_key("roots-key")).await), 200);
        asked += 1;
        assert_eq!(service.count(), asked);
    }
}

#[tokio::test]
async fn r38_a_record_that_is_too_long_to_be_one_is_not_read() {
    let (redis, service, echo) = (Redis::start().await, AuthService::start().await, Upstream::echo().await);
    service.knows_user("the-key", "ada");
    let first = one_of(&redis, &service, &echo, RECORD_KEY).await;
    assert_eq!(status(&first.send(&with_key("the-key")).await), 200);
    let names: Vec<String> = redis.ask(&["KEYS", "gateway:answer:*"]).await;
    let () = redis.ask(&["SET", &names[0], &"x".repeat(16 << 20)]).await;
    let second = one_of(&redis, &service, &echo, RECORD_KEY).await;
    assert_eq!(status(&second.send(&with_key("the-key")).await), 200);
    assert_eq!(service.count(), 2, "asked anew");
    let sent = redis.sent().await;
    assert!(sent < 1 << 20, "{sent}");
}

#[tokio::test]
async fn r45_a_record_that_was_put_back_serves_no_longer_than_it_ever_did() {
    let (redis, service, echo) = (Redis::start().await, AuthService::start().await, Upstream::echo().await);
    service.knows_user("the-key", "ada");
    let first = one_of(&redis, &service, &echo, RECORD_KEY).await;
    assert_eq!(status(&first.send(&with_key("the-key")).await), 200);
    let names: Vec<String> = redis.ask(&["KEYS", "gateway:answer:*"]).await;
    let record: Vec<u8> = redis.ask(&["GET", &names[0]]).await;
    // It was revoked there; whoever can write Redis keeps the old word alive.
    service.forgets("the-key");
    let () = redis.ask(&[b"SET", names[0].as_bytes(), &record]).await;
    let setup = Gateway::with(ROUTES)
        .and(&service.api_keys("cache_ttl = \"5m\""))
        .and(&redis.section(&format!("timeout = \"15s\"\n{RECORD_KEY}")))
        .upstream("echo", &echo);
    let (setup, clock) = setup.clock();
    clock.advance(301);
    let later = setup.start().await;
    connected(&later).await;
    assert_eq!(status(&later.send(&with_key("the-key")).await), 401);
    assert_eq!(service.count(), 2, "asked anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_that_dies_in_the_middle_of_load_fails_no_request_and_is_shared_again_after_its_return() {
    let (redis, service, echo) = (Redis::start().await, AuthService::start().await, Upstream::echo().await);
    let first = one_of(&redis, &service, &echo, RECORD_KEY).await;
    let second = one_of(&redis, &service, &echo, RECORD_KEY).await;
    for number in 0..300 {
        service.knows_user(&format!("key-{number}"), "ada");
    }
    let mut client = first.client().await;
    for number in 0..300 {
        if number == 100 {
            redis.die().await;
        }
        let response = client.send(&with_key(&format!("key-{number}"))).await;
        assert_eq!(status(&response), 200, "key-{number}");
    }
    assert_eq!(service.count(), 300);
    first
        .metric_becomes("gateway_dependency_up{dependency=\"redis\"}", 0.0)
        .await;
    assert!(first.metric("gateway_store_errors_total{store=\"redis\"}").await > Some(0.0));
    redis.come_back().await;
    connected(&first).await;
    connected(&second).await;
    // One that asked nothing meanwhile finds out with its next question that its connection was lost.
    let mut number = 0;
    eventually("answers are shared again", async || {
        number += 1;
        let key = format!("after-{number}");
        service.knows_user(&key, "ada");
        let before = service.count();
        assert_eq!(status(&first.send(&with_key(&key)).await), 200);
        assert_eq!(status(&second.send(&with_key(&key)).await), 200);
        (service.count() == before + 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn redis_that_hangs_costs_one_request_its_time_and_the_next_nothing() {
    let (redis, service, echo) = (Redis::start().await, AuthService::start().await, Upstream::echo().await);
    let gateway = one_that_waits("500ms", &redis, &service, &echo, RECORD_KEY).await;
    (0..10).for_each(|number| service.knows_user(&format!("key-{number}"), "ada"));
    redis.freeze().await;
    let mut waited = Vec::new();
    for number in 0..10 {
        let began = std::time::Instant::now();
        assert_eq!(status(&gateway.send(&with_key(&format!("key-{number}"))).await), 200);
        waited.push(began.elapsed().as_millis());
    }
    let late = waited.iter().filter(|waited| **waited >= 400).count();
    assert!(late <= 1, "{waited:?}");
    redis.thaw().await;
    let shown: Value = gateway.ask_admin("/status.json").await.json();
    assert!(shown["redis"].is_object(), "{shown}");
}
