//! The built binary, with a config, on ports of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::client::{Client, Request, Response};
use super::clock::Clock;
use super::issuer::Issuer;
use super::upstream::Upstream;
use super::{eventually, signal, soon};

/// One route, which lets everybody in to the upstream `up`.
pub const OPEN: &str = "[[routes]]\nname = \"open\"\npaths = [\"/*\"]\nupstream = \"up\"\nauth = \"none\"\n";

const LISTENER: &str = "[[listeners]]\nname = \"public\"\naddress = \"127.0.0.1:0\"\n";
const ADMIN: &str = "[admin]\naddress = \"127.0.0.1:0\"\n";
/// Tests run side by side, and one worker shows as much as many do.
const SERVER: &str = "[server]\nworkers = 1\n";

/// Everybody is let in to this upstream.
pub fn open_to(upstream: &Upstream) -> Setup {
    Gateway::with(OPEN).upstream("up", upstream)
}

/// Everybody is let in to the upstream `up`, by a listener with these lines.
pub fn with_listener(lines: &str) -> Setup {
    Gateway::with(&format!("{LISTENER}{lines}\n{OPEN}"))
}

/// A gateway that is not started yet.
pub struct Setup {
    folder: Arc<TempDir>,
    config: String,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// Adds `[upstreams.NAME]` with this upstream's address.
    pub fn upstream(self, name: &str, upstream: &Upstream) -> Self {
        self.upstream_with(name, upstream.address, "")
    }

    /// Adds `[upstreams.NAME]` with this address and these lines.
    pub fn upstream_with(self, name: &str, address: SocketAddr, lines: &str) -> Self {
        self.and(&format!("[upstreams.{name}]\nurls = [\"http://{address}\"]\n{lines}"))
    }

    /// Adds `[issuers.NAME]` with this issuer's name and keys, for ES256, RS256 and EdDSA.
    pub fn issuer(self, name: &str, issuer: &Issuer) -> Self {
        self.issuer_with(name, issuer, "algorithms = [\"ES256\", \"RS256\", \"EdDSA\"]")
    }

    /// Adds `[issuers.NAME]` with this issuer's name and keys, and these lines.
    pub fn issuer_with(self, name: &str, issuer: &Issuer, lines: &str) -> Self {
        let (iss, url) = (&issuer.name, issuer.jwks_url());
        self.and(&format!(
            "[issuers.{name}]\nissuer = \"{iss}\"\njwks_url = \"{url}\"\n{lines}"
        ))
    }

    /// Adds these sections to the config.
    pub fn and(mut self, sections: &str) -> Self {
        self.config.push('\n');
        self.config.push_str(sections);
        self.config.push('\n');
        self
    }

    /// Puts a file beside the config.
    pub fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        std::fs::write(self.folder.path().join(name), text).unwrap();
        self
    }

    /// Sets a variable of its environment, which is empty otherwise.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets it live by a clock that the test moves.
    pub fn clock(mut self) -> (Self, Clock) {
        let (clock, variables) = Clock::in_folder(self.folder.path());
        self.environment.extend(variables);
        (self, clock)
    }

    /// The whole config.
    pub fn config(&self) -> String {
        let section = |header: &str, text: &'static str| if self.config.contains(header) { "" } else { text };
        let (server, admin) = (section("[server]", SERVER), section("[admin]", ADMIN));
        let listener = section("[[listeners]]", LISTENER);
        format!("{}\n{server}{admin}{listener}", self.config)
    }

    /// Runs a command to its end, with this config.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        soon("the command ends", self.command(arguments).output())
            .await
            .expect("it starts")
    }

    /// The exit code of a command, with this config, and what it wrote to standard output and standard error.
    pub async fn says(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.run(arguments).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        let code = output.status.code().expect("an exit code");
        (code, text(output.stdout), text(output.stderr))
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(self) -> Gateway {
        let gateway = self.begin().await;
        gateway.is_ready().await;
        gateway
    }

    /// Starts it, and waits until it listens: it may not be ready yet.
    pub async fn begin(self) -> Gateway {
        let command = self.command(&["run"]);
        Gateway::spawn(command, self.folder).await
    }

    /// Starts it with this socket as the service manager's only one, under this name (sd_listen_fds(3)).
    pub async fn start_inheriting(self, socket: std::net::TcpListener, name: &str) -> Gateway {
        let gateway = self.command(&["run"]);
        let gateway = gateway.as_std();
        let mut command = Command::new("/bin/sh");
        // Descriptors for the child begin at 3, and it must be told its own process id.
        command
            .arg("-c")
            .arg("export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$0\" \"$@\" 3<&0 0</dev/null")
            .arg(gateway.get_program())
            .args(gateway.get_args())
            .env_clear()
            .env("LISTEN_FDNAMES", name)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(socket)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let gateway = Gateway::spawn(command, self.folder).await;
        gateway.is_ready().await;
        gateway
    }

    fn command(&self, arguments: &[&str]) -> Command {
        std::fs::write(self.folder.path().join("gateway.toml"), self.config()).unwrap();
        let mut command = command(self.folder.path(), arguments);
        command.envs(self.environment.iter().cloned());
        command
    }
}

