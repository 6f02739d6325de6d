//! One worker's view of a track: what its down-tracks need. The packets of the last second, which layers flow and how
//! they rank, the last key frames and sender reports. It asks the publisher for nothing; that is the up-track's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{MediaKind, TrackId, UpMedia};
use rtp::sequence::ExtSeq;

use super::cache::{Cache, Since};
use super::layer_count;
use crate::{CatchUp, CatchUpLimits, MAX_LAYERS, Packet, SenderInfo};

/// A layer of which nothing came for this long has stopped,
const STOPPED_AFTER: Duration = Duration::from_millis(700);
/// provided that this many pictures of other layers came meanwhile: all layers of a still screen are slow.
const STOPPED_PICTURES: u8 = 4;
/// Time over which the bitrates of layers are compared.
const WINDOW: Duration = Duration::from_secs(1);
/// Windows in a row in which the order looked wrong before it is changed.
const WINDOWS: u8 = 2;

/// What the down-tracks of one worker need of a track. The owner of the track has one too.
#[derive(Debug)]
pub struct TrackMirror {
    track: TrackId,
    kind: MediaKind,
    layers: Vec<LayerState>,
    /// Layers by quality, the lowest first.
    order: [u8; MAX_LAYERS],
    /// Changes when another layer may have become the best.
    generation: u32,
    window: Option<Instant>,
    windows_wrong: u8,
    last_arrival: Option<Instant>,
}

#[derive(Debug)]
struct LayerState {
    cache: Cache,
    /// Of the last packet; `None` before the first.
    stream: Option<u16>,
    last_arrival: Option<Instant>,
    flows: bool,
    timestamp: u32,
    /// Pictures of other layers since the last packet.
    others: u8,
    /// Payload bytes in the present window.
    octets: u64,
    /// The last sender report, and which numbering it is about: between workers it may overtake the first packet.
    sender: Option<(u16, SenderInfo)>,
    key_frame: Option<(ExtSeq, Instant)>,
}

impl LayerState {
    fn new(kind: MediaKind) -> Self {
        Self {
            cache: Cache::new(kind),
            stream: None,
            last_arrival: None,
            flows: false,
            timestamp: 0,
            others: 0,
            octets: 0,
            sender: None,
            key_frame: None,
        }
    }
}

impl TrackMirror {
    /// A mirror that has seen nothing yet.
    pub fn new(media: &UpMedia) -> Self {
        let layers = (0..layer_count(media)).map(|_| LayerState::new(media.kind)).collect();
        Self {
            track: media.track,
            kind: media.kind,
            layers,
            // As browsers offer simulcast: the lowest quality first. Measured bitrates correct it.
            order: std::array::from_fn(|layer| layer as u8),
            generation: 1,
            window: None,
            windows_wrong: 0,
            last_arrival: None,
        }
    }

    /// The track.
    pub fn track(&self) -> TrackId {
        self.track
    }

    /// Audio or video.
    pub fn kind(&self) -> MediaKind {
        self.kind
    }

    /// Takes a packet in, in the order in which the up-track accepted it; call it before the packet is forwarded.
    pub fn receive(&mut self, packet: Arc<Packet>) {
        let now = packet.meta.arrival;
        let stream = packet.meta.stream();
        let at = usize::from(packet.meta.layer);
        let Some(layer) = self.layers.get_mut(at) else { return };
        self.last_arrival = Some(now);
        if layer.stream != Some(stream) {
            layer.stream = Some(stream);
            layer.cache.clear();
            layer.sender = layer.sender.filter(|(about, _)| *about == stream);
            layer.key_frame = None;
            layer.timestamp = packet.meta.timestamp.wrapping_sub(1);
            self.generation = self.generation.wrapping_add(1);
        }
        if packet.meta.info.keyframe_start && self.kind == MediaKind::Video {
            layer.note_key_frame(&packet);
        }
        let new_picture = layer.timestamp != packet.meta.timestamp;
        layer.timestamp = packet.meta.timestamp;
        layer.last_arrival = Some(now);
        layer.octets += u64::from(packet.meta.payload_len);
        layer.cache.insert(packet);
        if self.layers.len() > 1 {
            self.watch(now, at, new_picture);
        }
    }

