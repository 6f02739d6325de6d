//! Reads Opus packets from an Ogg file (RFC 3533, RFC 7845). The files are built in, so checksums are not verified and
//! one stream is expected; even so, no content causes a panic.

/// The Opus packets of a file, in order.
#[derive(Debug)]
pub(crate) struct OggOpus {
    /// The packets without the headers.
    pub(crate) packets: Vec<Vec<u8>>,
}

const PAGE_HEADER_LEN: usize = 27;
const CONTINUED: u8 = 1;
/// The largest Opus packet that one RTP packet can always carry.
const MAX_PACKET: usize = 1_200;

impl OggOpus {
    /// Parses a file whose packets all last 20 ms.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, &'static str> {
        let mut packets = packets(file)?.into_iter();
        // Two header packets come first (RFC 7845 section 5).
        if !packets.next().is_some_and(|head| head.starts_with(b"OpusHead")) {
            return Err("no OpusHead");
        }
        if !packets.next().is_some_and(|tags| tags.starts_with(b"OpusTags")) {
            return Err("no OpusTags");
        }
        let packets: Vec<Vec<u8>> = packets.collect();
        if packets.is_empty() {
            return Err("no audio");
        }
        if packets.iter().any(|packet| samples(packet) != Some(960)) {
            return Err("a packet does not last 20 ms");
        }
        if packets.iter().any(|packet| packet.len() > MAX_PACKET) {
            return Err("a packet is too large");
        }
        Ok(Self { packets })
    }
}

/// All packets of all pages (RFC 3533 section 6).
fn packets(mut rest: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut packets = Vec::new();
    let mut open: Option<Vec<u8>> = None;
    while !rest.is_empty() {
        let header = rest.get(..PAGE_HEADER_LEN).ok_or("a page header is cut")?;
        if &header[..4] != b"OggS" || header[4] != 0 {
            return Err("not an Ogg page");
        }
        if (header[5] & CONTINUED != 0) != open.is_some() {
            return Err("a packet over two pages is broken");
        }
        let lacing_len = usize::from(header[26]);
        let lacing = rest
            .get(PAGE_HEADER_LEN..PAGE_HEADER_LEN + lacing_len)
            .ok_or("a segment table is cut")?;
        rest = &rest[PAGE_HEADER_LEN + lacing_len..];
        for &value in lacing {
            let segment = rest.get(..usize::from(value)).ok_or("a segment is cut")?;
            rest = &rest[segment.len()..];
            let packet = open.get_or_insert_default();
            packet.extend_from_slice(segment);
            // A segment shorter than 255 bytes ends its packet.
            if value < 255 {
                packets.extend(open.take());
            }
        }
    }
    if open.is_some() { Err("the last packet is cut") } else { Ok(packets) }
}

/// Length of an Opus packet in samples at 48 kHz (RFC 6716 section 3.1).
fn samples(packet: &[u8]) -> Option<u32> {
    let toc = *packet.first()?;
    let config = u32::from(toc >> 3);
    let frame = match config {
        0..12 => [480, 960, 1920, 2880][config as usize % 4],
        12..16 => [480, 960][config as usize % 2],
        _ => [120, 240, 480, 960][config as usize % 4],
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3f),
    };
    Some(frame * frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(flags: u8, lacing: &[u8], body: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend([0; 20]);
        page.push(lacing.len() as u8);
        page.extend(lacing);
        page.extend(body);
        page
    }

    /// Configuration 31: CELT, full band, 20 ms; code 0: one frame.
    const TOC: u8 = 31 << 3;

    fn file() -> Vec<u8> {
        let long = [&[TOC][..], &[7; 299]].concat();
        [
            page(2, &[8], b"OpusHead"),
            page(0, &[8], b"OpusTags"),
            page(0, &[2, 255], &[&[TOC, 1][..], &long[..255]].concat()),
            page(CONTINUED, &[45, 1], &[&long[255..], &[TOC][..]].concat()),
        ]
        .concat()
    }

    #[test]
    fn packets_are_joined_over_pages() {
        let ogg = OggOpus::parse(&file()).unwrap();
        let lens: Vec<usize> = ogg.packets.iter().map(Vec::len).collect();
        assert_eq!(lens, [2, 300, 1]);
        assert_eq!(ogg.packets[1][299], 7);
    }

    #[test]
    fn broken_files_are_errors_and_no_panics() {
        let good = file();
        for cut in 0..good.len() {
            // A file that is cut at the end of a page may still be valid.
            if let Ok(ogg) = OggOpus::parse(&good[..cut]) {
                assert!(ogg.packets.len() < 3, "cut at {cut}");
            }
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0xff;
            let _may_be_either = OggOpus::parse(&bad);
        }
    }

    #[test]
    fn lengths_come_from_the_first_byte() {
        assert_eq!(samples(&[TOC]), Some(960));
        assert_eq!(samples(&[TOC | 1]), Some(1920));
        assert_eq!(samples(&[(28 << 3) | 3, 8]), Some(960));
        assert_eq!(samples(&[1 << 3]), Some(960));
        assert_eq!(samples(&[13 << 3]), Some(960));
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[TOC | 3]), None);
    }
}