/// The built binary with the config in this folder, and an empty environment.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    // Long tests are also asked of a release build.
    let binary = std::env::var_os("GATEWAY_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_gateway").into());
    let mut command = Command::new(binary);
    command
        .arg("--config")
        .arg(folder.join("gateway.toml"))
        .args(arguments)
        .env_clear()
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

#[derive(Default)]
struct Log {
    stdout: Mutex<Vec<String>>,
    stderr: Mutex<Vec<String>>,
}

impl Log {
    fn lines(&self) -> Vec<Value> {
        let lines = self.stdout.lock();
        lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    fn events(&self, message: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["message"] == message);
        lines
    }
}

async fn read(pipe: impl AsyncRead + Unpin, log: Arc<Log>, part: fn(&Log) -> &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        part(&log).lock().push(line);
    }
}

/// A gateway that serves; killed when this is dropped.
pub struct Gateway {
    /// Where its first listener, by name, listens.
    pub address: SocketAddr,
    /// Where the admin port is.
    pub admin: SocketAddr,
    /// By name.
    pub listeners: BTreeMap<String, SocketAddr>,
    folder: Arc<TempDir>,
    child: Child,
    log: Arc<Log>,
}

impl Gateway {
    /// With this config. `[server]`, `[admin]` and `[[listeners]]` are added where it has none: one worker, and a listener
    /// named `public` on a free loopback port. `log.level` must let `info` through, in JSON, for it tells the ports.
    pub fn with(config: &str) -> Setup {
        Setup {
            folder: Arc::new(TempDir::new().unwrap()),
            config: config.to_owned(),
            environment: Vec::new(),
        }
    }

    async fn spawn(mut command: Command, folder: Arc<TempDir>) -> Self {
        let mut child = command.spawn().expect("it starts");
        let log = Arc::new(Log::default());
        tokio::spawn(read(child.stdout.take().unwrap(), log.clone(), |log| &log.stdout));
        tokio::spawn(read(child.stderr.take().unwrap(), log.clone(), |log| &log.stderr));
        let child = Mutex::new(child);
        let admin = eventually("\"admin listening\" in the log", async || {
            let admin = log.events("admin listening").into_iter().next();
            if admin.is_none() && child.lock().try_wait().unwrap().is_some() {
                panic!(
                    "it ended: {}{}",
                    log.stderr.lock().join("\n"),
                    log.stdout.lock().join("\n")
                );
            }
            admin
        })
        .await;
        let address_of = |line: &Value| line["address"].as_str().unwrap().parse().unwrap();
        let named = |line: &Value| (line["listener"].as_str().unwrap().to_owned(), address_of(line));
        let listeners: BTreeMap<String, SocketAddr> = log.events("listening").iter().map(named).collect();
        Self {
            address: *listeners.values().next().expect("a listener"),
            listeners,
            admin: address_of(&admin),
            folder,
            child: child.into_inner(),
            log,
        }
    }

    /// Starts another with the same config, which takes over from this one, and waits until it is ready.
    pub async fn successor(&self) -> Self {
        let gateway = Self::spawn(self.command(&["run", "--takeover"]), self.folder.clone()).await;
        gateway.event("took over").await;
        gateway
    }

    /// Sends a request on a connection of its own.
    pub async fn send(&self, request: &Request) -> Response {
        self.client().await.send(request).await
    }

