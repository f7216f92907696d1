//! An upstream that says exactly what the test has it say, and remembers exactly what it got.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gateway::demo::client::Connection;
use gateway::demo::wire::{Body, Wire};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::{eventually, soon};

/// A request as it stood on the wire.
#[derive(Debug, Clone)]
pub struct Received {
    /// The request line.
    pub line: String,
    /// Names as written and values as they came, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The head, byte for byte.
    pub head: Vec<u8>,
    /// The body, out of its framing; empty if it was not read.
    pub body: Vec<u8>,
}

impl Received {
    /// Every value of a header, whatever the case of its name, in order.
    pub fn all(&self, name: &str) -> Vec<String> {
        let named = self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The one value of a header; `None`: it is not there. Two are a failure.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.all(name);
        assert!(values.len() < 2, "{name} came {} times: {values:?}", values.len());
        values.pop()
    }

    /// Whether no header has this name.
    pub fn lacks(&self, name: &str) -> bool {
        self.all(name).is_empty()
    }

    /// Whether these bytes stand anywhere in the head or the body.
    pub fn has(&self, bytes: impl AsRef<[u8]>) -> bool {
        let bytes = bytes.as_ref();
        memchr::memmem::find(&self.head, bytes).is_some() || memchr::memmem::find(&self.body, bytes).is_some()
    }
}

/// An upstream; it and its connections end when this is dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    received: Mutex<Vec<Received>>,
    connections: watch::Sender<usize>,
}

impl Upstream {
    /// Answers every request with 200 and, as the body, the request as it came.
    pub async fn echo() -> Self {
        Self::answering(|received| {
            let body = [received.head.as_slice(), &received.body].concat();
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n");
            if received.line.starts_with("HEAD ") {
                return head.into_bytes();
            }
            [head.as_bytes(), &body].concat()
        })
        .await
    }

    /// Answers every request with these bytes.
    pub async fn saying(answer: &str) -> Self {
        let answer = answer.to_owned().into_bytes();
        Self::answering(move |_| answer.clone()).await
    }

    /// Answers every request with these bytes, and remembers none: for tests with very many.
    pub async fn forgetting(answer: &str) -> Self {
        let answer = answer.to_owned().into_bytes();
        Self::conversing(move |mut conversation| {
            let answer = answer.clone();
            async move {
                while let Some((_, body)) = conversation.read_head().await {
                    if conversation.connection.rest(body).await.is_err() {
                        return;
                    }
                    conversation.send(&answer).await;
                }
            }
        })
        .await
    }

    /// Answers every request with the bytes that `answer` makes of it.
    pub async fn answering(answer: impl Fn(&Received) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        Self::conversing(move |mut conversation| {
            let answer = answer.clone();
            async move {
                while let Some(received) = conversation.request().await {
                    conversation.send(answer(&received)).await;
                }
            }
        })
        .await
    }

    /// Does with each connection as it is told; dropping the conversation closes it.
    pub async fn conversing<F, Told>(converse: F) -> Self
    where
        F: Fn(Conversation) -> Told + Send + Sync + 'static,
        Told: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let seen = Arc::new(Seen::default());
        let accepting = tokio::spawn(accept(listener, seen.clone(), converse));
        Self {
            address,
            seen,
            accepting,
        }
    }

    /// An address where nobody listens.
    pub async fn nobody() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        listener.local_addr().expect("a bound port")
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Received> {
        self.seen.received.lock().clone()
    }

    /// How many requests it got so far.
    pub fn count(&self) -> usize {
        self.seen.received.lock().len()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Received {
        self.seen.received.lock().last().cloned().expect("a request came")
    }

    /// Waits until so many requests have come.
    pub async fn got(&self, count: usize) {
        eventually(&format!("{count} requests at the upstream"), async || {
            (self.count() >= count).then_some(())
        })
        .await;
    }

    /// Connections that were opened so far.
    pub fn connections(&self) -> usize {
        *self.seen.connections.borrow()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept<F, Told>(listener: TcpListener, seen: Arc<Seen>, converse: F)
where
    F: Fn(Conversation) -> Told + Send + Sync + 'static,
    Told: Future<Output = ()> + Send + 'static,
{
    let mut conversations = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.send_modify(|count| *count += 1);
        stream.set_nodelay(true).expect("an open connection");
        conversations.spawn(converse(Conversation {
            connection: Wire::new(stream),
            seen: seen.clone(),
        }));
    }
}

/// The upstream's side of one connection.
pub struct Conversation {
    /// The connection itself.
    pub connection: Connection,
    seen: Arc<Seen>,
}

impl Conversation {
    /// The next request, whole, and remembered; `None` once the gateway has closed, or broke off.
    pub async fn request(&mut self) -> Option<Received> {
        let (mut received, body) = self.read_head().await?;
        received.body = self.connection.rest(body).await.ok()?;
        self.seen.received.lock().push(received.clone());
        Some(received)
    }

    /// The head of the next request, remembered, and how its body is framed.
    pub async fn head(&mut self) -> Option<(Received, Body)> {
        let (received, body) = self.read_head().await?;
        self.seen.received.lock().push(received.clone());
        Some((received, body))
    }

    async fn read_head(&mut self) -> Option<(Received, Body)> {
        let head = self.connection.head().await.ok()??;
        let body = head.request_body().expect("the gateway frames bodies soundly");
        Some((received(head.line.clone(), &head.bytes), body))
    }

    /// Sends these bytes; that nobody reads them any more is no failure.
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _: io::Result<()> = self.connection.send(bytes.as_ref()).await;
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(self.connection.stream())
            .set_linger(Some(Duration::ZERO))
            .expect("an open connection");
    }

    /// Waits until the gateway closes this connection.
    pub async fn closed(&mut self) {
        soon("the gateway closes its connection", self.connection.is_closed())
            .await
            .ok();
    }
}

fn received(line: String, head: &[u8]) -> Received {
    let lines = head.split(|byte| *byte == b'\n').skip(1);
    let headers = lines.filter_map(|line| {
        let colon = memchr::memchr(b':', line)?;
        let name = String::from_utf8_lossy(&line[..colon]).into_owned();
        Some((name, line[colon + 1..].trim_ascii().to_vec()))
    });
    Received {
        line,
        headers: headers.collect(),
        head: head.to_vec(),
        body: Vec::new(),
    }
}

/// A door that a test opens when it is time.
#[derive(Clone)]
pub struct Gate(watch::Sender<bool>);

impl Gate {
    /// Shut.
    pub fn shut() -> Self {
        Self(watch::Sender::new(false))
    }

    /// Lets all pass, from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        let open = async { self.0.subscribe().wait_for(|open| *open).await.map(drop) };
        soon("the gate opens", open).await.expect("the gate is there");
    }
}
