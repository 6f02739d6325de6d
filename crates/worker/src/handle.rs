//! Speaking to the workers from other threads: every one of them hears every command, in one order, and those are woken
//! for whom it is urgent.

use std::sync::{
    Arc, Weak,
    atomic::{Ordering, fence},
    mpsc::{SyncSender, TrySendError},
};

use hashbrown::HashMap;
use model::{Command, SessionId, SessionPlan};

use crate::{
    Counters, Source, WorkerId, WorkerMetrics, commands::Order, mesh::Bell, registry::Home,
    source::source,
};

/// A worker has so many commands waiting that it cannot take one more. Others may have taken the command already;
/// sending it again does no harm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Busy;

impl std::fmt::Display for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a worker does not keep up with its commands")
    }
}

impl std::error::Error for Busy {}

/// Speaks to the workers; may be cloned and used from any thread.
#[derive(Clone)]
pub struct WorkersHandle {
    shared: Arc<Shared>,
}

struct Shared {
    port: u16,
    workers: Vec<Contact>,
    /// Commands reach all workers in one order.
    order: std::sync::Mutex<Homes>,
}

/// Where the sessions live, for as long as a worker knows of them: all workers must share one home of a session, and
/// commands about it are urgent for its own worker alone.
#[derive(Default)]
struct Homes {
    homes: HashMap<SessionId, Weak<Home>>,
    /// How many there may be before those that are gone are swept out.
    sweep_at: usize,
}

impl Homes {
    const SWEEP_MIN: usize = 64;

    /// The home of the session that a command is about; an opening makes it. It has one already where it is sent again
    /// since a worker was busy: the others have it, with this home.
    fn of(&mut self, command: &Command) -> Option<Arc<Home>> {
        let session = command.session();
        let home = self.get(session);
        if home.is_none() && matches!(command, Command::Open(_)) {
            let home = Home::new();
            self.insert(session, &home);
            return Some(home);
        }
        home
    }

    fn get(&self, session: SessionId) -> Option<Arc<Home>> {
        self.homes.get(&session)?.upgrade()
    }

    fn insert(&mut self, session: SessionId, home: &Arc<Home>) {
        if self.homes.len() >= self.sweep_at {
            self.homes.retain(|_, home| home.strong_count() > 0);
            self.sweep_at = Self::SWEEP_MIN.max(2 * self.homes.len());
        }
        self.homes.insert(session, Arc::downgrade(home));
    }
}

pub(crate) struct Contact {
    pub(crate) commands: SyncSender<Order>,
    pub(crate) bell: Bell,
    pub(crate) counters: Arc<Counters>,
}

impl WorkersHandle {
    pub(crate) fn new(port: u16, workers: Vec<Contact>) -> Self {
        Self { shared: Arc::new(Shared { port, workers, order: std::sync::Mutex::default() }) }
    }

    /// The UDP port of all media.
    pub fn local_port(&self) -> u16 {
        self.shared.port
    }

