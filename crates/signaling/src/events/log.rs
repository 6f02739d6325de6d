//! The log of one session: its last messages with rising numbers, so that a client that lost its connection gets what it missed.
//!
//! A log keeps nothing before the first connection, since that begins with a snapshot. When the log is full and nobody reads it, it
//! is emptied and keeps nothing until the next connection, which gets a snapshot too. So a member that never reads its events
//! costs a counter.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use model::{ParticipantId, RoomId, SessionId};
use tokio::sync::Notify;

use crate::limits;

/// Messages that a log keeps. At the bound the oldest one goes; a client that did not get it yet needs a snapshot.
const KEPT_MESSAGES: usize = 512;
/// Bytes of messages that a log keeps. The last message stays, whatever its size.
const KEPT_BYTES: usize = 256 * 1024;
/// Bytes that a reader takes at a time.
const TAKEN_BYTES: usize = 64 * 1024;

/// Commands that one session may send: 50 in a second, 100 at once. Those over it are answered with 429.
const COMMAND_INTERVAL: Duration = Duration::from_millis(20);
const COMMAND_DEPTH: Duration = Duration::from_secs(2);

/// The events of one session.
pub(crate) struct Feed {
    pub(crate) session: SessionId,
    pub(crate) room: RoomId,
    pub(crate) identity: ParticipantId,
    state: Mutex<State>,
    /// When the session may send as many commands at once as is ever allowed.
    commands_full_at: Mutex<Instant>,
}

struct State {
    /// The number of the last message.
    last: u64,
    /// The last messages, without their numbers; the last one has the number `last`.
    kept: VecDeque<Arc<str>>,
    bytes: usize,
    /// Messages are kept: there was a connection, and the log was never full without one since.
    keeping: bool,
    /// The session ended; its last message is in the log.
    ended: bool,
    /// The place of the connection. `None`: there is no connection.
    reader: Option<Arc<Place>>,
}

/// What one connection waits for.
#[derive(Default)]
struct Place {
    /// There may be something to take.
    wake: Notify,
    /// Another connection took the place.
    lost: Notify,
}

impl State {
    /// The number of the first message in the log; one more than `last` when the log is empty.
    fn first(&self) -> u64 {
        self.last + 1 - self.kept.len() as u64
    }

    fn keep(&mut self, body: Arc<str>) {
        self.bytes += body.len();
        self.kept.push_back(body);
        while self.kept.len() > KEPT_MESSAGES || (self.bytes > KEPT_BYTES && self.kept.len() > 1) {
            if self.reader.is_none() {
                self.forget();
                self.keeping = false;
                return;
            }
            self.bytes -= self.kept.pop_front().map_or(0, |body| body.len());
        }
    }

    fn forget(&mut self) {
        self.kept = VecDeque::new();
        self.bytes = 0;
    }

    fn push(&mut self, body: Arc<str>) {
        self.last += 1;
        if self.keeping {
            self.keep(body);
        }
        if let Some(reader) = &self.reader {
            reader.wake.notify_one();
        }
    }

    /// A new connection takes the place of the one before, which is told to end.
    fn attach(&mut self) -> Arc<Place> {
        let place = Arc::new(Place::default());
        if let Some(before) = self.reader.replace(place.clone()) {
            before.wake.notify_one();
            before.lost.notify_one();
        }
        self.keeping = true;
        place
    }
}

