//! Calls into the rooms, on threads that may block.
//!
//! A call waits for its room's lock, and the lock can be held for long, because commands go to the workers under it.
//! On the runtime's threads such a call would stop everything else there, including requests for other rooms and
//! `/healthz`. So calls run on the runtime's threads for blocking calls. There are 512 of these, and one room gets at
//! most [`PER_ROOM`] of them: further requests for a stuck room wait without a thread.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::RoomId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http::problem::{Problem, ProblemKind};

/// Calls into one room at a time. More than one, since an offer is parsed and matched before its call takes the room's
/// lock.
const PER_ROOM: usize = 4;

/// How long a request waits for one of its room's calls to end. Then the client is told to retry, and its connection
/// is free.
const TURN_WITHIN: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_secs(5);

/// The calls that run or wait, by room.
#[derive(Clone)]
pub(crate) struct Calls {
    rooms: Arc<Mutex<HashMap<RoomId, Queue>>>,
    alone: Arc<Semaphore>,
}

/// The calls into one room. Each belongs to a request that is being served, so the number of requests bounds the
/// table.
struct Queue {
    turns: Arc<Semaphore>,
    callers: usize,
}

impl Default for Calls {
    fn default() -> Self {
        Self { rooms: Arc::default(), alone: Arc::new(Semaphore::new(1)) }
    }
}

impl Calls {
    /// Runs a call into a room.
    ///
    /// # Errors
    /// 503 when the room was busy for too long; 500 when the call panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        room: &RoomId,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (caller, turns) = self.enter(room);
        let turn = turn(turns).await?;
        blocking(move || {
            let result = call();
            // The permit is held until the call ends, even if the client closed the connection: the thread is occupied
            // until then.
            drop((turn, caller));
            result
        })
        .await
    }

    /// Runs a call that goes through all rooms; only one such call runs at a time.
    ///
    /// # Errors
    /// As [`Calls::run`].
    pub(crate) async fn run_alone<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = turn(self.alone.clone()).await?;
        blocking(move || {
            let result = call();
            drop(turn);
            result
        })
        .await
    }

    fn enter(&self, room: &RoomId) -> (Caller, Arc<Semaphore>) {
        let mut table = self.lock();
        let queue = table
            .entry(room.clone())
            .or_insert_with(|| Queue { turns: Arc::new(Semaphore::new(PER_ROOM)), callers: 0 });
        queue.callers += 1;
        (Caller { calls: self.clone(), room: room.clone() }, queue.turns.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RoomId, Queue>> {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn turn(turns: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let turn = timeout(TURN_WITHIN, turns.acquire_owned()).await;
    // The semaphores are never closed.
    turn.map_err(|_| busy())?.map_err(|_| Problem::internal())
}

/// One call that runs or waits. The last one of a room removes the room from the table.
struct Caller {
    calls: Calls,
    room: RoomId,
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut table = self.calls.lock();
        if let Some(queue) = table.get_mut(&self.room) {
            queue.callers -= 1;
            if queue.callers == 0 {
                table.remove(&self.room);
            }
        }
    }
}

/// Runs a closure that may block, on a thread for blocking calls.
///
/// # Errors
/// 500 when it panicked; the panic's message goes to standard error.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(call).await.map_err(|_| Problem::internal())
}

fn busy() -> Problem {
    Problem::new(ProblemKind::BUSY, "The room is busy. Come back after the time in Retry-After.")
        .retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use axum::http::StatusCode;

    use super::*;

    #[tokio::test]
    async fn a_stuck_room_takes_a_few_threads_and_its_callers_are_told_to_come_back() {
        let (calls, room) = (Calls::default(), RoomId::parse("stuck").unwrap());
        let (entered, has_entered) = channel();
        let mut holders = Vec::new();
        let mut stuck = Vec::new();
        for _ in 0..PER_ROOM {
            let (release, released) = channel::<()>();
            holders.push(release);
            let (calls, room, entered) = (calls.clone(), room.clone(), entered.clone());
            stuck.push(tokio::spawn(async move {
                let wait = move || {
                    entered.send(()).unwrap();
                    released.recv()
                };
                calls.run(&room, wait).await.is_ok()
            }));
        }
        for _ in 0..PER_ROOM {
            tokio::task::yield_now().await;
        }
        let all_in = tokio::task::spawn_blocking(move || {
            (0..PER_ROOM).for_each(|_| has_entered.recv_timeout(Duration::from_secs(20)).unwrap());
        });
        all_in.await.unwrap();
        // Virtual time from here on; otherwise the test would take as long as `TURN_WITHIN`.
        tokio::time::pause();
        let (late, ()) =
            tokio::join!(calls.run(&room, || ()), tokio::time::advance(TURN_WITHIN + RETRY));
        assert_eq!(late.unwrap_err().status(), StatusCode::SERVICE_UNAVAILABLE);
        let other = RoomId::parse("other").unwrap();
        assert!(calls.run(&other, || ()).await.is_ok());
        drop(holders);
        for call in stuck {
            assert!(call.await.unwrap());
        }
        assert!(calls.lock().is_empty());
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_alone() {
        let (calls, room) = (Calls::default(), RoomId::parse("r").unwrap());
        for _ in 0..2 * PER_ROOM {
            assert!(calls.run(&room, || panic!("a defect")).await.is_err());
        }
        assert!(calls.run(&room, || ()).await.is_ok());
        assert!(calls.lock().is_empty());
    }
}
