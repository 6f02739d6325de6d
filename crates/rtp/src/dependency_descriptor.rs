//! Dependency descriptor, a header extension of video packets (AV1 RTP specification 1.0, appendix A): which frame a packet belongs
//! to, the layer of that frame, and where a decoder can begin. It is readable where the payload is not, as in media that is
//! encrypted end to end.
//!
//! [`DependencyDescriptor::parse`] reads all that is in one descriptor. Packets without a template structure name only a
//! template of the last structure; [`Structure::layer`] says what it means. [`starts_key_frame`] is for the packet path: it looks at
//! one bit unless there is a structure.

/// Templates of a structure (appendix A.8.2: template ids have six bits).
const TEMPLATES_MAX: usize = 64;
/// Bytes of the mandatory fields (appendix A.8.1).
const MANDATORY: usize = 3;

/// A descriptor that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DependencyDescriptor {
    /// The packet is the first one of its frame.
    pub start_of_frame: bool,
    /// The packet is the last one of its frame.
    pub end_of_frame: bool,
    /// `frame_dependency_template_id`, 0 to 63.
    pub template_id: u8,
    /// Number of the frame, in decoding order, modulo 2^16.
    pub frame_number: u16,
    /// The template structure; packets in which a key frame begins have one.
    pub structure: Option<Structure>,
    /// Earlier frames that the frame refers to. `None` if that stands in the structure of an earlier packet.
    pub references: Option<u32>,
}

/// A template structure, as far as layers and references are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Structure {
    id_offset: u8,
    count: u8,
    templates: [Template; TEMPLATES_MAX],
    decode_targets: u8,
    chains: u8,
}

/// One template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Template {
    layer: Layer,
    references: u8,
}

/// The layer of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layer {
    /// Spatial layer, 0 is the lowest.
    pub spatial: u8,
    /// Temporal layer, 0 is the lowest.
    pub temporal: u8,
}

impl DependencyDescriptor {
    /// Reads a descriptor, the value of the header extension. `None` if it is cut off, or contradicts itself.
    ///
    /// Custom references of a frame without a structure ([`DependencyDescriptor::references`]) are not read: their position
    /// depends on an earlier structure.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let &[flags, high, low, ref rest @ ..] = bytes else { return None };
        let mut descriptor = Self {
            start_of_frame: flags & 0x80 != 0,
            end_of_frame: flags & 0x40 != 0,
            template_id: flags & 0x3f,
            frame_number: u16::from_be_bytes([high, low]),
            structure: None,
            references: None,
        };
        // Appendix A.8.2: without a fourth byte there are no extended fields.
        if rest.is_empty() {
            return Some(descriptor);
        }
        let mut bits = Bits::new(rest);
        let [has_structure, has_active, custom_dtis, custom_fdiffs, _custom_chains] =
            bits.flags()?;
        if !has_structure {
            return Some(descriptor);
        }
        let structure = Structure::read(&mut bits)?;
        if has_active {
            bits.skip(usize::from(structure.decode_targets))?;
        }
        let template = structure.template(descriptor.template_id)?;
        if custom_dtis {
            bits.skip(2 * usize::from(structure.decode_targets))?;
        }
        descriptor.references = Some(match custom_fdiffs {
            true => custom_references(&mut bits)?,
            false => template.references.into(),
        });
        descriptor.structure = Some(structure);
        Some(descriptor)
    }

    /// Whether a decoder can begin with this packet: it begins a frame that refers to no other, and has the structure that the
    /// packets after it need.
    pub fn starts_key_frame(&self) -> bool {
        self.start_of_frame && self.structure.is_some() && self.references == Some(0)
    }
}

impl Structure {
    /// The layer of the frames that name this template id; `None` if the structure does not have it.
    pub fn layer(&self, template_id: u8) -> Option<Layer> {
        self.template(template_id).map(|template| template.layer)
    }

    /// The highest layer that a template has.
    pub fn highest(&self) -> Layer {
        let all = self.templates[..usize::from(self.count)].iter().map(|template| template.layer);
        all.fold(Layer::default(), |high, layer| Layer {
            spatial: high.spatial.max(layer.spatial),
            temporal: high.temporal.max(layer.temporal),
        })
    }

    /// Appendix A.8.2, `frame_dependency_definition`: ids count from the structure's offset, modulo 64.
    fn template(&self, id: u8) -> Option<&Template> {
        let at = id.wrapping_sub(self.id_offset) % TEMPLATES_MAX as u8;
        self.templates.get(usize::from(at)).filter(|_| at < self.count)
    }

