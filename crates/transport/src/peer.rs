//! ICE and DTLS of one session: DTLS is taken from paths that ICE validated, and gives the SRTP keys.
//!
//! Data channels pass through here (`data`), if the session's plan has them.
//! Media does not pass through here, and cannot move a path or end a session. The caller reports authentic media
//! ([`Peer::heard`]), which may keep a session alive.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{CloseReason, DropReason, DtlsRole, Fingerprint, IceCredentials, Path, SessionPlan};

use crate::dtls::{self, DtlsEvent, Endpoint};
use crate::ice::agent::CONSENT_LIFETIME;
use crate::ice::{LiteAgent, PathChange};
use crate::srtp;

mod data;

/// A session on which no check succeeds for this long has failed.
pub const ICE_TIMEOUT: Duration = Duration::from_secs(15);
/// Most answers to checks that wait to be sent. A newer one replaces the oldest, whose check the peer repeats.
const MAX_ANSWERS: usize = 16;
/// Most events that wait to be taken. With more, checks are dropped until the caller takes some.
const MAX_EVENTS: usize = 64;

/// What renews a peer's consent to receive, without which its session ends.
///
/// Full ICE agents send consent checks, and an ICE-lite agent as this one learns consent from them (RFC 7675 sections 3 and 5.1).
/// Many stacks send no checks while media flows (libnice by default, Pion before 4.0.8). Authentic media proves that a
/// publisher is there. It does not prove that a viewer still wants to receive: RFC 7675 is about what is sent to a peer, and asks
/// for a check for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Consent {
    /// Authenticated connectivity checks only.
    Checks,
    /// Checks; and from a peer that receives no media, authentic SRTP and SRTCP on the selected path. Such packets are made with
    /// keys that only the peer has, and cannot be replayed.
    #[default]
    ChecksOrMedia,
    /// Checks, and authentic SRTP and SRTCP on the selected path, from peers that receive media too.
    Any,
}

/// An event of a peer.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made once per session and taken at once")]
pub enum PeerEvent {
    /// An authenticated check arrived on a new path: datagrams of this path are the peer's.
    PathValidated(Path),
    /// The path is no longer the peer's; a newer one took its place.
    PathRemoved(Path),
    /// Send on this path from now on.
    Selected(Path),
    /// Keys were negotiated with the peer that the plan names: media may flow.
    Connected {
        /// Seals the packets to the peer.
        sender: srtp::Sender,
        /// Opens the packets of the peer.
        receiver: srtp::Receiver,
        /// The negotiated profile.
        profile: srtp::Profile,
    },
    /// The session is over. Only a close_notify or an alert may still be in `poll_transmit`.
    Closed(CloseReason),
}

/// Transport of one session: ICE-lite and DTLS.
///
/// The order of calls: a `handle_*`, [`restart`](Peer::restart) or [`close`](Peer::close); then
/// [`poll_transmit`](Peer::poll_transmit) and [`poll_event`](Peer::poll_event) until both return `None`, with
/// [`poll_data`](Peer::poll_data) and [`flush_data`](Peer::flush_data) before where there are data channels; then
/// [`poll_timeout`](Peer::poll_timeout), and [`handle_timeout`](Peer::handle_timeout) at that time.
///
/// DTLS state is allocated late: when a validated path brings the first DTLS datagram, or, in the active role, when
/// the first path is validated.
pub struct Peer {
    agent: LiteAgent,
    phase: Phase,
    role: DtlsRole,
    consent: Consent,
    /// Whether the peer is sent media.
    receives: bool,
    certificate: Arc<dtls::Certificate>,
    /// Moved to the DTLS endpoint when that is created.
    fingerprints: Vec<Fingerprint>,
    dtls: Option<Box<Endpoint>>,
    /// Path of the latest DTLS datagram: replies are sent there until the peer nominates a path.
    dtls_path: Option<Path>,
    /// Data channels; `None` if the plan has none.
    data: Option<Box<data::Data>>,
    answers: VecDeque<(Path, Vec<u8>)>,
    events: VecDeque<PeerEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No path is validated yet. The session fails at this time.
    Checking(Instant),
    /// A path is validated, and there are no keys yet. The session fails at this time.
    Handshaking(Instant),
    Connected,
    Closed,
}

