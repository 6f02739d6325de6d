//! Which sources get the slots of a viewer when there are more sources than slots.

use std::fmt::Debug;

use model::ParticipantId;

use crate::sources::Source;

/// Orders the sources of a viewer. Sources at the front get a place first.
pub trait SlotPolicy: Debug + Send {
    /// Sorts the sources, which come in order of arrival. Returns how many at the front take a place from one behind them where none is
    /// free; the others wait until one is.
    fn arrange(&self, sources: &mut [Source<'_>]) -> usize;
}

/// Sources get places in order of arrival and keep them. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByArrival;

impl SlotPolicy for ByArrival {
    fn arrange(&self, _: &mut [Source<'_>]) -> usize {
        0
    }
}

/// These participants are shown whenever they publish; the places that are left go by arrival.
#[derive(Debug, Clone, Default)]
pub struct Pinned(pub Vec<ParticipantId>);

impl SlotPolicy for Pinned {
    fn arrange(&self, sources: &mut [Source<'_>]) -> usize {
        front(&self.0, sources)
    }
}

/// Speakers are shown: the participants in the order in which they spoke last, the latest first; the places that are left go by
/// arrival. A source that is shown and still ranks high enough keeps its place.
#[derive(Debug, Clone, Default)]
pub struct BySpeaker(pub Vec<ParticipantId>);

impl SlotPolicy for BySpeaker {
    fn arrange(&self, sources: &mut [Source<'_>]) -> usize {
        front(&self.0, sources)
    }
}

/// Brings the sources of these participants to the front, in this order. Returns how many they are.
fn front(order: &[ParticipantId], sources: &mut [Source<'_>]) -> usize {
    let rank = |s: &Source<'_>| order.iter().position(|id| id == s.participant);
    // A stable sort: sources of one participant, and all others, stay in order of arrival.
    sources.sort_by_key(|s| rank(s).unwrap_or(order.len()));
    sources.iter().filter(|s| rank(s).is_some()).count()
}
