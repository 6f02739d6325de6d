//! Extension blocks that nearly all packets of a slot share, prepared once: a packet then costs a copy and a few bytes
//! of its own. Headers with other extensions are written by [`super::rewrite`].

use model::{Mid, Pt, Ssrc};
use rtp::HeaderWriter;
use rtp::packet::FIXED_HEADER;

/// Longest block that is prepared; one with a longer mid is written for each packet.
const BLOCK: usize = 28;

/// The subscriber's ids; 0 if one was not negotiated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommonIds {
    pub(crate) mid: u8,
    pub(crate) abs_send_time: u8,
    pub(crate) transport_cc: u8,
    pub(crate) audio_level: u8,
}

/// The values that change from packet to packet; `None` if a packet does not have one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Values {
    pub(crate) sent_at: Option<[u8; 3]>,
    /// Transport-wide sequence number.
    pub(crate) number: Option<[u8; 2]>,
    pub(crate) level: Option<u8>,
}

/// A block, and the positions of its changing values; 0 if the block does not have one.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    bytes: [u8; BLOCK],
    len: u8,
    send_time_at: u8,
    number_at: u8,
    level_at: u8,
}

/// The blocks of one slot: with and without the values that depend on the send time, with and without an audio level.
#[derive(Debug)]
pub(crate) struct Prepared([Option<Block>; 4]);

impl Prepared {
    pub(crate) fn new(mid: Mid, ids: CommonIds) -> Self {
        Self([(false, false), (true, false), (false, true), (true, true)].map(|(timed, level)| {
            let ids = CommonIds {
                abs_send_time: if timed { ids.abs_send_time } else { 0 },
                transport_cc: if timed { ids.transport_cc } else { 0 },
                audio_level: if level { ids.audio_level } else { 0 },
                ..ids
            };
            Block::new(mid, ids)
        }))
    }

    /// Writes a header with the mid and these values, as far as they are present and their ids were negotiated. `None`
    /// if no such block is prepared or `out` is too short.
    #[inline]
    pub(crate) fn write(
        &self,
        header: &HeaderWriter,
        values: &Values,
        out: &mut [u8],
    ) -> Option<usize> {
        // Packets that may be written again bit by bit have neither of the two.
        let timed = values.sent_at.is_some() || values.number.is_some();
        let which = usize::from(timed) | usize::from(values.level.is_some()) << 1;
        let block = self.0[which].as_ref()?;
        // The whole array is copied, which is cheaper than a copy of variable length; the payload overwrites the
        // surplus.
        let (fixed, rest) = out.split_first_chunk_mut::<FIXED_HEADER>()?;
        let rest = rest.first_chunk_mut::<BLOCK>()?;
        *fixed = header.fixed(block.len > 0);
        *rest = block.bytes;
        if let (Some(time), at @ 1..) = (values.sent_at, usize::from(block.send_time_at)) {
            rest.get_mut(at..at + 3)?.copy_from_slice(&time);
        }
        if let (Some(number), at @ 1..) = (values.number, usize::from(block.number_at)) {
            rest.get_mut(at..at + 2)?.copy_from_slice(&number);
        }
        if let (Some(level), at @ 1..) = (values.level, usize::from(block.level_at)) {
            *rest.get_mut(at)? = level;
        }
        Some(FIXED_HEADER + usize::from(block.len))
    }
}

