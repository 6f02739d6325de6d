//! One worker's copy of a track for its down-tracks: the packets of the last second, the last key frames and sender
//! reports, and the ranking of the layers. Requests to the publisher are made by the up-track.

use std::sync::Arc;
use std::time::Instant;

use model::{MediaKind, TrackId, UpMedia};
use rtp::sequence::ExtSeq;

use super::cache::{Cache, Since};
use super::layer_count;
use super::lead::{Front, KeyFrame};
use super::watch::{Ranking, bit};
use crate::{CatchUp, CatchUpLimits, LEAD_MAX, Packet, PacketMeta, SenderInfo, StreamId};

/// What the down-tracks of one worker need of a track. The worker that owns the track has a mirror too.
#[derive(Debug)]
pub struct TrackMirror {
    track: TrackId,
    kind: MediaKind,
    layers: Vec<LayerState>,
    ranking: Ranking,
    /// Layers that a down-track wants, one bit each.
    wanted: u8,
    /// Incremented when another layer may have become the best one.
    generation: u32,
    last_arrival: Option<Instant>,
}

#[derive(Debug)]
struct LayerState {
    cache: Cache,
    /// Stream of the last packet; `None` before the first one.
    stream: Option<StreamId>,
    /// The last sender report, and the stream that it is about: between workers a report may overtake the first
    /// packet.
    sender: Option<(StreamId, SenderInfo)>,
    key_frame: Option<KeyFrame>,
    front: Front,
}

impl LayerState {
    fn new(kind: MediaKind) -> Self {
        let cache = Cache::new(kind);
        Self { cache, stream: None, sender: None, key_frame: None, front: Front::default() }
    }
}