    /// Appendix A.8.3, `template_dependency_structure`.
    fn read(bits: &mut Bits<'_>) -> Option<Self> {
        let id_offset = bits.read(6)? as u8;
        let decode_targets = bits.read(5)? as u8 + 1;
        let mut structure = Self {
            id_offset,
            count: 0,
            templates: [Template::default(); TEMPLATES_MAX],
            decode_targets,
            chains: 0,
        };
        structure.read_layers(bits)?;
        let count = usize::from(structure.count);
        // `template_dtis`: two bits for each template and decode target.
        bits.skip(2 * count * usize::from(decode_targets))?;
        // `template_fdiffs`
        for template in &mut structure.templates[..count] {
            while bits.read(1)? == 1 {
                bits.skip(4)?;
                template.references = template.references.checked_add(1)?;
            }
        }
        // `template_chains`
        structure.chains = bits.read_below(u32::from(decode_targets) + 1)? as u8;
        if structure.chains > 0 {
            for _ in 0..decode_targets {
                bits.read_below(structure.chains.into())?;
            }
            bits.skip(4 * count * usize::from(structure.chains))?;
        }
        // `render_resolutions`: two numbers of 16 bits for each spatial layer.
        if bits.read(1)? == 1 {
            bits.skip(32 * (usize::from(structure.highest().spatial) + 1))?;
        }
        Some(structure)
    }

    /// `template_layers`: each template says in two bits where the next one is.
    fn read_layers(&mut self, bits: &mut Bits<'_>) -> Option<()> {
        let mut layer = Layer::default();
        for template in &mut self.templates {
            template.layer = layer;
            self.count += 1;
            match bits.read(2)? {
                0 => {}
                1 => layer.temporal += 1,
                2 => layer = Layer { spatial: layer.spatial + 1, temporal: 0 },
                _ => return Some(()),
            }
        }
        // More templates than there are ids.
        None
    }
}

/// Whether a decoder can begin with the packet that has this descriptor; see [`DependencyDescriptor::starts_key_frame`]. `None`:
/// there is no valid structure in it, so it does not tell.
#[inline]
pub fn starts_key_frame(bytes: &[u8]) -> Option<bool> {
    // Most packets have no structure.
    bytes.get(MANDATORY).filter(|extended| **extended & 0x80 != 0)?;
    read_key_frame(bytes)
}

#[cold]
fn read_key_frame(bytes: &[u8]) -> Option<bool> {
    let descriptor = DependencyDescriptor::parse(bytes)?;
    descriptor.structure.is_some().then(|| descriptor.starts_key_frame())
}

/// `frame_fdiffs`: sizes in units of four bits, ended by 0. Returns their number.
fn custom_references(bits: &mut Bits<'_>) -> Option<u32> {
    let mut count = 0;
    loop {
        match bits.read(2)? {
            0 => return Some(count),
            size => bits.skip(4 * size as usize)?,
        }
        count += 1;
    }
}

