//! The clock, the event queue, and the place that connects peers, network, node and checks.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use model::{Event, SessionId};

use crate::{
    Options, Outcome,
    check::{
        counters::Counted,
        oracle::{ByKind, Oracle, of},
        witness::Witness,
    },
    log::{self, Log},
    net::{Conditions, Way, Weather},
    node::{Ended, Face, Node, Request, Response},
    peer::{
        End, Peer, Phase,
        describe::{self, Offered},
    },
    queue::{Queue, What},
    rng::Rng,
    script::Script,
};

/// Time between two checks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Time after all peers left: longer than consent lasts (RFC 7675 section 5.1).
const REST: Duration = Duration::from_secs(45);
/// Datagrams that an eavesdropper remembers.
const OVERHEARD: usize = 64;
/// A run that does not end by then is stopped.
const EVENTS_MAX: u64 = 5_000_000;

/// A peer and its line.
pub(crate) struct Line {
    pub(crate) peer: Peer,
    pub(crate) up: Way,
    pub(crate) down: Way,
    /// The line is too narrow to promise anything.
    pub(crate) strained: bool,
    /// The address was another peer's before.
    pub(crate) second_hand: bool,
}

/// See the module's head.
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) options: Options,
    pub(crate) now: Duration,
    pub(crate) weather: Weather,
    pub(crate) lines: Vec<Line>,
    pub(crate) log: Log,
    pub(crate) oracle: Oracle,
    pub(crate) addresses: BTreeMap<SocketAddr, usize>,
    /// Addresses that no peer has any more, and from when on one may get them.
    pub(crate) left_addresses: Vec<(SocketAddr, Duration)>,
    queue: Queue,
    pub(crate) node: Node,
    /// When each worker has its next turn.
    due: Vec<Option<Duration>>,
    /// Until when each worker is stalled.
    stalls: Vec<Duration>,
    /// When the last stalled worker ran again.
    pub(crate) stalled_until: Duration,
    /// The last datagrams to the node, as an eavesdropper has them.
    pub(crate) overheard: VecDeque<(SocketAddr, Vec<u8>)>,
    /// The longest time until a worker with something to do runs.
    slack: u64,
    network: Rng,
    schedule: Rng,
    pub(crate) witness: Witness,
    pub(crate) sessions: BTreeMap<SessionId, usize>,
    pub(crate) counted: Counted,
    pub(crate) longest_wait: Duration,
    spread: u64,
}

/// One run.
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut rng = Rng::new(seed);
    let workers = rng.between(1, 3) as usize;
    let weather = match rng.below(10) {
        0..5 => Weather::Calm,
        5..8 => Weather::Breezy,
        _ => Weather::Stormy,
    };
    #[expect(clippy::disallowed_methods, reason = "virtual time needs an instant to begin at")]
    let base = Instant::now();
    let node = Node::new(seed, base, workers);
    let mut outcome = Outcome {
        seed,
        workers,
        weather,
        digest: 0,
        datagrams: 0,
        peers: 0,
        seen: 0,
        retransmitted: 0,
        handed_over: 0,
        longest_wait: Duration::ZERO,
        lasted: Duration::ZERO,
        failure: None,
        events: Vec::new(),
    };
    match node {
        Ok(node) => World::new(seed, *options, weather, node, &rng).run(&rng, &mut outcome),
        Err(error) => outcome.failure = Some(error),
    }
    outcome
}

impl Line {
    /// Since when the peer sends in a section so that it can reach the node, and whether that is after packets were
    /// lost or layers changed.
    pub(crate) fn sends(&self, number: u8) -> Option<(Duration, bool)> {
        let track = self.peer.out.as_ref()?.tracks.iter().find(|t| t.number == number && t.on)?;
        let late = self.peer.has_moved || track.other_layers;
        Some((self.peer.fine_since?.max(track.on_since), late))
    }
}

impl World {
    fn new(seed: u64, options: Options, weather: Weather, node: Node, rng: &Rng) -> Self {
        let mut schedule = rng.fork(1);
        Self {
            seed,
            options,
            now: Duration::ZERO,
            weather,
            lines: Vec::new(),
            log: Log::new(options.all_events),
            oracle: Oracle::default(),
            addresses: BTreeMap::new(),
            left_addresses: Vec::new(),
            queue: Queue::default(),
            due: vec![None; node.count()],
            stalls: vec![Duration::ZERO; node.count()],
            stalled_until: Duration::ZERO,
            overheard: VecDeque::new(),
            node,
            slack: schedule.pick(&[100, 400, 3_000]).unwrap_or(400),
            spread: schedule.next(),
            schedule,
            network: rng.fork(2),
            witness: Witness::default(),
            sessions: BTreeMap::new(),
            counted: Counted::default(),
            longest_wait: Duration::ZERO,
        }
    }

