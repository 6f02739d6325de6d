//! A room of hundreds of members with room sessions, in process: what a join costs, a change of who speaks, and a room
//! in which everybody talks at once. The clock of the room is virtual; what is measured is the time that its calls take.

use std::{
    io,
    time::{Duration, Instant},
};

use ::room::{Admission, Entering, Ids, Negotiator, Roles, Room, RoomConfig, Target};
use model::{Event, Loudness, NodeId, ParticipantId, RoomId, SessionId, TrackId};

use crate::report::Table;
use crate::room::{WATCH, random, refused, room_config};

const SMALL: usize = 20;
const BIG: usize = 500;
/// Slots of each member.
const AUDIO: usize = 4;
const VIDEO: usize = 9;
/// Sessions that one slice of work fits, as in the core of the node.
const SLICE: usize = 64;
/// Changes of who speaks that are measured. Of those that reached most members the fastest one counts, since others share
/// the machine.
const CHANGES: u64 = 20;

/// Fifths of a second for which everybody talks; the fastest one counts.
const CROWD_TICKS: usize = 10;

/// What a number of calls of the room took and put out.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    all: Duration,
    longest_slice: Duration,
    commands: usize,
    notices: usize,
}

/// A room and its clock.
struct World {
    room: Room,
    config: RoomConfig,
    ids: Ids,
    now: Instant,
    /// Each member's session and audio track.
    members: Vec<(SessionId, TrackId)>,
}

/// Measures rooms of members.
///
/// # Errors
/// An offer is refused, or a change reached nobody.
pub(crate) fn measure() -> io::Result<Table> {
    let title =
        format!("members with {AUDIO} audio and {VIDEO} video slots, in process, no sockets");
    let mut table = Table::new("members", title, &["20", "500"]);
    let mut lives = Vec::new();
    for members in [SMALL, BIG] {
        lives.push(live(members)?);
    }
    let mut row = |name: &str, unit, of: &dyn Fn(&Life) -> f64| {
        table.row(name, unit, lives.iter().map(|life| Some(of(life))));
    };
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    row("a member joins: all told", "us", &|l| us(l.join.all));
    row("a member joins: longest slice", "us", &|l| us(l.join.longest_slice));
    row("who speaks changes: all told", "us", &|l| us(l.speaker.all));
    row("who speaks changes: longest slice", "us", &|l| us(l.speaker.longest_slice));
    row("who speaks changes: commands", "", &|l| l.speaker.commands as f64);
    row("everybody talks for 200 ms", "us", &|l| us(l.crowd.all));
    row("everybody talks for 200 ms: commands", "", &|l| l.crowd.commands as f64);
    table.note("each member sends sound and a picture; levels come five times a second from each who talks");
    table.note("everybody talks: the fifth of a second that took least, in which the loudest set stays as it is; of the other rows too the fastest of several counts");
    table.note("slice: for so long the room answers nobody else");
    Ok(table)
}

struct Life {
    join: Cost,
    speaker: Cost,
    crowd: Cost,
}

fn live(count: usize) -> io::Result<Life> {
    let mut world = World::new()?;
    let offer = offer();
    let mut join = Cost::default();
    for at in 0..count {
        let cost = world.join(at, &offer)?;
        world.now += Duration::from_millis(50);
        // The last ten joins are those of a full room. The fastest one counts, as below.
        if at + 10 >= count && (join.commands == 0 || cost.all < join.all) {
            join = cost;
        }
    }
    world.pass(Duration::from_secs(10));
    let mut speaker = Cost::default();
    for change in 0..CHANGES {
        // Each time somebody speaks whom nobody sees.
        let who = (change as usize * 17 + 3) % count;
        let mut cost = world.level(who, 25);
        cost.add(world.pass(Duration::from_secs(3)));
        world.level(who, 127);
        world.pass(Duration::from_secs(8));
        let (reached, before) = (cost.commands, speaker.commands);
        if reached > before || reached == before && cost.all < speaker.all {
            speaker = cost;
        }
    }
    if speaker.commands < count / 2 {
        return Err(io::Error::other("a change of who speaks reached too few members"));
    }
    let mut crowd = Cost::default();
    for tick in 0..CROWD_TICKS {
        let mut cost = Cost::default();
        for who in 0..count {
            cost.add(world.level(who, 20 + ((who * 7 + tick * 3) % 25) as u8));
        }
        cost.add(world.pass(Duration::from_millis(200)));
        if tick == 0 || cost.all < crowd.all {
            crowd = cost;
        }
    }
    Ok(Life { join, speaker, crowd })
}

