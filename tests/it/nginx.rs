//! Switching over: an nginx file of the kind that platforms have (`tests/nginx/platform.conf`) and the `gateway.toml` that says the
//! same (`tests/nginx/gateway.toml`). A real nginx and the gateway stand before the same upstreams and are asked the same questions.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::{Child, Command};

use gateway::demo::client::Response;
use gateway::demo::wire::Wire;

use crate::harness::{Client, Conversation, Gateway, Request, Upstream, eventually, soon};

const NGINX: &str = include_str!("../nginx/platform.conf");
const GATEWAY: &str = include_str!("../nginx/gateway.toml");
const HOST: &str = "api.platform.test";

/// Upstreams in the order of their ports in both files, from 8101.
const UPSTREAMS: [&str; 5] = ["auth", "swarm", "mlflow", "llm", "docs"];

/// Headers that clients see and act upon.
const COMPARED: [&str; 7] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "content-security-policy",
    "content-type",
    "set-cookie",
    "x-frame-options",
    "x-powered-by",
];

/// `METHOD TARGET`, then ` Name: value` of headers behind `|`, then a body behind `>`.
const QUESTIONS: &[&str] = &[
    "GET /health",
    "HEAD /health",
    "GET /lb",
    "GET /robots.txt",
    "GET /favicon.ico",
    "GET /",
    "GET /docs",
    "GET /mlflow",
    "GET /old-docs/guide/a%20b?page=2",
    "POST /old-docs/guide",
    "GET /login?next=%2Fapp",
    "GET /login",
    "GET /legacy/x.php",
    "GET /metrics",
    "GET /status.json",
    "GET /nowhere",
    "GET /healthy",
    "GET /auth/userinfo?x=1",
    "GET /auth/",
    "GET /auth/a%20b/c",
    "POST /auth/token > grant_type=password",
    "GET /auth/token",
    "GET /auth/admin/users",
    "DELETE /auth/admin/users",
    "GET /auth/redirect-own",
    "GET /oauth2/authorize?client_id=a&state=b",
    "GET /oauth2/redirect-own",
    "GET /oauth2/redirect-path",
    "GET /oauth2/redirect-elsewhere",
    "GET /.well-known/openid-configuration",
    "GET /.well-known/other",
    "POST /api/v1/chat/completions | Content-Type: application/json > {}",
    "GET /api/v1/chat/redirect-own",
    "GET /api/v1/swarm/agents/7?verbose",
    "GET /api/v1/swarm/redirect-swarm",
    "PUT /api/v1/swarm/agents/7 > on",
    "GET /api/v1/orgs/acme/tasks?state=open",
    "GET /api/v1/orgs/acme/tasks",
    "GET /api/v1/orgs/acme/other",
    "GET /api/v2/models",
    "GET /api/v2/",
    "GET /api/v3/models",
    "GET /events/stream",
    "GET /internal/jobs",
    "GET /service/jobs",
    "GET /service/jobs | X-Internal-Auth: wrong-secret",
    "GET /service/jobs | X-Internal-Auth: the-platforms-own-secret",
    "GET /mlflow/",
    "GET /mlflow/static/app.js",
    "GET /mlflow/redirect-own",
    "GET /mlflow/redirect-path",
    "POST /api/2.0/mlflow/runs/create > {\"a\":1}",
    "POST /api/2.0/mlflow/runs/create > longer than sixteen bytes",
    "PUT /api/2.0/mlflow-artifacts/a/b > longer than sixteen bytes",
    "POST /v1/chat/completions | Authorization: Bearer of-the-client > {}",
    "GET /v1/models | Authorization: Bearer of-the-client",
    "HEAD /v1/models",
    "POST /v1/models",
    "GET /app/index.html",
    "GET /app/redirect-own",
    "GET /docs/guide",
    "GET /public/feed | Origin: https://app.platform.test",
    "GET /public/feed | Origin: https://evil.test",
    "GET /public/feed",
    "OPTIONS /public/feed | Origin: https://app.platform.test | Access-Control-Request-Method: POST",
    "OPTIONS /public/feed | Origin: https://evil.test | Access-Control-Request-Method: POST",
    "GET /x?y | Host: www.old.platform.test",
    "GET / | Host: old.platform.test",
    "GET /health | Host: elsewhere.test",
    "GET /health | Host: API.Platform.Test:8100",
];

