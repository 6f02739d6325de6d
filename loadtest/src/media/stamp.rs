//! What a payload says of itself: who sent it, which packet of which frame it is, and when it was sent. 32 bytes at the
//! end of a payload.
//!
//! No byte of it is below 0x80 (seven bits each), so that inside an H.264 slice it cannot look like a start code
//! (ITU-T H.264 annex B), and whoever decodes the frame meets bytes after its end, which decoders skip.

/// Bytes of a stamp on the wire.
pub(crate) const STAMP_LEN: usize = 32;
/// The same before seven bits become eight.
const RAW_LEN: usize = 28;
/// What the check sum at the end is of.
const CHECKED: usize = RAW_LEN - 2;

/// A stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Which run of the swarm: what other senders in the room send is not ours.
    pub(crate) run: u32,
    /// Who sent it: 24 bits.
    pub(crate) publisher: u32,
    /// Number of the frame, the same in all simulcast layers.
    pub(crate) frame: u32,
    /// Which picture of the clip; 0 for synthetic frames.
    pub(crate) picture: u16,
    /// Which packet of the frame.
    pub(crate) index: u16,
    /// How many packets the frame has.
    pub(crate) count: u16,
    /// When the packet was sent, in nanoseconds of the monotonic clock: 56 bits.
    pub(crate) sent_ns: u64,
    /// Where the bytes are from.
    pub(crate) source: u8,
    /// Begins a key frame, or is part of one.
    pub(crate) key: bool,
    /// Every packet of the frame has a stamp, not only the last one.
    pub(crate) in_each: bool,
}

const FLAG_KEY: u8 = 1;
const FLAG_IN_EACH: u8 = 2;

impl Stamp {
    /// Writes it to the last bytes of `payload`; false when there is no room.
    pub(crate) fn write(&self, payload: &mut [u8]) -> bool {
        let Some(out) = payload.last_chunk_mut::<STAMP_LEN>() else { return false };
        let mut raw = [0_u8; RAW_LEN];
        raw[0..4].copy_from_slice(&self.run.to_be_bytes());
        raw[4..7].copy_from_slice(&self.publisher.to_be_bytes()[1..]);
        raw[7..11].copy_from_slice(&self.frame.to_be_bytes());
        raw[11..13].copy_from_slice(&self.picture.to_be_bytes());
        raw[13..15].copy_from_slice(&self.index.to_be_bytes());
        raw[15..17].copy_from_slice(&self.count.to_be_bytes());
        raw[17..24].copy_from_slice(&self.sent_ns.to_be_bytes()[1..]);
        raw[24] = self.source;
        raw[25] = (u8::from(self.key) * FLAG_KEY) | (u8::from(self.in_each) * FLAG_IN_EACH);
        if let Some((checked, sum)) = raw.split_first_chunk_mut::<CHECKED>() {
            sum.copy_from_slice(&check(checked).to_be_bytes());
        }
        for (seven, eight) in raw.as_chunks::<7>().0.iter().zip(out.as_chunks_mut::<8>().0) {
            *eight = spread(*seven);
        }
        true
    }

    /// Reads the stamp at the end of a payload.
    pub(crate) fn read(payload: &[u8]) -> Option<Stamp> {
        let bytes = payload.last_chunk::<STAMP_LEN>()?;
        let mut raw = [0_u8; RAW_LEN];
        for (eight, seven) in bytes.as_chunks::<8>().0.iter().zip(raw.as_chunks_mut::<7>().0) {
            *seven = gather(*eight)?;
        }
        if check(raw.first_chunk()?) != u16::from_be_bytes([raw[26], raw[27]]) {
            return None;
        }
        let word = |at: usize| u32::from_be_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let short = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
        let mut sent = [0; 8];
        sent[1..].copy_from_slice(&raw[17..24]);
        Some(Stamp {
            run: word(0),
            publisher: word(3) & 0x00ff_ffff,
            frame: word(7),
            picture: short(11),
            index: short(13),
            count: short(15),
            sent_ns: u64::from_be_bytes(sent),
            source: raw[24],
            key: raw[25] & FLAG_KEY != 0,
            in_each: raw[25] & FLAG_IN_EACH != 0,
        })
    }
}

/// The highest bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Seven bytes as eight of seven bits, each with the highest bit set. Halves are moved apart, then quarters, then bytes.
fn spread(seven: [u8; 7]) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[1..].copy_from_slice(&seven);
    let bits = u64::from_be_bytes(bytes);
    let bits = (bits & 0x00ff_ffff_f000_0000) << 4 | bits & 0x0fff_ffff;
    let bits = (bits & 0x0fff_c000_0fff_c000) << 2 | bits & 0x0000_3fff_0000_3fff;
    let bits = (bits & 0x3f80_3f80_3f80_3f80) << 1 | bits & 0x007f_007f_007f_007f;
    (bits | HIGH).to_be_bytes()
}

/// The other way; `None` when a highest bit is not set.
fn gather(eight: [u8; 8]) -> Option<[u8; 7]> {
    let bits = u64::from_be_bytes(eight);
    if bits & HIGH != HIGH {
        return None;
    }
    let bits = bits & !HIGH;
    let bits = (bits & 0x7f00_7f00_7f00_7f00) >> 1 | bits & 0x007f_007f_007f_007f;
    let bits = (bits & 0x3fff_0000_3fff_0000) >> 2 | bits & 0x0000_3fff_0000_3fff;
    let bits = (bits & 0x0fff_ffff_0000_0000) >> 4 | bits & 0x0fff_ffff;
    let [_, seven @ ..] = bits.to_be_bytes();
    Some(seven)
}

/// A check sum that tells a stamp from other bytes. Damage on the way is found by the authentication tag of SRTP.
fn check(bytes: &[u8; CHECKED]) -> u16 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    // Other than zero at the beginning: stamps of zeros are none.
    let sum = words.iter().chain([&last]).fold(0x811c_9dc5_u64, |sum, word| {
        let mixed = (sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    });
    (sum >> 48) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp() -> Stamp {
        Stamp {
            run: 0xdead_beef,
            publisher: 0x00ab_cdef,
            frame: 70_000,
            picture: 89,
            index: 3,
            count: 41,
            sent_ns: 0x00ff_eedd_ccbb_aa99,
            source: 7,
            key: true,
            in_each: false,
        }
    }

    #[test]
    fn a_stamp_is_read_back() {
        let mut payload = [0x11; 100];
        assert!(stamp().write(&mut payload));
        assert_eq!(Stamp::read(&payload), Some(stamp()));
        assert_eq!(payload[..68], [0x11; 68]);
        assert!(payload[68..].iter().all(|byte| *byte >= 0x80), "no start codes");
    }

    #[test]
    fn other_bytes_are_no_stamp() {
        assert_eq!(Stamp::read(&[0xff; 31]), None);
        for byte in [0, 0x5a, 0x80, 0xa5, 0xff] {
            assert_eq!(Stamp::read(&[byte; 200]), None, "{byte:#x}");
        }
        let mut payload = [0; STAMP_LEN];
        assert!(!stamp().write(&mut payload[1..]));
        stamp().write(&mut payload);
        for at in 0..STAMP_LEN {
            for bit in 0..8 {
                payload[at] ^= 1 << bit;
                assert_eq!(Stamp::read(&payload), None);
                payload[at] ^= 1 << bit;
            }
        }
    }
}