impl Peer {
    /// The peer of a session plan, not yet connected.
    pub fn new(now: Instant, plan: &SessionPlan, certificate: &Arc<dtls::Certificate>) -> Self {
        Self {
            agent: LiteAgent::new(plan.ice.clone()),
            phase: Phase::Checking(now + ICE_TIMEOUT),
            role: plan.dtls_role,
            consent: Consent::default(),
            receives: !plan.down.is_empty(),
            certificate: Arc::clone(certificate),
            fingerprints: plan.fingerprints.clone(),
            dtls: None,
            dtls_path: None,
            data: data::Data::planned(plan),
            answers: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Sets the rule of consent; the default is [`Consent::ChecksOrMedia`].
    #[must_use]
    pub fn with_consent(mut self, consent: Consent) -> Self {
        self.consent = consent;
        self
    }

    /// Takes a STUN datagram.
    ///
    /// # Errors
    /// The reason why it was dropped; no state has changed. [`DropReason::StunUnknownUser`] is also returned after the
    /// end, [`DropReason::TooManyPaths`] if too many events wait to be taken.
    pub fn handle_stun(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        self.accepts_checks()?;
        let outcome = self.agent.handle_binding_request(now, path, datagram)?;
        if self.answers.len() >= MAX_ANSWERS {
            self.answers.pop_front();
        }
        self.answers.push_back((path, outcome.response));
        self.apply(now, path, outcome.change);
        Ok(())
    }

    /// Takes a path that [`ice::respond`](crate::ice::respond) authenticated and answered with success before this
    /// peer was created.
    ///
    /// # Errors
    /// As [`handle_stun`](Peer::handle_stun) after the end, or if too many events wait to be taken.
    pub fn adopt_path(
        &mut self,
        now: Instant,
        path: Path,
        nominated: bool,
    ) -> Result<(), DropReason> {
        self.accepts_checks()?;
        let change = self.agent.accept(now, path, nominated);
        self.apply(now, path, change);
        Ok(())
    }

    /// Takes a DTLS datagram.
    ///
    /// # Errors
    /// The reason why it was dropped: [`DropReason::UnknownPath`] if no check validated the path, which is decided
    /// before any parsing; [`DropReason::DtlsClosed`] after the end; [`DropReason::DtlsLimit`] for datagrams that no
    /// correct peer sends.
    pub fn handle_dtls(
        &mut self,
        now: Instant,
        path: Path,
        datagram: &[u8],
    ) -> Result<(), DropReason> {
        if self.phase == Phase::Closed {
            return Err(DropReason::DtlsClosed);
        }
        if !self.agent.is_validated(&path) {
            return Err(DropReason::UnknownPath);
        }
        self.dtls_path = Some(path);
        let result = self.endpoint(now).handle(now, datagram);
        self.take_dtls_events(now);
        self.take_data(now);
        result
    }

    /// Says whether the peer is sent media from now on (after a renegotiation).
    pub fn set_receives(&mut self, receives: bool) {
        self.receives = receives;
    }

    /// Takes note of an authentic SRTP or SRTCP packet that came on `path`. Once a second is often enough.
    pub fn heard(&mut self, now: Instant, path: &Path) {
        let counts = match self.consent {
            Consent::Checks => false,
            Consent::ChecksOrMedia => !self.receives,
            Consent::Any => true,
        };
        if self.phase == Phase::Connected && counts {
            self.agent.hear(now, path);
        }
    }

    /// Handles timers that are due.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.phase {
            Phase::Checking(deadline) | Phase::Handshaking(deadline) if now >= deadline => {
                self.end(CloseReason::NeverConnected);
                return;
            }
            Phase::Connected if !self.agent.has_consent(now) => {
                // RFC 7675 section 5.1: stop sending at once, also close_notify.
                self.end(CloseReason::ConsentExpired);
                return;
            }
            Phase::Closed => return,
            _ => {}
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
            self.take_dtls_events(now);
        }
        if let Some(data) = &mut self.data {
            data.handle_timeout(now);
        }
    }