    fn run(mut self, rng: &Rng, outcome: &mut Outcome) {
        let mut script = Script::new(rng.fork(3));
        self.enter(Duration::ZERO, What::Act);
        self.enter(LOOK_EVERY, What::Look);
        outcome.failure = self.play(&mut script).and_then(|()| self.at_the_end()).err();
        let metrics = self.node.metrics();
        for m in &metrics {
            let counts: Vec<String> = m
                .counters()
                .filter(|(.., n)| *n > 0)
                .map(|(name, _, n)| format!("{name} {n}"))
                .collect();
            let (at, counts) = (m.worker, counts.join(", "));
            let dropped = format!("in {:?}, out {:?}", m.dropped_in, m.dropped_out);
            self.log.event(self.now, format_args!("worker {at}: {counts}; dropped: {dropped}"));
        }
        outcome.digest = self.log.digest;
        outcome.datagrams = self.log.datagrams;
        outcome.peers = self.lines.len();
        let inputs = self.lines.iter().filter_map(|l| l.peer.input.as_ref());
        outcome.seen = inputs.map(|i| i.decoded).sum();
        outcome.retransmitted = self.witness.again;
        outcome.handed_over = metrics.iter().map(|m| m.handed_over).sum();
        outcome.longest_wait = self.longest_wait;
        outcome.lasted = self.now;
        outcome.events = self.log.into_events();
    }

    fn play(&mut self, script: &mut Script) -> Result<(), String> {
        for _ in 0..EVENTS_MAX {
            let Some(next) = self.next_time() else { return Ok(()) };
            if script.ended_at().is_some_and(|end| next > end + REST) {
                return Ok(());
            }
            self.now = next;
            self.step(script)?;
        }
        Err("the run does not end".into())
    }

    pub(crate) fn enter(&mut self, at: Duration, what: What) {
        self.queue.enter(at, what);
    }

    fn next_time(&self) -> Option<Duration> {
        let queued = self.queue.next_at();
        let workers = self.due.iter().flatten().copied();
        let peers = self.lines.iter().filter_map(|l| l.peer.poll_timeout());
        let next = queued.into_iter().chain(self.node.signaling_timeout()).chain(workers);
        next.chain(peers).min().map(|at| at.max(self.now))
    }

    /// Handles the first event.
    fn step(&mut self, script: &mut Script) -> Result<(), String> {
        if let Some(what) = self.queue.pop_due(self.now) {
            return self.happen(what, script);
        }
        if let Some(at) = self.due.iter().position(|due| due.is_some_and(|at| at <= self.now)) {
            return self.turn(at);
        }
        if self.node.signaling_timeout().is_some_and(|at| at <= self.now) {
            self.node.signaling_turn(self.now);
            self.oracle.tick(self.now);
            return self.after_signaling();
        }
        let due = |l: &Line| l.peer.poll_timeout().is_some_and(|at| at <= self.now);
        if let Some(at) = self.lines.iter().position(due) {
            let before = self.lines[at].peer.phase;
            self.lines[at].peer.handle_timeout(self.now);
            return self.after_peer(at, before);
        }
        Ok(())
    }

    fn happen(&mut self, what: What, script: &mut Script) -> Result<(), String> {
        match what {
            What::ToNode { from, bytes } => {
                self.log.datagram(self.now, true, from, &bytes);
                if self.options.datagrams {
                    let line = self.addresses.get(&from);
                    let what = log::describe(&bytes);
                    self.log.event(self.now, format_args!("-> from peer {line:?}: {what}"));
                }
                if self.overheard.len() == OVERHEARD {
                    self.overheard.pop_front();
                }
                self.overheard.push_back((from, bytes.clone()));
                let at = self.worker_of(from);
                self.node.arrive(at, from, bytes);
                self.wake_workers();
                Ok(())
            }
            What::ToPeer { to, bytes } => self.reaches_peer(to, bytes),
            What::Request { peer, request } => self.request(peer, &request),
            What::Response { peer, response } => self.response(peer, response),
            What::Told(event) => self.told(event),
            What::Act => {
                script.act(self);
                Ok(())
            }
            What::Look => {
                self.enter(self.now + LOOK_EVERY, What::Look);
                self.look()
            }
        }
    }

    /// Signaling hears what a worker told, and so does the model of the rooms.
    fn told(&mut self, event: Event) -> Result<(), String> {
        let heard = self.node.track_of(&event);
        self.node.event(self.now, event.clone());
        match event {
            Event::Connected { session } => self.oracle.connected(self.now, session),
            Event::TrackActive { session, .. } | Event::TrackSilent { session, .. } => {
                let live = matches!(event, Event::TrackActive { .. });
                if let Some(track) = heard {
                    self.oracle.heard(self.now, session, track, live);
                }
            }
            _ => {}
        }
        self.after_signaling()
    }

