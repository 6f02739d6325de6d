//! RTP header extensions (RFC 8285): the elements of a packet, and the ones that the node knows, resolved with the ids
//! of a session. The router gives them their meaning; the dependency descriptor is only located.

use model::{Extension, ExtensionMap, Mid, Rid};

use crate::packet::{RtpError, RtpHeader};

/// Profile of a block in the one-byte form (RFC 8285 section 4.2).
pub(crate) const ONE_BYTE: u16 = 0xbede;
/// Profile of a block in the two-byte form, its low four bits being "appbits" (RFC 8285 section 4.3).
pub(crate) const TWO_BYTE: u16 = 0x1000;

/// Iterator over the elements of an extension block, see [`RtpHeader::extensions`].
#[derive(Debug, Clone)]
pub struct Extensions<'a> {
    packet: &'a [u8],
    at: usize,
    end: usize,
    two_byte: bool,
}

/// An element by its position in the packet.
struct Element {
    id: u8,
    start: usize,
    end: usize,
}

impl<'a> Extensions<'a> {
    #[inline]
    pub(crate) fn new(packet: &'a [u8], start: u16, end: u16, profile: u16) -> Self {
        let two_byte = profile & 0xfff0 == TWO_BYTE;
        // RFC 3550 section 5.3.1: a block of an unknown profile is skipped.
        let known = two_byte || profile == ONE_BYTE;
        let end = usize::from(end);
        Self { packet, at: if known { usize::from(start) } else { end }, end, two_byte }
    }

    #[inline]
    fn fail(&mut self, error: RtpError) -> Option<Result<Element, RtpError>> {
        self.at = self.end;
        Some(Err(error))
    }

    #[inline]
    fn next_element(&mut self) -> Option<Result<Element, RtpError>> {
        let block = self.packet.get(..self.end)?;
        // RFC 8285 section 4.1: bytes of 0 between elements are padding, in both forms.
        while *block.get(self.at)? == 0 {
            self.at += 1;
        }
        let first = *block.get(self.at)?;
        let (id, start, len) = if self.two_byte {
            let Some(&len) = block.get(self.at + 1) else {
                return self.fail(RtpError::ExtensionOverrun);
            };
            (first, self.at + 2, usize::from(len))
        } else {
            (first >> 4, self.at + 1, usize::from(first & 0x0f) + 1)
        };
        if id == 0 || (!self.two_byte && id == 15) {
            // RFC 8285 section 4.2: id 0 with a length, and id 15 in the one-byte form, end the processing of the
            // block; earlier elements and the packet stay valid.
            self.at = self.end;
            return None;
        }
        let end = start + len;
        if end > self.end {
            return self.fail(RtpError::ExtensionOverrun);
        }
        self.at = end;
        Some(Ok(Element { id, start, end }))
    }
}

impl<'a> Iterator for Extensions<'a> {
    type Item = Result<(u8, &'a [u8]), RtpError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let element = self.next_element()?;
        Some(element.map(|e| (e.id, self.packet.get(e.start..e.end).unwrap_or_default())))
    }
}

/// The audio level of a packet (RFC 6464).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioLevel {
    /// The sender detected voice in it.
    pub voice: bool,
    /// Level in -dBov: 0 is the loudest, 127 is silence.
    pub level: u8,
}

impl AudioLevel {
    /// Reads the extension's byte.
    #[inline]
    pub fn from_byte(byte: u8) -> Self {
        Self { voice: byte & 0x80 != 0, level: byte & 0x7f }
    }

    /// The extension's byte.
    #[inline]
    pub fn to_byte(self) -> u8 {
        u8::from(self.voice) << 7 | self.level & 0x7f
    }
}

/// The extensions of one packet that the node knows. If an id appears twice, the last one is used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ParsedExtensions {
    /// Media section (RFC 9143).
    pub mid: Option<Mid>,
    /// Simulcast layer (RFC 8852).
    pub rid: Option<Rid>,
    /// Simulcast layer whose packets this stream repairs (RFC 8852).
    pub repaired_rid: Option<Rid>,
    /// Time of sending, 24 bits of 6.18 fixed point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// Audio level (RFC 6464).
    pub audio_level: Option<AudioLevel>,
    /// Rotation and camera, as in 3GPP TS 26.114 section 7.4.5; copied unchanged.
    pub video_orientation: Option<u8>,
    /// Shortest and longest playout delay, 12 bits each in units of 10 ms; copied unchanged.
    pub playout_delay: Option<[u8; 3]>,
    /// AV1 dependency descriptor: its offset and length in bytes within the packet; copied through.
    pub dependency_descriptor: Option<(u16, u16)>,
}

