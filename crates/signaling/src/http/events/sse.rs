//! The events as Server-Sent Events (HTML standard, section 9.2), for clients that cannot have a WebSocket.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};
use futures_util::{StreamExt, stream};
use hyper::body::Bytes;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::EVENT_STREAM;
use crate::events::{Ending, Feed, Frame, Frames, Kind, Next, transfer_time};
use crate::http::problem::Problem;
use crate::server::Stay;
use crate::state::Signaling;

/// A comment each so often keeps proxies from closing the connection, and finds clients that are gone.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client that takes nothing for so long is too slow. It may come back and resume.
const SEND_WITHIN: Duration = Duration::from_secs(20);

/// The headers alone.
pub(super) fn head() -> Response<Body> {
    response(Body::empty())
}

/// A stream that begins with what was missed since `after`, or with a snapshot.
///
/// # Errors
/// Those of [`Signaling::follow`].
pub(super) async fn stream(
    signaling: &Signaling,
    feed: &Arc<Feed>,
    after: Option<u64>,
    stay: Option<Stay>,
) -> Result<Response<Body>, Problem> {
    let (first, frames) = signaling.follow(feed, after).await?;
    let (to_client, mut texts) = mpsc::channel::<Bytes>(1);
    let signaling = signaling.clone();
    tokio::spawn(async move {
        signaling.hub().counts().opened(Kind::Stream);
        let mut sender = Sender { signaling: signaling.clone(), to_client, before: 0 };
        let stopped = async {
            match &stay {
                Some(stay) => stay.stopped().await,
                None => std::future::pending().await,
            }
        };
        let replaced = frames.replaced();
        let ending = tokio::select! {
            Err(ending) = sender.run(first, frames) => ending,
            () = stopped => Ending::Stop,
            () = replaced => Ending::Replaced,
        };
        sender.end(ending).await;
        signaling.hub().counts().closed(Kind::Stream, ending);
        // The connection counts as busy until here.
        drop(stay);
    });
    let texts = stream::poll_fn(move |cx| texts.poll_recv(cx));
    Ok(response(Body::from_stream(texts.map(Ok::<_, Infallible>))))
}

fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Sender {
    signaling: Signaling,
    to_client: mpsc::Sender<Bytes>,
    /// Bytes of the text before, which has to leave before the next one is taken.
    before: usize,
}

impl Sender {
    async fn run(&mut self, first: Vec<Frame>, mut frames: Frames) -> Result<Infallible, Ending> {
        self.send(first).await?;
        loop {
            match frames.take() {
                Ok(next) => self.send(next).await?,
                Err(Next::Ended) => return Err(Ending::Session),
                Err(Next::Replaced) => return Err(Ending::Replaced),
                Err(Next::Behind) => return Err(Ending::Slow),
                Err(Next::Wait | Next::Messages(..)) => {
                    tokio::select! {
                        waited = timeout(KEEP_ALIVE, frames.changed()) => {
                            if waited.is_err() {
                                self.write(":\n\n".to_owned()).await?;
                            }
                        }
                        () = self.to_client.closed() => return Err(Ending::Client),
                    }
                }
            }
        }
    }

    async fn send(&mut self, frames: Vec<Frame>) -> Result<(), Ending> {
        self.signaling.hub().counts().sent(frames.len());
        let mut text = String::new();
        for Frame { seq, text: json } in frames {
            if let Some(seq) = seq {
                text += &format!("id: {seq}\n");
            }
            // JSON has no line breaks outside of strings, and escapes them inside.
            text += &format!("data: {json}\n\n");
        }
        self.write(text).await
    }

    async fn write(&mut self, text: String) -> Result<(), Ending> {
        let within = SEND_WITHIN + transfer_time(std::mem::replace(&mut self.before, text.len()));
        match timeout(within, self.to_client.send(text.into())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Ending::Client),
            Err(_) => Err(Ending::Slow),
        }
    }

    /// Tells the client why the stream ends, with the number that a WebSocket would be closed with. Without it a client that was
    /// replaced would come back and replace the newer connection.
    async fn end(&self, ending: Ending) {
        let (code, reason) = match ending {
            Ending::Session => (1000, "the session ended"),
            Ending::Stop => (1001, "the node stops"),
            Ending::Replaced => (4409, "replaced by another connection"),
            _ => (4408, "too slow, come back and resume"),
        };
        if ending != Ending::Client {
            let text =
                format!("event: close\ndata: {{\"code\":{code},\"reason\":\"{reason}\"}}\n\n");
            // A client that takes nothing has had its time.
            let _sent = timeout(Duration::from_secs(1), self.to_client.send(text.into())).await;
        }
    }
}
