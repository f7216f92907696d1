//! Answers with what it received: the request line, every header in order and as written, and the body's length and digest.
//!
//! Two paths are no echo: `/slow` takes its time, `/broken` hangs up. `…/arrived?stream=ID` waits until the first piece of the body
//! of a request with `?stream=ID` is there.

use std::fmt::Write;
use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use super::pace::Pace;
use crate::demo::serve::{self, After, Request, Site};
use crate::demo::wire::Wire;

/// Bytes of the body that are shown.
const SHOWN: usize = 64;

/// The echo.
#[derive(Debug)]
pub struct Echo {
    pace: Pace,
    patience: Duration,
}

impl Echo {
    /// One whose streams in lock-step wait so long for their reader; `/slow` takes as long.
    pub fn new(patience: Duration) -> Self {
        Self {
            pace: Pace::new(patience),
            patience,
        }
    }
}

impl Site for Echo {
    async fn answer(&self, mut request: Request, wire: &mut Wire<TcpStream>) -> io::Result<After> {
        let step = request.parameter("stream").and_then(|id| self.pace.enter(id));
        let (mut digest, mut length, mut start) = (Context::new(&SHA256), 0, Vec::new());
        while let Some(piece) = wire.piece(&mut request.body).await? {
            if let (0, Some(step)) = (length, &step) {
                step.acknowledge();
            }
            digest.update(&piece);
            length += piece.len();
            start.extend(piece.iter().take(SHOWN.saturating_sub(start.len())));
        }
        match request.path.as_str() {
            "/slow" => tokio::time::sleep(self.patience).await,
            "/broken" => return Ok(After::Close),
            _ => {}
        }
        let headers = request
            .head
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {value}"));
        let mut answer = json!({
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "headers": headers.collect::<Vec<_>>(),
            "body": {
                "bytes": length,
                "sha256": hex(digest.finish().as_ref()),
                "starts": String::from_utf8_lossy(&start),
            },
        });
        if let (true, Some(step), Some(answer)) = (request.path.ends_with("/arrived"), step, answer.as_object_mut()) {
            answer.insert("arrived".to_owned(), Value::Bool(step.next().await));
        }
        serve::json(wire, "200 OK", &answer).await
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
