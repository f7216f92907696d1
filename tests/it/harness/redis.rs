//! A real Redis that a test holds in its hand: one, with Sentinel or as a Cluster; started, killed, stopped in its tracks, and asked.

use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use redis::{FromRedisValue, ToRedisArgs};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{PATIENCE, eventually, signal, soon};

/// A server that is empty when it starts, and ends when this is dropped.
pub struct Redis {
    folder: TempDir,
    /// `None`: a socket of its own, which no other test can take while the server is away.
    port: Option<u16>,
    arguments: Vec<String>,
    server: Mutex<Option<Child>>,
}

impl Redis {
    /// Starts one, and waits until it answers.
    pub async fn start() -> Self {
        let redis = Self::away();
        redis.come_back().await;
        redis
    }

    /// One that is not there yet.
    pub fn away() -> Self {
        Self::of(None, &[])
    }

    /// Starts one at a port, with these arguments.
    pub async fn at_a_port(arguments: &[&str]) -> Self {
        let redis = Self::of(Some(free_port()), arguments);
        redis.come_back().await;
        redis
    }

    /// Starts a Sentinel that watches `master`, and knows it as `main`.
    pub async fn sentinel_of(master: &Self) -> Self {
        let sentinel = Self::of(Some(free_port()), &["--sentinel"]);
        let watched = format!(
            "sentinel monitor main 127.0.0.1 {} 1\nsentinel down-after-milliseconds main 500\n\
             sentinel failover-timeout main 2000\n",
            master.port()
        );
        std::fs::write(sentinel.folder.path().join("redis.conf"), watched).unwrap();
        sentinel.come_back().await;
        sentinel
    }

    fn of(port: Option<u16>, arguments: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("redis.conf"), "save \"\"\nappendonly no\n").unwrap();
        Self {
            folder,
            port,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            server: Mutex::new(None),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.expect("a server at a port")
    }

    /// As `redis.url` has it.
    pub fn url(&self) -> String {
        match self.port {
            Some(port) => format!("redis://127.0.0.1:{port}"),
            None => format!("unix:{}", self.folder.path().join("redis.sock").display()),
        }
    }

    /// `[redis]` with this server and these lines.
    pub fn section(&self, lines: &str) -> String {
        format!("[redis]\nurl = \"{}\"\n{lines}\n", self.url())
    }

    /// Starts it, empty, where it was before.
    pub async fn come_back(&self) {
        let mut command = Command::new("redis-server");
        command.arg(self.folder.path().join("redis.conf")).args(&self.arguments);
        match self.port {
            Some(port) => command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]),
            None => command.args(["--port", "0", "--unixsocket", "redis.sock"]),
        };
        let server = command
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        *self.server.lock() = Some(server);
        eventually("Redis answers", async || {
            let client = redis::Client::open(self.url()).unwrap();
            let mut connection = client.get_multiplexed_async_connection().await.ok()?;
            let pong: Result<String, _> = redis::cmd("PING").query_async(&mut connection).await;
            pong.ok()
        })
        .await;
    }

    /// Kills it, with all that it knew.
    pub async fn die(&self) {
        let mut server = self.server.lock().take().expect("it runs");
        server.start_kill().unwrap();
        soon("Redis dies", server.wait()).await.unwrap();
    }

    /// Stops it in its tracks: connections stay, and nothing answers.
    pub async fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub async fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        signal(self.server.lock().as_ref().expect("it runs"), name);
    }

    /// Waits until its replica has everything that was written to it so far: replication is asynchronous, and what a master has
    /// not passed on when it dies is lost.
    pub async fn is_replicated(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connected = client.get_multiplexed_async_connection_with_config(&patient).await;
        let mut connection = connected.expect("it runs");
        // WAIT is about the writes of its own connection; replication has one order, so what came before them is with the replica too.
        let mut both = redis::pipe();
        both.cmd("SET").arg("replicated").arg(1).ignore();
        both.cmd("WAIT").arg(1).arg(PATIENCE.as_millis() as u64);
        let [replicas]: [usize; 1] = soon("the replica has it all", both.query_async(&mut connection))
            .await
            .expect("an answer");
        assert_eq!(replicas, 1, "the replica did not follow");
    }

    /// How many bytes it has sent to all who asked it anything.
    pub async fn sent(&self) -> u64 {
        let info: String = self.ask(&["INFO", "stats"]).await;
        let mut lines = info.lines();
        let sent = lines.find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        sent.expect("it counts").trim().parse().unwrap()
    }

    /// Asks it a command, as any other client would.
    pub async fn ask<T: FromRedisValue>(&self, command: &[impl ToRedisArgs]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connected = client.get_multiplexed_async_connection_with_config(&patient).await;
        let mut connection = connected.expect("it runs");
        let (name, arguments) = command.split_first().expect("a command");
        let mut command = redis::Cmd::new();
        command.arg(name).arg(arguments);
        soon("Redis answers", command.query_async(&mut connection))
            .await
            .expect("an answer")
    }
}

/// Three primaries that share the slots.
pub struct RedisCluster {
    /// Each with a third of the slots.
    pub nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one, and waits until every node finds it whole.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for slots in [["0", "5460"], ["5461", "10922"], ["10923", "16383"]] {
            let bus = free_port().to_string();
            let timeout = ["--cluster-node-timeout", "1000"];
            let arguments = [&["--cluster-enabled", "yes", "--cluster-port", &bus], &timeout[..]].concat();
            let node = Redis::at_a_port(&arguments).await;
            let _: () = node.ask(&[&["CLUSTER", "ADDSLOTSRANGE"], &slots[..]].concat()).await;
            if let Some(first) = nodes.first() {
                let port = node.port().to_string();
                let _: () = Redis::ask(first, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
            }
            nodes.push(node);
        }
        for node in &nodes {
            eventually("the Cluster is whole", async || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).await;
                (info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")).then_some(())
            })
            .await;
        }
        Self { nodes }
    }

    /// As `redis.url` has it.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|node| format!("127.0.0.1:{}", node.port()))
            .collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// Writes a key, wherever it belongs.
    pub async fn set(&self, key: &str, value: &str) {
        let client = redis::cluster::ClusterClient::new(vec![self.nodes[0].url()]).unwrap();
        let mut connection = client.get_async_connection().await.unwrap();
        let set = redis::cmd("SET").arg(key).arg(value).exec_async(&mut connection).await;
        set.expect("it is written");
    }
}

/// A port that nobody has. Below those that the system gives to connections, and from another place in each process: tests are one each.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = u16::try_from(std::process::id() % 600).unwrap() * 20;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
