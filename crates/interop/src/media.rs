//! Peers that send numbered pictures and sounds, and peers that check what arrives.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use str0m::{
    Event,
    format::Codec,
    media::{Direction, MediaKind, Mid, Pt},
    rtp::{ExtensionValues, RtpWrite, SeqNo},
};

use model::SessionId;

use crate::{Node, Peer};

/// Bytes of media in a packet of a picture.
const PAYLOAD: usize = 1_000;
const FRAME: Duration = Duration::from_nanos(33_333_333);
const SOUND: Duration = Duration::from_millis(20);
/// What the numbered part of a payload begins with.
const MAGIC: [u8; 4] = *b"SFUM";

/// One picture as a viewer saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    /// Its number at the publisher.
    pub number: u32,
    /// Packets of it that came.
    pub packets: u16,
    /// Packets of it that were sent.
    pub of: u16,
    /// Whether it can be decoded without another picture (a key frame).
    pub key: bool,
}

/// A peer that publishes VP8 pictures at 30 a second and Opus sounds at 50 a second, all numbered.
pub struct Publisher {
    /// The peer.
    pub peer: Peer,
    /// Packets of each picture.
    pub packets_per_picture: u16,
    /// Pictures sent.
    pub pictures: u32,
    /// Key frames that the node asked for.
    pub key_frame_requests: u32,
    /// The camera is on.
    pub camera: bool,
    /// The node's session.
    pub session: Option<SessionId>,
    video: Option<Mid>,
    audio: Option<Mid>,
    key_wanted: bool,
    sequence: u64,
    sound_sequence: u64,
    start: Instant,
    next_picture: Instant,
    next_sound: Instant,
}

impl Publisher {
    /// Publishes into a room of the node.
    pub fn join(node: &Node, room: &str, who: &str) -> Self {
        let mut peer = Peer::new(|c| c);
        let (offer, (video, audio)) = peer.offer(|api| {
            let id = Some("test".to_owned());
            let video =
                api.add_media(MediaKind::Video, Direction::SendOnly, id.clone(), None, None);
            let audio = api.add_media(MediaKind::Audio, Direction::SendOnly, id, None, None);
            (video, audio)
        });
        let accepted = node
            .publish(room, who, &offer)
            .unwrap_or_else(|e| panic!("publishing was refused: {e}\n{offer}"));
        peer.accept(&accepted.answer);
        Self { session: Some(accepted.session), ..Self::over(peer, Some(video), Some(audio)) }
    }

    /// Publishes sounds alone into a room of the node.
    pub fn join_with_sound_alone(node: &Node, room: &str, who: &str) -> Self {
        let mut peer = Peer::new(|c| c);
        let (offer, audio) = peer.offer(|api| {
            api.add_media(MediaKind::Audio, Direction::SendOnly, Some("test".into()), None, None)
        });
        let accepted = node
            .publish(room, who, &offer)
            .unwrap_or_else(|e| panic!("publishing was refused: {e}\n{offer}"));
        peer.accept(&accepted.answer);
        Self { session: Some(accepted.session), ..Self::over(peer, None, Some(audio)) }
    }

    /// Adds the camera to a session that publishes sounds alone.
    pub fn add_video(&mut self, node: &Node) {
        let session = self.session.expect("a session of the node");
        let added = renegotiate(&mut self.peer, node, session, |api| {
            api.add_media(MediaKind::Video, Direction::SendOnly, Some("test".into()), None, None)
        });
        self.video = Some(added);
        self.next_picture = Instant::now();
    }

    /// A publisher over a peer whose offer was answered.
    pub fn over(peer: Peer, video: Option<Mid>, audio: Option<Mid>) -> Self {
        let now = Instant::now();
        Self {
            peer,
            packets_per_picture: 5,
            pictures: 0,
            key_frame_requests: 0,
            camera: true,
            session: None,
            video,
            audio,
            key_wanted: true,
            sequence: 60_000,
            sound_sequence: 100,
            start: now,
            next_picture: now,
            next_sound: now,
        }
    }

    /// Sends what is due, and takes in what arrived.
    pub fn poll(&mut self) {
        let now = Instant::now();
        if self.peer.connected {
            while self.camera && self.next_picture <= now {
                self.send_picture(now);
                self.next_picture += FRAME;
            }
            while self.next_sound <= now {
                self.send_sound(now);
                self.next_sound += SOUND;
            }
        } else {
            (self.next_picture, self.next_sound) = (now, now);
        }
        if !self.camera {
            self.next_picture = now;
        }
        let (requests, wanted) = (&mut self.key_frame_requests, &mut self.key_wanted);
        self.peer.poll(|_, event| {
            if let Event::KeyframeRequest(_) = event {
                *requests += 1;
                *wanted = true;
            }
        });
    }

