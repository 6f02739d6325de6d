//! Waking a consumer that sleeps, and only then.
//!
//! A wake-up is a system call, which costs more than the element that was pushed. So the consumer sets a flag before it sleeps, and a
//! producer makes the system call only when it finds the flag set.

use std::fmt;

use crate::sync::{Arc, AtomicU8, Ordering, fence};

/// The consumer is awake.
const AWAKE: u8 = 0;
/// The consumer sleeps, but the event that makes a hint matter (a datagram) will wake it.
const LIGHT: u8 = 1;
/// The consumer sleeps, and only a producer can wake it.
const DEEP: u8 = 2;

/// Makes the two sides of a sleeping place. `wake` ends the consumer's sleep: it writes an eventfd, for instance.
///
/// `wake` must leave a mark (as an eventfd does): called before the consumer blocks, it ends the next block at once.
pub fn parking(wake: impl Fn() + Send + Sync + 'static) -> (Sleeper, Waker) {
    let parking = Arc::new(Parking::new());
    (Sleeper { parking: parking.clone() }, Waker { parking, wake: std::sync::Arc::new(wake) })
}

/// The consumer's side: one per sleeping thread.
#[derive(Debug)]
pub struct Sleeper {
    parking: Arc<Parking>,
}

impl Sleeper {
    /// Sleeps unless there is work: announces the sleep, asks `is_idle` (all rings empty?), and only then calls `block`.
    ///
    /// Returns what `block` returned, `None` when there was work. `is_idle` must look at every ring whose producers
    /// hold a [`Waker`] of this sleeper. Marks left by wake-ups (the eventfd's count) are to be cleared after this
    /// returns and before the next call, never inside `block` before blocking.
    pub fn sleep<R>(
        &mut self,
        is_idle: impl FnOnce() -> bool,
        block: impl FnOnce() -> R,
    ) -> Option<R> {
        self.parking.prepare_sleep();
        let slept = is_idle().then(block);
        self.parking.cancel_sleep();
        slept
    }
}

/// The producers' side: clone it for each of them.
#[derive(Clone)]
pub struct Waker {
    parking: Arc<Parking>,
    wake: std::sync::Arc<dyn Fn() + Send + Sync>,
}

impl Waker {
    /// To be called after pushing (once for a run of pushes is enough): wakes the consumer if it sleeps or is about to.
    /// Returns whether it paid for a wake-up.
    pub fn notify(&self) -> bool {
        let wake = self.parking.should_wake();
        if wake {
            (self.wake)();
        }
        wake
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("parking", &self.parking).finish_non_exhaustive()
    }
}

/// The flag between consumer and producers, for callers with their own way to sleep. [`Sleeper`] and [`Waker`] use it in the right order.
#[derive(Debug)]
pub struct Parking {
    sleep: AtomicU8,
}

impl Parking {
    /// A flag that says awake.
    pub fn new() -> Parking {
        Parking { sleep: AtomicU8::new(AWAKE) }
    }

    /// Consumer: "I am about to sleep". After this it must look at its rings once more before it blocks.
    pub fn prepare_sleep(&self) {
        self.prepare(DEEP);
    }

    /// As [`Parking::prepare_sleep`], for a consumer that also wakes when a datagram comes on any of its sockets. Hints
    /// ([`Parking::should_wake_for_hint`]) do not wake it then.
    pub fn prepare_light_sleep(&self) {
        self.prepare(LIGHT);
    }

    fn prepare(&self, depth: u8) {
        // Every write to the flag is a read-modify-write, so that they form one chain: see the crate's head.
        self.sleep.swap(depth, Ordering::AcqRel);
        // Pairs with the fence of the producers: see the crate's head.
        fence(Ordering::SeqCst);
    }

    /// Consumer: "I am awake". To be called after blocking, or when the second look at the rings found something.
    pub fn cancel_sleep(&self) {
        self.sleep.swap(AWAKE, Ordering::AcqRel);
    }

    /// Producer, after pushing: whether it has to wake the consumer. Of several producers only one gets `true`.
    pub fn should_wake(&self) -> bool {
        // Pairs with the fence in `prepare`: see the crate's head.
        fence(Ordering::SeqCst);
        // The load first: it leaves the cache line shared while the consumer is awake, which is the case under load.
        self.sleep.load(Ordering::Relaxed) != AWAKE
            && self.sleep.swap(AWAKE, Ordering::AcqRel) != AWAKE
    }

    /// Producer, after pushing a hint (something that matters only when the next datagram comes): whether it has to wake the
    /// consumer. `true` only in deep sleep, because a consumer in light sleep is woken by that datagram itself.
    pub fn should_wake_for_hint(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleep.load(Ordering::Relaxed) == DEEP
            && self.sleep.swap(AWAKE, Ordering::AcqRel) != AWAKE
    }
}

impl Default for Parking {
    fn default() -> Parking {
        Parking::new()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn nobody_pays_while_the_consumer_is_awake() {
        let (mut sleeper, waker) = parking(|| panic!("nobody sleeps"));
        assert!(!waker.notify());
        assert_eq!(sleeper.sleep(|| false, || panic!("there is work")), None::<()>);
        assert!(!waker.notify(), "the sleep was called off");
    }

    #[test]
    fn hints_wake_from_deep_sleep_only_and_leave_a_light_one_to_others() {
        let parking = Parking::new();
        assert!(!parking.should_wake_for_hint(), "awake");
        parking.prepare_light_sleep();
        assert!(!parking.should_wake_for_hint());
        assert!(parking.should_wake(), "still asleep");
        assert!(!parking.should_wake());
        parking.prepare_sleep();
        assert!(parking.should_wake_for_hint());
        assert!(!parking.should_wake(), "woken already");
        parking.prepare_sleep();
        parking.cancel_sleep();
        assert!(!parking.should_wake_for_hint());
    }

    #[test]
    fn one_of_several_producers_pays() {
        let calls = std::sync::Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        let (mut sleeper, waker) = parking(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let other = waker.clone();
        let woken = sleeper.sleep(|| true, || (waker.notify(), other.notify()));
        assert_eq!(woken, Some((true, false)));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        assert!(!waker.notify(), "awake again");
    }
}
