//! A bad line between a bot and its socket: loss, delay, jitter and a rate limit, each way by itself. Sans-IO, seeded.
//! It holds delayed datagrams; without faults there is no link.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::{random::Random, units};

/// The faults of a line. Each applies both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// Share of datagrams that are lost, 0 to 1.
    pub loss: f64,
    /// Delay of each datagram.
    pub delay: Duration,
    /// Up to this much more delay, evenly spread; datagrams may overtake each other.
    pub jitter: Duration,
    /// Bits per second each way; 0 for no limit. Up to 200 ms queue before datagrams are dropped.
    pub rate: u64,
}

impl Faults {
    /// Whether there is any fault.
    pub fn any(&self) -> bool {
        *self != Faults::default()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |time: Duration, what| (!time.is_zero()).then(|| format!("{time:?} {what}"));
        let parts = [
            (self.loss > 0.0).then(|| format!("{} % loss", (self.loss * 1e5).round() / 1e3)),
            time(self.delay, "delay"),
            time(self.jitter, "jitter"),
            (self.rate > 0).then(|| units::show_bitrate(self.rate as f64)),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// Longest queue of a rate limit.
const MAX_QUEUE: Duration = Duration::from_millis(200);
/// Most datagrams under way, each way.
const MAX_HELD: usize = 4_096;

/// One way of a line.
#[derive(Debug, Default)]
struct Way {
    held: BinaryHeap<Reverse<Held>>,
    /// When the rate limiter has sent everything that it holds.
    free_at: Option<Instant>,
    order: u64,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: Instant,
    order: u64,
    peer: SocketAddr,
    bytes: Vec<u8>,
}

/// A line with faults.
#[derive(Debug)]
pub(crate) struct Link {
    faults: Faults,
    random: Random,
    out: Way,
    into: Way,
}

impl Link {
    pub(crate) fn new(faults: Faults, random: Random) -> Link {
        Link { faults, random, out: Way::default(), into: Way::default() }
    }

    /// Takes an outgoing datagram; false when it is lost.
    pub(crate) fn send(&mut self, now: Instant, to: SocketAddr, bytes: Vec<u8>) -> bool {
        self.out.push(now, &self.faults, &mut self.random, to, bytes)
    }

    /// Takes an incoming datagram; false when it is lost.
    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, bytes: Vec<u8>) -> bool {
        self.into.push(now, &self.faults, &mut self.random, from, bytes)
    }

    /// Outgoing datagrams that are due now.
    pub(crate) fn due_out(&mut self, now: Instant) -> Option<(SocketAddr, Vec<u8>)> {
        self.out.pop(now).map(|held| (held.peer, held.bytes))
    }

    /// Incoming datagrams that are due now, and when each arrived.
    pub(crate) fn due_in(&mut self, now: Instant) -> Option<(Instant, SocketAddr, Vec<u8>)> {
        self.into.pop(now).map(|held| (held.due, held.peer, held.bytes))
    }

    /// When the next datagram is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let first = |way: &Way| way.held.peek().map(|held| held.0.due);
        [first(&self.out), first(&self.into)].into_iter().flatten().min()
    }
}

impl Way {
    fn push(
        &mut self,
        now: Instant,
        faults: &Faults,
        random: &mut Random,
        peer: SocketAddr,
        bytes: Vec<u8>,
    ) -> bool {
        if random.unit() < faults.loss || self.held.len() == MAX_HELD {
            return false;
        }
        let mut due = now;
        if faults.rate > 0 {
            let start = self.free_at.map_or(now, |at| at.max(now));
            if start > now + MAX_QUEUE {
                return false;
            }
            due = start + Duration::from_secs_f64(bytes.len() as f64 * 8.0 / faults.rate as f64);
            self.free_at = Some(due);
        }
        due += faults.delay + faults.jitter.mul_f64(random.unit());
        self.order += 1;
        self.held.push(Reverse(Held { due, order: self.order, peer, bytes }));
        true
    }

    fn pop(&mut self, now: Instant) -> Option<Held> {
        if self.held.peek()?.0.due > now {
            return None;
        }
        self.held.pop().map(|held| held.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        "192.0.2.1:1".parse().unwrap()
    }

    fn link(faults: Faults) -> Link {
        Link::new(faults, Random::new(3))
    }

    #[test]
    fn loses_the_share_that_was_asked_for() {
        let mut link = link(Faults { loss: 0.2, ..Faults::default() });
        let now = Instant::now();
        let mut through = 0;
        for _ in 0..10_000 {
            through += u32::from(link.send(now, peer(), vec![1]));
            while link.due_out(now).is_some() {}
        }
        assert!((7_800..8_200).contains(&through), "{through}");
    }

    #[test]
    fn delays_both_ways_and_jitter_reorders() {
        let ms = Duration::from_millis;
        let mut link = link(Faults { delay: ms(50), jitter: ms(20), ..Faults::default() });
        let now = Instant::now();
        for number in 0..100 {
            assert!(link.send(now, peer(), vec![number]));
            assert!(link.receive(now, peer(), vec![number]));
        }
        assert_eq!(link.due_out(now + ms(49)), None);
        let first = link.poll_timeout().unwrap();
        assert!((now + ms(50)..now + ms(55)).contains(&first));
        let out: Vec<u8> =
            std::iter::from_fn(|| link.due_out(now + ms(70))).map(|(_, b)| b[0]).collect();
        assert_eq!(out.len(), 100);
        assert!(!out.is_sorted());
        let came: Vec<Instant> =
            std::iter::from_fn(|| link.due_in(now + ms(90))).map(|(at, ..)| at).collect();
        assert_eq!(came.len(), 100);
        assert!(
            came.is_sorted() && came[99] <= now + ms(70),
            "who is late to look changes nothing"
        );
        assert_eq!(link.poll_timeout(), None);
    }

    #[test]
    fn a_slow_line_spreads_and_then_drops() {
        // 1,000 bytes take 8 ms at a megabit; 200 ms of queue hold 26 of them.
        let mut link = link(Faults { rate: 1_000_000, ..Faults::default() });
        let now = Instant::now();
        let taken = (0..100).filter(|_| link.send(now, peer(), vec![0; 1_000])).count();
        assert_eq!(taken, 26);
        let by = |ms: u64| now + Duration::from_millis(ms);
        let count = |link: &mut Link, at| std::iter::from_fn(|| link.due_out(at)).count();
        assert_eq!(count(&mut link, by(81)), 10);
        assert_eq!(count(&mut link, by(1_000)), 16);
    }
}
