//! Congestion control, sans-IO.
//!
//! - [`twcc`]: the receiving half of transport-wide congestion control: notes when packets came and tells the sender.
//! - [`remb`]: what a publisher without that is told that it may send.
//! - [`round_trip`]: how long a question to a publisher takes.
//!
//! The sending half (an estimate from such feedback, a pacer, probes) is not here yet: the node forwards what the
//! publisher sends.

pub mod remb;
pub mod round_trip;
pub mod twcc;
