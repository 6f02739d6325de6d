//! The transport of a WebSocket: until the client has said who it is, few bytes are read from it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::server::Transport;

/// A transport of which only some bytes may be read, until [`Guarded::open`] is called. Reading more is an error.
pub(super) struct Guarded {
    inner: Box<dyn Transport>,
    left: Option<usize>,
}

/// The error of a client that sent too much before its first message was complete.
#[derive(Debug)]
pub(super) struct TooMuch;

impl std::fmt::Display for TooMuch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("too many bytes before the first message was complete")
    }
}

impl std::error::Error for TooMuch {}

impl Guarded {
    /// `left` bytes may be read.
    pub(super) fn new(inner: Box<dyn Transport>, left: usize) -> Self {
        Self { inner, left: Some(left) }
    }

    /// From now on all may be read.
    pub(super) fn open(&mut self) {
        self.left = None;
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == Some(0) {
            return Poll::Ready(Err(io::Error::other(TooMuch)));
        }
        let Some(left) = self.left else { return Pin::new(&mut self.inner).poll_read(cx, buf) };
        let most = left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut part))?;
        let read = part.filled().len();
        buf.advance(read);
        self.left = Some(left - read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
