//! The ring and the wake-up between real threads, for a moment.
#![cfg(not(loom))]

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use sfumato_ring::{Consumer, channel, parking};

#[test]
fn a_hundred_thousand_boxes_cross_in_order() {
    const COUNT: u64 = 100_000;
    let (mut producer, mut consumer) = channel(64);
    let pushing = thread::spawn(move || {
        for value in 0..COUNT {
            let mut element = Box::new(value);
            while let Err(back) = producer.push(element) {
                element = back;
                thread::yield_now();
            }
        }
    });
    let mut expected = 0;
    while expected < COUNT {
        match consumer.pop() {
            Some(value) => {
                assert_eq!(*value, expected);
                expected += 1;
            }
            None => thread::yield_now(),
        }
    }
    pushing.join().unwrap();
    assert!(consumer.is_closed());
    assert!(consumer.pop().is_none());
}

#[test]
fn a_consumer_of_three_rings_sleeps_and_always_wakes() {
    const EACH: usize = 20_000;
    // The mark of an eventfd: a channel of one place, full when marked.
    let (mark, marked) = mpsc::sync_channel::<()>(1);
    let (mut sleeper, waker) = parking(move || {
        let _ = mark.try_send(());
    });
    let mut rings = Vec::new();
    let producers: Vec<_> = (0..3)
        .map(|_| {
            let (mut producer, consumer) = channel(16);
            rings.push(consumer);
            let waker = waker.clone();
            thread::spawn(move || {
                let mut wakes = 0usize;
                for value in 0..EACH {
                    while producer.push(value).is_err() {
                        thread::yield_now();
                    }
                    wakes += usize::from(waker.notify());
                }
                wakes
            })
        })
        .collect();

    let mut got = [0usize; 3];
    let mut sleeps = 0usize;
    while got.iter().sum::<usize>() < 3 * EACH {
        for (ring, got) in rings.iter_mut().zip(&mut got) {
            while let Some(value) = ring.pop() {
                assert_eq!(value, *got);
                *got += 1;
            }
        }
        if got.iter().sum::<usize>() < 3 * EACH {
            let slept = sleeper.sleep(
                || rings.iter().all(Consumer::is_empty),
                || marked.recv_timeout(Duration::from_secs(10)),
            );
            if let Some(result) = slept {
                result.expect("a wake-up was lost");
                sleeps += 1;
            }
        }
    }
    let wakes: usize = producers.into_iter().map(|p| p.join().unwrap()).sum();
    assert!(sleeps <= wakes, "{sleeps} sleeps ended by {wakes} wake-ups");
    assert!(wakes <= 3 * EACH);
}

#[test]
fn shared_elements_are_released_when_both_ends_are_gone() {
    let element = Arc::new(());
    let (mut producer, mut consumer) = channel(4);
    for _ in 0..4 {
        producer.push(element.clone()).unwrap();
    }
    assert!(producer.push(element.clone()).is_err());
    drop(consumer.pop());
    assert_eq!(Arc::strong_count(&element), 4);
    drop(consumer);
    assert_eq!(Arc::strong_count(&element), 1, "the consumer released what waited");
    assert!(producer.is_closed());
    assert!(producer.push(element.clone()).is_err(), "nobody would read it");
    assert_eq!(Arc::strong_count(&element), 1);
}
