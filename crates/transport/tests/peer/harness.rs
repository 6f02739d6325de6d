//! A peer of this crate and a small simulated browser on virtual time: connectivity checks written by `stun-types`,
//! DTLS by `dimpl`, and a network between them that loses packets by a seed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, ConfigBuilder, Dtls, DtlsCertificate, Output, SrtpProfile};
use model::{DtlsRole, ExtensionMap, Fingerprint, IceCredentials, Path, SessionId, SessionPlan};
use stun_types::attribute::{RawAttribute, Username};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageWrite, MessageWriteExt,
    MessageWriteVec, ShortTermCredentials,
};
use transport::dtls::Certificate;
use transport::{Peer, PeerEvent, demux, srtp};

const DELAY: Duration = Duration::from_millis(20);
const CHECK_INTERVAL: Duration = Duration::from_millis(500);

pub(crate) fn path(last: u8) -> Path {
    Path {
        remote: SocketAddr::from(([192, 0, 2, last], 40000)),
        local: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1)),
    }
}

pub(crate) fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        local_ufrag: name.to_owned(),
        local_pwd: format!("{name}-password-of-22-characters"),
        remote_ufrag: "browser".to_owned(),
        remote_pwd: "browser-password-of-22-characters".to_owned(),
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to start at")]
pub(crate) fn start() -> Instant {
    Instant::now()
}

/// A connectivity check as an independent implementation writes it.
pub(crate) fn check(ice: &IceCredentials, nominate: bool) -> Vec<u8> {
    let mut request = Message::builder_request(BINDING, MessageWriteVec::new());
    let username = format!("{}:{}", ice.local_ufrag, ice.remote_ufrag);
    request.add_attribute(&Username::new(&username).unwrap()).unwrap();
    request.add_attribute(&RawAttribute::new(0x0024.into(), &[0x6e, 0, 1, 0xff])).unwrap();
    request.add_attribute(&RawAttribute::new(0x802a.into(), &[9; 8])).unwrap();
    if nominate {
        request.add_attribute(&RawAttribute::new(0x0025.into(), &[])).unwrap();
    }
    let password = ShortTermCredentials::new(ice.local_pwd.clone()).into();
    request.add_message_integrity(&password, IntegrityAlgorithm::Sha1).unwrap();
    request.add_fingerprint().unwrap();
    request.finish()
}

/// The simulated browser.
pub(crate) struct Client {
    pub(crate) dtls: Dtls,
    pub(crate) ice: IceCredentials,
    /// The address that it checks from and sends from.
    pub(crate) path: Path,
    pub(crate) nominate: bool,
    pub(crate) checking: bool,
    pub(crate) keys: Option<(Vec<u8>, SrtpProfile)>,
    pub(crate) server_certificate: Vec<u8>,
    pub(crate) said_goodbye: bool,
    pub(crate) failed: bool,
    /// It sends no more DTLS.
    pub(crate) mute: bool,
    active: bool,
    /// A check was answered: DTLS may begin.
    answered: bool,
    next_check: Instant,
    next_timeout: Instant,
}

impl Client {
    fn new(now: Instant, config: Config, identity: DtlsCertificate, active: bool) -> Self {
        let mut dtls = Dtls::new_12(Arc::new(config), identity, now);
        dtls.set_active(active);
        Self {
            dtls,
            ice: credentials("node"),
            path: path(1),
            nominate: true,
            checking: true,
            keys: None,
            server_certificate: Vec::new(),
            said_goodbye: false,
            failed: false,
            mute: false,
            active,
            answered: false,
            next_check: now,
            next_timeout: now,
        }
    }

    /// The datagrams that it has to send now.
    fn poll(&mut self, now: Instant, out: &mut Vec<(Path, Vec<u8>)>) {
        if self.checking && now >= self.next_check {
            self.next_check = now + CHECK_INTERVAL;
            out.push((self.path, check(&self.ice, self.nominate)));
        }
        if !self.has_begun() {
            return;
        }
        if self.dtls.handle_timeout(now).is_err() {
            self.failed = true;
            return;
        }
        let before = out.len();
        self.drain(now, out);
        if self.mute {
            out.truncate(before);
        }
    }

