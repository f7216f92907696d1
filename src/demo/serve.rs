//! A small HTTP/1.1 server on a free loopback port: what every part of the demo answers with. Over [`wire`](super::wire).

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::wire::{Body, Head, Wire};

/// A running server; it and its connections end when this is dropped.
#[derive(Debug)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request whose body is still on the wire.
#[derive(Debug)]
pub struct Request {
    /// The method, as sent.
    pub method: String,
    /// The target's path, as sent.
    pub path: String,
    /// What follows its `?`; empty if there is none.
    pub query: String,
    /// The whole head.
    pub head: Head,
    /// What is to be read.
    pub body: Body,
}

impl Request {
    /// The value of a query parameter, as sent.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// What a site did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Request and answer ended cleanly: the connection takes another.
    Next,
    /// The connection is used up.
    Close,
}

/// Something that answers requests.
pub trait Site: Send + Sync + 'static {
    /// Reads the request's body and writes the whole answer.
    fn answer(&self, request: Request, wire: &mut Wire<TcpStream>) -> impl Future<Output = io::Result<After>> + Send;
}

/// Starts a site on a free loopback port; the site is made when the port is known.
///
/// # Errors
/// No port could be had.
pub async fn serve<S: Site>(site: impl FnOnce(SocketAddr) -> S) -> io::Result<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let site = Arc::new(site(address));
    let accepting = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            while connections.try_join_next().is_some() {}
            connections.spawn(converse(Arc::clone(&site), stream));
        }
    });
    Ok(Server { address, accepting })
}

/// Answers one request after another. Whatever goes wrong ends the connection: the gateway is the one to tell of it.
async fn converse(site: Arc<impl Site>, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await? {
        let mut line = head.line.split(' ');
        let method = line.next().unwrap_or_default().to_owned();
        let target = line.next().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let body = head.request_body()?;
        let last = head.has_token("connection", "close");
        if head.first("expect").is_some() {
            wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let request = Request {
            method,
            path,
            query,
            head,
            body,
        };
        if site.answer(request, &mut wire).await? == After::Close || last {
            break;
        }
    }
    Ok(())
}

/// Writes an answer with a JSON body, indented, for people read it too.
///
/// # Errors
/// The connection's.
pub async fn json(wire: &mut Wire<TcpStream>, status: &str, body: &Value) -> io::Result<After> {
    let body = format!("{body:#}\n");
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    wire.send(format!("{head}{body}").as_bytes()).await?;
    Ok(After::Next)
}

/// Begins an answer that streams server-sent events as chunks.
///
/// # Errors
/// The connection's.
pub async fn begin_events(wire: &mut Wire<TcpStream>) -> io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    wire.send(head.as_bytes()).await
}
