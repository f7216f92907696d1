//! Endpoints that die, freeze, reset, talk nonsense, break off and move, one after the other and two at a time, while 64 clients ask.
//! Whoever asks for what can be asked twice is answered; what is cut is seen to be cut; and nothing is left behind.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};

use gateway::demo::client;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::task::{JoinHandle, JoinSet};

use crate::harness::{Gateway, Names, OPEN, Request, Upstream, eventually, signal, soon};

const CLIENTS: usize = 64;

/// Every so many clients, one asks for what may be done once only.
const ONE_IN: usize = 16;

/// Answers that are awaited in each state of the world.
const ANSWERS: usize = 300;

/// An nginx of one process, which signals reach.
struct Nginx {
    address: SocketAddr,
    folder: TempDir,
    process: Child,
}

impl Nginx {
    async fn start() -> Self {
        // nginx binds by itself: the port is free, and was nobody's a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = TempDir::new().unwrap();
        let config = format!(
            "daemon off; master_process off; pid nginx.pid; error_log stderr crit; events {{ }}\n\
             http {{ access_log off; client_body_temp_path .; proxy_temp_path .; fastcgi_temp_path .; uwsgi_temp_path .; \
             scgi_temp_path .; server {{ listen {address}; location / {{ return 200 whole; }} }} }}\n"
        );
        std::fs::write(folder.path().join("nginx.conf"), config).unwrap();
        let process = Self::spawn(&folder);
        let nginx = Self {
            address,
            folder,
            process,
        };
        nginx.listens().await;
        nginx
    }

