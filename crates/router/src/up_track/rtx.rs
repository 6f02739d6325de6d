//! Unwraps retransmissions (RFC 4588 section 4) in place. Whether the original was missing is checked elsewhere.

use model::{DropReason, Pt, Ssrc};

/// Bytes of the original sequence number in front of the payload.
const OSN: usize = 2;

/// Lengths of the parts of a packet in its buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) header_len: usize,
    pub(crate) payload_len: usize,
}

/// Turns a retransmission into the packet that was lost: original sequence number, payload type and SSRC. Returns the
/// original sequence number and the new layout.
///
/// # Errors
/// `PaddingOnly` if it holds no original sequence number: it is a bandwidth probe.
pub(crate) fn unwrap(
    buf: &mut [u8],
    layout: Layout,
    pt: Pt,
    ssrc: Ssrc,
) -> Result<(u16, Layout), DropReason> {
    let Layout { header_len, payload_len } = layout;
    let payload = buf
        .get_mut(header_len..header_len + payload_len)
        .filter(|p| p.len() >= OSN)
        .ok_or(DropReason::PaddingOnly)?;
    let sequence = u16::from_be_bytes([payload[0], payload[1]]);
    payload.copy_within(OSN.., 0);
    let fixed = buf.first_chunk_mut::<12>().ok_or(DropReason::RtpMalformed)?;
    fixed[1] = fixed[1] & 0x80 | pt.0 & 0x7f;
    fixed[2..4].copy_from_slice(&sequence.to_be_bytes());
    fixed[8..12].copy_from_slice(&ssrc.0.to_be_bytes());
    Ok((sequence, Layout { header_len, payload_len: payload_len - OSN }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retransmission_becomes_the_packet_that_was_lost() {
        let mut buf = vec![0x80, 0x80 | 97, 0, 9, 1, 2, 3, 4, 0, 0, 0, 99, 0x12, 0x34, 5, 6, 7];
        let layout = Layout { header_len: 12, payload_len: 5 };
        let (sequence, layout) =
            unwrap(&mut buf, layout, Pt(96), Ssrc(0x0a0b_0c0d)).expect("whole");
        assert_eq!(sequence, 0x1234);
        assert_eq!(layout, Layout { header_len: 12, payload_len: 3 });
        let original = [0x80, 0x80 | 96, 0x12, 0x34, 1, 2, 3, 4, 10, 11, 12, 13, 5, 6, 7];
        assert_eq!(buf[..15], original);
    }

    #[test]
    fn a_probe_without_original_is_padding() {
        let layout = Layout { header_len: 12, payload_len: 0 };
        assert_eq!(unwrap(&mut [0x80; 12], layout, Pt(96), Ssrc(1)), Err(DropReason::PaddingOnly));
    }
}
