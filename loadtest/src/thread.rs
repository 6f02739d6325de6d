//! A thread of bots: waits for all their sockets at once, reads in batches, keeps their timers, takes orders, counts.
//! What a bot does is decided in `bot`; when it joins, by the director. `rooms`: what members of rooms need besides.

mod rooms;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet, VecDeque},
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        mpsc::{Receiver, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::event::{Timespec, epoll};
use udp::{RecvBatch, SendBatch, UdpSocket, WakeFd};

use crate::{
    bot::{BATCH, Bot, BotEvent, BotId, BotPlan, Buffers, Shared, events::Events},
    random::Random,
    signal::{Answered, Job, Mailbox, Request, Signaler},
    stats::{Histogram, Sample, Tally},
};

/// An order to a thread.
pub(crate) enum Order {
    /// A new bot.
    Join(Box<BotPlan>),
    /// The server's answer to a bot's offer.
    Answer {
        /// Which bot.
        bot: BotId,
        /// The answer.
        result: Result<Answered, String>,
    },
    /// The events of a bot's room session are open, or could not be opened.
    Events {
        /// Which bot.
        bot: BotId,
        /// The events.
        result: Result<Box<Events>, String>,
    },
    /// The server's answer to a later offer of a bot.
    LaterAnswer {
        /// Which bot.
        bot: BotId,
        /// The answer.
        result: Result<String, String>,
    },
    /// A bot leaves; `silent`: without a goodbye.
    Leave {
        /// Which bot.
        bot: BotId,
        /// Without a goodbye, as when its machine is gone.
        silent: bool,
    },
    /// A bot changes its address.
    Move {
        /// Which bot.
        bot: BotId,
    },
    /// All bots stop sending new media.
    Mute,
    /// All bots leave, and the thread ends.
    Finish,
}

/// What a thread reports.
pub(crate) enum News {
    /// A bot is connected.
    Joined(BotId),
    /// A bot has stopped reading, as planned.
    Stalled(BotId),
    /// A bot has failed.
    Failed(BotId, String),
    /// A second has ended.
    Sample(Box<Sample>),
    /// The thread has ended; what it counted since the last sample.
    Finished,
}

/// Time between two samples.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// Sockets that are read after one wait.
const EVENTS: usize = 256;
const WAKE: u64 = u64::MAX;
/// Packets gather for so long.
const NAP: Duration = Duration::from_millis(1);
/// Less is not worth a call.
const SHORTEST_NAP: Duration = Duration::from_micros(100);
/// Bytes of datagrams that one bot sends at a time: a whole key frame of three layers.
const OUTGOING: usize = 256 << 10;

/// A server sends to somebody who left without a word until consent expires, which takes 30 s (RFC 7675 section 5.1), and
/// to somebody who moved until it has heard of that. Nobody else has the address so soon, in life.
const HAUNTED: Duration = Duration::from_secs(40);
/// Such addresses of one thread.
const GHOSTS: usize = 1_024;

/// What a thread needs to begin.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) shared: Shared,
    pub(crate) orders: Receiver<Order>,
    pub(crate) mailbox: Mailbox,
    pub(crate) news: Sender<News>,
    pub(crate) signaler: Signaler,
    pub(crate) epoch: Instant,
    pub(crate) seed: u64,
}

/// The thread's state.
pub(crate) struct BotThread {
    index: usize,
    shared: Shared,
    orders: Receiver<Order>,
    mailbox: Mailbox,
    news: Sender<News>,
    signaler: Signaler,
    epoch: Instant,
    random: Random,
    epoll: OwnedFd,
    wake: Arc<WakeFd>,
    buffers: Buffers,
    /// What all count but the bystanders, and what those count.
    tallies: [Tally; 2],
    /// Bots by place; a place is used again after its bot.
    bots: Vec<Option<Bot>>,
    free: Vec<usize>,
    /// Sockets that bots left without a word, and since when. See [`HAUNTED`].
    ghosts: VecDeque<(Instant, UdpSocket)>,
    places: HashMap<BotId, usize>,
    /// Places of those who are joining.
    joining: HashSet<usize>,
    /// How often it has waited.
    turn: u64,
    /// When bots are due. An entry that is not the bot's present one is old, and skipped.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// The same of publishers, who keep time.
    beats: BinaryHeap<Reverse<(Instant, usize)>>,
    due: Vec<Option<Instant>>,
    tick: u64,
    muted: bool,
    finished: bool,
}

