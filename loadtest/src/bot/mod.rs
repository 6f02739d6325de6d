//! One bot: a peer with a socket of its own, from the offer to the goodbye. Sans-IO but for its socket: the thread says
//! when, carries its requests to the signaling pool, and lends it buffers.
//!
//! - [`ice`], [`stun`]: connectivity
//! - [`publish`]: what it sends
//! - [`watch`], [`track`], [`frames`]: what it receives
//! - [`outlet`], [`link`]: the way out, and a bad line

pub(crate) mod frames;
pub(crate) mod ice;
pub(crate) mod link;
pub(crate) mod outlet;
pub(crate) mod publish;
pub(crate) mod stun;
pub(crate) mod track;
pub(crate) mod watch;

mod join;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::CloseReason;
use rtp::{parse_header_unprotected, rtcp::CompoundIter};
use transport::{
    demux::{Kind, classify},
    dtls::{Certificate, DtlsEvent, Endpoint},
    srtp::{Receiver, Sender},
};
use udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket};
use url::Url;

use self::{
    frames::Context,
    ice::{Agent, Credentials, IceEvent},
    link::{Faults, Link},
    outlet::Outlet,
    publish::Publisher,
    watch::Watcher,
};
use crate::{
    clock::{Clock, Directory},
    describe::{Answer, OfferedSection},
    media::Feed,
    random::Random,
    stats::Tally,
};

/// Who a bot is, over the whole run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BotId(pub(crate) u32);

/// What a bot does.
#[derive(Debug, Clone)]
pub(crate) enum Role {
    /// Sends.
    Publish {
        /// Its number in stamps.
        publisher: u32,
        audio: Option<Feed>,
        /// Layers, the lowest first; one: no simulcast.
        video: Vec<Feed>,
    },
    /// Receives.
    Watch {
        /// Receiving sections of each kind.
        audio: usize,
        video: usize,
    },
}

/// What a bot is told when it is made.
#[derive(Debug, Clone)]
pub(crate) struct BotPlan {
    pub(crate) id: BotId,
    pub(crate) role: Role,
    /// The WHIP or WHEP endpoint.
    pub(crate) url: Url,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) faults: Faults,
    /// How long joining may take.
    pub(crate) patience: Duration,
}

/// What all bots of a thread share.
pub(crate) struct Shared {
    pub(crate) run: u32,
    pub(crate) clock: Clock,
    pub(crate) directory: Arc<Directory>,
    pub(crate) certificate: Arc<Certificate>,
    /// Where bots bind, port 0.
    pub(crate) bind: SocketAddr,
    /// The address that stands in offers.
    pub(crate) local: SocketAddr,
    /// The host of the server's HTTP side: candidates of the same address are tried first.
    pub(crate) server: Option<std::net::IpAddr>,
    pub(crate) gro: bool,
    pub(crate) gso: bool,
}

/// Buffers that all bots of a thread share.
pub(crate) struct Buffers {
    pub(crate) incoming: RecvBatch,
    pub(crate) outgoing: SendBatch,
    /// A packet in the clear.
    pub(crate) plain: Box<[u8; 2_048]>,
}

/// What a bot has to say to its thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BotEvent {
    /// Connected: media may flow.
    Joined,
    /// Over before its time, and why.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The offer is with the server.
    Asking,
    /// ICE and DTLS.
    Connecting,
    Connected,
    Over,
}

/// A bot.
pub(crate) struct Bot {
    pub(crate) plan: BotPlan,
    pub(crate) socket: UdpSocket,
    /// Where its session is, once there is one.
    pub(crate) resource: Option<Url>,
    phase: Phase,
    started: Instant,
    deadline: Instant,
    sections: Vec<OfferedSection>,
    local: Credentials,
    random: Random,
    answer: Option<Box<Answer>>,
    agent: Option<Box<Agent>>,
    dtls: Option<Box<Endpoint>>,
    keys: Option<Box<(Sender, Receiver)>>,
    publisher: Option<Box<Publisher>>,
    watcher: Option<Box<Watcher>>,
    link: Option<Box<Link>>,
    has_begun: bool,
    muted: bool,
    /// DTLS output on its way.
    scratch: Vec<u8>,
}

