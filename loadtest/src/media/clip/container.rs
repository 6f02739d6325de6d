//! The frames of our own files: IVF, Annex B with access unit delimiters, Ogg. Other files give no frames; the tests
//! of the clips count them.

/// Frames of an IVF file: a header of 32 bytes, then each frame behind 12 bytes that begin with its length.
pub(super) fn ivf(file: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut rest = file.get(32..).unwrap_or_default();
    while let Some((header, behind)) = rest.split_first_chunk::<12>() {
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let Some((frame, behind)) = behind.split_at_checked(len) else { break };
        frames.push(frame.to_vec());
        rest = behind;
    }
    frames
}

/// Access units of an H.264 byte stream (ITU-T H.264 annex B), each begun by a delimiter. A unit is given as its NAL
/// units, each behind its length in four bytes.
pub(super) fn access_units(file: &[u8]) -> Vec<Vec<u8>> {
    const DELIMITER: u8 = 9;
    let mut units: Vec<Vec<u8>> = Vec::new();
    for nal in nal_units(file) {
        if nal[0] & 0x1f == DELIMITER {
            units.push(Vec::new());
        } else if let Some(unit) = units.last_mut() {
            unit.extend((nal.len() as u32).to_be_bytes());
            unit.extend(nal);
        }
    }
    units
}

/// NAL units between start codes, without the zeros before the next one.
fn nal_units(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts: Vec<usize> = Vec::new();
    for (at, code) in file.windows(3).enumerate() {
        if code == [0, 0, 1] {
            starts.push(at + 3);
        }
    }
    let ends: Vec<usize> = starts.iter().skip(1).map(|s| s - 3).chain([file.len()]).collect();
    starts.into_iter().zip(ends).filter_map(move |(start, end)| {
        let nal = &file[start..end];
        let zeros = nal.iter().rev().take_while(|byte| **byte == 0).count();
        Some(&nal[..nal.len() - zeros]).filter(|nal| !nal.is_empty())
    })
}

/// Packets of an Ogg file (RFC 3533) with Opus (RFC 7845), without the two header packets.
pub(super) fn ogg(file: &[u8]) -> Vec<Vec<u8>> {
    let mut packets = Vec::new();
    let mut packet: Vec<u8> = Vec::new();
    let mut rest = file;
    while let Some((header, behind)) = rest.split_first_chunk::<27>() {
        if !header.starts_with(b"OggS") {
            break;
        }
        let Some((lacing, mut body)) = behind.split_at_checked(usize::from(header[26])) else {
            break;
        };
        for &len in lacing {
            let Some((segment, behind)) = body.split_at_checked(usize::from(len)) else { break };
            packet.extend(segment);
            body = behind;
            // RFC 3533 section 6: a segment of less than 255 bytes ends its packet.
            if len < 255 {
                packets.push(std::mem::take(&mut packet));
            }
        }
        rest = body;
    }
    packets.drain(..packets.len().min(2));
    packets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_streams_are_cut_at_start_codes() {
        let stream = [
            0, 0, 0, 1, 9, 0xf0, 0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x65, 2, 2, 0, 0, 1, 9, 0xf0, 0, 0,
            1, 0x41, 3,
        ];
        let units = access_units(&stream);
        assert_eq!(units[0], [0, 0, 0, 2, 0x67, 1, 0, 0, 0, 3, 0x65, 2, 2]);
        assert_eq!(units[1], [0, 0, 0, 2, 0x41, 3]);
        assert!(access_units(&[]).is_empty());
    }

    #[test]
    fn what_is_no_file_has_no_frames() {
        for junk in [&[][..], &[7; 31], &[7; 100]] {
            assert!(ivf(junk).is_empty() && ogg(junk).is_empty() && access_units(junk).is_empty());
        }
    }
}
