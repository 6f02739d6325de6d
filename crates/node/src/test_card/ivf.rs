//! Reads IVF, the simple container of VP8 frames. The files are built in; even so, no content causes a panic.

/// A VP8 file in memory.
#[derive(Debug)]
pub(crate) struct Ivf {
    /// The frames in order.
    pub(crate) frames: Vec<Frame>,
    /// Frames per second.
    pub(crate) rate: u32,
}

/// One encoded picture.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The VP8 bitstream of the frame.
    pub(crate) data: &'static [u8],
    /// A key frame, which can be decoded without earlier frames.
    pub(crate) key: bool,
}

const HEADER_LEN: usize = 32;
const FRAME_HEADER_LEN: usize = 12;

impl Ivf {
    /// Parses a file.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn parse(file: &'static [u8]) -> Result<Self, &'static str> {
        if file.len() < HEADER_LEN || &file[..4] != b"DKIF" {
            return Err("not an IVF file");
        }
        if &file[8..12] != b"VP80" {
            return Err("the codec is not VP8");
        }
        let header_len = usize::from(u16::from_le_bytes([file[6], file[7]]));
        let (rate, scale) = (le32(file, 16)?, le32(file, 20)?);
        if scale == 0 || rate == 0 || rate % scale != 0 {
            return Err("the frame rate is no whole number");
        }
        let mut rest = file.get(header_len..).ok_or("the header is cut")?;
        let mut frames = Vec::new();
        while !rest.is_empty() {
            let len = le32(rest, 0)? as usize;
            let body = rest.get(FRAME_HEADER_LEN..).ok_or("a frame header is cut")?;
            let data = body.get(..len).ok_or("a frame is cut")?;
            // The lowest bit of a frame is 0 in key frames (RFC 6386 section 9.1).
            let key = data.first().ok_or("a frame is empty")? & 1 == 0;
            frames.push(Frame { data, key });
            rest = &body[len..];
        }
        match frames.first() {
            Some(first) if first.key => Ok(Self { frames, rate: rate / scale }),
            _ => Err("the first frame is no key frame"),
        }
    }
}

fn le32(bytes: &[u8], at: usize) -> Result<u32, &'static str> {
    let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_le_bytes).ok_or("the file is cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(frames: &[&[u8]]) -> &'static [u8] {
        let mut bytes = b"DKIF\0\0\x20\0VP80\x80\x02\x68\x01".to_vec();
        bytes.extend([30, 0, 0, 0, 1, 0, 0, 0, frames.len() as u8, 0, 0, 0, 0, 0, 0, 0]);
        for (at, frame) in frames.iter().enumerate() {
            bytes.extend((frame.len() as u32).to_le_bytes());
            bytes.extend((at as u64).to_le_bytes());
            bytes.extend(*frame);
        }
        bytes.leak()
    }

    #[test]
    fn frames_come_in_order_with_their_kind() {
        let ivf = Ivf::parse(file(&[&[0x10, 1], &[0x11, 2, 3]])).unwrap();
        assert_eq!(ivf.rate, 30);
        assert_eq!(ivf.frames[0].data, [0x10, 1]);
        assert!(ivf.frames[0].key && !ivf.frames[1].key);
        assert_eq!(ivf.frames[1].data, [0x11, 2, 3]);
    }

    #[test]
    fn broken_files_are_errors() {
        let good = file(&[&[0x10, 1], &[0x11, 2, 3]]);
        let whole_frames = [HEADER_LEN + FRAME_HEADER_LEN + 2, good.len()];
        for cut in (0..=good.len()).filter(|cut| !whole_frames.contains(cut)) {
            assert!(Ivf::parse(&good[..cut]).is_err(), "cut at {cut}");
        }
        assert!(Ivf::parse(file(&[&[0x11]])).is_err(), "does not begin with a key frame");
        assert!(Ivf::parse(file(&[&[]])).is_err(), "empty frame");
    }
}
