//! One SCTP association and its channels, as the caller sees them: packets, time, events, messages.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::data::TOPIC_MAX;
use model::{DataPlan, Delivery, DtlsRole, Payload};
use sctp_proto::{DatagramEvent, Endpoint, Event, PayloadProtocolIdentifier as Ppid, StreamEvent};
use thiserror::Error;

use super::channel::Channel;
use super::dcep::{self, Message, Open, PROTOCOL_MAX};
use super::guard::{Guard, Verdict};
use super::payload::{decode, encode};
use super::settings::{endpoint_config, server_config};
use super::split::split;
use super::{CHANNELS_MAX, SEND_BUFFER, SEND_MAX, SEND_MESSAGES_MAX};

/// The library wants an address of the peer; packets go where DTLS goes.
const NOWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
/// A channel of one association: the number of its SCTP stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(pub u16);

/// An event of an association.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataEvent {
    /// The association stands: channels can be opened.
    Open,
    /// The association ended, and all channels with it. The session goes on; the peer may begin another association.
    Closed,
    /// The peer opened a channel.
    ChannelOpened {
        /// The channel.
        channel: ChannelId,
        /// Its label.
        label: Arc<str>,
        /// Its protocol.
        protocol: Arc<str>,
        /// [`Delivery::Lossy`] where the peer limits retransmissions in number or time.
        delivery: Delivery,
    },
    /// A whole message came.
    Message {
        /// The channel.
        channel: ChannelId,
        /// At most [`model::data::MESSAGE_MAX`] bytes.
        payload: Payload,
    },
    /// A channel ended, by the peer or because the peer did what is not allowed in it.
    ChannelClosed {
        /// The channel.
        channel: ChannelId,
    },
}

/// Why no channel was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// There is no association yet, or no more.
    #[error("the association is not open")]
    NotOpen,
    /// The most channels are open, or all stream numbers are in use.
    #[error("the association has as many channels as it may have")]
    TooMany,
    /// The label or the protocol is too long.
    #[error("the label or the protocol is too long")]
    TooLong,
}

/// Why a message was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The channel is not open.
    #[error("the channel is not open")]
    NotOpen,
    /// The message is longer than the peer takes, or than [`SEND_MAX`].
    #[error("the message is longer than the peer takes")]
    TooLong,
    /// The send buffer is full. It empties as the peer acknowledges.
    #[error("too much waits to be acknowledged by the peer")]
    Full,
}

/// The SCTP association of one session.
///
/// The order of calls: [`handle`](Self::handle), [`handle_timeout`](Self::handle_timeout), [`open`](Self::open),
/// [`send`](Self::send), [`close`](Self::close) or [`poll_event`](Self::poll_event), as many as there are; then
/// [`flush`](Self::flush), and [`poll_transmit`](Self::poll_transmit) until it returns `None`; then
/// [`poll_timeout`](Self::poll_timeout).
pub struct Association {
    role: DtlsRole,
    /// The longest message that the peer takes.
    message_max: usize,
    guard: Guard,
    library: Option<Library>,
    established: bool,
    channels: BTreeMap<u16, Channel>,
    /// Events other than messages.
    events: VecDeque<DataEvent>,
    /// Streams with messages that were not taken. Each once.
    readable: VecDeque<u16>,
    /// The library may have something to send.
    touched: bool,
    /// Packets to be sent.
    packets: VecDeque<Bytes>,
}

/// The protocol library's state, which exists from the peer's INIT on.
struct Library {
    endpoint: Endpoint,
    association: sctp_proto::Association,
}

impl Association {
    /// An association that the peer may begin. The DTLS role of the node decides which stream numbers are whose.
    pub fn new(now: Instant, plan: &DataPlan, role: DtlsRole) -> Self {
        // RFC 8841 section 6.1: 0 means any length.
        let most = plan.max_message_size;
        let message_max = if most == 0 { SEND_MAX } else { SEND_MAX.min(most as usize) };
        Self {
            role,
            message_max,
            guard: Guard::new(now),
            library: None,
            established: false,
            channels: BTreeMap::new(),
            events: VecDeque::new(),
            readable: VecDeque::new(),
            touched: false,
            packets: VecDeque::new(),
        }
    }

