//! Models of the ring and of the wake-up, run through every interleaving that the memory model allows.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p sfumato-ring --release --test loom`. A lost wake-up shows as a deadlock, a slot
//! touched by both sides as a causality violation, an element lost or read twice by the assertions.
#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed model")]

use std::sync::atomic::{AtomicUsize, Ordering};

use loom::{
    model::Builder,
    sync::{Arc, Condvar, Mutex},
    thread,
};
use sfumato_ring::{Claim, Consumer, Owner, Parking, Producer, Sleeper, Waker, channel, parking};

/// Pushes with patience: the ring may be full.
fn push_all(producer: &mut Producer<Box<u32>>, values: impl Iterator<Item = u32>) {
    for value in values {
        let mut element = Box::new(value);
        while let Err(back) = producer.push(element) {
            element = back;
            thread::yield_now();
        }
    }
}

/// Pops with patience.
fn pop_wait(consumer: &mut Consumer<Box<u32>>) -> u32 {
    loop {
        match consumer.pop() {
            Some(value) => return *value,
            None => thread::yield_now(),
        }
    }
}

#[test]
fn every_element_comes_once_and_in_order_around_the_wrap() {
    loom::model(|| {
        let (mut producer, mut consumer) = channel(2);
        let pushing = thread::spawn(move || push_all(&mut producer, 0..3));
        for expected in 0..3 {
            assert_eq!(pop_wait(&mut consumer), expected);
        }
        pushing.join().unwrap();
        assert!(consumer.pop().is_none());
        assert!(consumer.is_closed());
    });
}

#[test]
fn a_ring_of_one_slot_hands_it_back_and_forth() {
    loom::model(|| {
        let (mut producer, mut consumer) = channel(1);
        let pushing = thread::spawn(move || push_all(&mut producer, 0..3));
        for expected in 0..3 {
            assert_eq!(pop_wait(&mut consumer), expected);
        }
        pushing.join().unwrap();
        assert!(consumer.pop().is_none());
    });
}

#[test]
fn a_full_ring_gives_the_element_back() {
    loom::model(|| {
        let (mut producer, mut consumer) = channel(1);
        let pushing =
            thread::spawn(move || (0..2u32).map(|v| producer.push(v)).collect::<Vec<_>>());
        let early = consumer.pop();
        let results = pushing.join().unwrap();
        let rest: Vec<u32> =
            early.into_iter().chain(std::iter::from_fn(|| consumer.pop())).collect();
        assert_eq!(results[0], Ok(()));
        match results[1] {
            Ok(()) => assert_eq!(rest, [0, 1]),
            Err(back) => assert_eq!((back, rest), (1, vec![0])),
        }
    });
}

#[test]
fn after_the_producer_left_the_rest_is_still_there() {
    loom::model(|| {
        let (mut producer, mut consumer) = channel(2);
        let pushing = thread::spawn(move || {
            assert_eq!(producer.push(7u32), Ok(()));
            assert_eq!(producer.push(8u32), Ok(()));
        });
        let closed = consumer.is_closed();
        let got: Vec<u32> = std::iter::from_fn(|| consumer.pop()).collect();
        if closed {
            assert_eq!(got, [7, 8], "closed was seen, so all that was pushed is too");
        }
        pushing.join().unwrap();
    });
}

/// Counts how often it was dropped.
struct Counted(std::sync::Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn leftovers_are_dropped_once_whoever_leaves_first() {
    loom::model(|| {
        let drops = std::sync::Arc::new(AtomicUsize::new(0));
        let (mut producer, mut consumer) = channel(2);
        let counter = drops.clone();
        let pushing = thread::spawn(move || {
            for _ in 0..3 {
                // Full or closed: the element comes back and is dropped here.
                let _ = producer.push(Counted(counter.clone()));
            }
        });
        drop(consumer.pop());
        drop(consumer);
        pushing.join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 3);
        assert_eq!(std::sync::Arc::strong_count(&drops), 1);
    });
}

