//! The index guess and the replay window of one SSRC.
//!
//! Only arithmetic on indices; the caller authenticates the packets.

use super::{REPLAY_WINDOW, SrtpError};

const WORDS: usize = (REPLAY_WINDOW / 64) as usize;

/// The newest index of an SSRC, and which of the [`REPLAY_WINDOW`] indices up to it were accepted.
pub(super) struct Window {
    newest: u64,
    /// Bit `index % REPLAY_WINDOW`. Bits of indices that the window has not reached are 0.
    seen: [u64; WORDS],
}

impl Window {
    /// The window after its first packet.
    pub(super) fn new(index: u64) -> Self {
        let mut window = Self { newest: index, seen: [0; WORDS] };
        window.mark(index);
        window
    }

    /// The window of an SSRC of which only the newest index is known: no index up to that is accepted.
    pub(super) fn resumed(newest: u64) -> Self {
        Self { newest, seen: [u64::MAX; WORDS] }
    }

    /// The newest index accepted.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The most probable index of a sequence number (RFC 3711 section 3.3.1 and appendix A).
    ///
    /// # Errors
    /// [`SrtpError::KeyExhausted`] if it would be 2^48 or more.
    pub(super) fn guess(&self, sequence: u16) -> Result<u64, SrtpError> {
        const HALF: u16 = 0x8000;
        let newest_sequence = self.newest as u16;
        let roc = self.newest >> 16;
        let roc = if newest_sequence < HALF {
            // There is nothing before rollover 0, so at that point it can only be a jump ahead. The RFC's "mod 2^32"
            // would give an index at the end of the key's life.
            let before = sequence > newest_sequence && sequence - newest_sequence > HALF;
            if before { roc.saturating_sub(1) } else { roc }
        } else if newest_sequence - HALF > sequence {
            roc + 1
        } else {
            roc
        };
        // RFC 3711 section 9.2: the index must not wrap.
        if roc > u64::from(u32::MAX) {
            return Err(SrtpError::KeyExhausted);
        }
        Ok(roc << 16 | u64::from(sequence))
    }

    /// Whether a packet may still be accepted (RFC 3711 section 3.3.2).
    ///
    /// # Errors
    /// [`SrtpError::Replay`] if it was accepted before or is too old to tell.
    pub(super) fn check(&self, index: u64) -> Result<(), SrtpError> {
        if index > self.newest {
            return Ok(());
        }
        if self.newest - index >= REPLAY_WINDOW || self.is_marked(index) {
            return Err(SrtpError::Replay);
        }
        Ok(())
    }

    /// Marks a packet that passed [`Window::check`] and is authentic.
    pub(super) fn accept(&mut self, index: u64) {
        if index > self.newest {
            if index - self.newest >= REPLAY_WINDOW {
                self.seen = [0; WORDS];
            } else {
                // At most REPLAY_WINDOW - 1 turns, and none if no packet was lost.
                for skipped in self.newest + 1..index {
                    let (word, bit) = place(skipped);
                    self.seen[word] &= !bit;
                }
            }
            self.newest = index;
        }
        self.mark(index);
    }

    fn mark(&mut self, index: u64) {
        let (word, bit) = place(index);
        self.seen[word] |= bit;
    }

    fn is_marked(&self, index: u64) -> bool {
        let (word, bit) = place(index);
        self.seen[word] & bit != 0
    }
}

/// Word and bit of an index.
fn place(index: u64) -> (usize, u64) {
    let position = index % REPLAY_WINDOW;
    ((position / 64) as usize, 1 << (position % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn guessed(newest: u64, sequence: u16) -> u64 {
        Window::new(newest).guess(sequence).unwrap()
    }

    #[test]
    fn guesses_the_index_next_to_the_newest() {
        // RFC 3711 appendix A, both of its branches and their edges.
        assert_eq!(guessed(0x2_0005, 0x0006), 0x2_0006);
        assert_eq!(guessed(0x2_0005, 0xffff), 0x1_ffff);
        assert_eq!(guessed(0x2_0005, 0x8005), 0x2_8005);
        assert_eq!(guessed(0x2_0005, 0x8006), 0x1_8006);
        assert_eq!(guessed(0x2_fffe, 0x0003), 0x3_0003);
        assert_eq!(guessed(0x2_fffe, 0x7ffd), 0x3_7ffd);
        assert_eq!(guessed(0x2_fffe, 0x7ffe), 0x2_7ffe);
        assert_eq!(guessed(0x2_8000, 0x0000), 0x2_0000);
    }

    #[test]
    fn a_resumed_window_accepts_later_packets_only() {
        let mut window = Window::resumed(0x2_0005);
        assert_eq!(window.guess(0x0006), Ok(0x2_0006));
        for old in [0, 0x1_ffff, 0x2_0004, 0x2_0005] {
            assert_eq!(window.check(old), Err(SrtpError::Replay));
        }
        window.accept(0x2_0008);
        assert_eq!(window.check(0x2_0007), Ok(()), "it was skipped since");
        assert_eq!(window.check(0x2_0005), Err(SrtpError::Replay));
    }

    #[test]
    fn nothing_is_guessed_before_the_first_rollover() {
        assert_eq!(guessed(5, 0xffff), 0xffff);
    }

    #[test]
    fn nothing_is_guessed_past_the_last_rollover() {
        let last = Window::new((1 << 48) - 1);
        assert_eq!(last.guess(0), Err(SrtpError::KeyExhausted));
        assert_eq!(last.guess(0xffff), Ok((1 << 48) - 1));
    }

    #[test]
    fn late_packets_are_taken_once_and_only_within_the_window() {
        let mut window = Window::new(5000);
        assert_eq!(window.check(5000), Err(SrtpError::Replay));
        let oldest = 5000 - REPLAY_WINDOW + 1;
        assert_eq!(window.check(oldest), Ok(()));
        window.accept(oldest);
        assert_eq!(window.check(oldest), Err(SrtpError::Replay));
        assert_eq!(window.check(oldest - 1), Err(SrtpError::Replay));
    }

    #[test]
    fn agrees_with_a_set_of_all_indices_ever_accepted() {
        // A fixed walk with small steps, jumps within and beyond the window, and steps back.
        let mut window = Window::new(70_000);
        let mut accepted = HashSet::from([70_000u64]);
        let mut newest = 70_000u64;
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let roll = state >> 33;
            let index = match roll % 16 {
                0 => newest + 1 + roll % 3000,
                1..=7 => newest + 1,
                _ => newest.saturating_sub(roll / 16 % 1400),
            };
            let fresh =
                index > newest || (newest - index < REPLAY_WINDOW && !accepted.contains(&index));
            assert_eq!(window.check(index).is_ok(), fresh, "index {index}, newest {newest}");
            if fresh {
                window.accept(index);
                accepted.insert(index);
                newest = newest.max(index);
            }
        }
    }
}
