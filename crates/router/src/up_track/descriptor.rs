//! Key frames of a source whose packets have a dependency descriptor (AV1 RTP specification, appendix A).
//!
//! The descriptors alone say where a key frame begins: the payload may be encrypted end to end, and then looks like a key frame, or like
//! parameter sets, by chance. The specification has a template structure in each key frame. Should a sender leave it out,
//! viewers would wait for ever; so the payload counts in a source that began [`PATIENCE`] key frames by its payload before it sent a
//! structure.

use rtp::payload::PayloadInfo;

/// See above. Of encrypted frames one in thirty or so looks like a key frame.
const PATIENCE: u8 = 3;

/// What was learned of the descriptors of a source.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    structured: bool,
    /// Key frames by the payload before the first structure.
    unstructured: u8,
}

impl Descriptors {
    /// Corrects what the payload of a packet said. `told` is what [`rtp::dependency_descriptor::starts_key_frame`] found in the packet's
    /// descriptor.
    pub(crate) fn correct(&mut self, told: Option<bool>, info: &mut PayloadInfo) {
        self.structured |= told.is_some();
        if !self.structured {
            if info.keyframe_start && self.unstructured < PATIENCE {
                self.unstructured += 1;
            }
            if self.unstructured == PATIENCE {
                return;
            }
        }
        let key = told == Some(true);
        info.keyframe_start = key;
        // Parameter sets and sequence headers are parts of the frame, as descriptors count frames: it begins with them, and
        // none are in front of it.
        info.lead = false;
        info.parameter_sets = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrected(by: &mut Descriptors, told: Option<bool>, key: bool) -> bool {
        let mut info = PayloadInfo { keyframe_start: key, ..PayloadInfo::default() };
        by.correct(told, &mut info);
        info.keyframe_start
    }

    #[test]
    fn descriptors_decide_from_the_first_packet_on() {
        let mut descriptors = Descriptors::default();
        assert!(!corrected(&mut descriptors, None, true));
        assert!(!corrected(&mut descriptors, None, false));
        assert!(corrected(&mut descriptors, Some(true), false));
        for _ in 0..10 {
            assert!(!corrected(&mut descriptors, None, true));
        }
        assert!(!corrected(&mut descriptors, Some(false), true));
    }

    #[test]
    fn a_source_that_never_sends_a_structure_is_believed_by_its_payload_in_the_end() {
        let mut descriptors = Descriptors::default();
        let seen: Vec<_> = (0..5).map(|_| corrected(&mut descriptors, None, true)).collect();
        assert_eq!(seen, [false, false, true, true, true]);
        assert!(!corrected(&mut descriptors, None, false));
        // Until it sends one after all.
        assert!(!corrected(&mut descriptors, Some(false), true));
        assert!(!corrected(&mut descriptors, None, true));
    }

    #[test]
    fn what_looks_like_parameter_sets_leads_to_no_key_frame() {
        let mut descriptors = Descriptors::default();
        let mut info = PayloadInfo { lead: true, parameter_sets: true, ..PayloadInfo::default() };
        descriptors.correct(None, &mut info);
        assert!(!info.lead && !info.parameter_sets);
        descriptors.correct(Some(true), &mut info);
        assert!(!info.lacks_parameter_sets(), "none of the offer are put in front");
    }
}