impl Feed {
    /// The events of a session that was just opened.
    pub(crate) fn new(session: SessionId, room: RoomId, identity: ParticipantId) -> Self {
        let state = State {
            last: 0,
            kept: VecDeque::new(),
            bytes: 0,
            keeping: false,
            ended: false,
            reader: None,
        };
        let commands_full_at = Mutex::new(Instant::now());
        Self { session, room, identity, state: Mutex::new(state), commands_full_at }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message: a JSON object without its number.
    pub(crate) fn push(&self, body: Arc<str>) {
        let mut state = self.lock();
        if !state.ended {
            state.push(body);
        }
    }

    /// Adds the last message.
    pub(crate) fn end(&self, body: Arc<str>) {
        let mut state = self.lock();
        if !std::mem::replace(&mut state.ended, true) {
            state.push(body);
        }
    }

    /// A connection that has the messages up to number `after`. `None` when the log does not reach back so far, or when there never
    /// was such a number.
    pub(crate) fn resume(self: &Arc<Self>, after: u64) -> Option<Reader> {
        let mut state = self.lock();
        if !state.keeping || after > state.last || after + 1 < state.first() {
            return None;
        }
        let place = state.attach();
        drop(state);
        Some(Reader { feed: self.clone(), place, next: after + 1 })
    }

    /// A connection that begins with a snapshot, and the number of the snapshot. The caller holds the lock of the room while it
    /// makes the snapshot and calls this, so that every message is either in the snapshot or comes after it.
    pub(crate) fn restart(self: &Arc<Self>) -> (Reader, u64) {
        let mut state = self.lock();
        state.last += 1;
        state.forget();
        let (place, number) = (state.attach(), state.last);
        drop(state);
        (Reader { feed: self.clone(), place, next: number + 1 }, number)
    }

    /// Counts one command against the session's limit.
    ///
    /// # Errors
    /// The time after which it would pass.
    pub(crate) fn take_command(&self, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.commands_full_at.lock().unwrap_or_else(PoisonError::into_inner);
        limits::spend(&mut full_at, now, COMMAND_INTERVAL, COMMAND_DEPTH)
    }
}

/// One connection's place in the log.
pub(crate) struct Reader {
    feed: Arc<Feed>,
    place: Arc<Place>,
    /// The number of the message that the connection needs next.
    next: u64,
}

/// What a reader has to send next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Messages with the number of the first one.
    Messages(u64, Vec<Arc<str>>),
    /// Nothing for now.
    Wait,
    /// The session ended, and the last message was taken.
    Ended,
    /// Another connection took this one's place.
    Replaced,
    /// The connection is so slow that its next message is not in the log any more.
    Behind,
}

impl Reader {
    /// Takes the next messages, 64 KiB at most, but at least one.
    pub(crate) fn take(&mut self) -> Next {
        let state = self.feed.lock();
        if !state.reader.as_ref().is_some_and(|reader| Arc::ptr_eq(reader, &self.place)) {
            return Next::Replaced;
        }
        let first = state.first();
        if self.next < first {
            return Next::Behind;
        }
        if self.next > state.last {
            return if state.ended { Next::Ended } else { Next::Wait };
        }
        let mut bytes = 0;
        // The difference is less than the number of messages in the log.
        let rest = state.kept.iter().skip((self.next - first) as usize);
        let taken: Vec<Arc<str>> = rest
            .take_while(|body| {
                let fits = bytes == 0 || bytes + body.len() <= TAKEN_BYTES;
                bytes += body.len();
                fits
            })
            .cloned()
            .collect();
        let from = self.next;
        self.next += taken.len() as u64;
        Next::Messages(from, taken)
    }

    /// Resolves when there may be something to take.
    pub(crate) async fn changed(&self) {
        self.place.wake.notified().await;
    }

