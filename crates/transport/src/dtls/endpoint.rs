//! One peer's DTLS connection: the handshake, the check of the certificate, the keys, the close_notify.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{CloseReason, DropReason, DtlsRole, Fingerprint};

use super::connection::Connection;
use super::failure::{Failure, alert};
use super::{Certificate, HANDSHAKE_TIMEOUT, record};
use crate::srtp;

/// Refused hellos after which a connection is given up. A single one may be forged or broken on its way; more mean a
/// peer that cannot be served.
const MAX_REFUSED_HELLOS: u8 = 8;
/// An unauthenticated sign that there will be no connection (a hello that cannot be answered, a fatal alert in the
/// clear) ends the handshake if that does not advance for this long. A true client sends its hello again after at most
/// a second, so that a forged one does not keep it out.
const GRACE_PERIOD: Duration = Duration::from_secs(3);

/// An event of a DTLS connection.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The handshake is complete and the certificate has the promised fingerprint. Contains the keys.
    Connected(srtp::Keys),
    /// The connection is over.
    Closed(CloseReason),
}

/// A DTLS 1.2 connection of one peer.
///
/// The order of calls: [`new`](Endpoint::new), [`handle`](Endpoint::handle),
/// [`handle_timeout`](Endpoint::handle_timeout) or [`close`](Endpoint::close), then
/// [`poll_transmit`](Endpoint::poll_transmit) and [`poll_event`](Endpoint::poll_event) until they return nothing, then
/// [`poll_timeout`](Endpoint::poll_timeout).
pub struct Endpoint {
    /// `None` once the connection is over.
    connection: Option<Connection>,
    role: DtlsRole,
    /// When the handshake times out.
    deadline: Instant,
    /// When, and why, the connection is given up if the handshake does not advance.
    pending_failure: Option<(Instant, Failure)>,
    /// Hellos that were refused before one was answered.
    refused_hellos: u8,
    transmits: VecDeque<Vec<u8>>,
    connected: Option<srtp::Keys>,
    closed: Option<CloseReason>,
}

