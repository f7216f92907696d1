//! Plays a case over sockets. Depends on `client` and on `case` alone.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};

use super::case::{Addresses, Exchange, Play, refusal};
use super::expect::{Expect, Wrong, is};
use crate::demo::client::{self, Connection, Request};
use crate::demo::tokens::random_text;
use crate::demo::upstreams::echo::hex;
use crate::demo::websocket::{self, Frame, opcode};

/// How long a case may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Pieces of the upload.
const UPLOAD_PIECES: usize = 128;
/// Bytes of each.
const UPLOAD_PIECE: usize = 64 * 1024;
/// Wrong secrets in a row before the gateway must have had enough.
const GUESSES: usize = 60;

/// Plays a case to its end, within `patience`.
///
/// # Errors
/// What was expected, and what came instead.
pub async fn play(play: &Play, addresses: &Addresses, patience: Duration) -> Result<(), Wrong> {
    let gateway = addresses.gateway;
    let playing = async {
        match play {
            Play::Exchanges {
                with,
                exchanges,
                closed,
            } => exchange(addresses.of(*with), exchanges, *closed).await,
            Play::Stream {
                request,
                acknowledge,
                pieces,
                last,
            } => stream(gateway, request, acknowledge, pieces, last).await,
            Play::Socket(request) => socket(gateway, request).await,
            Play::Upload { request, arrived } => upload(gateway, request, arrived).await,
            Play::Guesses { guess, known } => guesses(gateway, guess, known).await,
        }
    };
    match tokio::time::timeout(patience, playing).await {
        Ok(result) => result,
        Err(_) => Err(Wrong::new(format!("an end within {} s", patience.as_secs()), "none")),
    }
}

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Self {
        Self::new("an answer", error.to_string())
    }
}

async fn exchange(to: SocketAddr, exchanges: &[Exchange], closed: bool) -> Result<(), Wrong> {
    let mut connection = client::connect(to).await?;
    for Exchange { request, expect } in exchanges {
        connection.send(&request.bytes(to)).await?;
        let answer = client::receive(&mut connection).await?;
        expect.iter().try_for_each(|one| one.check(&answer))?;
    }
    if closed && !connection.is_closed().await? {
        return Err(Wrong::new("the connection to be closed", "more bytes"));
    }
    Ok(())
}

async fn stream(
    gateway: SocketAddr,
    request: &Request,
    acknowledge: &Request,
    pieces: &[&str],
    last: &str,
) -> Result<(), Wrong> {
    let id = random_text()?;
    let acknowledge = named(acknowledge, &id);
    let mut connection = client::connect(gateway).await?;
    connection.send(&named(request, &id).bytes(gateway)).await?;
    let head = client::receive_head(&mut connection).await?;
    let mut body = head.response_body()?;
    if head.status() != 200 {
        return Err(Wrong::new("status 200", head.status().to_string()));
    }
    let mut unread = String::new();
    for piece in pieces {
        while !unread.contains(piece) {
            let more = connection.piece(&mut body).await.map_err(|error| {
                Wrong::new(
                    format!("{piece:?}, which is sent before anything else is"),
                    error.to_string(),
                )
            })?;
            let more = more.ok_or_else(|| Wrong::new(format!("{piece:?}"), "the end of the stream"))?;
            unread.push_str(&String::from_utf8_lossy(&more));
        }
        unread = unread
            .split_once(piece)
            .map(|(_, rest)| rest.to_owned())
            .unwrap_or_default();
        let answer = client::send(gateway, &acknowledge).await?;
        if answer.head.status() != 200 {
            return Err(Wrong::new(
                format!("{piece:?} while its stream waits for the reader"),
                format!(
                    "it after the stream had given up: it was buffered ({})",
                    answer.head.status()
                ),
            ));
        }
    }
    unread.push_str(&String::from_utf8_lossy(&connection.rest(body).await?));
    if unread.contains(last) {
        Ok(())
    } else {
        Err(Wrong::new(format!("{last:?} at the end"), unread))
    }
}

