//! The queue of events, in the order of their times; events of one time in the order in which they were entered.

use std::{cmp::Ordering, collections::BinaryHeap, net::SocketAddr, time::Duration};

use model::Event;

use crate::node::{Request, Response};

/// An event.
pub(crate) enum What {
    /// A datagram reaches the node.
    ToNode { from: SocketAddr, bytes: Vec<u8> },
    /// A datagram reaches an address.
    ToPeer { to: SocketAddr, bytes: Vec<u8> },
    /// A request reaches signaling.
    Request { peer: usize, request: Request },
    /// An answer reaches a peer.
    Response { peer: usize, response: Response },
    /// A worker's event reaches signaling.
    Told(Event),
    /// The script takes its next action.
    Act,
    /// The checks run.
    Look,
}

struct Entry {
    at: Duration,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest event is the greatest; of one time the one that was entered first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// See the module's head.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<Entry>,
    entered: u64,
}

impl Queue {
    pub(crate) fn enter(&mut self, at: Duration, what: What) {
        self.entered += 1;
        self.heap.push(Entry { at, number: self.entered, what });
    }

    /// When the next event is due.
    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|e| e.at)
    }

    /// Takes the next event, if its time has come.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<What> {
        self.heap.peek().filter(|e| e.at <= now)?;
        self.heap.pop().map(|e| e.what)
    }
}
