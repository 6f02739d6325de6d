//! The clock, the network, and what is kept of those who were there.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use room::RoomSettings;
use sfumato_interop::StillNode;
use signaling::lab::Taken;

use crate::{
    cast::{CAST, Part, name, room},
    member::Member,
    rng::Rng,
};

/// The clock goes forward by this much.
const STEP: Duration = Duration::from_millis(20);
/// Rounds of one step: datagrams arrive at once, so an exchange ends within a few.
const ROUNDS: usize = 200;

/// How a member went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gone {
    pub(crate) at: Instant,
    /// It said goodbye; otherwise it vanished.
    pub(crate) goodbye: bool,
    /// It spoke until then.
    pub(crate) spoke_until: Option<Instant>,
}

/// A data message under way.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) at: Instant,
    /// As [`Member::messages`] has it.
    pub(crate) key: String,
    /// Receivers with their lives.
    pub(crate) receivers: Vec<(u16, u16)>,
    pub(crate) sender: Option<u16>,
}

/// What was done and seen, so that a test can tell whether it tested anything.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) joins: usize,
    pub(crate) most: usize,
    pub(crate) returns: usize,
    pub(crate) leaves: usize,
    pub(crate) vanished: usize,
    pub(crate) offers: usize,
    pub(crate) mutes: usize,
    pub(crate) permissions: usize,
    pub(crate) messages: usize,
    pub(crate) received_messages: usize,
    pub(crate) resumed: usize,
    pub(crate) events: usize,
    pub(crate) packets: usize,
    pub(crate) views: usize,
    pub(crate) flowing: usize,
    pub(crate) voices: usize,
}

/// See the module's head.
pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) rng: Rng,
    pub(crate) node: StillNode,
    pub(crate) members: BTreeMap<u16, Member>,
    pub(crate) gone: BTreeMap<u16, Gone>,
    pub(crate) lives: BTreeMap<u16, u16>,
    /// The track of each sender, life and kind that ever was.
    pub(crate) tracks: BTreeMap<(u16, u16, bool), String>,
    pub(crate) expected: Vec<Expected>,
    pub(crate) said: usize,
    pub(crate) tally: Tally,
    addresses: BTreeMap<SocketAddr, u16>,
}

impl World {
    pub(crate) fn new(seed: u64, settings: RoomSettings) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            rng: Rng::new(seed),
            node: StillNode::new(now, 2, settings),
            members: BTreeMap::new(),
            gone: BTreeMap::new(),
            lives: BTreeMap::new(),
            tracks: BTreeMap::new(),
            expected: Vec::new(),
            said: 0,
            tally: Tally::default(),
            addresses: BTreeMap::new(),
        }
    }

    /// Identities that are not in the room, or vanished.
    pub(crate) fn absent(&self) -> Vec<u16> {
        (0..CAST).filter(|index| !self.members.contains_key(index)).collect()
    }

    pub(crate) fn join(&mut self, index: u16) {
        let life = self.lives.entry(index).or_default();
        *life += 1;
        let member = Member::join(&self.node, self.now, Part::of(index), *life);
        self.addresses.insert(member.address, index);
        self.tally.joins += 1;
        self.tally.returns += usize::from(self.gone.remove(&index).is_some());
        self.members.insert(index, member);
        self.tally.most = self.tally.most.max(self.members.len());
    }

    /// Leaves with a goodbye, or vanishes.
    pub(crate) fn go(&mut self, index: u16, goodbye: bool) {
        if goodbye {
            self.node.core.close(self.now, self.members[&index].session).unwrap();
            self.settle();
            let view = &self.members[&index].view;
            let followed = self.members[&index].follower.is_some();
            assert!(!followed || view.closed.as_deref() == Some("deleted"), "{}", view.me);
            self.tally.leaves += 1;
        } else {
            self.tally.vanished += 1;
        }
        let member = self.members.remove(&index).unwrap();
        self.addresses.remove(&member.address);
        let spoke_until = member.speaks.map(|_| self.now).or(member.spoke_until);
        self.gone.insert(index, Gone { at: self.now, goodbye, spoke_until });
    }

    /// Lets the clock go forward by one step, and does what is due.
    pub(crate) fn step(&mut self) {
        self.now += STEP;
        self.settle();
        self.check_packets();
    }

    /// Lets everything arrive that is under way.
    pub(crate) fn settle(&mut self) {
        for _ in 0..ROUNDS {
            let mut quiet = true;
            for member in self.members.values_mut().filter(|m| m.due() <= self.now) {
                quiet = false;
                for datagram in member.turn(self.now) {
                    self.node.arrive(member.address, datagram);
                }
            }
            if self.node.is_busy(self.now) {
                quiet = false;
                self.turn_node();
            }
            self.follow();
            if quiet {
                return;
            }
        }
        panic!("{:?} after the start: the room does not become quiet", self.now - self.start);
    }

    fn turn_node(&mut self) {
        for (to, datagram) in self.node.turn(self.now) {
            let index = self.addresses.get(&to);
            let Some(member) = index.and_then(|index| self.members.get_mut(index)) else {
                continue;
            };
            for answer in member.arrive(self.now, &datagram) {
                self.node.arrive(member.address, answer);
            }
        }
    }

    /// Members read their events.
    fn follow(&mut self) {
        let hidden: Vec<(u16, String)> = (0..CAST)
            .filter(|index| Part::of(*index).permissions.hidden)
            .map(|index| (index, name(index)))
            .collect();
        for (index, member) in &mut self.members {
            while let Some(follower) = &mut member.follower {
                match follower.take() {
                    Taken::Messages(messages) if messages.is_empty() => break,
                    Taken::Messages(messages) => {
                        for (number, text) in messages {
                            self.tally.events += 1;
                            for (other, name) in hidden.iter().filter(|(other, _)| other != index) {
                                assert!(
                                    !text.contains(name),
                                    "{index} was told of {other}: {text}"
                                );
                            }
                            let message = serde_json::from_str(&text).unwrap();
                            if let Some((from, text)) = member.view.apply(self.now, number, message)
                            {
                                member.got_message(from.as_deref(), &text);
                            }
                        }
                    }
                    Taken::Ended => break,
                    Taken::Lost => panic!("{index}: a log that is read loses nothing"),
                }
            }
        }
    }

    /// Notes the tracks of who is connected, as the room knows them.
    pub(crate) fn note_tracks(&mut self) {
        let unknown = |m: &Member| m.connected_at.is_some() && m.tracks.is_empty();
        if !self.members.values().any(|m| unknown(m) && (m.part.microphone || m.part.camera)) {
            return;
        }
        let records = self.node.core.member_records(&room()).unwrap_or_default();
        for (index, member) in self.members.iter_mut().filter(|(_, m)| unknown(m)) {
            let Some(record) = records.iter().find(|r| r.session == member.session) else {
                continue;
            };
            for track in &record.tracks {
                let video = track.source.kind() == model::MediaKind::Video;
                member.tracks.insert(video, track.id);
                self.tracks.insert((*index, member.life, video), track.id.to_string());
            }
        }
    }
}
