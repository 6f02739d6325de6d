//! One WebRTC peer on the str0m stack, and the network between it and the node.

use std::{
    io::ErrorKind,
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::{SdpAnswer, SdpPendingOffer},
    net::{Protocol, Receive},
};

/// What the network does to datagrams, both ways. Seeded, so that a run can be repeated.
#[derive(Debug, Clone, Copy)]
pub struct Network {
    /// Percent of datagrams lost on the way to the peer.
    pub loss_in: u32,
    /// Percent of datagrams lost on the way from the peer.
    pub loss_out: u32,
    /// Seed of the losses.
    pub seed: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self { loss_in: 0, loss_out: 0, seed: 1 }
    }
}

/// A peer with a socket of its own.
pub struct Peer {
    /// The stack.
    pub rtc: Rtc,
    /// What the network does.
    pub network: Network,
    /// The peer neither sends nor receives, as when its machine is gone.
    pub dead: bool,
    /// ICE and DTLS are done.
    pub connected: bool,
    /// The other side closed.
    pub closed: bool,
    /// When the peer connected.
    pub connected_at: Option<Instant>,
    /// Every datagram that left, if recording is on: what an eavesdropper has.
    pub tapped: Option<Vec<Vec<u8>>>,
    socket: UdpSocket,
    /// The address that the stack believes it has; after a move the socket has another.
    address: SocketAddr,
    pending: Option<SdpPendingOffer>,
    timeout: Instant,
}

impl Peer {
    /// A peer in RTP mode on 127.0.0.1.
    pub fn new(configure: impl FnOnce(str0m::RtcConfig) -> str0m::RtcConfig) -> Self {
        let provider = std::sync::Arc::new(str0m::crypto::from_feature_flags());
        let now = Instant::now();
        let config = Rtc::builder().set_crypto_provider(provider).set_rtp_mode(true);
        let mut rtc = configure(config).build(now);
        let socket = bind();
        let address = socket.local_addr().expect("an address");
        let candidate = Candidate::host(address, Protocol::Udp).expect("a candidate");
        rtc.add_local_candidate(candidate);
        Self {
            rtc,
            network: Network::default(),
            dead: false,
            connected: false,
            closed: false,
            connected_at: None,
            tapped: None,
            socket,
            address,
            pending: None,
            timeout: now,
        }
    }

    /// The offer for what `change` adds.
    pub fn offer<R>(
        &mut self,
        change: impl FnOnce(&mut str0m::change::SdpApi<'_>) -> R,
    ) -> (String, R) {
        let mut api = self.rtc.sdp_api();
        let result = change(&mut api);
        let (offer, pending) = api.apply().expect("something to offer");
        self.pending = Some(pending);
        (offer.to_sdp_string(), result)
    }

    /// Takes the node's answer.
    pub fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer)
            .unwrap_or_else(|e| panic!("the answer does not parse: {e}\n{answer}"));
        let pending = self.pending.take().expect("an offer before the answer");
        self.rtc.sdp_api().accept_answer(pending, answer).expect("the answer is acceptable");
    }

    /// The address that datagrams leave from.
    pub fn local_addr(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Moves the socket to another port, as after a NAT lost its mapping. The stack does not know of it.
    pub fn move_address(&mut self) {
        self.socket = bind();
    }

    /// Sends bytes from the peer's socket without the stack.
    pub fn send_raw(&self, bytes: &[u8], to: SocketAddr) {
        let _lost = self.socket.send_to(bytes, to);
    }

    /// Runs the peer's timers and I/O; events go to `on_event`.
    pub fn poll(&mut self, mut on_event: impl FnMut(&mut Rtc, Event)) {
        self.drain(&mut on_event);
        let mut bytes = [0; 2_000];
        loop {
            let (len, source) = match self.socket.recv_from(&mut bytes) {
                Ok(got) => got,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) => panic!("receiving: {e}"),
            };
            if self.dead || roll(&mut self.network.seed, self.network.loss_in) {
                continue;
            }
            let now = Instant::now();
            if let Ok(received) = Receive::new(Protocol::Udp, source, self.address, &bytes[..len]) {
                // Datagrams may come after the end.
                let _over = self.rtc.handle_input(Input::Receive(now, received));
            }
            self.drain(&mut on_event);
        }
        let now = Instant::now();
        if now >= self.timeout {
            let _over = self.rtc.handle_input(Input::Timeout(now));
            self.drain(&mut on_event);
        }
    }

    fn drain(&mut self, on_event: &mut impl FnMut(&mut Rtc, Event)) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    if let Some(tapped) = &mut self.tapped {
                        tapped.push(transmit.contents.to_vec());
                    }
                    if !self.dead && !roll(&mut self.network.seed, self.network.loss_out) {
                        let _lost = self.socket.send_to(&transmit.contents, transmit.destination);
                    }
                }
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Event(event)) => {
                    match event {
                        Event::Connected => {
                            self.connected = true;
                            self.connected_at.get_or_insert_with(Instant::now);
                        }
                        Event::Closed => self.closed = true,
                        _ => {}
                    }
                    on_event(&mut self.rtc, event);
                }
                Err(_) => {
                    self.closed = true;
                    self.timeout = Instant::now() + Duration::from_secs(3_600);
                    return;
                }
            }
        }
    }
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    // A viewer that joins gets up to a second of pictures at once. On a busy machine this thread may run so late that they overflow
    // a buffer of the default size, and the loss would be taken for the node's.
    socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).expect("a larger buffer");
    socket.set_nonblocking(true).expect("a socket that does not block");
    socket
}

fn roll(seed: &mut u64, of_a_hundred: u32) -> bool {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    ((*seed >> 33) % 100) < u64::from(of_a_hundred)
}
