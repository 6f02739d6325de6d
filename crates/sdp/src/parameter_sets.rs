//! Parameter sets that a publisher puts into its offer instead of, or in addition to, its stream: H.264 (RFC 6184
//! section 8.1) and H.265 (RFC 7798 section 7.1).

use std::sync::Arc;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use model::Codec;

use crate::fmtp::Parameters;

/// The number of NAL units of one codec.
const MAX_UNITS: usize = 16;
/// Their bytes in all.
const MAX_BYTES: usize = 4_096;
/// Some encoders write no padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The parameter sets of one codec, each a NAL unit without its start code, in the order in which a decoder needs them.
pub type ParameterSets = Arc<[Box<[u8]>]>;

/// The parameter sets of an `a=fmtp` line, in the order in which a decoder needs them. `None` when there are none or
/// they are invalid: then there are only those in the stream, if any.
pub fn parameter_sets(codec: Codec, fmtp: Parameters<'_>) -> Option<ParameterSets> {
    let mut units = Vec::new();
    let mut room = MAX_BYTES;
    // The name of each parameter; the shift and the mask that give the type of a NAL unit from its first byte; the
    // allowed types.
    let lists: &[(&str, u8, u8, &[u8])] = match codec {
        // RFC 6184 section 5.2: the type is the low five bits; 7 is an SPS, 8 a PPS.
        Codec::H264 => &[("sprop-parameter-sets", 0, 0x1f, &[7, 8])],
        // RFC 7798 section 1.1.4: the type is six bits after the first one; 32 is a VPS, 33 an SPS, 34 a PPS.
        Codec::H265 => &[
            ("sprop-vps", 1, 0x3f, &[32]),
            ("sprop-sps", 1, 0x3f, &[33]),
            ("sprop-pps", 1, 0x3f, &[34]),
        ],
        _ => return None,
    };
    for (name, shift, mask, types) in lists {
        let is_of_type = |first: &u8| types.contains(&(first >> shift & mask));
        let texts = fmtp.value(name).into_iter().flat_map(|list| list.split(','));
        for text in texts.map(str::trim).filter(|text| !text.is_empty()) {
            let unit = BASE64.decode(text).ok().filter(|unit| unit.len() <= room)?;
            if units.len() == MAX_UNITS || !unit.first().is_some_and(is_of_type) {
                return None;
            }
            room -= unit.len();
            units.push(unit.into_boxed_slice());
        }
    }
    (!units.is_empty()).then(|| units.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(codec: Codec, fmtp: &str) -> Option<Vec<Vec<u8>>> {
        let sets = parameter_sets(codec, Parameters(fmtp))?;
        Some(sets.iter().map(|unit| unit.to_vec()).collect())
    }

    #[test]
    fn sets_of_h264_and_h265_are_decoded_in_order() {
        let h264 = "packetization-mode=1;sprop-parameter-sets=Z0LgHw==,aM4G4g";
        let told = vec![vec![0x67, 0x42, 0xe0, 0x1f], vec![0x68, 0xce, 0x06, 0xe2]];
        assert_eq!(sets(Codec::H264, h264), Some(told));
        let h265 = "sprop-pps=RAHA;sprop-sps=QgEB;sprop-vps=QAEM";
        let told = vec![vec![0x40, 1, 0x0c], vec![0x42, 1, 1], vec![0x44, 1, 0xc0]];
        assert_eq!(sets(Codec::H265, h265), Some(told));
    }

    #[test]
    fn invalid_sets_are_ignored() {
        for bad in [
            "",
            "sprop-parameter-sets=",
            "sprop-parameter-sets=!!",
            // A slice, which is no parameter set.
            "sprop-parameter-sets=ZUI=",
            &format!("sprop-parameter-sets={}", ["Z0I="; 17].join(",")),
            &format!("sprop-parameter-sets=Z0{}", "A".repeat(6_000)),
        ] {
            assert_eq!(sets(Codec::H264, bad), None, "{bad}");
        }
        assert_eq!(sets(Codec::Vp8, "sprop-parameter-sets=Z0LgHw=="), None);
    }
}
