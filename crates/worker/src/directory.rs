//! The session directory: one entry for each session, shared by all workers and signaling.
//!
//! An entry holds the session's *orders* (what signaling wants of it now) and the claim of the worker that owns it.
//! Signaling replaces the orders and sends the owner one notice. No further notice is sent while one is on its way,
//! because the owner reads the newest orders when it takes the notice. Before a session has an owner nothing is sent:
//! the worker that becomes the owner reads the orders then ([`ring::Claim`] says why none is missed).
//!
//! Look-ups take no lock, because workers make them for each check. A command costs the same whatever the number of
//! workers.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering, fence},
};

use arc_swap::{ArcSwap, ArcSwapOption};
use model::{Binding, Command, IceCredentials, Mid, Path, SessionId, SessionPlan};
use papaya::HashMap;
use ring::{Claim, Owner};

use crate::{WorkerId, data::DataQueue};

/// What signaling wants of a session now.
#[derive(Debug, Clone)]
pub(crate) struct Orders {
    pub(crate) plan: Arc<SessionPlan>,
    /// The present credentials; an ICE restart changes them.
    pub(crate) ice: IceCredentials,
    /// The credentials before the last restart. Checks with them still find the session; whether they are still valid
    /// is decided by the session.
    ice_before: Option<IceCredentials>,
    /// The bindings of the slots that were named so far.
    pub(crate) slots: Vec<(Mid, Option<Binding>)>,
    /// The session is to end.
    pub(crate) closed: bool,
}

impl Orders {
    fn new(plan: Arc<SessionPlan>) -> Self {
        let ice = plan.ice.clone();
        Self { plan, ice, ice_before: None, slots: Vec::new(), closed: false }
    }

    /// The password that belongs to a local ufrag: of the present credentials, or of those before the last restart.
    pub(crate) fn password(&self, local_ufrag: &str) -> Option<&str> {
        let all = std::iter::once(&self.ice).chain(&self.ice_before);
        all.filter(|i| i.local_ufrag == local_ufrag).map(|i| i.local_pwd.as_str()).next()
    }

    fn ufrags(&self) -> impl Iterator<Item = &str> {
        let all = std::iter::once(&self.ice).chain(&self.ice_before);
        // A session without a peer (a local source) has no credentials, and must not be found by a ufrag. Its password
        // is empty, so an attacker could authenticate a check with it and take another session's path.
        all.map(|ice| ice.local_ufrag.as_str()).filter(|ufrag| !ufrag.is_empty())
    }

    fn update(&mut self, plan: &Arc<SessionPlan>) {
        self.plan = plan.clone();
        self.slots.retain(|(mid, _)| plan.down.iter().any(|media| media.mid == *mid));
    }

    fn restart(&mut self, ice: &IceCredentials) {
        if self.ice.local_ufrag == ice.local_ufrag {
            // The same restart again: the credentials before it must be kept.
            self.ice = ice.clone();
        } else {
            self.ice_before = Some(std::mem::replace(&mut self.ice, ice.clone()));
        }
    }

    fn bind(&mut self, slots: &[(Mid, Option<Binding>)]) {
        for (mid, binding) in slots {
            match self.slots.iter_mut().find(|(m, _)| m == mid) {
                Some((_, b)) => b.clone_from(binding),
                None if self.plan.down.iter().any(|media| media.mid == *mid) => {
                    self.slots.push((*mid, binding.clone()));
                }
                None => {}
            }
        }
    }
}

/// One session.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SessionId,
    pub(crate) claim: Claim,
    /// The path on which the peer is sent media, once the handshake is done. From it the workers that do not own the
    /// session know the path.
    sent_to: ArcSwapOption<Path>,
    orders: ArcSwap<Orders>,
    /// Data messages for the peer; made with the first one.
    data: OnceLock<Box<DataQueue>>,
}

impl Entry {
    pub(crate) fn orders(&self) -> Arc<Orders> {
        self.orders.load_full()
    }

    /// The worker that owns the session; `None` before it has an owner and after it has ended.
    pub(crate) fn owner(&self) -> Option<WorkerId> {
        match self.claim.owner() {
            Owner::Of(worker) => Some(WorkerId(worker)),
            Owner::Nobody | Owner::Gone => None,
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.claim.owner() == Owner::Gone
    }

    /// Called by the owner: sets the path on which the peer is sent media.
    pub(crate) fn set_sent_to(&self, path: Option<Path>) {
        self.sent_to.store(path.map(Arc::new));
    }

    /// Whether the session has not ended, its handshake is done, and its peer is sent media on this path.
    pub(crate) fn is_sent_to(&self, path: &Path) -> bool {
        self.sent_to.load().as_deref() == Some(path) && !self.is_gone()
    }

    /// The data messages that wait for the peer; `None` if there never was one.
    pub(crate) fn data(&self) -> Option<&DataQueue> {
        self.data.get().map(Box::as_ref)
    }

    fn change(&self, change: impl Fn(&mut Orders)) {
        self.orders.rcu(|orders| {
            let mut orders = Orders::clone(orders);
            change(&mut orders);
            orders
        });
    }
}

/// What has to be done after a command changed the directory.
#[derive(Debug)]
pub(crate) enum Effect {
    /// The first session without an owner was opened: workers that hold control back have to be told.
    Awaits,
    /// This worker has to be told that the orders changed.
    Tell(WorkerId, Arc<Entry>),
    /// Nothing.
    Done,
}

/// The session directory; see the head of the file.
#[derive(Default)]
pub(crate) struct Directory {
    ids: HashMap<SessionId, Arc<Entry>>,
    ufrags: HashMap<Box<str>, Arc<Entry>>,
    /// The number of sessions without an owner, whose first checks may arrive at any worker.
    unsettled: AtomicUsize,
}

impl Directory {
    pub(crate) fn by_id(&self, session: SessionId) -> Option<Arc<Entry>> {
        self.ids.pin().get(&session).cloned()
    }

    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<Arc<Entry>> {
        self.ufrags.pin().get(ufrag).cloned()
    }