async fn socket(gateway: SocketAddr, request: &Request) -> Result<(), Wrong> {
    const KEY: &str = "ZGVtbyBkZW1vIGRlbW8hIQ==";
    const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
    let request = request
        .clone()
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", KEY);
    let mut connection = client::connect(gateway).await?;
    connection.send(&request.bytes(gateway)).await?;
    let head = client::receive_head(&mut connection).await?;
    if head.status() != 101 || !head.has_token("connection", "upgrade") || !head.has_token("upgrade", "websocket") {
        return Err(Wrong::new(
            "101 with Upgrade: websocket",
            format!("{} {:?}", head.line, head.headers),
        ));
    }
    let accept = head.first("sec-websocket-accept").unwrap_or_default();
    if accept != websocket::accept_key(KEY) {
        return Err(Wrong::new("Sec-WebSocket-Accept for our key", accept));
    }
    let conversation = [
        (Frame::whole(opcode::TEXT, b"hello"), opcode::TEXT),
        (Frame::whole(opcode::BINARY, &vec![0xa5; 70_000]), opcode::BINARY),
        (Frame::whole(opcode::PING, b"there?"), opcode::PONG),
        (Frame::whole(opcode::CLOSE, &1000_u16.to_be_bytes()), opcode::CLOSE),
    ];
    for (said, answered) in conversation {
        websocket::write(&mut connection, &said, Some(MASK)).await?;
        let got = websocket::read(&mut connection).await?;
        if got != Frame::whole(answered, &said.payload) {
            let first: Vec<_> = got.payload.iter().take(16).collect();
            return Err(Wrong::new(
                format!("a frame {answered} of {} bytes, as sent", said.payload.len()),
                format!("a frame {} of {} bytes, {first:?}…", got.opcode(), got.payload.len()),
            ));
        }
    }
    Ok(())
}

async fn upload(gateway: SocketAddr, request: &Request, arrived: &Request) -> Result<(), Wrong> {
    let id = random_text()?;
    let head = named(request, &id).header("Transfer-Encoding", "chunked");
    let mut connection = client::connect(gateway).await?;
    connection.send(&head.bytes(gateway)).await?;
    let mut digest = Context::new(&SHA256);
    let mut piece = vec![0; UPLOAD_PIECE];
    for number in 0..UPLOAD_PIECES {
        for (place, byte) in piece.iter_mut().enumerate() {
            *byte = u8::try_from((place * 31 + number * 7) % 251).unwrap_or_default();
        }
        digest.update(&piece);
        if let Err(error) = connection.send_chunk(&piece).await {
            return refused_upload(&mut connection, error).await;
        }
        if number == 0 {
            let answer = client::send(gateway, &named(arrived, &id)).await?;
            Expect::Field("/arrived", is("true")).check(&answer)?;
        }
    }
    connection.send_chunk(b"").await?;
    let answer = client::receive(&mut connection).await?;
    Expect::Status(200).check(&answer)?;
    Expect::Field("/body/bytes", is(&(UPLOAD_PIECES * UPLOAD_PIECE).to_string())).check(&answer)?;
    Expect::Field("/body/sha256", is(&hex(digest.finish().as_ref()))).check(&answer)
}

/// Who stops reading says why, if there is still time.
async fn refused_upload(connection: &mut Connection, error: io::Error) -> Result<(), Wrong> {
    let answer = client::receive(connection).await.map_err(|_| Wrong::from(error))?;
    Expect::Status(200).check(&answer)?;
    Err(Wrong::new("an answer after the upload", "one in the middle of it"))
}

async fn guesses(gateway: SocketAddr, guess: &Request, known: &Request) -> Result<(), Wrong> {
    let mut heard = 0;
    loop {
        let answer = client::send(gateway, guess).await?;
        if answer.head.status() == 429 {
            refusal(429, "rate_limited")
                .iter()
                .try_for_each(|one| one.check(&answer))?;
            break;
        }
        Expect::Status(401).check(&answer)?;
        heard += 1;
        if heard == GUESSES {
            return Err(Wrong::new(
                "guesses to be refused unheard (429)",
                format!("{GUESSES} times 401"),
            ));
        }
    }
    let answer = client::send(gateway, known).await?;
    Expect::Status(200).check(&answer)
}

/// The request, for the stream of this name.
fn named(request: &Request, id: &str) -> Request {
    let mut request = request.clone();
    request.target.push_str(&format!("?stream={id}"));
    request
}
