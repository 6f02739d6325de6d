//! Lines of the log that those who connect can cause, each kind with a limit ([`LogLimit`]). Never written with a room's
//! lock held: a log that is slow to be written would hold up the room.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{LogLimit, RoomId, SessionId};
use room::Notice;

use crate::resources::Face;

/// The limit of one kind of line.
pub(crate) struct Lines(Mutex<LogLimit>);

impl Lines {
    /// `lines` in each `interval`.
    pub(crate) const fn new(lines: u32, interval: Duration) -> Self {
        Self(Mutex::new(LogLimit::new(lines, interval)))
    }

    /// As [`LogLimit::pass`], now. Inside is the number of lines that were left out, if there were any: a field that is `None` is
    /// not written.
    pub(crate) fn pass(&self) -> Option<Option<u64>> {
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now());
        passed.map(|hidden| (hidden > 0).then_some(hidden))
    }
}

/// A trusted proxy that sends no PROXY header: without a limit one line for each of its connections.
pub(crate) static PROXY_LINES: Lines = Lines::new(1, Duration::from_secs(10));

/// A lack of file descriptors. Clients that hold connections can bring it about again and again.
pub(crate) static ACCEPT_LINES: Lines = Lines::new(1, Duration::from_secs(10));

/// Defects, and failures of the machine. Without a limit each request that meets one would write a line.
pub(crate) static DEFECT_LINES: Lines = Lines::new(10, Duration::from_secs(1));

/// Lines about sessions, and what the rooms told of them that is not written yet.
pub(crate) struct SessionLines {
    agreed: Lines,
    ended: Lines,
    incompatible: Lines,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    notices: VecDeque<Notice>,
    lost: u64,
}

/// Notices that are queued at most; those beyond are counted and not written.
const KEPT: usize = 1024;

const SECOND: Duration = Duration::from_secs(1);

impl Default for SessionLines {
    fn default() -> Self {
        Self {
            agreed: Lines::new(100, SECOND),
            ended: Lines::new(100, SECOND),
            incompatible: Lines::new(10, SECOND),
            kept: Mutex::default(),
        }
    }
}

impl SessionLines {
    /// A session was opened.
    pub(crate) fn agreed(&self, session: SessionId, room: &RoomId, face: Face) {
        if let Some(hidden) = self.agreed.pass() {
            tracing::info!(%session, %room, face = face.as_str(), hidden, "session agreed");
        }
    }

    /// Queues a notice. Writes nothing, since the caller holds the lock of a room.
    pub(crate) fn keep(&self, notice: &Notice) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.notices.len() < KEPT {
            kept.notices.push_back(notice.clone());
        } else {
            kept.lost += 1;
        }
    }

    /// Writes the queued notices.
    pub(crate) fn write(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        for notice in kept.notices {
            self.write_one(&notice);
        }
        if kept.lost > 0 {
            tracing::info!(hidden = kept.lost, "more happened to sessions than is written here");
        }
    }

    fn write_one(&self, notice: &Notice) {
        match notice {
            Notice::SessionClosed { session, reason } => {
                if let Some(hidden) = self.ended.pass() {
                    tracing::info!(%session, reason = reason.as_str(), hidden, "session ended");
                }
            }
            Notice::Incompatible { viewer, track, publisher } => {
                if let Some(hidden) = self.incompatible.pass() {
                    tracing::info!(%viewer, %track, %publisher, hidden, "no codec in common");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use room::EndReason;
    use tracing::span;

    use super::*;

    /// Counts lines.
    #[derive(Clone, Default)]
    struct Counter(Arc<AtomicUsize>);

    impl tracing::Subscriber for Counter {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn what_rooms_tell_is_written_after_their_turn_and_within_a_rate() {
        let counter = Counter::default();
        let written = || counter.0.load(Ordering::Relaxed);
        tracing::subscriber::with_default(counter.clone(), || {
            let lines = SessionLines::default();
            let ended = Notice::SessionClosed { session: SessionId(1), reason: EndReason::Deleted };
            lines.keep(&ended);
            assert_eq!(written(), 0, "the room's lock is held");
            lines.write();
            assert_eq!(written(), 1);
            for _ in 0..100_000 {
                lines.keep(&ended);
            }
            lines.write();
            // A second may have begun in between.
            assert!((2..=202).contains(&written()), "{}", written());
            assert!(lines.kept.lock().unwrap().notices.is_empty());
        });
    }
}
