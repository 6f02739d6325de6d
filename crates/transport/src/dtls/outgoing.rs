//! Flights to the peer: writes messages into records and records into datagrams, and sends a flight again that seems
//! lost (RFC 6347 sections 4.2.3 and 4.2.4).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::incoming;
use super::record::{self, Cipher, Writer};

/// Largest datagram of a handshake flight. IPv6 guarantees 1,280 bytes, and tunnels need some of them.
const MTU: usize = 1200;
/// A lost flight is sent again after this time, then after twice as long, and so on. RFC 6347 section 4.2.4.1 starts
/// at 1 s, to avoid congestion by retransmissions; two packets to one validated path do not congest it, and a user
/// waits for them.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
/// If the peer repeats its flight, ours was lost. It is then sent again, but not sooner than this after the last time,
/// so that forged repetitions cost at most one flight per this time.
const SHORTEST_REPETITION: Duration = Duration::from_millis(125);
/// Most datagrams that wait to be taken. The caller takes them after each call; if it does not, flights are not sent
/// again.
const MAX_WAITING: usize = 32;

/// A part of a flight, kept to be sent again.
enum Part {
    /// An unencrypted handshake message with its header.
    Plain(Vec<u8>),
    ChangeCipherSpec,
    /// A handshake message with its header, sealed: Finished.
    Sealed(Vec<u8>),
}

/// Messages, records and datagrams to the peer.
#[derive(Default)]
pub(super) struct Outgoing {
    records: Writer,
    /// Number of our next message.
    next_message: u16,
    flight: Vec<Part>,
    sent: Option<Instant>,
    /// When the flight is sent again, and the time that it waited.
    again: Option<(Instant, Duration)>,
    datagrams: VecDeque<Vec<u8>>,
}

impl Outgoing {
    /// Ends the last flight, which has arrived, and begins an empty one.
    pub(super) fn begin_flight(&mut self) {
        self.flight.clear();
        self.again = None;
    }

    /// Adds a message to the flight and returns it with its header, as it is hashed.
    pub(super) fn message(&mut self, kind: u8, body: &[u8]) -> &[u8] {
        let raw = self.numbered(kind, body);
        self.flight.push(Part::Plain(raw));
        self.last()
    }

    /// Adds ChangeCipherSpec and a sealed message, which is returned as it is hashed.
    pub(super) fn sealed_message(&mut self, kind: u8, body: &[u8]) -> &[u8] {
        let raw = self.numbered(kind, body);
        self.flight.push(Part::ChangeCipherSpec);
        self.flight.push(Part::Sealed(raw));
        self.last()
    }

    fn numbered(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut raw = Vec::with_capacity(incoming::HEADER_LEN + body.len());
        incoming::put_header(&mut raw, kind, body.len(), self.next_message);
        raw.extend_from_slice(body);
        self.next_message += 1;
        raw
    }

    fn last(&self) -> &[u8] {
        match self.flight.last() {
            Some(Part::Plain(raw) | Part::Sealed(raw)) => raw,
            _ => &[],
        }
    }

    /// Seals records with this cipher from now on.
    pub(super) fn seal_with(&mut self, cipher: Cipher) {
        self.records.seal_with(cipher);
    }

    /// Sends the flight, and repeats it until [`begin_flight`](Self::begin_flight) is called.
    pub(super) fn send(&mut self, now: Instant) {
        self.again = Some((now + FIRST_RETRANSMISSION, FIRST_RETRANSMISSION));
        self.write(now);
    }

    /// Sends the last flight of a handshake, which is not answered: it is sent again only if the peer repeats its own.
    pub(super) fn send_last(&mut self, now: Instant) {
        self.again = None;
        self.write(now);
    }

    /// Forgets the flight: the peer needs it no more.
    pub(super) fn forget_flight(&mut self) {
        self.flight = Vec::new();
        self.again = None;
    }

    /// The peer repeats a flight that was already answered.
    pub(super) fn peer_repeats(&mut self, now: Instant) {
        if self.sent.is_none_or(|sent| now >= sent + SHORTEST_REPETITION) {
            self.write(now);
        }
    }

    /// Sends the flight again if that is due.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if let Some((at, waited)) = self.again
            && now >= at
        {
            let wait = 2 * waited;
            self.again = Some((now + wait, wait));
            self.write(now);
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.again.map(|(at, _)| at)
    }

    /// Sends an alert (RFC 5246 section 7.2), sealed if there are keys.
    pub(super) fn alert(&mut self, level: u8, description: u8) {
        let mut datagram = Vec::new();
        let sealed = self.records.can_seal();
        self.records.put(&mut datagram, record::ALERT, sealed, &[level, description]);
        self.push(datagram);
    }

