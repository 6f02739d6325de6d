//! WebRTC peers of another make (str0m) that publish to the node and watch, many in one thread.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd, RawFd},
    sync::Arc,
    time::{Duration, Instant},
};

use model::Path;
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::SdpAnswer,
    format::Codec,
    media::{Direction, MediaKind, Mid},
    net::{Protocol, Receive},
    rtp::{RtpWrite, SeqNo},
};
use udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket};

use crate::{
    media::{FRAME, PACKETS, Stamp},
    server::Server,
};

const SOCKET_BUFFER: usize = 1 << 20;
/// From the first answer until all are connected.
const CONNECTED_WITHIN: Duration = Duration::from_secs(30);

/// Buffers that all clients of a thread share.
pub(crate) struct Buffers {
    incoming: RecvBatch,
    outgoing: SendBatch,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let (incoming, outgoing) =
            (RecvBatch::new(16, 65_535), SendBatch::with_capacity(1 << 16, 32));
        Self { incoming, outgoing }
    }
}

/// One peer with a socket of its own.
pub(crate) struct Client {
    stack: Stack,
    socket: UdpSocket,
    video: Mid,
}

/// The peer's protocol stack, and what it said last.
struct Stack {
    rtc: Rtc,
    timeout: Instant,
    connected: bool,
    /// Nothing more comes: the other side closed, or the stack gave up.
    closed: bool,
}

impl Client {
    /// Publishes into a room.
    pub(crate) fn publish(server: &Server, room: &str) -> io::Result<Self> {
        Self::join(Direction::SendOnly, false, |offer| server.publish(room, offer))
    }

    /// Watches a room; `gro` says whether the kernel may join datagrams for this client.
    pub(crate) fn watch(server: &Server, room: &str, gro: bool) -> io::Result<Self> {
        Self::join(Direction::RecvOnly, gro, |offer| server.watch(room, offer))
    }

    fn join(
        direction: Direction,
        gro: bool,
        ask: impl FnOnce(&str) -> io::Result<String>,
    ) -> io::Result<Self> {
        let socket = UdpSocket::bind(&UdpConfig {
            reuse_port: false,
            recv_buffer: Some(SOCKET_BUFFER),
            gro,
            // Browsers send one by one.
            gso: false,
            ..UdpConfig::new((Ipv4Addr::LOCALHOST, 0).into())
        })?;
        let now = Instant::now();
        let provider = Arc::new(str0m::crypto::from_feature_flags());
        let mut rtc = Rtc::builder().set_crypto_provider(provider).set_rtp_mode(true).build(now);
        let candidate =
            Candidate::host(socket.local_addr(), Protocol::Udp).map_err(io::Error::other)?;
        rtc.add_local_candidate(candidate);
        let mut api = rtc.sdp_api();
        let stream = (direction == Direction::SendOnly).then(|| "bench".to_owned());
        let video = api.add_media(MediaKind::Video, direction, stream, None, None);
        let (offer, pending) =
            api.apply().ok_or_else(|| io::Error::other("there is nothing to offer"))?;
        let answer = ask(&offer.to_sdp_string())?;
        let answer = SdpAnswer::from_sdp_string(&answer).map_err(io::Error::other)?;
        rtc.sdp_api().accept_answer(pending, answer).map_err(io::Error::other)?;
        let stack = Stack { rtc, timeout: now, connected: false, closed: false };
        Ok(Self { stack, socket, video })
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// How long nothing is due.
    pub(crate) fn idle_for(&self) -> Duration {
        self.stack.timeout.saturating_duration_since(Instant::now())
    }

    /// Whether the session is over.
    pub(crate) fn is_closed(&self) -> bool {
        self.stack.closed
    }

    /// Takes in what came and does what is due. Payloads go to `on_media` with the time when the kernel gave them.
    pub(crate) fn poll(
        &mut self,
        buffers: &mut Buffers,
        mut on_media: impl FnMut(Instant, &[u8]),
    ) -> io::Result<()> {
        let Buffers { incoming, outgoing } = buffers;
        let Self { stack, socket, .. } = self;
        stack.drain(outgoing, |_| ());
        while incoming.recv(socket)? > 0 {
            let arrived = Instant::now();
            for datagram in incoming.datagrams() {
                let (from, to) = (datagram.path.remote, socket.local_addr());
                // Datagrams may come after the end, and need not be what the stack understands.
                if let Ok(received) = Receive::new(Protocol::Udp, from, to, datagram.data) {
                    let _over = stack.rtc.handle_input(Input::Receive(arrived, received));
                    stack.drain(outgoing, |payload| on_media(arrived, payload));
                }
            }
        }
        let now = Instant::now();
        if now >= stack.timeout {
            let _over = stack.rtc.handle_input(Input::Timeout(now));
            stack.drain(outgoing, |_| ());
        }
        outgoing.flush(Some(socket), None);
        Ok(())
    }
}

impl Stack {
    /// Takes out what the stack has to say, as it has to be done after every input.
    fn drain(&mut self, outgoing: &mut SendBatch, mut on_media: impl FnMut(&[u8])) {
        let local = IpAddr::from(Ipv4Addr::LOCALHOST);
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    outgoing.begin(Path { remote: transmit.destination, local });
                    // What does not fit is lost, as on any network.
                    let contents: &[u8] = &transmit.contents;
                    if let Some(room) = outgoing.space().and_then(|r| r.get_mut(..contents.len())) {
                        room.copy_from_slice(contents);
                        outgoing.commit(contents.len());
                    }
                }
                Ok(Output::Timeout(at)) => {
                    self.timeout = at;
                    return;
                }
                Ok(Output::Event(Event::Connected)) => self.connected = true,
                Ok(Output::Event(Event::RtpPacket(packet))) => on_media(&packet.payload),
                Ok(Output::Event(Event::Closed)) => self.closed = true,
                Ok(Output::Event(_)) => {}
                Err(_) => {
                    self.closed = true;
                    self.timeout = Instant::now() + Duration::from_secs(3_600);
                    return;
                }
            }
        }
    }
}