impl BotThread {
    /// A thread without bots.
    ///
    /// # Errors
    /// The system has no more descriptors.
    pub(crate) fn new(start: Start) -> io::Result<BotThread> {
        let Start { index, shared, orders, mailbox, news, signaler, epoch, seed } = start;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let wake = Arc::clone(&mailbox.wake);
        let data = epoll::EventData::new_u64(WAKE);
        epoll::add(&epoll, wake.as_fd(), data, epoll::EventFlags::IN)?;
        Ok(BotThread {
            index,
            shared,
            orders,
            mailbox,
            news,
            signaler,
            epoch,
            random: Random::new(seed),
            epoll,
            wake,
            buffers: Buffers {
                incoming: RecvBatch::new(BATCH, 65_535),
                single: RecvBatch::new(1, 65_535),
                outgoing: SendBatch::with_capacity(OUTGOING, 512),
                plain: Box::new([0; 2_048]),
            },
            tallies: Default::default(),
            bots: Vec::new(),
            free: Vec::new(),
            ghosts: VecDeque::new(),
            places: HashMap::new(),
            joining: HashSet::new(),
            turn: 0,
            timers: BinaryHeap::new(),
            beats: BinaryHeap::new(),
            due: Vec::new(),
            tick: 0,
            muted: false,
            finished: false,
        })
    }

    /// Runs until [`Order::Finish`].
    ///
    /// # Errors
    /// Waiting fails, which the system never does to a good descriptor.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = [MaybeUninit::uninit(); EVENTS];
        let mut woken = Instant::now();
        while !self.finished {
            self.nap(woken);
            let timeout = self.timeout();
            let ready = match epoll::wait(&self.epoll, &mut events, Some(&timeout)) {
                Ok((ready, _)) => ready,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            woken = Instant::now();
            self.turn += 1;
            let mut orders = false;
            for event in ready.iter() {
                match event.data.u64() {
                    WAKE => orders = true,
                    token => match BotThread::events_of(token) {
                        Some(place) => self.read_events(place),
                        None => self.receive(token as usize),
                    },
                }
            }
            if orders {
                self.wake.drain();
                while let Ok(order) = self.orders.try_recv() {
                    self.obey(order);
                }
            }
            self.run_timers();
        }
        self.sample(Instant::now());
        let _nobody_listens = self.news.send(News::Finished);
        Ok(())
    }

    /// Lets packets and timers of viewers gather for a moment: a wake-up for many costs what it costs for one, here and for
    /// the sender. Nothing that is measured changes by it, since packets count from when the kernel had them. Who joins is
    /// not kept waiting, and publishers keep time.
    fn nap(&self, woken: Instant) {
        if !self.joining.is_empty() {
            return;
        }
        let until = woken + NAP;
        let until =
            first(&self.beats).map_or(until, |beat| beat.min(until)).min(self.next_sample());
        let wait = until.saturating_duration_since(Instant::now());
        if wait > SHORTEST_NAP {
            thread::sleep(wait);
        }
    }

    /// Until the next timer, in whole milliseconds, as epoll counts: rounded up, so that it is due then.
    fn timeout(&self) -> Timespec {
        let wait = self.next_timer().saturating_duration_since(Instant::now());
        let millis = wait.as_micros().div_ceil(1_000).min(1_000) as i64;
        Timespec { tv_sec: millis / 1_000, tv_nsec: millis % 1_000 * 1_000_000 }
    }

    fn next_timer(&self) -> Instant {
        let timers = [first(&self.timers), first(&self.beats)].into_iter().flatten();
        timers.fold(self.next_sample(), Instant::min)
    }

    fn next_sample(&self) -> Instant {
        self.epoch + SAMPLE_EVERY * (self.tick as u32 + 1)
    }

    fn receive(&mut self, place: usize) {
        let Some(Some(bot)) = self.bots.get_mut(place) else { return };
        let tally = &mut self.tallies[usize::from(bot.plan.bystands)];
        // Who was read in the turn before and has something again did not get it all.
        let crowded = bot.read_in + 1 == self.turn;
        bot.read_in = self.turn;
        let event = bot.receive(crowded, &self.shared, &mut self.buffers, tally);
        if event.is_some() {
            return self.after(place, event);
        }
        let due = bot.poll_sooner();
        self.set_timer(place, due);
    }

