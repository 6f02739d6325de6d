//! Data channels of one session: SCTP over DTLS (RFC 8261, RFC 8831) and the channels' opening (DCEP, RFC 8832).
//!
//! - [`Association`]: SCTP packets in and out, channels, messages, back-pressure
//! - `guard`: which packets of the peer the protocol library gets to see, so that a peer cannot use up memory or time
//! - `dcep`: the two messages that open a channel
//! - `channel`: what is kept for each open channel
//! - `payload`: messages and their payload protocol; `settings`: of the library
//! - `split`: packets that the library made too long
//!
//! # Back-pressure
//!
//! A message stays in the association until [`Association::poll_event`] returns it. A caller that takes no more events closes
//! the receive window of this peer: the peer's own channels fill, and nobody else notices. In the other direction
//! [`Association::send`] answers [`SendError::Full`] at the bound of the send buffer, and never keeps more.
//!
//! # Why not our own, and why `sctp-proto`
//!
//! SCTP is large: congestion control, retransmission, partial reliability, stream reset. Two libraries keep I/O and clocks out:
//!
//! - `sctp-proto`, of the str0m project, is used here. It bounds the length of a message while the message is put together and the
//!   bytes of the receive buffer, deferred data included, and it can be sent between threads.
//! - `dcsctp` 0.1, by the authors of the stack in Chromium, writes every packet as hexadecimal text even where no log wants it, keeps
//!   state for every stream number that a peer names, bounds a received message only by its receive buffer, and cannot be sent
//!   between threads. The tests use it as the peer, since it shares no code with ours.
//!
//! What `sctp-proto` leaves open is done in `guard` (threats row 37).
//!
//! # What is not supported
//!
//! The node opens no association itself: browsers always send INIT. Channels that are agreed outside of DCEP (`negotiated: true`).
//! Message interleaving (RFC 8260), so that a long message delays the others of its association.

use model::data::MESSAGE_MAX;

mod association;
mod channel;
mod dcep;
mod guard;
mod payload;
mod settings;
mod split;

pub use association::{Association, ChannelId, DataEvent, OpenError, SendError};

#[cfg(feature = "lab")]
pub use dcep::fuzz as fuzz_dcep;

/// Largest SCTP packet in bytes. With the DTLS record and the headers of UDP and IPv6 it fits in the 1,280 bytes that every path
/// carries (RFC 8831 section 5 allows no fragmentation by IP).
pub(crate) const PACKET_MAX: usize = 1_160;
/// Most channels that are open at a time.
pub const CHANNELS_MAX: usize = 64;
/// Stream numbers go up to this number, exclusive. Browsers take the lowest free number of their parity, so 64 channels need 128;
/// the rest is for numbers whose reset is under way.
pub const STREAMS_MAX: u16 = 256;
/// Longest message in bytes that is sent, if the peer takes it: the longest one that peers may send, in an envelope with escapes.
pub const SEND_MAX: usize = 2 * MESSAGE_MAX;
/// Bytes of messages that wait for the peer's acknowledgement, over all channels.
pub const SEND_BUFFER: usize = 256 * 1_024;
/// Messages that wait for the peer's acknowledgement, over all channels. Each costs memory however short it is, and the library looks
/// at all of them for each packet.
pub const SEND_MESSAGES_MAX: usize = 1_024;
/// Bytes that the peer may have sent and that were not taken yet, fragments included (the advertised receive window).
pub const RECEIVE_WINDOW: u32 = 256 * 1_024;