impl TrackMirror {
    /// A mirror without packets. All layers are kept until [`TrackMirror::want`] is called.
    pub fn new(media: &UpMedia) -> Self {
        let layers = (0..layer_count(media)).map(|_| LayerState::new(media.kind)).collect();
        Self {
            track: media.track,
            kind: media.kind,
            layers,
            ranking: Ranking::new(media),
            wanted: u8::MAX,
            generation: 1,
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

    /// Sets which layers are wanted, one bit each. Their packets are kept for retransmissions. Of an unwanted layer
    /// only what a late viewer begins with is kept: of the best layer the packets since the last key frame, within
    /// [`CatchUpLimits`]; of the others, and of audio, nothing.
    pub fn want(&mut self, layers: u8) {
        self.wanted = layers;
    }

    /// Takes a packet, in the order in which the up-track accepted them. Call it before the packet is forwarded.
    pub fn receive(&mut self, packet: Arc<Packet>) {
        let (now, stream) = (packet.meta.arrival, packet.meta.stream);
        let (keep_all, is_best) =
            (self.wanted & bit(stream.layer()) != 0, self.best(None) == Some(stream.layer()));
        let is_video = self.kind == MediaKind::Video;
        let Some(layer) = self.layers.get_mut(usize::from(stream.layer())) else { return };
        self.last_arrival = Some(now);
        if layer.stream != Some(stream) {
            layer.stream = Some(stream);
            layer.cache.clear();
            layer.sender = layer.sender.filter(|(about, _)| *about == stream);
            layer.key_frame = None;
            layer.front = Front::default();
            self.generation = self.generation.wrapping_add(1);
        }
        let missing = layer.front.pass(&packet.meta);
        let begins =
            packet.meta.info.keyframe_start && is_video && layer.note_key_frame(&packet, missing);
        let late_lead = is_video && layer.key_frame.is_some_and(|k| k.is_led_by(&packet.meta));
        if late_lead {
            layer.take_late_lead(packet);
        } else if keep_all {
            layer.cache.insert(packet);
        } else if is_best && is_video {
            layer.keep_start(packet, begins);
        } else {
            layer.cache.clear();
        }
    }

    /// Removes packets that are too old. It is needed when no packets arrive that would push them out. `true` if
    /// packets are left.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut left = false;
        for layer in &mut self.layers {
            left |= layer.cache.expire(now);
        }
        left
    }

    /// Removes the packets of a stream below a number, because the publisher is near its memory limit. They can no
    /// longer be retransmitted.
    pub fn forget(&mut self, stream: StreamId, below: ExtSeq) {
        let layer = self.layers.get_mut(usize::from(stream.layer()));
        if let Some(layer) = layer.filter(|layer| layer.stream == Some(stream)) {
            layer.cache.forget(below);
        }
    }

    /// Sets how the layers rank, as [`crate::LayerWatch`] found on the worker that receives the track.
    pub fn rank(&mut self, ranking: Ranking) {
        if self.ranking != ranking {
            self.ranking = ranking;
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// How the layers rank.
    pub fn ranking(&self) -> Ranking {
        self.ranking
    }

    /// Takes a sender report from [`crate::UpTrack::sender_report`], converted to the node's clock. It holds for all
    /// packets of that stream, whether they arrive before or after it.
    pub fn sender_report(&mut self, stream: StreamId, info: SenderInfo) {
        if let Some(state) = self.layers.get_mut(usize::from(stream.layer())) {
            state.sender = Some((stream, info));
        }
    }

    /// The last sender reports, in the form that [`TrackMirror::sender_report`] takes, to start another mirror with.
    pub fn sender_reports(&self) -> impl Iterator<Item = (StreamId, SenderInfo)> + '_ {
        self.layers.iter().filter_map(|l| l.sender)
    }

    /// When the last packet of any layer arrived.
    pub fn last_arrival(&self) -> Option<Instant> {
        self.last_arrival
    }

    /// The cached packets of a layer.
    pub fn cache(&self, layer: u8) -> Option<&Cache> {
        self.state(layer).map(|l| &l.cache)
    }

    /// A cached packet by its stream and number.
    pub fn find(&self, stream: StreamId, seq: ExtSeq) -> Option<&Arc<Packet>> {
        let packet = self.cache(stream.layer())?.find(seq)?;
        (packet.meta.stream == stream).then_some(packet)
    }

    /// Changes whenever the result of [`TrackMirror::best`] may have changed.
    pub(crate) fn generation(&self) -> u32 {
        self.generation
    }

    /// See [`Ranking::best`].
    pub(crate) fn best(&self, max_rank: Option<u8>) -> Option<u8> {
        self.ranking.best(max_rank)
    }

    /// The stream of a layer's last packet.
    pub(crate) fn stream(&self, layer: u8) -> Option<StreamId> {
        self.state(layer)?.stream
    }

    /// The last sender report of a stream.
    pub(crate) fn sender(&self, stream: StreamId) -> Option<&SenderInfo> {
        let (about, info) = self.state(stream.layer())?.sender.as_ref()?;
        (*about == stream).then_some(info)
    }

    /// The last key frame of a layer.
    pub(crate) fn key_frame(&self, layer: u8) -> Option<KeyFrame> {
        self.state(layer)?.key_frame
    }

    /// Whether a packet belongs to the last key frame of its stream and is in front of it: parameter sets, for
    /// example.
    pub(crate) fn leads_to_key_frame(&self, meta: &PacketMeta) -> bool {
        let Some(state) = self.state(meta.layer()) else { return false };
        state.stream == Some(meta.stream) && state.key_frame.is_some_and(|k| k.has_lead(meta.seq))
    }

    /// The packets that belong to a key frame that begins among `packets`, and arrived before all of these. Offer them
    /// first to a subscriber that begins with the key frame; one that has them refuses them as duplicates. At most
    /// [`crate::LEAD_MAX`].
    pub fn lead_in<'m>(
        &'m self,
        packets: &'m [Arc<Packet>],
    ) -> impl Iterator<Item = &'m Arc<Packet>> {
        let key = packets.iter().find(|p| p.meta.info.keyframe_start).and_then(|first| {
            let state = self.state(first.meta.layer())?;
            let key = state.key_frame.filter(|k| k.first == first.meta.seq && k.start < k.first)?;
            (state.stream == Some(first.meta.stream)).then_some((state, key))
        });
        let lead = key.into_iter().flat_map(|(state, key)| {
            state.cache.since(key.start).take_while(move |p| p.meta.seq < key.first)
        });
        lead.filter(|lead| !packets.iter().any(|p| Arc::ptr_eq(p, lead)))
    }

