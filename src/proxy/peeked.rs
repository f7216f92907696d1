//! A connection whose first bytes were looked at before it is known what it speaks; they are read again from the start.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Bytes of one look: more than an HTTP/2 preface or a short PROXY header needs.
const LOOK: usize = 64;

/// A connection, and what was read of it too early.
pub struct Peeked {
    seen: Vec<u8>,
    stream: TcpStream,
}

impl Peeked {
    /// Nothing was read yet.
    #[must_use]
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            seen: Vec::new(),
            stream,
        }
    }

    /// The connection as it is, and what was read of it.
    #[must_use]
    pub fn into_parts(self) -> (TcpStream, Vec<u8>) {
        (self.stream, self.seen)
    }

    /// Whether nothing has come that was not taken.
    #[must_use]
    pub const fn is_silent(&self) -> bool {
        self.seen.is_empty()
    }

    /// Takes the first `count` bytes off: nobody reads them again.
    pub fn take(&mut self, count: usize) {
        self.seen.drain(..count.min(self.seen.len()));
    }

    /// Reads on until `decide` knows what the bytes so far are. They stay.
    ///
    /// # Errors
    /// The connection ended before, or failed.
    pub async fn look<T>(&mut self, decide: impl Fn(&[u8]) -> Option<T>) -> io::Result<T> {
        loop {
            if let Some(decided) = decide(&self.seen) {
                return Ok(decided);
            }
            let mut more = [0; LOOK];
            match self.stream.read(&mut more).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.seen.extend_from_slice(more.get(..count).unwrap_or_default()),
            }
        }
    }
}

impl AsyncRead for Peeked {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.seen.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = self.seen.len().min(buf.remaining());
        buf.put_slice(self.seen.get(..count).unwrap_or_default());
        self.seen.drain(..count);
        if self.seen.is_empty() {
            self.seen = Vec::new();
            // What has come behind them belongs to the same head: one reading of it is enough. That nothing has, or that the
            // connection failed, is told by the next reading.
            let _ = Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peeked {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, Peeked) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, Peeked::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn what_was_looked_at_is_read_again_with_what_follows() {
        let (mut client, mut peeked) = pair().await;
        let text = "x".repeat(LOOK + 7);
        client.write_all(text.as_bytes()).await.unwrap();
        let first = peeked.look(|seen| seen.first().copied()).await.unwrap();
        assert_eq!(first, b'x');
        client.shutdown().await.unwrap();
        let mut read = String::new();
        peeked.read_to_string(&mut read).await.unwrap();
        assert_eq!(read, text);
    }

    #[tokio::test]
    async fn an_end_before_anything_is_decided_leaves_what_came() {
        let (mut client, mut peeked) = pair().await;
        client.write_all(b"PRI").await.unwrap();
        client.shutdown().await.unwrap();
        let looked = peeked.look(|seen| (seen.len() > 3).then_some(())).await;
        assert_eq!(looked.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(!peeked.is_silent());
    }
}
