//! One bot: a peer with a socket of its own, from the offer to the goodbye. Sans-IO except for its socket: the thread
//! calls it when it is due, carries its HTTP requests to the signaling pool, and lends it buffers.
//!
//! - [`ice`], [`stun`]: connectivity
//! - [`publish`]: what it sends
//! - [`watch`], [`track`], [`frames`]: what it receives
//! - `join`, `receive`: how it joins, and what its socket receives
//! - [`member`], [`events`], `attend`: a member of a room, whose one session sends and receives
//! - [`outlet`], [`link`]: sending, and a bad line

pub(crate) mod events;
pub(crate) mod frames;
pub(crate) mod ice;
pub(crate) mod link;
pub(crate) mod member;
pub(crate) mod outlet;
pub(crate) mod publish;
pub(crate) mod stun;
pub(crate) mod track;
pub(crate) mod watch;

mod attend;
mod join;
mod receive;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use model::{CloseReason, MediaKind};
use transport::{
    dtls::{Certificate, Endpoint},
    srtp::{Receiver, Sender},
};
use udp::{RecvBatch, SendBatch, UdpConfig, UdpSocket};
use url::Url;

pub(crate) use self::member::{Membership, Sends, Turns};
use self::{
    events::Events,
    frames::Context,
    ice::{Agent, Credentials, IceEvent},
    link::{Faults, Link},
    member::Conversation,
    outlet::Outlet,
    publish::Publisher,
    watch::Watcher,
};
use crate::{
    clock::{Clock, Directory},
    describe::{Answer, OfferedSection},
    media::Feed,
    random::Random,
    stats::{Histogram, Tally},
};

/// A bot's id, unique in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct BotId(pub(crate) u32);

/// What a bot does in the session.
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
    /// Both, in one room session.
    Member(Box<Membership>),
}

impl Role {
    fn awaits(&self) -> MediaKind {
        match self {
            Role::Watch { video: 0, .. } => MediaKind::Audio,
            Role::Member(membership) if !membership.awaits_video => MediaKind::Audio,
            _ => MediaKind::Video,
        }
    }

    /// It has a room session.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self, Role::Member(_))
    }

    /// Its number in stamps, when it sends.
    pub(crate) fn publisher(&self) -> Option<u32> {
        match self {
            Role::Publish { publisher, .. } => Some(*publisher),
            Role::Watch { .. } => None,
            Role::Member(membership) => membership.sends.as_ref().map(|sends| sends.publisher),
        }
    }
}

/// What a bot is made from.
#[derive(Debug, Clone)]
pub(crate) struct BotPlan {
    pub(crate) id: BotId,
    pub(crate) role: Role,
    /// The endpoint: WHIP, WHEP, or the sessions of a room.
    pub(crate) url: Url,
    pub(crate) token: Option<Arc<str>>,
    pub(crate) faults: Faults,
    /// Most time that joining may take.
    pub(crate) patience: Duration,
    /// Whether its view is reported apart (a bystander).
    pub(crate) bystands: bool,
    /// Whether it stops reading with its first frame.
    pub(crate) stalls: bool,
}

/// What all bots of a thread share.
pub(crate) struct Shared {
    pub(crate) run: u32,
    pub(crate) clock: Clock,
    pub(crate) directory: Arc<Directory>,
    pub(crate) certificate: Arc<Certificate>,
    /// The address that bots bind, with port 0.
    pub(crate) bind: SocketAddr,
    /// The address that stands in offers.
    pub(crate) local: SocketAddr,
    /// The host of the server's HTTP side: candidates of the same address are tried first.
    pub(crate) server: Option<std::net::IpAddr>,
    pub(crate) gro: bool,
    pub(crate) gso: bool,
    /// Packets of a frame that leave at once; `None`: as a browser's pacer does it.
    pub(crate) burst: Option<u16>,
    /// What is not counted in the totals.
    pub(crate) warm_up: Duration,
}

