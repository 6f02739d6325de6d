//! When which session wants to be called: a heap of deadlines, in which stale entries are passed over.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use model::SessionId;

/// Deadlines of the sessions of one worker. A session has at most a few entries: it adds one only when it wants to
/// be called earlier than what is armed.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, SessionId)>>,
}

impl Timers {
    pub(crate) fn arm(&mut self, at: Instant, session: SessionId) {
        self.heap.push(Reverse((at, session)));
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the next session whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<SessionId> {
        let Reverse((at, _)) = self.heap.peek()?;
        if *at > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, session))| session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn deadlines_come_in_order_and_not_before_their_time() {
        let start = Instant::now();
        let mut timers = Timers::default();
        timers.arm(start + Duration::from_millis(20), SessionId(2));
        timers.arm(start + Duration::from_millis(10), SessionId(1));
        assert_eq!(timers.pop_due(start), None);
        assert_eq!(timers.pop_due(start + Duration::from_millis(30)), Some(SessionId(1)));
        assert_eq!(timers.next(), Some(start + Duration::from_millis(20)));
        assert_eq!(timers.pop_due(start + Duration::from_millis(20)), Some(SessionId(2)));
        assert_eq!(timers.next(), None);
    }
}
