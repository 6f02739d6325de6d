//! Retransmissions that wait for their turn: in the order of the requests, each once, and bounded. Whether a packet
//! may be resent at all is decided by the router when it leaves.

use std::collections::VecDeque;

use hashbrown::HashSet;

/// Retransmissions that may wait: as many as one RTCP packet can request.
const MAX: usize = 512;

/// A packet that a receiver requested again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Resend {
    /// Position of the slot in its session.
    pub(crate) down: u16,
    /// Sequence number that the receiver knows it by.
    pub(crate) sequence: u16,
}

/// The retransmissions of one receiver; see the head of the file. Nothing is allocated for receivers that lose
/// nothing.
#[derive(Default)]
pub(crate) struct Resends {
    order: VecDeque<Resend>,
    /// The entries of `order`, so that a request that waits already is found without a search.
    waiting: HashSet<Resend>,
}

impl Resends {
    /// Queues a retransmission. `false` when the same one waits already, or too many do.
    pub(crate) fn push(&mut self, resend: Resend) -> bool {
        if self.order.len() >= MAX || !self.waiting.insert(resend) {
            return false;
        }
        self.order.push_back(resend);
        true
    }

    /// The next retransmission.
    pub(crate) fn pop(&mut self) -> Option<Resend> {
        let resend = self.order.pop_front()?;
        self.waiting.remove(&resend);
        Some(resend)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Drops all.
    pub(crate) fn clear(&mut self) {
        self.order.clear();
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_waits_once_and_may_be_asked_for_again_when_it_has_left() {
        let mut resends = Resends::default();
        let [a, b] = [1, 2].map(|down| Resend { down, sequence: 7 });
        assert!(resends.push(a) && !resends.push(a) && resends.push(b));
        assert_eq!((resends.pop(), resends.len()), (Some(a), 1));
        assert!(resends.push(a));
        assert_eq!((resends.pop(), resends.pop(), resends.pop()), (Some(b), Some(a), None));
    }

    #[test]
    fn a_flood_of_numbers_waits_within_bounds() {
        let mut resends = Resends::default();
        let taken = (0..=u16::MAX).filter(|n| resends.push(Resend { down: 0, sequence: *n }));
        assert_eq!(taken.count(), MAX);
        assert!(resends.waiting.capacity() < 4 * MAX);
        resends.clear();
        assert!(resends.is_empty() && resends.push(Resend { down: 0, sequence: 0 }));
    }
}
