//! ICE and DTLS of one session, joined: paths that ICE validated carry DTLS, and DTLS gives the SRTP keys.

use std::sync::Arc;
use std::time::Instant;

use model::{CloseReason, DropReason, IceCredentials, Path, SessionPlan};

use crate::{dtls, srtp};

/// What happened at a peer.
pub enum PeerEvent {
    /// An authenticated check came on a path that was not known before: datagrams of this path are the peer's.
    PathValidated(Path),
    /// The path is the peer's no longer (a newer one took its place).
    PathRemoved(Path),
    /// Send on this path from now on.
    Selected(Path),
    /// Keys are agreed with the peer that the plan names: media may flow.
    Connected {
        /// Protects what we send.
        sender: srtp::Sender,
        /// Opens what the peer sends.
        receiver: srtp::Receiver,
        /// What the handshake agreed on.
        profile: srtp::Profile,
    },
    /// The session is over; nothing further happens but the goodbye in `poll_transmit`.
    Closed(CloseReason),
}

/// Transport of one session: ICE-lite and DTLS.
///
/// The order of calls: a `handle_*`, [`restart`](Peer::restart) or [`close`](Peer::close); then
/// [`poll_transmit`](Peer::poll_transmit) and [`poll_event`](Peer::poll_event) until both give `None`; then
/// [`poll_timeout`](Peer::poll_timeout), and [`handle_timeout`](Peer::handle_timeout) when that time comes.
pub struct Peer {
    _private: (),
}

impl Peer {
    /// The peer of a plan, unconnected.
    pub fn new(now: Instant, plan: &SessionPlan, certificate: &Arc<dtls::Certificate>) -> Self {
        let _ = (now, plan, certificate);
        todo!()
    }

    /// Takes a STUN datagram.
    ///
    /// # Errors
    /// The reason for which it was dropped; nothing has changed then.
    pub fn handle_stun(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let _ = (now, path, datagram);
        todo!()
    }

    /// Takes a path that another worker's [`ice::respond`](crate::ice::respond) authenticated and answered.
    ///
    /// # Errors
    /// [`DropReason::TooManyPaths`] when there is no room for it.
    pub fn adopt_path(&mut self, now: Instant, path: Path, nominated: bool) -> Result<(), DropReason> {
        let _ = (now, path, nominated);
        todo!()
    }

    /// Takes a DTLS datagram.
    ///
    /// # Errors
    /// The reason for which it was dropped: [`DropReason::UnknownPath`] when no check validated the path.
    pub fn handle_dtls(&mut self, now: Instant, path: Path, datagram: &[u8]) -> Result<(), DropReason> {
        let _ = (now, path, datagram);
        todo!()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// When [`handle_timeout`](Peer::handle_timeout) has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// The next datagram to send: `out` is cleared and filled with it. Returns the path to send it on.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Path> {
        let _ = out;
        todo!()
    }

    /// What happened, the oldest first.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        todo!()
    }

    /// ICE restart (RFC 8445 section 9): new credentials; the old ones are honoured three seconds more. DTLS goes on.
    pub fn restart(&mut self, now: Instant, credentials: &IceCredentials) {
        let _ = (now, credentials);
        todo!()
    }

    /// Ends the session: queues a close_notify, if there is a connection to close.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
        todo!()
    }

    /// Where to send.
    pub fn selected(&self) -> Option<Path> {
        todo!()
    }

    /// Whether the peer consents to receive (RFC 7675).
    pub fn has_consent(&self, now: Instant) -> bool {
        let _ = now;
        todo!()
    }

    /// Whether an authenticated check validated this path.
    pub fn is_validated(&self, path: &Path) -> bool {
        let _ = path;
        todo!()
    }

    /// Whether keys were agreed and the session is not over.
    pub fn is_connected(&self) -> bool {
        todo!()
    }
}
