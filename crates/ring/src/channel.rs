//! A bounded ring from one thread to another, without locks.
//!
//! Not a queue for many producers: a worker has one ring per other worker.

use std::{fmt, mem::MaybeUninit, ops::Deref};

use crate::sync::{Arc, AtomicBool, AtomicUsize, Ordering, UnsafeCell};

/// The largest ring, in elements.
pub const MAX_CAPACITY: usize = 1 << 20;

/// Makes a ring for at least `capacity` elements: rounded up to a power of two, within 1 and [`MAX_CAPACITY`].
pub fn channel<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    let capacity = capacity.clamp(1, MAX_CAPACITY).next_power_of_two();
    let shared = Arc::new(Shared {
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
        mask: capacity - 1,
        producer_gone: AtomicBool::new(false),
        consumer_gone: AtomicBool::new(false),
        head: Padded(AtomicUsize::new(0)),
        tail: Padded(AtomicUsize::new(0)),
    });
    (
        Producer { shared: shared.clone(), tail: 0, head_seen: 0 },
        Consumer { shared, head: 0, tail_seen: 0 },
    )
}

/// The sending end.
pub struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// A copy of `shared.tail`, which only this end writes.
    tail: usize,
    /// `shared.head` when we last read it; it can only have grown since.
    head_seen: usize,
}

impl<T> Producer<T> {
    /// Appends an element.
    ///
    /// # Errors
    /// Gives it back when the ring is full, or the consumer is gone ([`Producer::is_closed`] tells which).
    pub fn push(&mut self, value: T) -> Result<(), T> {
        if self.tail.wrapping_sub(self.head_seen) == self.shared.capacity() {
            // Acquire: pairs with the Release in `Consumer::pop`. Its read of the slot happened before our write.
            self.head_seen = self.shared.head.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head_seen) == self.shared.capacity() {
                return Err(value);
            }
        }
        if self.is_closed() {
            return Err(value);
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: the slot lies outside of head..tail, and the consumer touches only slots inside. There is one producer,
            // and `&mut self` makes this its only call. A former element was moved out before head passed it.
            unsafe { (*slot).write(value) };
        });
        self.tail = self.tail.wrapping_add(1);
        // Release: the element is written before the consumer can see the index.
        self.shared.tail.store(self.tail, Ordering::Release);
        Ok(())
    }

    /// The consumer was dropped; pushed elements will never be read.
    pub fn is_closed(&self) -> bool {
        self.shared.consumer_gone.load(Ordering::Acquire)
    }

    /// How many elements wait; the consumer may be taking some right now.
    pub fn len(&self) -> usize {
        self.tail.wrapping_sub(self.shared.head.load(Ordering::Acquire))
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements the ring holds.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        // Release: a consumer that sees the flag also sees every element pushed before.
        self.shared.producer_gone.store(true, Ordering::Release);
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The receiving end.
pub struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// A copy of `shared.head`, which only this end writes.
    head: usize,
    /// `shared.tail` when we last read it; it can only have grown since.
    tail_seen: usize,
}

impl<T> Consumer<T> {
    /// Takes the oldest element.
    pub fn pop(&mut self) -> Option<T> {
        if self.head == self.tail_seen {
            // Acquire: pairs with the Release in `Producer::push`. The element was written before the index.
            self.tail_seen = self.shared.tail.load(Ordering::Acquire);
            if self.head == self.tail_seen {
                return None;
            }
        }
        let value = self.shared.slot(self.head).with_mut(|slot| {
            // SAFETY: the slot lies inside of head..tail, so the producer has written it and will not touch it before
            // head passes it. There is one consumer, and `&mut self` makes this its only call; head moves on below,
            // so the element is read once.
            unsafe { (*slot).assume_init_read() }
        });
        self.head = self.head.wrapping_add(1);
        // Release: the element is moved out before the producer can see the index and write there.
        self.shared.head.store(self.head, Ordering::Release);
        Some(value)
    }

    /// The producer was dropped. What it pushed before can still be taken: after this says true, a `None` from
    /// [`Consumer::pop`] is the end.
    pub fn is_closed(&self) -> bool {
        self.shared.producer_gone.load(Ordering::Acquire)
    }