/// Buffers that all bots of a thread share.
pub(crate) struct Buffers {
    pub(crate) incoming: RecvBatch,
    /// Room for one message: where only one is expected, reading into one saves the system call that looks for a
    /// second.
    pub(crate) single: RecvBatch,
    pub(crate) outgoing: SendBatch,
    /// A packet in the clear.
    pub(crate) plain: Box<[u8; 2_048]>,
}

/// What a bot reports to its thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BotEvent {
    /// Connected: media may flow.
    Joined,
    /// It stopped reading, as it was told to.
    Stalled,
    /// It ended before its time, and why.
    Failed(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The offer is with the server.
    Asking,
    /// ICE and DTLS.
    Connecting,
    Connected,
    /// It neither reads nor sends, but is not gone.
    Stalled,
    Over,
}

/// A bot.
pub(crate) struct Bot {
    pub(crate) plan: BotPlan,
    pub(crate) socket: UdpSocket,
    /// The URL of its session, once there is one.
    pub(crate) resource: Option<Url>,
    phase: Phase,
    started: Instant,
    deadline: Instant,
    sections: Vec<OfferedSection>,
    /// The o= line of its offers.
    description: u64,
    local: Credentials,
    random: Random,
    answer: Option<Box<Answer>>,
    agent: Option<Box<Agent>>,
    dtls: Option<Box<Endpoint>>,
    /// It may have something to report.
    dtls_is_busy: bool,
    /// What DTLS reported in the middle of a batch.
    news: Option<BotEvent>,
    keys: Option<Box<(Sender, Receiver)>>,
    publisher: Option<Box<Publisher>>,
    watcher: Option<Box<Watcher>>,
    /// What a member knows, and its events.
    conversation: Option<Box<Conversation>>,
    pub(crate) events: Option<Box<Events>>,
    link: Option<Box<Link>>,
    /// Delays since the warm-up ended.
    pub(crate) delays: Histogram,
    has_begun: bool,
    /// The first stamped packet came.
    has_heard: bool,
    muted: bool,
    /// Received packets may have changed timers other than those of received media.
    stirred: bool,
    /// The turn of the thread in which it was last read.
    pub(crate) read_in: u64,
    /// DTLS output that is being sent.
    scratch: Vec<u8>,
}