    /// Takes an SCTP packet of the peer. Returns `false` if it was dropped by a bound.
    pub fn handle(&mut self, now: Instant, packet: &[u8]) -> bool {
        let caught_up = self.readable.is_empty();
        match self.guard.admit(now, packet, self.established, caught_up) {
            Verdict::Pass => {}
            Verdict::Drop => return false,
            Verdict::Abort => {
                self.end();
                return false;
            }
        }
        let packet = Bytes::copy_from_slice(packet);
        if let Some(library) = &mut self.library {
            let taken = library.endpoint.handle(now, NOWHERE, None, None, packet);
            // Another verification tag than ours, or another INIT before the first one was answered by a COOKIE ECHO: the endpoint
            // takes one association, and discards what does not belong to it (RFC 9260 section 8.5).
            if let Some((_, DatagramEvent::AssociationEvent(event))) = taken {
                library.association.handle_event(event);
            }
        } else {
            let mut endpoint =
                Endpoint::new(endpoint_config(), Some(server_config(self.message_max)));
            let taken = endpoint.handle(now, NOWHERE, None, None, packet);
            if let Some((_, DatagramEvent::NewAssociation(association))) = taken {
                endpoint.reject_new_associations();
                self.library = Some(Library { endpoint, association });
            }
        }
        self.settle(now);
        true
    }