impl ParsedExtensions {
    /// Reads all elements in one pass. Unknown ids are skipped (RFC 8285 section 4.1), and so are values of an
    /// impossible length and `mid`, `rid` and `repaired-rid` values that are empty or not a token: extensions are
    /// optional, and media with an invalid one is still media.
    ///
    /// # Errors
    /// [`RtpError::ExtensionOverrun`]: an element exceeds the block, so the positions of the others are unknown.
    #[inline]
    pub fn parse(header: &RtpHeader<'_>, map: &ExtensionMap) -> Result<Self, RtpError> {
        let mut parsed = Self::default();
        let mut elements = header.extensions();
        while let Some(element) = elements.next_element() {
            let Element { id, start, end } = element?;
            if let Some(extension) = map.extension(id) {
                let value = header.raw().get(start..end).unwrap_or_default();
                parsed.set(extension, value, start);
            }
        }
        Ok(parsed)
    }

    /// The dependency descriptor's bytes; `packet` is the one that was parsed.
    #[inline]
    pub fn dependency_descriptor<'p>(&self, packet: &'p [u8]) -> Option<&'p [u8]> {
        let (offset, len) = self.dependency_descriptor?;
        packet.get(usize::from(offset)..usize::from(offset) + usize::from(len))
    }

    /// Takes a value; an invalid one is ignored.
    #[inline]
    fn set(&mut self, extension: Extension, value: &[u8], offset: usize) {
        match extension {
            Extension::Mid => self.mid = text(value, Mid::parse).or(self.mid),
            Extension::Rid => self.rid = text(value, Rid::parse).or(self.rid),
            Extension::RepairedRid => {
                self.repaired_rid = text(value, Rid::parse).or(self.repaired_rid);
            }
            Extension::AbsSendTime => {
                if let &[a, b, c] = value {
                    self.abs_send_time = Some(u32::from_be_bytes([0, a, b, c]));
                }
            }
            Extension::TransportCc => {
                // Version 2 of the extension adds two bytes of feedback request after the number.
                if let &[a, b] | &[a, b, _, _] = value {
                    self.transport_cc = Some(u16::from_be_bytes([a, b]));
                }
            }
            Extension::AudioLevel => {
                if let &[byte] = value {
                    self.audio_level = Some(AudioLevel::from_byte(byte));
                }
            }
            Extension::VideoOrientation => {
                if let &[byte] = value {
                    self.video_orientation = Some(byte);
                }
            }
            Extension::PlayoutDelay => {
                if let &[a, b, c] = value {
                    self.playout_delay = Some([a, b, c]);
                }
            }
            Extension::DependencyDescriptor => {
                // A packet is at most MAX_PACKET long, so both fit.
                self.dependency_descriptor = Some((offset as u16, value.len() as u16));
            }
        }
    }
}

