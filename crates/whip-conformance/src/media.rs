//! The media that the suite publishes: packets of valid form at the usual rate. Servers forward them, but they contain
//! nothing to see or hear.

use std::time::{Duration, Instant};

use str0m::{
    Rtc,
    format::Codec,
    media::{Mid, Pt},
    rtp::{RtpWrite, SeqNo},
};

/// Sends 30 pictures and 50 sounds per second.
pub(crate) struct Sender {
    video: Mid,
    audio: Mid,
    key_wanted: bool,
    pictures: u16,
    video_sequence: u64,
    audio_sequence: u64,
    start: Instant,
    next_picture: Instant,
    next_sound: Instant,
}

const FRAME: Duration = Duration::from_nanos(33_333_333);
const SOUND: Duration = Duration::from_millis(20);
/// A viewer that joins later then gets a key frame even if the server requests none.
const KEY_FRAME_EVERY: u16 = 60;

impl Sender {
    pub(crate) fn new(audio: Mid, video: Mid, now: Instant) -> Self {
        Self {
            video,
            audio,
            key_wanted: true,
            pictures: 0,
            video_sequence: 1_000,
            audio_sequence: 2_000,
            start: now,
            next_picture: now,
            next_sound: now,
        }
    }

    pub(crate) fn want_key_frame(&mut self) {
        self.key_wanted = true;
    }

    /// Sending starts now: nothing is due before the connection.
    pub(crate) fn wait(&mut self, now: Instant) {
        (self.next_picture, self.next_sound) = (now, now);
    }

    /// Sends the packets that are due.
    pub(crate) fn send(&mut self, rtc: &mut Rtc, now: Instant) {
        while self.next_picture <= now {
            self.send_picture(rtc, now);
            self.next_picture += FRAME;
        }
        while self.next_sound <= now {
            let time = timestamp(self.next_sound - self.start, 48_000);
            if let Some(pt) = payload_type(rtc, self.audio, Codec::Opus) {
                // A packet of silence (RFC 6716 section 3.1).
                let payload = vec![0xf8, 0xff, 0xfe];
                write(rtc, self.audio, pt, &mut self.audio_sequence, time, now, payload, false);
            }
            self.next_sound += SOUND;
        }
    }

    fn send_picture(&mut self, rtc: &mut Rtc, now: Instant) {
        let key =
            std::mem::take(&mut self.key_wanted) || self.pictures.is_multiple_of(KEY_FRAME_EVERY);
        let time = timestamp(self.next_picture - self.start, 90_000);
        let (pt, payloads) = if let Some(pt) = payload_type(rtc, self.video, Codec::Vp8) {
            (pt, vp8(self.pictures, key))
        } else if let Some(pt) = payload_type(rtc, self.video, Codec::H264) {
            (pt, h264(key))
        } else {
            return;
        };
        self.pictures = self.pictures.wrapping_add(1);
        let last = payloads.len() - 1;
        for (index, payload) in payloads.into_iter().enumerate() {
            let marker = index == last;
            write(rtc, self.video, pt, &mut self.video_sequence, time, now, payload, marker);
        }
    }
}

#[expect(clippy::too_many_arguments, reason = "the fields of one packet")]
fn write(
    rtc: &mut Rtc,
    mid: Mid,
    pt: Pt,
    sequence: &mut u64,
    time: u32,
    now: Instant,
    payload: Vec<u8>,
    marker: bool,
) {
    let mut api = rtc.direct_api();
    if let Some(stream) = api.stream_tx_by_mid(mid, None) {
        let packet = RtpWrite::new(pt, SeqNo::from(*sequence), time, now, payload);
        stream.write_rtp(packet.marker(marker).nackable(true));
        *sequence += 1;
    }
}

fn payload_type(rtc: &Rtc, mid: Mid, codec: Codec) -> Option<Pt> {
    let allowed = rtc.media(mid)?.remote_pts();
    let all = rtc.codec_config().params();
    all.iter().find(|p| p.spec().codec == codec && allowed.contains(&p.pt())).map(|p| p.pt())
}

fn timestamp(since: Duration, clock: u128) -> u32 {
    (since.as_nanos() * clock / 1_000_000_000) as u32
}

/// Packets of one VP8 picture: descriptor with a picture id (RFC 7741 section 4.2), frame tag, and for key frames
/// start code and size (RFC 6386 section 9.1).
fn vp8(number: u16, key: bool) -> Vec<Vec<u8>> {
    let picture_id = (0x8000 | (number & 0x7fff)).to_be_bytes();
    let descriptor = |first: u8| vec![0x80 | (first << 4), 0x80, picture_id[0], picture_id[1]];
    let mut first = descriptor(1);
    first.extend(if key { [0x10, 0x02, 0x00] } else { [0x11, 0x02, 0x00] });
    if key {
        first.extend([0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    }
    first.resize(900, 0x55);
    let mut second = descriptor(0);
    second.resize(900, 0x55);
    vec![first, second]
}

/// Packets of one H.264 picture, a NAL unit each (RFC 6184 section 5.6): parameter sets and IDR, or a plain slice.
fn h264(key: bool) -> Vec<Vec<u8>> {
    let slice = |kind: u8| {
        let mut nal = vec![kind, 0x88];
        nal.resize(900, 0x55);
        nal
    };
    if !key {
        return vec![slice(0x41)];
    }
    let sps = vec![0x67, 0x42, 0xe0, 0x1f, 0xda, 0x05, 0x07, 0xe4];
    let pps = vec![0x68, 0xce, 0x06, 0xe2];
    vec![sps, pps, slice(0x65)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_frames_can_be_told_from_others() {
        // RFC 6386 section 9.1: the lowest bit of the frame tag.
        assert_eq!(vp8(1, true)[0][4] & 1, 0);
        assert_eq!(vp8(1, false)[0][4] & 1, 1);
        assert_eq!(vp8(0x7fff, true)[1][..4], [0x80, 0x80, 0xff, 0xff]);
        assert_eq!(h264(true).iter().map(|n| n[0] & 0x1f).collect::<Vec<_>>(), [7, 8, 5]);
        assert_eq!(h264(false)[0][0] & 0x1f, 1);
    }
}