    /// When [`handle_timeout`](Peer::handle_timeout) has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Checking(deadline) | Phase::Handshaking(deadline) => Some(deadline),
            Phase::Connected => self.agent.consent_expires(),
            Phase::Closed => return None,
        };
        let dtls = self.dtls.as_ref().and_then(|dtls| dtls.poll_timeout());
        let data = self.data.as_ref().and_then(|data| data.poll_timeout());
        phase.into_iter().chain(dtls).chain(data).min()
    }

    /// The next datagram to send: `out` is cleared and filled with it. Returns the path to send it on.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> Option<Path> {
        if let Some((path, answer)) = self.answers.pop_front() {
            out.clear();
            out.extend_from_slice(&answer);
            if self.answers.is_empty() {
                // There are many peers, and an idle one checks every few seconds: the buffer is freed.
                self.answers = VecDeque::new();
            }
            return Some(path);
        }
        let path = self.handshake_path()?;
        if self.dtls.as_mut()?.poll_transmit(out) {
            return Some(path);
        }
        self.seal_data(out).then_some(path)
    }

    /// The next event, the oldest first.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.events = VecDeque::new();
        }
        event
    }

    /// ICE restart (RFC 8445 section 9): new credentials; the old ones are accepted for three more seconds. DTLS
    /// continues.
    pub fn restart(&mut self, now: Instant, credentials: &IceCredentials) {
        self.agent.restart(now, credentials.clone());
    }

    /// Ends the session: queues a close_notify, if DTLS is connected and the peer consents to receive, and
    /// `Closed(`[`CloseReason::Requested`]`)`.
    pub fn close(&mut self, now: Instant) {
        if self.phase == Phase::Closed {
            return;
        }
        let has_consent = self.agent.has_consent(now);
        if let Some(dtls) = &mut self.dtls
            && has_consent
        {
            dtls.close();
            self.phase = Phase::Closed;
            self.events.push_back(PeerEvent::Closed(CloseReason::Requested));
        } else {
            self.end(CloseReason::Requested);
        }
    }

    /// Marks the session as connected without a handshake, for simulations and measurements with keys of their own
    /// (cargo feature `lab`).
    #[cfg(feature = "lab")]
    pub fn skip_handshake(&mut self) {
        if self.phase != Phase::Closed {
            self.phase = Phase::Connected;
        }
    }

    /// The path to send on: the latest nominated one, before that the first validated one; `None` after the end.
    pub fn selected(&self) -> Option<Path> {
        if self.phase == Phase::Closed { None } else { self.agent.selected() }
    }

    /// Whether the session is connected and sends on this path, and an authentic datagram arrived on it within the
    /// lifetime of consent.
    pub fn is_live_on(&self, now: Instant, path: &Path) -> bool {
        let is_used = self.phase == Phase::Connected && self.agent.selected() == Some(*path);
        let heard = self.agent.last_heard(path).filter(|_| is_used);
        heard.is_some_and(|at| now.saturating_duration_since(at) < CONSENT_LIFETIME)
    }

    /// Whether the peer consents to receive (RFC 7675).
    pub fn has_consent(&self, now: Instant) -> bool {
        self.phase != Phase::Closed && self.agent.has_consent(now)
    }

    /// Whether an authenticated check validated this path.
    pub fn is_validated(&self, path: &Path) -> bool {
        self.agent.is_validated(path)
    }

    /// Whether keys were negotiated and the session is not over.
    pub fn is_connected(&self) -> bool {
        self.phase == Phase::Connected
    }

    /// Whether a DTLS handshake is in progress: its state exists and it is not complete.
    pub fn is_handshaking(&self) -> bool {
        self.dtls.is_some() && matches!(self.phase, Phase::Handshaking(_))
    }

    fn accepts_checks(&self) -> Result<(), DropReason> {
        if self.phase == Phase::Closed {
            return Err(DropReason::StunUnknownUser);
        }
        if self.events.len() >= MAX_EVENTS {
            return Err(DropReason::TooManyPaths);
        }
        Ok(())
    }

    fn apply(&mut self, now: Instant, path: Path, change: PathChange) {
        if let Some(removed) = change.removed {
            self.events.push_back(PeerEvent::PathRemoved(removed));
        }
        if change.validated {
            self.events.push_back(PeerEvent::PathValidated(path));
        }
        if change.selected {
            self.events.push_back(PeerEvent::Selected(path));
        }
        if matches!(self.phase, Phase::Checking(_)) && change.validated {
            self.phase = Phase::Handshaking(now + dtls::HANDSHAKE_TIMEOUT);
            if self.role == DtlsRole::Active {
                // RFC 8842 section 5.3: the active side sends its ClientHello when there is a path for it.
                self.endpoint(now);
                self.take_dtls_events(now);
            }
        }
    }

    fn endpoint(&mut self, now: Instant) -> &mut Endpoint {
        self.dtls.get_or_insert_with(|| {
            let fingerprints = std::mem::take(&mut self.fingerprints);
            let certificate = Arc::clone(&self.certificate);
            let mut endpoint = Endpoint::new(now, self.role, certificate, fingerprints);
            if self.data.is_some() {
                endpoint.accept_data();
            }
            Box::new(endpoint)
        })
    }

    fn take_dtls_events(&mut self, now: Instant) {
        while let Some(event) = self.dtls.as_mut().and_then(|dtls| dtls.poll_event()) {
            match event {
                DtlsEvent::Connected(keys) => self.connected(now, &keys),
                DtlsEvent::Closed(reason) => {
                    // The endpoint is kept to send its last datagram: a close_notify or an alert.
                    self.phase = Phase::Closed;
                    self.events.push_back(PeerEvent::Closed(reason));
                }
            }
        }
    }

    fn connected(&mut self, now: Instant, keys: &srtp::Keys) {
        match (keys.sender(), keys.receiver()) {
            (Ok(sender), Ok(receiver)) => {
                self.phase = Phase::Connected;
                if let Some(path) = self.dtls_path {
                    // The last message of the handshake is authentic too.
                    self.heard(now, &path);
                }
                let profile = keys.profile;
                self.events.push_back(PeerEvent::Connected { sender, receiver, profile });
            }
            _ => {
                if let Some(dtls) = &mut self.dtls {
                    dtls.close();
                }
                self.phase = Phase::Closed;
                self.events.push_back(PeerEvent::Closed(CloseReason::Internal));
            }
        }
    }

    /// Ends the session without close_notify.
    fn end(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.dtls = None;
        self.answers = VecDeque::new();
        self.events.push_back(PeerEvent::Closed(reason));
    }

    /// The path for DTLS: the nominated path, and before a nomination the path of the peer's own DTLS. Any valid path
    /// may be used (RFC 8445 section 12.1).
    fn handshake_path(&self) -> Option<Path> {
        let latest = self.dtls_path.filter(|path| self.agent.is_validated(path));
        if self.agent.is_nominated() {
            self.agent.selected()
        } else {
            latest.or(self.agent.selected())
        }
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("phase", &self.phase)
            .field("role", &self.role)
            .field("paths", &self.agent.paths().count())
            .finish_non_exhaustive()
    }
}
