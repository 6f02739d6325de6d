//! Congestion control, sans-IO.
//!
//! - [`twcc`]: the receiving half of transport-wide congestion control: notes the arrival of packets and writes
//!   feedback.
//! - [`remb`]: the bitrate limit for a publisher without transport-wide feedback.
//! - [`round_trip`]: the round trip time to a publisher.
//! - [`quality`]: how good a connection is for people, from loss and round trip.
//!
//! The sending half (an estimate from such feedback, a pacer, probes) does not exist yet: the node forwards what the
//! publisher sends.

pub mod quality;
pub mod remb;
pub mod round_trip;
pub mod twcc;
