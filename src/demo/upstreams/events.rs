//! `/events`: five server-sent events a beat apart; with `?stream=ID`, each only after `/events/ack?stream=ID` for the one before.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;

use super::BEAT;
use super::pace::Pace;
use crate::demo::serve::{self, After, Request, Site};
use crate::demo::wire::Wire;

/// How many events a stream has.
pub const COUNT: usize = 5;

/// The stream.
#[derive(Debug)]
pub struct Events {
    pace: Pace,
}

impl Events {
    /// One whose streams in lock-step wait so long for their reader.
    pub fn new(patience: Duration) -> Self {
        Self {
            pace: Pace::new(patience),
        }
    }
}

impl Site for Events {
    async fn answer(&self, request: Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        wire.rest(request.body).await?;
        let stream = request.parameter("stream");
        if request.path.ends_with("/ack") {
            return acknowledge(&self.pace, stream, wire).await;
        }
        if request.path == "/health" {
            return serve::json(wire, "200 OK", &json!({ "status": "ok" })).await;
        }
        let step = stream.and_then(|id| self.pace.enter(id));
        serve::begin_events(wire).await?;
        for number in 1..=COUNT {
            wire.send_chunk(format!("id: {number}\ndata: event {number} of {COUNT}\n\n").as_bytes())
                .await?;
            match &step {
                Some(step) if number < COUNT && !step.next().await => return Ok(After::Close),
                Some(_) => {}
                None => tokio::time::sleep(BEAT).await,
            }
        }
        wire.send_chunk(b"").await?;
        Ok(After::Next)
    }
}

/// Answers an acknowledgement: 404 if its stream has ended.
///
/// # Errors
/// The connection's.
pub async fn acknowledge(pace: &Pace, stream: Option<&str>, wire: &mut Wire<TcpStream>) -> io::Result<After> {
    let known = stream.is_some_and(|id| pace.acknowledge(id));
    let status = if known { "200 OK" } else { "404 Not Found" };
    serve::json(wire, status, &json!({ "acknowledged": known })).await
}
