//! A client that sends exactly the bytes that it is told to, as a stranger would, and shows the same request as a `curl` line.
//! Over [`wire`](super::wire); it knows nothing of the gateway.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::wire::{Head, Wire};

/// A connection to somebody.
pub type Connection = Wire<TcpStream>;

/// A request as it will stand on the wire, but for `Host` and `Content-Length`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// Header fields in order, as written.
    pub headers: Vec<(String, String)>,
    /// The body; `Content-Length` is added unless a header frames it.
    pub body: String,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: String::new(),
        }
    }

    /// The usual one.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// One header more.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `Authorization: Bearer` (RFC 6750 §2.1).
    pub fn bearer(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// `Authorization: Basic` (RFC 7617).
    pub fn basic(self, user: &str, password: &str) -> Self {
        let pair = STANDARD.encode(format!("{user}:{password}"));
        self.header("Authorization", &format!("Basic {pair}"))
    }

    /// A body.
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    /// The bytes.
    pub fn bytes(&self, host: impl Display) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = |name: &str| {
            matches!(
                name.to_ascii_lowercase().as_str(),
                "content-length" | "transfer-encoding"
            )
        };
        if !self.body.is_empty() && !self.headers.iter().any(|(name, _)| framed(name)) {
            text.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }

    /// Its URL, for a shell.
    pub fn url(&self, host: SocketAddr) -> String {
        quoted(&format!("http://{host}{}", self.target))
    }

    /// The same request for a shell.
    pub fn curl(&self, host: SocketAddr) -> String {
        let mut line = String::from("curl -si");
        // -d makes it a POST.
        let usual = if self.body.is_empty() { "GET" } else { "POST" };
        if self.method != usual {
            line.push_str(&format!(" -X {}", self.method));
        }
        // curl would tidy such a path before it sends it.
        if self.target.contains("..") || self.target.contains('%') {
            line.push_str(" --path-as-is");
        }
        if self.target.contains("/events") || self.body.contains("\"stream\"") {
            line.push_str(" -N");
        }
        line.push_str(&format!(" {}", self.url(host)));
        for (name, value) in &self.headers {
            let basic = value.strip_prefix("Basic ").and_then(|pair| STANDARD.decode(pair).ok());
            match basic.map(String::from_utf8) {
                Some(Ok(pair)) => line.push_str(&format!(" -u {}", quoted(&pair))),
                // A header without a value needs a semicolon, else curl takes it for one to leave out.
                _ if value.is_empty() => line.push_str(&format!(" -H {}", quoted(&format!("{name};")))),
                _ => line.push_str(&format!(" -H {}", quoted(&format!("{name}: {value}")))),
            }
        }
        if !self.body.is_empty() {
            line.push_str(&format!(" -d {}", quoted(&self.body)));
        }
        line
    }
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/:._-%".contains(c);
    if text.chars().all(plain) {
        return text.to_owned();
    }
    if text.contains(char::is_control) {
        return format!("$'{}'", text.escape_default());
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// Status line and headers.
    pub head: Head,
    /// The body, out of its framing.
    pub body: Vec<u8>,
}

impl Response {
    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Opens a connection.
///
/// # Errors
/// Nobody listens there.
pub async fn connect(to: SocketAddr) -> io::Result<Connection> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(Wire::new(stream))
}

/// Sends a request on a connection of its own and reads the whole answer.
///
/// # Errors
/// The connection's, or an answer that is cut off.
pub async fn send(to: SocketAddr, request: &Request) -> io::Result<Response> {
    let mut connection = connect(to).await?;
    connection.send(&request.bytes(to)).await?;
    receive(&mut connection).await
}

/// Reads one whole answer.
///
/// # Errors
/// The connection's, or an answer that is cut off.
pub async fn receive<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Wire<S>) -> io::Result<Response> {
    let head = receive_head(connection).await?;
    let body = connection.rest(head.response_body()?).await?;
    Ok(Response { head, body })
}

/// Reads the head of an answer, past interim ones (RFC 9110 §15.2) other than 101.
///
/// # Errors
/// The connection's, or none came.
pub async fn receive_head<S: AsyncRead + AsyncWrite + Unpin>(connection: &mut Wire<S>) -> io::Result<Head> {
    loop {
        let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection closed without an answer");
        let head = connection.head().await?.ok_or_else(closed)?;
        if !matches!(head.status(), 100 | 102..=199) {
            return Ok(head);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 80))
    }

    #[test]
    fn the_bytes_are_those_that_were_asked_for() {
        let request = Request::new("POST", "/a?b")
            .header("x-A", "1")
            .header("x-A", "2")
            .body("hi");
        let bytes = "POST /a?b HTTP/1.1\r\nHost: 127.0.0.1:80\r\nx-A: 1\r\nx-A: 2\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(request.bytes(host()), bytes.as_bytes());
    }

    #[test]
    fn a_request_reads_as_the_curl_line_that_sends_it() {
        let request = Request::new("POST", "/a")
            .basic("u", "p")
            .header("Empty", "")
            .body("it's");
        let line = r"curl -si http://127.0.0.1:80/a -u u:p -H 'Empty;' -d 'it'\''s'";
        assert_eq!(request.curl(host()), line);
    }
}
