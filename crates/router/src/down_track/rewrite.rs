//! Writes a packet for one subscriber: a new header, the payload after it, and picture numbers shifted in place. The
//! offsets come from [`super::splice`].
//!
//! H.264 and H.265 payloads have no numbers of their own and are copied. In VP8 and VP9 the picture id and TL0PICIDX
//! are shifted, in AV1 the frame number in the dependency descriptor.

use model::{DropReason, Extension, ExtensionMap, Mid, NtpTime, Pt, Ssrc};
use rtp::HeaderWriter;
use rtp::payload::{PayloadInfo, vp8, vp9};

use super::prepared::{CommonIds, Prepared, Values};
use super::splice::Segment;
use crate::Packet;

/// Longest dependency descriptor: the length of a header extension is one byte.
const MAX_DESCRIPTOR: usize = 255;

/// What all packets of a slot have in common.
#[derive(Debug)]
pub(crate) struct Template {
    mid: Mid,
    /// The subscriber's ids; 0 if one was not negotiated.
    common: CommonIds,
    orientation_id: u8,
    playout_delay_id: u8,
    descriptor_id: u8,
    prepared: Prepared,
}

/// Lengths of a packet that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lengths {
    /// Header, extensions included.
    pub(crate) header: usize,
    /// The whole packet.
    pub(crate) all: usize,
}

/// SSRC, payload type and numbers that a packet is sent with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) pt: Pt,
    pub(crate) ssrc: Ssrc,
    pub(crate) sequence: u16,
    /// Original sequence number of a retransmission (RFC 4588 section 4).
    pub(crate) original: Option<u16>,
    /// For abs-send-time. `None` for a packet that may have to be written again bit by bit: it must not contain values
    /// that change with time.
    pub(crate) sent_at: Option<NtpTime>,
    /// Transport-wide sequence number; `None` for the same reason as `sent_at`.
    pub(crate) transport_cc: Option<u16>,
}

impl Template {
    pub(crate) fn new(mid: Mid, ids: &ExtensionMap) -> Self {
        let id = |extension| ids.id(extension).unwrap_or(0);
        let common = CommonIds {
            mid: id(Extension::Mid),
            abs_send_time: id(Extension::AbsSendTime),
            transport_cc: id(Extension::TransportCc),
            audio_level: id(Extension::AudioLevel),
        };
        Self {
            mid,
            common,
            orientation_id: id(Extension::VideoOrientation),
            playout_delay_id: id(Extension::PlayoutDelay),
            descriptor_id: id(Extension::DependencyDescriptor),
            prepared: Prepared::new(mid, common),
        }
    }

    /// Whether [`Address::sent_at`] is used.
    pub(crate) fn tells_send_time(&self) -> bool {
        self.common.abs_send_time != 0
    }

    /// Whether [`Address::transport_cc`] is used.
    pub(crate) fn tells_transport_number(&self) -> bool {
        self.common.transport_cc != 0
    }

