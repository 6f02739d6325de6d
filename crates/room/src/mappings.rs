//! Codec lists, each kept once in a room, and how the payload types of one read in another, worked out once for each pair. Most
//! members of a room have the same browser: thousands of viewers share a handful of lists and tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use model::{CodecSpec, PtMapping};
use sdp::matching::{Keyed, map_keyed};

/// Number of lists at which unused lists and their tables are removed.
const SWEEP_MIN: usize = 64;

/// The codecs of a media section. Equal lists of one room have the same number.
#[derive(Debug, Clone)]
pub(crate) struct CodecList {
    pub(crate) codecs: Arc<[CodecSpec]>,
    keyed: Arc<Keyed>,
    number: u32,
}

impl CodecList {
    /// Whether a viewer with these codecs can take anything of a publisher with ours. Works nothing out: asked of each pair of a source
    /// and a group.
    pub(crate) fn fits(&self, viewer: &CodecList) -> bool {
        self.keyed.fits(&viewer.keyed)
    }
}

/// See the head of the file.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    lists: HashMap<Arc<[CodecSpec]>, (u32, Arc<Keyed>)>,
    /// By publisher's and subscriber's list.
    tables: BTreeMap<(u32, u32), Arc<[PtMapping]>>,
    /// Tables that were worked out so far.
    worked_out: u64,
    next: u32,
    sweep_at: usize,
}

impl Mappings {
    /// The list with this content.
    pub(crate) fn list(&mut self, codecs: &[CodecSpec]) -> CodecList {
        if let Some((codecs, (number, keyed))) = self.lists.get_key_value(codecs) {
            return CodecList { codecs: codecs.clone(), keyed: keyed.clone(), number: *number };
        }
        self.sweep();
        let (codecs, number): (Arc<[CodecSpec]>, u32) = (codecs.into(), self.next);
        self.next = self.next.wrapping_add(1);
        let keyed = Arc::new(Keyed::new(&codecs));
        self.lists.insert(codecs.clone(), (number, keyed.clone()));
        CodecList { codecs, keyed, number }
    }

    /// How a publisher's payload types read for a subscriber; empty when it can take none of them.
    pub(crate) fn table(&mut self, up: &CodecList, down: &CodecList) -> Arc<[PtMapping]> {
        let table = self.tables.entry((up.number, down.number));
        let worked_out = &mut self.worked_out;
        table
            .or_insert_with(|| {
                *worked_out += 1;
                map_keyed((&up.codecs, &up.keyed), (&down.codecs, &down.keyed)).into()
            })
            .clone()
    }

    /// Tables that were worked out so far: what a turn of the room costs beside look-ups.
    pub(crate) fn worked_out(&self) -> u64 {
        self.worked_out
    }

    fn sweep(&mut self) {
        if self.lists.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        self.lists.retain(|list, _| Arc::strong_count(list) > 1);
        let alive: std::collections::BTreeSet<u32> =
            self.lists.values().map(|(number, _)| *number).collect();
        self.tables.retain(|(up, down), _| alive.contains(up) && alive.contains(down));
        self.sweep_at = 2 * self.lists.len();
    }
}

#[cfg(test)]
mod tests {
    use model::{Codec, Feedback, Pt};

    use super::*;

    fn opus(pt: u8) -> CodecSpec {
        CodecSpec {
            pt: Pt(pt),
            rtx_pt: None,
            codec: Codec::Opus,
            clock_rate: 48_000,
            channels: 2,
            fmtp: String::new(),
            feedback: Feedback::default(),
            parameter_sets: None,
        }
    }

    #[test]
    fn viewers_with_the_same_codecs_share_one_table() {
        let mut mappings = Mappings::default();
        let up = mappings.list(&[opus(111)]);
        let viewers = [mappings.list(&[opus(109)]), mappings.list(&[opus(109)])];
        let [a, b] = viewers.map(|down| mappings.table(&up, &down));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!((a[0].up, a[0].down), (Pt(111), Pt(109)));
    }

    #[test]
    fn lists_and_tables_that_nobody_uses_go() {
        let mut mappings = Mappings::default();
        let kept = mappings.list(&[opus(111)]);
        for n in 0..10_000_u32 {
            let fmtp = format!("x={n}");
            let list = mappings.list(&[CodecSpec { fmtp, ..opus(109) }]);
            mappings.table(&kept, &list);
        }
        assert!(mappings.lists.len() <= 2 * SWEEP_MIN, "{}", mappings.lists.len());
        assert!(mappings.tables.len() <= 2 * SWEEP_MIN, "{}", mappings.tables.len());
        assert_eq!(mappings.list(&[opus(111)]).number, kept.number);
    }
}
