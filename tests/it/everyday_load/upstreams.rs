//! The upstreams behind the everyday load. They remember nothing, for there may be very many requests.

use bytes::Bytes;
use gateway::demo::websocket::{self, opcode};
use http::Response;

use crate::harness::Conversation;
use crate::harness::http2::{self, Stream};

/// What an upstream says of a request: who asked, and how much it sent.
pub fn said(user: &str, bytes: usize) -> Bytes {
    let text = "the quick brown fox jumps over the lazy dog ".repeat(6);
    Bytes::from(format!("{{\"user\":\"{user}\",\"bytes\":{bytes},\"text\":\"{text}\"}}"))
}

pub fn events() -> Vec<String> {
    let event = |n| format!("data: {{\"id\":\"c-{n}\",\"choices\":[{{\"delta\":{{\"content\":\"word \"}}}}]}}\n\n");
    let usage =
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":20,\"total_tokens\":32}}\n\n";
    let end = [usage.to_owned(), "data: [DONE]\n\n".to_owned()];
    (0..20).map(event).chain(end).collect()
}

pub fn chunks() -> Vec<String> {
    vec!["0123456789abcdef".repeat(128); 4]
}

pub fn large() -> Bytes {
    Bytes::from(vec![b'x'; 300 * 1024])
}

const FIELDS: [(&str, &str); 6] = [
    ("Date", "Mon, 01 Jun 2026 10:00:00 GMT"),
    ("Server", "uvicorn"),
    ("Cache-Control", "no-cache, private"),
    ("ETag", "W/\"33a64df551425fcc55e4d42a148795d9f25f89d4\""),
    ("Vary", "Accept-Encoding"),
    ("X-Response-Time", "12ms"),
];

/// The upstream of nearly all.
pub async fn app(mut conversation: Conversation) {
    let fields: String = FIELDS
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let head =
        |kind: &str, framing: &str| format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{fields}{framing}\r\n\r\n");
    let whole =
        |kind: &str, body: &[u8]| [head(kind, &format!("Content-Length: {}", body.len())).as_bytes(), body].concat();
    while let Ok(Some(request)) = conversation.connection.head().await {
        let Ok(body) = conversation.connection.rest(request.request_body().unwrap()).await else {
            return;
        };
        let (kind, parts) = match request.line.split([' ', '/', '?']).nth(2) {
            Some("v1") => ("text/event-stream", events()),
            Some("chunks") => ("application/octet-stream", chunks()),
            Some("large") => {
                conversation.send(whole("application/octet-stream", &large())).await;
                continue;
            }
            Some("socket") => return echo(conversation).await,
            _ => {
                let said = said(request.first("x-user-id").unwrap_or("-"), body.len());
                conversation.send(whole("application/json", &said)).await;
                continue;
            }
        };
        conversation.send(head(kind, "Transfer-Encoding: chunked")).await;
        for part in parts.iter().map(String::as_bytes).chain([&b""[..]]) {
            let _ = conversation.connection.send_chunk(part).await;
        }
    }
}

async fn echo(mut conversation: Conversation) {
    let accepted = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: abc=\r\n\r\n";
    conversation
        .send(format!("HTTP/1.1 101 Switching Protocols\r\n{accepted}"))
        .await;
    while let Ok(frame) = websocket::read(&mut conversation.connection).await {
        let _ = websocket::write(&mut conversation.connection, &frame, None).await;
        if frame.opcode() == opcode::CLOSE {
            return;
        }
    }
}

/// The upstream that speaks HTTP/2.
pub async fn app_over_http2((request, mut respond): Stream) {
    let (head, mut body) = request.into_parts();
    let length = http2::read(&mut body).await.unwrap().len();
    let said = said(head.headers["x-user-id"].to_str().unwrap(), length);
    let answer = Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let status = ("grpc-status".parse().unwrap(), "0".parse().unwrap());
    let mut stream = respond.send_response(answer, false).unwrap();
    stream.send_data(said, false).unwrap();
    stream.send_trailers([status].into_iter().collect()).unwrap();
}
