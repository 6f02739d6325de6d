//! The indices that were used for sending. SSRC and index are the nonce of a packet: two packets under one nonce would
//! reveal what both contain, and with GCM also the key of the tags (RFC 7714 section 8.4, RFC 3711 section 9.1). So an
//! index is claimed before a packet is sealed under it, once in the life of the key, even if the caller's numbering is
//! wrong.

use super::window::Window;
use super::{REPLAY_WINDOW, SrtpError};

/// Most SSRCs that a session may send with in its life: 64 slots with retransmissions, and new ones in each of many
/// renegotiations.
const MAX_STREAMS: usize = 4_096;
/// Tags that are remembered per stream at first. A power of two.
const TAGS: usize = 64;

/// The indices of all SSRCs of one key.
#[derive(Default)]
pub(super) struct Indices {
    streams: Vec<Stream>,
    /// Position of the last packet's SSRC: packets are sent in runs of one SSRC.
    last: usize,
}

pub(super) struct Stream {
    ssrc: u32,
    window: Window,
    /// Tags of packets that may be sealed again, by index modulo the length. Empty if no packet may be.
    tags: Vec<u64>,
}

/// What is known of an index that was claimed for a packet that may be sealed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// No packet was sealed under it.
    First,
    /// A packet with this tag was sealed under it.
    Again(u64),
}

impl Indices {
    /// Claims an index for a packet.
    ///
    /// # Errors
    /// [`SrtpError::IndexUsed`] if a packet was sealed under it, or if it is too old to tell;
    /// [`SrtpError::TooManyStreams`].
    #[inline]
    pub(super) fn claim(&mut self, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        match self.find(ssrc) {
            Some(stream) => stream.claim(index),
            None => self.add(ssrc, index).map(|_| ()),
        }
    }

    /// Claims an index for a packet that may be sealed again unchanged.
    ///
    /// # Errors
    /// As [`Indices::claim`]; and `IndexUsed` if the tag of the sealed packet is not known any more. More tags are
    /// then remembered from now on.
    pub(super) fn claim_again(&mut self, ssrc: u32, index: u64) -> Result<Claim, SrtpError> {
        let Some(stream) = self.find(ssrc) else {
            self.add(ssrc, index)?;
            return Ok(Claim::First);
        };
        if stream.claim(index).is_ok() {
            return Ok(Claim::First);
        }
        stream.tag(index).map(Claim::Again).ok_or(SrtpError::IndexUsed)
    }

    /// Remembers the tag of a packet that was sealed under an index claimed as [`Claim::First`].
    pub(super) fn remember(&mut self, ssrc: u32, index: u64, tag: u64) {
        let Some(stream) = self.find(ssrc) else { return };
        if stream.tags.is_empty() {
            stream.tags.resize(TAGS, 0);
        }
        let at = place(index, &stream.tags);
        stream.tags[at] = tag;
    }

    #[inline]
    fn find(&mut self, ssrc: u32) -> Option<&mut Stream> {
        if self.streams.get(self.last).is_none_or(|s| s.ssrc != ssrc) {
            self.last = self.streams.iter().position(|s| s.ssrc == ssrc)?;
        }
        self.streams.get_mut(self.last)
    }

    #[cold]
    fn add(&mut self, ssrc: u32, index: u64) -> Result<(), SrtpError> {
        if self.streams.len() >= MAX_STREAMS {
            return Err(SrtpError::TooManyStreams);
        }
        self.streams.push(Stream { ssrc, window: Window::new(index), tags: Vec::new() });
        Ok(())
    }
}

impl Stream {
    #[inline]
    fn claim(&mut self, index: u64) -> Result<(), SrtpError> {
        self.window.check(index).map_err(|_| SrtpError::IndexUsed)?;
        self.window.accept(index);
        Ok(())
    }

    /// The tag stored for an index. It may be that of an older index: then it differs from the tag of the packet to be
    /// sealed.
    fn tag(&mut self, index: u64) -> Option<u64> {
        let behind = self.window.newest().checked_sub(index)?;
        if behind >= REPLAY_WINDOW || self.tags.is_empty() {
            return None;
        }
        if behind < self.tags.len() as u64 {
            return Some(self.tags[place(index, &self.tags)]);
        }
        let mut more = vec![0; (behind as usize + 1).next_power_of_two()];
        let newest = self.window.newest();
        for kept in newest.saturating_sub(self.tags.len() as u64 - 1)..=newest {
            let at = place(kept, &more);
            more[at] = self.tags[place(kept, &self.tags)];
        }
        self.tags = more;
        None
    }
}

fn place(index: u64, tags: &[u64]) -> usize {
    index as usize & tags.len().wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_claimed_once_for_each_ssrc() {
        let mut indices = Indices::default();
        for ssrc in [7, 8] {
            for index in [70_000, 70_002, 70_001, 69_000] {
                assert_eq!(indices.claim(ssrc, index), Ok(()), "{ssrc} {index}");
            }
            for index in [70_000, 70_001, 70_002, 69_000, 70_002 - REPLAY_WINDOW] {
                assert_eq!(indices.claim(ssrc, index), Err(SrtpError::IndexUsed), "{ssrc} {index}");
            }
        }
    }

    #[test]
    fn ssrcs_are_bounded() {
        let mut indices = Indices::default();
        let claimed = (0..5_000).filter(|ssrc| indices.claim(*ssrc, 1).is_ok()).count();
        assert_eq!(claimed, MAX_STREAMS);
        assert_eq!(indices.claim(5_000, 1), Err(SrtpError::TooManyStreams));
        assert_eq!(indices.claim(0, 2), Ok(()), "those that are there go on");
    }

    #[test]
    fn tags_reach_as_far_back_as_they_were_asked_for() {
        let mut indices = Indices::default();
        let send = |indices: &mut Indices, range: std::ops::Range<u64>| {
            for index in range {
                assert_eq!(indices.claim_again(1, index), Ok(Claim::First));
                indices.remember(1, index, index * 3);
            }
        };
        send(&mut indices, 0..2_000);
        assert_eq!(indices.claim_again(1, 1_950), Ok(Claim::Again(5_850)));
        assert_eq!(indices.claim_again(1, 1_500), Err(SrtpError::IndexUsed), "forgotten");
        assert_eq!(indices.claim_again(1, 1_950), Ok(Claim::Again(5_850)), "kept");
        send(&mut indices, 2_000..3_000);
        assert_eq!(indices.claim_again(1, 2_500), Ok(Claim::Again(7_500)), "reaches further now");
        assert_eq!(indices.claim_again(1, 1_000), Err(SrtpError::IndexUsed), "too old to tell");
        assert_eq!(indices.streams[0].tags.len(), 512);
    }
}
