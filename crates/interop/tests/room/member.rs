//! One member: a str0m client that publishes stamped packets, and notes what comes through each slot.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{SessionId, TrackId};
use room::{Admission, Entering, Roles, Target};
use sfumato_interop::{StillNode, channel};
use signaling::lab::Follower;
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpPendingOffer},
    channel::ChannelId,
    format::Codec,
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::{Extension, ExtensionValues, RtpWrite, SeqNo},
};

use crate::{cast::Part, view::View};

const VIDEO_EVERY: Duration = Duration::from_millis(1_500);
const SILENT_EVERY: Duration = Duration::from_millis(1_500);
const SPEECH_EVERY: Duration = Duration::from_millis(100);
/// What every payload begins with, behind the header of its codec.
const MAGIC: [u8; 4] = *b"ROOM";

/// What a payload says of its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) sender: u16,
    /// Which of the sender's sessions.
    pub(crate) life: u16,
    pub(crate) video: bool,
    pub(crate) counter: u32,
}

impl Stamp {
    fn write(self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.sender.to_be_bytes());
        bytes.extend(self.life.to_be_bytes());
        bytes.push(u8::from(self.video));
        bytes.extend(self.counter.to_be_bytes());
        bytes
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let at = bytes.windows(4).position(|w| *w == MAGIC)?;
        let body: [u8; 9] = bytes.get(at + 4..at + 13)?.try_into().ok()?;
        let [s0, s1, l0, l1, video, c0, c1, c2, c3] = body;
        Some(Self {
            sender: u16::from_be_bytes([s0, s1]),
            life: u16::from_be_bytes([l0, l1]),
            video: video == 1,
            counter: u32::from_be_bytes([c0, c1, c2, c3]),
        })
    }
}

/// A packet that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) mid: Mid,
    pub(crate) ssrc: u32,
    pub(crate) stamp: Stamp,
}

/// What a member sends now.
#[derive(Debug, Default)]
struct Sending {
    next: Option<Instant>,
    counter: u32,
}

/// See the module's head.
pub(crate) struct Member {
    pub(crate) part: Part,
    pub(crate) life: u16,
    pub(crate) session: SessionId,
    pub(crate) address: SocketAddr,
    pub(crate) connected_at: Option<Instant>,
    pub(crate) timeout: Instant,
    /// Level in -dBov while it speaks, and since when.
    pub(crate) speaks: Option<(u8, Instant)>,
    /// When it ended to speak last.
    pub(crate) spoke_until: Option<Instant>,
    pub(crate) view: View,
    pub(crate) follower: Option<Follower>,
    /// Packets that came and were not looked at yet.
    pub(crate) came: Vec<Came>,
    /// The SSRC of each slot: it may never change.
    pub(crate) ssrcs: BTreeMap<Mid, u32>,
    /// The last packet of each sender and kind.
    pub(crate) heard: BTreeMap<(u16, bool), Instant>,
    /// Data messages that came through channels or events.
    pub(crate) messages: BTreeMap<String, u32>,
    /// The last packet that came through each slot.
    pub(crate) flows: BTreeMap<Mid, (Stamp, Instant)>,
    /// Its tracks, by whether they are pictures; known when it is connected.
    pub(crate) tracks: BTreeMap<bool, TrackId>,
    /// Since when it may subscribe, as the administrators said last.
    pub(crate) subscribes: Option<Instant>,
    /// When it ended to be muted last.
    pub(crate) unmuted_at: Option<Instant>,
    /// Since when its tracks may not flow.
    pub(crate) muted_since: BTreeMap<bool, Instant>,
    rtc: Rtc,
    microphone: Option<Mid>,
    camera: Option<Mid>,
    channel: Option<ChannelId>,
    pub(crate) channel_open: bool,
    pub(crate) video_slots: usize,
    sound: Sending,
    picture: Sending,
    pending: Option<SdpPendingOffer>,
    start: Instant,
}

fn rtc(now: Instant, address: SocketAddr) -> Rtc {
    let provider = Arc::new(str0m::crypto::from_feature_flags());
    let config = Rtc::builder().set_crypto_provider(provider).set_rtp_mode(true);
    let config = config.clear_codecs().enable_opus(true, false).enable_vp8(true);
    // Without transport-wide feedback: it is most of the work, and no part of what is tested here.
    let config = config.clear_extension_map().set_extension(1, Extension::AudioLevel);
    let config = config.set_extension(4, Extension::RtpMid);
    let mut rtc = config.build(now);
    rtc.add_local_candidate(Candidate::host(address, Protocol::Udp).unwrap());
    rtc
}