    /// Sends a command to all workers. It wakes the one that it is urgent for; the others take it before their next
    /// datagram.
    ///
    /// # Errors
    /// [`Busy`] when a worker does not keep up; the command may then be sent again.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        let mut homes = self.order();
        let home = homes.of(&command);
        self.push(home.as_deref(), |_| Order::Command {
            command: command.clone(),
            home: home.clone(),
        })
    }

    /// Ends all sessions and the workers.
    pub(crate) fn shutdown(&self) -> Result<(), Busy> {
        let _order = self.order();
        self.push(None, |_| Order::Shutdown)
    }

    /// Starts a publisher without a peer connection. Its plan needs the session's id and the up-media with their
    /// SSRCs; everything about the peer is of no use.
    ///
    /// # Errors
    /// [`Busy`] as with [`WorkersHandle::send`].
    pub fn attach_source(&self, plan: SessionPlan) -> Result<Source, Busy> {
        let plan = Arc::new(plan);
        // Sources are spread by their id.
        let at = plan.id.0 as usize % self.shared.workers.len();
        let home = Home::at(WorkerId(at as u8));
        let (source, peer) = source(&plan, self.shared.workers[at].bell.clone());
        let mut peer = Some(Box::new(peer));
        let mut homes = self.order();
        homes.insert(plan.id, &home);
        // All are woken: who subscribes to it has to ask for it now.
        self.push(None, |worker| Order::Attach {
            plan: plan.clone(),
            home: home.clone(),
            peer: if worker == at { peer.take() } else { None },
        })?;
        Ok(source)
    }

    /// What the counters of each worker say now.
    pub fn metrics(&self) -> Vec<WorkerMetrics> {
        let workers = self.shared.workers.iter().enumerate();
        workers.map(|(at, contact)| contact.counters.snapshot(at)).collect()
    }

    /// Held for a few pushes; no worker ever takes it.
    fn order(&self) -> std::sync::MutexGuard<'_, Homes> {
        self.shared.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// To be called with [`WorkersHandle::order`] held. `home`: of the session that the order is about; without one it is
    /// urgent for all.
    fn push(&self, home: Option<&Home>, mut make: impl FnMut(usize) -> Order) -> Result<(), Busy> {
        let mut result = Ok(());
        for (at, contact) in self.shared.workers.iter().enumerate() {
            match contact.commands.try_send(make(at)) {
                // A worker that has ended needs no command.
                Ok(()) | Err(TrySendError::Disconnected(_)) => {}
                // Those before have it already; they take it again without harm.
                Err(TrySendError::Full(_)) => {
                    result = Err(Busy);
                    break;
                }
            }
        }
        // Either we read here who settled the session, or that worker, which passes a fence of its own before it sleeps
        // (`ring::Parking`), sees the order when it looks once more.
        fence(Ordering::SeqCst);
        let owner = home.map(Home::owner);
        for (at, contact) in self.shared.workers.iter().enumerate() {
            match owner {
                // Nobody's yet: its first check wakes one of them.
                Some(None) => contact.bell.hint(),
                Some(Some(owner)) if owner.index() != at => contact.bell.hint(),
                _ => contact.bell.ring(),
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use super::*;
    use crate::core::tests::plan;

    /// A handle to so many workers that are not there, and what they would read.
    fn nobody(count: usize) -> (WorkersHandle, Vec<Bell>, Vec<Receiver<Order>>) {
        let bells: Vec<Bell> = (0..count).map(|_| Bell::new().unwrap()).collect();
        let (contacts, taken) = bells
            .iter()
            .map(|bell| {
                let (commands, taken) = sync_channel(4);
                (Contact { commands, bell: bell.clone(), counters: Arc::default() }, taken)
            })
            .unzip();
        (WorkersHandle::new(0, contacts), bells, taken)
    }

    /// Which of them were woken; from here on all sleep, listening to everything.
    fn woken(bells: &[Bell]) -> Vec<bool> {
        let woken = bells.iter().map(|bell| !bell.parking().should_wake()).collect();
        bells.iter().for_each(|bell| bell.parking().prepare_light_sleep());
        woken
    }

    /// The home in the opening that was told next.
    fn told_home(taken: &Receiver<Order>) -> Arc<Home> {
        match taken.try_recv() {
            Ok(Order::Command { command: Command::Open(_), home: Some(home) }) => home,
            _ => panic!("an opening"),
        }
    }

    #[test]
    fn a_command_wakes_the_worker_that_it_is_urgent_for() {
        let (handle, bells, taken) = nobody(3);
        woken(&bells);
        handle.send(Command::Open(plan(1))).unwrap();
        assert_eq!(woken(&bells), [false; 3], "its first check wakes one of them");
        let home = told_home(&taken[0]);
        bells[1].parking().prepare_sleep();
        handle.send(Command::Close { session: SessionId(2) }).unwrap();
        assert_eq!(woken(&bells), [true; 3], "nobody knows whose it is");
        bells[1].parking().prepare_sleep();
        let restart = || Command::Restart { session: SessionId(1), ice: plan(1).ice.clone() };
        handle.send(restart()).unwrap();
        assert_eq!(woken(&bells), [false, true, false], "one did not listen to control");
        home.settle(WorkerId(2)).unwrap();
        handle.send(restart()).unwrap();
        assert_eq!(woken(&bells), [false, false, true], "its own");
        assert_eq!(taken[2].try_iter().count(), 4, "all are told all");
    }

    #[test]
    fn a_session_whose_opening_met_a_busy_worker_has_one_home() {
        let (handle, _bells, taken) = nobody(2);
        for _ in 0..4 {
            handle.shared.workers[1].commands.try_send(Order::Shutdown).unwrap();
        }
        assert_eq!(handle.send(Command::Open(plan(1))), Err(Busy));
        assert_eq!(taken[1].try_iter().count(), 4);
        handle.send(Command::Open(plan(1))).unwrap();
        let (first, again) = (told_home(&taken[0]), told_home(&taken[0]));
        let other = told_home(&taken[1]);
        assert!(Arc::ptr_eq(&first, &again) && Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn homes_of_sessions_that_are_gone_are_forgotten() {
        let mut homes = Homes::default();
        let kept = Home::new();
        homes.insert(SessionId(0), &kept);
        for id in 1..10_000 {
            homes.insert(SessionId(id), &Home::new());
        }
        assert!(homes.homes.len() <= 2 * Homes::SWEEP_MIN, "{}", homes.homes.len());
        assert!(homes.get(SessionId(0)).is_some());
        assert!(homes.get(SessionId(9_999)).is_none());
    }
}
