//! One peer's transport: demultiplexing, ICE-lite, DTLS and SRTP, sans-IO.
//!
//! A datagram of a peer goes through here in this order:
//!
//! 1. [`demux`]: which protocol is it (RFC 7983)?
//! 2. STUN goes to [`ice`], which answers connectivity checks and so learns which paths are the peer's.
//! 3. DTLS from such a path goes to [`dtls`], which agrees the keys.
//! 4. RTP and RTCP go to [`srtp`] with those keys.
//!
//! [`Peer`] joins the second and the third for one session and tells its owner what to send, when to come back and
//! what happened. Media does not pass through it: the owner holds the [`srtp`] contexts that [`PeerEvent::Connected`]
//! hands over, and asks [`Peer::is_validated`] and [`Peer::selected`] about paths.
//!
//! What it is not: there are no sockets and no clock here, no candidates are gathered or resolved, no checks are sent
//! (ICE-lite, RFC 8445 section 2.5), and nothing of RTP is known beyond what encryption needs.

pub mod demux;
pub mod dtls;
pub mod ice;
mod peer;
pub mod srtp;

pub use peer::{Consent, ICE_TIMEOUT, Peer, PeerEvent};
