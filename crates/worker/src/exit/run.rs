//! A run: packets of one track that go through the track's sinks in this worker together. Sinks whose turn has not
//! come share the run. Runs that no sink needs any more are reused, so that nothing is allocated once warm.

use std::{collections::VecDeque, sync::Arc};

use model::{MediaKind, TrackId};
use router::{LEAD_MAX, Packet};

use crate::tracks::TrackRef;

/// Most packets in a run: a `u64` has one bit per packet, which says whether it waits.
pub(crate) const RUN_MAX: usize = 64;
/// Most new packets in a run. The rest of [`RUN_MAX`] is for parameter sets of an earlier run that a key frame needs.
pub(crate) const FRESH_MAX: usize = RUN_MAX - LEAD_MAX;
/// How many runs are checked for reuse before a new one is made.
const PROBES: usize = 8;

/// Packets of one track that go through its sinks together.
pub(crate) struct Run {
    pub(crate) track: TrackRef,
    pub(crate) id: TrackId,
    pub(crate) kind: MediaKind,
    /// At most [`RUN_MAX`].
    pub(crate) packets: Vec<Arc<Packet>>,
    /// The longest payload, to which shorter ones may be padded; 0: no padding.
    pub(crate) longest: u16,
}

impl Run {
    /// The packets of a set of bits.
    pub(crate) fn named(&self, packets: u64) -> impl Iterator<Item = &Arc<Packet>> {
        self.packets
            .iter()
            .enumerate()
            .filter(move |(at, _)| packets & (1 << at) != 0)
            .map(|(_, p)| p)
    }

    /// The sum of the payload bytes of a set of packets.
    pub(crate) fn bytes_of(&self, packets: u64) -> usize {
        self.named(packets).map(|p| usize::from(p.meta.payload_len)).sum()
    }
}

/// The runs of a worker, for reuse.
#[derive(Default)]
pub(crate) struct RunPool {
    free: Vec<Arc<Run>>,
    /// Runs that were given out, the oldest in front.
    out: VecDeque<Arc<Run>>,
}

impl RunPool {
    /// Makes a run of a track. `fill` gets an empty list with room for the packets. `padded`: packets may be padded to
    /// the length of the longest, so that they make one train.
    pub(crate) fn make(
        &mut self,
        (track, id, kind): (TrackRef, TrackId, MediaKind),
        padded: bool,
        fill: impl FnOnce(&mut Vec<Arc<Packet>>),
    ) -> Arc<Run> {
        self.reclaim();
        let mut run = self.free.pop().unwrap_or_else(|| {
            let packets = Vec::with_capacity(RUN_MAX);
            Arc::new(Run { track, id, kind, packets, longest: 0 })
        });
        // The run is free or new, so this is the only reference.
        if let Some(run) = Arc::get_mut(&mut run) {
            (run.track, run.id, run.kind) = (track, id, kind);
            fill(&mut run.packets);
            let lengths = run.packets.iter().map(|p| p.meta.payload_len);
            run.longest = if padded { lengths.max().unwrap_or(0) } else { 0 };
        }
        self.out.push_back(Arc::clone(&run));
        run
    }

    /// Takes back runs that no sink needs any more, and releases their packets.
    pub(crate) fn reclaim(&mut self) {
        for _ in 0..PROBES.min(self.out.len()) {
            let Some(mut run) = self.out.pop_front() else { break };
            match Arc::get_mut(&mut run) {
                Some(unique) => {
                    unique.packets.clear();
                    self.free.push(run);
                }
                None => self.out.push_back(run),
            }
        }
    }
}
