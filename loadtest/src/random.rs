//! Random numbers: seeded once, then cheap. Good for ids and choices; the ICE passwords of bots protect only a test.

use aws_lc_rs::rand;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// A seed from the system.
    pub(crate) fn seed() -> u64 {
        let mut bytes = [0; 8];
        // Without randomness from the system a fixed seed is good enough, because nothing here is secret.
        match rand::fill(&mut bytes) {
            Ok(()) => u64::from_le_bytes(bytes),
            Err(_) => 0x5eed,
        }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// 0 up to 1, without 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// 0 up to `n`, without `n`; 0 for an `n` of 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// An SSRC: never 0.
    pub(crate) fn ssrc(&mut self) -> u32 {
        self.next() as u32 | 1
    }

    /// Text of ICE characters (RFC 8839 section 5.4).
    pub(crate) fn ice_text(&mut self, len: usize) -> String {
        const ALPHABET: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        (0..len).map(|_| char::from(ALPHABET[(self.next() % 64) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_and_bounds_hold() {
        let (mut a, mut b) = (Random::new(7), Random::new(7));
        for _ in 0..1_000 {
            assert_eq!(a.next(), b.next());
            assert!((0.0..1.0).contains(&a.unit()));
            assert!(a.below(3) < 3);
            b = a.clone();
        }
        assert_eq!(a.below(0), 0);
        assert_eq!(a.ice_text(24).len(), 24);
    }
}
