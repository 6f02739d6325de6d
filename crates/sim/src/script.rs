//! The actions of the peers: they join, leave politely or silently, move, restart ICE, publish again, and turn cameras
//! off.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use model::{MediaKind, Pt, Rid, StreamSsrc};

use crate::{
    net::Conditions,
    node::{Face, Request},
    peer::{
        End, Peer, Wish,
        describe::{Offered, mid_of, ssrc},
        send::Habits,
    },
    queue::What,
    rng::Rng,
    world::World,
};

/// Most peers at a time.
const PUBLISHERS_MAX: usize = 4;
const VIEWERS_MAX: usize = 6;
/// Most sections of one session.
const SECTIONS_MAX: usize = 10;
/// What a section does: whether the peer sends, and whether it receives.
const SENDS: (bool, bool) = (true, false);
const RECEIVES: (bool, bool) = (false, true);
const BOTH: (bool, bool) = (true, true);
/// The last bytes of a check are MESSAGE-INTEGRITY and FINGERPRINT (RFC 8489 sections 14.5 and 14.7): a receiver may take a check
/// whose FINGERPRINT is wrong, because MESSAGE-INTEGRITY does not cover it.
const CHECK_TAIL: usize = 24 + 8;
/// How long everything runs undisturbed before all peers leave.
const CALM: Duration = Duration::from_millis(1_500);

/// See the module's head.
pub(crate) struct Script {
    rng: Rng,
    left: usize,
    rooms: u64,
    /// The longest pause between two actions, in milliseconds.
    pause: u64,
    names: u16,
    ports: u16,
    ending: bool,
    ended: Option<Duration>,
}

impl Script {
    pub(crate) fn new(mut rng: Rng) -> Self {
        Self {
            left: rng.between(8, 22) as usize,
            rooms: rng.between(1, 2),
            pause: rng.pick(&[60, 300, 1_500]).unwrap_or(300),
            names: 0,
            ports: 20_000,
            ending: false,
            ended: None,
            rng,
        }
    }

    /// When all peers had left.
    pub(crate) fn ended_at(&self) -> Option<Duration> {
        self.ended
    }

    /// Takes the next action, and plans the one after it.
    pub(crate) fn act(&mut self, world: &mut World) {
        if self.ended.is_some() {
            return;
        }
        if self.ending {
            self.everybody_leaves(world);
            self.ended = Some(world.now);
            return;
        }
        if self.left == 0 {
            self.ending = true;
            world.enter(world.now + CALM, What::Act);
            return;
        }
        self.left -= 1;
        self.do_something(world);
        let pause = self.rng.millis(0, self.pause);
        world.enter(world.now + pause, What::Act);
    }

    fn do_something(&mut self, world: &mut World) {
        let publishers = self.there(world, true);
        let viewers = self.there(world, false);
        let all: Vec<usize> = publishers.iter().chain(&viewers).copied().collect();
        match self.rng.below(100) {
            _ if all.len() < 2 => self.join(world, publishers.is_empty()),
            0..20 if publishers.len() < PUBLISHERS_MAX => self.join(world, true),
            20..45 if viewers.len() < VIEWERS_MAX => self.join(world, false),
            45..55 => self.leave(world, &all, true),
            55..60 => self.leave(world, &all, false),
            60..70 => self.move_one(world, &all),
            70..76 => self.restart_one(world, &all),
            76..83 => self.republish(world, &publishers),
            83..87 => self.switch_camera(world, &publishers),
            87..90 => self.change_layers(world, &publishers),
            90..97 => self.renegotiate(world, &all),
            97 => self.mischief(world),
            98 if self.rng.chance(300) => {
                let lasting = self.rng.millis(50, 700);
                world.stall(self.rng.below(8), lasting);
            }
            _ => self.change_weather(world, &all),
        }
    }

    fn there(&self, world: &World, sends: bool) -> Vec<usize> {
        let lines = world.lines.iter().enumerate();
        let there = lines.filter(|(_, l)| !l.peer.is_over() && l.peer.wish.sends() == sends);
        there.map(|(at, _)| at).collect()
    }

    fn join(&mut self, world: &mut World, publishes: bool) {
        self.names += 1;
        let room = self.rng.below(self.rooms as usize) as u8;
        let id = world.lines.len() as u16;
        let wish = match publishes {
            true if self.rng.chance(300) => self.member(id, room, self.names),
            true => self.publisher(id, room, self.names),
            false => self.viewer(world, room),
        };
        self.bring(world, wish);
    }

