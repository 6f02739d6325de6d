//! Peers of another WebRTC stack (str0m) and a node in process, for tests over real sockets on loopback.
//!
//! - [`Node`]: rooms and workers as the binary wires them, without HTTP
//! - [`StillNode`]: the same without sockets and threads, on the caller's time
//! - [`Peer`]: one WebRTC peer on the str0m stack, with a network of its own that can lose and move
//! - [`Publisher`], [`Viewer`]: peers that send and check numbered pictures
//!
//! For tests only: a failure panics and names the place.

#![expect(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod data;
mod media;
mod node;
mod peer;
mod still_node;

pub use data::{DataMember, Got, channel, drive_data};
pub use media::{Picture, Publisher, Seen, Viewer, drive, drive_until};
pub use node::Node;
pub use peer::{Network, Peer};
pub use still_node::{ADDRESS, StillNode};