    /// How many elements wait; the producer may be adding more right now.
    pub fn len(&self) -> usize {
        self.shared.tail.load(Ordering::Acquire).wrapping_sub(self.head)
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many elements the ring holds.
    pub fn capacity(&self) -> usize {
        self.shared.capacity()
    }
}

impl<T> Drop for Consumer<T> {
    /// Drops the elements that wait: otherwise they would live as long as the producer.
    fn drop(&mut self) {
        self.shared.consumer_gone.store(true, Ordering::Release);
        while self.pop().is_some() {}
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The memory that both ends share. The indices count for ever and wrap with `usize`; the slot of an index is its lower bits.
struct Shared<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    mask: usize,
    producer_gone: AtomicBool,
    consumer_gone: AtomicBool,
    /// The next index to take. Written by the consumer only.
    head: Padded<AtomicUsize>,
    /// The next index to fill. Written by the producer only.
    tail: Padded<AtomicUsize>,
}

// SAFETY: both ends reach the slots through a shared reference, but never the same slot at the same time: see `push` and
// `pop`. Elements move from one thread to the other, hence `T: Send`; no reference to an element is ever shared.
unsafe impl<T: Send> Sync for Shared<T> {}
// SAFETY: the last end to go drops the elements, on whichever thread it is: that is a move as well.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T> Shared<T> {
    fn capacity(&self) -> usize {
        self.mask + 1
    }

    #[inline]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[index & self.mask]
    }
}

impl<T> Drop for Shared<T> {
    /// Both ends are gone; the `Arc` made all their writes visible here. Only an element pushed while the consumer was
    /// being dropped can be left.
    fn drop(&mut self) {
        let mut head = self.head.load(Ordering::Relaxed);
        let tail = self.tail.load(Ordering::Relaxed);
        while head != tail {
            self.slot(head).with_mut(|slot| {
                // SAFETY: the slots in head..tail hold elements, each dropped once since head moves on.
                unsafe { (*slot).assume_init_drop() };
            });
            head = head.wrapping_add(1);
        }
    }
}

/// Keeps each index on cache lines of its own: 128 bytes, as x86 fetches lines in pairs and some ARM cores have lines so long.
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Deref for Padded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_rounded_up_and_bounded() {
        assert_eq!(channel::<u8>(0).0.capacity(), 1);
        assert_eq!(channel::<u8>(5).1.capacity(), 8);
        assert_eq!(channel::<u8>(usize::MAX).0.capacity(), MAX_CAPACITY);
    }

    #[test]
    fn fills_to_capacity_and_no_further() {
        let (mut producer, mut consumer) = channel(4);
        for value in 0..4 {
            assert_eq!(producer.push(value), Ok(()));
        }
        assert_eq!(producer.push(4), Err(4));
        assert_eq!((producer.len(), consumer.len()), (4, 4));
        assert_eq!(consumer.pop(), Some(0));
        assert_eq!(producer.push(5), Ok(()));
        let rest: Vec<i32> = std::iter::from_fn(|| consumer.pop()).collect();
        assert_eq!(rest, [1, 2, 3, 5]);
        assert!(consumer.is_empty() && producer.is_empty());
    }

    #[test]
    fn indices_survive_the_end_of_usize() {
        let (mut producer, mut consumer) = channel(2);
        let near_end = usize::MAX - 2;
        (producer.tail, producer.head_seen) = (near_end, near_end);
        (consumer.head, consumer.tail_seen) = (near_end, near_end);
        producer.shared.tail.store(near_end, Ordering::Relaxed);
        producer.shared.head.store(near_end, Ordering::Relaxed);
        for round in 0..4u32 {
            assert_eq!(producer.push(round), Ok(()));
            assert_eq!(producer.push(round + 100), Ok(()));
            assert_eq!(producer.push(999), Err(999));
            assert_eq!(consumer.len(), 2);
            assert_eq!(consumer.pop(), Some(round));
            assert_eq!(consumer.pop(), Some(round + 100));
            assert_eq!(consumer.pop(), None);
        }
    }

    #[test]
    fn elements_without_size_are_counted() {
        let (mut producer, mut consumer) = channel(2);
        assert!(
            producer.push(()).is_ok() && producer.push(()).is_ok() && producer.push(()).is_err()
        );
        assert!(consumer.pop().is_some() && consumer.pop().is_some() && consumer.pop().is_none());
    }
}