    /// A peer joins.
    fn bring(&mut self, world: &mut World, wish: Wish) {
        let id = world.lines.len() as u16;
        let (address, second_hand) = self.address(world);
        let peer = Peer::new(world.seed, id, wish, address, self.rng.fork(u64::from(id)));
        let conditions = [(); 2].map(|()| Conditions::roll(world.weather, &mut self.rng));
        let at = world.add(peer, conditions, second_hand);
        let peer = &mut world.lines[at].peer;
        let request = peer.offer();
        let Wish { room, who, whom, sections, .. } = peer.wish.clone();
        let kinds = self.kinds(&sections);
        world.log.event(
            world.now,
            format_args!("peer {at} comes to room {room} as {who:?}, for {whom:?}: {kinds}"),
        );
        world.ask(at, request);
    }

    fn publisher(&mut self, id: u16, room: u8, who: u16) -> Wish {
        let habits = Habits::roll(&mut self.rng);
        let mut sections = Vec::new();
        let (sound, pictures) = match self.rng.below(10) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        if sound {
            self.add(&mut sections, id, MediaKind::Audio, SENDS, &habits);
        }
        if pictures {
            self.add(&mut sections, id, MediaKind::Video, SENDS, &habits);
            if self.rng.chance(100) {
                // A screen beside the camera.
                self.add(&mut sections, id, MediaKind::Video, SENDS, &habits);
            }
        }
        Wish { face: Face::Publish, room, who: Some(who), whom: None, sections, habits }
    }

    fn viewer(&mut self, world: &World, room: u8) -> Wish {
        let habits = Habits::roll(&mut self.rng);
        let (sounds, pictures) = match self.rng.below(10) {
            0 => (2, 1),
            1 => (0, 2),
            2 => (2, 0),
            _ => {
                let groups = self.rng.between(1, 5) as usize;
                (groups, groups)
            }
        };
        let id = world.lines.len() as u16;
        let mut sections = Vec::new();
        for n in 0..sounds.max(pictures) {
            for (kind, count) in [(MediaKind::Audio, sounds), (MediaKind::Video, pictures)] {
                if n < count {
                    self.add(&mut sections, id, kind, RECEIVES, &habits);
                }
            }
        }
        let names: Vec<u16> = world.lines.iter().filter_map(|l| l.peer.wish.who).collect();
        let who = self.rng.chance(200).then(|| self.rng.pick(&names)).flatten();
        let whom = self.rng.chance(200).then(|| self.rng.pick(&names)).flatten();
        Wish { face: Face::Watch, room, who, whom, sections, habits }
    }

    /// A member of a meeting, who sends and receives in one session.
    fn member(&mut self, id: u16, room: u8, who: u16) -> Wish {
        let habits = Habits::roll(&mut self.rng);
        let mut sections = Vec::new();
        let own = if self.rng.chance(500) { BOTH } else { SENDS };
        for kind in [MediaKind::Audio, MediaKind::Video] {
            self.add(&mut sections, id, kind, own, &habits);
        }
        for _ in 0..self.rng.between(0, 3) {
            for kind in [MediaKind::Audio, MediaKind::Video] {
                self.add(&mut sections, id, kind, RECEIVES, &habits);
            }
        }
        Wish { face: Face::Meet, room, who: Some(who), whom: None, sections, habits }
    }

    /// Adds one section to an offer, in the place of a stopped one or behind all others.
    fn add(
        &mut self,
        sections: &mut Vec<Offered>,
        id: u16,
        kind: MediaKind,
        way: (bool, bool),
        habits: &Habits,
    ) {
        let number = sections.iter().map(|s| s.number + 1).max().unwrap_or(0);
        let Ok(mid) = mid_of(number) else { return };
        let (sends, receives) = way;
        let is_video = kind == MediaKind::Video;
        let rtx_pt = (is_video && self.rng.chance(850)).then_some(Pt(97));
        let simulcast = is_video && sends && self.rng.chance(400);
        let names: &[&str] = if simulcast { &["q", "h", "f"] } else { &[] };
        let rids: Vec<Rid> = names.iter().filter_map(|rid| Rid::parse(rid).ok()).collect();
        // With neither a mid nor a rid in its packets, the offer has to name the SSRC.
        let named = sends && rids.is_empty() && (!habits.says_mid || self.rng.chance(500));
        let own = |nth| ssrc(id, 2 * u32::from(number) + nth, self.rng.clone().next());
        let ssrcs = vec![StreamSsrc { media: own(0), rtx: rtx_pt.map(|_| own(1)) }];
        let section = Offered {
            number,
            mid,
            kind,
            sends,
            receives,
            stopped: false,
            pt: if is_video { Pt(96) } else { Pt(111) },
            rtx_pt,
            nack: is_video || self.rng.chance(300),
            transport_cc: sends && self.rng.chance(600),
            rids,
            ssrcs: if named { ssrcs } else { Vec::new() },
        };
        let stopped = sections.iter().position(|s| s.stopped).filter(|_| self.rng.chance(500));
        match stopped {
            Some(at) => sections[at] = section,
            None => sections.push(section),
        }
    }

