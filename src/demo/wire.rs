//! HTTP/1.1 as bytes on a stream (RFC 9112): heads and bodies, read as they arrive and kept as they were written.
//!
//! Both ends of the demo speak it, so that a header's case, order and number can be seen on either side of the gateway and
//! nothing is tidied up on the way. Imports nothing of the crate.

use std::io::{self, Error, ErrorKind};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of a head at most.
const MAX_HEAD: usize = 64 * 1024;
/// Bytes of a chunk's size line at most.
const MAX_CHUNK_LINE: usize = 128;

/// A start line and its header fields, in order, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The request line or the status line.
    pub line: String,
    /// Names and values; values without the white space around them.
    pub headers: Vec<(String, String)>,
    /// All of it as it came: values may be no UTF-8 (RFC 9110 §5.5, `obs-text`).
    pub bytes: Bytes,
}

impl Head {
    /// Every value of a header, whatever the case of its name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(n, v): &'a (String, String)| n.eq_ignore_ascii_case(name).then_some(v.as_str());
        self.headers.iter().filter_map(named)
    }

    /// The first value of a header.
    pub fn first(&self, name: &str) -> Option<&str> {
        let named = |(n, _): &&(String, String)| n.eq_ignore_ascii_case(name);
        self.headers.iter().find(named).map(|(_, value)| value.as_str())
    }

    /// Whether a comma-separated header has this token.
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|one| one.trim().eq_ignore_ascii_case(token))
    }

    /// The status of a response head; 0 if there is none.
    pub fn status(&self) -> u16 {
        self.line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0)
    }

    /// How the body of a request is framed (RFC 9112 §6.3).
    ///
    /// # Errors
    /// A `Content-Length` that is no number.
    pub fn request_body(&self) -> io::Result<Body> {
        if self.has_token("transfer-encoding", "chunked") {
            return Ok(Body::Chunked { first: true });
        }
        self.first("content-length")
            .map_or(Ok(Body::Length(0)), |length| number(length, 10).map(Body::Length))
    }

    /// How the body of a response is framed (RFC 9112 §6.3); not for answers to `HEAD`.
    ///
    /// # Errors
    /// A `Content-Length` that is no number.
    pub fn response_body(&self) -> io::Result<Body> {
        match self.status() {
            100..=199 | 204 | 304 => Ok(Body::Length(0)),
            _ if self.first("content-length").is_none() && self.first("transfer-encoding").is_none() => {
                Ok(Body::UntilClose)
            }
            _ => self.request_body(),
        }
    }
}

/// What is still to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes.
    Length(u64),
    /// A chunk's size line comes next, after the CRLF of the chunk before unless it is the first.
    Chunked {
        /// No chunk was read yet.
        first: bool,
    },
    /// So many bytes of a chunk.
    InChunk(u64),
    /// All until the peer closes.
    UntilClose,
}

