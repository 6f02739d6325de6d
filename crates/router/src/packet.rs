//! A decrypted RTP packet with the metadata that ingress found out. It is immutable once it is shared.

use std::time::Instant;

use model::{DropReason, NtpTime, Pt, TrackId};
use rtp::ParsedExtensions;
use rtp::payload::PayloadInfo;
use rtp::sequence::ExtSeq;

/// A plain RTP packet of an up-track, shared as `Arc<Packet>` between all workers that forward it.
#[derive(Debug)]
pub struct Packet {
    /// Of fixed capacity; the packet is the first `header_len + payload_len` bytes.
    buf: Box<[u8]>,
    /// What ingress found out about it.
    pub meta: PacketMeta,
}

/// One numbering of a track: a simulcast layer, and which of the layer's successive sources. A source starts anew with
/// another SSRC, or with a jump in its sequence numbers. An id is never used twice in the life of a track: the counter
/// of sources has 56 bits, more than packets can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(u64);

impl StreamId {
    /// The stream of a layer's source; sources are counted from 0.
    pub fn new(layer: u8, source: u64) -> Self {
        Self(source << 8 | u64::from(layer))
    }

    /// The layer.
    pub fn layer(self) -> u8 {
        self.0 as u8
    }
}

/// What ingress found out about a packet.
#[derive(Debug, Clone)]
pub struct PacketMeta {
    /// The track it belongs to.
    pub track: TrackId,
    /// Its numbering. Packets of different streams have unrelated numbers: a subscriber is switched from one to the
    /// other at a key frame.
    pub stream: StreamId,
    /// Extended sequence number in its stream. Packets that are not forwarded (padding) have no number, so only losses
    /// leave gaps.
    pub seq: ExtSeq,
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type of the media at the publisher; for a retransmission the payload type of the original.
    pub pt: Pt,
    /// RTP clock of that payload type in hertz.
    pub clock_rate: u32,
    /// Bytes of header, CSRCs and extensions.
    pub header_len: u16,
    /// Bytes of payload, padding removed. 0 for padding that arrived late: it is forwarded empty, which closes the gap
    /// that it had left.
    pub payload_len: u16,
    /// When it arrived.
    pub arrival: Instant,
    /// Its header extensions, resolved with the publisher's ids.
    pub ext: ParsedExtensions,
    /// What the payload says about frames and layers.
    pub info: PayloadInfo,
    /// It arrived as a retransmission (RFC 4588).
    pub is_retransmission: bool,
}

impl PacketMeta {
    /// The metadata of a buffer that holds no packet yet.
    pub(crate) fn empty(now: Instant) -> Self {
        Self {
            track: TrackId(0),
            stream: StreamId::new(0, 0),
            seq: ExtSeq(0),
            timestamp: 0,
            marker: false,
            pt: Pt(0),
            clock_rate: 90_000,
            header_len: 0,
            payload_len: 0,
            arrival: now,
            ext: ParsedExtensions::default(),
            info: PayloadInfo::default(),
            is_retransmission: false,
        }
    }

    /// The simulcast layer: position in `model::UpMedia::rids`, or in `ssrcs` if there are no rids; 0 without
    /// simulcast.
    pub fn layer(&self) -> u8 {
        self.stream.layer()
    }
}

/// A packet of a track that neither a publisher's session on this worker nor another worker delivers: the test card,
/// and later a link to another node. Its origin supplies the metadata, and the packet skips ingest: it is not numbered
/// or parsed, and no retransmission of it is requested. Its payload is passed separately.
#[derive(Debug, Clone)]
pub struct Relayed {
    /// Position of its track in the plan of its session (`model::SessionPlan::up`).
    pub up: u8,
    /// Its numbering, as its origin counts sources.
    pub stream: StreamId,
    /// Extended sequence number in that stream; only losses leave gaps.
    pub seq: ExtSeq,
    /// RTP timestamp in units of `clock_rate`.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type at the publisher.
    pub pt: Pt,
    /// RTP clock of that payload type in hertz.
    pub clock_rate: u32,
    /// Header extensions. The dependency descriptor is taken from `descriptor`; its range in here is ignored.
    pub ext: ParsedExtensions,
    /// AV1 dependency descriptor as in the header extension; empty without one.
    pub descriptor: Vec<u8>,
    /// What the payload says about frames and layers.
    pub info: PayloadInfo,
    /// When it was captured, by the clock that all tracks of its publisher share. It ties the RTP timestamp to that
    /// clock, as a sender report does (RFC 3550 section 6.4.1).
    pub capture: Option<NtpTime>,
}

impl Packet {
    /// Makes this a packet that did not come through ingest.
    pub(crate) fn fill(
        &mut self,
        now: Instant,
        track: TrackId,
        head: &Relayed,
        payload: &[u8],
    ) -> Result<(), DropReason> {
        // Of the header's bytes only the descriptor is read later, so it is stored in their place.
        let (front, end) = (head.descriptor.len(), head.descriptor.len() + payload.len());
        let room = self.buf.get_mut(..end).ok_or(DropReason::TooLarge)?;
        room[..front].copy_from_slice(&head.descriptor);
        room[front..].copy_from_slice(payload);
        let mut ext = head.ext;
        ext.dependency_descriptor = (front > 0).then_some((0, front as u16));
        self.meta = PacketMeta {
            track,
            stream: head.stream,
            seq: head.seq,
            timestamp: head.timestamp,
            marker: head.marker,
            pt: head.pt,
            clock_rate: head.clock_rate,
            header_len: front as u16,
            payload_len: payload.len() as u16,
            arrival: now,
            ext,
            info: head.info,
            is_retransmission: false,
        };
        Ok(())
    }

    pub(crate) fn with_capacity(capacity: usize, now: Instant) -> Self {
        Self { buf: vec![0; capacity].into_boxed_slice(), meta: PacketMeta::empty(now) }
    }

    /// Header and payload.
    pub fn bytes(&self) -> &[u8] {
        let end = usize::from(self.meta.header_len) + usize::from(self.meta.payload_len);
        self.buf.get(..end).unwrap_or(&[])
    }

    /// Header, CSRCs and extensions. The header extension ranges in [`PacketMeta::ext`] count from its start.
    pub fn header(&self) -> &[u8] {
        self.buf.get(..usize::from(self.meta.header_len)).unwrap_or(&[])
    }

    /// Payload without padding.
    pub fn payload(&self) -> &[u8] {
        self.bytes().get(usize::from(self.meta.header_len)..).unwrap_or(&[])
    }

    /// Bytes that the buffer can hold.
    pub fn capacity(&self) -> usize {
        self.buf.len()
    }

    /// The whole buffer, for writing.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        &mut self.buf
    }
}
