//! Connects a client to the events of its session: what it gets first, and the numbered texts after that.

use std::sync::Arc;
use std::time::Duration;

use super::convert;
use super::hub::write;
use super::log::{Feed, Next, Reader};
use super::messages::Message;
use crate::http::problem::Problem;
use crate::state::Signaling;

/// Bytes in a second of a line on which a member can still take part.
const SLOW_LINE: usize = 32 * 1024;

/// A message as it is sent.
#[derive(Debug)]
pub(crate) struct Frame {
    /// Its number, for messages that are numbered.
    pub(crate) seq: Option<u64>,
    /// The JSON text, with the number in it.
    pub(crate) text: String,
}

/// The messages of one connection.
pub(crate) struct Frames {
    reader: Reader,
}

impl Frames {
    /// The next messages, or why there are none.
    pub(crate) fn take(&mut self) -> Result<Vec<Frame>, Next> {
        match self.reader.take() {
            Next::Messages(from, bodies) => {
                Ok((from..).zip(&bodies).map(|(seq, body)| numbered(seq, body)).collect())
            }
            other => Err(other),
        }
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn changed(&self) {
        self.reader.changed().await;
    }

    /// Resolves when another connection took this one's place.
    pub(crate) fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        self.reader.replaced()
    }
}

/// Writes the number in front of a message, which is a JSON object.
fn numbered(seq: u64, body: &str) -> Frame {
    let rest = body.strip_prefix('{').unwrap_or(body);
    Frame { seq: Some(seq), text: format!("{{\"seq\":{seq},{rest}") }
}

/// How long this many bytes may take on a slow line: a snapshot of a large room can have megabytes.
pub(crate) fn transfer_time(bytes: usize) -> Duration {
    Duration::from_secs((bytes / SLOW_LINE) as u64)
}

impl Signaling {
    /// Begins a connection: with what the client missed since the number `after`, else with a snapshot. Returns the messages with
    /// which it begins, and those that follow. An older connection of the session ends.
    ///
    /// # Errors
    /// 404 when the session ended; 503 when the room is busy.
    pub(crate) async fn follow(
        &self,
        feed: &Arc<Feed>,
        after: Option<u64>,
    ) -> Result<(Vec<Frame>, Frames), Problem> {
        if let Some(after) = after
            && let Some(reader) = feed.resume(after)
        {
            self.hub().counts().began(true);
            return Ok((vec![welcome(feed, true, after)?], Frames { reader }));
        }
        let (signaling, of) = (self.clone(), feed.clone());
        let call = move || {
            // Under the lock of the room, so that no message is made between the snapshot and its number.
            let taken = signaling.core().look(&of.room, |room| {
                room.snapshot(of.session).map(|snapshot| (snapshot, of.restart()))
            });
            let (snapshot, (reader, seq)) = taken?.ok()?;
            let message = convert::snapshot(&of.room, &snapshot);
            let body = write(&Message::Snapshot(Box::new(message)))?;
            Some((numbered(seq, &body), seq, Frames { reader }))
        };
        let begun = self.0.calls.run(&feed.room, call).await?;
        let (snapshot, seq, frames) = begun.ok_or_else(Problem::not_found)?;
        self.hub().counts().began(false);
        // A snapshot does not say that the token expires soon, and the client may have missed the message that did.
        self.0.expiry.tell_again(feed.session);
        Ok((vec![welcome(feed, false, seq - 1)?, snapshot], frames))
    }
}

fn welcome(feed: &Feed, resumed: bool, seq: u64) -> Result<Frame, Problem> {
    let message = Message::Welcome {
        room: feed.room.to_string(),
        identity: feed.identity.to_string(),
        session: feed.session.to_string(),
        resumed,
        seq,
    };
    let body = write(&message).ok_or_else(Problem::internal)?;
    Ok(Frame { seq: None, text: body.to_string() })
}