    fn send_picture(&mut self, now: Instant) {
        let Some(mid) = self.video else { return };
        let Some(pt) = payload_type(&self.peer, mid, Codec::Vp8) else { return };
        let key = std::mem::take(&mut self.key_wanted);
        let number = self.pictures;
        let time = timestamp(self.next_picture - self.start, 90_000);
        for index in 0..self.packets_per_picture {
            let last = index + 1 == self.packets_per_picture;
            // Encoders split a picture into packets of nearly one size.
            let len = PAYLOAD + usize::from(index % 2);
            let payload = vp8_payload(number, index, self.packets_per_picture, key, len);
            let seq = SeqNo::from(self.sequence);
            self.sequence += 1;
            let mut api = self.peer.rtc.direct_api();
            let stream = api.stream_tx_by_mid(mid, None).expect("the stream was offered");
            let write = RtpWrite::new(pt, seq, time, now, payload).marker(last).nackable(true);
            stream.write_rtp(write.ext_vals(ExtensionValues::default()));
        }
        self.pictures += 1;
    }

    fn send_sound(&mut self, now: Instant) {
        let Some(mid) = self.audio else { return };
        let Some(pt) = payload_type(&self.peer, mid, Codec::Opus) else { return };
        let time = timestamp(self.next_sound - self.start, 48_000);
        let mut payload = MAGIC.to_vec();
        payload.extend((self.sound_sequence as u32).to_be_bytes());
        payload.resize(80, 0xaa);
        let mut api = self.peer.rtc.direct_api();
        let stream = api.stream_tx_by_mid(mid, None).expect("the stream was offered");
        let seq = SeqNo::from(self.sound_sequence);
        stream.write_rtp(RtpWrite::new(pt, seq, time, now, payload));
        self.sound_sequence += 1;
    }
}

fn timestamp(since: Duration, clock: u64) -> u32 {
    (since.as_nanos() as u64 * clock / 1_000_000_000) as u32
}

fn payload_type(peer: &Peer, mid: Mid, codec: Codec) -> Option<Pt> {
    let allowed = peer.rtc.media(mid)?.remote_pts();
    let all = peer.rtc.codec_config().params();
    all.iter().find(|p| p.spec().codec == codec && allowed.contains(&p.pt())).map(|p| p.pt())
}

/// VP8 payload descriptor (RFC 7741 section 4.2) with a picture id, then the numbered part, then filling.
fn vp8_payload(number: u32, index: u16, of: u16, key: bool, len: usize) -> Vec<u8> {
    let first = index == 0;
    let picture_id = (number as u16) & 0x7fff;
    let mut bytes = vec![0x80 | (u8::from(first) << 4), 0x80];
    bytes.extend((0x8000 | picture_id).to_be_bytes());
    // RFC 6386 section 9.1: the lowest bit of the frame tag is 0 in a key frame.
    bytes.push(u8::from(!key));
    bytes.extend(MAGIC);
    bytes.extend(number.to_be_bytes());
    bytes.extend(index.to_be_bytes());
    bytes.extend(of.to_be_bytes());
    bytes.push(u8::from(key));
    let filled = bytes.len();
    bytes.extend((filled..len).map(|at| fill(number, index, at)));
    bytes
}

fn fill(number: u32, index: u16, at: usize) -> u8 {
    (number as usize).wrapping_mul(31).wrapping_add(usize::from(index) * 7).wrapping_add(at) as u8
}

/// Everything that a viewer saw of one media section.
#[derive(Debug, Default)]
pub struct Seen {
    /// Extended sequence numbers received, each once.
    pub sequences: BTreeSet<u64>,
    /// Packets that arrived twice.
    pub duplicates: u64,
    /// Packets whose bytes are not those that were sent.
    pub damaged: u64,
    /// Packets in all.
    pub packets: u64,
    /// Sounds by number.
    pub sounds: BTreeSet<u32>,
    /// RTP timestamps by picture.
    pub timestamps: BTreeMap<u32, u32>,
    /// When the first packet arrived.
    pub first_at: Option<Instant>,
    /// When the last packet arrived.
    pub last_at: Option<Instant>,
    pictures: BTreeMap<u32, (BTreeSet<u16>, u16, bool)>,
}

impl Seen {
    /// Pictures by number.
    pub fn pictures(&self) -> Vec<Picture> {
        let all = self.pictures.iter();
        all.map(|(&number, (packets, of, key))| Picture {
            number,
            packets: packets.len() as u16,
            of: *of,
            key: *key,
        })
        .collect()
    }

    /// Pictures of which every packet arrived.
    pub fn complete(&self) -> usize {
        self.pictures().iter().filter(|p| p.packets == p.of).count()
    }

    /// Sequence numbers missing between the first and the last.
    pub fn missing(&self) -> u64 {
        match (self.sequences.first(), self.sequences.last()) {
            (Some(first), Some(last)) => last - first + 1 - self.sequences.len() as u64,
            _ => 0,
        }
    }