    fn run_timers(&mut self) {
        let now = Instant::now();
        while let Some((due, place)) = self.take_due(now) {
            if self.due[place] != Some(due) {
                continue;
            }
            self.due[place] = None;
            self.tallies[0].times.lag.record(now - due);
            let Some(bot) = &mut self.bots[place] else { continue };
            let tally = &mut self.tallies[usize::from(bot.plan.bystands)];
            let event = bot.handle_timeout(now, &self.shared, &mut self.buffers, tally);
            self.after(place, event);
        }
        while now >= self.next_sample() {
            self.sample(now);
            self.tick += 1;
        }
    }

    /// A timer that is due, publishers' first. It ends: what is set meanwhile is due later than `now`.
    fn take_due(&mut self, now: Instant) -> Option<(Instant, usize)> {
        let heaps = [&mut self.beats, &mut self.timers];
        let heap = heaps.into_iter().find(|heap| first(heap).is_some_and(|due| due <= now))?;
        heap.pop().map(|entry| entry.0)
    }

    /// What follows from a bot's turn.
    fn after(&mut self, place: usize, event: Option<BotEvent>) {
        let Some(bot) = &self.bots[place] else { return };
        let id = bot.plan.id;
        match event {
            Some(BotEvent::Joined) => {
                self.joining.remove(&place);
                self.tell(News::Joined(id));
                self.offer_again(place);
            }
            Some(BotEvent::Stalled) => {
                // A socket that is full of what nobody reads would wake us for ever.
                let _was_in_it = epoll::delete(&self.epoll, bot.socket.as_fd());
                self.tell(News::Stalled(id));
            }
            Some(BotEvent::Failed(reason)) => {
                self.tell(News::Failed(id, reason));
                // Without a goodbye to the peer, but the server may still have the session.
                self.remove(place, false, true);
                return;
            }
            None => {}
        }
        self.rearm(place);
    }

    fn rearm(&mut self, place: usize) {
        let Some(bot) = &self.bots[place] else { return };
        let due = bot.poll_timeout();
        self.set_timer(place, due);
    }

    fn set_timer(&mut self, place: usize, due: Option<Instant>) {
        let is_sooner = |due: &Instant| self.due[place].is_none_or(|known| *due < known);
        // A bot that is behind gets its turn after the others. The clock is asked only when something changes.
        let due = due.filter(is_sooner).map(|due| due.max(self.earliest())).filter(is_sooner);
        if let Some(due) = due {
            self.due[place] = Some(due);
            let publishes = self.bots[place].as_ref().is_some_and(Bot::publishes);
            let heap = if publishes { &mut self.beats } else { &mut self.timers };
            heap.push(Reverse((due, place)));
        }
    }

