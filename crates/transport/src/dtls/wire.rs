//! The presentation language of TLS (RFC 5246 section 4): big-endian numbers, and vectors with their length in front.
//!
//! Reading returns `None` if the bytes end too early; it never panics and never allocates.

/// Bytes that are not read yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// A number of three bytes.
    pub(super) fn u24(&mut self) -> Option<usize> {
        let [a, b, c] = self.array()?;
        Some(usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c))
    }

    /// A vector after a length of one byte.
    pub(super) fn vector8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.bytes(len.into())
    }

    /// A vector after a length of two bytes.
    pub(super) fn vector16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.bytes(len.into())
    }

    /// A vector after a length of three bytes.
    pub(super) fn vector24(&mut self) -> Option<&'a [u8]> {
        let len = self.u24()?;
        self.bytes(len)
    }
}

/// The numbers of two bytes in a list; a single byte at the end is ignored.
pub(super) fn numbers(list: &[u8]) -> impl Iterator<Item = u16> {
    list.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

pub(super) fn put_u16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_be_bytes());
}

/// The lowest three bytes of a number.
pub(super) fn put_u24(out: &mut Vec<u8>, number: usize) {
    out.extend_from_slice(&(number as u32).to_be_bytes()[1..]);
}

/// Appends the bytes of `write`, with their length in `width` bytes in front.
pub(super) fn put_vector(out: &mut Vec<u8>, width: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.resize(start + width, 0);
    write(out);
    let len = (out.len() - start - width).to_be_bytes();
    out[start..start + width].copy_from_slice(&len[len.len() - width..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        put_u16(&mut out, 0xfefd);
        put_u24(&mut out, 0x01_0203);
        put_vector(&mut out, 1, |out| out.push(7));
        put_vector(&mut out, 2, |out| out.extend_from_slice(&[8; 300]));
        put_vector(&mut out, 3, |_| {});
        let mut reader = Reader::new(&out);
        assert_eq!(reader.u16(), Some(0xfefd));
        assert_eq!(reader.u24(), Some(0x01_0203));
        assert_eq!(reader.vector8(), Some(&[7][..]));
        assert_eq!(reader.vector16(), Some(&[8; 300][..]));
        assert_eq!(reader.vector24(), Some(&[][..]));
        assert!(reader.is_empty());
    }

    #[test]
    fn bytes_that_end_too_early_are_no_value() {
        assert_eq!(Reader::new(&[1]).u16(), None);
        assert_eq!(Reader::new(&[0, 0]).u24(), None);
        assert_eq!(Reader::new(&[3, 1, 2]).vector8(), None);
        assert_eq!(Reader::new(&[0, 3, 1, 2]).vector16(), None);
        assert_eq!(Reader::new(&[0, 0, 3, 1, 2]).vector24(), None);
        assert_eq!(Reader::new(&[]).u8(), None);
        assert_eq!(numbers(&[0, 1, 0]).collect::<Vec<_>>(), [1]);
    }
}
