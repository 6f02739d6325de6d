//! Commands from signaling. Every worker hears every one of them, in the same order.

use std::{sync::Arc, time::Instant};

use model::{CloseReason, Command, IceCredentials, SessionId, SessionPlan};

use crate::{core::Worker, registry::Home, source::SourcePeer};

/// Commands taken in one turn: a flood of them must not starve media.
const ORDERS_PER_TURN: usize = 256;

/// What the workers hear.
pub(crate) enum Order {
    /// From signaling. `home`: of the session that it is about, which all workers share; only an opening needs it.
    Command { command: Command, home: Option<Arc<Home>> },
    /// A local source; only the worker that it is given to gets the peer.
    Attach { plan: Arc<SessionPlan>, home: Arc<Home>, peer: Option<Box<SourcePeer>> },
    /// End all sessions, and stop the worker when their goodbyes are sent.
    Shutdown,
}

/// For the only worker there is.
impl From<Command> for Order {
    fn from(command: Command) -> Self {
        Order::Command { command, home: None }
    }
}

impl Worker {
    /// Takes the commands that wait, up to a bound. Returns whether it took all of them.
    pub(crate) fn take_commands(&mut self, now: Instant) -> bool {
        for _ in 0..ORDERS_PER_TURN {
            let Ok(order) = self.commands.try_recv() else { return true };
            self.take_order(now, order);
            self.current = None;
        }
        false
    }

    pub(crate) fn take_order(&mut self, now: Instant, order: Order) {
        match order {
            Order::Command { command, home } => self.take_command(now, command, home),
            Order::Shutdown => self.take_shutdown(now),
            Order::Attach { plan, home, peer } => {
                self.registry.open(plan.clone(), home);
                if let Some(peer) = peer {
                    self.attach(&plan, *peer);
                }
            }
        }
    }

    fn take_command(&mut self, now: Instant, command: Command, home: Option<Arc<Home>>) {
        match command {
            Command::Open(plan) => self.registry.open(plan, home.unwrap_or_else(Home::new)),
            Command::Restart { session, ice } => self.take_restart(now, session, ice),
            // Nothing renegotiates yet.
            Command::Update(_) => {}
            Command::Bind { session, slots } => {
                for (mid, binding) in slots {
                    self.registry.bind(session, mid, binding.clone());
                    if let Some(slot) = self.registry.entry(session).and_then(|e| e.slot) {
                        self.current = Some(slot);
                        self.bind(now, slot, mid, binding);
                    }
                }
            }
            Command::Close { session } => self.take_close(now, session),
        }
    }

    fn take_restart(&mut self, now: Instant, session: SessionId, ice: IceCredentials) {
        self.registry.restart(session, ice.clone());
        let Some(slot) = self.registry.entry(session).and_then(|e| e.slot) else { return };
        self.current = Some(slot);
        if let Some(session) = self.sessions.at(slot) {
            session.peer.restart(now, &ice);
            self.after_peer(now, slot);
        }
    }

    fn take_close(&mut self, now: Instant, session: SessionId) {
        match self.registry.entry(session).and_then(|e| e.slot) {
            Some(slot) => {
                self.current = Some(slot);
                self.say_goodbye(now, slot);
                self.end_session(slot, CloseReason::Requested);
            }
            None => {
                self.registry.forget(session);
                self.detach(session);
            }
        }
    }

    fn take_shutdown(&mut self, now: Instant) {
        for session in self.registry.sessions() {
            self.take_close(now, session);
        }
        self.stopping = true;
    }
}