    /// Timers are not set to the past: the loop over them would not end.
    fn earliest(&self) -> Instant {
        Instant::now() + Duration::from_micros(50)
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Join(plan) => self.join(*plan),
            Order::Answer { bot, result } => self.take_answer(bot, result),
            Order::Events { bot, result } => self.take_events(bot, result),
            Order::LaterAnswer { bot, result } => self.take_later_answer(bot, result),
            Order::Leave { bot, silent } => {
                if let Some(&place) = self.places.get(&bot) {
                    self.remove(place, silent, !silent);
                }
            }
            Order::Move { bot } => self.change_address(bot),
            Order::Mute => {
                self.muted = true;
                self.bots.iter_mut().flatten().for_each(|bot| bot.mute(&self.shared));
            }
            Order::Finish => {
                for place in 0..self.bots.len() {
                    self.remove(place, false, true);
                }
                self.finished = true;
            }
        }
    }

    fn join(&mut self, plan: BotPlan) {
        if self.muted {
            return;
        }
        let now = Instant::now();
        let id = plan.id;
        let random = Random::new(self.random.next());
        let made = Bot::new(now, plan, &self.shared, random).and_then(|(bot, offer)| {
            let place = self.free.pop().unwrap_or(self.bots.len());
            let data = epoll::EventData::new_u64(place as u64);
            epoll::add(&self.epoll, bot.socket.as_fd(), data, epoll::EventFlags::IN)?;
            Ok((place, bot, offer))
        });
        let (place, bot, offer) = match made {
            Ok(made) => made,
            Err(error) => {
                self.tell(News::Failed(id, format!("swarm: no socket: {error}")));
                return;
            }
        };
        let deadline = now + bot.plan.patience;
        let (mailbox, json) = (self.mailbox.clone(), bot.plan.role.is_member());
        self.signaler.send(Job {
            url: bot.plan.url.clone(),
            token: bot.plan.token.clone(),
            request: Request::Post { bot: id, offer, json, deadline, mailbox },
        });
        if place == self.bots.len() {
            self.bots.push(None);
            self.due.push(None);
        }
        self.bots[place] = Some(bot);
        self.due[place] = None;
        self.places.insert(id, place);
        self.joining.insert(place);
        self.rearm(place);
    }

    fn take_answer(&mut self, id: BotId, result: Result<Answered, String>) {
        let now = Instant::now();
        let Some(&place) = self.places.get(&id) else {
            // It has gone since: the session must not stay behind.
            if let Ok(Answered { resource: Some(url), token, .. }) = result {
                self.signaler.send(Job { url, token, request: Request::Delete });
            }
            return;
        };
        let Some(bot) = &mut self.bots[place] else { return };
        let event = match result {
            Ok(answered) => bot.accept(now, answered.resource, &answered.sdp, &self.shared),
            Err(reason) => Some(BotEvent::Failed(reason)),
        };
        if event.is_none() {
            self.ask_for_events(place);
        }
        self.after(place, event);
    }

    fn change_address(&mut self, id: BotId) {
        let Some(&place) = self.places.get(&id) else { return };
        let Some(bot) = self.bots[place].as_mut().filter(|bot| !bot.is_stalled()) else { return };
        // Without a new socket the bot stays where it is.
        if let Ok(old) = bot.change_address(Instant::now(), &self.shared) {
            let data = epoll::EventData::new_u64(place as u64);
            if let Err(error) =
                epoll::add(&self.epoll, bot.socket.as_fd(), data, epoll::EventFlags::IN)
            {
                let reason = format!("swarm: no socket: {error}");
                self.after(place, Some(BotEvent::Failed(reason)));
                return;
            }
            self.haunt(old);
        }
        self.rearm(place);
    }

    /// A bot goes. `delete`: the server is asked to end its session.
    fn remove(&mut self, place: usize, silent: bool, delete: bool) {
        let Some(mut bot) = self.bots[place].take() else { return };
        let tally = &mut self.tallies[usize::from(bot.plan.bystands)];
        bot.leave(Instant::now(), silent, &self.shared, &mut self.buffers, tally);
        if let Some(url) = bot.resource.take().filter(|_| delete) {
            let token = bot.plan.token.clone();
            self.signaler.send(Job { url, token, request: Request::Delete });
        }
        self.places.remove(&bot.plan.id);
        self.joining.remove(&place);
        self.due[place] = None;
        self.free.push(place);
        if silent {
            self.haunt(bot.socket);
        }
    }

    /// Keeps the port that a bot left without a word, so that no other bot gets what is still sent to it.
    fn haunt(&mut self, socket: UdpSocket) {
        let now = Instant::now();
        let is_over =
            |ghost: &(Instant, UdpSocket)| now.saturating_duration_since(ghost.0) > HAUNTED;
        while self.ghosts.len() >= GHOSTS || self.ghosts.front().is_some_and(is_over) {
            self.ghosts.pop_front();
        }
        // A socket that is still watched would wake the thread for ever: then rather none.
        if epoll::delete(&self.epoll, socket.as_fd()).is_err() {
            return;
        }
        // Nobody reads it: let the kernel drop what comes. That it will not hurts nobody either.
        let _refused = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 1);
        self.ghosts.push_back((now, socket));
    }

    fn sample(&mut self, now: Instant) {
        for bot in self.bots.iter_mut().flatten() {
            let tally = &mut self.tallies[usize::from(bot.plan.bystands)];
            bot.sample(now, &self.shared, tally);
        }
        let take = |tally: &mut Tally| Tally {
            counters: tally.counters,
            times: std::mem::take(&mut tally.times),
        };
        let [mut all, bystanders] = self.tallies.each_mut().map(take);
        all.counters.add(&bystanders.counters);
        all.times.merge(&bystanders.times);
        if SAMPLE_EVERY * (self.tick as u32 + 1) == self.shared.warm_up {
            self.bots.iter_mut().flatten().for_each(|bot| bot.delays = Histogram::default());
        }
        let sample = Sample { thread: self.index, tick: self.tick, all, bystanders };
        self.tell(News::Sample(Box::new(sample)));
    }

    fn tell(&self, news: News) {
        // The director hears no more once it has given up.
        let _nobody_listens = self.news.send(news);
    }
}

fn first(heap: &BinaryHeap<Reverse<(Instant, usize)>>) -> Option<Instant> {
    heap.peek().map(|entry| entry.0.0)
}
