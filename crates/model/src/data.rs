//! Data messages between the members of a room, over data channels or over the events of a session.

use std::sync::Arc;

use crate::Mid;

/// Longest topic in bytes. A topic is the label of a data channel (RFC 8832).
pub const TOPIC_MAX: usize = 128;
/// Largest message in bytes that a peer may send in a data channel; `a=max-message-size` (RFC 8841 section 6) of the answer.
pub const MESSAGE_MAX: usize = 64 * 1024;
/// The `protocol` of data channels whose messages are envelopes, which name the sender and the receivers. Messages of a channel
/// with another protocol are forwarded as they are, to everybody.
///
/// An envelope in a text message is a JSON object: `{"to":["bob"],"text":"hello"}` from a member, `{"from":"ann","text":"hello"}`
/// to a member. In a binary message two bytes (big endian) give the length of a JSON object that follows
/// (`{"to":["bob"]}`, `{"from":"ann"}`); the rest is the payload. Without `to` the message is for everybody else.
pub const ENVELOPE_PROTOCOL: &str = "sfumato";

/// The data channel section of a session (RFC 8841).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPlan {
    /// The section.
    pub mid: Mid,
    /// The peer's SCTP port. The node's is the same.
    pub sctp_port: u16,
    /// Largest message in bytes that the peer takes.
    pub max_message_size: u32,
}

/// How hard a data message is tried to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Delivery {
    /// In order, until it arrives.
    Reliable,
    /// Out of order and without retransmission.
    Lossy,
}

/// What a data message carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Text, UTF-8.
    Text(Arc<str>),
    /// Bytes.
    Binary(Arc<[u8]>),
}

impl Payload {
    /// The payload's bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Payload::Text(text) => text.as_bytes(),
            Payload::Binary(bytes) => bytes,
        }
    }
}

/// A message that came in a data channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataReceived {
    /// Label of the channel: the topic.
    pub topic: Arc<str>,
    /// The channel's protocol is [`ENVELOPE_PROTOCOL`].
    pub enveloped: bool,
    /// As the channel was opened: without a limit of retransmissions or not.
    pub delivery: Delivery,
    /// The message as it came.
    pub payload: Payload,
}

/// A message for a session's data channels. It goes into the channel of its topic; where there is none, the node opens one with
/// envelopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataToSend {
    /// Label of the channel.
    pub topic: Arc<str>,
    /// How the channel is opened, where there is none.
    pub delivery: Delivery,
    /// For channels with envelopes.
    pub enveloped: Payload,
    /// For channels without.
    pub plain: Payload,
}