    fn spawn(folder: &TempDir) -> Child {
        Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            .args(["-c", "nginx.conf", "-e", "stderr"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed: .ci/test sees to it")
    }

    async fn listens(&self) {
        eventually("nginx listens", async || TcpStream::connect(self.address).await.ok()).await;
    }

    async fn kill(&mut self) {
        self.process.kill().await.unwrap();
    }

    async fn restart(&mut self) {
        self.process = Self::spawn(&self.folder);
        self.listens().await;
    }

    fn signal(&self, name: &str) {
        signal(&self.process, name);
    }
}

/// How an endpoint of this test's own behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
enum Mood {
    Well,
    Resets,
    Garbage,
    /// Breaks off within a body.
    Cuts,
}

const MOODS: [Mood; 4] = [Mood::Well, Mood::Resets, Mood::Garbage, Mood::Cuts];

#[derive(Clone, Default)]
struct Moods(Arc<AtomicU8>);

impl Moods {
    fn turn(&self, mood: Mood) {
        self.0.store(mood as u8, Ordering::Relaxed);
    }

    fn now(&self) -> Mood {
        MOODS[usize::from(self.0.load(Ordering::Relaxed))]
    }
}

async fn moody(moods: &Moods) -> Upstream {
    let moods = moods.clone();
    Upstream::conversing(move |mut conversation| {
        let moods = moods.clone();
        async move {
            while conversation.request().await.is_some() {
                match moods.now() {
                    Mood::Well => {
                        conversation
                            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole")
                            .await
                    }
                    Mood::Resets => return conversation.reset(),
                    Mood::Garbage => conversation.send("220 smtp.example.com ESMTP\r\n\r\n").await,
                    Mood::Cuts => {
                        return conversation
                            .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwh")
                            .await;
                    }
                }
            }
        }
    })
    .await
}

/// A host of the name that moves; all of its connections end with it.
struct Host(JoinHandle<()>);

impl Host {
    async fn at(address: SocketAddr) -> (Self, u16) {
        let listener = TcpListener::bind(address).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let mut serving = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                serving.spawn(async move {
                    let mut connection = client::Connection::new(stream);
                    while let Ok(Some(head)) = connection.head().await {
                        let whole = connection.rest(head.request_body().unwrap()).await;
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole";
                        if whole.is_err() || connection.send(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        (Self(serving), port)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the clients saw.
#[derive(Default)]
struct Seen {
    whole: AtomicUsize,
    cut: AtomicUsize,
    /// Of what may be done once only.
    refused: AtomicUsize,
    stopping: AtomicBool,
}

/// Asks again and again, on a new connection when the last one was cut.
async fn ask(to: SocketAddr, seen: Arc<Seen>, once_only: bool) {
    let request = if once_only {
        Request::new("POST", "/").body("once").bytes(to)
    } else {
        Request::get("/").bytes(to)
    };
    while !seen.stopping.load(Ordering::Relaxed) {
        let mut connection = soon("a connection", client::connect(to)).await.unwrap();
        while !seen.stopping.load(Ordering::Relaxed) {
            connection.send(&request).await.unwrap();
            let head = soon("an answer", client::receive_head(&mut connection)).await;
            let head = head.expect("an answer, whatever it is");
            let body = soon("its body, or the cut", connection.rest(head.response_body().unwrap())).await;
            match (head.status(), body) {
                (200, Ok(body)) => {
                    assert_eq!(body, b"whole");
                    seen.whole.fetch_add(1, Ordering::Relaxed);
                }
                (200, Err(_)) => {
                    seen.cut.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                (502 | 504, Ok(_)) if once_only => {
                    seen.refused.fetch_add(1, Ordering::Relaxed);
                }
                (status, body) => panic!("{status} {body:?}"),
            }
        }
    }
}

/// Lets the clients ask in the world as it is now.
async fn a_while(what: &str, seen: &Seen) {
    let before = seen.whole.load(Ordering::Relaxed);
    eventually(what, async || {
        (seen.whole.load(Ordering::Relaxed) > before + ANSWERS).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_an_endpoint_lives_everybody_is_answered_and_nothing_is_left_behind() {
    let (here, there) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2));
    let mut nginx = Nginx::start().await;
    let moods = Moods::default();
    let own = moody(&moods).await;
    let (mut host, port) = Host::at(SocketAddr::from((here, 0))).await;
    let names = Names::start(here).await;
    let gateway = Gateway::with(&format!(
        "[server]\nworkers = 2\nnameservers = [\"{}\"]\n[log]\naccess = false\n{OPEN}\
         [upstreams.up]\nurls = [\"http://{}\", \"http://{}\", \"http://app.test:{port}\"]\n\
         retries = 2\ntry_timeout = \"500ms\"\n",
        names.address, nginx.address, own.address
    ))
    .start()
    .await;
    let (descriptors, seen) = (gateway.descriptors(), Arc::new(Seen::default()));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|place| tokio::spawn(ask(gateway.address, seen.clone(), place % ONE_IN == 0)))
        .collect();
    a_while("answers in a world that is well", &seen).await;
    let memory = gateway.memory();

    nginx.kill().await;
    a_while("answers while one is dead", &seen).await;
    nginx.restart().await;
    a_while("answers when it is back", &seen).await;
    nginx.signal("STOP");
    a_while("answers while one is frozen", &seen).await;
    moods.turn(Mood::Resets);
    a_while("answers while another resets, too", &seen).await;
    nginx.signal("CONT");
    for mood in [Mood::Garbage, Mood::Well, Mood::Resets, Mood::Well] {
        moods.turn(mood);
        a_while(&format!("answers when one is {mood:?}"), &seen).await;
    }
    for (to, address) in [(there, "127.0.0.2"), (here, "127.0.0.1")] {
        // The old host goes before anybody knows of the new one.
        drop(host);
        names.move_to(to);
        a_while("answers while the name is moving", &seen).await;
        (host, _) = Host::at(SocketAddr::from((to, port))).await;
        a_while(&format!("answers when it has moved to {address}"), &seen).await;
    }
    assert_eq!(seen.cut.load(Ordering::Relaxed), 0, "cut, and nobody did it");
    moods.turn(Mood::Cuts);
    // It may still be left out for what it did before.
    eventually("a body that is seen to be cut", async || {
        (seen.cut.load(Ordering::Relaxed) > 0).then_some(())
    })
    .await;
    nginx.kill().await;
    moods.turn(Mood::Garbage);
    a_while("answers when only one is well", &seen).await;

    seen.stopping.store(true, Ordering::Relaxed);
    for client in clients {
        soon("a client ends", client).await.unwrap();
    }
    drop((own, host));
    for gauge in [
        "gateway_requests_in_flight",
        "gateway_upstream_in_flight{upstream=\"up\"}",
        "gateway_connections{listener=\"public\"}",
    ] {
        gateway.metric_becomes(gauge, 0.0).await;
    }
    eventually("its descriptors are those of the start", async || {
        (gateway.descriptors() <= descriptors).then_some(())
    })
    .await;
    let grown = gateway.memory().saturating_sub(memory);
    assert!(grown < 24 << 20, "{grown} bytes");
}