    /// The packet with the highest number of a stream, if it is cached.
    pub(crate) fn newest(&self, stream: StreamId) -> Option<&Packet> {
        let state = self.state(stream.layer()).filter(|state| state.stream == Some(stream))?;
        state.cache.newest().map(Arc::as_ref)
    }

    /// The packets since the last key frame of the best layer, oldest first, for a mirror that begins now; empty if
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
        let KeyFrame { start: seq, first, arrival, .. } = self.key_frame(layer)?;
        let cache = self.cache(layer)?;
        let young = now.saturating_duration_since(arrival) <= limits.max_age;
        let few = cache.head().saturating_sub(seq.0) <= limits.max_packets as u64;
        // Without its first packet a subscriber cannot begin at the key frame.
        let whole = cache.find(seq).is_some() && cache.find(first).is_some();
        (young && few && whole).then(|| cache.since(seq))
    }

    fn state(&self, layer: u8) -> Option<&LayerState> {
        self.layers.get(usize::from(layer))
    }
}

impl LayerState {
    /// Notes where a key frame begins. `true` if it is a new one.
    fn note_key_frame(&mut self, packet: &Packet, missing: u64) -> bool {
        let of_the_same = self.key_frame.is_some_and(|k| k.timestamp == packet.meta.timestamp);
        let late = self.key_frame.is_some_and(|k| packet.meta.seq < k.first);
        let begins = !of_the_same && !late;
        if begins {
            self.key_frame = Some(KeyFrame::new(&packet.meta, &self.cache, missing));
        }
        begins
    }

    /// Keeps what a late viewer begins with: the last key frame with the packets that lead to it, and the packets
    /// since.
    fn keep_start(&mut self, packet: Arc<Packet>, begins: bool) {
        let limit = CatchUpLimits::default().max_packets as u64;
        if begins && let Some(key) = self.key_frame {
            let lead: [Option<Arc<Packet>>; LEAD_MAX] = self.packets_between(key.start, key.first);
            self.cache.clear();
            lead.into_iter().flatten().for_each(|packet| self.cache.insert(packet));
        }
        let since = self.key_frame.filter(|k| begins || self.cache.find(k.first).is_some());
        match since {
            Some(k) if packet.meta.seq.0.saturating_sub(k.first.0) < limit => {
                self.cache.insert(packet);
            }
            // The packet may lead to a key frame that follows.
            _ if packet.meta.info.lead => self.cache.insert(packet),
            _ => self.cache.clear(),
        }
    }

    /// Takes a packet that leads to the last key frame and arrived after its first packet.
    fn take_late_lead(&mut self, packet: Arc<Packet>) {
        let Some(mut key) = self.key_frame else { return };
        if self.cache.find(key.first).is_none() {
            return;
        }
        let seq = packet.meta.seq;
        self.cache.insert(Arc::clone(&packet));
        if self.cache.find(seq).is_none() {
            // The cache begins with a later packet and takes none before it, so it is filled again.
            let kept: Vec<_> = self.cache.since(ExtSeq(0)).cloned().collect();
            self.cache.clear();
            self.cache.insert(packet);
            kept.into_iter().for_each(|packet| self.cache.insert(packet));
        }
        key.led_late(&self.cache);
        self.key_frame = Some(key);
    }

