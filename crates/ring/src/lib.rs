//! Shared memory between worker threads: single-producer single-consumer rings, the wake-up of a sleeping worker and claims of
//! ownership, all model-checked with loom; and prefetching.
//!
//! - [`channel()`]: a bounded ring from one thread to another
//! - [`parking()`]: how a producer wakes the consumer only when it sleeps, without ever losing a wake-up
//! - [`Claim`]: which worker owns a session, and how the owner learns of changed orders
//! - [`prefetch()`]: asks the processor for the memory of the next value
//!
//! Not here: the eventfd (crate `udp` has it; the wake-up is any closure), threads, and what travels on the rings.
//!
//! # The ring
//!
//! Two indices count for ever: `tail`, written by the producer only, and `head`, written by the consumer only. The slots in
//! `head..tail` belong to the consumer, the others to the producer. Each side gives a slot away by a Release store of its own
//! index and takes one over by an Acquire load of the other's, so what was done to the slot before happens before what is
//! done next. Each side keeps a copy of the other's index and reads the shared one only when the copy says full or empty:
//! the copy is never ahead, so it can cause a needless look and never a wrong access.
//!
//! # The wake-up
//!
//! ```text
//! consumer: asleep = true     ; fence ; look at all rings ; block if they are empty ; asleep = false ; clear the mark
//! producer: push (tail += 1)  ; fence ; if asleep, and swap(asleep, false) says true: leave a mark, which ends the block
//! ```
//!
//! Both fences are sequentially consistent, so one of them is first in the order of all such fences. If the producer's is,
//! the consumer's look comes behind it and sees the push: it does not block. If the consumer's is, the producer reads
//! `asleep` behind it and sees true, or what came later: false by another producer's swap, who then leaves the mark, or false by the consumer itself,
//! who is awake and will pass its own fence, and look, before it blocks again. Every write to `asleep` is a swap: each takes the
//! place of the one before it, so "what came later" is never in doubt. Acquire and Release alone would not do: both sides
//! could read the old value of what the other wrote. The mark outlives the race between leaving it and blocking, as an eventfd's
//! count does; one that comes late costs a needless round of the consumer's loop.
//!
//! A hint is a push that matters only when the next datagram comes (a command about a session that has no owner yet). A consumer
//! in light sleep is not woken for a hint: it wakes with any datagram, and looks at its rings first. A consumer in deep sleep does
//! not wake with every datagram, so a hint wakes it.
//!
//! The argument asks only one thing of the queue: a look sees every push that happened before it. So it holds for any queue, also
//! for one with a lock.
#![allow(
    unsafe_code,
    reason = "slots are shared by two threads without a lock; the indices say whose a slot is, and loom checks it"
)]

mod channel;
pub mod claim;
pub mod parking;
mod prefetch;
mod sync;

pub use channel::{Consumer, MAX_CAPACITY, Producer, channel};
pub use claim::{Claim, Owner};
pub use parking::{Parking, Sleeper, Waker, parking};
pub use prefetch::prefetch;
