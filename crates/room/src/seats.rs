//! Which source has which group of a viewer's slots, while [`crate::slots`] fits the sources into the groups.

use crate::sources::{Source, SourceKey};

/// Sources in the order of the policy, and the groups that they have.
pub(crate) struct Seats<'s, 'p> {
    pub(crate) sources: &'s [Source<'p>],
    /// The number of sources at the front that keep their group even if they are silent, because the policy prefers
    /// them.
    pub(crate) first: usize,
    /// The source in each group.
    pub(crate) holders: Vec<Option<usize>>,
    /// The group of each source.
    pub(crate) group_of: Vec<Option<usize>>,
}

impl<'s, 'p> Seats<'s, 'p> {
    /// `holders`: for each group the key of its source, if it has one. A source that no longer exists counts as none.
    pub(crate) fn new(
        sources: &'s [Source<'p>],
        holders: impl Iterator<Item = Option<SourceKey>>,
        first: usize,
    ) -> Self {
        let mut places: Vec<(SourceKey, usize)> =
            sources.iter().enumerate().map(|(at, source)| (source.key(), at)).collect();
        places.sort_unstable();
        let find = |key: SourceKey| {
            let place = places.binary_search_by_key(&key, |(key, _)| *key).ok()?;
            Some(places[place].1)
        };
        let holders: Vec<Option<usize>> = holders.map(|key| find(key?)).collect();
        let mut group_of = vec![None; sources.len()];
        for (group, source) in holders.iter().enumerate() {
            if let Some(source) = source {
                group_of[*source] = Some(group);
            }
        }
        Self { sources, first, holders, group_of }
    }

    /// The source in a group.
    pub(crate) fn source_at(&self, group: usize) -> Option<&'s Source<'p>> {
        self.holders[group].map(|source| &self.sources[source])
    }

    /// Puts a source into a free group.
    pub(crate) fn take(&mut self, group: usize, source: usize) {
        (self.holders[group], self.group_of[source]) = (Some(source), Some(group));
    }

    /// Frees a group, if it has a source.
    pub(crate) fn leave(&mut self, group: usize) {
        if let Some(source) = self.holders[group].take() {
            self.group_of[source] = None;
        }
    }

    /// Whether a source may take the group: the group is free, or the source is live and the group's source is silent.
    pub(crate) fn is_open(&self, group: usize, source: &Source<'_>) -> bool {
        match self.holders[group] {
            None => true,
            Some(holder) => source.is_live() && self.gives_way(holder),
        }
    }

    /// Whether any group is open to some source.
    pub(crate) fn has_open(&self) -> bool {
        self.holders.iter().any(|holder| holder.is_none_or(|holder| self.gives_way(holder)))
    }

    fn gives_way(&self, holder: usize) -> bool {
        holder >= self.first && !self.sources[holder].is_live()
    }

    /// Sources without a group.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = &'s Source<'p>> + '_ {
        self.sources.iter().zip(&self.group_of).filter(|(_, group)| group.is_none()).map(|(s, _)| s)
    }

    /// Sources that have a group, with that group.
    pub(crate) fn seated(&self) -> impl Iterator<Item = (&'s Source<'p>, usize)> + '_ {
        self.sources.iter().zip(&self.group_of).filter_map(|(s, group)| Some((s, (*group)?)))
    }
}
