//! What flows: events, tokens of a chat, WebSocket messages, a large upload, several requests on a connection.

use super::Wallet;
use super::case::{Case, Exchange, Party, Play};
use super::expect::Expect;
use crate::demo::client::Request;

/// All of them.
pub(super) fn cases(wallet: &Wallet) -> Vec<Case> {
    let Wallet { bob, api_key, .. } = wallet;
    let prompt = r#"{"model":"demo-small","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    vec![
        Case::playing(
            "server-sent-events",
            "events arrive one by one: each is sent only when the last was received",
            Play::Stream {
                request: Request::get("/events").bearer(bob),
                acknowledge: Request::get("/events/ack").bearer(bob),
                pieces: vec!["event 1 of 5", "event 2 of 5", "event 3 of 5", "event 4 of 5"],
                last: "event 5 of 5",
            },
        )
        .on_tour(),
        Case::playing(
            "chat-stream",
            "a chat streams word by word, in OpenAI's form",
            Play::Stream {
                request: Request::new("POST", "/v1/chat/completions")
                    .bearer(api_key)
                    .body(prompt),
                acknowledge: Request::get("/v1/ack").bearer(api_key),
                pieces: vec![
                    "\"Hello \"",
                    "\"svc_demo, \"",
                    "\"the \"",
                    "\"gateway \"",
                    "\"told \"",
                    "\"me \"",
                    "\"who \"",
                    "\"you \"",
                    "\"are.\"",
                ],
                last: "data: [DONE]",
            },
        )
        .on_tour(),
        Case::playing(
            "websocket",
            "a WebSocket: text, 70 kB of bytes, a ping and a close come back",
            Play::Socket(Request::get("/ws").bearer(bob)),
        )
        .on_tour(),
        Case::exchange(
            "websocket-refused",
            "no WebSocket without a credential",
            Request::get("/ws")
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", "ZGVtbyBkZW1vIGRlbW8hIQ=="),
            super::case::refusal(401, "unauthorized"),
        ),
        Case::playing(
            "upload",
            "8 MiB stream up: the first piece arrives before the last is sent, and all are whole",
            Play::Upload {
                request: Request::new("POST", "/public/upload"),
                arrived: Request::get("/public/arrived"),
            },
        )
        .on_tour(),
        Case::playing(
            "keep-alive",
            "one connection takes request after request",
            Play::Exchanges {
                with: Party::Gateway,
                exchanges: vec![
                    Exchange {
                        request: Request::get("/public/hello"),
                        expect: vec![Expect::Status(200), Expect::SameRequestId]
                    };
                    3
                ],
                closed: false,
            },
        ),
    ]
}