#[tokio::test]
async fn switching_over_from_nginx_changes_no_answer() {
    let mut upstreams = Vec::new();
    for name in UPSTREAMS {
        upstreams.push(Upstream::conversing(move |conversation| serve(name, conversation)).await);
    }
    let nginx = Nginx::start(&upstreams).await;
    let config = ports(GATEWAY, &upstreams, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let gateway = Gateway::with(&config).start().await;
    let mut wrong = Vec::new();
    for question in QUESTIONS {
        let theirs = ask(nginx.address, question, Ipv4Addr::LOCALHOST).await;
        let ours = ask(gateway.address, question, Ipv4Addr::LOCALHOST).await;
        if theirs != ours {
            wrong.push(format!("{question}\n  nginx    {theirs:?}\n  gateway  {ours:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} answers differ:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let inside = Ipv4Addr::new(127, 0, 0, 2);
    let theirs = ask(nginx.address, "GET /internal/jobs", inside).await;
    assert_eq!(theirs.status, 200);
    assert_eq!(ask(gateway.address, "GET /internal/jobs", inside).await, theirs);
    for address in [nginx.address, gateway.address] {
        speaks_through_a_socket(address).await;
    }
}

#[test]
fn there_are_enough_locations_to_be_a_platform() {
    assert!(NGINX.matches("location ").count() >= 30);
}

/// What a client sees.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    status: u16,
    /// Without our own authority.
    location: Option<String>,
    headers: Vec<(&'static str, String)>,
    body: String,
}

async fn ask(to: SocketAddr, question: &str, from: Ipv4Addr) -> Seen {
    let (head, body) = question.split_once(" > ").unwrap_or((question, ""));
    let mut parts = head.split(" | ");
    let (method, target) = parts.next().unwrap().split_once(' ').unwrap();
    let lines: Vec<&str> = parts.collect();
    let mut text = format!("{method} {target} HTTP/1.1\r\n");
    if !lines.iter().any(|line| line.starts_with("Host: ")) {
        text.push_str(&format!("Host: {HOST}\r\n"));
    }
    for line in lines {
        text.push_str(&format!("{line}\r\n"));
    }
    if !body.is_empty() {
        text.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    text.push_str(&format!("\r\n{body}"));
    let mut client = client_at(from, to).await;
    client.write(text).await;
    let response = if method == "HEAD" {
        let head = client.head().await;
        Response { head, body: Vec::new() }
    } else {
        client.response().await
    };
    seen(&response)
}

/// Refusals and redirects are told by their status and where they lead; each server has its own words for people.
fn seen(response: &Response) -> Seen {
    let status = response.head.status();
    let forwarded = status < 300;
    let location = response.head.first("location").map(|location| {
        let own = location.strip_prefix(&format!("http://{HOST}"));
        own.unwrap_or(location).to_owned()
    });
    let headers = COMPARED.iter().flat_map(|name| {
        let values = response.head.all(name);
        values.map(|value| (*name, value.to_owned())).collect::<Vec<_>>()
    });
    Seen {
        status,
        location,
        headers: headers
            .filter(|(name, _)| forwarded || *name != "content-type")
            .collect(),
        body: if forwarded {
            String::from_utf8_lossy(&response.body).into_owned()
        } else {
            String::new()
        },
    }
}

async fn client_at(from: Ipv4Addr, to: SocketAddr) -> Client {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((from, 0))).unwrap();
    let stream = soon("a connection", socket.connect(to))
        .await
        .expect("somebody listens");
    Client {
        to,
        connection: Wire::new(stream),
    }
}

async fn speaks_through_a_socket(to: SocketAddr) {
    let mut client = Client::of(to).await;
    let request = Request::get("/ws/room")
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("Sec-WebSocket-Version", "13");
    let bytes = request.bytes(to);
    let text = String::from_utf8(bytes)
        .unwrap()
        .replace(&format!("Host: {to}"), &format!("Host: {HOST}"));
    client.write(text).await;
    assert_eq!(client.head().await.status(), 101, "{to}");
    client.write("ping").await;
    assert_eq!(client.exactly(4).await, b"PING");
}

/// An upstream that says what it got, redirects where it is told to, and speaks through sockets.
async fn serve(name: &'static str, mut conversation: Conversation) {
    while let Some(received) = conversation.request().await {
        let target = received.line.split(' ').nth(1).unwrap().to_owned();
        let header = |name: &str| received.header(name).unwrap_or_else(|| "-".to_owned());
        if received.header("upgrade").is_some() {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            conversation.send(head).await;
            let Ok(said) = conversation.connection.exactly(4).await else {
                return;
            };
            let loud = said.to_ascii_uppercase();
            conversation.send(loud).await;
            return;
        }
        let location = match target.rsplit('/').next().unwrap() {
            "redirect-own" => Some(format!("http://{}/there?x=1", header("host"))),
            "redirect-swarm" => Some(format!("http://{}/internal/swarm/there", header("host"))),
            "redirect-path" => Some("/there".to_owned()),
            "redirect-elsewhere" => Some("https://elsewhere.test/there".to_owned()),
            _ => None,
        };
        if let Some(location) = location {
            let answer = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            conversation.send(answer).await;
            continue;
        }
        let host = header("host");
        let body = format!(
            "{name} {target} prefix={} authorization={} user={} host={} body={}",
            header("x-forwarded-prefix"),
            header("authorization"),
            header("x-user-id"),
            if host == HOST { HOST } else { "own" },
            String::from_utf8_lossy(&received.body),
        );
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nX-Powered-By: {name}\r\nSet-Cookie: a=b; Path=/\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        let is_head = received.line.starts_with("HEAD ");
        conversation.send(if is_head { head } else { head + &body }).await;
    }
}

/// The file with the ports of this run.
fn ports(file: &str, upstreams: &[Upstream], own: SocketAddr) -> String {
    let upstreams = upstreams.iter().zip(8101..);
    let file = file.replace("127.0.0.1:8100", &own.to_string());
    upstreams.fold(file, |file, (upstream, port)| {
        file.replace(&format!("127.0.0.1:{port}"), &upstream.address.to_string())
    })
}

/// A real nginx; killed when this is dropped.
struct Nginx {
    address: SocketAddr,
    _process: Child,
    _folder: TempDir,
}

impl Nginx {
    async fn start(upstreams: &[Upstream]) -> Self {
        // nginx binds by itself: the port is free, and was nobody's a moment ago.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("nginx.conf"), ports(NGINX, upstreams, address)).unwrap();
        let process = Command::new("nginx")
            .arg("-p")
            .arg(folder.path())
            // One process, that ends with the test.
            .args(["-c", "nginx.conf", "-e", "stderr", "-g", "master_process off;"])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("nginx is installed: .ci/test sees to it");
        eventually("nginx listens", async || TcpStream::connect(address).await.ok()).await;
        Self {
            address,
            _process: process,
            _folder: folder,
        }
    }
}