/// A connection with what was read too far.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    read: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Over a fresh connection.
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            read: BytesMut::with_capacity(16 * 1024),
        }
    }

    /// Sends these bytes.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Says that nothing more will be sent; what the peer says is still read.
    ///
    /// # Errors
    /// The connection's.
    pub async fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// The stream alone; what was read too far is lost.
    pub fn into_stream(self) -> S {
        self.stream
    }

    /// The stream, for what is not HTTP.
    pub const fn stream(&self) -> &S {
        &self.stream
    }

    /// Sends one chunk of a chunked body (RFC 9112 §7.1); an empty one ends the body.
    ///
    /// # Errors
    /// The connection's.
    pub async fn send_chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
        chunk.extend_from_slice(bytes);
        chunk.extend_from_slice(b"\r\n");
        self.send(&chunk).await
    }

    /// The next head; `None` if the peer closed before its first byte.
    ///
    /// # Errors
    /// A head that is cut off, too long, or has a line without a colon.
    pub async fn head(&mut self) -> io::Result<Option<Head>> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n\r\n") {
                let head = self.read.split_to(end + 4).freeze();
                return parse(head).map(Some);
            }
            if self.read.len() > MAX_HEAD {
                return Err(Error::new(ErrorKind::InvalidData, "a head without end"));
            }
            if self.fill().await? == 0 {
                return if self.read.is_empty() { Ok(None) } else { Err(cut_off()) };
            }
        }
    }

    /// The next piece of a body, as soon as there is one; `None` at its end.
    ///
    /// # Errors
    /// A body that is cut off, or a chunk without a size.
    pub async fn piece(&mut self, body: &mut Body) -> io::Result<Option<Bytes>> {
        loop {
            match *body {
                Body::Length(0) => return Ok(None),
                Body::InChunk(0) => *body = Body::Chunked { first: false },
                Body::Length(left) => {
                    let piece = self.at_most(left).await?.ok_or_else(cut_off)?;
                    *body = Body::Length(left - piece.len() as u64);
                    return Ok(Some(piece));
                }
                Body::InChunk(left) => {
                    let piece = self.at_most(left).await?.ok_or_else(cut_off)?;
                    *body = Body::InChunk(left - piece.len() as u64);
                    return Ok(Some(piece));
                }
                Body::UntilClose => return self.at_most(u64::MAX).await,
                Body::Chunked { first } => {
                    if !first && !self.line().await?.is_empty() {
                        return Err(Error::new(ErrorKind::InvalidData, "a chunk longer than its size"));
                    }
                    let line = self.line().await?;
                    let size = number(line.split(';').next().unwrap_or_default().trim(), 16)?;
                    *body = Body::InChunk(size);
                    if size == 0 {
                        while !self.line().await?.is_empty() {}
                        *body = Body::Length(0);
                    }
                }
            }
        }
    }

    /// The rest of a body, whole.
    ///
    /// # Errors
    /// As [`Wire::piece`].
    pub async fn rest(&mut self, mut body: Body) -> io::Result<Vec<u8>> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece(&mut body).await? {
            whole.extend_from_slice(&piece);
        }
        Ok(whole)
    }

    /// Exactly so many bytes.
    ///
    /// # Errors
    /// The peer closed before.
    pub async fn exactly(&mut self, count: usize) -> io::Result<Bytes> {
        while self.read.len() < count {
            if self.fill().await? == 0 {
                return Err(cut_off());
            }
        }
        Ok(self.read.split_to(count).freeze())
    }

    /// Whether the peer has closed, with nothing more to say.
    ///
    /// # Errors
    /// The connection's, save a reset, which is a close.
    pub async fn is_closed(&mut self) -> io::Result<bool> {
        match self.fill().await {
            Ok(count) => Ok(count == 0 && self.read.is_empty()),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = find(&self.read, b"\r\n") {
                let line = self.read.split_to(end + 2);
                return Ok(String::from_utf8_lossy(line.trim_ascii_end()).into_owned());
            }
            if self.read.len() > MAX_CHUNK_LINE {
                return Err(Error::new(ErrorKind::InvalidData, "a chunk size without end"));
            }
            if self.fill().await? == 0 {
                return Err(cut_off());
            }
        }
    }

    async fn at_most(&mut self, count: u64) -> io::Result<Option<Bytes>> {
        if self.read.is_empty() && self.fill().await? == 0 {
            return Ok(None);
        }
        let count = self.read.len().min(usize::try_from(count).unwrap_or(usize::MAX));
        Ok(Some(self.read.split_to(count).freeze()))
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.stream.read_buf(&mut self.read).await
    }
}

fn parse(bytes: Bytes) -> io::Result<Head> {
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.trim_end().split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let headers = lines
        .map(|line| {
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| Error::new(ErrorKind::InvalidData, "a header without a colon"))?;
            Ok((name.to_owned(), value.trim().to_owned()))
        })
        .collect::<io::Result<_>>()?;
    Ok(Head { line, headers, bytes })
}

fn number(text: &str, radix: u32) -> io::Result<u64> {
    u64::from_str_radix(text, radix).map_err(|_| Error::new(ErrorKind::InvalidData, "a length that is no number"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, wanted)
}

fn cut_off() -> Error {
    Error::new(
        ErrorKind::UnexpectedEof,
        "the connection closed in the middle of a message",
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    async fn wire(bytes: &[u8]) -> Wire<tokio::io::DuplexStream> {
        let (mut near, far) = tokio::io::duplex(bytes.len() + 1);
        near.write_all(bytes).await.unwrap();
        Wire::new(far)
    }

    #[tokio::test]
    async fn keeps_case_order_and_duplicates_of_headers() {
        let mut wire = wire(b"GET / HTTP/1.1\r\nx-oDD: 1\r\nB: 2\r\nX-Odd:3\r\n\r\n").await;
        let head = wire.head().await.unwrap().unwrap();
        let names: Vec<_> = head.headers.iter().map(|(n, v)| format!("{n}={v}")).collect();
        assert_eq!(names, ["x-oDD=1", "B=2", "X-Odd=3"]);
        assert_eq!(head.all("X-ODD").collect::<Vec<_>>(), ["1", "3"]);
        assert!(wire.head().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn reads_chunks_up_to_the_next_message() {
        let mut wire = wire(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: t\r\n\r\n\
              HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nz",
        )
        .await;
        let head = wire.head().await.unwrap().unwrap();
        assert_eq!(wire.rest(head.response_body().unwrap()).await.unwrap(), b"abcde");
        let head = wire.head().await.unwrap().unwrap();
        assert_eq!(head.status(), 404);
        assert_eq!(wire.rest(head.response_body().unwrap()).await.unwrap(), b"z");
    }

    #[tokio::test]
    async fn a_body_that_is_cut_off_is_an_error() {
        for message in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"[..],
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        ] {
            let mut wire = wire(message).await;
            let head = wire.head().await.unwrap().unwrap();
            let error = wire.rest(head.response_body().unwrap()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
        }
    }
}