    /// GETs a target without any credential.
    pub async fn get(&self, target: &str) -> Response {
        self.send(&Request::get(target)).await
    }

    /// Sends these bytes on a connection of its own, and reads an answer.
    pub async fn raw(&self, bytes: impl AsRef<[u8]>) -> Response {
        let mut client = self.client().await;
        client.write(bytes).await;
        client.response().await
    }

    /// A connection to the first listener.
    pub async fn client(&self) -> Client {
        Client::of(self.address).await
    }

    /// Asks the admin port.
    pub async fn ask_admin(&self, path: &str) -> Response {
        let request = Request::get(path).header("Connection", "close");
        Client::of(self.admin).await.send(&request).await
    }

    /// Waits until `/readyz` says so.
    pub async fn is_ready(&self) {
        eventually("/readyz says 200", async || {
            (self.ask_admin("/readyz").await.head.status() == 200).then_some(())
        })
        .await;
    }

    /// All metrics.
    pub async fn metrics(&self) -> String {
        String::from_utf8(self.ask_admin("/metrics").await.body).unwrap()
    }

    /// The value of one series, as `name{label="value",…}` with labels in alphabetical order; `None`: it is not there.
    pub async fn metric(&self, series: &str) -> Option<f64> {
        let metrics = self.metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Waits until a series has this value.
    pub async fn metric_becomes(&self, series: &str, value: f64) {
        eventually(&format!("{series} {value}"), async || {
            (self.metric(series).await == Some(value)).then_some(())
        })
        .await;
    }

    /// Waits until nothing is left of any request, here or at the upstream `up`.
    pub async fn holds_nothing(&self) {
        for gauge in [
            "gateway_requests_in_flight",
            "gateway_upstream_in_flight{upstream=\"up\"}",
        ] {
            self.metric_becomes(gauge, 0.0).await;
        }
    }

    /// Everything that it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.log.stdout.lock().join("\n")
    }

    /// Everything that it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.log.stderr.lock().join("\n")
    }

    /// The log's lines so far.
    pub fn lines(&self) -> Vec<Value> {
        self.log.lines()
    }

    /// Waits for a line of the access log.
    pub async fn access_line(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        eventually("the line in the access log", async || {
            self.log.events("request").into_iter().find(|line| is_it(line))
        })
        .await
    }

    /// Waits for the line of the request that went by this id.
    pub async fn access_line_of(&self, response: &Response) -> Value {
        let id = response
            .head
            .first("x-request-id")
            .expect("every answer has one")
            .to_owned();
        self.access_line(|line| line["request_id"] == id.as_str()).await
    }

    /// Waits for an event.
    pub async fn event(&self, message: &str) -> Value {
        eventually(&format!("{message:?} in the log"), async || {
            self.log.events(message).into_iter().next()
        })
        .await
    }

    /// A file beside its config.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file beside its config.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The config that it was started with, or that a test wrote over it.
    pub fn config(&self) -> String {
        std::fs::read_to_string(self.path("gateway.toml")).unwrap()
    }

    /// Runs a command to its end, against this gateway's config.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        soon("the command ends", self.command(arguments).output())
            .await
            .expect("it starts")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        command(self.folder.path(), arguments)
    }

    /// Sends a signal: `TERM`, `INT`, `HUP`.
    pub fn signal(&self, name: &str) {
        signal(&self.child, name);
    }

    /// The memory that it has, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory_by("VmRSS:")
    }

    /// The most memory that it ever had, in bytes.
    pub fn peak_memory(&self) -> u64 {
        self.memory_by("VmHWM:")
    }

    fn memory_by(&self, field: &str) -> u64 {
        let id = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        kib * 1024
    }

    /// Descriptors that it has open.
    pub fn descriptors(&self) -> usize {
        let id = self.child.id().expect("it runs");
        std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }

    /// Whether it still runs.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        soon("the gateway ends", self.child.wait()).await.unwrap()
    }
}

impl Drop for Gateway {
    /// A test that failed because its gateway ended says how that ended.
    fn drop(&mut self) {
        if let (true, Ok(Some(status))) = (std::thread::panicking(), self.child.try_wait()) {
            eprintln!("the gateway ended: {status}\n{}", self.stderr());
        }
    }
}