    /// A peer offers again: it adds a section, or stops one.
    fn renegotiate(&mut self, world: &mut World, of: &[usize]) {
        let Some(at) = self.rng.pick(of) else { return };
        let Wish { face, habits, mut sections, .. } = world.lines[at].peer.wish.clone();
        let live: Vec<usize> =
            sections.iter().enumerate().filter(|(_, s)| !s.stopped).map(|(n, _)| n).collect();
        let adds = live.len() < 2 || live.len() < SECTIONS_MAX && self.rng.chance(600);
        if adds {
            let kind = self.rng.pick(&[MediaKind::Audio, MediaKind::Video]);
            let way = match face {
                Face::Publish => Some(SENDS),
                Face::Watch => Some(RECEIVES),
                Face::Meet => self.rng.pick(&[SENDS, RECEIVES, BOTH]),
            };
            let (Some(kind), Some(way)) = (kind, way) else { return };
            self.add(&mut sections, at as u16, kind, way, &habits);
        } else if let Some(stops) = self.rng.pick(&live) {
            sections[stops].stopped = true;
        }
        let restarts = self.rng.chance(200);
        let kinds = self.kinds(&sections);
        if let Some(request) = world.lines[at].peer.renegotiate(sections, restarts) {
            let restarts = if restarts { ", and restarts ICE" } else { "" };
            world.log.event(world.now, format_args!("peer {at} offers {kinds}{restarts}"));
            world.ask(at, request);
        }
    }

    fn kinds(&self, sections: &[Offered]) -> String {
        let kinds: Vec<String> = sections.iter().map(describe).collect();
        kinds.join(" ")
    }

    /// An address that is new, or that another peer had before.
    fn address(&mut self, world: &mut World) -> (SocketAddr, bool) {
        let left = world.left_addresses.iter().filter(|(_, free)| *free <= world.now);
        let left: Vec<SocketAddr> = left.map(|(address, _)| *address).collect();
        if self.rng.chance(150)
            && let Some(left) = self.rng.pick(&left)
        {
            world.left_addresses.retain(|(a, _)| *a != left);
            return (left, true);
        }
        self.ports += 1;
        let host = self.rng.between(1, 250) as u8;
        (SocketAddr::from((Ipv4Addr::new(192, 0, 2, host), self.ports)), false)
    }

    fn leave(&mut self, world: &mut World, of: &[usize], politely: bool) {
        if let Some(at) = self.rng.pick(of) {
            self.let_go(world, at, politely);
        }
    }

    fn let_go(&mut self, world: &mut World, at: usize, politely: bool) {
        let peer = &mut world.lines[at].peer;
        let session = peer.session.filter(|_| politely);
        peer.end(if session.is_some() { End::Left } else { End::Vanished });
        world.forget_address(at);
        let how = if session.is_some() { "leaves" } else { "vanishes" };
        world.log.event(world.now, format_args!("peer {at} {how}"));
        if let Some(session) = session {
            world.ask(at, Request::Close { session });
        }
    }

    fn move_one(&mut self, world: &mut World, of: &[usize]) {
        let Some(at) = self.rng.pick(of) else { return };
        let aware = self.rng.chance(600);
        world.forget_address(at);
        let (address, second_hand) = self.address(world);
        let line = &mut world.lines[at];
        line.second_hand |= second_hand;
        line.peer.moved(world.now, address, aware);
        world.addresses.insert(address, at);
        world.log.event(world.now, format_args!("peer {at} moves to {address}, aware: {aware}"));
        if aware && self.rng.chance(300) {
            self.restart(world, at);
        }
    }

    fn restart_one(&mut self, world: &mut World, of: &[usize]) {
        if let Some(at) = self.rng.pick(of) {
            self.restart(world, at);
        }
    }

    fn restart(&mut self, world: &mut World, at: usize) {
        if let Some(request) = world.lines[at].peer.restart() {
            world.log.event(world.now, format_args!("peer {at} restarts ICE"));
            world.ask(at, request);
        }
    }

