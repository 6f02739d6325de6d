//! What a viewer makes of the RTP that it receives: a frame counts when all its packets are there.

use webrtc::rtp::packet::Packet;

/// What was sent or seen of one section.
#[derive(Default)]
pub struct Counts {
    pub packets: usize,
    pub frames: usize,
    pub key_frames: usize,
    pub gaps: usize,
    pub codec: Option<String>,
    pub first_frame_ms: Option<u64>,
    next: Option<u16>,
    timestamp: Option<u32>,
    whole: bool,
    key: bool,
}

impl Counts {
    /// A sample went out.
    pub fn sent(&mut self) {
        self.packets += 1;
        self.frames += 1;
    }

    pub fn take(&mut self, codec: &str, packet: &Packet, now_ms: u64) {
        self.packets += 1;
        if self.next.is_some_and(|next| next != packet.header.sequence_number) {
            self.gaps += 1;
            self.whole = false;
        }
        self.next = Some(packet.header.sequence_number.wrapping_add(1));
        self.codec.get_or_insert_with(|| codec.to_owned());
        let (begins, key) = look(codec, &packet.payload);
        if self.timestamp != Some(packet.header.timestamp) {
            self.timestamp = Some(packet.header.timestamp);
            self.whole = begins;
            self.key = false;
        }
        self.key |= key;
        if packet.header.marker && self.whole && codec != "opus" {
            self.whole = false;
            self.frames += 1;
            if self.key {
                self.key_frames += 1;
                self.first_frame_ms.get_or_insert(now_ms);
            }
        }
    }
}

/// Whether a payload begins a frame, and whether that is a key frame.
fn look(codec: &str, payload: &[u8]) -> (bool, bool) {
    match codec {
        "VP8" => vp8(payload).unwrap_or_default(),
        "H264" => {
            let types = units(payload);
            (!types.is_empty(), types.contains(&5))
        }
        _ => (false, false),
    }
}

/// S and partition 0 begin a frame, P = 0 is a key frame (RFC 7741 sections 4.2 and 4.3).
fn vp8(payload: &[u8]) -> Option<(bool, bool)> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(1)?;
        at = 2;
        if extension & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0) + usize::from(extension & 0x30 != 0);
    }
    let begins = first & 0x17 == 0x10;
    Some((begins, begins && payload.get(at)? & 1 == 0))
}

/// The types of the NAL units that begin in a payload (RFC 6184 sections 5.6 to 5.8).
fn units(payload: &[u8]) -> Vec<u8> {
    let kind = payload.first().map_or(0, |byte| byte & 0x1f);
    match kind {
        0 => vec![],
        24 => {
            let mut types = Vec::new();
            let mut at = 1;
            while at + 2 < payload.len() {
                types.push(payload[at + 2] & 0x1f);
                at += 2 + usize::from(u16::from_be_bytes([payload[at], payload[at + 1]]));
            }
            types
        }
        28 => payload
            .get(1)
            .filter(|header| *header & 0x80 != 0)
            .map(|header| header & 0x1f)
            .into_iter()
            .collect(),
        _ => vec![kind],
    }
}