    /// Handles timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some(library) = &mut self.library {
            library.association.handle_timeout(now);
            self.settle(now);
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.library.as_ref()?.association.poll_timeout()
    }

    /// Makes the packets that are due, messages that were sent since the last call together where they fit.
    pub fn flush(&mut self, now: Instant) {
        if std::mem::take(&mut self.touched) {
            self.gather(now);
        }
    }

    /// The next packet to send, in one DTLS record.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let packet = self.packets.pop_front();
        if self.packets.is_empty() {
            self.packets = VecDeque::new();
        }
        packet
    }

    /// The next event. Messages of several channels come in turn. A message that is not taken keeps its place in the receive window.
    pub fn poll_event(&mut self, now: Instant) -> Option<DataEvent> {
        // Bounded: the guard bounds the messages that the library holds.
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            let id = self.readable.pop_front()?;
            let Some(message) = self.read(id) else { continue };
            self.readable.push_back(id);
            let event = self.take(id, message);
            self.settle(now);
            if event.is_some() {
                return event;
            }
        }
    }

    /// Whether [`poll_event`](Self::poll_event) may return something.
    pub fn has_events(&self) -> bool {
        !self.events.is_empty() || !self.readable.is_empty()
    }

    /// Whether INIT and COOKIE were exchanged.
    pub fn is_open(&self) -> bool {
        self.established
    }

    /// Opens a channel. Messages may be sent in it at once (RFC 8832 section 6).
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        &mut self,
        now: Instant,
        label: &str,
        protocol: &str,
        delivery: Delivery,
    ) -> Result<ChannelId, OpenError> {
        if label.len() > TOPIC_MAX || protocol.len() > PROTOCOL_MAX {
            return Err(OpenError::TooLong);
        }
        if self.channels.len() >= CHANNELS_MAX {
            return Err(OpenError::TooMany);
        }
        if !self.established {
            return Err(OpenError::NotOpen);
        }
        let library = self.library.as_mut().ok_or(OpenError::NotOpen)?;
        // RFC 8832 section 6: the DTLS client takes the even numbers, the server the odd ones.
        let parity = u16::from(self.role == DtlsRole::Passive);
        let mut numbers = (parity..self.guard.streams()).step_by(2);
        let open = Open::new(label, protocol, delivery);
        let id = numbers.find(|id| {
            // Numbers whose reset is under way are refused.
            !self.channels.contains_key(id)
                && library.association.open_stream(*id, Ppid::Binary).is_ok()
        });
        let id = id.ok_or(OpenError::TooMany)?;
        let written = library.write(id, &Bytes::from(open.write()), Ppid::Dcep);
        if !written {
            return Err(OpenError::NotOpen);
        }
        let channel = Channel::new(open);
        if let Ok(mut stream) = library.association.stream(id) {
            channel.configure(&mut stream, false);
        }
        self.channels.insert(id, channel);
        self.settle(now);
        Ok(ChannelId(id))
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`SendError`]; nothing was sent.
    pub fn send(
        &mut self,
        now: Instant,
        channel: ChannelId,
        payload: &Payload,
    ) -> Result<(), SendError> {
        if !self.channels.contains_key(&channel.0) || !self.established {
            return Err(SendError::NotOpen);
        }
        let len = payload.as_bytes().len();
        if len > self.message_max {
            return Err(SendError::TooLong);
        }
        let (bytes, messages) = self.waiting();
        if bytes + len > SEND_BUFFER || messages >= SEND_MESSAGES_MAX {
            return Err(SendError::Full);
        }
        let (data, ppid) = encode(payload);
        let library = self.library.as_mut().ok_or(SendError::NotOpen)?;
        if !library.write(channel.0, &data, ppid) {
            return Err(SendError::NotOpen);
        }
        if let Some(channel) = self.channels.get_mut(&channel.0) {
            channel.sent(data.len());
        }
        self.settle(now);
        Ok(())
    }

    /// Bytes and messages of all channels that wait for the peer's acknowledgement.
    pub fn waiting(&mut self) -> (usize, usize) {
        let Some(library) = &mut self.library else { return (0, 0) };
        let mut sum = (0, 0);
        for (id, channel) in self.channels.iter_mut().filter(|(_, channel)| channel.waiting() > 0) {
            let stream = library.association.stream(*id);
            let bytes = stream.and_then(|stream| stream.buffered_amount()).unwrap_or(0);
            channel.waits(bytes);
            sum = (sum.0 + bytes, sum.1 + channel.waiting());
        }
        sum
    }

    /// Closes a channel (RFC 8831 section 6.7). No event follows.
    pub fn close(&mut self, now: Instant, channel: ChannelId) {
        if self.channels.remove(&channel.0).is_some() {
            self.reset(channel.0);
            self.settle(now);
        }
    }

    fn read(&mut self, id: u16) -> Option<(Ppid, Vec<u8>)> {
        let library = self.library.as_mut()?;
        let message = library.association.stream(id).ok()?.read_sctp().ok()??;
        self.guard.took(message.chunks.len());
        let mut bytes = vec![0; message.len()];
        message.read(&mut bytes).ok()?;
        Some((message.ppi, bytes))
    }

    /// Takes a message of the peer.
    fn take(&mut self, id: u16, (ppid, bytes): (Ppid, Vec<u8>)) -> Option<DataEvent> {
        if ppid == Ppid::Dcep {
            return match Message::parse(&bytes) {
                Some(Message::Open(open)) => self.opened(id, open),
                Some(Message::Ack) => {
                    self.answered(id);
                    None
                }
                None => self.refuse(id),
            };
        }
        match decode(ppid, bytes) {
            Some(payload) if self.channels.contains_key(&id) => {
                Some(DataEvent::Message { channel: ChannelId(id), payload })
            }
            _ => self.refuse(id),
        }
    }

    /// The peer opened a channel: answers, if it may.
    fn opened(&mut self, id: u16, open: Open) -> Option<DataEvent> {
        // RFC 8832 section 6: the numbers of one side are even and those of the other odd, so that both may open at once.
        let own = id % 2 == u16::from(self.role == DtlsRole::Passive);
        if own || self.channels.contains_key(&id) || self.channels.len() >= CHANNELS_MAX {
            return self.refuse(id);
        }
        let library = self.library.as_mut()?;
        let channel = Channel::new(open);
        if let Ok(mut stream) = library.association.stream(id) {
            channel.configure(&mut stream, true);
        }
        library.write(id, &Bytes::from_static(&dcep::ACK), Ppid::Dcep);
        let event = DataEvent::ChannelOpened {
            channel: ChannelId(id),
            label: Arc::clone(&channel.label),
            protocol: Arc::clone(&channel.protocol),
            delivery: channel.delivery,
        };
        self.channels.insert(id, channel);
        Some(event)
    }

    fn answered(&mut self, id: u16) {
        if let (Some(channel), Some(library)) = (self.channels.get(&id), &mut self.library)
            && let Ok(mut stream) = library.association.stream(id)
        {
            channel.configure(&mut stream, true);
        }
    }

    /// Closes the channel in which the peer did what is not allowed (RFC 8831 section 6.6, RFC 8832 section 6).
    fn refuse(&mut self, id: u16) -> Option<DataEvent> {
        self.reset(id);
        self.channels.remove(&id).map(|_| DataEvent::ChannelClosed { channel: ChannelId(id) })
    }

    /// Closes both directions of a stream.
    fn reset(&mut self, id: u16) {
        self.readable.retain(|readable| *readable != id);
        if let Some(library) = &mut self.library
            && let Ok(mut stream) = library.association.stream(id)
        {
            // It fails only where the association has ended.
            let _ = stream.close();
        }
    }

    /// Takes what the library wants to tell.
    fn settle(&mut self, now: Instant) {
        self.touched = true;
        let mut lost = false;
        while let Some(event) = self.library.as_mut().and_then(|l| l.association.poll()) {
            match event {
                Event::Connected if !self.established => {
                    self.established = true;
                    self.events.push_back(DataEvent::Open);
                }
                Event::HandshakeFailed { .. } | Event::AssociationLost { .. } => lost = true,
                Event::Stream(StreamEvent::Readable { id }) if !self.readable.contains(&id) => {
                    self.readable.push_back(id);
                }
                Event::Stream(StreamEvent::Finished { id }) => {
                    // The library resets our direction as well (RFC 8831 section 6.7).
                    self.readable.retain(|readable| *readable != id);
                    if self.channels.remove(&id).is_some() {
                        let channel = ChannelId(id);
                        self.events.push_back(DataEvent::ChannelClosed { channel });
                    }
                }
                _ => {}
            }
        }
        if lost {
            self.gather(now);
            self.end();
        }
    }

    /// Takes what the library wants to send.
    fn gather(&mut self, now: Instant) {
        // One call takes all that may be sent now; each one looks at everything that is under way.
        let transmit = self.library.as_mut().and_then(|l| l.association.poll_transmit(now));
        if let Some(sctp_proto::Payload::RawEncode(packets)) = transmit.map(|t| t.payload) {
            for packet in packets.into_iter().flat_map(split) {
                self.guard.sent(&packet);
                self.packets.push_back(packet);
            }
        }
    }

    /// The association is over.
    fn end(&mut self) {
        self.library = None;
        self.channels = BTreeMap::new();
        self.readable = VecDeque::new();
        if std::mem::take(&mut self.established) {
            self.events.push_back(DataEvent::Closed);
        }
    }
}

impl Library {
    /// Writes a message to a stream. The bounds were checked before.
    fn write(&mut self, id: u16, data: &Bytes, ppid: Ppid) -> bool {
        let stream = self.association.stream(id);
        stream.and_then(|mut stream| stream.write_sctp(data, ppid)).is_ok()
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("established", &self.established)
            .field("channels", &self.channels.len())
            .finish_non_exhaustive()
    }
}
