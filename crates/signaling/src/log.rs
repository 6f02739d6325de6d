//! Log lines that clients can cause, each kind with a rate limit ([`LogLimit`]). They are never written under a room's
//! lock: a slow log would hold up the room.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{LogLimit, RoomId, SessionId};
use room::Notice;

use crate::resources::Face;

/// The limit of one kind of line.
pub(crate) struct Lines(Mutex<LogLimit>);

impl Lines {
    /// Allows `lines` in each `interval`.
    pub(crate) const fn new(lines: u32, interval: Duration) -> Self {
        Self(Mutex::new(LogLimit::new(lines, interval)))
    }

    /// As [`LogLimit::pass`], at the present time. The inner value is the number of lines that were left out; it is
    /// `None` when there were none, and tracing writes no field for it.
    pub(crate) fn pass(&self) -> Option<Option<u64>> {
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner).pass(Instant::now());
        passed.map(|hidden| (hidden > 0).then_some(hidden))
    }
}

/// A trusted proxy that sends no PROXY header. Without a limit each of its connections would write a line.
pub(crate) static PROXY_LINES: Lines = Lines::new(1, Duration::from_secs(10));

/// No file descriptor is left. Clients that hold connections can cause this again and again.
pub(crate) static ACCEPT_LINES: Lines = Lines::new(1, Duration::from_secs(10));

/// Defects and failures of the machine. Without a limit each request that meets one would write a line.
pub(crate) static DEFECT_LINES: Lines = Lines::new(10, Duration::from_secs(1));

/// Webhooks that were not delivered. A receiver that is down fails for each room.
pub(crate) static WEBHOOK_LINES: Lines = Lines::new(1, Duration::from_secs(10));

/// Lines about sessions, and the notices of the rooms that are not written yet.
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

/// The number of notices that are queued; further ones are counted and not written.
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
    /// Logs that a session was opened.
    pub(crate) fn agreed(&self, session: SessionId, room: &RoomId, face: Face) {
        if let Some(hidden) = self.agreed.pass() {
            tracing::info!(%session, %room, face = face.as_str(), hidden, "session agreed");
        }
    }

    /// Queues a notice. Nothing is written here, since the caller holds the lock of a room.
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
            _ => {}
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

    /// A writer that counts lines.
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
    fn notices_are_written_without_a_rooms_lock_and_within_a_rate() {
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
            // A new second may have begun during the test.
            assert!((2..=202).contains(&written()), "{}", written());
            assert!(lines.kept.lock().unwrap().notices.is_empty());
        });
    }
}
