//! One client's HTTP/1 connection from request to request: read, handled, answered, and the end when the gateway drains.
//!
//! All of it is one task: while a request is handled, its body, its upstream and its client are polled from here.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderValue, Response};
use http_body::Body;
use parking_lot::Mutex;

use crate::config::model::HeaderCase;
use crate::policy::facts::Transport;
use crate::policy::headers::address_value;
use crate::policy::hop_by_hop::upgrade_of;
use crate::protocol::downstream::{After, Arrival, Downstream, RequestStream};
use crate::protocol::give_back_map;
use crate::protocol::stream::Stream;
use crate::protocol::turn::{in_turn, poll_in_turn};
use crate::runtime::gateway::Phase;
use crate::runtime::request_body::ClientBody;

use super::forward::Outgoing;
use super::handler;
use super::response_body::ResponseBody;
use super::upgrade::Upgrade;
use super::worker::{Admitted, Worker};

/// What the requests of one connection share.
pub struct Client {
    /// The worker.
    pub worker: Arc<Worker>,
    /// Its place at the listener, kept while it is open.
    pub admitted: Admitted,
    /// The peer's address, ready for `X-Forwarded-For`.
    pub peer_value: HeaderValue,
    /// `None`: plain.
    pub tls: Option<Tls>,
}

/// What a TLS handshake told.
pub struct Tls {
    /// The host that the client asked for, lower case.
    pub server_name: Option<Box<str>>,
    /// Whether it was asked for a certificate.
    pub client_certificates: bool,
}

impl Client {
    /// Of a connection that was let in.
    #[must_use]
    pub fn new(worker: Arc<Worker>, admitted: Admitted, tls: Option<Tls>) -> Self {
        Self {
            peer_value: address_value(admitted.peer),
            worker,
            admitted,
            tls,
        }
    }

    /// What its requests come over.
    #[must_use]
    pub fn transport(&self) -> Transport<'_> {
        match &self.tls {
            None => Transport::Plain,
            Some(tls) => Transport::Tls {
                server_name: tls.server_name.as_deref(),
                client_certificates: tls.client_certificates,
            },
        }
    }
}

/// Serves one connection to its end; `ahead` was read of it before.
pub async fn serve(worker: Arc<Worker>, admitted: Admitted, tls: Option<Tls>, stream: Stream, ahead: Vec<u8>) {
    let gateway = worker.gateway.clone();
    let preserve = gateway.snapshot().config.server.header_case == HeaderCase::Preserve;
    let connection = Downstream::new(stream, &ahead, admitted.listener.head_limits(), preserve);
    let connection = Arc::new(Mutex::new(connection));
    drop(ahead);
    let client = Arc::new(Client::new(worker, admitted, tls));
    let mut draining = pin!(gateway.reached(Phase::Draining));
    let mut drains = false;
    loop {
        let arrival = std::future::poll_fn(|cx| {
            let arrived = connection.lock().poll_arrival(cx, drains);
            if arrived.is_ready() || drains || draining.as_mut().poll(cx).is_pending() {
                return arrived;
            }
            drains = true;
            connection.lock().poll_arrival(cx, drains)
        });
        let Some(arrival) = arrival.await else { break };
        // Once all are read that have come.
        in_turn().await;
        let refusal = arrival.refusal;
        let answered = {
            let handling = pin!(handler::answer(&client, outgoing(&connection, arrival), refusal, None));
            unless_gone(&connection, handling).await
        };
        let Some(response) = answered else { return };
        let last = drains || gateway.has_reached(Phase::Draining);
        match Writing::begin(&connection, response, last).end(&connection).await {
            Some(Answered::Last) => break,
            Some(Answered::Whole) => {}
            Some(Answered::Tunnel(body)) => {
                let alone = Arc::into_inner(connection).map(Mutex::into_inner);
                if let Some(((tunnel, record), connection)) = body.into_tunnel().zip(alone) {
                    let (stream, ahead) = connection.into_tunnel();
                    // A task of its own: this one has room for a whole request, which no socket of hours shall keep.
                    let open = gateway.connected();
                    tokio::spawn(async move {
                        tunnel.run(stream, ahead, record).await;
                        drop(open);
                    });
                }
                return;
            }
            None => return,
        }
    }
    std::future::poll_fn(|cx| connection.lock().poll_close(cx)).await;
}

