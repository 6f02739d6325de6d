//! A publisher in the background, so that there is something to play.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    client::{Client, Options, Request},
    context::SDP,
    peer::Peer,
    requirement::{Face, Stop},
};

/// Publishes until it is dropped.
pub(crate) struct Publisher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    client: Client,
    session: url::Url,
}

const CONNECT: Duration = Duration::from_secs(5);
/// Time for the server to get media that it can forward.
const SETTLE: Duration = Duration::from_millis(500);

impl Publisher {
    /// Publishes at the WHIP endpoint, and waits until it is connected.
    ///
    /// # Errors
    /// Why it cannot publish.
    pub(crate) fn start(options: &Options) -> Result<Self, String> {
        let client = Client::new(options);
        let mut peer = Peer::new(&options.whip, true)?;
        let offer = peer.offer(Face::Whip)?;
        let request = Request::new("POST", &options.whip).header("Content-Type", SDP).body(offer);
        let exchange = client.send(request).map_err(|stop| match stop {
            Stop::Skip(why) => why,
            Stop::Fail(failure) => failure.got,
        })?;
        let location = exchange.header("location").filter(|_| exchange.status == 201);
        let location =
            location.ok_or_else(|| format!("the offer was answered {}", exchange.status))?;
        let session = exchange.request.url.join(location).map_err(|e| e.to_string())?;
        let stop = Arc::new(AtomicBool::new(false));
        // From here on dropping the publisher ends its session.
        let mut publisher = Self { stop: Arc::clone(&stop), thread: None, client, session };
        peer.accept(&exchange.text())?;
        if !peer.run(CONNECT, |seen| seen.connected) {
            return Err("the publisher did not connect".to_owned());
        }
        peer.run(SETTLE, |_| false);
        publisher.thread = Some(thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peer.run(Duration::from_millis(50), |_| false);
            }
        }));
        Ok(publisher)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
        _ = self.client.send(Request::new("DELETE", &self.session));
    }
}