    /// Which worker the kernel gives a peer's datagrams to: a hash of the remote address says.
    pub(crate) fn worker_of(&self, from: SocketAddr) -> usize {
        let ip = match from {
            SocketAddr::V4(v4) => u64::from(v4.ip().to_bits()),
            SocketAddr::V6(_) => 0,
        };
        Rng::new(self.spread ^ (ip << 16 | u64::from(from.port()))).below(self.due.len())
    }

    /// Schedules the workers that have something to do, soon and in random order.
    fn wake_workers(&mut self) {
        for at in 0..self.due.len() {
            if self.node.is_busy(at) {
                let soon = self.now + self.schedule.micros(5, self.slack);
                let soon = soon.max(self.stalls[at]);
                self.due[at] = Some(self.due[at].map_or(soon, |due| due.min(soon)));
            }
        }
    }

    /// Stalls one worker for a while, as when the machine runs other programs.
    pub(crate) fn stall(&mut self, at: usize, lasting: Duration) {
        let at = at % self.due.len();
        let until = self.now + lasting;
        self.stalls[at] = until;
        self.stalled_until = self.stalled_until.max(until);
        self.due[at] = self.due[at].map(|due| due.max(until));
        self.log.event(self.now, format_args!("worker {at} stalls for {} ms", lasting.as_millis()));
    }

    fn turn(&mut self, at: usize) -> Result<(), String> {
        let (more, sent) = self.node.turn(at, self.now);
        self.due[at] = match more {
            true => Some(self.now + Duration::from_micros(50)),
            // Never at once, because time has to advance.
            false => self.node.next_wake(at).map(|w| w.max(self.now + Duration::from_micros(200))),
        };
        for event in self.node.events() {
            let later = self.now + self.schedule.micros(20, 2_000);
            self.enter(later, What::Told(event));
        }
        self.wake_workers();
        for (to, bytes) in sent {
            self.leaves(to, bytes)?;
        }
        Ok(())
    }

    /// A datagram leaves the node.
    fn leaves(&mut self, to: SocketAddr, bytes: Vec<u8>) -> Result<(), String> {
        self.log.datagram(self.now, false, to, &bytes);
        let is_rtp =
            matches!(bytes.first(), Some(128..=191)) && !matches!(bytes.get(1), Some(192..=223));
        // The end of the handshake is the simulation's own datagram.
        self.counted.sent += u64::from(crate::keys::read_done(&bytes).is_none());
        if is_rtp {
            self.counted.sent_rtp += 1;
            let left = self.witness.leaves(self.now, &bytes);
            if self.options.datagrams {
                let what = log::describe(&bytes);
                self.log.event(self.now, format_args!("<- {what}: {left:?}"));
            }
            if let Some(left) = left? {
                self.may_see(&left)?;
            }
        } else if self.options.datagrams {
            let line = self.addresses.get(&to);
            let what = log::describe(&bytes);
            self.log.event(self.now, format_args!("<- to peer {line:?}: {what}"));
        }
        let Some(&peer) = self.addresses.get(&to) else { return Ok(()) };
        let arrivals = self.lines[peer].down.pass(self.now, bytes.len(), &mut self.network);
        for at in arrivals {
            self.enter(at, What::ToPeer { to, bytes: bytes.clone() });
        }
        Ok(())
    }

    fn reaches_peer(&mut self, to: SocketAddr, mut bytes: Vec<u8>) -> Result<(), String> {
        let Some(&at) = self.addresses.get(&to) else { return Ok(()) };
        let Line { peer, second_hand, .. } = &mut self.lines[at];
        if peer.address != to {
            return Ok(());
        }
        let before = peer.phase;
        let taken = peer.take_datagram(self.now, &mut bytes);
        // The node may still send to the peer that had this address before.
        taken.or_else(|e| if *second_hand { Ok(()) } else { Err(format!("peer {at}: {e}")) })?;
        self.after_peer(at, before)
    }

    /// Carries out what a peer wants after it was given something.
    pub(crate) fn after_peer(&mut self, at: usize, before: Phase) -> Result<(), String> {
        let Line { peer, up, .. } = &mut self.lines[at];
        let (address, phase) = (peer.address, peer.phase);
        let mut arrivals = Vec::new();
        for datagram in peer.poll_datagrams() {
            for arrival in up.pass(self.now, datagram.len(), &mut self.network) {
                arrivals.push((arrival, datagram.clone()));
            }
        }
        for (arrival, bytes) in arrivals {
            self.enter(arrival, What::ToNode { from: address, bytes });
        }
        if phase != before {
            self.log.event(self.now, format_args!("peer {at}: {phase:?}"));
            return self.phase_changed(at, phase);
        }
        Ok(())
    }