impl Endpoint {
    /// A connection that expects a certificate with one of `fingerprints`. As [`DtlsRole::Active`] it begins the
    /// handshake at once.
    pub fn new(
        now: Instant,
        role: DtlsRole,
        certificate: Arc<Certificate>,
        fingerprints: Vec<Fingerprint>,
    ) -> Self {
        let mut endpoint = Self {
            connection: None,
            role,
            deadline: now + HANDSHAKE_TIMEOUT,
            pending_failure: None,
            refused_hellos: 0,
            transmits: VecDeque::new(),
            connected: None,
            closed: None,
        };
        match Connection::new(now, role, certificate, fingerprints) {
            Ok(connection) => {
                endpoint.connection = Some(connection);
                endpoint.take_datagrams();
            }
            Err(failure) => endpoint.fail(failure),
        }
        endpoint
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// [`DropReason::DtlsClosed`] after the end, [`DropReason::DtlsLimit`] for a datagram that is too long, that is
    /// not a sequence of DTLS records, that claims unencrypted application data, or whose hello cannot be answered.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        let Some(connection) = &mut self.connection else {
            return Err(DropReason::DtlsClosed);
        };
        if !record::is_admissible(datagram) {
            return Err(DropReason::DtlsLimit);
        }
        let (was_fresh, taken_before) = (connection.is_fresh(), connection.messages_taken());
        let result = connection.handle(now, datagram);
        if connection.messages_taken() > taken_before && !connection.is_fresh() {
            self.pending_failure = None;
        }
        if connection.take_alerted() {
            self.fail_after_grace(now, Failure::ENDED_BY_PEER);
        }
        match result {
            Ok(()) => {
                self.take_result();
                Ok(())
            }
            // An internal failure is not the fault of the hello.
            Err(failure) if was_fresh && failure != Failure::INTERNAL => {
                self.refuse_hello(now, failure);
                Err(DropReason::DtlsLimit)
            }
            Err(failure) => {
                self.fail(failure);
                Ok(())
            }
        }
    }

    /// Sends a lost flight again, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        if connection.is_connected() {
            return;
        }
        if let Some((at, failure)) = self.pending_failure
            && now >= at
        {
            self.fail(failure);
        } else if now >= self.deadline {
            self.end(CloseReason::NeverConnected);
        } else {
            connection.outgoing().handle_timeout(now);
            self.take_datagrams();
        }
    }

    /// When [`handle_timeout`](Endpoint::handle_timeout) has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let connection =
            self.connection.as_ref().filter(|connection| !connection.is_connected())?;
        let pending = self.pending_failure.map(|(at, _)| at);
        connection.poll_timeout().into_iter().chain(pending).chain([self.deadline]).min()
    }

    /// The next datagram to send: `out` is cleared and filled with it. `false` if there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(datagram) = self.transmits.pop_front() else {
            return false;
        };
        out.clear();
        out.extend_from_slice(&datagram);
        if self.transmits.is_empty() {
            // There are many connections, and idle ones send nothing: the buffer is freed.
            self.transmits = VecDeque::new();
        }
        true
    }

    /// Keeps application data of the peer from now on; before, it is dropped.
    pub fn accept_data(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.accept_data();
        }
    }

    /// The content of the peer's next record of application data. To be called after each [`handle`](Endpoint::handle).
    pub fn poll_data(&mut self) -> Option<Vec<u8>> {
        self.connection.as_mut()?.poll_data()
    }

    /// Writes a datagram with a record of application data into `out`, which is cleared. `false`: there is no connection.
    pub fn seal(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        let connection = self.connection.as_mut().filter(|connection| connection.is_connected());
        connection.is_some_and(|connection| connection.outgoing().seal(data, out))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        if let Some(keys) = self.connected.take() {
            return Some(DtlsEvent::Connected(keys));
        }
        self.closed.take().map(DtlsEvent::Closed)
    }

    /// Sends close_notify if there is a connection to close (RFC 5246 section 7.2.1); no event follows. An unfinished
    /// handshake ends without an alert, since it could not be authentic.
    pub fn close(&mut self) {
        self.transmits.clear();
        if self.is_connected()
            && let Some(connection) = &mut self.connection
        {
            connection.outgoing().alert(alert::WARNING, alert::CLOSE_NOTIFY);
            self.take_datagrams();
        }
        self.connection = None;
        self.connected = None;
        self.closed = None;
    }

    /// Whether the handshake is complete.
    pub fn is_connected(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_connected)
    }

    fn take_datagrams(&mut self) {
        if let Some(connection) = &mut self.connection {
            self.transmits.append(connection.outgoing().datagrams());
        }
    }

    fn take_result(&mut self) {
        self.take_datagrams();
        let Some(connection) = &mut self.connection else {
            return;
        };
        if let Some(keys) = connection.take_keys() {
            self.connected = Some(keys);
            self.pending_failure = None;
        }
        if connection.is_closed() {
            self.end(CloseReason::PeerClosed);
        }
    }

    /// Forgets a hello that cannot be answered: only NULL ciphers, another version, no common group, no SRTP profile,
    /// too long. It may be forged, and the true one under way; since nothing was sent, no state is lost.
    fn refuse_hello(&mut self, now: Instant, failure: Failure) {
        if self.refused_hellos == MAX_REFUSED_HELLOS {
            self.fail(failure);
            return;
        }
        self.refused_hellos += 1;
        if let Some(connection) = &mut self.connection {
            connection.begin_anew();
        }
        self.fail_after_grace(now, failure);
    }

    /// The first failure sets the time, so that repetitions do not delay the end; the latest one gives the reason.
    fn fail_after_grace(&mut self, now: Instant, failure: Failure) {
        let at = self.pending_failure.map_or(now + GRACE_PERIOD, |(at, _)| at);
        self.pending_failure = Some((at, failure));
    }

    /// Ends with an alert, which replaces all datagrams that wait to be sent (RFC 5246 section 7.2.2).
    fn fail(&mut self, failure: Failure) {
        self.transmits.clear();
        if let Some(connection) = &mut self.connection {
            connection.outgoing().datagrams().clear();
            if let Some(description) = failure.alert {
                connection.outgoing().alert(alert::FATAL, description);
            }
            self.take_datagrams();
        }
        self.end(failure.reason);
    }

    fn end(&mut self, reason: CloseReason) {
        self.connection = None;
        self.pending_failure = None;
        self.closed = Some(reason);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("role", &self.role)
            .field("connected", &self.is_connected())
            .finish_non_exhaustive()
    }
}