/// An eventfd: a wake-up leaves a mark, blocking ends when there is one, draining clears it.
struct Event {
    marked: Mutex<bool>,
    changed: Condvar,
}

impl Event {
    fn new() -> Arc<Event> {
        Arc::new(Event { marked: Mutex::new(false), changed: Condvar::new() })
    }

    fn wake(&self) {
        *self.marked.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn block(&self) {
        let mut marked = self.marked.lock().unwrap();
        while !*marked {
            marked = self.changed.wait(marked).unwrap();
        }
    }

    fn drain(&self) {
        *self.marked.lock().unwrap() = false;
    }
}

fn sleeping_place() -> (Arc<Event>, Sleeper, Waker) {
    let event = Event::new();
    let (sleeper, waker) = parking({
        let event = event.clone();
        move || event.wake()
    });
    (event, sleeper, waker)
}

/// A worker's loop: drain the rings, and sleep when all are empty, until `count` elements came.
fn consume(
    rings: &mut [Consumer<u32>],
    sleeper: &mut Sleeper,
    event: &Event,
    count: usize,
) -> Vec<u32> {
    let mut got = Vec::new();
    loop {
        for ring in rings.iter_mut() {
            while let Some(value) = ring.pop() {
                got.push(value);
            }
        }
        if got.len() == count {
            return got;
        }
        if sleeper.sleep(|| rings.iter().all(Consumer::is_empty), || event.block()).is_some() {
            event.drain();
        }
    }
}

/// All interleavings with up to four involuntary switches: some ten seconds for two producers, where those without bound take
/// an hour. A protocol without one of its fences, or without the second look, fails with three already.
fn bounded() -> Builder {
    let mut model = Builder::new();
    model.preemption_bound = Some(4);
    model
}

#[test]
fn one_producer_never_leaves_the_consumer_asleep() {
    bounded().check(|| {
        let (event, mut sleeper, waker) = sleeping_place();
        let (mut producer, consumer) = channel(2);
        let pushing = thread::spawn(move || {
            for value in 0..2 {
                assert_eq!(producer.push(value), Ok(()));
                waker.notify();
            }
        });
        assert_eq!(consume(&mut [consumer], &mut sleeper, &event, 2), [0, 1]);
        pushing.join().unwrap();
    });
}

#[test]
fn two_producers_never_leave_the_consumer_asleep() {
    bounded().check(|| {
        let (event, mut sleeper, waker) = sleeping_place();
        let (mut rings, mut threads) = (Vec::new(), Vec::new());
        for value in [1, 2] {
            let (mut producer, consumer) = channel(1);
            rings.push(consumer);
            let waker = waker.clone();
            threads.push(thread::spawn(move || {
                assert_eq!(producer.push(value), Ok(()));
                waker.notify();
            }));
        }
        let mut got = consume(&mut rings, &mut sleeper, &event, 2);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A hint, and behind it what makes it matter. `deep`: how the consumer sleeps.
fn hint(deep: bool) {
    bounded().check(move || {
        let (event, place) = (Event::new(), Arc::new(Parking::new()));
        let (mut hints, mut told) = channel(1);
        let (mut work, mut taken) = channel(1);
        let producer = {
            let (event, place) = (event.clone(), place.clone());
            thread::spawn(move || {
                assert_eq!(hints.push(1u32), Ok(()));
                if place.should_wake_for_hint() {
                    event.wake();
                }
                // Whoever sleeps deeply does not listen for this: the hint itself has to wake it.
                if !deep {
                    assert_eq!(work.push(2u32), Ok(()));
                    if place.should_wake() {
                        event.wake();
                    }
                }
            })
        };
        let (mut hinted, mut worked) = (false, deep);
        while !(hinted && worked) {
            hinted |= told.pop().is_some();
            worked |= taken.pop().is_some();
            if hinted && worked {
                break;
            }
            if deep {
                place.prepare_sleep();
            } else {
                place.prepare_light_sleep();
            }
            let idle = told.is_empty() && taken.is_empty();
            if idle {
                event.block();
            }
            place.cancel_sleep();
            if idle {
                event.drain();
            }
        }
        producer.join().unwrap();
    });
}

#[test]
fn a_hint_wakes_from_deep_sleep() {
    hint(true);
}

#[test]
fn a_hint_is_seen_with_what_wakes_from_light_sleep() {
    hint(false);
}

/// The orders beside a claim, and the notices that its owner was sent.
struct Orders {
    claim: Claim,
    orders: loom::sync::atomic::AtomicUsize,
    notices: loom::sync::atomic::AtomicUsize,
}

impl Orders {
    fn new() -> Arc<Orders> {
        Arc::new(Orders {
            claim: Claim::new(),
            orders: loom::sync::atomic::AtomicUsize::new(0),
            notices: loom::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// A writer: replaces the orders, tells the owner.
    fn write(&self, orders: usize) {
        self.orders.store(orders, Ordering::Release);
        if self.claim.tell().is_some() {
            self.notices.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The owner: takes the notices that are there; what it read last.
    fn read(&self, mut known: usize) -> usize {
        while self.notices.load(Ordering::Acquire) > 0 {
            self.notices.fetch_sub(1, Ordering::AcqRel);
            self.claim.heard();
            known = self.orders.load(Ordering::Acquire);
        }
        known
    }
}

#[test]
fn orders_that_are_replaced_while_somebody_settles_reach_the_owner() {
    loom::model(|| {
        let shared = Orders::new();
        let writer = shared.clone();
        let writing = thread::spawn(move || writer.write(1));
        let other = shared.clone();
        let settling = thread::spawn(move || {
            let mine = other.claim.settle(1).is_ok();
            mine.then(|| other.orders.load(Ordering::Acquire))
        });
        let mine = shared.claim.settle(0).is_ok().then(|| shared.orders.load(Ordering::Acquire));
        let theirs = settling.join().unwrap();
        writing.join().unwrap();
        assert!(mine.is_some() != theirs.is_some(), "one owns it");
        let known = mine.or(theirs).unwrap();
        assert_eq!(shared.read(known), 1);
    });
}

#[test]
fn orders_that_are_replaced_while_the_owner_reads_are_read_in_the_end() {
    loom::model(|| {
        let shared = Orders::new();
        shared.claim.settle(0).unwrap();
        let writer = shared.clone();
        let writing = thread::spawn(move || {
            writer.write(1);
            writer.write(2);
        });
        let known = shared.read(0);
        writing.join().unwrap();
        assert_eq!(shared.read(known), 2);
    });
}

#[test]
fn something_ends_either_unclaimed_or_by_its_owner() {
    loom::model(|| {
        let shared = Orders::new();
        let closer = shared.clone();
        let closing = thread::spawn(move || {
            // Closing: the orders say so, and whoever owns it hears of it.
            closer.orders.store(9, Ordering::Release);
            let ended = closer.claim.end_unclaimed();
            if !ended && closer.claim.tell().is_some() {
                closer.notices.fetch_add(1, Ordering::AcqRel);
            }
            ended
        });
        let known = shared.claim.settle(0).is_ok().then(|| shared.orders.load(Ordering::Acquire));
        let ended = closing.join().unwrap();
        match known {
            Some(known) => assert_eq!((ended, shared.read(known)), (false, 9)),
            None => assert!(ended),
        }
    });
}

#[test]
fn who_waits_for_an_owner_sees_it_or_is_seen() {
    loom::model(|| {
        let shared = Orders::new();
        let waiter = shared.clone();
        let waiting = thread::spawn(move || waiter.claim.wait(5));
        shared.claim.settle(0).unwrap();
        let named = shared.claim.waiting().count();
        let seen = waiting.join().unwrap();
        assert!(named == 1 || seen == Owner::Of(0));
    });
}