    fn phase_changed(&mut self, at: usize, phase: Phase) -> Result<(), String> {
        let Phase::Over(end) = phase else { return Ok(()) };
        self.forget_address(at);
        let session = self.lines[at].peer.session;
        let known = session.is_some_and(|s| self.oracle.knows(s));
        match end {
            End::Goodbye if known => Err(format!("peer {at} was told goodbye, and has not left")),
            End::Silence if known && self.weather != Weather::Stormy => {
                Err(format!("the node answers peer {at} no more"))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn forget_address(&mut self, at: usize) {
        let address = self.lines[at].peer.address;
        if self.addresses.get(&address) == Some(&at) {
            self.addresses.remove(&address);
            let kept = self.lines[at].peer.phase.keeps_address();
            self.left_addresses.push((address, self.now + kept));
        }
    }

    /// A peer asks signaling for something.
    pub(crate) fn ask(&mut self, peer: usize, request: Request) {
        let later = self.now + self.network.millis(2, 30);
        self.enter(later, What::Request { peer, request });
    }

    fn request(&mut self, at: usize, request: &Request) -> Result<(), String> {
        let response = self.node.request(self.now, request);
        self.take_in(at, request, &response)?;
        let later = self.now + self.network.millis(2, 30);
        self.enter(later, What::Response { peer: at, response });
        self.after_signaling()
    }

    /// Signaling agreed to something: the model of the rooms and the witness are told.
    fn take_in(&mut self, at: usize, request: &Request, response: &Response) -> Result<(), String> {
        match (request, response) {
            (
                Request::Enter { face, room, who, whom, sections, .. },
                Response::Accepted { session, answer },
            ) => {
                let session = *session;
                // Media may come before the peer has read the answer.
                self.lines[at].peer.session = Some(session);
                self.sessions.insert(session, at);
                if *face != Face::Publish {
                    let slots = by_kind(sections, |s| s.receives);
                    self.oracle.subscribe(self.now, *room, (*who, *whom), session, &slots);
                }
                if let Some(who) = who.filter(|_| *face != Face::Watch) {
                    let tracks = by_kind(sections, |s| s.sends);
                    self.oracle.publish(self.now, *room, who, session, tracks);
                }
                self.log.event(self.now, format_args!("peer {at} has session {session}"));
                let sections = describe::answer(answer)?.sections;
                self.witness.agreed(self.seed, session, &sections)
            }
            (Request::Renegotiate { session, sections, .. }, Response::Renegotiated { answer }) => {
                let (tracks, slots) =
                    (by_kind(sections, |s| s.sends), by_kind(sections, |s| s.receives));
                self.oracle.update(self.now, *session, &tracks, &slots);
                self.log.event(self.now, format_args!("session {session} is another one now"));
                let sections = describe::answer(answer)?.sections;
                self.witness.agreed(self.seed, *session, &sections)
            }
            (
                Request::Renegotiate { session, .. } | Request::Restart { session, .. },
                Response::Refused(why),
            ) if self.oracle.knows(*session) => {
                Err(format!("session {session} of peer {at} is there, and refused: {why}"))
            }
            _ => Ok(()),
        }
    }

    fn response(&mut self, at: usize, response: Response) -> Result<(), String> {
        let peer = &mut self.lines[at].peer;
        let before = peer.phase;
        peer.take_response(self.now, response)?;
        if let Some(out) = &mut peer.out {
            out.fault = self.options.fault;
        }
        self.after_peer(at, before)
    }

    /// Takes in what signaling did: workers have new orders, sessions have ended.
    fn after_signaling(&mut self) -> Result<(), String> {
        self.wake_workers();
        for Ended { session, reason } in self.node.ended() {
            self.log.event(self.now, format_args!("session {session} ended: {}", reason.as_str()));
            self.oracle.ended(self.now, session);
            self.may_end(session, reason)?;
        }
        Ok(())
    }

    /// A new line for a peer that is about to join.
    pub(crate) fn add(
        &mut self,
        peer: Peer,
        conditions: [Conditions; 2],
        second_hand: bool,
    ) -> usize {
        let at = self.lines.len();
        let narrow = |c: &Conditions| c.rate.is_some_and(|(rate, _)| rate < 300_000);
        let strained = conditions.iter().any(narrow);
        let [up, down] = conditions.map(Way::new);
        self.addresses.insert(peer.address, at);
        self.lines.push(Line { peer, up, down, strained, second_hand });
        at
    }
}

/// The numbers of the sections that are active, by kind.
fn by_kind(sections: &[Offered], what: fn(&Offered) -> bool) -> ByKind {
    let mut numbers = ByKind::default();
    for section in sections.iter().filter(|s| !s.stopped && what(s)) {
        numbers[of(section.kind)].push(section.number);
    }
    numbers
}