    fn packets_between<const N: usize>(
        &self,
        from: ExtSeq,
        to: ExtSeq,
    ) -> [Option<Arc<Packet>>; N] {
        let mut packets = self.cache.since(from).take_while(|p| p.meta.seq < to).cloned();
        std::array::from_fn(|_| packets.next())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    fn packet(stream: StreamId, seq: u64, key: bool, arrival: Instant) -> Arc<Packet> {
        let mut packet = Packet::with_capacity(16, arrival);
        packet.meta.stream = stream;
        packet.meta.seq = ExtSeq(seq);
        packet.meta.timestamp = seq as u32 * 3_000;
        packet.meta.payload_len = 10;
        packet.meta.info.keyframe_start = key;
        Arc::new(packet)
    }

    const FIRST: u64 = 0x1_0000;

    fn kept(m: &TrackMirror, layer: u8) -> usize {
        m.cache(layer).map_or(0, |c| c.since(ExtSeq(0)).count())
    }

    #[test]
    fn a_sender_report_that_overtakes_the_first_packet_of_its_source_holds() {
        let (mut m, t) = (mirror(&[]), crate::fixtures::start());
        let (first, second) = (StreamId::new(0, 0), StreamId::new(0, 1));
        let info = SenderInfo { ntp: model::NtpTime(9), rtp_timestamp: 9, arrival: t };
        m.sender_report(first, info);
        m.receive(packet(first, FIRST, false, t));
        assert_eq!(m.sender(first), Some(&info));
        assert_eq!(m.sender_reports().collect::<Vec<_>>(), [(first, info)]);
        m.receive(packet(second, FIRST, false, t));
        assert_eq!((m.sender(first), m.sender(second)), (None, None), "another source");
    }

    #[test]
    fn a_sender_report_of_an_older_source_is_ignored() {
        let (mut m, t) = (mirror(&[]), crate::fixtures::start());
        let (first, second) = (StreamId::new(0, 0), StreamId::new(0, 1));
        m.receive(packet(first, FIRST, false, t));
        let info = SenderInfo { ntp: model::NtpTime(5), rtp_timestamp: 1, arrival: t };
        m.sender_report(second, info);
        assert_eq!(m.sender(first), None);
        m.sender_report(first, info);
        assert_eq!(m.sender(first), Some(&info));
    }

    #[test]
    fn without_viewers_only_what_a_late_viewer_begins_with_is_kept() {
        let (mut m, t) = (mirror(&[]), crate::fixtures::start());
        let stream = StreamId::new(0, 0);
        m.want(0);
        for n in 0..10 {
            m.receive(packet(stream, FIRST + n, false, t));
        }
        assert_eq!(kept(&m, 0), 0, "nobody can begin with these");
        for n in 10..20 {
            m.receive(packet(stream, FIRST + n, n == 12, t));
        }
        assert_eq!(kept(&m, 0), 8, "from the key frame on");
        m.receive(packet(stream, FIRST + 20, true, t));
        assert_eq!(kept(&m, 0), 1, "from the last one");
        for n in 21..400 {
            m.receive(packet(stream, FIRST + n, false, t));
        }
        assert_eq!(kept(&m, 0), 0, "too many for a burst");
        m.want(1);
        for n in 400..410 {
            m.receive(packet(stream, FIRST + n, false, t));
        }
        assert_eq!(kept(&m, 0), 10, "all of them, for retransmissions");
    }

    #[test]
    fn unwanted_layers_are_not_kept() {
        let (mut m, t) = (mirror(&["q", "h"]), crate::fixtures::start());
        m.want(1);
        for n in 0..5 {
            m.receive(packet(StreamId::new(0, 0), FIRST + n, n == 0, t));
            m.receive(packet(StreamId::new(1, 0), FIRST + n, n == 0, t));
        }
        assert_eq!((kept(&m, 0), kept(&m, 1)), (5, 0));
    }

    #[test]
    fn a_silent_track_releases_its_packets() {
        let (mut m, t) = (mirror(&[]), crate::fixtures::start());
        for n in 0..5 {
            let at = t + Duration::from_millis(100 * n);
            m.receive(packet(StreamId::new(0, 0), FIRST + n, n == 0, at));
        }
        assert!(m.expire(t + Duration::from_millis(1_250)));
        assert_eq!(kept(&m, 0), 2);
        assert!(!m.expire(t + Duration::from_millis(1_500)));
        assert_eq!(kept(&m, 0), 0);
    }
}
