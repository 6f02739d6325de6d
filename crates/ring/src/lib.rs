//! What a thread per core needs of memory: single-producer single-consumer rings and the wake-up of a sleeping worker,
//! model-checked with loom, and asking for memory before it is needed.
//!
//! - [`channel()`]: a bounded ring from one thread to another
//! - [`parking()`]: how a producer wakes the consumer only when it sleeps, without ever losing a wake-up
//! - [`Claim`]: who owns something that several threads may come to own, and how the owner learns of new orders
//! - [`prefetch()`]: the next thing's memory, asked for while working on this one
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
//! A hint is a push that matters only once something else has woken the consumer (a datagram of the session that it tells of).
//! Of a consumer in light sleep, who listens for that something, it is left lying: by the same argument the consumer either
//! saw it before it slept, or looks at its rings when it is woken. One that does not listen sleeps deeply and is woken.
//!
//! The argument asks nothing of the queue but that a push which happens before a look is seen by it, so any queue will do, also one
//! with a lock.
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
