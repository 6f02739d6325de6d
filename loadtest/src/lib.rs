//! A swarm of WebRTC peers that loads a WHIP/WHEP server over the wire, as thousands of real ones would, and says what
//! they saw. It knows nothing private of any server.
//!
//! - [`args`], [`plan`], `feeds`: what is asked for, and what that comes to
//! - `director`: who joins and leaves when
//! - `swarm`, `thread`: few threads that carry many bots
//! - `signal`: the HTTP requests of all bots
//! - `bot`: one peer: ICE, DTLS, SRTP, RTCP
//! - `media`: what publishers send, so that receivers know what must have been sent
//! - [`hostile`]: attackers beside a swarm, and whether it notices
//! - [`stats`], [`threshold`], [`report`]: what was seen, and whether that is good
//!
//! What is deliberately absent: decoding, congestion control of its own (a publisher sends what it was told to), TURN.
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

/// Plays a plan to its end, or until `interrupted` becomes true, and reports what was seen.
///
/// # Errors
/// The machine has no threads, descriptors or randomness to give. Whatever the server does is in the report.
pub fn run(plan: &Plan, interrupted: &AtomicBool) -> io::Result<Report> {
    let live = Live::new(plan.describe(), plan.duration, plan.quiet);
    director::Director::new(plan, live)?.run(interrupted)
}
