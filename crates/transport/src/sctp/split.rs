//! Divides a packet that became too long. `sctp-proto` counts neither the padding of chunks nor the header of the last one when it
//! puts chunks into one packet, so that a packet of many short messages may exceed the length that it was told.

use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc, Table};

use super::PACKET_MAX;

/// RFC 9260 appendix A: CRC32c.
const CHECKSUM: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
/// RFC 9260 section 3.1: ports, verification tag, checksum.
const COMMON_HEADER: usize = 12;

/// The packets into which a packet is divided at its chunks: itself if it is short enough. A chunk that does not fit in a packet is left
/// out; it could only be a SACK with very many gaps, which the peer asks for again.
pub(super) fn split(packet: Bytes) -> Vec<Bytes> {
    if packet.len() <= PACKET_MAX {
        return vec![packet];
    }
    let Some((header, mut rest)) = packet.split_at_checked(COMMON_HEADER) else {
        return Vec::new();
    };
    let mut packets = Vec::new();
    let mut current = header.to_vec();
    // Bounded: each turn takes at least the four bytes of a chunk's header.
    while let Some(&[_, _, l0, l1]) = rest.first_chunk::<4>() {
        let len = usize::from(u16::from_be_bytes([l0, l1])).max(4).next_multiple_of(4);
        let (chunk, tail) = rest.split_at(len.min(rest.len()));
        rest = tail;
        if current.len() + chunk.len() > PACKET_MAX {
            finish(&mut packets, std::mem::replace(&mut current, header.to_vec()));
        }
        if COMMON_HEADER + chunk.len() <= PACKET_MAX {
            current.extend_from_slice(chunk);
        }
    }
    finish(&mut packets, current);
    packets
}

fn finish(packets: &mut Vec<Bytes>, mut packet: Vec<u8>) {
    if packet.len() > COMMON_HEADER {
        packet[8..12].fill(0);
        let sum = CHECKSUM.checksum(&packet);
        // RFC 9260 appendix A: the least significant byte first.
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
        packets.push(packet.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(chunks: &[usize]) -> Bytes {
        let mut bytes = vec![1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0];
        for (at, len) in chunks.iter().enumerate() {
            bytes.extend_from_slice(&[at as u8, 0]);
            bytes.extend_from_slice(&(*len as u16).to_be_bytes());
            bytes.resize(bytes.len() + len.next_multiple_of(4) - 4, at as u8);
        }
        bytes.into()
    }

    #[test]
    fn a_packet_that_fits_stays_as_it_is_and_a_longer_one_keeps_all_its_chunks_in_order() {
        let fits = packet(&[20; 57]);
        assert_eq!(split(fits.clone()), [fits]);
        let long = packet(&[21; 60]);
        let parts = split(long.clone());
        assert_eq!(parts.len(), 2);
        let joined: Vec<u8> =
            parts.iter().flat_map(|part| part[COMMON_HEADER..].to_vec()).collect();
        assert_eq!(joined, long[COMMON_HEADER..]);
        for part in parts {
            assert!(part.len() <= PACKET_MAX && part[..8] == long[..8]);
            let mut zeroed = part.to_vec();
            zeroed[8..12].fill(0);
            assert_eq!(part[8..12], CHECKSUM.checksum(&zeroed).to_le_bytes());
        }
    }

    #[test]
    fn a_chunk_that_fits_in_no_packet_is_left_out() {
        let parts = split(packet(&[20, 2_000, 24]));
        assert_eq!(parts.len(), 2);
        assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [32, 36]);
        assert_eq!(split(packet(&[2_000])), Vec::<Bytes>::new());
    }
}
