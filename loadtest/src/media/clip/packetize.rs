//! From encoded frames to RTP payloads: VP8 (RFC 7741), H.264 (RFC 6184), Opus (RFC 7587). The last payload of a frame
//! leaves room for a stamp.

use crate::media::STAMP_LEN;

/// Longest payload, the VP8 descriptor of four bytes and the stamp included.
const MAX: usize = 1_100;
const DESCRIPTOR: usize = 4;

/// Parts of nearly one size, as encoders make them, of a frame that a stamp follows: at most `max` bytes each, the stamp
/// whole in the last.
fn parts(frame: &[u8], max: usize) -> Vec<&[u8]> {
    let whole = frame.len() + STAMP_LEN;
    let count = whole.div_ceil(max).max(1);
    let part = whole.div_ceil(count);
    let mut parts = Vec::with_capacity(count);
    let mut rest = frame;
    while parts.len() + 1 < count {
        let (head, tail) = rest.split_at(part.min(rest.len()));
        parts.push(head);
        rest = tail;
    }
    parts.push(rest);
    parts
}

/// Payloads without descriptors; whether it is a key frame (RFC 6386 section 9.1).
pub(super) fn vp8(frame: &[u8]) -> (bool, Vec<Vec<u8>>) {
    let key = frame.first().is_some_and(|tag| tag & 1 == 0);
    (key, parts(frame, MAX - DESCRIPTOR).into_iter().map(<[u8]>::to_vec).collect())
}

/// Payloads of an access unit, given as NAL units behind their lengths; whether it is an IDR picture.
pub(super) fn h264(unit: &[u8]) -> (bool, Vec<Vec<u8>>) {
    const SEI: u8 = 6;
    let mut nals: Vec<&[u8]> = Vec::new();
    let mut rest = unit;
    while let Some((len, behind)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let Some((nal, behind)) = behind.split_at_checked(len) else { break };
        if nal.first().is_some_and(|first| first & 0x1f != SEI) {
            nals.push(nal);
        }
        rest = behind;
    }
    let kind = |nal: &&[u8]| nal[0] & 0x1f;
    let key = nals.iter().any(|nal| kind(nal) == 5);
    let (sets, slices): (Vec<&[u8]>, Vec<&[u8]>) =
        nals.into_iter().partition(|nal| matches!(kind(nal), 7 | 8));
    let mut payloads = Vec::new();
    if !sets.is_empty() {
        payloads.push(aggregate(&sets));
    }
    // The clip has one slice in a picture; with several, only the last one would have room for a stamp.
    for slice in slices {
        fragment(slice, &mut payloads);
    }
    (key, payloads)
}

/// STAP-A (RFC 6184 section 5.7.1): parameter sets in one packet.
fn aggregate(nals: &[&[u8]]) -> Vec<u8> {
    let importance = nals.iter().map(|nal| nal[0] & 0x60).max().unwrap_or(0);
    let mut payload = vec![importance | 24];
    for nal in nals {
        payload.extend((nal.len() as u16).to_be_bytes());
        payload.extend(*nal);
    }
    payload
}

/// A single NAL unit packet, or FU-A (RFC 6184 section 5.8).
fn fragment(nal: &[u8], payloads: &mut Vec<Vec<u8>>) {
    if nal.len() + STAMP_LEN <= MAX {
        payloads.push(nal.to_vec());
        return;
    }
    let (indicator, kind) = (nal[0] & 0x60 | 28, nal[0] & 0x1f);
    let parts = parts(&nal[1..], MAX - 2);
    let last = parts.len() - 1;
    for (at, part) in parts.into_iter().enumerate() {
        let begins = u8::from(at == 0) << 7;
        let ends = u8::from(at == last) << 6;
        payloads.push([&[indicator, begins | ends | kind][..], part].concat());
    }
}

/// One packet of code 3 with one frame and room for a stamp in its padding (RFC 6716 section 3.2.5). The clip has
/// packets of one frame (code 0) only; of others the stamp would make noise.
pub(super) fn opus(packet: &[u8]) -> Vec<Vec<u8>> {
    let Some((&toc, frame)) = packet.split_first().filter(|(toc, _)| *toc & 3 == 0) else {
        return Vec::new();
    };
    vec![[&[toc | 3, 0x40 | 1, STAMP_LEN as u8][..], frame].concat()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_leave_room_for_the_stamp() {
        let frame: Vec<u8> = (0..60_000_u32).map(|n| n as u8).collect();
        for len in (0..3_000).chain([20_000, 59_999]) {
            let parts = parts(&frame[..len], 1_000);
            assert_eq!(parts.concat(), frame[..len]);
            let last = parts.len() - 1;
            for (at, part) in parts.iter().enumerate() {
                let part = part.len() + if at == last { STAMP_LEN } else { 0 };
                assert!(part <= 1_000, "{len}: {part}");
            }
            let longest = parts.iter().map(|part| part.len()).max().unwrap();
            let mean = (len + STAMP_LEN) / parts.len();
            assert!(longest <= mean + 1, "{len}");
        }
    }

    #[test]
    fn fragments_are_put_together_again() {
        let mut nal = vec![0x65];
        nal.extend((0..5_000_u32).map(|n| n as u8));
        let unit = [&(nal.len() as u32).to_be_bytes()[..], &nal].concat();
        let (key, payloads) = h264(&unit);
        assert!(key);
        let mut again = vec![payloads[0][0] & 0x60 | payloads[0][1] & 0x1f];
        payloads.iter().for_each(|payload| again.extend(&payload[2..]));
        assert_eq!(again, nal);
        assert_eq!((payloads[0][1] & 0xc0, payloads.last().unwrap()[1] & 0xc0), (0x80, 0x40));
    }

    #[test]
    fn parameter_sets_share_a_packet_and_other_messages_go() {
        let unit =
            [0, 0, 0, 2, 0x67, 1, 0, 0, 0, 2, 0x68, 2, 0, 0, 0, 2, 0x06, 9, 0, 0, 0, 2, 0x65, 3];
        let (key, payloads) = h264(&unit);
        assert!(key);
        assert_eq!(payloads, [vec![0x78, 0, 2, 0x67, 1, 0, 2, 0x68, 2], vec![0x65, 3]]);
    }

    #[test]
    fn opus_packets_of_several_frames_are_left_out() {
        assert!(opus(&[0xfb, 1, 2]).is_empty());
        assert_eq!(opus(&[0xf8, 7]), [vec![0xfb, 0x41, 32, 7]]);
    }
}