    /// Takes a sender report of a layer in, as [`crate::UpTrack::sender_report`] gave it. It holds for the packets of
    /// that epoch, whether they come before it or after it.
    pub fn sender_report(&mut self, layer: u8, epoch: u8, info: SenderInfo) {
        if let Some(state) = self.layers.get_mut(usize::from(layer)) {
            state.sender = Some((u16::from(epoch) << 8 | u16::from(layer), info));
        }
    }

    /// The last sender reports: layer, epoch and report, as [`TrackMirror::sender_report`] takes them. For a mirror that
    /// begins later than this one.
    pub fn sender_reports(&self) -> impl Iterator<Item = (u8, u8, SenderInfo)> + '_ {
        let reports = self.layers.iter().filter_map(|l| l.sender);
        reports.map(|(stream, info)| (stream as u8, (stream >> 8) as u8, info))
    }

    /// When the last packet of any layer came.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.last_arrival
    }

    /// Whether packets of a layer come. Without simulcast: whether any ever came.
    pub fn flows(&self, layer: u8) -> bool {
        self.state(layer).is_some_and(|l| l.flows || (self.layers.len() == 1 && l.stream.is_some()))
    }

    /// The kept packets of a layer.
    pub fn cache(&self, layer: u8) -> Option<&Cache> {
        self.state(layer).map(|l| &l.cache)
    }

    /// Changes when [`TrackMirror::best`] may have.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// The highest layer that flows, up to a rank (0 is the lowest quality); the lowest one that flows where none of
    /// these does; `None` when nothing flows.
    pub(crate) fn best(&self, max_rank: Option<u8>) -> Option<u8> {
        if self.layers.len() == 1 {
            return Some(0);
        }
        let order = &self.order[..self.layers.len()];
        let wanted = max_rank.map_or(order.len(), |max| usize::from(max) + 1).min(order.len());
        let (wanted, above) = order.split_at(wanted);
        wanted.iter().rev().chain(above).copied().find(|&layer| self.flows(layer))
    }

    /// The numbering that a layer's packets are in now.
    pub(crate) fn stream(&self, layer: u8) -> Option<u16> {
        self.state(layer)?.stream
    }

    /// The last sender report of a stream.
    pub(crate) fn sender(&self, stream: u16) -> Option<&SenderInfo> {
        let (about, info) = self.state(stream as u8)?.sender.as_ref()?;
        (*about == stream).then_some(info)
    }

    /// Where the last key frame of a layer begins, and when that came.
    pub(crate) fn key_frame(&self, layer: u8) -> Option<(ExtSeq, Instant)> {
        self.state(layer)?.key_frame
    }

    /// The packet with the highest number of a stream, if it is kept.
    pub(crate) fn newest(&self, stream: u16) -> Option<&Packet> {
        let state = self.state(stream as u8).filter(|state| state.stream == Some(stream))?;
        state.cache.newest().map(Arc::as_ref)
    }

    /// The packets since the last key frame of the best layer, oldest first, for a mirror that begins now; empty when
    /// they are too many or too old.
    pub fn backlog(&self, now: Instant, limits: CatchUpLimits) -> CatchUp<'_> {
        CatchUp(self.best(None).and_then(|layer| self.since_key_frame(now, layer, limits)))
    }

    /// The packets since the last key frame of a layer, within limits.
    pub(crate) fn since_key_frame(
        &self,
        now: Instant,
        layer: u8,
        limits: CatchUpLimits,
    ) -> Option<Since<'_>> {
        let (seq, arrival) = self.key_frame(layer)?;
        let cache = self.cache(layer)?;
        let young = now.saturating_duration_since(arrival) <= limits.max_age;
        let few = cache.head().saturating_sub(seq.0) <= limits.max_packets as u64;
        // Without its first packet the key frame is no place to start.
        (young && few && cache.find(seq).is_some()).then(|| cache.since(seq))
    }

    fn state(&self, layer: u8) -> Option<&LayerState> {
        self.layers.get(usize::from(layer))
    }

    /// Notes which layers flow, after a packet of the layer `at`.
    fn watch(&mut self, now: Instant, at: usize, new_picture: bool) {
        let mut changed = false;
        for (i, layer) in self.layers.iter_mut().enumerate() {
            if i == at {
                layer.others = 0;
                changed |= !std::mem::replace(&mut layer.flows, true);
            } else if new_picture && layer.flows {
                layer.others = layer.others.saturating_add(1);
                let idle = layer.last_arrival.map(|last| now.saturating_duration_since(last));
                if layer.others >= STOPPED_PICTURES && idle.is_none_or(|i| i > STOPPED_AFTER) {
                    layer.flows = false;
                    changed = true;
                }
            }
        }
        let started = *self.window.get_or_insert(now);
        if now.saturating_duration_since(started) >= WINDOW {
            self.window = Some(now);
            changed |= self.compare();
            self.layers.iter_mut().for_each(|l| l.octets = 0);
        }
        if changed {
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Compares the layers' bitrates over the last window with their order. `true` when the order was changed.
    fn compare(&mut self) -> bool {
        let count = self.layers.len();
        let Self { order, layers, .. } = self;
        let order = &mut order[..count];
        let rate = |layer: u8| layers[usize::from(layer)].octets;
        // Half as much again: layers of nearly one rate keep their order.
        let wrong = |a: u8, b: u8| rate(b) > 0 && rate(a) > rate(b) + rate(b) / 2;
        if !order.windows(2).any(|w| wrong(w[0], w[1])) {
            self.windows_wrong = 0;
            return false;
        }
        self.windows_wrong += 1;
        if self.windows_wrong < WINDOWS {
            return false;
        }
        self.windows_wrong = 0;
        for _ in 1..count {
            for i in 1..count {
                if wrong(order[i - 1], order[i]) {
                    order.swap(i - 1, i);
                }
            }
        }
        true
    }
}

impl LayerState {
    fn note_key_frame(&mut self, packet: &Packet) {
        // Parameter sets and the first slices all say that a key frame begins; the first of them counts.
        let of_the_same = self
            .key_frame
            .and_then(|(seq, _)| self.cache.find(seq))
            .is_some_and(|first| first.meta.timestamp == packet.meta.timestamp);
        let late = self.key_frame.is_some_and(|(seq, _)| packet.meta.seq < seq);
        if !of_the_same && !late {
            self.key_frame = Some((packet.meta.seq, packet.meta.arrival));
        }
    }
}

#[cfg(test)]
mod tests {
    use model::{Mid, Rid};

    use super::*;

    fn mirror(rids: &[&str]) -> TrackMirror {
        TrackMirror::new(&UpMedia {
            track: TrackId(1),
            mid: Mid::parse("0").expect("a mid"),
            kind: MediaKind::Video,
            codecs: vec![],
            rids: rids.iter().map(|r| Rid::parse(r).expect("a rid")).collect(),
            ssrcs: vec![],
        })
    }

    fn packet(layer: u8, seq: u64, timestamp: u32, octets: u16, arrival: Instant) -> Arc<Packet> {
        let mut packet = Packet::with_capacity(16, arrival);
        packet.meta.layer = layer;
        packet.meta.seq = ExtSeq(seq);
        packet.meta.timestamp = timestamp;
        packet.meta.payload_len = octets;
        Arc::new(packet)
    }

    /// Runs pictures of the layers for some time; `rates` are bytes per picture, 0 is silence.
    fn run(m: &mut TrackMirror, from: Instant, millis: u64, every: u64, rates: &[u16]) -> Instant {
        for ms in (0..millis).step_by(every as usize) {
            let now = from + Duration::from_millis(ms);
            for (layer, &rate) in rates.iter().enumerate().filter(|(_, r)| **r > 0) {
                let head = m.layers[layer].cache.head().max(0x1_0000);
                let timestamp = m.layers[layer].timestamp.wrapping_add(3_000);
                m.receive(packet(layer as u8, head, timestamp, rate, now));
            }
        }
        from + Duration::from_millis(millis)
    }

    #[test]
    fn the_highest_layer_that_flows_is_the_best() {
        let mut m = mirror(&["q", "h", "f"]);
        assert_eq!(m.best(None), None);
        let t = run(&mut m, crate::fixtures::start(), 100, 33, &[100, 0, 0]);
        assert_eq!(m.best(None), Some(0));
        let t = run(&mut m, t, 100, 33, &[100, 300, 900]);
        assert_eq!((m.best(None), m.best(Some(1)), m.best(Some(0))), (Some(2), Some(1), Some(0)));
        let generation = m.generation();
        let t = run(&mut m, t, 650, 33, &[100, 300, 0]);
        assert_eq!(m.best(None), Some(2), "not yet given up");
        run(&mut m, t, 200, 33, &[100, 300, 0]);
        assert_eq!(m.best(None), Some(1));
        assert_ne!(m.generation(), generation);
    }

    #[test]
    fn layers_of_a_still_screen_are_slow_and_not_stopped() {
        let mut m = mirror(&["q", "h", "f"]);
        let t = run(&mut m, crate::fixtures::start(), 100, 33, &[100, 300, 900]);
        let generation = m.generation();
        run(&mut m, t, 20_000, 1_000, &[100, 300, 900]);
        assert_eq!((m.best(None), m.generation()), (Some(2), generation));
    }

    #[test]
    fn measured_bitrates_correct_the_order_of_the_offer() {
        let mut m = mirror(&["f", "h", "q"]);
        let t = run(&mut m, crate::fixtures::start(), 1_500, 33, &[900, 300, 100]);
        assert_eq!(m.best(None), Some(2), "as offered, until measured twice");
        run(&mut m, t, 1_500, 33, &[900, 300, 100]);
        assert_eq!((m.best(None), m.best(Some(1)), m.best(Some(0))), (Some(0), Some(1), Some(2)));
    }

    #[test]
    fn layers_of_nearly_one_rate_keep_their_order() {
        let mut m = mirror(&["q", "h"]);
        run(&mut m, crate::fixtures::start(), 10_000, 33, &[400, 300]);
        assert_eq!(m.best(None), Some(1));
    }

    #[test]
    fn a_sender_report_that_overtakes_the_first_packet_of_its_source_holds() {
        let (mut m, t) = (mirror(&[]), crate::fixtures::start());
        let info = SenderInfo { ntp: model::NtpTime(9), rtp_timestamp: 9, arrival: t };
        m.sender_report(0, 0, info);
        m.receive(packet(0, 0x1_0000, 0, 10, t));
        assert_eq!(m.sender(0), Some(&info));
        assert_eq!(m.sender_reports().collect::<Vec<_>>(), [(0, 0, info)]);
        let mut later = packet(0, 0x1_0000, 0, 10, t);
        Arc::get_mut(&mut later).expect("unique").meta.epoch = 1;
        m.receive(later);
        assert_eq!((m.sender(0), m.sender(0x100)), (None, None), "another source");
    }

    #[test]
    fn a_sender_report_of_an_older_source_is_ignored() {
        let t = crate::fixtures::start();
        let mut m = mirror(&[]);
        m.receive(packet(0, 0x1_0000, 1, 10, t));
        let info = SenderInfo { ntp: model::NtpTime(5), rtp_timestamp: 1, arrival: t };
        m.sender_report(0, 1, info);
        assert_eq!(m.sender(0), None);
        m.sender_report(0, 0, info);
        assert_eq!(m.sender(0), Some(&info));
    }
}
