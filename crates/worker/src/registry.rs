//! What a worker knows of sessions that may live elsewhere: their plans, which worker they settled in, and whose
//! datagrams a network path carries.
//!
//! Each worker has a registry of its own; all of them learn of every session by command before the peer can send its
//! first check. Where a session settles is decided by one compare-and-swap on the owner that the registries share.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use hashbrown::HashMap;
use model::{Binding, IceCredentials, Mid, Path, SessionId, SessionPlan};

use crate::{WorkerId, sessions::Slot};

/// Addresses that one session may have in a worker where it does not live.
const PATHS_MAX: usize = 8;

const UNSETTLED: u8 = u8::MAX;

/// Where a session lives; shared by all workers.
#[derive(Debug)]
pub(crate) struct Home(AtomicU8);

impl Home {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(AtomicU8::new(UNSETTLED)))
    }

    /// A session that lives in a worker from the start (a local source).
    pub(crate) fn at(worker: WorkerId) -> Arc<Self> {
        Arc::new(Self(AtomicU8::new(worker.0)))
    }

    pub(crate) fn owner(&self) -> Option<WorkerId> {
        match self.0.load(Ordering::Acquire) {
            UNSETTLED => None,
            id => Some(WorkerId(id)),
        }
    }

    /// Settles the session in `me`, or tells who was first.
    pub(crate) fn settle(&self, me: WorkerId) -> Result<(), WorkerId> {
        match self.0.compare_exchange(UNSETTLED, me.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(id) if id == me.0 => Ok(()),
            Err(id) => Err(WorkerId(id)),
        }
    }
}

/// One session in the registry.
pub(crate) struct Entry {
    pub(crate) plan: Arc<SessionPlan>,
    pub(crate) home: Arc<Home>,
    /// Credentials now; a restart changes them.
    pub(crate) ice: IceCredentials,
    /// Credentials before the last restart.
    ice_before: Option<IceCredentials>,
    /// The session's place, when it lives here.
    pub(crate) slot: Option<Slot>,
    /// What flows through its slots, as commanded so far.
    pub(crate) bindings: Vec<(Mid, Option<Binding>)>,
    /// Paths that were validated here before the session settled, and whether they were nominated.
    pub(crate) pending: Vec<(Path, bool)>,
    ufrags: Vec<String>,
    foreign: Vec<Path>,
    /// Nobody has told yet where it settled.
    awaited: bool,
}

impl Entry {
    /// The password behind a ufrag of ours: of the present credentials, or of those before the last restart.
    pub(crate) fn password(&self, local_ufrag: &str) -> Option<&str> {
        let all = std::iter::once(&self.ice).chain(&self.ice_before);
        all.filter(|i| i.local_ufrag == local_ufrag).map(|i| i.local_pwd.as_str()).next()
    }
}

/// Whose datagrams a path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PathOwner {
    /// A session of this worker.
    Here(Slot),
    /// A session that has not settled: its DTLS will settle it here.
    Pending(SessionId),
    /// A session of another worker.
    There(WorkerId),
}

/// See the head of the file.
#[derive(Default)]
pub(crate) struct Registry {
    entries: HashMap<SessionId, Entry>,
    ufrags: HashMap<String, SessionId>,
    paths: HashMap<Path, PathOwner>,
    /// Entries that are awaited.
    awaited: usize,
}

impl Registry {
    pub(crate) fn open(&mut self, plan: Arc<SessionPlan>, home: Arc<Home>) {
        if self.entries.contains_key(&plan.id) {
            // Told twice, since another worker was busy the first time. What came since must stay.
            return;
        }
        let (id, ice) = (plan.id, plan.ice.clone());
        let mut ufrags = Vec::new();
        // A session without a peer (a local source) has no credentials. Nobody may address it: an empty password is
        // known to everyone, and a check that it authenticates could take another session's path.
        if !ice.local_ufrag.is_empty() {
            self.ufrags.insert(ice.local_ufrag.clone(), id);
            ufrags.push(ice.local_ufrag.clone());
        }
        let awaited = home.owner().is_none();
        self.awaited += usize::from(awaited);
        let entry = Entry {
            plan,
            home,
            ice,
            ice_before: None,
            slot: None,
            bindings: Vec::new(),
            pending: Vec::new(),
            ufrags,
            foreign: Vec::new(),
            awaited,
        };
        self.entries.insert(id, entry);
    }