    /// Resolves when another connection took this one's place. Whoever sends waits for this too: a client that does not read, and
    /// connects again and again, would otherwise have a snapshot of the room under way on every one of its connections.
    pub(crate) fn replaced(&self) -> impl Future<Output = ()> + Send + use<> {
        let place = self.place.clone();
        async move { place.lost.notified().await }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.feed.lock();
        if state.reader.as_ref().is_some_and(|reader| Arc::ptr_eq(reader, &self.place)) {
            state.reader = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Arc<Feed> {
        let (room, ann) = (RoomId::parse("r").unwrap(), ParticipantId::parse("ann").unwrap());
        Arc::new(Feed::new(SessionId(1), room, ann))
    }

    fn push(feed: &Feed, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            feed.push(format!("{{\"n\":{number}}}").into());
        }
    }

    /// All messages that the reader can take, and why there are no more.
    fn drain(reader: &mut Reader) -> (Vec<(u64, String)>, Next) {
        let mut taken = Vec::new();
        loop {
            match reader.take() {
                Next::Messages(from, bodies) => {
                    assert!(!bodies.is_empty());
                    taken.extend((from..).zip(bodies.iter().map(|body| body.to_string())));
                }
                end => return (taken, end),
            }
        }
    }

    #[test]
    fn a_client_that_comes_back_gets_what_it_missed() {
        let feed = feed();
        push(&feed, 1..=3);
        assert!(feed.resume(3).is_none(), "nothing was kept before the first connection");
        let (mut reader, number) = feed.restart();
        assert_eq!(number, 4);
        push(&feed, 5..=7);
        let (taken, end) = drain(&mut reader);
        assert_eq!(taken.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [5, 6, 7]);
        assert_eq!((taken[0].1.as_str(), end), ("{\"n\":5}", Next::Wait));
        drop(reader);
        push(&feed, 8..=9);
        let (taken, _) = drain(&mut feed.resume(5).unwrap());
        assert_eq!(taken.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [6, 7, 8, 9]);
        assert!(feed.resume(3).is_none(), "before the snapshot");
        assert!(feed.resume(4).is_some(), "the snapshot was the last thing that it got");
        assert!(feed.resume(9).is_some());
        assert!(feed.resume(10).is_none(), "a number that was never given");
        assert!(feed.resume(u64::MAX).is_none());
    }

    #[test]
    fn a_log_that_nobody_reads_is_bounded_and_then_empty() {
        let feed = feed();
        let (reader, _) = feed.restart();
        drop(reader);
        push(&feed, 2..=1 + KEPT_MESSAGES as u64);
        assert_eq!(feed.lock().kept.len(), KEPT_MESSAGES);
        assert!(feed.resume(1).is_some(), "all of it is there");
        push(&feed, 1..=1);
        assert!(feed.lock().kept.is_empty(), "the log was full without a reader");
        assert!(feed.resume(KEPT_MESSAGES as u64 + 1).is_none());
        let (_reader, number) = feed.restart();
        assert_eq!(number, KEPT_MESSAGES as u64 + 3, "numbers go on");
    }

    #[test]
    fn a_slow_reader_is_told_and_bytes_are_bounded() {
        let feed = feed();
        let (mut reader, _) = feed.restart();
        let big: Arc<str> = "x".repeat(KEPT_BYTES / 4).into();
        for _ in 0..4 {
            feed.push(big.clone());
        }
        assert!(matches!(reader.take(), Next::Messages(2, taken) if taken.len() == 1));
        for _ in 0..4 {
            feed.push(big.clone());
        }
        assert!(feed.lock().bytes <= KEPT_BYTES);
        assert_eq!(reader.take(), Next::Behind);
        feed.push("y".repeat(2 * KEPT_BYTES).into());
        assert_eq!(feed.lock().kept.len(), 1, "the last message stays, whatever its size");
    }

    #[test]
    fn the_newest_connection_wins_and_the_end_is_the_last_message() {
        let feed = feed();
        let (mut first, _) = feed.restart();
        push(&feed, 2..=2);
        let mut second = feed.resume(1).unwrap();
        assert_eq!(first.take(), Next::Replaced);
        drop(first);
        feed.end("{\"end\":1}".into());
        feed.push("{\"late\":1}".into());
        let (taken, end) = drain(&mut second);
        assert_eq!((taken.len(), end), (2, Next::Ended));
        assert_eq!(taken[1].1, "{\"end\":1}");
    }

    #[test]
    fn commands_are_counted_for_the_session() {
        let (feed, now) = (feed(), Instant::now());
        let passed = (0..1_000).filter(|_| feed.take_command(now).is_ok()).count();
        assert_eq!(passed, 100);
        assert!(feed.take_command(now + COMMAND_INTERVAL).is_ok());
    }
}
