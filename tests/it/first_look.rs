//! What gateways share in Redis is known before a gateway takes its first connection, at a start as in a takeover; a Redis that is
//! away holds nobody up, and one that hangs does for five seconds at most.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gateway::demo::client;
use serde_json::json;

use crate::harness::{Gateway, Issuer, Redis, Request, Setup, Upstream, eventually, refused, soon};

const DENY: &str = "on_store_error = \"deny\"";

const SECRET: &str = "internal-secret-0123456789";

/// A house whose route `chat` takes tokens by its file and internal callers by its shared mode, and in whose Redis are revocations
/// enough to be read for a while.
struct House {
    redis: Redis,
    issuer: Issuer,
    echo: Upstream,
}

impl House {
    async fn new() -> Self {
        let redis = Redis::start().await;
        let fill = "for i = 1, 20000 do redis.call('SET', 'gateway:revoked:jti:t-' .. i, 1) end";
        let _: redis::Value = redis.ask(&["EVAL", fill, "0"]).await;
        let _: u64 = redis.ask(&["HSET", "gateway:modes", "chat", "internal"]).await;
        Self {
            redis,
            issuer: Issuer::start().await,
            echo: Upstream::echo().await,
        }
    }

    fn setup(&self, revocation: &str, lines: &str) -> Setup {
        let route = |name: &str, paths: &str| {
            format!("[[routes]]\nname = \"{name}\"\npaths = [\"{paths}\"]\nupstream = \"echo\"\nauth = \"jwt\"\n")
        };
        let (chat, all) = (route("chat", "/chat/*"), route("all", "/*"));
        Gateway::with(&format!(
            "{}[revocation]\n{revocation}\n[internal]\nkeys = [\"{SECRET}\"]\n{lines}\n{chat}{all}",
            self.redis.section("")
        ))
        .upstream("echo", &self.echo)
        .issuer("main", &self.issuer)
    }

    fn token(&self, id: &str) -> String {
        self.issuer.token_with(json!({ "jti": id }))
    }

    /// What whoever knows what is shared answers, and nobody else does.
    fn questions(&self) -> [(Request, u16); 4] {
        [
            (Request::get("/chat/x").header("X-Internal-Auth", SECRET), 200),
            (Request::get("/chat/x").bearer(&self.token("good")), 401),
            (Request::get("/").bearer(&self.token("t-19999")), 401),
            (Request::get("/").bearer(&self.token("good")), 200),
        ]
    }
}

#[tokio::test]
async fn the_first_request_is_judged_by_shared_modes_and_revocations() {
    let house = House::new().await;
    let gateway = house.setup(DENY, "").begin().await;
    for (question, status) in house.questions() {
        let response = gateway.send(&question).await;
        assert_eq!(response.head.status(), status, "{:?}", response.head);
    }
    let status = gateway.ask_admin("/status.json").await.json();
    assert_eq!(status["routes"][0]["auth"]["by"], "shared");
}

#[tokio::test]
async fn no_request_is_judged_without_them_while_gateways_follow_each_other() {
    let house = House::new().await;
    let mut gateway = house.setup("", "[server]\nworkers = 2\n").start().await;
    let (address, admin, questions) = (gateway.address, gateway.admin, house.questions());
    let stopping = Arc::new(AtomicBool::new(false));
    let served = Arc::new(AtomicUsize::new(0));
    let asking = tokio::spawn({
        let (stopping, served) = (stopping.clone(), served.clone());
        async move {
            while !stopping.load(Ordering::Relaxed) {
                for (question, status) in questions.clone() {
                    let question = question.header("Connection", "close");
                    let response = client::send(address, &question)
                        .await
                        .expect("nobody is refused or reset");
                    assert_eq!(response.head.status(), status, "{:?}", response.head);
                    served.fetch_add(1, Ordering::Relaxed);
                }
                // A probe that the one before took may end with it; whoever answers is ready.
                let probe = Request::get("/readyz").header("Connection", "close");
                if let Ok(response) = client::send(admin, &probe).await {
                    assert_eq!(
                        response.head.status(),
                        200,
                        "the one before answers until the next is ready"
                    );
                }
            }
        }
    });
    for _ in 0..3 {
        let successor = gateway.successor().await;
        assert_eq!(gateway.ended().await.code(), Some(0), "{}", gateway.stdout());
        gateway = successor;
        let before = served.load(Ordering::Relaxed);
        eventually("the successor serves", async || {
            (served.load(Ordering::Relaxed) > before + 8 || asking.is_finished()).then_some(())
        })
        .await;
    }
    stopping.store(true, Ordering::Relaxed);
    soon("the client ends", asking).await.unwrap();
}

fn free_address() -> SocketAddr {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.local_addr().unwrap()
}

#[tokio::test]
async fn a_redis_that_hangs_holds_a_gateway_up_for_five_seconds_at_most() {
    let house = House::new().await;
    house.redis.freeze().await;
    let (public, admin) = (free_address(), free_address());
    let ports = format!("[admin]\naddress = \"{admin}\"\n[[listeners]]\nname = \"public\"\naddress = \"{public}\"\n");
    let began = Instant::now();
    let held_up = async {
        let readiness = Request::get("/readyz").header("Connection", "close");
        eventually("the admin port says that it is not ready", async || {
            let response = client::send(admin, &readiness).await.ok()?;
            assert_eq!(response.head.status(), 503);
            Some(())
        })
        .await;
        assert!(
            client::connect(public).await.is_err(),
            "nobody is taken who cannot be judged"
        );
    };
    let (gateway, ()) = tokio::join!(house.setup(DENY, &ports).begin(), held_up);
    let took = began.elapsed();
    println!("it began after {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    gateway.is_ready().await;
    gateway.event("revocations not followed").await;
    // As `on_store_error` has it; and by what is shared as soon as that is known.
    let response = gateway.send(&Request::get("/").bearer(&house.token("good"))).await;
    refused(&response, 503, "auth_unavailable");
    house.redis.thaw().await;
    for (question, status) in house.questions() {
        eventually("it knows what is shared", async || {
            (gateway.send(&question).await.head.status() == status).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_redis_that_is_away_holds_nobody_up() {
    let house = House::new().await;
    house.redis.die().await;
    let began = Instant::now();
    let gateway = house.setup("", "").start().await;
    println!("it was ready after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let response = gateway
        .send(&Request::get("/chat/x").header("X-Internal-Auth", SECRET))
        .await;
    assert_eq!(response.head.status(), 401);
}
