//! A WebSocket that a client asks for: its side of the tunnel to be, and what the upstream must say to it.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::upgrade::OnUpgrade;

/// What RFC 6455 §1.3 puts behind a key before it is hashed.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What becomes the client's end of a tunnel.
pub enum ClientSide {
    /// Its HTTP/1.1 connection.
    Connection,
    /// A stream of its HTTP/2 connection.
    Stream(OnUpgrade),
}

/// An upgrade that is asked for.
pub struct Upgrade {
    /// To what.
    pub protocol: HeaderValue,
    /// The client's side.
    pub client: ClientSide,
    /// What the upstream must answer to a key that is ours; a client that sent a key of its own checks the answer itself.
    accept: Option<String>,
}

impl Upgrade {
    /// Of a connection, with the client's own key.
    #[must_use]
    pub const fn new(protocol: HeaderValue) -> Self {
        Self {
            protocol,
            client: ClientSide::Connection,
            accept: None,
        }
    }

    /// To a WebSocket, with a key of ours.
    #[must_use]
    pub fn with_key(client: OnUpgrade, key: &[u8]) -> Self {
        Self {
            protocol: HeaderValue::from_static("websocket"),
            client: ClientSide::Stream(client),
            accept: Some(accept_of(key)),
        }
    }

    /// Whether this answer, which is no 101, would read as one: over HTTP/2 any success is a tunnel (RFC 9110 §9.3.6, RFC 8441 §5).
    #[must_use]
    pub fn is_feigned_by(&self, status: StatusCode) -> bool {
        matches!(self.client, ClientSide::Stream(_)) && status.is_success()
    }

    /// Whether the upstream's 101 is an answer to this very request.
    #[must_use]
    pub fn is_accepted_by(&self, answer: &HeaderMap) -> bool {
        let Some(accept) = &self.accept else { return true };
        let said = answer.get(header::SEC_WEBSOCKET_ACCEPT);
        said.is_some_and(|said| said.as_bytes() == accept.as_bytes())
    }
}

/// RFC 6455 §4.2.2.
fn accept_of(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_as_in_rfc_6455() {
        assert_eq!(accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