impl Member {
    /// Joins with the session API's core.
    pub(crate) fn join(node: &StillNode, now: Instant, part: Part, life: u16) -> Self {
        let address = part.address(life);
        let mut rtc = rtc(now, address);
        let mut api = rtc.sdp_api();
        let mut add = |kind, direction| {
            api.add_media(kind, direction, Some(format!("m{}", part.index)), None, None)
        };
        let microphone = part.microphone.then(|| add(MediaKind::Audio, Direction::SendOnly));
        let camera = part.camera.then(|| add(MediaKind::Video, Direction::SendOnly));
        (0..part.audio_slots).for_each(|_| _ = add(MediaKind::Audio, Direction::RecvOnly));
        (0..part.video_slots).for_each(|_| _ = add(MediaKind::Video, Direction::RecvOnly));
        let config = || channel("chat", "sfumato", false);
        let channel = part.channel.then(|| api.add_channel_with_config(config()));
        let (offer, pending) = api.apply().unwrap();
        let admission = Admission { permissions: part.permissions, ..Admission::default() };
        let entering = Entering {
            participant: Some(part.id()),
            identity: None,
            target: Target::any(),
            admission: Some(Box::new(admission)),
        };
        let (room, offer) = (crate::cast::room(), offer.to_sdp_string());
        let accepted = node.core.enter(now, &room, entering, Roles::Both, &offer);
        let accepted = accepted.unwrap_or_else(|e| panic!("{} was refused: {e}", part.id()));
        node.logs.open(accepted.session, &room, &part.id());
        let answer = SdpAnswer::from_sdp_string(&accepted.answer).unwrap();
        rtc.sdp_api().accept_answer(pending, answer).unwrap();
        let (follower, number, snapshot) = node.logs.follow(&node.core, accepted.session).unwrap();
        Self {
            life,
            session: accepted.session,
            address,
            connected_at: None,
            timeout: now,
            speaks: None,
            spoke_until: None,
            view: View::new(part.id().as_str(), number, snapshot, now),
            follower: Some(follower),
            came: Vec::new(),
            ssrcs: BTreeMap::new(),
            heard: BTreeMap::new(),
            messages: BTreeMap::new(),
            flows: BTreeMap::new(),
            subscribes: part.permissions.subscribe.then_some(now),
            unmuted_at: None,
            muted_since: BTreeMap::new(),
            tracks: BTreeMap::new(),
            rtc,
            microphone,
            camera,
            channel,
            channel_open: false,
            video_slots: part.video_slots,
            sound: Sending::default(),
            picture: Sending::default(),
            pending: None,
            start: now,
            part,
        }
    }

    /// Whether the member is connected for at least so long.
    pub(crate) fn is_settled(&self, now: Instant, lasting: Duration) -> bool {
        self.connected_at.is_some_and(|at| now >= at + lasting)
    }