/// One box, handed on: as a value it would be copied into every future on its way, and enlarge each connection.
fn outgoing(connection: &Arc<Mutex<Downstream>>, arrival: Arrival) -> Box<Outgoing> {
    let Arrival {
        request,
        spelling,
        body,
        ..
    } = arrival;
    let (head, ()) = request.into_parts();
    let upgrade = upgrade_of(head.version, &head.method, &head.headers);
    let body = body.map_or(ClientBody::Empty, |length| {
        ClientBody::Http1(RequestStream::new(connection.clone(), length))
    });
    Box::new(Outgoing {
        head,
        body,
        spelling,
        upgrade: upgrade.map(Upgrade::new),
    })
}

/// Handles a request; `None`: the client went away meanwhile, and the handling was dropped.
async fn unless_gone<T>(connection: &Mutex<Downstream>, mut handling: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|cx| match poll_in_turn(handling.as_mut(), cx) {
        (Poll::Ready(handled), _) => Poll::Ready(Some(handled)),
        (Poll::Pending, true) => Poll::Pending,
        (Poll::Pending, false) => connection.lock().poll_gone(cx).map(|()| None),
    })
    .await
}

/// What follows an answer.
enum Answered {
    /// The next request.
    Whole,
    /// Nothing.
    Last,
    /// A tunnel. Boxed: it is rare, and all the others would pay for its size.
    Tunnel(Box<ResponseBody>),
}

/// A response on its way out.
struct Writing {
    body: ResponseBody,
    /// All of it is with the connection.
    ended: bool,
}

impl Writing {
    /// The answer's head is ready to be written.
    fn begin(connection: &Mutex<Downstream>, response: Response<ResponseBody>, last: bool) -> Self {
        let (head, body) = response.into_parts();
        connection
            .lock()
            .answer(&head, body.spelling(), body.size_hint().exact(), last);
        give_back_map(head.headers);
        Self { body, ended: false }
    }

    /// Writes it all; `None`: it was cut off, the client's doing or the upstream's, and the connection is to be dropped.
    async fn end(mut self, connection: &Mutex<Downstream>) -> Option<Answered> {
        in_turn().await;
        std::future::poll_fn(|cx| self.poll(connection, cx)).await?;
        if self.body.is_tunnel() {
            return Some(Answered::Tunnel(Box::new(self.body)));
        }
        // The exchange is over: it is recorded, and its upstream's connection kept, before the next one is read.
        drop(self.body);
        let after = std::future::poll_fn(|cx| Poll::Ready(connection.lock().after(cx))).await;
        Some(match after {
            After::Next => Answered::Whole,
            After::Close => Answered::Last,
        })
    }

    /// Ready when all is out; `None`: it never will be.
    fn poll(&mut self, connection: &Mutex<Downstream>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        loop {
            let waits = match self.poll_load(connection, cx) {
                Poll::Ready(Some(())) => false,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => true,
            };
            let flushed = connection.lock().poll_flush(cx);
            match flushed {
                Poll::Ready(Ok(())) if self.ended => return Poll::Ready(Some(())),
                Poll::Ready(Ok(())) if waits => return connection.lock().poll_gone(cx).map(|()| None),
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_gone)) => return Poll::Ready(None),
                Poll::Pending => {
                    self.body.poll_upload(cx);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Takes what the body has, as far as there is room for it. Ready: there is no more, or no room; `None`: it broke off.
    fn poll_load(&mut self, connection: &Mutex<Downstream>, cx: &mut Context<'_>) -> Poll<Option<()>> {
        while !self.ended && connection.lock().has_room() {
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return Poll::Pending;
            };
            let mut connection = connection.lock();
            let framed = match frame {
                None => {
                    self.ended = true;
                    connection.finish(None)
                }
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => connection.push(data),
                    Err(frame) => {
                        self.ended = true;
                        connection.finish(frame.trailers_ref())
                    }
                },
                Some(Err(_)) => {
                    // What came before goes out, as far as it can go at once: the client may use it, and sees that it is cut.
                    let _ = connection.poll_flush(cx);
                    return Poll::Ready(None);
                }
            };
            if framed.is_err() {
                return Poll::Ready(None);
            }
        }
        Poll::Ready(Some(()))
    }
}
