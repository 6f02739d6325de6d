//! A session of an attacker: a real WHIP or WHEP peer with ICE, DTLS and SRTP, whose keys the attack may then use
//! freely. It blocks its thread, and has its own socket and address.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use model::{Path, Pt, Ssrc};
use rtp::{HeaderWriter, RtpHeader, parse_header_unprotected, rtcp::RtcpWriter};
use transport::{
    demux::{Kind, classify},
    dtls::{DtlsEvent, Endpoint},
    srtp::{Keys, Receiver, Sender},
};
use udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket};

use super::{
    attacks::Scene,
    deeds::Deeds,
    http::{Client, WebSocket},
};
use crate::{
    bot::{
        ice::{Agent, Credentials, IceEvent},
        stun::{self, Check},
    },
    describe::{Answer, OfferHead, OfferedSection, offer},
    random::Random,
};

/// How long joining may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The longest wait between two checks of the timers of ICE and DTLS.
const LOOK: Duration = Duration::from_millis(20);
/// Messages of one receive call, and of one flush.
const BATCH: usize = 32;
/// The longest RTCP packet.
const MAX_RTCP: usize = 1_200;
/// Bytes that may wait for a flush.
const ARENA: usize = 256 << 10;

/// WHIP, WHEP or a room session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Whip,
    Whep,
    Room,
}

impl Way {
    /// The path of the endpoint for a room.
    pub(super) fn path(self, room: &str) -> String {
        match self {
            Way::Whip => format!("/whip/{room}"),
            Way::Whep => format!("/whep/{room}"),
            Way::Room => format!("/v1/rooms/{room}/sessions"),
        }
    }
}

/// What is needed to open a session.
pub(super) struct Invitation<'a> {
    pub(super) way: Way,
    pub(super) room: &'a str,
    pub(super) token: &'a str,
    /// Its source address: any address of 127.0.0.0/8.
    pub(super) source: Ipv4Addr,
    pub(super) sections: &'a [OfferedSection],
}

/// One RTP packet of an attacker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    pub(super) ssrc: Ssrc,
    pub(super) pt: Pt,
    /// The extended sequence number, with the rollover counter above bit 16. It must not be lower than an earlier one
    /// of the same SSRC: SRTP must not encrypt twice under one index, and a packet that is not authentic would be no
    /// attack.
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    /// Header extensions.
    pub(super) extensions: &'a [(u8, &'a [u8])],
    pub(super) payload: &'a [u8],
}

/// A connected session.
pub(super) struct Peer {
    socket: UdpSocket,
    batch: SendBatch,
    incoming: RecvBatch,
    agent: Agent,
    dtls: Endpoint,
    sender: Sender,
    receiver: Receiver,
    /// The address of the node's media port.
    pub(super) to: SocketAddr,
    pub(super) answer: Answer,
    /// USERNAME and password of its checks.
    check_as: (String, String),
    resource: String,
    token: String,
    client: Client,
}

impl Peer {
    /// Opens a session and connects it.
    ///
    /// # Errors
    /// Why it failed; the same failure has always the same text. HTTP answers are counted in `deeds`.
    pub(super) fn join(
        scene: &Scene,
        invitation: &Invitation<'_>,
        random: &mut Random,
        deeds: &mut Deeds,
    ) -> Result<Peer, String> {
        let begun = Begun::new(scene, invitation, random, deeds)?;
        begun.connect(scene, random)
    }

    /// An authentic check of this session, which can be sent from any address.
    pub(super) fn check(&self, random: &mut Random) -> Vec<u8> {
        let mut transaction = [0; 12];
        transaction[..8].copy_from_slice(&random.next().to_be_bytes());
        let (username, key) = (self.check_as.0.as_str(), &stun::key(&self.check_as.1));
        let tie_breaker = random.next();
        Check { transaction, username, tie_breaker, nominate: true, key }.to_bytes()
    }

