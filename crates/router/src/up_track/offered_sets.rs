//! Parameter sets that a publisher named in its offer and does not send (RFC 6184 section 8.4, RFC 7798 section
//! 7.2.2). The answers to viewers cannot contain them, since the track in a slot changes; so they are sent as packets
//! in front of each key frame.

use std::sync::Arc;

use model::{CodecSpec, Pt};

use crate::{LEAD_MAX, PacketMeta, Relayed};
use rtp::sequence::ExtSeq;

/// Longest parameter set in bytes. It has to fit in a packet of its own, whatever header extensions a viewer
/// negotiated.
const LONGEST: usize = 1_100;

/// The parameter sets of a track, by payload type. Empty for nearly all publishers.
#[derive(Debug, Default)]
pub(crate) struct OfferedSets(Vec<Offered>);

#[derive(Debug)]
struct Offered {
    pt: Pt,
    codec: model::Codec,
    /// NAL units, 1 to [`LEAD_MAX`].
    units: Arc<[Box<[u8]>]>,
}

impl OfferedSets {
    /// The parameter sets of the codecs of a track. Those that are too many or too long to be sent in front of a key
    /// frame are left out.
    pub(crate) fn new(codecs: &[CodecSpec]) -> Self {
        let offered = codecs.iter().filter_map(|spec| {
            let units = spec.parameter_sets.clone()?;
            let fits = (1..=LEAD_MAX).contains(&units.len())
                && units.iter().all(|unit| (1..=LONGEST).contains(&unit.len()));
            fits.then_some(Offered { pt: spec.pt, codec: spec.codec, units })
        });
        Self(offered.collect())
    }

    /// Number of packets to send before a key frame of this payload type; 0 if the offer named no parameter sets.
    #[inline]
    pub(crate) fn count(&self, pt: Pt) -> usize {
        self.of(pt).map_or(0, |offered| offered.units.len())
    }

    /// The packets to send before a key frame whose first packet is `key`: one for each NAL unit, which is allowed in
    /// every packetization mode (RFC 6184 section 5.6, RFC 7798 section 4.4.1).
    pub(crate) fn before(&self, key: &PacketMeta) -> impl Iterator<Item = (Relayed, &[u8])> {
        let offered = self.of(key.pt);
        let first =
            key.seq.0.saturating_sub(offered.map_or(0, |offered| offered.units.len() as u64));
        offered
            .into_iter()
            .flat_map(move |offered| (0..).zip(offered.units.iter()).map(move |at| (offered, at)))
            .map(move |(offered, (at, unit))| {
                let head = Relayed {
                    up: 0,
                    stream: key.stream,
                    seq: ExtSeq(first + at),
                    timestamp: key.timestamp,
                    marker: false,
                    pt: key.pt,
                    clock_rate: key.clock_rate,
                    ext: rtp::ParsedExtensions::default(),
                    descriptor: Vec::new(),
                    info: rtp::payload::inspect(offered.codec, unit, None),
                    capture: None,
                };
                (head, &unit[..])
            })
    }

    fn of(&self, pt: Pt) -> Option<&Offered> {
        self.0.iter().find(|offered| offered.pt == pt)
    }
}