/// Lets clients run until all of them are connected.
pub(crate) fn connect(clients: &mut [&mut Client], buffers: &mut Buffers) -> io::Result<()> {
    let end = Instant::now() + CONNECTED_WITHIN;
    loop {
        for client in clients.iter_mut() {
            client.poll(buffers, |_, _| ())?;
        }
        let missing = clients.iter().filter(|client| !client.stack.connected).count();
        if missing == 0 {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(io::Error::other(format!("{missing} clients never connected")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A client that sends pictures.
pub(crate) struct Camera {
    /// The peer.
    pub(crate) client: Client,
    /// Pictures sent.
    pub(crate) pictures: u32,
    /// What the times in the payloads count from.
    epoch: Instant,
    next: Instant,
}

impl Camera {
    pub(crate) fn new(client: Client, epoch: Instant) -> Self {
        Self { client, pictures: 0, epoch, next: Instant::now() }
    }

    /// Sends what is due, then waits for the next picture or a datagram, at most for `wait`.
    pub(crate) fn turn(&mut self, buffers: &mut Buffers, wait: Duration) -> io::Result<()> {
        let now = Instant::now();
        if now >= self.next {
            self.send(now)?;
            self.pictures += 1;
            // A machine that was away for long does not make up for all of it at once.
            self.next = (self.next + FRAME).max(now);
        }
        self.client.poll(buffers, |_, _| ())?;
        let until = self.next.saturating_duration_since(Instant::now()).min(self.client.idle_for());
        udp::wait(&[self.client.fd()], Some(until.min(wait)))?;
        Ok(())
    }

    fn send(&mut self, now: Instant) -> io::Result<()> {
        let Client { stack: Stack { rtc, .. }, video, .. } = &mut self.client;
        let allowed = rtc.media(*video).map(|m| m.remote_pts().to_vec()).unwrap_or_default();
        let codecs = rtc.codec_config().params();
        let vp8 = codecs.iter().find(|p| p.spec().codec == Codec::Vp8 && allowed.contains(&p.pt()));
        let pt = vp8.ok_or_else(|| io::Error::other("VP8 was not agreed"))?.pt();
        // Anyone who comes late needs a key frame, and they are free here.
        let key = self.pictures.is_multiple_of(30);
        for index in 0..PACKETS {
            let sent = self.epoch.elapsed();
            let payload = Stamp { picture: self.pictures, index, sent }.payload(key);
            let number = u64::from(self.pictures) * u64::from(PACKETS) + u64::from(index);
            let mut api = rtc.direct_api();
            let stream = api
                .stream_tx_by_mid(*video, None)
                .ok_or_else(|| io::Error::other("the video was not offered"))?;
            let write = RtpWrite::new(
                pt,
                SeqNo::from(60_000 + number),
                self.pictures.wrapping_mul(3_000),
                now,
                payload,
            );
            stream.write_rtp(write.marker(index + 1 == PACKETS).nackable(true));
        }
        Ok(())
    }
}

/// What viewers saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Packets of each picture, over all viewers.
    pub(crate) pictures: Vec<u64>,
    /// From the publisher's write to the viewer's receive.
    pub(crate) delays: Vec<(u32, Duration)>,
}

impl Seen {
    pub(crate) fn take(&mut self, epoch: Instant, arrived: Instant, payload: &[u8]) {
        let Some(stamp) = Stamp::parse(payload) else { return };
        let at = stamp.picture as usize;
        // An hour of pictures: more is no picture of ours.
        if at >= 110_000 {
            return;
        }
        if at >= self.pictures.len() {
            self.pictures.resize(at + 1, 0);
        }
        self.pictures[at] += 1;
        let delay = arrived.saturating_duration_since(epoch + stamp.sent);
        self.delays.push((stamp.picture, delay));
    }
}
