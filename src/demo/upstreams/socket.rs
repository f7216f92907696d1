//! A WebSocket that echoes every message (RFC 6455). Without an upgrade it is 426.

use std::io;

use serde_json::json;
use tokio::net::TcpStream;

use crate::demo::serve::{self, After, Request, Site};
use crate::demo::websocket::{self, Frame, opcode};
use crate::demo::wire::Wire;

/// The echo.
#[derive(Debug)]
pub struct EchoSocket;

impl Site for EchoSocket {
    async fn answer(&self, request: Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        wire.rest(request.body).await?;
        if request.path == "/health" {
            return serve::json(wire, "200 OK", &json!({ "status": "ok" })).await;
        }
        let key = request.head.first("sec-websocket-key");
        let (true, Some(key)) = (request.head.has_token("upgrade", "websocket"), key) else {
            return serve::json(wire, "426 Upgrade Required", &json!({ "error": "this is a WebSocket" })).await;
        };
        let accept = websocket::accept_key(key);
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        wire.send(head.as_bytes()).await?;
        loop {
            let frame = websocket::read(wire).await?;
            let (answer, last) = match frame.opcode() {
                opcode::CLOSE => (frame, true),
                opcode::PING => (Frame::whole(opcode::PONG, &frame.payload), false),
                _ => (frame, false),
            };
            websocket::write(wire, &answer, None).await?;
            if last {
                return Ok(After::Close);
            }
        }
    }
}