    fn take(&mut self, sequence: u64, time: u32, payload: &[u8], video: bool) {
        let now = Instant::now();
        self.packets += 1;
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
        if !self.sequences.insert(sequence) {
            self.duplicates += 1;
            return;
        }
        if video {
            self.take_picture(time, payload);
        } else if payload.len() == 80 && payload[..4] == MAGIC {
            self.sounds
                .insert(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
        } else {
            self.damaged += 1;
        }
    }

    fn take_picture(&mut self, time: u32, payload: &[u8]) {
        let Some(body) = payload.get(5..18).filter(|b| b[..4] == MAGIC) else {
            self.damaged += 1;
            return;
        };
        let number = u32::from_be_bytes([body[4], body[5], body[6], body[7]]);
        let index = u16::from_be_bytes([body[8], body[9]]);
        let of = u16::from_be_bytes([body[10], body[11]]);
        let filling = payload.iter().enumerate().skip(18);
        if filling.into_iter().any(|(at, &byte)| byte != fill(number, index, at)) {
            self.damaged += 1;
        }
        let picture =
            self.pictures.entry(number).or_insert_with(|| (BTreeSet::new(), of, body[12] == 1));
        picture.0.insert(index);
        self.timestamps.insert(number, time);
    }
}

/// A peer that watches.
pub struct Viewer {
    /// The peer.
    pub peer: Peer,
    /// The node's session.
    pub session: SessionId,
    /// What arrived, by media section.
    pub seen: HashMap<Mid, Seen>,
    /// The video sections, in the order of the offer.
    pub video: Vec<Mid>,
    /// The audio sections, in the order of the offer.
    pub audio: Vec<Mid>,
}

impl Viewer {
    /// Watches everyone in a room, with one slot for pictures and one for sounds.
    pub fn join(node: &Node, room: &str) -> Self {
        Self::join_with(node, room, None, 1, |c| c)
    }

    /// Watches with so many pairs of slots.
    pub fn join_with(
        node: &Node,
        room: &str,
        whom: Option<&str>,
        slots: usize,
        configure: impl FnOnce(str0m::RtcConfig) -> str0m::RtcConfig,
    ) -> Self {
        let mut peer = Peer::new(configure);
        let (offer, (video, audio)) = peer.offer(|api| {
            let mut add = |kind| -> Vec<Mid> {
                (0..slots)
                    .map(|_| api.add_media(kind, Direction::RecvOnly, None, None, None))
                    .collect()
            };
            (add(MediaKind::Video), add(MediaKind::Audio))
        });
        let accepted = node
            .subscribe(room, whom, &offer)
            .unwrap_or_else(|e| panic!("watching was refused: {e}\n{offer}"));
        peer.accept(&accepted.answer);
        Self { peer, session: accepted.session, seen: HashMap::new(), video, audio }
    }

    /// Asks for one more slot for pictures.
    pub fn add_video(&mut self, node: &Node) -> Mid {
        let added = renegotiate(&mut self.peer, node, self.session, |api| {
            api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None)
        });
        self.video.push(added);
        added
    }

    /// What arrived through the first video slot.
    pub fn pictures(&mut self) -> &mut Seen {
        self.seen.entry(self.video[0]).or_default()
    }

    /// What arrived through the first audio slot.
    pub fn sounds(&mut self) -> &mut Seen {
        self.seen.entry(self.audio[0]).or_default()
    }

    /// Takes in what arrived.
    pub fn poll(&mut self) {
        let (seen, videos) = (&mut self.seen, &self.video);
        self.peer.poll(|_, event| {
            let Event::RtpPacket(packet) = event else { return };
            let Some(mid) = packet.header.ext_vals.mid else { return };
            // Padding that ends a packet is no part of what was sent.
            let video = videos.contains(&mid);
            let (sequence, time) = (*packet.seq_no, packet.header.timestamp);
            seen.entry(mid).or_default().take(sequence, time, &packet.payload, video);
        });
    }
}

/// A later offer of a session, and its answer. Returns the section that `change` added.
fn renegotiate(
    peer: &mut Peer,
    node: &Node,
    session: SessionId,
    change: impl FnOnce(&mut str0m::change::SdpApi<'_>) -> Mid,
) -> Mid {
    let (offer, added) = peer.offer(change);
    let agreed = node
        .renegotiate(session, &offer)
        .unwrap_or_else(|e| panic!("the later offer was refused: {e}\n{offer}"));
    assert!(!agreed.restarts, "the peer keeps its credentials");
    peer.accept(&agreed.answer);
    added
}

/// Lets node, publishers and viewers run for a while.
pub fn drive(
    node: &Node,
    publishers: &mut [&mut Publisher],
    viewers: &mut [&mut Viewer],
    lasting: Duration,
) {
    let end = Instant::now() + lasting;
    drive_until(node, publishers, viewers, lasting, |_, _| Instant::now() >= end);
}

/// Runs node, publishers and viewers until a condition holds; returns whether it held in time.
pub fn drive_until(
    node: &Node,
    publishers: &mut [&mut Publisher],
    viewers: &mut [&mut Viewer],
    limit: Duration,
    mut done: impl FnMut(&mut [&mut Publisher], &mut [&mut Viewer]) -> bool,
) -> bool {
    let end = Instant::now() + limit;
    loop {
        publishers.iter_mut().for_each(|p| p.poll());
        viewers.iter_mut().for_each(|v| v.poll());
        node.pump();
        if done(publishers, viewers) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
