//! Parts that take too long for every run.
//!
//! - [`crowd`]: many idle sessions and many active ones
//! - [`meetings`]: rooms of members with room sessions
//! - [`workers`]: two workers
//! - [`slow`]: whether slow viewers hurt others
//! - [`soak`]: whether anything is lost or left over after a long time

pub(crate) mod crowd;
pub(crate) mod meetings;
pub(crate) mod slow;
pub(crate) mod soak;
pub(crate) mod workers;

pub(crate) use slow::{FAULTY, STALLED};
pub(crate) use soak::ASTRAY;

/// The column of differences.
pub(crate) const DIFFERENCE: &str = "difference";
