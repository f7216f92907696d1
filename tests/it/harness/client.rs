//! A stranger at the gateway's door. The bytes are the demo's own client's; here are patience and what tests ask of answers.

use std::net::SocketAddr;
use std::time::Duration;

use gateway::demo::client::{self, Connection};
pub use gateway::demo::client::{Request, Response};
use gateway::demo::wire::Head;

use tokio::net::TcpStream;

use super::soon;

/// One connection of a client.
pub struct Client {
    /// The address that it talks to.
    pub to: SocketAddr,
    /// The connection itself.
    pub connection: Connection,
}

impl Client {
    /// Connects.
    pub async fn of(to: SocketAddr) -> Self {
        let connection = soon("a connection", client::connect(to))
            .await
            .expect("somebody listens");
        Self { to, connection }
    }

    /// On a connection that is open already.
    pub fn over(to: SocketAddr, stream: TcpStream) -> Self {
        Self {
            to,
            connection: Connection::new(stream),
        }
    }

    /// Sends a request and reads the whole answer.
    pub async fn send(&mut self, request: &Request) -> Response {
        self.write(&request.bytes(self.to)).await;
        if request.method == "HEAD" {
            let head = self.head().await;
            return Response { head, body: Vec::new() };
        }
        self.response().await
    }

    /// Sends exactly these bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.connection.send(bytes.as_ref()).await.expect("the gateway reads");
    }

    /// Reads one whole answer.
    pub async fn response(&mut self) -> Response {
        soon("an answer", client::receive(&mut self.connection))
            .await
            .expect("a whole answer")
    }

    /// Reads the head of an answer.
    pub async fn head(&mut self) -> Head {
        soon("the head of an answer", client::receive_head(&mut self.connection))
            .await
            .expect("a whole head")
    }

    /// Exactly so many bytes of what comes.
    pub async fn exactly(&mut self, count: usize) -> Vec<u8> {
        soon("bytes", self.connection.exactly(count))
            .await
            .expect("not cut off")
            .to_vec()
    }

    /// Everything until the gateway closes, raw.
    pub async fn until_close(&mut self) -> Vec<u8> {
        soon("the end", self.connection.rest(gateway::demo::wire::Body::UntilClose))
            .await
            .unwrap_or_default()
    }

    /// Says that nothing more will be sent.
    pub async fn half_close(&mut self) {
        self.connection.finish().await.expect("an open connection");
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.connection.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("an open connection");
    }

    /// Waits until the gateway has closed; fails if it says anything before.
    pub async fn is_closed(&mut self) {
        let closed = soon("the gateway closes", self.connection.is_closed()).await;
        assert!(closed.expect("a close or a reset"), "it said something more");
    }
}

/// A request with an API key, to a path below `/keys/`.
pub fn with_key(key: &str) -> Request {
    Request::get("/keys/x").header("X-API-Key", key)
}

/// What the named limit has left, as announced.
pub fn left(response: &Response, limit: &str) -> Option<u64> {
    let announced = response.head.first("ratelimit")?;
    let item = announced
        .split(", ")
        .find_map(|item| item.strip_prefix(&format!("\"{limit}\";r=")))?;
    item.split(';').next()?.parse().ok()
}

/// Its status.
pub fn status(response: &Response) -> u16 {
    response.head.status()
}

/// Holds an answer against what the contract says of every answer of the gateway's own, and against this status and code.
#[track_caller]
pub fn refused(response: &Response, status: u16, code: &str) {
    let body = response.json();
    assert_eq!(
        (response.head.status(), body["error"].as_str()),
        (status, Some(code)),
        "{:?} {body}",
        response.head
    );
    let one = |name| {
        let values: Vec<_> = response.head.all(name).collect();
        assert_eq!(values.len(), 1, "{name} of {:?}", response.head);
        values[0].to_owned()
    };
    assert_eq!(one("content-type"), "application/json");
    assert_eq!(one("cache-control"), "no-store");
    assert_eq!(body["request_id"], one("x-request-id"));
    assert!(!one("date").is_empty());
    assert!(
        body["error_description"].as_str().is_some_and(|text| !text.is_empty()),
        "{body}"
    );
    assert_eq!(body.as_object().expect("an object").len(), 3, "{body}");
}
