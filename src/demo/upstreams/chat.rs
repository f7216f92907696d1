//! An LLM that speaks like OpenAI's and has one thing to say: `/v1/models`, and `/v1/chat/completions` whole or as a stream that
//! ends in `data: [DONE]`. With `?stream=ID` each piece waits for `/v1/ack?stream=ID`.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::BEAT;
use super::events::acknowledge;
use super::pace::Pace;
use crate::demo::serve::{self, After, Request, Site};
use crate::demo::tokens::now;
use crate::demo::wire::Wire;

const MODEL: &str = "demo-small";

/// The model.
#[derive(Debug)]
pub struct Chat {
    pace: Pace,
}

impl Chat {
    /// One whose streams in lock-step wait so long for their reader.
    pub fn new(patience: Duration) -> Self {
        Self {
            pace: Pace::new(patience),
        }
    }
}

impl Site for Chat {
    async fn answer(&self, request: Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        let asked: Value = serde_json::from_slice(&wire.rest(request.body).await?).unwrap_or_default();
        match request.path.as_str() {
            "/v1/models" => {
                let models = json!({ "object": "list", "data": [
                    { "id": MODEL, "object": "model", "created": now(), "owned_by": "gateway-demo" },
                ]});
                serve::json(wire, "200 OK", &models).await
            }
            "/v1/ack" => acknowledge(&self.pace, request.parameter("stream"), wire).await,
            "/v1/chat/completions" => {
                let caller = request.head.first("x-user-id").unwrap_or("stranger");
                let words = format!("Hello {caller}, the gateway told me who you are.");
                if asked.get("stream").and_then(Value::as_bool) == Some(true) {
                    self.stream(&words, request.parameter("stream"), wire).await
                } else {
                    serve::json(wire, "200 OK", &completion(&words)).await
                }
            }
            "/health" => serve::json(wire, "200 OK", &json!({ "status": "ok" })).await,
            _ => serve::json(wire, "404 Not Found", &json!({ "error": "not_found" })).await,
        }
    }
}

impl Chat {
    async fn stream(&self, words: &str, id: Option<&str>, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        let step = id.and_then(|id| self.pace.enter(id));
        serve::begin_events(wire).await?;
        for word in words.split_inclusive(' ') {
            let data = chunk(&json!({ "role": "assistant", "content": word }), None);
            wire.send_chunk(format!("data: {data}\n\n").as_bytes()).await?;
            match &step {
                Some(step) if !step.next().await => return Ok(After::Close),
                Some(_) => {}
                None => tokio::time::sleep(BEAT).await,
            }
        }
        let last = chunk(&json!({}), Some("stop"));
        wire.send_chunk(format!("data: {last}\n\ndata: [DONE]\n\n").as_bytes())
            .await?;
        wire.send_chunk(b"").await?;
        Ok(After::Next)
    }
}

fn completion(words: &str) -> Value {
    let tokens = words.split(' ').count();
    json!({
        "id": "chatcmpl-demo", "object": "chat.completion", "created": now(), "model": MODEL,
        "choices": [{
            "index": 0, "finish_reason": "stop", "message": { "role": "assistant", "content": words },
        }],
        "usage": { "prompt_tokens": 1, "completion_tokens": tokens, "total_tokens": tokens + 1 },
    })
}

fn chunk(delta: &Value, finish: Option<&str>) -> Value {
    json!({
        "id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": now(), "model": MODEL,
        "choices": [{ "index": 0, "delta": delta, "finish_reason": finish }],
    })
}
