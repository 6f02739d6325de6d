//! The data channel establishment protocol (RFC 8832): the messages OPEN and ACK.

use model::Delivery;
use model::data::TOPIC_MAX;

/// Longest protocol of a channel in bytes. Longer ones are refused.
pub(super) const PROTOCOL_MAX: usize = 128;

const DATA_CHANNEL_ACK: u8 = 0x02;
const DATA_CHANNEL_OPEN: u8 = 0x03;
/// Type, channel type, priority, reliability parameter, length of label, length of protocol.
const OPEN_HEADER: usize = 12;
/// Bit of the channel type: unordered.
const UNORDERED: u8 = 0x80;

/// How often a message is sent again (RFC 8832 section 5.1, Channel Type).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reliability {
    /// Until it arrives.
    Reliable,
    /// This many times.
    Retransmissions(u32),
    /// For this many milliseconds.
    Lifetime(u32),
}

/// OPEN (RFC 8832 section 5.1). Its priority is not used: all channels are equal here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Open {
    pub(super) unordered: bool,
    pub(super) reliability: Reliability,
    pub(super) label: String,
    pub(super) protocol: String,
}

/// A message of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Open(Open),
    Ack,
}

impl Message {
    /// `None`: not a message of RFC 8832, or a label or protocol that is not UTF-8 or too long.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes.first()? {
            DATA_CHANNEL_ACK => Some(Message::Ack),
            DATA_CHANNEL_OPEN => Open::parse(bytes).map(Message::Open),
            _ => None,
        }
    }
}

/// ACK (RFC 8832 section 5.2).
pub(super) const ACK: [u8; 1] = [DATA_CHANNEL_ACK];

impl Open {
    pub(super) fn new(label: &str, protocol: &str, delivery: Delivery) -> Self {
        let (unordered, reliability) = match delivery {
            Delivery::Reliable => (false, Reliability::Reliable),
            Delivery::Lossy => (true, Reliability::Retransmissions(0)),
        };
        Self { unordered, reliability, label: label.to_owned(), protocol: protocol.to_owned() }
    }

    /// A channel that gives up on messages is lossy, however late it does.
    pub(super) fn delivery(&self) -> Delivery {
        match self.reliability {
            Reliability::Reliable => Delivery::Reliable,
            Reliability::Retransmissions(_) | Reliability::Lifetime(_) => Delivery::Lossy,
        }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<OPEN_HEADER>()?;
        let &[_, kind, _, _, p0, p1, p2, p3, l0, l1, n0, n1] = header;
        let parameter = u32::from_be_bytes([p0, p1, p2, p3]);
        let reliability = match kind & !UNORDERED {
            0 => Reliability::Reliable,
            1 => Reliability::Retransmissions(parameter),
            2 => Reliability::Lifetime(parameter),
            _ => return None,
        };
        let (label_len, protocol_len) =
            (usize::from(u16::from_be_bytes([l0, l1])), usize::from(u16::from_be_bytes([n0, n1])));
        if label_len > TOPIC_MAX || protocol_len > PROTOCOL_MAX {
            return None;
        }
        let (label, rest) = rest.split_at_checked(label_len)?;
        let (protocol, rest) = rest.split_at_checked(protocol_len)?;
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).ok().map(str::to_owned);
        let (label, protocol) = (text(label)?, text(protocol)?);
        let unordered = kind & UNORDERED != 0;
        rest.is_empty().then_some(Self { unordered, reliability, label, protocol })
    }

    pub(super) fn write(&self) -> Vec<u8> {
        let (kind, parameter) = match self.reliability {
            Reliability::Reliable => (0, 0),
            Reliability::Retransmissions(times) => (1, times),
            Reliability::Lifetime(millis) => (2, millis),
        };
        let kind = kind | if self.unordered { UNORDERED } else { 0 };
        let mut out = Vec::with_capacity(OPEN_HEADER + self.label.len() + self.protocol.len());
        // The priority "normal" (RFC 8831 section 6.4).
        out.extend_from_slice(&[DATA_CHANNEL_OPEN, kind, 1, 0]);
        out.extend_from_slice(&parameter.to_be_bytes());
        out.extend_from_slice(&(self.label.len() as u16).to_be_bytes());
        out.extend_from_slice(&(self.protocol.len() as u16).to_be_bytes());
        out.extend_from_slice(self.label.as_bytes());
        out.extend_from_slice(self.protocol.as_bytes());
        out
    }
}

/// Parses a DCEP message. What parses is within its limits and, an OPEN written again, the same.
///
/// # Panics
/// Where that is not so.
#[cfg(feature = "lab")]
pub fn fuzz(bytes: &[u8]) {
    if let Some(Message::Open(open)) = Message::parse(bytes) {
        assert!(open.label.len() <= TOPIC_MAX && open.protocol.len() <= PROTOCOL_MAX);
        assert_eq!(Message::parse(&open.write()), Some(Message::Open(open)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for unordered in [false, true] {
            for reliability in [
                Reliability::Reliable,
                Reliability::Retransmissions(3),
                Reliability::Lifetime(100_000),
            ] {
                let open = Open {
                    unordered,
                    reliability,
                    label: "chät".to_owned(),
                    protocol: "sfumato".to_owned(),
                };
                assert_eq!(Message::parse(&open.write()), Some(Message::Open(open)));
            }
        }
        assert_eq!(Message::parse(&ACK), Some(Message::Ack));
    }

    #[test]
    fn an_open_as_chromium_writes_it() {
        let bytes = b"\x03\x81\x01\x00\x00\x00\x00\x02\x00\x04\x00\x00chat";
        let Some(Message::Open(open)) = Message::parse(bytes) else { panic!("an OPEN") };
        assert_eq!(open.delivery(), Delivery::Lossy);
        assert!(open.unordered);
        assert_eq!((open.label.as_str(), open.protocol.as_str()), ("chat", ""));
        assert_eq!(open.reliability, Reliability::Retransmissions(2));
    }

    #[test]
    fn malformed_messages_are_refused() {
        let whole = Open::new("label", "protocol", Delivery::Reliable).write();
        for len in 0..whole.len() {
            assert_eq!(Message::parse(&whole[..len]), None, "{len} bytes");
        }
        let mut more = whole.clone();
        more.push(0);
        assert_eq!(Message::parse(&more), None);
        let mut kind = whole.clone();
        kind[1] = 3;
        assert_eq!(Message::parse(&kind), None);
        let mut text = whole;
        text[OPEN_HEADER] = 0xff;
        assert_eq!(Message::parse(&text), None);
        let long = Open::new(&"x".repeat(TOPIC_MAX + 1), "", Delivery::Reliable).write();
        assert_eq!(Message::parse(&long), None);
        assert_eq!(Message::parse(&[1, 0, 0]), None);
    }
}
