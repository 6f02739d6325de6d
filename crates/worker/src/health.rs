//! Whether the workers run: when each of them began its last turn, and whether a thread ended by a defect.
//!
//! A worker that has ended takes its sessions with it, and checks that the kernel brings to its sockets are not
//! answered: a node with an ended worker serves some peers and not others. So the node has to end when [`Watch`]
//! reports a failure, and its supervisor has to start it anew. A worker that is only late may recover; until it does,
//! the node is not ready.

use std::{
    any::Any,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::WorkerId;

/// A worker without a turn for this long is late: peers notice it. A worker sleeps for half a second at most.
pub(crate) const LATE_AFTER: Duration = Duration::from_secs(1);
/// While a worker has had no turn for this long the node is not ready, because new sessions may be sent to that
/// worker.
const UNREADY_AFTER: Duration = Duration::from_secs(5);

/// A worker's thread ended although it was not told to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerFailure {
    /// The number of the worker.
    pub worker: usize,
    /// Why it ended; the text is for people.
    pub reason: String,
}

impl fmt::Display for WorkerFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} ended by a defect: {}", self.worker, self.reason)
    }
}

impl std::error::Error for WorkerFailure {}

/// The state that all workers publish.
pub(crate) struct Health {
    base: Instant,
    /// When each worker began its last turn, in microseconds since `base`.
    turned: Box<[AtomicU64]>,
    /// Not on the packet path: locked when a worker fails, and by watches.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The first failure; later ones are mostly its consequences.
    failure: Option<WorkerFailure>,
    /// Watches that wait, by number.
    waiting: Vec<(u64, Waker)>,
    watches: u64,
}

impl Health {
    /// For this number of workers, which all count as having begun a turn at `base`.
    pub(crate) fn new(base: Instant, workers: usize) -> Arc<Self> {
        let turned = (0..workers).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { base, turned, state: Mutex::default() })
    }

    /// Records that a worker begins a turn.
    #[inline]
    pub(crate) fn turned(&self, worker: WorkerId, now: Instant) {
        if let Some(turned) = self.turned.get(worker.index()) {
            // Each value has one writer, and readers need no order with anything else.
            turned.store(now.saturating_duration_since(self.base).as_micros() as u64, Relaxed);
        }
    }

    /// How long ago each worker began its last turn.
    pub(crate) fn turn_ages(&self, now: Instant) -> Vec<Duration> {
        let since = now.saturating_duration_since(self.base);
        let age =
            |turned: &AtomicU64| since.saturating_sub(Duration::from_micros(turned.load(Relaxed)));
        self.turned.iter().map(age).collect()
    }

    /// Whether no worker has failed, and none has been late for long.
    pub(crate) fn is_ready(&self, now: Instant) -> bool {
        self.failure().is_none() && self.turn_ages(now).iter().all(|age| *age < UNREADY_AFTER)
    }

    pub(crate) fn failure(&self) -> Option<WorkerFailure> {
        self.lock().failure.clone()
    }

    /// Records that a worker's thread ended by a defect.
    pub(crate) fn fail(&self, failure: WorkerFailure) {
        let mut state = self.lock();
        state.failure.get_or_insert(failure);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is a single statement, so a panic left nothing half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn watch(self: &Arc<Self>) -> Watch {
        let mut state = self.lock();
        state.watches += 1;
        let number = state.watches;
        drop(state);
        Watch { health: self.clone(), number }
    }
}

/// Resolves when the first worker fails, and never if none does. There may be several watches.
pub struct Watch {
    health: Arc<Health>,
    number: u64,
}

