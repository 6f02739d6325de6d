//! ICE-lite (RFC 8445 section 2.5): answers to connectivity checks, and what they prove about paths.
//!
//! - [`stun`]: reading a check and writing its answer (RFC 8489), without state
//! - [`agent`]: what a session remembers: paths, the nominated one, consent, old credentials
//!
//! What is deliberately absent: candidates of the peer are never resolved and never checked, so nothing is ever sent
//! to an address that did not first send an authenticated check.

pub mod agent;
pub mod stun;

pub use agent::{CheckOutcome, LiteAgent, PathChange};
pub use stun::{Answer, peek_username, respond, verify};