    /// Writes the header and `payload` of a packet.
    // Inlined: a result that is returned through memory is read before the payload's stores are done, and the read
    // waits for them.
    #[inline(always)]
    pub(crate) fn write(
        &self,
        address: &Address,
        segment: &Segment,
        packet: &Packet,
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<Lengths, DropReason> {
        let header_len = self.write_header(address, segment, packet, out)?;
        let original = address.original.map(u16::to_be_bytes);
        let prefix = original.as_ref().map_or(&[][..], |o| o);
        let start = header_len + prefix.len();
        let len = start + payload.len();
        let body = out.get_mut(header_len..len).ok_or(DropReason::TooLarge)?;
        let (front, body) = body.split_at_mut(prefix.len());
        front.copy_from_slice(prefix);
        body.copy_from_slice(payload);
        shift_pictures(body, &packet.meta.info, segment);
        Ok(Lengths { header: header_len, all: len })
    }

    #[inline(always)]
    fn write_header(
        &self,
        address: &Address,
        segment: &Segment,
        packet: &Packet,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let ext = &packet.meta.ext;
        let sent_at = address.sent_at.map(|ntp| {
            let [_, a, b, c] = ntp.abs_send_time().to_be_bytes();
            [a, b, c]
        });
        let number = address.transport_cc.map(u16::to_be_bytes);
        let level = ext.audio_level.map(|l| l.to_byte());
        let values = Values { sent_at, number, level };
        let writer = HeaderWriter {
            marker: packet.meta.marker,
            pt: address.pt,
            sequence: address.sequence,
            timestamp: segment.out_timestamp(packet),
            ssrc: address.ssrc,
        };
        let has = |id: u8, there: bool| id != 0 && there;
        let rare = has(self.orientation_id, ext.video_orientation.is_some())
            || has(self.playout_delay_id, ext.playout_delay.is_some())
            || has(self.descriptor_id, ext.dependency_descriptor.is_some());
        if !rare && let Some(len) = self.prepared.write(&writer, &values, out) {
            return Ok(len);
        }
        self.write_extensions(&writer, packet, segment, &values, out)
    }

    /// Writes a header with all extensions that the packet has.
    #[inline(never)]
    fn write_extensions(
        &self,
        writer: &HeaderWriter,
        packet: &Packet,
        segment: &Segment,
        values: &Values,
        out: &mut [u8],
    ) -> Result<usize, DropReason> {
        let ext = &packet.meta.ext;
        let level = values.level.map(|l| [l]);
        let orientation = ext.video_orientation.map(|o| [o]);
        let common = [
            (self.common.mid, self.mid.as_bytes()),
            or_absent(self.common.abs_send_time, values.sent_at.as_ref().map(|t| &t[..])),
            or_absent(self.common.transport_cc, values.number.as_ref().map(|n| &n[..])),
            or_absent(self.common.audio_level, level.as_ref().map(|l| &l[..])),
            or_absent(self.orientation_id, orientation.as_ref().map(|o| &o[..])),
            or_absent(self.playout_delay_id, ext.playout_delay.as_ref().map(|p| &p[..])),
        ];
        let descriptor = match self.descriptor_id {
            0 => None,
            _ => ext.dependency_descriptor(packet.bytes()),
        };
        let Some(descriptor) = descriptor.filter(|d| d.len() <= MAX_DESCRIPTOR) else {
            return Ok(writer.write(out, &common)?);
        };
        let mut copy = [0; MAX_DESCRIPTOR];
        let copy = &mut copy[..descriptor.len()];
        copy.copy_from_slice(descriptor);
        if let [_, high, low, ..] = copy {
            let number = u16::from_be_bytes([*high, *low]).wrapping_add(segment.frame);
            [*high, *low] = number.to_be_bytes();
        }
        let [a, b, c, d, e, f] = common;
        Ok(writer.write(out, &[a, b, c, d, e, f, (self.descriptor_id, copy)])?)
    }
}

/// A header extension that this packet may not have. Id 0 is skipped.
fn or_absent(id: u8, value: Option<&[u8]>) -> (u8, &[u8]) {
    value.map_or((0, &[]), |value| (id, value))
}

/// RFC 7741 section 4.2, RFC 9628 section 4.2: the copy has the numbers at the same positions.
fn shift_pictures(payload: &mut [u8], info: &PayloadInfo, segment: &Segment) {
    if let Some(fields) = &info.vp8 {
        let picture = fields.picture_id.map_or(0, |p| p.value.wrapping_add(segment.picture));
        let tl0 = fields.tl0_pic_idx.map_or(0, |(_, t)| t.wrapping_add(segment.tl0));
        vp8::rewrite_picture(payload, fields, picture, tl0);
    } else if let Some(fields) = &info.vp9 {
        let picture = fields.picture_id.map_or(0, |p| p.value.wrapping_add(segment.picture));
        let tl0 = fields.tl0_pic_idx.map_or(0, |(_, t)| t.wrapping_add(segment.tl0));
        vp9::rewrite_picture(payload, fields, picture, tl0);
    }
}
