//! A decrypted RTP packet with what was learned about it on the way in. It never changes once it is shared.

use std::time::Instant;

use model::{Pt, TrackId};
use rtp::ParsedExtensions;
use rtp::payload::PayloadInfo;
use rtp::sequence::ExtSeq;

/// A plain RTP packet of an up-track, shared as `Arc<Packet>` between all workers that forward it.
#[derive(Debug)]
pub struct Packet {
    /// Fixed capacity; the packet is the first `header_len + payload_len` bytes.
    buf: Box<[u8]>,
    /// What ingress learned about it.
    pub meta: PacketMeta,
}

/// What ingress learned about a packet.
#[derive(Debug, Clone)]
pub struct PacketMeta {
    /// The track it belongs to.
    pub track: TrackId,
    /// The simulcast layer: position in `model::UpMedia::rids`, or in `ssrcs` where there are no rids; 0 without
    /// simulcast.
    pub layer: u8,
    /// Counts up each time the layer's source starts anew (another SSRC, or a jump in its numbering). Packets of
    /// different epochs share no numbering: a subscriber crosses over at a key frame, as between layers.
    pub epoch: u8,
    /// Extended sequence number of the layer in this epoch. Packets that end here (padding) have no number, so it
    /// has no gaps but for losses.
    pub seq: ExtSeq,
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Payload type of the media at the publisher; for a retransmission that of the original.
    pub pt: Pt,
    /// RTP clock of that payload type in hertz.
    pub clock_rate: u32,
    /// Bytes of header, CSRCs and extensions.
    pub header_len: u16,
    /// Bytes of payload, padding removed. May be 0: late padding, which closes the gap that it had left.
    pub payload_len: u16,
    /// When it came in.
    pub arrival: Instant,
    /// Its header extensions, resolved with the publisher's ids.
    pub ext: ParsedExtensions,
    /// What its payload says about frames and layers.
    pub info: PayloadInfo,
    /// It came as a retransmission (RFC 4588).
    pub is_retransmission: bool,
}

impl PacketMeta {
    /// Values of a buffer that holds no packet yet.
    pub(crate) fn empty(now: Instant) -> Self {
        Self {
            track: TrackId(0),
            layer: 0,
            epoch: 0,
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

    /// Layer and epoch as one number: equal for packets that share a numbering.
    pub fn stream(&self) -> u16 {
        u16::from(self.epoch) << 8 | u16::from(self.layer)
    }
}

impl Packet {
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