    /// Writes a datagram of one record of application data. Writes nothing, and returns `false`, if it cannot be sealed.
    pub(super) fn seal(&mut self, data: &[u8], datagram: &mut Vec<u8>) -> bool {
        datagram.clear();
        if self.records.can_seal() {
            self.records.put(datagram, record::APPLICATION_DATA, true, data);
        }
        !datagram.is_empty()
    }

    /// The datagrams to be sent, the oldest first.
    pub(super) fn datagrams(&mut self) -> &mut VecDeque<Vec<u8>> {
        &mut self.datagrams
    }

    fn push(&mut self, datagram: Vec<u8>) {
        if !datagram.is_empty() {
            self.datagrams.push_back(datagram);
        }
    }

    fn write(&mut self, now: Instant) {
        self.sent = Some(now);
        if self.datagrams.len() >= MAX_WAITING {
            return;
        }
        let mut datagram = Vec::with_capacity(MTU);
        let flight = std::mem::take(&mut self.flight);
        for part in &flight {
            match part {
                Part::Plain(raw) => self.write_message(&mut datagram, raw, false),
                Part::Sealed(raw) => self.write_message(&mut datagram, raw, true),
                Part::ChangeCipherSpec => {
                    if datagram.len() + record::HEADER_LEN + 1 > MTU {
                        self.push(std::mem::take(&mut datagram));
                    }
                    self.records.put(&mut datagram, record::CHANGE_CIPHER_SPEC, false, &[1]);
                }
            }
        }
        self.push(datagram);
        self.flight = flight;
    }

    /// Writes a message in records of its own. If it does not fit in an empty datagram it is fragmented; if it only
    /// does not fit in this datagram it begins the next one.
    fn write_message(&mut self, datagram: &mut Vec<u8>, raw: &[u8], sealed: bool) {
        let overhead = record::HEADER_LEN
            + incoming::HEADER_LEN
            + if sealed { record::SEALED_OVERHEAD } else { 0 };
        let (header, body) = raw.split_at(incoming::HEADER_LEN);
        let most = MTU - overhead;
        let mut offset = 0;
        loop {
            let left = body.len() - offset;
            if !datagram.is_empty() && datagram.len() + overhead + left.min(most) > MTU {
                self.push(std::mem::take(datagram));
            }
            let len = left.min(most);
            let mut fragment = Vec::with_capacity(incoming::HEADER_LEN + len);
            // Type, length and number of the message; then offset and length of the fragment.
            fragment.extend_from_slice(&header[..6]);
            super::wire::put_u24(&mut fragment, offset);
            super::wire::put_u24(&mut fragment, len);
            fragment.extend_from_slice(&body[offset..offset + len]);
            self.records.put(datagram, record::HANDSHAKE, sealed, &fragment);
            offset += len;
            if offset == body.len() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::incoming::{Incoming, fragments};
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn a_message_of_any_length_arrives_whole() {
        for len in [0, 1, 1174, 1175, 1176, 2350, 9000] {
            let mut outgoing = Outgoing::default();
            let body: Vec<u8> = (0..len).map(|at| at as u8).collect();
            outgoing.message(1, &[9; 50]);
            outgoing.message(2, &body);
            outgoing.send(start());
            let mut incoming = Incoming::default();
            for datagram in outgoing.datagrams() {
                assert!(datagram.len() <= MTU);
                for record in record::records(datagram) {
                    for fragment in fragments(record.body) {
                        incoming.insert(&fragment.unwrap());
                    }
                }
            }
            assert_eq!(incoming.pop().unwrap().body(), [9; 50]);
            assert_eq!(incoming.pop().unwrap().body(), body);
        }
    }

    #[test]
    fn a_flight_is_sent_again_after_twice_as_long_each_time() {
        let now = start();
        let mut outgoing = Outgoing::default();
        outgoing.message(1, b"hello");
        outgoing.send(now);
        let mut at = Vec::new();
        for _ in 0..4 {
            let due = outgoing.poll_timeout().unwrap();
            outgoing.handle_timeout(due - Duration::from_millis(1));
            outgoing.handle_timeout(due);
            at.push((due - now).as_millis());
        }
        assert_eq!(at, [250, 750, 1750, 3750]);
        let datagrams: Vec<_> = outgoing.datagrams().drain(..).collect();
        assert_eq!(datagrams.len(), 5);
        // Each time under another record number, with the same message number.
        assert_ne!(datagrams[0], datagrams[1]);
        assert_eq!(datagrams[0][13..], datagrams[4][13..]);
    }

    #[test]
    fn repetitions_of_the_peer_do_not_amplify() {
        let now = start();
        let mut outgoing = Outgoing::default();
        outgoing.message(1, b"hello");
        outgoing.send(now);
        for millis in 0..1000 {
            outgoing.peer_repeats(now + Duration::from_millis(millis));
        }
        assert_eq!(outgoing.datagrams().len(), 1 + 7);
    }
}
