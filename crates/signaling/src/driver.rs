//! Brings to the rooms what does not come by HTTP: events of the workers, timers, and the work that big changes leave.
//!
//! Each of these waits for a room's lock, so each runs as a job on a thread that may block ([`crate::calls`] says
//! why). One job at a time handles the events of a room, in their order; events that come meanwhile wait for the next
//! job. So a stuck room delays only its own events.

use std::collections::HashMap;

use model::{Event, RoomId};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::{Id, JoinSet};
use tokio::time::Instant;

use crate::state::Signaling;

/// Jobs that fit viewers to changes at the same time. A room whose lock is held for long occupies one of these jobs;
/// the others continue.
const WORKING: usize = 4;

/// The jobs that run, and the events that wait for them.
#[derive(Default)]
struct Jobs {
    set: JoinSet<()>,
    kinds: HashMap<Id, Kind>,
    /// Events that wait until the job of their room ends. A room has an entry while it has a job. The queue is not
    /// bounded, since a lost `Closed` would leave its session open for ever. It grows only while a room is locked, and
    /// only by the workers' events for that room.
    waiting: HashMap<RoomId, Vec<Event>>,
    timing: bool,
    working: usize,
}

enum Kind {
    Events(RoomId),
    Timeout,
    Work,
}

/// The time of tokio's clock: it runs the timers, and tests can move it. The clock of `std` would not follow.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

impl Signaling {
    /// Drives the rooms, keeps the keys of tokens fresh, ends sessions whose tokens expired, and delivers webhooks; never returns.
    pub async fn drive(&self, events: UnboundedReceiver<Event>) {
        // A task of its own, which ends with this one: webhooks have nothing to do with what the driver waits for.
        let mut tasks = JoinSet::new();
        if let Some(webhooks) = self.config().webhooks.clone() {
            tasks.spawn(webhooks.run());
        }
        tokio::join!(self.drive_rooms(events), self.auth().keep_fresh(), self.drive_expiry());
    }

    async fn drive_rooms(&self, mut events: UnboundedReceiver<Event>) {
        let (mut jobs, mut open) = (Jobs::default(), true);
        loop {
            self.log_notices();
            let timer = async {
                match self.core().poll_timeout().filter(|_| !jobs.timing) {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            let has_work = jobs.working < WORKING && self.core().has_work();
            tokio::select! {
                // Events first: a change for thousands of viewers must not delay sessions that are connecting.
                biased;
                event = events.recv(), if open => match event {
                    Some(event) => self.take_event(&mut jobs, event),
                    None => open = false,
                },
                Some(ended) = jobs.set.join_next_with_id() => {
                    let id = ended.map_or_else(|defect| defect.id(), |(id, ())| id);
                    self.job_ended(&mut jobs, id);
                }
                () = self.changed() => {}
                () = timer => {
                    jobs.timing = true;
                    self.spawn(&mut jobs, Kind::Timeout, |signaling| {
                        signaling.core().handle_timeout(now());
                    });
                }
                () = std::future::ready(()), if has_work => {
                    jobs.working += 1;
                    self.spawn(&mut jobs, Kind::Work, |signaling| {
                        signaling.core().work();
                    });
                }
            }
        }
    }

    fn take_event(&self, jobs: &mut Jobs, event: Event) {
        // A session without a room has ended, so its event concerns no room.
        let Some(room) = self.core().room_of(event.session()) else { return };
        match jobs.waiting.get_mut(&room) {
            Some(waiting) => waiting.push(event),
            None => {
                jobs.waiting.insert(room.clone(), Vec::new());
                self.spawn_events(jobs, room, vec![event]);
            }
        }
    }

    fn spawn_events(&self, jobs: &mut Jobs, room: RoomId, events: Vec<Event>) {
        self.spawn(jobs, Kind::Events(room), |signaling| {
            for event in events {
                signaling.core().handle_event(now(), event);
            }
        });
    }

    fn spawn(&self, jobs: &mut Jobs, kind: Kind, job: impl FnOnce(&Signaling) + Send + 'static) {
        let signaling = self.clone();
        let handle = jobs.set.spawn_blocking(move || job(&signaling));
        jobs.kinds.insert(handle.id(), kind);
    }

    /// Also called for a job that panicked: the job's room is served again, and the other jobs continue.
    fn job_ended(&self, jobs: &mut Jobs, id: Id) {
        match jobs.kinds.remove(&id) {
            Some(Kind::Events(room)) => {
                let waiting = jobs.waiting.get_mut(&room).map(std::mem::take).unwrap_or_default();
                if waiting.is_empty() {
                    jobs.waiting.remove(&room);
                } else {
                    self.spawn_events(jobs, room, waiting);
                }
            }
            Some(Kind::Timeout) => jobs.timing = false,
            Some(Kind::Work) => jobs.working -= 1,
            None => {}
        }
    }
}
