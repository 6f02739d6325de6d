//! One peer's transport: demultiplexing, ICE-lite, DTLS and SRTP, sans-IO.
//!
//! A datagram of a peer is handled in this order:
//!
//! 1. [`demux`] tells the protocol (RFC 7983).
//! 2. STUN goes to [`ice`], which answers connectivity checks and so learns the peer's paths.
//! 3. DTLS from such a path goes to [`dtls`], which negotiates the keys.
//! 4. What DTLS carries goes to [`sctp`], if the session has data channels.
//! 5. RTP and RTCP go to [`srtp`] with those keys.
//!
//! [`Peer`] combines ICE, DTLS and SCTP for one session: it tells the caller what to send, when to call again and what
//! happened. Media does not pass through it: the caller holds the [`srtp`] contexts of [`PeerEvent::Connected`], and
//! looks up paths with [`Peer::is_validated`] and [`Peer::selected`].
//!
//! Not in this crate: sockets and clocks, gathering or resolving candidates, sending checks (ICE-lite, RFC 8445
//! section 2.5), and anything of RTP beyond what encryption needs.

pub mod demux;
pub mod dtls;
pub mod ice;
mod peer;
pub mod sctp;
pub mod srtp;

pub use peer::{Consent, ICE_TIMEOUT, Peer, PeerEvent};