    /// Whether there are sessions without an owner.
    pub(crate) fn awaits(&self) -> bool {
        self.unsettled.load(Ordering::Acquire) > 0
    }

    /// All sessions, ordered by id.
    pub(crate) fn sessions(&self) -> Vec<Arc<Entry>> {
        let mut all: Vec<Arc<Entry>> = self.ids.pin().values().cloned().collect();
        all.sort_unstable_by_key(|entry| entry.id);
        all
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// Carries out a command of signaling. Commands about one session come one after the other.
    pub(crate) fn command(&self, command: &Command) -> Effect {
        if let Command::Open(plan) = command {
            return self.open(plan.clone());
        }
        let Some(entry) = self.by_id(command.session()) else { return Effect::Done };
        match command {
            Command::Open(_) => {}
            Command::Update(plan) => entry.change(|orders| orders.update(plan)),
            Command::Restart { ice, .. } => self.restart(&entry, ice),
            Command::Bind { slots, .. } => entry.change(|orders| orders.bind(slots)),
            // A session without data channels cannot be sent any; signaling does not ask for it.
            Command::SendData { .. } if entry.orders.load().plan.data.is_none() => {
                return Effect::Done;
            }
            Command::SendData { message, .. } => entry.data.get_or_init(Box::default).push(message),
            Command::Close { .. } => self.close(&entry),
        }
        tell(entry)
    }

    fn open(&self, plan: Arc<SessionPlan>) -> Effect {
        let entry = entry(plan, Claim::new());
        if !self.insert(&entry) {
            return Effect::Done;
        }
        match self.unsettled.fetch_add(1, Ordering::AcqRel) {
            // A worker that sees a session without an owner holds nothing back, so only the first one has to be
            // announced.
            0 => Effect::Awaits,
            _ => Effect::Done,
        }
    }

    /// Enters a session without a peer, which a worker owns from the start.
    pub(crate) fn open_at(&self, plan: Arc<SessionPlan>, worker: WorkerId) -> Arc<Entry> {
        let entry = entry(plan, Claim::of(worker.0));
        self.insert(&entry);
        entry
    }

    /// Enters a session. `false` when there is a session with this id.
    fn insert(&self, entry: &Arc<Entry>) -> bool {
        if self.ids.pin().try_insert(entry.id, entry.clone()).is_err() {
            return false;
        }
        for ufrag in entry.orders().ufrags() {
            self.ufrags.pin().insert(ufrag.into(), entry.clone());
        }
        true
    }

    fn restart(&self, entry: &Arc<Entry>, ice: &IceCredentials) {
        let before = entry.orders();
        entry.change(|orders| orders.restart(ice));
        let after = entry.orders();
        for ufrag in before.ufrags().filter(|old| !after.ufrags().any(|new| new == *old)) {
            self.forget_ufrag(ufrag, entry);
        }
        for ufrag in after.ufrags() {
            self.ufrags.pin().insert(ufrag.into(), entry.clone());
        }
        // Pairs with the fence in `ended`: either `ended` finds the ufrags inserted here, or the end is seen here.
        fence(Ordering::SeqCst);
        if entry.is_gone() {
            after.ufrags().for_each(|ufrag| self.forget_ufrag(ufrag, entry));
        }
    }

    fn close(&self, entry: &Arc<Entry>) {
        entry.change(|orders| orders.closed = true);
        self.forget(entry);
        if entry.claim.end_unclaimed() {
            self.unsettled.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Makes a worker the owner of a session. The worker reads the orders afterwards.
    ///
    /// # Errors
    /// The session has an owner already, or has ended.
    pub(crate) fn settle(&self, entry: &Entry, worker: WorkerId) -> Result<(), Owner> {
        entry.claim.settle(worker.0)?;
        self.unsettled.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    /// Called by the owner when the session has ended.
    pub(crate) fn ended(&self, entry: &Arc<Entry>) {
        entry.claim.end();
        fence(Ordering::SeqCst);
        self.forget(entry);
    }

    fn forget(&self, entry: &Arc<Entry>) {
        self.ids.pin().remove(&entry.id);
        for ufrag in entry.orders().ufrags() {
            self.forget_ufrag(ufrag, entry);
        }
    }

    fn forget_ufrag(&self, ufrag: &str, entry: &Arc<Entry>) {
        // A ufrag has 48 random bits and may come twice: if another session has it now, it stays.
        let _kept = self.ufrags.pin().remove_if(ufrag, |_, found| Arc::ptr_eq(found, entry));
    }
}

fn entry(plan: Arc<SessionPlan>, claim: Claim) -> Arc<Entry> {
    let sent_to = ArcSwapOption::empty();
    Arc::new(Entry {
        id: plan.id,
        claim,
        sent_to,
        orders: ArcSwap::from_pointee(Orders::new(plan)),
        data: OnceLock::new(),
    })
}

fn tell(entry: Arc<Entry>) -> Effect {
    match entry.claim.tell() {
        Some(owner) => Effect::Tell(WorkerId(owner), entry),
        None => Effect::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::plan;

    fn ice(ufrag: &str) -> IceCredentials {
        IceCredentials { local_ufrag: ufrag.into(), ..plan(1).ice.clone() }
    }

    fn open(directory: &Directory) -> Arc<Entry> {
        directory.command(&Command::Open(plan(1)));
        directory.by_id(SessionId(1)).unwrap()
    }

    #[test]
    fn commands_before_there_is_an_owner_are_in_the_orders_that_it_reads() {
        let directory = Directory::default();
        let entry = open(&directory);
        assert!(directory.awaits());
        let restart = Command::Restart { session: SessionId(1), ice: ice("second") };
        assert!(matches!(directory.command(&restart), Effect::Done), "there is no owner to tell");
        directory.settle(&entry, WorkerId(3)).unwrap();
        assert_eq!(entry.orders().ice.local_ufrag, "second");
        assert!(!directory.awaits());
    }

    #[test]
    fn the_owner_is_told_once_until_it_has_looked() {
        let directory = Directory::default();
        let entry = open(&directory);
        directory.settle(&entry, WorkerId(3)).unwrap();
        let bind = Command::Bind { session: SessionId(1), slots: Vec::new() };
        assert!(matches!(directory.command(&bind), Effect::Tell(WorkerId(3), _)));
        assert!(matches!(directory.command(&bind), Effect::Done));
        entry.claim.heard();
        assert!(matches!(directory.command(&bind), Effect::Tell(WorkerId(3), _)));
    }

    #[test]
    fn sessions_that_end_leave_nothing_behind_however_they_end() {
        let directory = Directory::default();
        let entry = open(&directory);
        directory.command(&Command::Restart { session: SessionId(1), ice: ice("second") });
        let close = Command::Close { session: SessionId(1) };
        assert!(matches!(directory.command(&close), Effect::Done));
        assert_eq!(directory.settle(&entry, WorkerId(0)), Err(Owner::Gone));
        assert!(!directory.awaits());
        let entry = open(&directory);
        directory.settle(&entry, WorkerId(0)).unwrap();
        assert!(matches!(directory.command(&close), Effect::Tell(WorkerId(0), _)));
        assert!(entry.orders().closed);
        directory.ended(&entry);
        assert_eq!((directory.len(), directory.ufrags.len()), (0, 0));
        assert!(!directory.awaits());
    }

    #[test]
    fn the_credentials_before_the_last_restart_find_the_session_and_older_ones_do_not() {
        let directory = Directory::default();
        let entry = open(&directory);
        let first = plan(1).ice.local_ufrag.clone();
        for ufrag in ["second", "second", "third"] {
            directory.command(&Command::Restart { session: SessionId(1), ice: ice(ufrag) });
        }
        assert!(directory.by_ufrag(&first).is_none());
        for ufrag in ["second", "third"] {
            assert!(directory.by_ufrag(ufrag).is_some());
            assert!(entry.orders().password(ufrag).is_some());
        }
        directory.ended(&entry);
        directory.command(&Command::Restart { session: SessionId(1), ice: ice("fourth") });
        assert_eq!(directory.ufrags.len(), 0);
    }

    #[test]
    fn a_session_that_is_opened_twice_stays_as_it_is() {
        let directory = Directory::default();
        let entry = open(&directory);
        directory.settle(&entry, WorkerId(0)).unwrap();
        directory.command(&Command::Open(plan(1)));
        assert!(Arc::ptr_eq(&entry, &directory.by_id(SessionId(1)).unwrap()));
        assert!(!directory.awaits());
    }

    #[test]
    fn slots_that_a_new_plan_does_not_have_are_forgotten() {
        let directory = Directory::default();
        let entry = open(&directory);
        let (a, b) = (Mid::parse("a").unwrap(), Mid::parse("b").unwrap());
        let mut more = (*plan(1)).clone();
        more.down = [a, b].map(crate::core::tests::down).to_vec();
        directory.command(&Command::Update(more.clone().into()));
        let slots = vec![(a, None), (b, None), (Mid::parse("c").unwrap(), None)];
        directory.command(&Command::Bind { session: SessionId(1), slots });
        assert_eq!(entry.orders().slots.len(), 2, "there is no slot c");
        more.down.pop();
        directory.command(&Command::Update(more.into()));
        assert_eq!(entry.orders().slots, [(a, None)]);
    }
}
