//! Credentials and identifiers out of the random bytes that the shell provides.

use model::Ssrc;

/// The ice-char alphabet of RFC 8839 section 5.4: 64 characters, six bits each.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// 48 bits; RFC 8445 section 5.3 asks for 24. More keep fragments of ten thousands of sessions apart.
const UFRAG_LENGTH: usize = 8;
/// 144 bits; RFC 8445 section 5.3 asks for 128.
const PWD_LENGTH: usize = 24;

/// A source of random bytes.
pub(crate) struct Random<'f>(&'f mut dyn FnMut(&mut [u8]));

impl<'f> Random<'f> {
    pub(crate) fn new(fill: &'f mut dyn FnMut(&mut [u8])) -> Self {
        Self(fill)
    }

    pub(crate) fn ufrag(&mut self) -> String {
        self.text::<UFRAG_LENGTH>()
    }

    pub(crate) fn pwd(&mut self) -> String {
        self.text::<PWD_LENGTH>()
    }

    /// Any SSRC but 0, which some peers take for none.
    pub(crate) fn ssrc(&mut self) -> Ssrc {
        Ssrc(u32::from_be_bytes(self.bytes()).max(1))
    }

    /// `sess-id` of an origin line: 63 bits (RFC 8829 section 5.2.1).
    pub(crate) fn origin_id(&mut self) -> u64 {
        u64::from_be_bytes(self.bytes()) >> 1
    }

    fn text<const N: usize>(&mut self) -> String {
        // 64 divides 256, so that every character is as likely as any other.
        self.bytes::<N>().map(|b| char::from(ALPHABET[usize::from(b & 63)])).iter().collect()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        (self.0)(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Random<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Random")
    }
}
