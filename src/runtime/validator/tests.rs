//! The asking itself, without a gateway around it: who leaves, who stays, and what is kept. The auth service is a socket.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::*;
use crate::compile::{Compiled, compile};
use crate::config::{Environment, Problems, load_text};
use crate::observe::metrics::Metrics;
use crate::policy::authn::api_key::KeyFault;
use crate::policy::authn::remote::KeyRules;
use crate::policy::limit::{Ask, BucketKey};
use crate::runtime::meters::{Counters, Meters};

const FROM: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Says of every key that it is ada's, once it may.
struct Service {
    address: SocketAddr,
    asked: Arc<AtomicUsize>,
    may_answer: Arc<Notify>,
}

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let service = Self {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
            may_answer: Arc::default(),
        };
        let (asked, may_answer) = (service.asked.clone(), service.may_answer.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (asked, may_answer) = (asked.clone(), may_answer.clone());
                tokio::spawn(async move {
                    let mut bytes = [0; 4096];
                    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {
                        asked.fetch_add(1, Ordering::SeqCst);
                        may_answer.notified().await;
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"user_id\":\"ada\"}";
                        stream.write_all(answer.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        service
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn compiled(&self, lines: &str) -> Compiled {
        let text = format!(
            "[[listeners]]\nname = \"p\"\n[[routes]]\nname = \"r\"\npaths = [\"/\"]\nupstream = \"u\"\nauth = \"api_key\"\n\
             [upstreams.u]\nurls = [\"http://127.0.0.1:1\"]\n[api_keys]\n[api_keys.remote]\nurl = \"http://{}/v\"\n{lines}",
            self.address
        );
        let loaded = load_text(std::path::Path::new("x.toml"), &text, &Environment::default()).unwrap();
        compile(&loaded.config, &mut Problems::new(loaded.sources)).unwrap()
    }

    fn validator(&self, lines: &str) -> Arc<Validator<KeyRules>> {
        let spec = self.compiled(lines).api_keys.unwrap();
        let metrics = Metrics::new("test").unwrap().dependency("api_keys");
        Arc::new(Validator::new(spec, metrics, Clock::start()))
    }
}

fn start(validator: &Arc<Validator<KeyRules>>) {
    tokio::spawn(serve(Arc::downgrade(validator), validator.queue().unwrap()));
}

fn asked<'k>(validator: &Validator<KeyRules>, key: &'k str) -> Asked<'k> {
    let digest = SecretDigest::of(key.as_bytes());
    validator.asked(key, digest, FROM, validator.clock.monotonic_ns())
}

#[tokio::test]
async fn r24_a_request_that_leaves_takes_its_look_up_from_nobody() {
    let service = Service::start().await;
    let validator = service.validator("timeout = \"30s\"");
    start(&validator);
    let question = asked(&validator, "k");
    {
        let mut first = pin!(validator.ask(&question, None));
        let began = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context).is_pending())).await;
        assert!(began);
        while service.asked() == 0 {
            tokio::task::yield_now().await;
        }
    }
    let second = validator.ask(&question, None);
    service.may_answer.notify_one();
    let answer = second.await.unwrap();
    assert_eq!(answer.said.unwrap().identity.user.as_str(), "ada");
    assert_eq!((service.asked(), validator.status().in_flight), (1, 0));
    assert_eq!(validator.known(&asked(&validator, "k")).unwrap().by, KnownBy::Cache);
}

#[tokio::test]
async fn without_anybody_who_makes_look_ups_nobody_knows() {
    let service = Service::start().await;
    let validator = service.validator("timeout = \"10ms\"");
    drop(validator.queue());
    let answer = validator.ask(&asked(&validator, "k"), None).await.unwrap();
    assert_eq!(answer.said.unwrap_err(), KeyFault::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_in_its_address_allowance_waits_no_longer_than_for_an_answer() {
    let service = Service::start().await;
    let lines = "timeout = \"2s\"\n[auth_failures]\nrate = \"1/hour\"";
    let (validator, compiled) = (service.validator(lines), service.compiled(lines));
    let [spec] = &compiled.limits[..] else {
        panic!("one limit")
    };
    let counters = Counters::new(spec.clone(), Metrics::new("test").unwrap().limit("auth_failures"), None);
    let limit = &compiled.policy.auth_failures.as_ref().unwrap().limit;
    let allowance = Allowance {
        guesses: &Arc::default(),
        meters: &Meters(vec![Arc::new(counters)]),
        ask: Ask {
            limit,
            plan: &limit.plan,
            key: BucketKey(7),
        },
    };
    // Others behind the same address, one after the other, have its one place for ever.
    let _taken = allowance.take(validator.clock).await.unwrap();
    let question = asked(&validator, "k");
    let answer = tokio::time::timeout(Duration::from_secs(3), validator.ask(&question, Some(allowance))).await;
    let answer = answer.expect("it is told within its time").unwrap();
    assert_eq!(answer.said.unwrap_err(), KeyFault::Unavailable);
    assert_eq!(service.asked(), 0);
}

#[tokio::test]
async fn r39_answers_are_bounded_whatever_strangers_send() {
    let service = Service::start().await;
    let validator = service.validator("max_entries = 50");
    start(&validator);
    for number in 0..300 {
        service.may_answer.notify_one();
        let key = format!("k{number}");
        assert!(
            validator
                .ask(&asked(&validator, &key), None)
                .await
                .unwrap()
                .said
                .is_ok()
        );
    }
    assert!(validator.status().entries <= 60, "{}", validator.status().entries);
}

#[test]
fn r24_two_questions_never_share_a_key() {
    let digest = SecretDigest::of(b"k");
    let address = |text: &str| with_address(&digest, text.parse().unwrap());
    assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    assert_ne!(address("192.0.2.1"), digest);
    assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
    assert_ne!(
        address("::1"),
        with_address(&SecretDigest::of(b"l"), "::1".parse().unwrap())
    );
}

#[test]
fn r12_nothing_that_can_be_printed_holds_a_credential() {
    let validator = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let service = Service::start().await;
            let validator = service.validator("bearer = \"our-own-credential\"");
            let boarded = validator.board(&asked(&validator, "the-key-itself"), &mut None, false);
            assert!(matches!(boarded, Boarding::Flight { led: true, .. }));
            validator
        });
    let job = validator.queue().unwrap().try_recv().unwrap();
    let printed = format!("{validator:?} {job:?}");
    assert!(
        !printed.contains("the-key-itself") && !printed.contains("our-own-credential"),
        "{printed}"
    );
}
