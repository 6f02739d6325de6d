//! Codec lists, each stored once in a room, and for each pair of lists a table that maps the payload types of the
//! publisher's list to those of the subscriber's. Most members of a room have the same browser, so thousands of
//! viewers share a few lists and tables.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use model::{CodecSpec, PtMapping};
use sdp::matching::{Keyed, map_keyed};

/// Number of lists at which unused lists and their tables are removed for the first time.
const SWEEP_MIN: usize = 64;

/// The codecs of a media section. Equal lists of one room have the same number.
#[derive(Debug, Clone)]
pub(crate) struct CodecList {
    pub(crate) codecs: Arc<[CodecSpec]>,
    keyed: Arc<Keyed>,
    number: u32,
}

impl CodecList {
    /// Whether a viewer with these codecs can take any of our codecs. Builds no table, because it is called for each
    /// pair of a source and a group.
    pub(crate) fn fits(&self, viewer: &CodecList) -> bool {
        self.keyed.fits(&viewer.keyed)
    }
}

/// The codec lists and payload type tables of one room.
#[derive(Debug, Default)]
pub(crate) struct Mappings {
    lists: HashMap<Arc<[CodecSpec]>, (u32, Arc<Keyed>)>,
    /// By the numbers of the publisher's and the subscriber's list.
    tables: BTreeMap<(u32, u32), Arc<[PtMapping]>>,
    /// Tables that were computed so far.
    worked_out: u64,
    next: u32,
    sweep_at: usize,
}

impl Mappings {
    /// The stored list with this content; it is stored if it is new.
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

    /// The table from a publisher's to a subscriber's payload types; empty when the subscriber can take none of them.
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

    /// Tables that were computed so far: what the room's work costs beside look-ups.
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
    fn unused_lists_and_tables_are_removed() {
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
