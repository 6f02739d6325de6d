//! The streams that a section announces: by SSRC, and by rid.

use model::{Ssrc, StreamSsrc};

use crate::Section;
use crate::attributes::{self, RidLine};

impl Section {
    /// The streams that the section names by SSRC, in the order of a SIM group if there is one, otherwise of
    /// appearance. FID groups pair retransmissions with their media (RFC 5576 section 4.2, RFC 4588 section 8.3).
    pub fn streams(&self) -> Vec<StreamSsrc> {
        let pairs = |semantics: &'static str| {
            self.groups.iter().filter(move |g| g.semantics == semantics && g.ssrcs.len() == 2)
        };
        let rtx_of = |ssrc: Ssrc| pairs("FID").find(|g| g.ssrcs[0] == ssrc).map(|g| g.ssrcs[1]);
        let is_secondary = |ssrc: Ssrc| {
            // Repair streams of FlexFEC are never agreed, so none arrive.
            pairs("FID").chain(pairs("FEC-FR")).any(|g| g.ssrcs[1] == ssrc)
        };
        let simulcast = self.groups.iter().find(|g| g.semantics == "SIM");
        let in_order = simulcast.map_or(&self.ssrcs, |g| &g.ssrcs);
        let mut streams: Vec<StreamSsrc> = Vec::new();
        for &media in in_order {
            if !is_secondary(media) && !streams.iter().any(|s| s.media == media) {
                streams.push(StreamSsrc { media, rtx: rtx_of(media) });
            }
        }
        streams
    }

    /// The simulcast layers that the offerer would send, one rid for each stream: the first alternative that has an
    /// `a=rid` line (RFC 8853 section 5.2). A single `a=rid` without `a=simulcast` counts as one layer.
    pub fn send_layers(&self) -> Vec<&RidLine> {
        let line = |id| self.rids.iter().find(|r| r.send && r.id == id);
        match &self.simulcast {
            Some(lists) => {
                let first = |stream: &attributes::SimulcastStream| {
                    stream.iter().find_map(|&(id, _paused)| line(id))
                };
                let mut layers: Vec<&RidLine> = Vec::new();
                for layer in lists.send.iter().filter_map(first) {
                    if !layers.iter().any(|l| l.id == layer.id) {
                        layers.push(layer);
                    }
                }
                layers
            }
            None => {
                let mut sent = self.rids.iter().filter(|r| r.send);
                match (sent.next(), sent.next()) {
                    (Some(only), None) => vec![only],
                    _ => Vec::new(),
                }
            }
        }
    }
}
