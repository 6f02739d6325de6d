//! What a connection does now, and for how long it may go on.
//!
//! hyper has one time limit for the headers of a request, and it also runs between requests. With it, a proxy that
//! keeps connections open for later requests would find them closed after seconds (its clients get 502). So two cases
//! are told apart here: a request that has begun has to complete its headers soon; a connection between requests may
//! be idle for long.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// The HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// HTTP/1.1: any byte between two requests begins the next request.
    Http1,
    /// HTTP/2: frames that begin no request (SETTINGS, PING, WINDOW_UPDATE) may come at any time.
    Http2,
}

/// The state of one connection, shared by its transport, which sees bytes, and its service, which sees requests.
pub(super) struct Activity {
    version: Version,
    header_timeout: Duration,
    idle_timeout: Duration,
    state: Mutex<State>,
}

struct State {
    /// Requests that are being answered.
    requests: usize,
    /// Since when the headers of a request are incomplete.
    headers_since: Option<Instant>,
    /// When the last answer was ready, or the connection was opened.
    quiet_since: Instant,
}

/// Until when a connection may go on as it is, and what it waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deadline {
    /// The headers of the first request, or of one that has begun.
    Headers(Instant),
    /// The next request. The client has to read the last answer within the same time: a client that does not read
    /// holds the connection no longer than an idle one.
    Idle(Instant),
    /// No deadline while requests are being answered: their bodies and their calls into rooms have deadlines of their
    /// own.
    None,
}

impl Activity {
    /// A connection that was just opened. Its first request has the short deadline, since clients open connections to
    /// use them. With the long one, a client that opens many connections and sends nothing would occupy all places for
    /// longer.
    pub(super) fn new(version: Version, header_timeout: Duration, idle_timeout: Duration) -> Self {
        let now = Instant::now();
        let state = State { requests: 0, headers_since: Some(now), quiet_since: now };
        Self { version, header_timeout, idle_timeout, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn received(&self) {
        let mut state = self.lock();
        match self.version {
            Version::Http1 if state.requests == 0 => {
                state.headers_since.get_or_insert_with(Instant::now);
            }
            Version::Http1 => {}
            // The HTTP/2 preface has arrived. From now on only requests keep the connection open.
            Version::Http2 => state.headers_since = None,
        }
    }

    /// A request with complete headers; its answer is ready when the guard is dropped.
    pub(super) fn request(self: &Arc<Self>) -> InRequest {
        let mut state = self.lock();
        state.requests += 1;
        state.headers_since = None;
        InRequest(self.clone())
    }

    /// How long a connection may be idle.
    pub(super) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// The present [`Deadline`].
    pub(super) fn deadline(&self) -> Deadline {
        let state = self.lock();
        match state.headers_since {
            Some(since) => Deadline::Headers(since + self.header_timeout),
            None if state.requests == 0 => Deadline::Idle(state.quiet_since + self.idle_timeout),
            None => Deadline::None,
        }
    }
}

/// Guard of a request that is being answered.
pub(super) struct InRequest(Arc<Activity>);

impl Drop for InRequest {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.requests -= 1;
        state.quiet_since = Instant::now();
    }
}

/// A transport that tells an [`Activity`] when bytes were read.
pub(super) struct Watched<T> {
    inner: T,
    activity: Arc<Activity>,
}

impl<T> Watched<T> {
    pub(super) fn new(inner: T, activity: Arc<Activity>) -> Self {
        Self { inner, activity }
    }

    pub(super) fn into_inner(self) -> T {
        self.inner
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.received();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
