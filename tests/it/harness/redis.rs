//! A real Redis that a test holds in its hand: started, killed, stopped in its tracks, and asked.

use std::path::PathBuf;
use std::process::Stdio;

use parking_lot::Mutex;
use redis::{FromRedisValue, ToRedisArgs};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{eventually, soon};

/// A server that is empty when it starts, and ends when this is dropped.
pub struct Redis {
    folder: TempDir,
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
        Self {
            folder: TempDir::new().unwrap(),
            server: Mutex::new(None),
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// As `redis.url` has it: a socket of its own, which no other test can take while the server is away.
    pub fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// `[redis]` with this server and these lines.
    pub fn section(&self, lines: &str) -> String {
        format!("[redis]\nurl = \"{}\"\n{lines}\n", self.url())
    }

    /// Starts it, empty, where it was before.
    pub async fn come_back(&self) {
        let server = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
            .arg(self.socket())
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
        self.signal("STOP").await;
    }

    /// Lets it go on.
    pub async fn thaw(&self) {
        self.signal("CONT").await;
    }

    async fn signal(&self, name: &str) {
        let id = self.server.lock().as_ref().and_then(Child::id).expect("it runs");
        let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status().await;
        assert!(sent.expect("kill(1)").success());
    }

    /// Asks it a command, as any other client would.
    pub async fn ask<T: FromRedisValue>(&self, command: &[impl ToRedisArgs]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.expect("it runs");
        let (name, arguments) = command.split_first().expect("a command");
        let mut command = redis::Cmd::new();
        command.arg(name).arg(arguments);
        soon("Redis answers", command.query_async(&mut connection))
            .await
            .expect("an answer")
    }
}
