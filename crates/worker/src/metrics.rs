//! Counters of one worker. The worker is their only writer, and any thread may read them: no locks, no
//! read-modify-write.
//!
//! Sums that hold over a whole run (a test checks them):
//!
//! - every datagram: `datagrams_in` = `stun` + `dtls` + `rtcp` + `rtp_accepted` + `handed_over` + `dropped_in`
//! - every copy for a subscriber: `offered` = `forwarded` + `dropped_out` + `waiting`
//!
//! and over all workers: `relayed` = `relays_taken` + `relays_refused`, once the rings are empty.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use model::DropReason;

const REASONS: usize = DropReason::ALL.len();

macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Live counters of one worker.
        #[derive(Debug)]
        pub struct Counters {
            $($(#[doc = $doc])* pub(crate) $name: Counter,)*
            pub(crate) dropped_in: [Counter; REASONS],
            pub(crate) dropped_out: [Counter; REASONS],
        }

        impl Default for Counters {
            fn default() -> Self {
                Self {
                    $($name: Counter::default(),)*
                    dropped_in: std::array::from_fn(|_| Counter::default()),
                    dropped_out: std::array::from_fn(|_| Counter::default()),
                }
            }
        }

        /// The values of the counters of one worker at one moment.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct WorkerMetrics {
            /// The number of the worker.
            pub worker: usize,
            $($(#[doc = $doc])* pub $name: u64,)*
            /// Datagrams that went no further, by reason; only reasons that occurred.
            pub dropped_in: Vec<(DropReason, u64)>,
            /// Copies for subscribers that were not sent, by reason; only reasons that occurred.
            pub dropped_out: Vec<(DropReason, u64)>,
        }

        impl Counters {
            /// The values now.
            pub fn snapshot(&self, worker: usize) -> WorkerMetrics {
                WorkerMetrics {
                    worker,
                    $($name: self.$name.value(),)*
                    dropped_in: by_reason(&self.dropped_in),
                    dropped_out: by_reason(&self.dropped_out),
                }
            }
        }

        impl WorkerMetrics {
            /// Name, description and value of each plain counter, for exposition.
            pub fn counters(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
                [$((stringify!($name), concat!($($doc),*).trim_start(), self.$name),)*].into_iter()
            }

            /// Sum over workers; `worker` keeps the value of `self`.
            pub fn add(&mut self, other: &WorkerMetrics) {
                $(self.$name += other.$name;)*
                add_reasons(&mut self.dropped_in, &other.dropped_in);
                add_reasons(&mut self.dropped_out, &other.dropped_out);
            }
        }
    };
}

counters! {
    /// Datagrams received from the network or from a local source.
    datagrams_in,
    /// Bytes of the received datagrams.
    bytes_in,
    /// STUN messages answered.
    stun,
    /// DTLS datagrams taken.
    dtls,
    /// RTCP packets taken.
    rtcp,
    /// RTP packets that were authentic and could be parsed.
    rtp_accepted,
    /// Datagrams handed to the worker that owns their session.
    handed_over,
    /// Addresses entered in the kernel's table, because their datagrams reached another worker.
    steered,
    /// Accepted packets given to other workers (one count for each).
    relayed,
    /// Packets taken from other workers.
    relays_taken,
    /// Packets that another worker did not take because its ring was full.
    relays_refused,
    /// Copies to make: accepted packets times their subscribers, and retransmissions.
    offered,
    /// Copies sealed for a subscriber.
    forwarded,
    /// Bytes of the copies sealed for subscribers.
    forwarded_bytes,
    /// Retransmissions among the copies sealed for subscribers.
    retransmitted,
    /// Copies that were selected for a subscriber and have not left yet.
    waiting,
    /// Picture losses (PLI, FIR) that are answered later, since the same viewer was answered a short while ago.
    key_frames_deferred,
    /// Data messages taken from data channels.
    data_messages_in,
    /// Data messages sent in data channels.
    data_messages_out,
    /// Data messages for peers that were dropped, because too many waited or the peer does not take them.
    data_messages_dropped,
    /// Datagrams given to the kernel.
    datagrams_out,
    /// Bytes of the datagrams given to the kernel.
    bytes_out,
    /// Messages given to the kernel: a train of many datagrams is one.
    messages_out,
    /// System calls for sending.
    send_calls,
    /// Datagrams of any kind that the kernel did not take because its buffer was full.
    send_full,
    /// Datagrams of any kind that the kernel refused (no route, not permitted).
    send_refused,
    /// Times that the worker woke up.
    wakeups,
    /// Turns that began a second or more after the one before; peers notice such a gap.
    late_turns,
    /// Sessions that this worker owns now.
    sessions,
    /// Sessions whose DTLS handshake is not done; beyond 4,096 new ones are refused (`dtls_limit`).
    half_open,
    /// Network paths that this worker knows now: of its sessions, eight each at most, and of other sessions whose datagrams arrived here.
    paths,
    /// Messages to other workers that wait for room in their queues; beyond 65,536 for one worker they are lost.
    messages_waiting,
    /// Tracks that this worker knows now.
    tracks,
    /// Packet buffers that exist now.
    packet_buffers,
    /// Bytes of the packet buffers that hold packets.
    packet_bytes_used,
    /// Bytes that packet buffers may take.
    packet_bytes_limit,
    /// Packets that were dropped from a cache early, because their publisher held as much memory as it may.
    packets_let_go,
    /// Sessions that reached the connected state.
    sessions_connected,
    /// Sessions that were ended because of a panic.
    panics,
}

/// A number with one writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        // One writer, so a load and a store do, without a locked instruction.
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    #[inline]
    pub(crate) fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Counters {
    #[inline]
    pub(crate) fn drop_in(&self, reason: DropReason) {
        self.dropped_in[reason as usize].add(1);
    }

    #[inline]
    pub(crate) fn drop_out_many(&self, reason: DropReason, copies: u64) {
        self.dropped_out[reason as usize].add(copies);
    }

    pub(crate) fn waiting_add(&self, copies: u64) {
        self.waiting.add(copies);
    }

    pub(crate) fn waiting_done(&self, copies: u64) {
        self.waiting.set(self.waiting.value().saturating_sub(copies));
    }

    #[inline]
    pub(crate) fn drop_out(&self, reason: DropReason) {
        self.dropped_out[reason as usize].add(1);
    }
}

fn by_reason(counters: &[Counter; REASONS]) -> Vec<(DropReason, u64)> {
    let all = DropReason::ALL.iter().zip(counters);
    all.map(|(&reason, c)| (reason, c.value())).filter(|&(_, n)| n > 0).collect()
}

fn add_reasons(into: &mut Vec<(DropReason, u64)>, from: &[(DropReason, u64)]) {
    for &(reason, n) in from {
        match into.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, sum)) => *sum += n,
            None => into.push((reason, n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_add_up() {
        let (a, b) = (Counters::default(), Counters::default());
        a.forwarded.add(3);
        b.forwarded.add(4);
        a.drop_out(DropReason::NotConnected);
        b.drop_out(DropReason::NotConnected);
        b.drop_out(DropReason::RingFull);
        let mut sum = a.snapshot(0);
        sum.add(&b.snapshot(1));
        assert_eq!(sum.forwarded, 7);
        assert_eq!(sum.dropped_out, [(DropReason::NotConnected, 2), (DropReason::RingFull, 1)]);
    }
}