impl Bot {
    /// A bot with a socket, and its offer.
    ///
    /// # Errors
    /// No socket is to be had.
    pub(crate) fn new(
        now: Instant,
        plan: BotPlan,
        shared: &Shared,
        mut random: Random,
    ) -> io::Result<(Bot, String)> {
        let socket = socket(shared)?;
        let local = Credentials { ufrag: random.ice_text(8), pwd: random.ice_text(24) };
        let link = plan.faults.any().then(|| Box::new(Link::new(plan.faults, random.clone())));
        let mut bot = Bot {
            deadline: now + plan.patience,
            plan,
            socket,
            resource: None,
            phase: Phase::Asking,
            started: now,
            sections: Vec::new(),
            local,
            random,
            answer: None,
            agent: None,
            dtls: None,
            keys: None,
            publisher: None,
            watcher: None,
            link,
            has_begun: false,
            muted: false,
            scratch: Vec::new(),
        };
        let offer = bot.offer(shared);
        Ok((bot, offer))
    }

    /// When [`Bot::handle_timeout`] has to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let joining = matches!(self.phase, Phase::Asking | Phase::Connecting);
        let media = self.keys.as_ref().map(|_| {
            let publisher = self.publisher.as_ref().map(|p| p.poll_timeout());
            let watcher = self.watcher.as_ref().map(|w| w.poll_timeout());
            [publisher, watcher].into_iter().flatten().min()
        });
        let due = [
            joining.then_some(self.deadline),
            self.agent.as_ref().and_then(|agent| agent.poll_timeout()),
            self.dtls.as_ref().and_then(|dtls| dtls.poll_timeout()),
            media.flatten(),
            self.link.as_ref().and_then(|link| link.poll_timeout()),
        ];
        let due = due.into_iter().flatten().min();
        due.filter(|_| self.phase != Phase::Over)
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        let mut event = self.take_delayed(now, shared, buffers, tally);
        if event.is_none() && now >= self.deadline {
            event = match self.phase {
                Phase::Asking => Some(self.fail("signaling: no answer in time")),
                Phase::Connecting => Some(self.fail(self.stuck())),
                Phase::Connected | Phase::Over => None,
            };
        }
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: &mut buffers.outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        if let Some(agent) = &mut self.agent
            && agent.handle_timeout(now, |to, bytes| outlet.datagram(to, bytes))
                == Some(IceEvent::ConsentLost)
        {
            event = Some(BotEvent::Failed("ice: consent lost".to_owned()));
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        }
        if let (Some(keys), Some(to)) =
            (&mut self.keys, self.agent.as_ref().and_then(|a| a.selected()))
        {
            if let Some(publisher) = &mut self.publisher {
                publisher.handle_timeout(to, &mut keys.0, &mut outlet);
            }
            if let Some(watcher) = &mut self.watcher {
                watcher.handle_timeout(to, &mut keys.0, &mut outlet);
            }
        }
        outlet.release();
        outlet.flush();
        let dtls_event = self.drain_dtls(now, shared, buffers, tally);
        self.settle(event.or(dtls_event))
    }

    /// Reads what came.
    pub(crate) fn receive(
        &mut self,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        let mut event = None;
        // Bounded, so that a flood does not keep the others waiting.
        for _ in 0..4 {
            let count = match buffers.incoming.recv(&self.socket) {
                Ok(count) => count,
                // Such as an ICMP error for what was sent before.
                Err(_) => return self.settle(event),
            };
            let now = Instant::now();
            let Buffers { incoming, outgoing, plain } = &mut *buffers;
            for datagram in incoming.datagrams() {
                if datagram.truncated {
                    continue;
                }
                let from = datagram.path.remote;
                if let Some(link) = &mut self.link {
                    if !link.receive(now, from, datagram.data.to_vec()) {
                        tally.counters.dropped_by_fault += 1;
                    }
                    continue;
                }
                let new = self.take(
                    now,
                    from,
                    datagram.data,
                    shared,
                    outgoing,
                    plain.as_mut_slice(),
                    tally,
                );
                event = event.or(new);
            }
            // Fewer than there is room for: that was all.
            if count < BATCH {
                break;
            }
        }
        let now = Instant::now();
        let dtls_event = self.drain_dtls(now, shared, buffers, tally);
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: &mut buffers.outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        outlet.flush();
        self.settle(event.or(dtls_event))
    }

    /// What is looked at each second.
    pub(crate) fn sample(&mut self, now: Instant, shared: &Shared, tally: &mut Tally) {
        if self.muted {
            return;
        }
        let joined_ns = shared.clock.ns(self.started);
        if let Some(watcher) = &mut self.watcher {
            watcher.sample(&mut Context {
                now,
                run: shared.run,
                clock: &shared.clock,
                directory: &shared.directory,
                tally,
                joined_ns,
                has_begun: &mut self.has_begun,
            });
        }
    }

    /// No new media from now on.
    pub(crate) fn mute(&mut self, shared: &Shared) {
        self.muted = true;
        self.leave_directory(shared);
        if let Some(publisher) = &mut self.publisher {
            publisher.mute();
        }
    }

    /// Another address: as a phone that changes networks.
    ///
    /// # Errors
    /// No socket is to be had; the old one stays.
    pub(crate) fn change_address(&mut self, now: Instant, shared: &Shared) -> io::Result<()> {
        self.socket = socket(shared)?;
        if let Some(agent) = &mut self.agent {
            agent.moved(now);
        }
        Ok(())
    }

    /// The end: with the goodbyes of RTCP and DTLS, or (`silent`) without a word.
    pub(crate) fn leave(
        &mut self,
        now: Instant,
        silent: bool,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) {
        self.leave_directory(shared);
        let to = self.agent.as_ref().and_then(|agent| agent.selected());
        if let (false, Some(to)) = (silent, to) {
            if let (Some(keys), Some(publisher)) = (&mut self.keys, &mut self.publisher) {
                let mut outlet = Outlet {
                    now,
                    socket: &self.socket,
                    batch: &mut buffers.outgoing,
                    link: self.link.as_deref_mut(),
                    counters: &mut tally.counters,
                };
                publisher.bye(to, &mut keys.0, &mut outlet);
            }
            if let Some(dtls) = &mut self.dtls {
                dtls.close(now);
            }
            self.drain_dtls(now, shared, buffers, tally);
            buffers.outgoing.flush(Some(&self.socket), Some(&self.socket));
        }
        self.phase = Phase::Over;
    }

    fn leave_directory(&self, shared: &Shared) {
        if let Role::Publish { publisher, .. } = self.plan.role {
            shared.directory.end(publisher);
        }
    }

    /// What came over the bad line and is due.
    fn take_delayed(
        &mut self,
        now: Instant,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        let mut event = None;
        while let Some((from, mut bytes)) = self.link.as_mut().and_then(|link| link.due_in(now)) {
            let Buffers { outgoing, plain, .. } = &mut *buffers;
            let new =
                self.take(now, from, &mut bytes, shared, outgoing, plain.as_mut_slice(), tally);
            event = event.or(new);
        }
        event
    }

    #[expect(clippy::too_many_arguments, reason = "parts of the thread that are borrowed apart")]
    fn take(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &mut [u8],
        shared: &Shared,
        outgoing: &mut SendBatch,
        plain: &mut [u8],
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        match classify(data) {
            Kind::Rtp => self.take_rtp(now, data, shared, plain, tally),
            Kind::Rtcp => self.take_rtcp(now, from, data, outgoing, tally),
            Kind::Stun => self.take_stun(now, from, data, shared, outgoing, tally),
            Kind::Dtls => {
                // Datagrams that are no DTLS, or come after the end, are ignored.
                let _refused = self.dtls.as_mut().map(|dtls| dtls.handle(now, data));
            }
            Kind::TurnChannel | Kind::Unknown => {}
        }
        None
    }

    fn take_rtp(
        &mut self,
        now: Instant,
        data: &[u8],
        shared: &Shared,
        plain: &mut [u8],
        tally: &mut Tally,
    ) {
        let (Some(keys), Some(watcher)) = (&mut self.keys, &mut self.watcher) else { return };
        tally.counters.received_bytes += data.len() as u64;
        let opened = parse_header_unprotected(data)
            .ok()
            .and_then(|header| keys.1.open_rtp(data, header.header_len(), plain).ok());
        let Some(opened) = opened else {
            tally.counters.undecryptable += 1;
            return;
        };
        let joined_ns = shared.clock.ns(self.started);
        let mut context = Context {
            now,
            run: shared.run,
            clock: &shared.clock,
            directory: &shared.directory,
            tally,
            joined_ns,
            has_begun: &mut self.has_begun,
        };
        watcher.handle_rtp(&mut context, &plain[..opened.len]);
    }

    fn take_rtcp(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &mut [u8],
        outgoing: &mut SendBatch,
        tally: &mut Tally,
    ) {
        let Some(keys) = &mut self.keys else { return };
        let Ok(len) = keys.1.open_rtcp(data) else {
            tally.counters.undecryptable += 1;
            return;
        };
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        for packet in CompoundIter::new(&data[..len]).map_while(Result::ok) {
            if let Some(watcher) = &mut self.watcher {
                watcher.handle_rtcp(now, &packet);
            }
            if let Some(publisher) = &mut self.publisher {
                publisher.handle_rtcp(&packet, from, &mut keys.0, &mut outlet);
            }
        }
    }

    fn take_stun(
        &mut self,
        now: Instant,
        from: SocketAddr,
        data: &[u8],
        shared: &Shared,
        outgoing: &mut SendBatch,
        tally: &mut Tally,
    ) {
        let Some(agent) = &mut self.agent else { return };
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        let event = agent.handle(now, from, data, |to, bytes| outlet.datagram(to, bytes));
        if let (Some(IceEvent::Selected(_)), None, Some(answer)) = (event, &self.dtls, &self.answer)
        {
            let certificate = Arc::clone(&shared.certificate);
            let prints = answer.fingerprints.clone();
            self.dtls = Some(Box::new(Endpoint::new(now, answer.role, certificate, prints)));
            // The nomination need not wait for a timer.
            agent.handle_timeout(now, |to, bytes| outlet.datagram(to, bytes));
        }
    }

    /// Sends what DTLS has to send, and hears what it has to say.
    fn drain_dtls(
        &mut self,
        now: Instant,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        let dtls = self.dtls.as_mut()?;
        let to = self.agent.as_ref()?.selected()?;
        let mut outlet = Outlet {
            now,
            socket: &self.socket,
            batch: &mut buffers.outgoing,
            link: self.link.as_deref_mut(),
            counters: &mut tally.counters,
        };
        while dtls.poll_transmit(&mut self.scratch) {
            outlet.datagram(to, &self.scratch);
        }
        outlet.flush();
        self.scratch = Vec::new();
        let mut event = None;
        while let Some(dtls_event) = self.dtls.as_mut().and_then(|dtls| dtls.poll_event()) {
            event = match dtls_event {
                DtlsEvent::Connected(keys) => {
                    tally.times.join.record(now.saturating_duration_since(self.started));
                    Some(self.connected(now, &keys, shared))
                }
                DtlsEvent::Closed(reason) => Some(self.fail(closed(reason, self.phase))),
            };
        }
        event
    }

    fn stuck(&self) -> &'static str {
        match (&self.agent, &self.dtls) {
            (_, Some(_)) => "dtls: no handshake in time",
            (Some(_), None) => "ice: no candidate answers",
            _ => "no answer in time",
        }
    }

    fn fail(&self, reason: impl Into<String>) -> BotEvent {
        BotEvent::Failed(reason.into())
    }

    /// A bot that failed does nothing more.
    fn settle(&mut self, event: Option<BotEvent>) -> Option<BotEvent> {
        if matches!(event, Some(BotEvent::Failed(_))) {
            self.phase = Phase::Over;
        }
        event
    }
}

/// Messages of one receive call.
pub(crate) const BATCH: usize = 16;
/// Bytes of a bot's receive buffer: a burst of key frames fits.
const RECV_BUFFER: usize = 1 << 20;

fn socket(shared: &Shared) -> io::Result<UdpSocket> {
    UdpSocket::bind(&UdpConfig {
        reuse_port: false,
        recv_buffer: Some(RECV_BUFFER),
        gro: shared.gro,
        gso: shared.gso,
        ..UdpConfig::new(shared.bind)
    })
}

fn closed(reason: CloseReason, phase: Phase) -> &'static str {
    match reason {
        CloseReason::PeerClosed => "dtls: the server closed",
        CloseReason::FingerprintMismatch => "dtls: the certificate is not the one of the answer",
        CloseReason::NeverConnected => "dtls: no handshake in time",
        _ if phase == Phase::Connected => "dtls: broken",
        _ => "dtls: the handshake failed",
    }
}