    /// Queues an authentic RTP packet; false when it could not be encrypted.
    pub(super) fn rtp(&mut self, packet: &Packet<'_>) -> bool {
        let sender = &mut self.sender;
        queue(&mut self.batch, &self.socket, self.to, |out| {
            let (sequence, marker) = (packet.sequence as u16, packet.marker);
            let (pt, timestamp, ssrc) = (packet.pt, packet.timestamp, packet.ssrc);
            let header = HeaderWriter { marker, pt, sequence, timestamp, ssrc };
            let header = header.write(out, packet.extensions).ok()?;
            let end = header + packet.payload.len();
            out.get_mut(header..end)?.copy_from_slice(packet.payload);
            sender.seal_rtp(out, header, end, (packet.sequence >> 16) as u32).ok()
        })
    }

    /// Queues an authentic compound RTCP packet; false when `fill` had not enough space.
    pub(super) fn rtcp(&mut self, fill: impl FnOnce(&mut RtcpWriter<'_>) -> Option<()>) -> bool {
        let sender = &mut self.sender;
        queue(&mut self.batch, &self.socket, self.to, |out| {
            let room = out.len().min(MAX_RTCP);
            let mut writer = RtcpWriter::new(&mut out[..room]);
            fill(&mut writer)?;
            let len = writer.len();
            sender.seal_rtcp(out, len).ok()
        })
    }

    /// Queues these bytes as a datagram, without encryption.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> bool {
        queue(&mut self.batch, &self.socket, self.to, |out| {
            out.get_mut(..bytes.len())?.copy_from_slice(bytes);
            Some(bytes.len())
        })
    }

    /// Sends the queued datagrams; those that the kernel does not take now are dropped.
    pub(super) fn flush(&mut self) {
        self.batch.flush(Some(&self.socket), None);
        self.batch.drop_kept();
    }