    fn drain(&mut self, now: Instant, out: &mut Vec<(Path, Vec<u8>)>) {
        let mut buffer = vec![0; 65536];
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => out.push((self.path, packet.to_vec())),
                Output::PeerCert(der) => self.server_certificate = der.to_vec(),
                Output::KeyingMaterial(material, profile) => {
                    self.keys = Some((material.to_vec(), profile));
                }
                Output::CloseNotify => self.said_goodbye = true,
                Output::Timeout(at) => {
                    self.next_timeout = at.max(now + Duration::from_millis(1));
                    return;
                }
                _ => {}
            }
        }
    }

    fn receive(&mut self, now: Instant, datagram: &[u8]) {
        match demux::classify(datagram) {
            demux::Kind::Stun => {
                let answer = Message::from_bytes(datagram).unwrap();
                let password = ShortTermCredentials::new(self.ice.local_pwd.clone()).into();
                if answer.validate_integrity(&password).is_ok() {
                    self.answered |= answer.has_class(MessageClass::Success);
                }
            }
            demux::Kind::Dtls if !self.failed => {
                let result =
                    self.dtls.handle_timeout(now).and_then(|()| self.dtls.handle_packet(datagram));
                self.failed |= result.is_err();
            }
            _ => {}
        }
    }

    /// When it has a timer.
    fn due(&self) -> Option<Instant> {
        let check = self.checking.then_some(self.next_check);
        let timeout = self.has_begun().then_some(self.next_timeout);
        check.into_iter().chain(timeout).min()
    }

    /// Whether a DTLS handshake is in progress.
    fn has_begun(&self) -> bool {
        !self.failed && (self.answered || !self.active)
    }
}

/// One datagram under way.
struct Flight {
    arrives: Instant,
    to_server: bool,
    path: Path,
    datagram: Vec<u8>,
}

/// A peer of this crate, a browser, and the network between.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) server: Peer,
    pub(crate) client: Client,
    /// The events of the server so far.
    pub(crate) events: Vec<PeerEvent>,
    /// All datagrams sent so far: whether to the server, and the bytes.
    pub(crate) log: Vec<(bool, Path, Vec<u8>)>,
    /// Loss in percent.
    pub(crate) loss_percent: u64,
    /// Percentage of DTLS datagrams to the server that also arrive changed.
    pub(crate) corrupt_percent: u64,
    /// Datagrams that were sent at once arrive in the opposite order.
    pub(crate) reversed: bool,
    wire: Vec<Flight>,
    random: u64,
}