    /// Offers again, with more video slots.
    pub(crate) fn add_video_slots(&mut self, node: &StillNode, now: Instant, count: usize) {
        let mut api = self.rtc.sdp_api();
        for _ in 0..count {
            api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        }
        let (offer, pending) = api.apply().unwrap();
        self.pending = Some(pending);
        self.video_slots += count;
        let agreed = node.core.renegotiate(now, self.session, &offer.to_sdp_string(), None);
        let agreed = agreed.unwrap_or_else(|e| panic!("{}: {e}", self.part.id()));
        let answer = SdpAnswer::from_sdp_string(&agreed.answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
        self.timeout = now;
    }

    /// Sends text to everybody through its channel.
    pub(crate) fn say(&mut self, now: Instant, text: &str) {
        let mut channel = self.channel.and_then(|id| self.rtc.channel(id)).unwrap();
        let envelope = format!("{{\"text\":\"{text}\"}}");
        assert!(channel.write(false, envelope.as_bytes()).unwrap(), "the channel is full");
        self.timeout = now;
    }

    /// The next moment at which [`Member::turn`] has something to do.
    pub(crate) fn due(&self) -> Instant {
        [Some(self.timeout), self.sound.next, self.picture.next]
            .into_iter()
            .flatten()
            .min()
            .unwrap()
    }

    /// Takes a datagram of the node.
    pub(crate) fn arrive(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        let source = sfumato_interop::ADDRESS;
        if let Ok(received) = Receive::new(Protocol::Udp, source, self.address, bytes) {
            // Datagrams may come after the end.
            let _over = self.rtc.handle_input(Input::Receive(now, received));
        }
        self.drain(now)
    }

    /// Sends what is due.
    pub(crate) fn turn(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        if self.sound.next.is_some_and(|at| at <= now) {
            self.send_sound(now);
            sent.extend(self.drain(now));
        }
        if self.picture.next.is_some_and(|at| at <= now) {
            self.send_picture(now);
            sent.extend(self.drain(now));
        }
        if self.timeout <= now {
            let _over = self.rtc.handle_input(Input::Timeout(now));
            sent.extend(self.drain(now));
        }
        sent
    }

    /// Begins or ends to speak.
    pub(crate) fn speak(&mut self, now: Instant, level: Option<u8>) {
        self.spoke_until = self.speaks.map(|_| now).or(self.spoke_until);
        self.speaks = level.map(|level| (level, now));
        if self.sound.next.is_some() {
            self.sound.next = Some(now);
        }
    }

    fn send_sound(&mut self, now: Instant) {
        let every = if self.speaks.is_some() { SPEECH_EVERY } else { SILENT_EVERY };
        self.sound.next = Some(now + every);
        self.sound.counter += 1;
        let ext = ExtensionValues {
            audio_level: Some(self.speaks.map_or(-127, |(level, _)| -(level as i8))),
            voice_activity: Some(self.speaks.is_some()),
            ..ExtensionValues::default()
        };
        let mut payload = vec![0x78];
        payload.extend(self.stamp(false, self.sound.counter).write());
        self.write(now, self.microphone, Codec::Opus, (self.sound.counter, 48_000), payload, ext);
    }

    fn send_picture(&mut self, now: Instant) {
        self.picture.next = Some(now + VIDEO_EVERY);
        self.picture.counter += 1;
        // RFC 7741 section 4.2: the first packet of a picture, with a picture id; RFC 6386 section 9.1: a key frame.
        let mut payload = vec![0x90, 0x80];
        payload.extend((0x8000 | (self.picture.counter as u16 & 0x7fff)).to_be_bytes());
        payload.push(0);
        payload.extend(self.stamp(true, self.picture.counter).write());
        let ext = ExtensionValues::default();
        self.write(now, self.camera, Codec::Vp8, (self.picture.counter, 90_000), payload, ext);
    }

    fn stamp(&self, video: bool, counter: u32) -> Stamp {
        Stamp { sender: self.part.index, life: self.life, video, counter }
    }

    fn write(
        &mut self,
        now: Instant,
        mid: Option<Mid>,
        codec: Codec,
        (counter, clock): (u32, u64),
        payload: Vec<u8>,
        ext: ExtensionValues,
    ) {
        let Some(mid) = mid else { return };
        let time = ((now - self.start).as_millis() as u64 * clock / 1_000) as u32;
        let allowed = self.rtc.media(mid).unwrap().remote_pts();
        let all = self.rtc.codec_config().params();
        let codec = all.iter().find(|p| p.spec().codec == codec && allowed.contains(&p.pt()));
        let pt = codec.unwrap().pt();
        let mut api = self.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).unwrap();
        let seq = SeqNo::from(u64::from(counter));
        stream.write_rtp(RtpWrite::new(pt, seq, time, now, payload).marker(true).ext_vals(ext));
        self.timeout = now;
    }

    fn drain(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => sent.push(transmit.contents.to_vec()),
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return sent;
                }
                Ok(Output::Event(event)) => self.hear(now, event),
                Err(_) => {
                    self.timeout = now + Duration::from_secs(3_600);
                    return sent;
                }
            }
        }
    }

    fn hear(&mut self, now: Instant, event: Event) {
        match event {
            Event::Connected => {
                self.connected_at = Some(now);
                self.sound.next = self.microphone.map(|_| now);
                self.picture.next = self.camera.map(|_| now);
            }
            Event::RtpPacket(packet) => {
                // Packets of slots carry their MID.
                let mid = packet.header.ext_vals.mid.unwrap();
                // RTX padding carries nothing.
                let Some(stamp) = Stamp::read(&packet.payload) else { return };
                self.heard.insert((stamp.sender, stamp.video), now);
                self.flows.insert(mid, (stamp, now));
                self.came.push(Came { mid, ssrc: *packet.header.ssrc, stamp });
            }
            Event::ChannelOpen(id, _) if Some(id) == self.channel => self.channel_open = true,
            Event::ChannelData(data) => {
                let value: serde_json::Value = serde_json::from_slice(&data.data).unwrap();
                self.got_message(value["from"].as_str(), value["text"].as_str().unwrap());
            }
            _ => {}
        }
    }

    /// A data message came, by whatever way.
    pub(crate) fn got_message(&mut self, from: Option<&str>, text: &str) {
        let key = format!("{}: {text}", from.unwrap_or("-"));
        *self.messages.entry(key).or_default() += 1;
    }
}
