//! A WebRTC peer with sockets: str0m does ICE, DTLS and RTP, and this file counts what arrives.

use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpPendingOffer},
    media::{Direction, MediaKind},
    net::{Protocol, Receive},
};
use url::Url;

use crate::{media::Sender, requirement::Face, sdp::Sdp};

pub(crate) struct Peer {
    rtc: Rtc,
    sockets: Vec<(SocketAddr, UdpSocket)>,
    pending: Option<SdpPendingOffer>,
    sender: Option<Sender>,
    pub(crate) seen: Seen,
}

/// What a peer has seen so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// ICE and DTLS are complete.
    pub(crate) connected: bool,
    /// When the other side closed DTLS, or DTLS failed.
    pub(crate) closed: Option<Instant>,
    /// When ICE connected last.
    pub(crate) ice_connected: Option<Instant>,
    /// RTP packets that were decrypted.
    pub(crate) packets: u64,
    pub(crate) last_packet: Option<Instant>,
    /// Datagrams that look like RTP, decrypted or not.
    pub(crate) media_datagrams: u64,
    pub(crate) last_media_datagram: Option<Instant>,
    /// Datagrams of any kind.
    pub(crate) datagrams: u64,
}

impl Peer {
    /// A peer for this server. With `early` its candidate is in the offer.
    ///
    /// # Errors
    /// The server's name does not resolve, or a socket fails.
    pub(crate) fn new(server: &Url, early: bool) -> Result<Self, String> {
        let provider = Arc::new(str0m::crypto::from_feature_flags());
        let now = Instant::now();
        let rtc = Rtc::builder().set_crypto_provider(provider).set_rtp_mode(true).build(now);
        let (sender, pending, sockets) = (None, None, Vec::new());
        let mut peer = Self { rtc, sockets, pending, sender, seen: Seen::default() };
        if early {
            let addresses = server.socket_addrs(|| None).map_err(|e| format!("{server}: {e}"))?;
            for address in addresses {
                _ = peer.bind_towards(address)?;
            }
        }
        Ok(peer)
    }

    /// Opens a socket on the address from which packets to `remote` leave. Returns the candidate if it is a new one.
    fn bind_towards(&mut self, remote: SocketAddr) -> Result<Option<Candidate>, String> {
        let Ok(local) = local_towards(remote) else { return Ok(None) };
        if self.sockets.iter().any(|(address, _)| address.ip() == local) {
            return Ok(None);
        }
        let socket =
            UdpSocket::bind((local, 0)).map_err(|e| format!("a socket at {local}: {e}"))?;
        socket.set_nonblocking(true).map_err(|e| e.to_string())?;
        let address = socket.local_addr().map_err(|e| e.to_string())?;
        self.sockets.push((address, socket));
        let candidate = Candidate::host(address, Protocol::Udp).map_err(|e| e.to_string())?;
        Ok(self.rtc.add_local_candidate(candidate).cloned())
    }

    /// An offer with one audio and one video section.
    ///
    /// # Errors
    /// The stack makes no offer.
    pub(crate) fn offer(&mut self, face: Face) -> Result<String, String> {
        let direction = match face {
            Face::Whip => Direction::SendOnly,
            Face::Whep => Direction::RecvOnly,
        };
        let stream = (face == Face::Whip).then(|| "conformance".to_owned());
        let mut api = self.rtc.sdp_api();
        let audio = api.add_media(MediaKind::Audio, direction, stream.clone(), None, None);
        let video = api.add_media(MediaKind::Video, direction, stream, None, None);
        let (offer, pending) = api.apply().ok_or("nothing to offer")?;
        self.pending = Some(pending);
        if face == Face::Whip {
            self.sender = Some(Sender::new(audio, video, Instant::now()));
        }
        Ok(offer.to_sdp_string())
    }

    /// An offer with new ICE credentials.
    ///
    /// # Errors
    /// The stack makes no offer.
    pub(crate) fn restart(&mut self) -> Result<String, String> {
        let mut api = self.rtc.sdp_api();
        api.ice_restart(true);
        let (offer, pending) = api.apply().ok_or("nothing to offer")?;
        self.pending = Some(pending);
        Ok(offer.to_sdp_string())
    }

    /// Applies an answer. Returns the `a=candidate` lines of sockets that were opened for it.
    ///
    /// # Errors
    /// The stack cannot apply the answer.
    pub(crate) fn accept(&mut self, answer: &str) -> Result<Vec<String>, String> {
        let mut lines = Vec::new();
        let sdp = Sdp::parse(answer)?;
        for remote in sdp.candidates().into_iter().filter_map(udp_address) {
            if let Some(candidate) = self.bind_towards(remote)? {
                let line = candidate.to_sdp_string();
                lines.push(if line.starts_with("a=") { line } else { format!("a={line}") });
            }
        }
        let answer = SdpAnswer::from_sdp_string(answer).map_err(|e| e.to_string())?;
        let pending = self.pending.take().ok_or("an answer without an offer")?;
        self.rtc.sdp_api().accept_answer(pending, answer).map_err(|e| e.to_string())?;
        Ok(lines)
    }

    /// Closes DTLS.
    pub(crate) fn close(&mut self) {
        _ = self.rtc.close();
    }

