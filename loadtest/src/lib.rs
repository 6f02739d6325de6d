//! A swarm of WebRTC peers that loads a WHIP/WHEP server over the wire, or rooms of members over the session API, as
//! thousands of real ones would, and reports what they measured. It uses no private interface of any server.
//!
//! - [`args`], [`plan`], `feeds`, `members`: the settings, and the plan made of them
//! - `director`: when peers join and leave
//! - `swarm`, `thread`: few threads that carry many bots
//! - `signal`: the HTTP requests of all bots
//! - `bot`: one peer: ICE, DTLS, SRTP, RTCP
//! - `media`: what publishers send, so that receivers know what must have been sent
//! - [`hostile`]: attackers beside a swarm, and whether its peers are harmed
//! - [`stats`], [`threshold`], [`report`]: what was measured, and whether that is good
//!
//! What is deliberately absent: decoding, congestion control of its own (a publisher sends at its configured rate), TURN.
#![expect(
    unreachable_pub,
    reason = "modules are private where tests of this crate alone use them; what is pub in them is their face"
)]

pub mod args;
mod bot;
mod clock;
mod describe;
mod director;
mod feeds;
pub mod hostile;
mod media;
mod members;
pub mod plan;
mod proc;
mod random;
pub mod report;
mod signal;
pub mod stats;
mod swarm;
mod thread;
pub mod threshold;
pub mod units;

use std::{io, sync::atomic::AtomicBool};

use plan::Plan;
use report::{Report, live::Live};

/// Runs a plan to its end, or until `interrupted` becomes true, and returns the report.
///
/// # Errors
/// The system refuses threads, descriptors or random numbers. Failures of the server are in the report instead.
pub fn run(plan: &Plan, interrupted: &AtomicBool) -> io::Result<Report> {
    let live = Live::new(plan.describe(), plan.duration, plan.quiet);
    director::Director::new(plan, live)?.run(interrupted)
}
