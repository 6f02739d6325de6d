//! ICE-lite (RFC 8445 section 2.5): answers connectivity checks, and learns paths from them.
//!
//! - [`stun`]: reading a check and writing its answer (RFC 8489), without state
//! - [`agent`]: the state of a session: paths, the nominated one, consent, old credentials
//!
//! Candidates of the peer are deliberately never resolved and never checked, so no datagram is ever sent to an address
//! that did not first send an authenticated check.

pub mod agent;
pub mod stun;

pub use agent::{CheckOutcome, LiteAgent, PathChange};
pub use stun::{Answer, peek_username, respond, verify};