    /// Runs the peer until `done` holds or the time is over; returns whether `done` holds.
    pub(crate) fn run(&mut self, limit: Duration, mut done: impl FnMut(&Seen) -> bool) -> bool {
        let end = Instant::now() + limit;
        loop {
            self.poll();
            if done(&self.seen) {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    fn poll(&mut self) {
        let now = Instant::now();
        if let Some(sender) = &mut self.sender {
            if self.seen.connected && self.seen.closed.is_none() {
                sender.send(&mut self.rtc, now);
            } else {
                sender.wait(now);
            }
        }
        self.drain();
        self.receive();
        // At each turn, due or not: after an answer the stack may report no timeout although its first check is due.
        _ = self.rtc.handle_input(Input::Timeout(Instant::now()));
        self.drain();
    }

    fn receive(&mut self) {
        let mut bytes = [0; 2_000];
        for at in 0..self.sockets.len() {
            // At most this many in a row, so that a flood does not keep the peer from its other work.
            for _ in 0..64 {
                let (address, socket) = &self.sockets[at];
                let (len, source) = match socket.recv_from(&mut bytes) {
                    Ok(got) => got,
                    Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                    // For example an ICMP error caused by an earlier packet.
                    Err(_) => continue,
                };
                let now = Instant::now();
                self.seen.take(now, &bytes[..len]);
                let address = *address;
                if let Ok(received) = Receive::new(Protocol::Udp, source, address, &bytes[..len]) {
                    _ = self.rtc.handle_input(Input::Receive(now, received));
                }
                self.drain();
            }
        }
    }

    fn drain(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    let from = self.sockets.iter().find(|(address, _)| *address == transmit.source);
                    if let Some((_, socket)) = from {
                        _ = socket.send_to(&transmit.contents, transmit.destination);
                    }
                }
                Ok(Output::Timeout(_)) => return,
                Ok(Output::Event(event)) => self.take(&event),
                Err(_) => {
                    self.seen.closed.get_or_insert_with(Instant::now);
                    return;
                }
            }
        }
    }

    fn take(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Connected => self.seen.connected = true,
            Event::Closed => {
                self.seen.closed.get_or_insert(now);
            }
            Event::IceConnectionStateChange(state) if !state.is_disconnected() => {
                self.seen.ice_connected = Some(now);
            }
            Event::RtpPacket(_) => {
                self.seen.packets += 1;
                self.seen.last_packet = Some(now);
            }
            Event::KeyframeRequest(_) => {
                if let Some(sender) = &mut self.sender {
                    sender.want_key_frame();
                }
            }
            _ => {}
        }
    }
}

impl Seen {
    fn take(&mut self, now: Instant, datagram: &[u8]) {
        self.datagrams += 1;
        // RFC 7983 section 7 and RFC 5761 section 4: whether the datagram is RTP and not RTCP.
        let [first, second, ..] = datagram else { return };
        let is_rtcp = (64..96).contains(&(second & 0x7f));
        if (128..192).contains(first) && !is_rtcp {
            self.media_datagrams += 1;
            self.last_media_datagram = Some(now);
        }
    }
}

/// The address of a UDP candidate (RFC 8839 section 5.1). Names are not resolved.
fn udp_address(candidate: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = candidate.split_whitespace().collect();
    let [_, _, transport, _, ip, port, ..] = words.as_slice() else { return None };
    if !transport.eq_ignore_ascii_case("udp") {
        return None;
    }
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

fn local_towards(remote: SocketAddr) -> std::io::Result<IpAddr> {
    let any = match remote {
        SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(remote)?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_udp_candidates_with_addresses_are_reached() {
        let address = udp_address("1 1 UDP 2130706431 198.51.100.1 39132 typ host");
        assert_eq!(address, "198.51.100.1:39132".parse().ok());
        assert_eq!(udp_address("1 1 tcp 1 198.51.100.1 9 typ host tcptype passive"), None);
        assert_eq!(udp_address("1 1 udp 1 x.local 9 typ host"), None);
        assert_eq!(udp_address("1 1"), None);
    }

    #[test]
    fn media_is_told_from_the_rest_by_its_first_bytes() {
        let mut seen = Seen::default();
        for datagram in [&[0x80, 96, 0][..], &[0x81, 200, 0], &[0x16, 0xfe], &[0, 1], &[]] {
            seen.take(Instant::now(), datagram);
        }
        assert_eq!((seen.media_datagrams, seen.datagrams), (1, 5));
    }

    #[test]
    fn the_stack_offers_what_the_face_needs() {
        let server = Url::parse("http://127.0.0.1:1/").unwrap();
        let mut peer = Peer::new(&server, true).unwrap();
        let offer = Sdp::parse(&peer.offer(Face::Whip).unwrap()).unwrap();
        assert!(offer.media.iter().all(|m| m.direction() == "sendonly"));
        assert_eq!(offer.candidates().len(), 1);
        let mut peer = Peer::new(&server, false).unwrap();
        let offer = Sdp::parse(&peer.offer(Face::Whep).unwrap()).unwrap();
        assert!(offer.media.iter().all(|m| m.direction() == "recvonly"));
        assert!(offer.candidates().is_empty());
    }
}
