//! Tells the kernel which worker owns a session whose datagrams it brings to another worker, so that they arrive at
//! the owner directly.
//!
//! The kernel spreads flows over the workers by their remote address ([`crate::lanes`]). A session stays with its
//! owner. When its peer's address moves, its datagrams may reach another worker, which hands them over. With the first
//! of them the owner enters the address in the kernel's table, if there is one. A full table forgets the entry that
//! was used least recently; then a datagram is handed over again, and the address is entered again.

use std::time::{Duration, Instant};

use model::Path;

use crate::{core::Worker, paths::PathOwner, sessions::SessionRef};

/// Addresses of one session in the table at once; a session has few.
const STEERED_MAX: usize = 8;
/// An address is entered again after this long at the earliest. Datagrams that were handed over before the entry took
/// effect do not show that it is missing, and an entry costs a system call.
const ENTER_EVERY: Duration = Duration::from_secs(1);

/// An address that was entered in the kernel's table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steered {
    pub(crate) path: Path,
    /// When the last entry was tried.
    entered: Instant,
}

impl Worker {
    /// Called when a datagram of this path was handed over: if the path belongs to a session of this worker, its
    /// address is entered in the kernel's table, or entered again.
    pub(crate) fn steer_here(&mut self, now: Instant, path: &Path) {
        let Some(table) = &self.config.steering else { return };
        let Some(PathOwner::Here(at)) = self.paths.get(path) else { return };
        let Some(session) = self.sessions.at(*at) else { return };
        let is_full = session.steered.len() >= STEERED_MAX;
        match session.steered.iter_mut().find(|steered| steered.path == *path) {
            Some(known) if now.saturating_duration_since(known.entered) < ENTER_EVERY => return,
            Some(known) => known.entered = now,
            None if is_full => return,
            None => session.steered.push(Steered { path: *path, entered: now }),
        }
        match table.set(path.remote, u32::from(self.id.0)) {
            Ok(()) => self.counters.steered.add(1),
            // Datagrams are still handed over, and the entry is tried again in a second.
            Err(error) => tracing::debug!(%error, "the kernel's table takes no entry"),
        }
    }

    /// Removes the entry of a path that the session no longer has.
    pub(crate) fn steer_back(&mut self, at: SessionRef, path: &Path) {
        let Some(session) = self.sessions.at(at) else { return };
        if let Some(known) = session.steered.iter().position(|s| s.path == *path) {
            session.steered.swap_remove(known);
            self.forget_steering(path);
        }
    }

    /// Removes the address from the kernel's table: its hash decides again.
    pub(crate) fn forget_steering(&self, path: &Path) {
        if let Some(table) = &self.config.steering {
            // An entry that stays is overwritten or forgotten in time; until then datagrams are handed over.
            let _kept = table.remove(path.remote);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::tests::{benches_with, path, plan};
    use crate::threats::check;

    #[test]
    fn an_address_that_the_kernel_forgot_is_entered_again_when_a_datagram_is_handed_over() {
        let Ok(table) = udp::steer::Table::new(1_024) else {
            eprintln!("skipped: the kernel allows no BPF tables here");
            return;
        };
        let kernel = table.clone();
        let (mut benches, start) =
            (benches_with(2, |config| config.steering = Some(table)), Instant::now());
        crate::core::tests::settled(&mut benches[1].worker, 1, start);
        let moved = path(9);
        let mut hand_over = |after: u64| {
            let now = start + Duration::from_millis(after);
            let mut datagram = check(&plan(1).ice);
            benches[0].worker.take_datagram(now, moved, &mut datagram);
            benches[1].worker.take_messages(now);
            benches[1].worker.take_handed(now);
            (kernel.get(moved.remote).unwrap(), benches[1].worker.counters.steered.value())
        };
        assert_eq!(hand_over(0), (Some(1), 1));
        kernel.remove(moved.remote).unwrap();
        // Datagrams that were on their way when it was entered cost no system call each.
        assert_eq!(hand_over(500), (None, 1));
        assert_eq!(hand_over(1_000), (Some(1), 2));
        assert_eq!(hand_over(1_500), (Some(1), 2));
    }
}
