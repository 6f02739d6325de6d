//! The media of all measurements: VP8 pictures of ten packets, thirty a second.

use std::time::Duration;

/// Bytes of payload in a packet.
pub(crate) const PAYLOAD: usize = 1_100;
/// Packets of a picture.
pub(crate) const PACKETS: u16 = 10;
/// Pictures a second.
pub(crate) const PICTURES: u32 = 30;
/// Pictures of real sizes: pictures from one key frame to the next. A window of ten seconds holds four key frames,
/// whenever it begins.
pub(crate) const KEY_EVERY: u32 = 75;
/// Seed of the picture sizes: all runs send the same ones.
pub(crate) const SEED: u64 = 7;
/// Time from picture to picture.
pub(crate) const FRAME: Duration = Duration::from_nanos(33_333_333);

/// The payload of packet `index` of a picture, [`PAYLOAD`] bytes.
pub(crate) fn payload(picture: u32, index: u16, key: bool) -> Vec<u8> {
    let [high, low] = (picture as u16 | 0x8000).to_be_bytes();
    // RFC 7741 section 4.2: X and S, then I, then 15 bits of picture id.
    let start = u8::from(index == 0) << 4;
    // RFC 6386 section 9.1: the lowest bit of the frame tag is 0 in a key frame.
    let mut bytes = vec![0x80 | start, 0x80, high, low, u8::from(!key)];
    bytes.resize(PAYLOAD, 0x5a);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_takes_it_for_vp8() {
        use rtp::payload::inspect;
        let first = inspect(model::Codec::Vp8, &payload(70_000, 0, true), None);
        assert!(first.keyframe_start && first.frame_start);
        let later = inspect(model::Codec::Vp8, &payload(70_001, 3, false), None);
        assert!(!later.keyframe_start && !later.frame_start);
        assert_eq!(payload(1, 1, false).len(), PAYLOAD);
    }
}
