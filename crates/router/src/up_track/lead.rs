//! Where a key frame begins: its first packet, and the packets in front of it that belong to it. H.264, H.265 and AV1
//! may send parameter sets in packets of their own; a decoder that begins at the key frame needs them.

use std::time::Instant;

use rtp::sequence::ExtSeq;

use super::cache::Cache;
use crate::{LEAD_MAX, PacketMeta};

/// The last key frame of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyFrame {
    /// The first packet that belongs to it; the same as [`KeyFrame::first`] if no parameter sets are in front.
    pub(crate) start: ExtSeq,
    /// The first packet of the picture itself.
    pub(crate) first: ExtSeq,
    /// When [`KeyFrame::first`] arrived.
    pub(crate) arrival: Instant,
    /// RTP timestamp of the picture.
    pub(crate) timestamp: u32,
    /// Packets directly in front of [`KeyFrame::start`] that are missing and may belong to it, at most [`MISSING_MAX`].
    pub(crate) missing: u64,
}

/// Most missing packets in front of a key frame that are waited for: parameter sets of three kinds, and one more.
const MISSING_MAX: u64 = 4;
/// Assumed number of missing packets in front of the first packet of a source, where it is not known, if that packet
/// has no parameter sets.
const MISSING_AT_FIRST: u64 = 2;

/// Counts the packets that are missing directly in front of those that may lead to a key frame.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Front {
    newest: Option<ExtSeq>,
    missing: u64,
}

impl Front {
    /// Notes a packet. Returns how many packets are missing in front of it and of those that lead to it; 0 for a
    /// packet that arrived late, since the packets before it were noted already.
    pub(crate) fn pass(&mut self, meta: &PacketMeta) -> u64 {
        match self.newest {
            Some(newest) if meta.seq <= newest => return 0,
            Some(newest) if meta.seq.0 == newest.0 + 1 => {}
            Some(newest) => self.missing = (meta.seq.0 - newest.0 - 1).min(MISSING_MAX),
            None if meta.info.parameter_sets => self.missing = 0,
            None => self.missing = MISSING_AT_FIRST,
        }
        self.newest = Some(meta.seq);
        let missing = self.missing;
        if !meta.info.lead {
            self.missing = 0;
        }
        missing
    }
}

impl KeyFrame {
    /// The key frame that begins with a packet; `cache` holds the packets before it, `missing` is the result of
    /// [`Front::pass`].
    pub(crate) fn new(meta: &PacketMeta, cache: &Cache, missing: u64) -> Self {
        let (first, arrival, timestamp) = (meta.seq, meta.arrival, meta.timestamp);
        let mut key = Self { start: first, first, arrival, timestamp, missing };
        key.look_back(cache);
        key
    }

    /// Finds the packets that lead to it: those directly in front that hold no part of a picture. Parameter sets count
    /// whatever their timestamp is, since some packetizers give them the timestamp of the previous picture.
    fn look_back(&mut self, cache: &Cache) {
        self.start = self.first;
        for back in 1..=LEAD_MAX as u64 {
            let seq = ExtSeq(self.first.0.saturating_sub(back));
            let Some(packet) = cache.find(seq).filter(|p| p.meta.info.lead) else { return };
            if packet.meta.info.parameter_sets || packet.meta.timestamp == self.timestamp {
                self.start = seq;
            }
        }
    }

    /// Updates [`KeyFrame::start`] after a late packet was added to `cache`.
    pub(crate) fn led_late(&mut self, cache: &Cache) {
        let before = self.start;
        self.look_back(cache);
        self.missing = self.missing.saturating_sub(before.0.saturating_sub(self.start.0));
    }

    /// Numbers to leave free in front of the packet that a subscriber begins with: missing parameter sets may still
    /// arrive, and the decoder needs them.
    pub(crate) fn held_free(&self, meta: &PacketMeta) -> u64 {
        let may_lack = meta.info.lead || meta.info.lacks_parameter_sets();
        if may_lack && meta.seq == self.start { self.missing.min(meta.seq.0) } else { 0 }
    }

    /// Whether the packet with this number leads to the key frame.
    pub(crate) fn has_lead(&self, seq: ExtSeq) -> bool {
        (self.start..self.first).contains(&seq)
    }

    /// Whether a packet that arrived after the first one may lead to the key frame.
    pub(crate) fn is_led_by(&self, meta: &PacketMeta) -> bool {
        let front = self.first.0.saturating_sub(meta.seq.0);
        meta.info.lead && (1..=LEAD_MAX as u64).contains(&front)
    }
}