/// How a [`Pair`] differs from the default.
pub(crate) struct Options {
    /// The server's role.
    pub(crate) role: DtlsRole,
    pub(crate) seed: u64,
    /// The fingerprints in the offer; `None` means the browser's true one.
    pub(crate) fingerprints: Option<Vec<Fingerprint>>,
    pub(crate) identity: DtlsCertificate,
    pub(crate) config: ConfigBuilder,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            role: DtlsRole::Passive,
            seed: 1,
            fingerprints: None,
            identity: dimpl::certificate::generate_self_signed_certificate().unwrap(),
            config: Config::builder()
                .flight_start_rto(Duration::from_millis(250))
                .flight_retries(6)
                .use_server_cookie(false),
        }
    }
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let now = start();
        let fingerprints = options.fingerprints.unwrap_or_else(|| {
            let bytes = dimpl::certificate::calculate_fingerprint(&options.identity.certificate);
            vec![Fingerprint { algorithm: "sha-256".to_owned(), bytes }]
        });
        let plan = SessionPlan {
            id: SessionId(1),
            ice: credentials("node"),
            dtls_role: options.role,
            fingerprints,
            ..empty_plan()
        };
        let certificate = Arc::new(Certificate::generate().unwrap());
        let config = options.config.build().unwrap();
        let client_is_active = options.role == DtlsRole::Passive;
        Self {
            now,
            server: Peer::new(now, &plan, &certificate),
            client: Client::new(now, config, options.identity, client_is_active),
            events: Vec::new(),
            log: Vec::new(),
            loss_percent: 0,
            corrupt_percent: 0,
            reversed: false,
            wire: Vec::new(),
            random: options.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
        }
    }

    pub(crate) fn connect(&mut self) {
        self.run_for(Duration::from_secs(1));
        assert!(self.server.is_connected() && self.client.keys.is_some(), "{:?}", self.events);
    }

    /// Advances the time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            self.flush();
            let next = self.wire.iter().map(|flight| flight.arrives).min();
            let next = next.into_iter().chain(self.server.poll_timeout()).chain(self.client.due());
            let Some(next) = next.min().filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            self.deliver();
            if self.server.poll_timeout().is_some_and(|due| self.now >= due) {
                self.server.handle_timeout(self.now);
                assert!(
                    self.server.poll_timeout().is_none_or(|due| due > self.now),
                    "a timeout that was handled is due no more"
                );
            }
        }
    }

    /// Loses all datagrams under way.
    pub(crate) fn lose_all(&mut self) {
        self.wire.clear();
    }

    /// Takes the datagrams of both sides, and the server's events.
    pub(crate) fn flush(&mut self) {
        let mut datagram = Vec::new();
        while let Some(path) = self.server.poll_transmit(&mut datagram) {
            self.send(false, path, datagram.clone());
        }
        while let Some(event) = self.server.poll_event() {
            self.events.push(event);
        }
        let mut out = Vec::new();
        self.client.poll(self.now, &mut out);
        for (path, datagram) in out {
            self.send(true, path, datagram);
        }
    }

    fn send(&mut self, to_server: bool, path: Path, datagram: Vec<u8>) {
        self.log.push((to_server, path, datagram.clone()));
        if to_server
            && demux::classify(&datagram) == demux::Kind::Dtls
            && self.random() % 100 < self.corrupt_percent
        {
            let corrupt = self.corrupt(datagram.clone());
            let arrives = self.now + DELAY - Duration::from_millis(self.random() % 2);
            self.wire.push(Flight { arrives, to_server, path, datagram: corrupt });
        }
        if self.random() % 100 >= self.loss_percent {
            self.wire.push(Flight { arrives: self.now + DELAY, to_server, path, datagram });
        }
    }

    /// xorshift64
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn corrupt(&mut self, mut datagram: Vec<u8>) -> Vec<u8> {
        for _ in 0..=self.random() % 3 {
            let at = self.random() as usize % datagram.len();
            match self.random() % 6 {
                0 => datagram[at] ^= 1 << (self.random() % 8),
                1 => datagram[at] = [0, 1, 0x7f, 0xff][self.random() as usize % 4],
                // A changed header does the most harm.
                2 => {
                    let at = at % 26;
                    if let Some(byte) = datagram.get_mut(at) {
                        *byte = self.random() as u8;
                    }
                }
                3 => datagram.truncate(at + 1),
                4 => {
                    let again = datagram.clone();
                    datagram.extend_from_slice(&again);
                }
                _ => {
                    let tail = datagram.split_off(at);
                    datagram.splice(0..0, tail);
                }
            }
        }
        datagram
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) =
            std::mem::take(&mut self.wire).into_iter().partition(|flight| flight.arrives <= now);
        self.wire = later;
        let mut due: Vec<Flight> = due;
        if self.reversed {
            due.reverse();
        }
        for flight in due {
            if flight.to_server {
                // Other tests check drop reasons; here drops are the work of the network.
                let _ = match demux::classify(&flight.datagram) {
                    demux::Kind::Stun => {
                        self.server.handle_stun(now, flight.path, &flight.datagram)
                    }
                    _ => self.server.handle_dtls(now, flight.path, &flight.datagram),
                };
            } else {
                self.client.receive(now, &flight.datagram);
            }
        }
    }

    /// DTLS datagrams that the client sent so far.
    pub(crate) fn client_dtls(&self) -> Vec<Vec<u8>> {
        let dtls = |(to_server, _, datagram): &(bool, Path, Vec<u8>)| {
            (*to_server && demux::classify(datagram) == demux::Kind::Dtls).then(|| datagram.clone())
        };
        self.log.iter().filter_map(dtls).collect()
    }

    /// The reason of the first `Closed`.
    pub(crate) fn closed(&self) -> Option<model::CloseReason> {
        self.events.iter().find_map(|event| match event {
            PeerEvent::Closed(reason) => Some(*reason),
            _ => None,
        })
    }

    /// The keys of the server.
    pub(crate) fn take_keys(&mut self) -> Option<(srtp::Sender, srtp::Receiver, srtp::Profile)> {
        let at = self.events.iter().position(|e| matches!(e, PeerEvent::Connected { .. }))?;
        match self.events.remove(at) {
            PeerEvent::Connected { sender, receiver, profile } => Some((sender, receiver, profile)),
            _ => None,
        }
    }

    /// The same keys as the client has them.
    pub(crate) fn client_keys(&self) -> srtp::Keys {
        let (material, profile) = self.client.keys.as_ref().unwrap();
        let profile = match profile {
            SrtpProfile::AEAD_AES_128_GCM => srtp::Profile::AeadAes128Gcm,
            SrtpProfile::AEAD_AES_256_GCM => srtp::Profile::AeadAes256Gcm,
            _ => srtp::Profile::Aes128CmHmacSha1_80,
        };
        srtp::Keys::from_keying_material(profile, material, self.client.active).unwrap()
    }
}

fn empty_plan() -> SessionPlan {
    SessionPlan {
        id: SessionId(0),
        ice: credentials("node"),
        dtls_role: DtlsRole::Passive,
        fingerprints: Vec::new(),
        extensions: ExtensionMap::new(),
        up: Vec::new(),
        down: Vec::new(),
        rtcp_reduced_size: false,
        cname: String::new(),
        data: None,
        remote_candidates: Vec::new(),
    }
}
