//! Which layers of a track flow, and how they rank. Measured on the worker that receives the track, and sent to all
//! mirrors, because other workers may not get all layers and cannot measure it.

use std::time::{Duration, Instant};

use model::UpMedia;

use super::layer_count;
use crate::{MAX_LAYERS, PacketMeta};

/// A layer has stopped when no packet of it arrived for this long,
const STOPPED_AFTER: Duration = Duration::from_millis(700);
/// and other layers sent this many pictures meanwhile: on a still screen all layers are slow.
const STOPPED_PICTURES: u8 = 4;
/// Time over which the bitrates of layers are compared.
const WINDOW: Duration = Duration::from_secs(1);
/// The order is changed after it looked wrong in this many windows in a row.
const WINDOWS: u8 = 2;

/// The layers of a track by quality, and which of them flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranking {
    /// Layers by quality, the lowest first; only the first `count` entries are used.
    order: [u8; MAX_LAYERS],
    count: u8,
    /// One bit for each layer.
    flows: u8,
}

impl Ranking {
    /// The layers of a media section; none flows yet. In the order in which browsers offer simulcast: the lowest
    /// quality first.
    pub fn new(media: &UpMedia) -> Self {
        let order = std::array::from_fn(|layer| layer as u8);
        Self { order, count: layer_count(media) as u8, flows: 0 }
    }

    /// Whether packets of a layer arrive.
    pub fn flows(&self, layer: u8) -> bool {
        self.flows & bit(layer) != 0
    }

    /// The highest layer that flows, up to a rank (0 is the lowest quality); if none of these flows, the lowest one
    /// above; `None` if nothing flows. Without simulcast: the only layer.
    pub fn best(&self, max_rank: Option<u8>) -> Option<u8> {
        if self.count == 1 {
            return Some(0);
        }
        let order = &self.order[..usize::from(self.count)];
        let wanted = max_rank.map_or(order.len(), |max| usize::from(max) + 1).min(order.len());
        let (wanted, above) = order.split_at(wanted);
        wanted.iter().rev().chain(above).copied().find(|&layer| self.flows(layer))
    }
}

/// The bit of a layer in a set of layers.
pub(crate) fn bit(layer: u8) -> u8 {
    1u8.checked_shl(u32::from(layer)).unwrap_or(0)
}

/// Measures which layers flow from the packets of a track.
#[derive(Debug)]
pub struct LayerWatch {
    ranking: Ranking,
    layers: Vec<Watched>,
    window: Option<Instant>,
    windows_wrong: u8,
}

#[derive(Debug, Default)]
struct Watched {
    last_arrival: Option<Instant>,
    /// RTP timestamp of the last packet.
    timestamp: Option<u32>,
    /// Pictures of other layers since the last packet of this one.
    others: u8,
    /// Payload bytes in the present window.
    octets: u64,
}

impl LayerWatch {
    /// A watch that has seen no packets.
    pub fn new(media: &UpMedia) -> Self {
        let layers = (0..layer_count(media)).map(|_| Watched::default()).collect();
        Self { ranking: Ranking::new(media), layers, window: None, windows_wrong: 0 }
    }

    /// The present ranking.
    pub fn ranking(&self) -> Ranking {
        self.ranking
    }

    /// Notes a packet. `true` if the ranking changed.
    #[inline]
    pub fn observe(&mut self, meta: &PacketMeta) -> bool {
        if self.layers.len() == 1 {
            let flowed = std::mem::replace(&mut self.ranking.flows, 1);
            return flowed == 0;
        }
        self.observe_layer(meta)
    }

    fn observe_layer(&mut self, meta: &PacketMeta) -> bool {
        let (now, before, at) = (meta.arrival, self.ranking, usize::from(meta.layer()));
        let Some(layer) = self.layers.get_mut(at) else { return false };
        let new_picture = layer.timestamp.replace(meta.timestamp) != Some(meta.timestamp);
        layer.last_arrival = Some(now);
        layer.octets += u64::from(meta.payload_len);
        for (i, layer) in self.layers.iter_mut().enumerate() {
            let flag = bit(i as u8);
            if i == at {
                layer.others = 0;
                self.ranking.flows |= flag;
            } else if new_picture && self.ranking.flows & flag != 0 {
                layer.others = layer.others.saturating_add(1);
                let idle = layer.last_arrival.map(|last| now.saturating_duration_since(last));
                if layer.others >= STOPPED_PICTURES && idle.is_none_or(|i| i > STOPPED_AFTER) {
                    self.ranking.flows &= !flag;
                }
            }
        }
        let started = *self.window.get_or_insert(now);
        if now.saturating_duration_since(started) >= WINDOW {
            self.window = Some(now);
            self.compare();
            self.layers.iter_mut().for_each(|l| l.octets = 0);
        }
        self.ranking != before
    }

