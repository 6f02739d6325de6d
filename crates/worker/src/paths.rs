//! Whose datagrams a network path carries, as one worker knows it.
//!
//! A path is entered by an authenticated check only. The kernel may bring a session's datagrams to a worker where it does
//! not live, before it lives anywhere or after its peer's address moved: these paths are kept with the session's entry in the
//! directory, which says where it lives at any time.

use std::{sync::Arc, time::Instant};

use hashbrown::HashMap;
use model::{Path, SessionId};

use crate::{directory::Entry, sessions::SessionRef};

/// Addresses that one session may have in a worker where it does not live.
const PATHS_MAX: usize = 8;
/// Sessions that live elsewhere before those that are over are swept out.
const SWEEP_MIN: usize = 64;

/// Whose datagrams a path carries.
#[derive(Debug, Clone)]
pub(crate) enum PathOwner {
    /// A session of this worker.
    Here(SessionRef),
    /// A session of another worker, or of none yet: its DTLS will settle it here.
    Elsewhere {
        entry: Arc<Entry>,
        /// When its last genuine check came here, or the last datagram that was passed on.
        heard: Instant,
    },
}

/// A session that does not live here, and its paths.
struct Foreign {
    entry: Arc<Entry>,
    /// `Some(nominated)`: validated by a check that was answered here, and the owner does not know of it.
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

    /// A path of a session of ours.
    pub(crate) fn own(&mut self, path: Path, session: SessionRef) {
        self.table.insert(path, PathOwner::Here(session));
    }

    /// A datagram of this path was passed on to the worker where its session lives.
    #[inline]
    pub(crate) fn passed_on(&mut self, now: Instant, path: &Path) {
        if let Some(PathOwner::Elsewhere { heard, .. }) = self.table.get_mut(path) {
            *heard = now;
        }
    }

    /// The session has this path no more.
    pub(crate) fn disown(&mut self, path: &Path, session: SessionRef) {
        if matches!(self.table.get(path), Some(PathOwner::Here(owner)) if *owner == session) {
            self.table.remove(path);
        }
    }

    /// A path that was validated here, of a session that lives nowhere yet.
    pub(crate) fn pend(&mut self, now: Instant, path: Path, entry: &Arc<Entry>, nominated: bool) {
        self.enter(now, path, entry, Some(nominated));
    }

    /// A validated path of a session of another worker, which knows of it.
    pub(crate) fn cache(&mut self, now: Instant, path: Path, entry: &Arc<Entry>) {
        self.enter(now, path, entry, None);
    }

    /// Enters a path; beyond [`PATHS_MAX`] of one session its oldest one is forgotten.
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

    /// The paths that were validated here and that the owner of the session does not know of. The caller tells it.
    pub(crate) fn take_untold(&mut self, session: SessionId) -> Vec<(Path, bool)> {
        let Some(foreign) = self.foreign.get_mut(&session) else { return Vec::new() };
        let told = foreign.paths.iter_mut();
        told.filter_map(|(path, nominated)| Some((*path, nominated.take()?))).collect()
    }

    /// Forgets a session that settles here or is over, and gives the paths that no other worker knows of.
    pub(crate) fn take(&mut self, session: SessionId) -> Vec<(Path, bool)> {
        let Some(foreign) = self.foreign.remove(&session) else { return Vec::new() };
        // A check may have given one of these paths to another session since: that one stays there.
        let ours = foreign.paths.into_iter().filter(|(p, _)| forget(&mut self.table, p, session));
        ours.filter_map(|(path, nominated)| Some((path, nominated?))).collect()
    }

    /// Sweeps out sessions that are over, when there are many.
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

/// Takes a path out, unless a check made it another session's since. Returns whether it was taken out.
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