impl Cost {
    fn add(&mut self, other: Cost) {
        self.all += other.all;
        self.longest_slice = self.longest_slice.max(other.longest_slice);
        self.commands += other.commands;
        self.notices += other.notices;
    }
}

impl World {
    fn new() -> io::Result<Self> {
        let id = RoomId::parse("room").map_err(io::Error::other)?;
        let room = Room::new(id, NodeId(1), 1);
        let (config, ids) = (room_config(), Ids::default());
        Ok(Self { room, config, ids, now: Instant::now(), members: Vec::new() })
    }

    /// Makes a call, and works until it has reached everybody.
    fn turn(&mut self, call: impl FnOnce(&mut Room, Instant)) -> Cost {
        let (room, now) = (&mut self.room, self.now);
        let mut cost = Cost::default();
        let begun = Instant::now();
        call(room, now);
        let mut slice = begun;
        loop {
            let has_more = room.work(SLICE);
            while room.poll_command().is_some() {
                cost.commands += 1;
            }
            while room.poll_notice().is_some() {
                cost.notices += 1;
            }
            while room.poll_record().is_some() {}
            cost.longest_slice = cost.longest_slice.max(slice.elapsed());
            if !has_more {
                break;
            }
            slice = Instant::now();
        }
        cost.all = begun.elapsed();
        cost
    }

    fn join(&mut self, at: usize, offer: &str) -> io::Result<Cost> {
        let participant =
            ParticipantId::parse(&format!("member-{at}")).map_err(io::Error::other)?;
        let mut random = random;
        let agreed = Negotiator::new(&self.config, &self.ids, &mut random)
            .answer(Roles::Both, offer)
            .map_err(refused)?;
        let entering = Entering {
            participant: Some(participant),
            identity: None,
            target: Target::any(),
            admission: Some(Box::new(Admission::default())),
        };
        let config = self.config.clone();
        let mut entered = None;
        let mut cost = self.turn(|room, now| {
            entered = Some(room.enter(now, &config, entering, agreed));
        });
        let session = entered.ok_or_else(|| io::Error::other("no turn was made"))?;
        let session = session.map_err(refused)?.session;
        cost.add(self.turn(|room, now| room.handle_event(now, Event::Connected { session })));
        let records = self.room.records();
        let tracks: Vec<TrackId> = records
            .last()
            .map(|record| record.tracks.iter().map(|track| track.id).collect())
            .unwrap_or_default();
        for &track in &tracks {
            let event = Event::TrackActive { session, track };
            cost.add(self.turn(|room, now| room.handle_event(now, event)));
        }
        self.members.extend(tracks.first().map(|track| (session, *track)));
        Ok(cost)
    }

    fn level(&mut self, who: usize, level: u8) -> Cost {
        let (session, track) = self.members[who];
        let event = Event::AudioLevel { session, track, level: Loudness::Level(level) };
        self.turn(|room, now| room.handle_event(now, event))
    }

    /// Lets time pass.
    fn pass(&mut self, time: Duration) -> Cost {
        let end = self.now + time;
        let mut cost = Cost::default();
        while let Some(due) = self.room.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            cost.add(self.turn(|room, now| room.handle_timeout(now)));
        }
        self.now = end;
        cost
    }
}

/// An offer of a member: it sends an audio and a video section, and receives others.
fn offer() -> String {
    let parts: Vec<&str> = WATCH.split("m=").collect();
    let kinds = [1, 2].into_iter().map(|kind| (kind, "a=sendonly"));
    let kinds = kinds.chain((0..AUDIO).map(|_| (1, "a=recvonly")));
    let kinds: Vec<_> = kinds.chain((0..VIDEO).map(|_| (2, "a=recvonly"))).collect();
    let mids: Vec<String> = (0..kinds.len()).map(|mid| mid.to_string()).collect();
    let mut offer = parts[0].replace("BUNDLE 0 1", &format!("BUNDLE {}", mids.join(" ")));
    for (at, (kind, direction)) in kinds.into_iter().enumerate() {
        let section = parts[kind].replace(&format!("a=mid:{}", kind - 1), &format!("a=mid:{at}"));
        offer += &format!("m={}", section.replace("a=recvonly", direction));
    }
    offer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_who_speaks_reaches_everybody_once() {
        let life = live(100).unwrap();
        // One command for the sound and one for the picture at most; the speaker is not shown to itself.
        assert!((99..=200).contains(&life.speaker.commands), "{:?}", life.speaker);
        // At most every 100 ms something is worked out, and each time a member gets one command at most.
        assert!(life.crowd.commands <= 100 * 3, "{:?}", life.crowd);
    }
}
