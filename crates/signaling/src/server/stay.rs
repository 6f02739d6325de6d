//! What a handler may keep of its connection: an answer that goes on for long keeps the connection busy, and a handler may take
//! the connection over for another protocol (RFC 9110 section 7.8).

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use hyper::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;

use super::activity::InRequest;
use super::places::Share;

/// A connection's transport: a socket, or TLS over one.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Transport for T {}

/// Keeps a connection busy while it is held: the time limit of idle connections does not run, and the client's place stays
/// taken. Every request has one in its extensions. The holder has to end when the server stops.
#[derive(Clone)]
pub(crate) struct Stay(Arc<Held>);

struct Held {
    _at_work: InRequest,
    /// The place of a client behind a proxy.
    _share: Option<Share>,
    stopping: watch::Receiver<bool>,
    /// `None` for HTTP/2, whose connections carry other requests too.
    takeover: Option<Takeover>,
}

impl Stay {
    pub(super) fn new(
        at_work: InRequest,
        share: Option<Share>,
        stopping: watch::Receiver<bool>,
        takeover: Option<Takeover>,
    ) -> Self {
        Self(Arc::new(Held { _at_work: at_work, _share: share, stopping, takeover }))
    }

    /// Resolves when the server stops.
    pub(crate) async fn stopped(&self) {
        let mut stopping = self.0.stopping.clone();
        // An error means that the sender was dropped, which is a stop as well.
        stopping.wait_for(|&stop| stop).await.map(|_| ()).unwrap_or_default();
    }

    /// Hands the connection to `then` after this request was answered with 101. `false` when it cannot be handed over: it is an
    /// HTTP/2 connection.
    pub(crate) fn take_over<F: Future<Output = ()> + Send + 'static>(
        &self,
        then: impl FnOnce(Taken) -> F + Send + 'static,
    ) -> bool {
        let Some(takeover) = &self.0.takeover else { return false };
        takeover.set(Box::new(move |taken| Box::pin(then(taken))));
        true
    }
}

/// A connection that was taken over.
pub(crate) struct Taken {
    /// Its transport.
    pub(crate) transport: Box<dyn Transport>,
    /// Bytes that were read and are not part of the request.
    pub(crate) read: Bytes,
}

type Then = Box<dyn FnOnce(Taken) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// What follows on a connection after HTTP.
#[derive(Clone, Default)]
pub(super) struct Takeover(Arc<Mutex<Option<Then>>>);

impl Takeover {
    fn set(&self, then: Then) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(then);
    }

    /// What follows; `None`: nothing.
    pub(super) fn take(&self) -> Option<Then> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