    /// Compares the layers' bitrates over the last window with their order, and corrects the order.
    fn compare(&mut self) {
        let Self { ranking, layers, .. } = self;
        let order = &mut ranking.order[..layers.len()];
        let rate = |layer: u8| layers[usize::from(layer)].octets;
        // A margin of one half: layers of nearly equal rate keep their order.
        let wrong = |a: u8, b: u8| rate(b) > 0 && rate(a) > rate(b) + rate(b) / 2;
        if !order.windows(2).any(|w| wrong(w[0], w[1])) {
            self.windows_wrong = 0;
            return;
        }
        self.windows_wrong += 1;
        if self.windows_wrong < WINDOWS {
            return;
        }
        self.windows_wrong = 0;
        for _ in 1..order.len() {
            for i in 1..order.len() {
                if wrong(order[i - 1], order[i]) {
                    order.swap(i - 1, i);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{MediaKind, Mid, Rid, TrackId};

    use super::*;
    use crate::StreamId;

    fn watch(rids: &[&str]) -> LayerWatch {
        LayerWatch::new(&UpMedia {
            track: TrackId(1),
            mid: Mid::parse("0").expect("a mid"),
            kind: MediaKind::Video,
            codecs: vec![],
            rids: rids.iter().map(|r| Rid::parse(r).expect("a rid")).collect(),
            ssrcs: vec![],
        })
    }

    fn best(w: &LayerWatch, max_rank: Option<u8>) -> Option<u8> {
        w.ranking().best(max_rank)
    }

    /// Sends pictures of the layers for some time; `rates` are bytes per picture, 0 is silence. Returns whether the
    /// ranking changed.
    fn run(
        w: &mut LayerWatch,
        from: Instant,
        millis: u64,
        every: u64,
        rates: &[u16],
    ) -> (Instant, bool) {
        let mut changed = false;
        for ms in (0..millis).step_by(every as usize) {
            let now = from + Duration::from_millis(ms);
            for (layer, &rate) in rates.iter().enumerate().filter(|(_, r)| **r > 0) {
                let mut meta = PacketMeta::empty(now);
                meta.stream = StreamId::new(layer as u8, 0);
                meta.timestamp = w.layers[layer].timestamp.map_or(0, |t| t.wrapping_add(3_000));
                meta.payload_len = rate;
                changed |= w.observe(&meta);
            }
        }
        (from + Duration::from_millis(millis), changed)
    }

    #[test]
    fn the_highest_layer_that_flows_is_the_best() {
        let mut w = watch(&["q", "h", "f"]);
        assert_eq!(best(&w, None), None);
        let (t, _) = run(&mut w, crate::fixtures::start(), 100, 33, &[100, 0, 0]);
        assert_eq!(best(&w, None), Some(0));
        let (t, changed) = run(&mut w, t, 100, 33, &[100, 300, 900]);
        assert!(changed);
        assert_eq!(
            (best(&w, None), best(&w, Some(1)), best(&w, Some(0))),
            (Some(2), Some(1), Some(0))
        );
        let (t, changed) = run(&mut w, t, 650, 33, &[100, 300, 0]);
        assert_eq!((best(&w, None), changed), (Some(2), false), "not yet given up");
        let (_, changed) = run(&mut w, t, 200, 33, &[100, 300, 0]);
        assert_eq!((best(&w, None), changed), (Some(1), true));
    }

    #[test]
    fn layers_of_a_still_screen_are_slow_and_not_stopped() {
        let mut w = watch(&["q", "h", "f"]);
        let (t, _) = run(&mut w, crate::fixtures::start(), 100, 33, &[100, 300, 900]);
        let (_, changed) = run(&mut w, t, 20_000, 1_000, &[100, 300, 900]);
        assert_eq!((best(&w, None), changed), (Some(2), false));
    }

    #[test]
    fn measured_bitrates_correct_the_order_of_the_offer() {
        let mut w = watch(&["f", "h", "q"]);
        let (t, _) = run(&mut w, crate::fixtures::start(), 1_500, 33, &[900, 300, 100]);
        assert_eq!(best(&w, None), Some(2), "as offered, until measured twice");
        run(&mut w, t, 1_500, 33, &[900, 300, 100]);
        assert_eq!(
            (best(&w, None), best(&w, Some(1)), best(&w, Some(0))),
            (Some(0), Some(1), Some(2))
        );
    }

    #[test]
    fn layers_of_nearly_one_rate_keep_their_order() {
        let mut w = watch(&["q", "h"]);
        run(&mut w, crate::fixtures::start(), 10_000, 33, &[400, 300]);
        assert_eq!(best(&w, None), Some(1));
    }
}
