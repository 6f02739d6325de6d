//! Single-producer single-consumer rings and the wake-up of a sleeping worker, model-checked with loom.
//!
//! - [`channel`]: a bounded ring from one thread to another
//! - [`parking`]: how a producer wakes the consumer only when it sleeps, without ever losing a wake-up
#![allow(
    unsafe_code,
    reason = "slots are shared by two threads without a lock; the indices say whose a slot is, and loom checks it"
)]

mod channel;
pub mod parking;
mod sync;

pub use channel::{Consumer, MAX_CAPACITY, Producer, channel};
pub use parking::{Parking, Sleeper, Waker, parking};