impl Bot {
    /// A bot with a socket, and the body of the request with its offer.
    ///
    /// # Errors
    /// The system has no socket left.
    pub(crate) fn new(
        now: Instant,
        plan: BotPlan,
        shared: &Shared,
        mut random: Random,
    ) -> io::Result<(Bot, String)> {
        let socket = socket(shared, plan.stalls)?;
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
            description: random.next(),
            local,
            random,
            answer: None,
            agent: None,
            dtls: None,
            dtls_is_busy: false,
            news: None,
            keys: None,
            publisher: None,
            watcher: None,
            conversation: None,
            events: None,
            link,
            delays: Histogram::default(),
            has_begun: false,
            has_heard: false,
            muted: false,
            stirred: false,
            read_in: 0,
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
            self.conversation.as_ref().and_then(|conversation| conversation.choice_due()),
        ];
        let due = due.into_iter().flatten().min();
        due.filter(|_| !matches!(self.phase, Phase::Stalled | Phase::Over))
    }

    /// As [`Bot::poll_timeout`] after [`Bot::receive`], which looks only at what a received packet may have brought
    /// forward.
    pub(crate) fn poll_sooner(&mut self) -> Option<Instant> {
        match &self.watcher {
            Some(watcher) if !std::mem::take(&mut self.stirred) && self.link.is_none() => {
                Some(watcher.poll_timeout()).filter(|_| self.phase == Phase::Connected)
            }
            _ => self.poll_timeout(),
        }
    }

    /// It sends media.
    pub(crate) fn publishes(&self) -> bool {
        self.plan.role.publisher().is_some()
    }

    /// It does not read any more.
    pub(crate) fn is_stalled(&self) -> bool {
        self.phase == Phase::Stalled
    }

    /// Does what is due.
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) -> Option<BotEvent> {
        self.take_delayed(now, shared, buffers, tally);
        let mut event = None;
        if now >= self.deadline {
            event = match self.phase {
                Phase::Asking => Some(self.fail("http: no answer in time")),
                Phase::Connecting => Some(self.fail(self.stuck())),
                Phase::Connected | Phase::Stalled | Phase::Over => None,
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
        let news = self.news.take();
        let dtls_event = self.drain_dtls(now, shared, &mut buffers.outgoing, tally);
        let chosen = self.choose(&mut tally.counters);
        let event = self.settle(event.or(news).or(dtls_event).or(chosen));
        event.or_else(|| self.stall(tally))
    }

    /// What is done every second.
    pub(crate) fn sample(&mut self, now: Instant, shared: &Shared, tally: &mut Tally) {
        if self.muted || self.is_stalled() {
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
                delays: &mut self.delays,
                joined_ns,
                awaits: self.plan.role.awaits(),
                has_begun: &mut self.has_begun,
                has_heard: &mut self.has_heard,
                awaited: None,
            });
        }
    }

    /// Sends no new media from now on.
    pub(crate) fn mute(&mut self, shared: &Shared) {
        self.muted = true;
        self.leave_directory(shared);
        if let Some(publisher) = &mut self.publisher {
            publisher.mute();
        }
    }

    /// Moves to another address, as a phone that changes networks. Returns the old socket.
    ///
    /// # Errors
    /// The system has no socket left; the old one stays.
    pub(crate) fn change_address(
        &mut self,
        now: Instant,
        shared: &Shared,
    ) -> io::Result<UdpSocket> {
        let old = std::mem::replace(&mut self.socket, socket(shared, self.plan.stalls)?);
        if let Some(agent) = &mut self.agent {
            agent.moved(now);
        }
        Ok(old)
    }

    /// Ends the session: with RTCP BYE and DTLS close_notify, or (`silent`) without a goodbye.
    pub(crate) fn leave(
        &mut self,
        now: Instant,
        silent: bool,
        shared: &Shared,
        buffers: &mut Buffers,
        tally: &mut Tally,
    ) {
        self.leave_directory(shared);
        tally.times.end_viewer(&self.delays);
        let to = self.agent.as_ref().and_then(|agent| agent.selected());
        if let (false, Some(to)) = (silent || self.is_stalled(), to) {
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
                dtls.close();
            }
            self.drain_dtls(now, shared, &mut buffers.outgoing, tally);
            buffers.outgoing.flush(Some(&self.socket), Some(&self.socket));
        }
        self.phase = Phase::Over;
    }

    fn leave_directory(&self, shared: &Shared) {
        if let Some(publisher) = self.plan.role.publisher() {
            shared.directory.end(publisher);
        }
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

    /// A bot that is to stop reading stops after its first frame. What it misses from then on is not counted as loss.
    fn stall(&mut self, tally: &mut Tally) -> Option<BotEvent> {
        if !self.plan.stalls || !self.has_begun || self.phase != Phase::Connected {
            return None;
        }
        self.phase = Phase::Stalled;
        if let Some(watcher) = &self.watcher {
            let expected = &mut tally.counters.expected_packets;
            *expected = expected.saturating_sub(watcher.missing());
        }
        Some(BotEvent::Stalled)
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
/// The receive buffer of a bot that will stop reading: it is soon full.
const STALLED_BUFFER: usize = 128 << 10;

fn socket(shared: &Shared, stalls: bool) -> io::Result<UdpSocket> {
    UdpSocket::bind(&UdpConfig {
        reuse_port: false,
        timestamps: true,
        recv_buffer: Some(if stalls { STALLED_BUFFER } else { RECV_BUFFER }),
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