    /// A participant publishes again, from a reloaded page or from another one.
    fn republish(&mut self, world: &mut World, of: &[usize]) {
        let Some(at) = self.rng.pick(of) else { return };
        let Wish { room, who, .. } = world.lines[at].peer.wish.clone();
        if self.rng.chance(500) {
            self.let_go(world, at, false);
        }
        let Some(who) = who else { return };
        let wish = self.publisher(world.lines.len() as u16, room, who);
        self.bring(world, wish);
    }

    fn switch_camera(&mut self, world: &mut World, of: &[usize]) {
        let Some(at) = self.rng.pick(of) else { return };
        let Some(out) = &mut world.lines[at].peer.out else { return };
        let track = self.rng.below(out.tracks.len());
        let Some(track) = out.tracks.get_mut(track) else { return };
        track.switch(world.now);
        let (kind, on) = (track.kind, track.on);
        world.log.event(world.now, format_args!("peer {at}: {kind:?} on: {on}"));
    }

    fn change_layers(&mut self, world: &mut World, of: &[usize]) {
        let Some(at) = self.rng.pick(of) else { return };
        let Some(out) = &mut world.lines[at].peer.out else { return };
        let layers = self.rng.between(1, 3) as usize;
        let sent = out.tracks.iter_mut().map(|t| t.set_layers(world.now, layers)).max();
        world.log.event(world.now, format_args!("peer {at} sends {sent:?} layers at most"));
    }

    /// Sends noise to the node: other peers' datagrams, changed, cut or repeated, and random bytes.
    fn mischief(&mut self, world: &mut World) {
        world.log.event(world.now, "somebody sends noise");
        let stranger = SocketAddr::from((Ipv4Addr::new(203, 0, 113, 66), 6_666));
        for _ in 0..self.rng.between(5, 40) {
            let nth = self.rng.below(world.overheard.len());
            let Some((from, mut bytes)) = world.overheard.get(nth).cloned() else { return };
            // Handshakes are not noise's to send: the simulation replaces DTLS by keys. A check that is sent once more
            // unchanged is a genuine check, so checks are always changed.
            let is_media = matches!(bytes.first(), Some(128..));
            let is_handshake = matches!(bytes.first(), Some(20..=63));
            let at = self.rng.below(bytes.len());
            match self.rng.below(4) {
                _ if is_handshake => continue,
                0 => flip(&mut self.rng, &mut bytes, if is_media { 0 } else { CHECK_TAIL }),
                1 => bytes.truncate(at),
                2 if is_media => {}
                _ => self.rng.fill(&mut bytes),
            }
            // Random bytes may look like a handshake.
            if matches!(bytes.first(), Some(20..=63)) {
                continue;
            }
            let from = if self.rng.chance(700) { from } else { stranger };
            let later = world.now + self.rng.millis(0, 50);
            world.enter(later, What::ToNode { from, bytes });
        }
    }

    fn change_weather(&mut self, world: &mut World, of: &[usize]) {
        let Some(at) = self.rng.pick(of) else { return };
        let conditions = Conditions::roll(world.weather, &mut self.rng);
        let line = &mut world.lines[at];
        // A rate does not change: it decides what may be expected of the line.
        let way = if self.rng.chance(500) { &mut line.up } else { &mut line.down };
        way.conditions = Conditions { rate: way.conditions.rate, ..conditions };
    }

    fn everybody_leaves(&mut self, world: &mut World) {
        for at in 0..world.lines.len() {
            if !world.lines[at].peer.is_over() {
                let politely = self.rng.chance(700);
                self.let_go(world, at, politely);
            }
        }
    }
}

/// Changes one bit, but none of the last `spared` bytes. A datagram that has no other bytes stays as it is.
fn flip(rng: &mut Rng, bytes: &mut [u8], spared: usize) {
    let covered = bytes.len().saturating_sub(spared);
    let (at, bit) = (rng.below(covered), rng.below(8));
    if at < covered {
        bytes[at] ^= 1 << bit;
    }
}

fn describe(section: &Offered) -> String {
    let Offered { number, kind, rids, rtx_pt, nack, .. } = section;
    let way = match (section.stopped, section.sends, section.receives) {
        (true, ..) => "stopped",
        (_, true, true) => "both",
        (_, true, false) => "sends",
        _ => "wants",
    };
    let rtx = if rtx_pt.is_some() { "+rtx" } else { "" };
    let nack = if *nack { "+nack" } else { "" };
    format!("{number}-{way}-{}{}{rtx}{nack}", kind.as_str(), rids.len())
}
