//! Congestion control, sans-IO.
//!
//! - [`twcc`]: the receiving half of transport-wide congestion control: notes when packets came and tells the sender.
//!
//! The sending half (an estimate from such feedback, a pacer, probes) is not here yet: the node forwards what the
//! publisher sends.

pub mod twcc;