impl Future for Watch {
    type Output = WorkerFailure;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<WorkerFailure> {
        let mut state = self.health.lock();
        if let Some(failure) = &state.failure {
            return Poll::Ready(failure.clone());
        }
        let number = self.number;
        state.waiting.retain(|(n, _)| *n != number);
        state.waiting.push((number, context.waker().clone()));
        Poll::Pending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let number = self.number;
        self.health.lock().waiting.retain(|(n, _)| *n != number);
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

/// The text of a panic.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;

    struct Unpark(std::thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    /// Waits for a watch, ten seconds at most.
    pub(crate) fn wait(watch: &mut Watch) -> Option<WorkerFailure> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(10) {
            match Pin::new(&mut *watch).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(failure) => return Some(failure),
                Poll::Pending => std::thread::park_timeout(Duration::from_secs(1)),
            }
        }
        None
    }

    #[test]
    fn the_first_failure_is_reported_to_all_watches_and_to_later_ones() {
        let health = Health::new(Instant::now(), 3);
        let mut watches = [health.watch(), health.watch()];
        let told = std::thread::scope(|scope| {
            let waiting: Vec<_> =
                watches.iter_mut().map(|watch| scope.spawn(|| wait(watch))).collect();
            for (worker, reason) in [(2, "first"), (1, "second")] {
                health.fail(WorkerFailure { worker, reason: reason.into() });
            }
            waiting.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        let first = WorkerFailure { worker: 2, reason: "first".into() };
        assert_eq!(told, [Some(first.clone()), Some(first.clone())]);
        assert_eq!(wait(&mut health.watch()), Some(first));
        assert!(health.lock().waiting.is_empty());
    }

    #[test]
    fn a_worker_whose_thread_ends_by_a_defect_is_told_of_and_makes_the_node_unready() {
        let certificate = Arc::new(transport::dtls::Certificate::generate().unwrap());
        let clock = model::WallClock::new(Instant::now(), std::time::SystemTime::now());
        let mut config = crate::Config::new(certificate, clock, Arc::new(|_| ()));
        config.bind = vec![std::net::Ipv4Addr::LOCALHOST.into()];
        config.workers = std::num::NonZeroUsize::new(2).unwrap();
        config.pin = false;
        let workers = crate::Workers::start(config).unwrap();
        let (handle, mut watch) = (workers.handle(), workers.watch());
        assert!(handle.is_ready() && handle.failure().is_none());
        handle.break_worker(1);
        let failure = wait(&mut watch).expect("the failure is reported");
        assert_eq!((failure.worker, failure.reason.as_str()), (1, "a test broke this worker"));
        assert_eq!(handle.failure(), Some(failure));
        assert!(!handle.is_ready());
        // The other worker still turns, and both threads end when they are told to.
        let begun = Instant::now();
        let turns_on = |ages: &[Duration]| ages[0] + Duration::from_millis(100) < ages[1];
        while !turns_on(&handle.turn_ages()) && begun.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(turns_on(&handle.turn_ages()));
        workers.shutdown();
    }

    #[test]
    fn a_watch_that_is_dropped_is_forgotten() {
        let health = Health::new(Instant::now(), 1);
        let mut watch = health.watch();
        let waker = Waker::noop();
        assert!(Pin::new(&mut watch).poll(&mut Context::from_waker(waker)).is_pending());
        assert_eq!(health.lock().waiting.len(), 1);
        drop(watch);
        assert!(health.lock().waiting.is_empty());
    }

    #[test]
    fn with_a_worker_that_is_late_for_long_the_node_is_not_ready() {
        let start = Instant::now();
        let health = Health::new(start, 2);
        let at = |millis| start + Duration::from_millis(millis);
        health.turned(WorkerId(0), at(2_000));
        assert_eq!(health.turn_ages(at(3_000)), [1_000, 3_000].map(Duration::from_millis));
        assert!(health.is_ready(at(4_999)) && !health.is_ready(at(5_000)));
        health.turned(WorkerId(1), at(5_500));
        assert!(health.is_ready(at(6_000)), "it came back");
        health.fail(WorkerFailure { worker: 0, reason: "a test".into() });
        assert!(!health.is_ready(at(6_000)));
    }
}