impl Block {
    /// `None` if the block does not fit, or one-byte headers cannot express it.
    fn new(mid: Mid, ids: CommonIds) -> Option<Self> {
        let extensions: [(u8, &[u8]); 4] = [
            (ids.mid, mid.as_bytes()),
            (ids.abs_send_time, &[0; 3]),
            (ids.transport_cc, &[0; 2]),
            (ids.audio_level, &[0]),
        ];
        let one_byte = extensions.iter().all(|(id, value)| {
            // RFC 8285 section 4.2: ids 1 to 14, 1 to 16 bytes.
            *id == 0 || (*id <= 14 && (1..=16).contains(&value.len()))
        });
        if !one_byte {
            return None;
        }
        let mut out = [0; FIXED_HEADER + BLOCK];
        let header =
            HeaderWriter { marker: false, pt: Pt(0), sequence: 0, timestamp: 0, ssrc: Ssrc(0) };
        let len = header.write(&mut out, &extensions).ok()? - FIXED_HEADER;
        let mut block = Self { len: u8::try_from(len).ok()?, ..Self::default() };
        block.bytes.copy_from_slice(&out[FIXED_HEADER..]);
        // After the block's own header of four bytes, each element has one byte before its value.
        let mut at = 4;
        for (place, (id, value)) in extensions.iter().enumerate() {
            if *id == 0 {
                continue;
            }
            match place {
                1 => block.send_time_at = at + 1,
                2 => block.number_at = at + 1,
                3 => block.level_at = at + 1,
                _ => {}
            }
            at += 1 + value.len() as u8;
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prepared_headers_are_those_that_would_be_written() {
        let header = HeaderWriter {
            marker: true,
            pt: Pt(111),
            sequence: 7,
            timestamp: 8,
            ssrc: Ssrc(0x0102_0304),
        };
        let mut seen = 0;
        for mid in ["0", "audio", "sixteen-letters-"] {
            for ids in [
                [1, 2, 4, 3],
                [1, 2, 0, 3],
                [3, 0, 0, 1],
                [3, 0, 2, 1],
                [0, 14, 0, 0],
                [0, 0, 0, 0],
                [15, 2, 0, 3],
                [1, 2, 5, 200],
            ] {
                let mid = Mid::parse(mid).unwrap();
                let [m, a, n, level_id] = ids;
                let prepared = Prepared::new(
                    mid,
                    CommonIds { mid: m, abs_send_time: a, transport_cc: n, audio_level: level_id },
                );
                for (time, level) in [
                    (None, None),
                    (Some([9, 8, 7]), None),
                    (None, Some(0x85)),
                    (Some([1, 2, 3]), Some(6)),
                ] {
                    let mut expected = [0xee; 80];
                    let level_byte = level.map(|l: u8| [l]);
                    let number = time.map(|_| [0x12, 0x34]);
                    let extensions: [(u8, &[u8]); 4] = [
                        (m, mid.as_bytes()),
                        time.as_ref().map_or((0, &[]), |t: &[u8; 3]| (a, t)),
                        number.as_ref().map_or((0, &[]), |t: &[u8; 2]| (n, t)),
                        level_byte.as_ref().map_or((0, &[]), |l| (level_id, l)),
                    ];
                    let len = header.write(&mut expected, &extensions).unwrap();
                    let mut out = [0xee; 80];
                    if let Some(written) = prepared.write(
                        &header,
                        &Values {
                            sent_at: time.filter(|_| a != 0),
                            number: number.filter(|_| n != 0),
                            level,
                        },
                        &mut out,
                    ) {
                        assert_eq!(
                            out[..written],
                            expected[..len],
                            "{mid:?} {ids:?} {time:?} {level:?}"
                        );
                        seen += 1;
                    }
                }
            }
        }
        assert!(seen >= 40, "{seen} were prepared");
    }

    const NOTHING: Values = Values { sent_at: None, number: None, level: None };

    #[test]
    fn without_room_nothing_is_written() {
        let ids = CommonIds { mid: 1, abs_send_time: 2, transport_cc: 0, audio_level: 3 };
        let prepared = Prepared::new(Mid::parse("0").unwrap(), ids);
        let header =
            HeaderWriter { marker: false, pt: Pt(0), sequence: 0, timestamp: 0, ssrc: Ssrc(0) };
        for room in 0..FIXED_HEADER + BLOCK {
            assert_eq!(prepared.write(&header, &NOTHING, &mut vec![0; room]), None);
        }
    }
}
