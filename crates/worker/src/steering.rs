//! Tells the kernel where a session lives whose datagrams it brings elsewhere, so that they come here at once.
//!
//! The kernel spreads flows over the workers by their remote address ([`crate::lanes`]). A session stays where it settled; when its peer's
//! address moves, its datagrams may reach another worker, which hands them over. With the first of them the owner enters the
//! address in the kernel's table, where there is one.

use model::Path;

use crate::{core::Worker, paths::PathOwner, sessions::SessionRef};

/// Addresses of one session that are entered at once; a session has few.
const STEERED_MAX: usize = 8;

impl Worker {
    /// A datagram of this path was handed over: if it is one of a session of ours, the kernel is told.
    pub(crate) fn steer_here(&mut self, path: &Path) {
        let Some(table) = &self.config.steering else { return };
        let Some(PathOwner::Here(at)) = self.paths.get(path) else { return };
        let Some(session) = self.sessions.at(*at) else { return };
        if session.steered.contains(path) || session.steered.len() >= STEERED_MAX {
            return;
        }
        if let Err(error) = table.set(path.remote, u32::from(self.id.0)) {
            tracing::debug!(%error, "the kernel's table takes no entry");
            return;
        }
        session.steered.push(*path);
        self.counters.steered.add(1);
    }

    /// The session has this path no more.
    pub(crate) fn steer_back(&mut self, at: SessionRef, path: &Path) {
        let Some(session) = self.sessions.at(at) else { return };
        if let Some(known) = session.steered.iter().position(|p| p == path) {
            session.steered.swap_remove(known);
            self.forget_steering(path);
        }
    }

    /// The address is spread as any other again.
    pub(crate) fn forget_steering(&self, path: &Path) {
        if let Some(table) = &self.config.steering {
            // An entry that stays is overwritten or forgotten in time; until then datagrams are handed over.
            let _kept = table.remove(path.remote);
        }
    }
}