    /// New credentials. Checks with the ones before are still found; whether they are still good is for the session
    /// to say. Older ones are forgotten.
    pub(crate) fn restart(&mut self, session: SessionId, ice: IceCredentials) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        if entry.ice.local_ufrag == ice.local_ufrag {
            // Told twice: the ones before must not be forgotten for it.
            entry.ice = ice;
            return;
        }
        while entry.ufrags.len() > 1 {
            self.ufrags.remove(&entry.ufrags.remove(0));
        }
        self.ufrags.insert(ice.local_ufrag.clone(), session);
        entry.ufrags.push(ice.local_ufrag.clone());
        entry.ice_before = Some(std::mem::replace(&mut entry.ice, ice));
    }

    pub(crate) fn bind(&mut self, session: SessionId, mid: Mid, binding: Option<Binding>) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        match entry.bindings.iter_mut().find(|(m, _)| *m == mid) {
            Some((_, b)) => *b = binding,
            None => entry.bindings.push((mid, binding)),
        }
    }

    /// Forgets a session and its paths.
    pub(crate) fn forget(&mut self, session: SessionId) -> Option<Entry> {
        self.settled(session);
        let entry = self.entries.remove(&session)?;
        for ufrag in &entry.ufrags {
            self.ufrags.remove(ufrag);
        }
        for (path, _) in &entry.pending {
            forget_pending(&mut self.paths, path, session);
        }
        for path in &entry.foreign {
            forget_lent(&mut self.paths, path);
        }
        Some(entry)
    }

    /// It is known where a session settled.
    pub(crate) fn settled(&mut self, session: SessionId) {
        if let Some(entry) = self.entries.get_mut(&session)
            && std::mem::take(&mut entry.awaited)
        {
            self.awaited -= 1;
        }
    }

    /// Whether there are sessions that have not settled anywhere: their first checks may come.
    pub(crate) fn awaits(&self) -> bool {
        self.awaited > 0
    }

    pub(crate) fn entry(&self, session: SessionId) -> Option<&Entry> {
        self.entries.get(&session)
    }

    pub(crate) fn entry_mut(&mut self, session: SessionId) -> Option<&mut Entry> {
        self.entries.get_mut(&session)
    }

    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<SessionId> {
        self.ufrags.get(ufrag).copied()
    }

    #[inline]
    pub(crate) fn path(&self, path: &Path) -> Option<PathOwner> {
        self.paths.get(path).copied()
    }

    pub(crate) fn own_path(&mut self, path: Path, slot: Slot) {
        self.paths.insert(path, PathOwner::Here(slot));
    }

    pub(crate) fn drop_path(&mut self, path: &Path, slot: Slot) {
        if self.paths.get(path) == Some(&PathOwner::Here(slot)) {
            self.paths.remove(path);
        }
    }

    /// Remembers a path that a check validated before its session settled. The oldest goes at the bound.
    pub(crate) fn pend_path(&mut self, path: Path, session: SessionId, nominated: bool) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        if let Some((_, n)) = entry.pending.iter_mut().find(|(p, _)| *p == path) {
            *n |= nominated;
        } else {
            if entry.pending.len() == PATHS_MAX {
                forget_pending(&mut self.paths, &entry.pending.remove(0).0, session);
            }
            entry.pending.push((path, nominated));
        }
        self.paths.insert(path, PathOwner::Pending(session));
    }

    /// Remembers that a validated path belongs to a session of another worker. The oldest goes at the bound.
    pub(crate) fn lend_path(&mut self, path: Path, session: SessionId, owner: WorkerId) {
        let Some(entry) = self.entries.get_mut(&session) else { return };
        if !entry.foreign.contains(&path) {
            if entry.foreign.len() == PATHS_MAX {
                forget_lent(&mut self.paths, &entry.foreign.remove(0));
            }
            entry.foreign.push(path);
        }
        self.paths.insert(path, PathOwner::There(owner));
    }

    /// All sessions, for the end of the worker.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        self.entries.keys().copied().collect()
    }
}

/// Takes a path out, unless a check made it another session's since.
fn forget_pending(paths: &mut HashMap<Path, PathOwner>, path: &Path, session: SessionId) {
    if paths.get(path) == Some(&PathOwner::Pending(session)) {
        paths.remove(path);
    }
}

/// The same for a path of a session that lives elsewhere. If it belongs to yet another session there by now, that
/// session's next check brings it back.
fn forget_lent(paths: &mut HashMap<Path, PathOwner>, path: &Path) {
    if matches!(paths.get(path), Some(PathOwner::There(_))) {
        paths.remove(path);
    }
}