    /// Keeps the session alive for this time or a little longer, and reports the media that arrives: header, number of
    /// bytes, and when the kernel received it. The last is needed because attackers have a low priority and often read
    /// late.
    pub(super) fn pump(
        &mut self,
        time: Duration,
        mut seen: impl FnMut(&RtpHeader<'_>, usize, Instant),
    ) {
        let until = Instant::now() + time;
        // At least one turn; each turn waits for the socket or a timer.
        loop {
            let now = Instant::now();
            self.dtls.handle_timeout(now);
            let (socket, batch) = (&self.socket, &mut self.batch);
            self.agent.handle_timeout(now, |to, bytes| say(batch, socket, to, bytes));
            for _ in 0..8 {
                if self.hear(&mut seen) < BATCH {
                    break;
                }
            }
            self.flush();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // Neither a timeout nor a signal is a reason to stop.
            let _ready = udp::wait(&[self.socket.as_raw_fd()], Some(left.min(LOOK)));
        }
    }

    /// Reads what the socket has; returns the number of messages.
    fn hear(&mut self, seen: &mut impl FnMut(&RtpHeader<'_>, usize, Instant)) -> usize {
        let Ok(count) = self.incoming.recv(&self.socket) else { return 0 };
        let (now, mut plain) = (Instant::now(), [0; 2_048]);
        for datagram in self.incoming.datagrams() {
            let (from, data) = (datagram.path.remote, datagram.data);
            let at = now.checked_sub(datagram.age).unwrap_or(now);
            match classify(data) {
                Kind::Stun => {
                    let (batch, socket) = (&mut self.batch, &self.socket);
                    self.agent.handle(now, from, data, |to, bytes| say(batch, socket, to, bytes));
                }
                Kind::Dtls => {
                    // Data after the end of the connection is ignored, as in a bot.
                    let _refused = self.dtls.handle(now, data);
                }
                Kind::Rtp => {
                    let opened = parse_header_unprotected(data).ok().and_then(|header| {
                        let len = header.header_len();
                        self.receiver.open_rtp(data, len, &mut plain).ok()
                    });
                    let Some(opened) = opened else { continue };
                    if let Ok(header) = parse_header_unprotected(&plain[..opened.len]) {
                        seen(&header, opened.len, at);
                    }
                }
                _ => {}
            }
        }
        count
    }

    /// A WebSocket of the events of a room session; the first message was not sent yet.
    ///
    /// # Errors
    /// Those of the connection; why the node refused it. Its answer is counted in `deeds`.
    pub(super) fn events(&self, deeds: &mut Deeds) -> Result<WebSocket, String> {
        let path = format!("{}/events", self.resource);
        let opened = self.client.websocket(&path, &self.token);
        let (reply, socket) = opened.map_err(|error| format!("events: {}", error.kind()))?;
        let status = reply.status;
        deeds.answered(&Ok(reply));
        socket.ok_or_else(|| format!("events: http {status}"))
    }

    /// Ends the session with all goodbyes, so that it does not affect the measurement of the next attack.
    pub(super) fn leave(mut self, deeds: &mut Deeds) {
        self.dtls.close();
        let mut bytes = Vec::new();
        while self.dtls.poll_transmit(&mut bytes) {
            self.raw(&bytes);
        }
        self.flush();
        deeds.answered(&self.client.delete(&self.resource, &self.token));
    }
}

/// A session with an answer that is not connected yet.
pub(super) struct Begun {
    socket: UdpSocket,
    local: Credentials,
    pub(super) answer: Answer,
    resource: String,
    token: String,
    client: Client,
    /// The address of the node's media port.
    pub(super) to: SocketAddr,
}

impl Begun {
    /// Posts an offer.
    ///
    /// # Errors
    /// As [`Peer::join`].
    pub(super) fn new(
        scene: &Scene,
        invitation: &Invitation<'_>,
        random: &mut Random,
        deeds: &mut Deeds,
    ) -> Result<Begun, String> {
        let socket = socket(invitation.source)?;
        let local = Credentials { ufrag: random.ice_text(8), pwd: random.ice_text(24) };
        let head = OfferHead {
            id: random.next(),
            version: 1,
            credentials: &local,
            fingerprint: &scene.certificate.fingerprint_text(),
            cname: "mallory",
            candidate: socket.local_addr(),
        };
        let offer = offer(head, invitation.sections);
        let mut client = Client::new(invitation.source, scene.http);
        let path = invitation.way.path(invitation.room);
        let reply = client.post(&path, invitation.token, &offer);
        deeds.answered(&reply);
        let reply = reply.map_err(|error| format!("http: {}", error.kind()))?;
        if reply.status != 201 {
            return Err(format!("http {}", reply.status));
        }
        let answer = Answer::parse(&reply.text())?;
        let to = answer.candidates.iter().copied().find(SocketAddr::is_ipv4);
        let to = to.ok_or("answer: no candidate of IPv4")?;
        let resource = reply.location.ok_or("http 201 without a Location")?;
        let token = invitation.token.to_owned();
        Ok(Begun { socket, local, answer, resource, token, client, to })
    }

    /// The USERNAME of its checks, and the password that signs them.
    pub(super) fn check_as(&self) -> (String, String) {
        let remote = &self.answer.credentials;
        (format!("{}:{}", remote.ufrag, self.local.ufrag), remote.pwd.clone())
    }

    /// Ends the session.
    pub(super) fn leave(mut self, deeds: &mut Deeds) {
        deeds.answered(&self.client.delete(&self.resource, &self.token));
    }

    /// Connects by ICE and DTLS.
    fn connect(self, scene: &Scene, random: &mut Random) -> Result<Peer, String> {
        let now = Instant::now();
        let (local, remote) = (self.local.clone(), &self.answer.credentials);
        let mut joining = Joining {
            agent: Agent::new(now, local, remote, &[self.to], random.clone()),
            dtls: None,
            batch: SendBatch::with_capacity(ARENA, BATCH * 8),
            incoming: RecvBatch::new(BATCH, 64 << 10),
            begun: self,
        };
        while now.elapsed() < CONNECT_WITHIN {
            if let Some(keys) = joining.speak()? {
                return joining.finish(&keys);
            }
            joining.hear(scene);
        }
        let hears = joining.dtls.is_some();
        Err(if hears { "dtls: no handshake in time" } else { "ice: no answer" }.to_owned())
    }
}

/// A session that has its answer and waits for its keys.
struct Joining {
    begun: Begun,
    agent: Agent,
    dtls: Option<Endpoint>,
    batch: SendBatch,
    incoming: RecvBatch,
}

impl Joining {
    /// Sends what is due; returns the keys when the handshake is complete.
    fn speak(&mut self) -> Result<Option<Keys>, String> {
        let Joining { begun, agent, dtls, batch, .. } = self;
        let now = Instant::now();
        agent.handle_timeout(now, |to, bytes| say(batch, &begun.socket, to, bytes));
        let mut event = None;
        if let Some(dtls) = dtls {
            dtls.handle_timeout(now);
            let mut bytes = Vec::new();
            while dtls.poll_transmit(&mut bytes) {
                say(batch, &begun.socket, begun.to, &bytes);
            }
            event = dtls.poll_event();
        }
        batch.flush(Some(&begun.socket), None);
        batch.drop_kept();
        match event {
            Some(DtlsEvent::Connected(keys)) => Ok(Some(keys)),
            Some(DtlsEvent::Closed(_)) => Err("dtls: closed".to_owned()),
            None => Ok(None),
        }
    }

    /// Waits for datagrams and handles them.
    fn hear(&mut self, scene: &Scene) {
        let Joining { begun, agent, dtls, batch, incoming } = self;
        let _ready = udp::wait(&[begun.socket.as_raw_fd()], Some(LOOK));
        if incoming.recv(&begun.socket).is_err() {
            return;
        }
        let now = Instant::now();
        for datagram in incoming.datagrams() {
            let (from, data) = (datagram.path.remote, datagram.data);
            match classify(data) {
                Kind::Stun => {
                    let event = agent.handle(now, from, data, |to, bytes| {
                        say(batch, &begun.socket, to, bytes);
                    });
                    if matches!(event, Some(IceEvent::Selected(_))) && dtls.is_none() {
                        let prints = begun.answer.fingerprints.clone();
                        let certificate = scene.certificate.clone();
                        *dtls = Some(Endpoint::new(now, begun.answer.role, certificate, prints));
                    }
                }
                Kind::Dtls => {
                    // Datagrams that are not DTLS are ignored, as in a bot.
                    let _refused = dtls.as_mut().map(|dtls| dtls.handle(now, data));
                }
                _ => {}
            }
        }
    }

    fn finish(self, keys: &Keys) -> Result<Peer, String> {
        let Joining { begun, agent, dtls, batch, incoming } = self;
        let check_as = begun.check_as();
        let Begun { socket, answer, resource, token, client, to, .. } = begun;
        let keys = keys.sender().ok().zip(keys.receiver().ok());
        let ((sender, receiver), dtls) = keys.zip(dtls).ok_or("dtls: unusable keys")?;
        Ok(Peer {
            socket,
            batch,
            incoming,
            agent,
            dtls,
            sender,
            receiver,
            to,
            answer,
            check_as,
            resource,
            token,
            client,
        })
    }
}

/// A socket with an attacker's address.
pub(super) fn socket(source: Ipv4Addr) -> Result<UdpSocket, String> {
    let address = SocketAddr::new(IpAddr::V4(source), 0);
    let config = UdpConfig { reuse_port: false, timestamps: true, ..UdpConfig::new(address) };
    UdpSocket::bind(&config).map_err(|error| format!("socket: {}", error.kind()))
}

/// Queues a datagram; flushes first if there is no space.
pub(super) fn queue(
    batch: &mut SendBatch,
    socket: &UdpSocket,
    to: SocketAddr,
    write: impl FnOnce(&mut [u8]) -> Option<usize>,
) -> bool {
    batch.begin(Path { remote: to, local: IpAddr::V4(Ipv4Addr::UNSPECIFIED) });
    if batch.space().is_none() {
        batch.flush(Some(socket), None);
        batch.drop_kept();
    }
    let Some(len) = batch.space().and_then(write) else { return false };
    batch.commit(len);
    true
}

fn say(batch: &mut SendBatch, socket: &UdpSocket, to: SocketAddr, bytes: &[u8]) {
    queue(batch, socket, to, |out| {
        out.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(bytes.len())
    });
}