/// Reads bits, the highest of a byte first.
struct Bits<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Bits<'b> {
    fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next `count` bits, at most 32. `None` at the end of the bytes.
    fn read(&mut self, count: usize) -> Option<u32> {
        let mut value = 0;
        for at in self.at..self.at + count {
            let byte = self.bytes.get(at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - at % 8) & 1);
        }
        self.at += count;
        Some(value)
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.at += count;
        (self.at <= 8 * self.bytes.len()).then_some(())
    }

    fn flags<const N: usize>(&mut self) -> Option<[bool; N]> {
        let mut flags = [false; N];
        for flag in &mut flags {
            *flag = self.read(1)? == 1;
        }
        Some(flags)
    }

    /// ns(n): a value below `n` in as few bits as possible (AV1 bitstream specification section 4.10.7). `n` is at least 1.
    fn read_below(&mut self, n: u32) -> Option<u32> {
        let w = 32 - n.leading_zeros();
        let m = (1 << w) - n;
        let v = self.read(w as usize - 1)?;
        if v < m {
            return Some(v);
        }
        Some((v << 1) - m + self.read(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes bits, as the tests build descriptors.
    #[derive(Default)]
    struct Write(Vec<bool>);

    impl Write {
        fn put(mut self, value: u32, count: u32) -> Self {
            self.0.extend((0..count).rev().map(|bit| bit < 32 && value >> bit & 1 == 1));
            self
        }

        fn bytes(&self) -> Vec<u8> {
            let byte = |bits: &[bool]| {
                bits.iter().enumerate().fold(0, |b, (i, bit)| b | u8::from(*bit) << (7 - i))
            };
            self.0.chunks(8).map(byte).collect()
        }
    }

    /// A start of a frame with this template and the structure of two spatial and two temporal layers (L2T2), whose offset is 60:
    /// templates (0, 0) without and with references, (0, 1), (1, 0) and (1, 1), four decode targets and two chains.
    fn l2t2(template_id: u8) -> Write {
        let mut w = Write::default().put(1, 1).put(0, 1).put(template_id.into(), 6).put(513, 16);
        w = w.put(0b10000, 5).put(60, 6).put(3, 5);
        for next in [0, 1, 2, 1, 3] {
            w = w.put(next, 2);
        }
        w = w.put(0, 2 * 5 * 4);
        // References: none; one; one; two; two.
        for references in [0, 1, 1, 2, 2] {
            for _ in 0..references {
                w = w.put(1, 1).put(3, 4);
            }
            w = w.put(0, 1);
        }
        // ns(5) of 2 is 10; each target is protected by one of two chains (ns(2): one bit).
        w = w.put(0b10, 2).put(0b0101, 4).put(0, 4 * 5 * 2);
        w.put(1, 1).put(639, 16).put(359, 16).put(1_279, 16).put(719, 16)
    }

    #[test]
    fn the_mandatory_fields_alone() {
        let read = DependencyDescriptor::parse(&[0xc5, 0x12, 0x34]).unwrap();
        assert!(read.start_of_frame && read.end_of_frame && !read.starts_key_frame());
        assert_eq!((read.template_id, read.frame_number), (5, 0x1234));
        assert_eq!((read.structure, read.references), (None, None));
        assert!(!DependencyDescriptor::parse(&[0x40, 0, 0]).unwrap().start_of_frame);
        for short in [&[][..], &[0x80], &[0x80, 1]] {
            assert_eq!(DependencyDescriptor::parse(short), None);
        }
    }

    #[test]
    fn a_structure_says_which_template_is_which_layer() {
        let bytes = l2t2(60).bytes();
        let read = DependencyDescriptor::parse(&bytes).unwrap();
        let structure = read.structure.unwrap();
        let layers: Vec<_> = [60, 61, 62, 63, 0, 1]
            .map(|id| structure.layer(id).map(|l| (l.spatial, l.temporal)))
            .into();
        let known = [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)].map(Some);
        assert_eq!(layers[..5], known);
        assert_eq!(layers[5], None, "ids count modulo 64 from the offset, five of them");
        assert_eq!(structure.highest(), Layer { spatial: 1, temporal: 1 });
        assert_eq!(structure.chains, 2);
        assert_eq!(read.frame_number, 513);
    }

    #[test]
    fn a_key_frame_begins_where_a_frame_with_a_structure_refers_to_nothing() {
        assert_eq!(starts_key_frame(&l2t2(60).bytes()), Some(true));
        assert_eq!(
            starts_key_frame(&l2t2(61).bytes()),
            Some(false),
            "it refers to an earlier frame"
        );
        assert_eq!(
            starts_key_frame(&l2t2(63).bytes()),
            Some(false),
            "the higher layer of the picture"
        );
        assert_eq!(starts_key_frame(&l2t2(2).bytes()), None, "no such template");
        let mut later = l2t2(60).bytes();
        later[0] &= 0x7f;
        assert_eq!(starts_key_frame(&later), Some(false), "not the first packet");
        assert_eq!(starts_key_frame(&[0xc0, 0, 1]), None);
        assert_eq!(
            starts_key_frame(&[0xc0, 0, 1, 0x10, 0]),
            None,
            "custom references, no structure"
        );
    }

    #[test]
    fn references_of_the_frame_itself_replace_those_of_its_template() {
        // custom_fdiffs in the extended fields, then after the structure: sizes 1 and 3, then the end.
        let with = |own: &[u32]| {
            let mut w = l2t2(60);
            w.0[24 + 3] = true;
            for size in own {
                w = w.put(*size, 2).put(0, 4 * size);
            }
            starts_key_frame(&w.put(0, 2).bytes())
        };
        assert_eq!((with(&[]), with(&[1, 3])), (Some(true), Some(false)));
    }

    #[test]
    fn a_structure_that_is_cut_off_is_none() {
        let full = l2t2(60).bytes();
        for len in 4..full.len() {
            assert_eq!(DependencyDescriptor::parse(&full[..len]), None, "{len}");
        }
    }

    #[test]
    fn more_templates_than_ids_are_refused() {
        let mut w = Write::default().put(0x80_0000, 24).put(0b10000, 5).put(0, 11);
        for _ in 0..64 {
            w = w.put(0, 2);
        }
        assert_eq!(DependencyDescriptor::parse(&w.put(0, 4_096).bytes()), None);
    }

    #[test]
    fn minimal_binary_codes_are_those_of_the_specification() {
        // AV1 bitstream specification section 4.10.7, for n = 5.
        let codes = [(0b00, 2, 0), (0b01, 2, 1), (0b10, 2, 2), (0b110, 3, 3), (0b111, 3, 4)];
        for (code, len, value) in codes {
            let bytes = Write::default().put(code, len).bytes();
            assert_eq!(Bits::new(&bytes).read_below(5), Some(value));
        }
        assert_eq!(Bits::new(&[]).read_below(1), Some(0), "no choice takes no bit");
    }
}
