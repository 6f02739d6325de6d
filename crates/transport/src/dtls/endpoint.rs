//! One peer's DTLS connection: the handshake, the check of the certificate, the keys, the goodbye.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Dtls, Error, Output, SrtpProfile};
use model::{CloseReason, DropReason, DtlsRole, Fingerprint};

use super::{Certificate, MAX_DATAGRAM, MAX_QUEUED_DATAGRAMS, certificate};
use crate::srtp;

/// A handshake message is put together from queued datagrams, and so is never longer than this. It holds any
/// certificate that a peer can make us read.
const MAX_OUTPUT: usize = MAX_DATAGRAM * MAX_QUEUED_DATAGRAMS;
/// Refused hellos after which a connection is given up. One on its way is enough to refuse; more is a peer that
/// cannot be served.
const MAX_REFUSED_HELLOS: u8 = 8;
/// The state machine says "never" by a time years ahead.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// What happened in a DTLS connection.
#[derive(Debug)]
pub enum DtlsEvent {
    /// The handshake is done and the certificate is the one that was promised: here are the keys.
    Connected(srtp::Keys),
    /// The connection is over.
    Closed(CloseReason),
}

/// A DTLS 1.2 connection of one peer.
///
/// The order of calls: [`new`](Endpoint::new), [`handle`](Endpoint::handle),
/// [`handle_timeout`](Endpoint::handle_timeout) or [`close`](Endpoint::close), then
/// [`poll_transmit`](Endpoint::poll_transmit) and [`poll_event`](Endpoint::poll_event) until they give nothing, then
/// [`poll_timeout`](Endpoint::poll_timeout).
pub struct Endpoint {
    /// `None` once the connection is over.
    dtls: Option<Dtls>,
    role: DtlsRole,
    certificate: Arc<Certificate>,
    /// What the peer's certificate has to match; emptied when it did.
    fingerprints: Vec<Fingerprint>,
    progress: Progress,
    /// Hellos that we refused before we answered one.
    refused_hellos: u8,
    transmits: VecDeque<Vec<u8>>,
    connected: Option<srtp::Keys>,
    closed: Option<CloseReason>,
    timeout: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    /// Nothing sent yet: whatever the peer said so far was not a hello that we can answer.
    Fresh,
    /// The handshake goes on.
    Handshaking,
    /// The certificate is the right one.
    Verified,
    /// Keys were handed out.
    Connected,
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
        let dtls = start(now, role, &certificate);
        let mut endpoint = Self {
            dtls: None,
            role,
            certificate,
            fingerprints,
            progress: Progress::Fresh,
            refused_hellos: 0,
            transmits: VecDeque::new(),
            connected: None,
            closed: None,
            timeout: None,
        };
        endpoint.step(now, dtls, |_| Ok(()));
        endpoint
    }

    /// Takes a datagram.
    ///
    /// # Errors
    /// [`DropReason::DtlsClosed`] after the end, [`DropReason::DtlsLimit`] for a datagram that is too long, that is
    /// not made of DTLS records, that claims application data without encryption, or whose hello cannot be answered.
    pub fn handle(&mut self, now: Instant, datagram: &[u8]) -> Result<(), DropReason> {
        let Some(dtls) = self.dtls.take() else {
            return Err(DropReason::DtlsClosed);
        };
        if !is_admissible(datagram) {
            self.dtls = Some(dtls);
            return Err(DropReason::DtlsLimit);
        }
        let refused_before = self.refused_hellos;
        self.step(now, dtls, |dtls| dtls.handle_packet(datagram));
        if self.refused_hellos > refused_before {
            return Err(DropReason::DtlsLimit);
        }
        Ok(())
    }

    /// Sends again what was lost, or gives up.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timeout.is_some_and(|due| now >= due)
            && let Some(dtls) = self.dtls.take()
        {
            self.step(now, dtls, |_| Ok(()));
        }
    }

    /// When [`handle_timeout`](Endpoint::handle_timeout) has to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timeout
    }

    /// The next datagram to send: `out` is cleared and filled with it. False when there is none.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>) -> bool {
        let Some(datagram) = self.transmits.pop_front() else {
            return false;
        };
        out.clear();
        out.extend_from_slice(&datagram);
        if self.transmits.is_empty() {
            // Connections are many, and idle ones send nothing: keep no room.
            self.transmits = VecDeque::new();
        }
        true
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<DtlsEvent> {
        if let Some(keys) = self.connected.take() {
            return Some(DtlsEvent::Connected(keys));
        }
        self.closed.take().map(DtlsEvent::Closed)
    }

    /// Says goodbye, when there is a connection to close (RFC 5246 section 7.2.1); no event follows. An unfinished
    /// handshake ends without a word, since nothing that could be said would be authentic.
    pub fn close(&mut self, now: Instant) {
        if let Some(dtls) = self.dtls.take() {
            self.transmits.clear();
            self.step(now, dtls, Dtls::close);
        }
        self.end();
        self.connected = None;
        self.closed = None;
    }

    /// Whether the handshake is done.
    pub fn is_connected(&self) -> bool {
        self.progress == Progress::Connected && self.dtls.is_some()
    }

    /// Moves the clock, does one thing, and takes all that comes of it. `dtls` stays only when the connection does.
    fn step(
        &mut self,
        now: Instant,
        mut dtls: Dtls,
        act: impl FnOnce(&mut Dtls) -> Result<(), Error>,
    ) {
        let before = self.progress;
        let result = dtls.handle_timeout(now).and_then(|()| act(&mut dtls));
        // Even a failure may leave an alert to send.
        let keep = self.drain(now, &mut dtls);
        match result {
            Ok(()) if keep => self.dtls = Some(dtls),
            Ok(()) => self.timeout = None,
            Err(error) if before == Progress::Fresh && self.begin_anew(now, &error) => {}
            Err(error) => self.fail(&error),
        }
    }

    /// Takes the state machine's output; false when the connection is over. Ends because the queues behind the
    /// output are bounded, and nothing fills them meanwhile.
    fn drain(&mut self, now: Instant, dtls: &mut Dtls) -> bool {
        let room = if self.progress == Progress::Connected { MAX_DATAGRAM } else { MAX_OUTPUT };
        let mut buffer = vec![0; room];
        let mut completed = false;
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => {
                    self.progress = self.progress.max(Progress::Handshaking);
                    self.transmits.push_back(packet.to_vec());
                }
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(der) => {
                    // RFC 8122 section 6.2. Here, long before the handshake is done: no key has been made of it yet
                    // that anyone sees.
                    if !certificate::matches(&self.fingerprints, der) {
                        self.refuse_certificate();
                        return false;
                    }
                    self.progress = Progress::Verified;
                    self.fingerprints = Vec::new();
                }
                Output::KeyingMaterial(material, profile) => self.take_keys(&material, profile),
                Output::Connected => completed = true,
                Output::CloseNotify => {
                    self.end();
                    self.closed = Some(CloseReason::PeerClosed);
                }
                Output::Timeout(at) => {
                    self.timeout = (at < now + NEVER).then_some(at);
                    break;
                }
                // Application data: no data channels yet.
                _ => {}
            }
        }
        if completed && self.progress != Progress::Connected && self.closed.is_none() {
            // No SRTP profile in common (RFC 5764 section 4.1.2): a connection without use.
            self.closed = Some(CloseReason::DtlsFailed);
        }
        self.closed.is_none()
    }

    fn take_keys(&mut self, material: &[u8], profile: SrtpProfile) {
        // The certificate comes before the keys; if it did not, there are no keys.
        if self.progress != Progress::Verified {
            return;
        }
        let profile = match profile {
            SrtpProfile::AEAD_AES_128_GCM => srtp::Profile::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => srtp::Profile::AeadAes256Gcm,
            SrtpProfile::AES128_CM_SHA1_80 => srtp::Profile::Aes128CmHmacSha1_80,
            _ => return,
        };
        let we_are_client = self.role == DtlsRole::Active;
        if let Ok(keys) = srtp::Keys::from_keying_material(profile, material, we_are_client) {
            self.connected = Some(keys);
            self.progress = Progress::Connected;
        }
    }

    /// RFC 8122 section 6.2: end with a bad_certificate alert. Nothing else of the handshake leaves.
    fn refuse_certificate(&mut self) {
        self.transmits.clear();
        self.transmits.push_back(BAD_CERTIFICATE_ALERT.to_vec());
        self.end();
        self.closed = Some(CloseReason::FingerprintMismatch);
    }

    /// Forgets a hello that we cannot answer: only NULL ciphers, another version, no curve in common, too many
    /// fragments. It may be forged, and the true one on its way; as nothing was sent, nothing is lost.
    fn begin_anew(&mut self, now: Instant, error: &Error) -> bool {
        if self.role == DtlsRole::Active
            || self.refused_hellos == MAX_REFUSED_HELLOS
            || self.closed.is_some()
            || matches!(error, Error::Timeout(_))
        {
            return false;
        }
        self.refused_hellos += 1;
        self.progress = Progress::Fresh;
        self.transmits.clear();
        self.timeout = None;
        self.dtls = Some(start(now, self.role, &self.certificate));
        true
    }

    fn fail(&mut self, error: &Error) {
        if self.closed.is_some() {
            return;
        }
        let timed_out = matches!(error, Error::Timeout(_));
        self.end();
        self.closed = Some(if timed_out && self.progress < Progress::Connected {
            CloseReason::NeverConnected
        } else {
            CloseReason::DtlsFailed
        });
    }

    fn end(&mut self) {
        self.dtls = None;
        self.timeout = None;
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("role", &self.role)
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

fn start(now: Instant, role: DtlsRole, certificate: &Certificate) -> Dtls {
    let mut dtls = Dtls::new_12(certificate.config(), certificate.identity(), now);
    dtls.set_active(role == DtlsRole::Active);
    dtls
}

/// A fatal bad_certificate alert in the clear (RFC 5246 section 7.2). Its sequence number lies past those of the
/// handshake, so that no replay window takes it for an old record.
const BAD_CERTIFICATE_ALERT: [u8; 15] = [
    21, 0xfe, 0xfd, // alert, DTLS 1.2
    0, 0, // epoch
    0, 0, 0, 0, 0xff, 0xff, // sequence number
    0, 2, // length
    2, 42, // fatal, bad_certificate
];

/// Whether a datagram is a row of DTLS records (RFC 6347 section 4.1) that a peer may send. Application data without
/// encryption is not: the state machine would queue it behind, or even in place of, what is authentic.
fn is_admissible(datagram: &[u8]) -> bool {
    const HEADER_LEN: usize = 13;
    if datagram.len() > MAX_DATAGRAM {
        return false;
    }
    let mut rest = datagram;
    // Each turn takes a header's length or more.
    while !rest.is_empty() {
        let Some((header, body)) = rest.split_at_checked(HEADER_LEN) else {
            return false;
        };
        let epoch = u16::from_be_bytes([header[3], header[4]]);
        let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
        // change_cipher_spec 20, alert 21, handshake 22, application_data 23.
        if !matches!((header[0], epoch), (20..=22, _) | (23, 1..)) {
            return false;
        }
        match body.split_at_checked(len) {
            Some((_, next)) => rest = next,
            None => return false,
        }
    }
    !datagram.is_empty()
}
