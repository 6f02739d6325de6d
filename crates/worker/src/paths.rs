//! The session that each network path belongs to, as one worker knows it.
//!
//! A path is entered only by an authenticated check. The kernel may bring a session's datagrams to a worker that does
//! not own it: before the session has an owner, or after its peer's address moved. Such paths are kept with the
//! session's entry in the directory, which tells the owner at any time.

use std::{sync::Arc, time::Instant};

use hashbrown::HashMap;
use model::{Path, SessionId};

use crate::{directory::Entry, sessions::SessionRef};

/// Addresses that one session may have in a worker that does not own it.
const PATHS_MAX: usize = 8;
/// With this many sessions that are not owned here, those that have ended are removed.
const SWEEP_MIN: usize = 64;

/// The session that a path belongs to.
#[derive(Debug, Clone)]
pub(crate) enum PathOwner {
    /// A session of this worker.
    Here(SessionRef),
    /// A session of another worker, or one without an owner yet, which its DTLS will give an owner.
    Elsewhere {
        entry: Arc<Entry>,
        /// When its last authentic check arrived here, or its last datagram was passed on.
        heard: Instant,
    },
}

/// A session that this worker does not own, and its paths.
struct Foreign {
    entry: Arc<Entry>,
    /// `Some(nominated)`: validated by a check that was answered here, and not yet told to the owner.
    paths: Vec<(Path, Option<bool>)>,
}

/// The paths that one worker knows.
#[derive(Default)]
pub(crate) struct Paths {
    table: HashMap<Path, PathOwner>,
    foreign: HashMap<SessionId, Foreign>,
    sweep_at: usize,
}

impl Paths {
    #[inline]
    pub(crate) fn get(&self, path: &Path) -> Option<&PathOwner> {
        self.table.get(path)
    }

    /// Enters a path of a session of this worker.
    pub(crate) fn own(&mut self, path: Path, session: SessionRef) {
        self.table.insert(path, PathOwner::Here(session));
    }

    /// Records that a datagram of this path was passed on to the worker that owns its session.
    #[inline]
    pub(crate) fn passed_on(&mut self, now: Instant, path: &Path) {
        if let Some(PathOwner::Elsewhere { heard, .. }) = self.table.get_mut(path) {
            *heard = now;
        }
    }

    /// Removes a path that a session of this worker no longer has.
    pub(crate) fn disown(&mut self, path: &Path, session: SessionRef) {
        if matches!(self.table.get(path), Some(PathOwner::Here(owner)) if *owner == session) {
            self.table.remove(path);
        }
    }

    /// Enters a path that was validated here, of a session without an owner.
    pub(crate) fn pend(&mut self, now: Instant, path: Path, entry: &Arc<Entry>, nominated: bool) {
        self.enter(now, path, entry, Some(nominated));
    }

    /// Enters a validated path of a session of another worker, which knows the path.
    pub(crate) fn cache(&mut self, now: Instant, path: Path, entry: &Arc<Entry>) {
        self.enter(now, path, entry, None);
    }

    /// Enters a path. Beyond [`PATHS_MAX`] of one session its oldest one is forgotten.
    fn enter(&mut self, now: Instant, path: Path, entry: &Arc<Entry>, untold: Option<bool>) {
        self.sweep();
        let foreign = self
            .foreign
            .entry(entry.id)
            .or_insert_with(|| Foreign { entry: entry.clone(), paths: Vec::new() });
        match foreign.paths.iter_mut().find(|(p, _)| *p == path) {
            // A nomination stays (RFC 8445 section 7.3.1.5).
            Some((_, told)) => *told = untold.map(|now| now || told.unwrap_or(false)),
            None => {
                if foreign.paths.len() == PATHS_MAX {
                    let (oldest, _) = foreign.paths.remove(0);
                    forget(&mut self.table, &oldest, entry.id);
                }
                foreign.paths.push((path, untold));
            }
        }
        self.table.insert(path, PathOwner::Elsewhere { entry: entry.clone(), heard: now });
    }

    /// Takes the paths that were validated here and that the owner of the session does not know. The caller tells the
    /// owner.
    pub(crate) fn take_untold(&mut self, session: SessionId) -> Vec<(Path, bool)> {
        let Some(foreign) = self.foreign.get_mut(&session) else { return Vec::new() };
        let told = foreign.paths.iter_mut();
        told.filter_map(|(path, nominated)| Some((*path, nominated.take()?))).collect()
    }

    /// Forgets a session that gets its owner here or has ended. Returns the paths that no other worker knows.
    pub(crate) fn take(&mut self, session: SessionId) -> Vec<(Path, bool)> {
        let Some(foreign) = self.foreign.remove(&session) else { return Vec::new() };
        // A check may have given one of these paths to another session since; then it stays with that session.
        let ours = foreign.paths.into_iter().filter(|(p, _)| forget(&mut self.table, p, session));
        ours.filter_map(|(path, nominated)| Some((path, nominated?))).collect()
    }

    /// Removes sessions that have ended, when there are many.
    fn sweep(&mut self) {
        if self.foreign.len() < self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        let table = &mut self.table;
        self.foreign.retain(|id, foreign| {
            let stays = !foreign.entry.is_gone();
            if !stays {
                foreign.paths.iter().for_each(|(path, _)| _ = forget(table, path, *id));
            }
            stays
        });
        self.sweep_at = 2 * self.foreign.len();
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }
}

/// Removes a path, unless a check gave it to another session since. Returns whether it was removed.
fn forget(table: &mut HashMap<Path, PathOwner>, path: &Path, session: SessionId) -> bool {
    let ours =
        matches!(table.get(path), Some(PathOwner::Elsewhere { entry, .. }) if entry.id == session);
    ours && table.remove(path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        core::tests::{path, plan},
        directory::Directory,
    };
    use model::Command;

    fn entry(directory: &Directory, id: u64) -> Arc<Entry> {
        directory.command(&Command::Open(plan(id)));
        directory.by_id(SessionId(id)).unwrap()
    }

    #[test]
    fn paths_of_sessions_that_are_over_do_not_pile_up() {
        let (directory, mut paths) = (Directory::default(), Paths::default());
        let now = Instant::now();
        let kept = entry(&directory, 1);
        paths.pend(now, path(1), &kept, false);
        for id in 2..10_000 {
            let entry = entry(&directory, id);
            paths.pend(now, path(id as u16), &entry, false);
            directory.command(&Command::Close { session: SessionId(id) });
        }
        assert!(paths.len() <= 2 * SWEEP_MIN, "{}", paths.len());
        assert!(
            matches!(paths.get(&path(1)), Some(PathOwner::Elsewhere { entry: e, .. }) if e.id == kept.id)
        );
    }

    #[test]
    fn a_session_has_eight_addresses_where_it_does_not_live() {
        let (directory, mut paths) = (Directory::default(), Paths::default());
        let now = Instant::now();
        let session = entry(&directory, 1);
        for port in 1..=9 {
            paths.pend(now, path(port), &session, port == 9);
        }
        assert!(paths.get(&path(1)).is_none() && paths.get(&path(2)).is_some());
        paths.pend(now, path(9), &session, false);
        let untold = paths.take_untold(SessionId(1));
        assert_eq!(untold.len(), PATHS_MAX);
        assert_eq!(untold.last(), Some(&(path(9), true)), "a nomination stays");
        assert!(paths.take_untold(SessionId(1)).is_empty());
        paths.take(SessionId(1));
        assert_eq!(paths.len(), 0);
    }
}