#[inline]
fn text<T, E>(value: &[u8], parse: impl Fn(&str) -> Result<T, E>) -> Option<T> {
    parse(std::str::from_utf8(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::parse_header_unprotected;

    fn packet(profile: u16, block: &[u8]) -> Vec<u8> {
        assert_eq!(block.len() % 4, 0);
        let mut bytes = vec![0x90, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7];
        bytes.extend(profile.to_be_bytes());
        bytes.extend((block.len() as u16 / 4).to_be_bytes());
        bytes.extend(block);
        bytes.push(0xff);
        bytes
    }

    fn map() -> ExtensionMap {
        let mut map = ExtensionMap::new();
        for (i, e) in Extension::ALL.into_iter().enumerate() {
            map.set(e, i as u8 + 1);
        }
        map
    }

    fn parse(profile: u16, block: &[u8]) -> Result<ParsedExtensions, RtpError> {
        let bytes = packet(profile, block);
        ParsedExtensions::parse(&parse_header_unprotected(&bytes).unwrap(), &map())
    }

    #[test]
    fn all_known_extensions_are_found_in_one_pass() {
        let block = [
            0x10, b'0', 0x21, b'h', b'i', 0x31, b'l', b'o', // mid, rid, repaired rid
            0, 0, 0x42, 1, 2, 3, // padding, abs-send-time
            0x51, 0xab, 0xcd, 0x60, 0x85, 0x70, 0x09, // transport-cc, level, orientation
            0x82, 7, 8, 9, 0x93, 0xc0, 0, 1, 2, 0xa0,
            5, // playout delay, descriptor, unknown id 10
        ];
        let mut block = block.to_vec();
        block.resize(block.len().next_multiple_of(4), 0);
        let bytes = packet(0xbede, &block);
        let parsed =
            ParsedExtensions::parse(&parse_header_unprotected(&bytes).unwrap(), &map()).unwrap();
        assert_eq!(parsed.mid, Mid::parse("0").ok());
        assert_eq!(parsed.rid, Rid::parse("hi").ok());
        assert_eq!(parsed.repaired_rid, Rid::parse("lo").ok());
        assert_eq!(parsed.abs_send_time, Some(0x01_0203));
        assert_eq!(parsed.transport_cc, Some(0xabcd));
        assert_eq!(parsed.audio_level, Some(AudioLevel { voice: true, level: 5 }));
        assert_eq!(parsed.video_orientation, Some(9));
        assert_eq!(parsed.playout_delay, Some([7, 8, 9]));
        assert_eq!(parsed.dependency_descriptor(&bytes), Some(&[0xc0, 0, 1, 2][..]));
        assert_eq!(AudioLevel { voice: true, level: 5 }.to_byte(), 0x85);
    }

    #[test]
    fn the_two_byte_form_reads_alike_and_may_be_empty() {
        let parsed = parse(0x100f, &[1, 0, 2, 1, b'x', 0, 5, 2, 0, 9, 0, 0]).unwrap();
        assert_eq!(parsed.mid, None);
        assert_eq!(parsed.rid, Rid::parse("x").ok());
        assert_eq!(parsed.transport_cc, Some(9));
    }

    #[test]
    fn blocks_of_other_profiles_are_skipped() {
        assert_eq!(parse(0xabac, &[0xff; 8]), Ok(ParsedExtensions::default()));
    }

    #[test]
    fn id_0_with_a_length_ends_the_block() {
        let parsed = parse(0xbede, &[0x10, b'a', 0x03, 0x20, b'b', 0, 0, 0]).unwrap();
        assert_eq!(parsed.mid, Mid::parse("a").ok());
        assert_eq!(parsed.rid, None);
    }

    #[test]
    fn id_15_in_the_one_byte_form_ends_the_block_and_keeps_what_is_in_front() {
        let parsed = parse(0xbede, &[0x10, b'a', 0xf0, 0x20, 0x20, b'b', 0, 0]).unwrap();
        assert_eq!((parsed.mid, parsed.rid), (Mid::parse("a").ok(), None));
        // Even if its length would exceed the block.
        assert_eq!(parse(0xbede, &[0xff, 1, 0, 0]), Ok(ParsedExtensions::default()));
        // In the two-byte form 15 is a normal id.
        let parsed = parse(0x1000, &[15, 1, 9, 2, 1, b'x', 0, 0]).unwrap();
        assert_eq!(parsed.rid, Rid::parse("x").ok());
    }

    #[test]
    fn values_of_impossible_length_or_letters_are_passed_over_and_the_others_count() {
        for bad in [
            &[0x11, b'a', b' '][..],
            &[0x10, 0xff],
            &[0x50, 1],
            &[0x52, 1, 2, 3],
            &[0x41, 1, 2],
            &[0x43, 1, 2, 3, 4],
            &[0x61, 1, 2],
            &[0x71, 1, 2],
            &[0x81, 1, 2],
        ] {
            let mut block = [bad, &[0x20, b'h']].concat();
            block.resize(block.len().next_multiple_of(4), 0);
            let only_rid = ParsedExtensions { rid: Rid::parse("h").ok(), ..Default::default() };
            assert_eq!(parse(0xbede, &block), Ok(only_rid), "{bad:02x?}");
        }
        let parsed = parse(0xbede, &[0x10, b'a', 0x10, 0xff]).unwrap();
        assert_eq!(parsed.mid, Mid::parse("a").ok(), "the good one stays");
    }
}
