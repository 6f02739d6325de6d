//! Which sources get a viewer's slots when there are more sources than slots.

use std::fmt::Debug;

use model::ParticipantId;

use crate::sources::Source;

/// Orders the sources of a viewer. Sources at the front get a group of slots first.
pub trait SlotPolicy: Debug + Send {
    /// Sorts the sources, which are given in order of arrival. Returns how many sources at the front may take a group
    /// from a source behind them when no group is free; the other sources wait for a free one.
    fn arrange(&self, sources: &mut [Source<'_>]) -> usize;
}

/// Sources get groups in order of arrival and keep them. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByArrival;

impl SlotPolicy for ByArrival {
    fn arrange(&self, _: &mut [Source<'_>]) -> usize {
        0
    }
}

/// These participants are shown whenever they publish; the remaining groups go to other sources in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct Pinned(pub Vec<ParticipantId>);

impl SlotPolicy for Pinned {
    fn arrange(&self, sources: &mut [Source<'_>]) -> usize {
        front(&self.0, sources)
    }
}

/// The participants who spoke last are shown; the list begins with the latest speaker. The remaining groups go to
/// other sources in order of arrival. A source that is shown keeps its group as long as it ranks high enough.
#[derive(Debug, Clone, Default)]
pub struct BySpeaker(pub Vec<ParticipantId>);

impl SlotPolicy for BySpeaker {
    fn arrange(&self, sources: &mut [Source<'_>]) -> usize {
        front(&self.0, sources)
    }
}

/// Moves the sources of these participants to the front, in this order. Returns the number of these sources.
fn front(order: &[ParticipantId], sources: &mut [Source<'_>]) -> usize {
    let rank = |s: &Source<'_>| order.iter().position(|id| id == s.participant);
    // The sort is stable: sources of one participant, and those of all others, stay in order of arrival.
    sources.sort_by_key(|s| rank(s).unwrap_or(order.len()));
    sources.iter().filter(|s| rank(s).is_some()).count()
}
