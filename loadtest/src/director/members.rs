//! The members of the rooms: when each joins, who leaves, and who replaces whom.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Action, Called, Director, Kind, Record, State};
use crate::{
    bot::{BotId, BotPlan, Role, link::Faults},
    thread::Order,
};

/// Receiving sections of each kind in one offer; servers have limits.
const MAX_SLOTS: usize = 31;
/// Interval between the joins of members that must be connected before the others.
const EARLY_PACE: Duration = Duration::from_millis(20);
/// Bystanders see undisturbed media for this long before the others join, as the baseline for freezes.
const USUAL: Duration = Duration::from_secs(1);
/// A failed viewer is replaced after this time, and further ones at this interval at least, so that a dead server is
/// not flooded with requests.
const REPLACE_AFTER: Duration = Duration::from_secs(1);

/// A member that publishes, watches, or both; with one bot for each session.
#[derive(Debug)]
pub(super) struct Member {
    room: u32,
    place: u32,
    kind: Kind,
    /// Its name in URLs.
    participant: String,
    /// Shared by all its sessions, because a token is issued to one identity.
    token: Option<Arc<str>>,
    bots: Vec<BotId>,
}

impl Member {
    fn publishes(&self) -> bool {
        matches!(self.kind, Kind::Publishes | Kind::Both)
    }
}

impl Director<'_> {
    pub(super) fn call_publishers(&mut self, start: Instant) {
        let plan = self.plan;
        let both = plan.meeting || plan.members.is_some();
        let kind = if both { Kind::Both } else { Kind::Publishes };
        let all = u64::from(plan.rooms) * u64::from(plan.publishers);
        // Members that only publish are connected when the viewers come; a meeting gathers over the whole time.
        let over = if both {
            plan.join_over
        } else {
            plan.join_over.min(Duration::from_millis(20) * all as u32)
        };
        let mut number = 0;
        for place in 0..plan.publishers {
            for room in 0..plan.rooms {
                let when = start + over.mul_f64(number as f64 / all as f64);
                self.at(when, Action::Join { room, place, kind });
                number += 1;
            }
        }
        for (rate, action) in [(plan.churn, Action::Churn), (plan.moves, Action::Move)] {
            if rate > 0.0 {
                self.at(start + plan.join_over, action);
            }
        }
    }

    /// Calls the next group of members when those whom they depend on are connected.
    pub(super) fn call_next(&mut self, now: Instant) {
        let plan = self.plan;
        match self.called {
            Called::Publishers => {
                let publishers = u64::from(plan.rooms) * u64::from(plan.publishers);
                // The viewers of a meeting join with it, unless bystanders have to be connected before.
                let waits = !plan.meeting || plan.bystanders > 0;
                if waits && self.settled(|record| record.publishes) < publishers {
                    return;
                }
                if plan.bystanders == 0 {
                    self.called = Called::Everybody;
                    return self.call_viewers(now);
                }
                self.called = Called::Bystanders;
                let all = plan.rooms.saturating_mul(plan.bystanders);
                let over = plan.join_over.min(EARLY_PACE * all);
                self.call(now, plan.bystanders, over, Kind::Bystands);
            }
            Called::Bystanders => {
                let all = u64::from(plan.rooms) * u64::from(plan.bystanders);
                let watched = if self.plan.watches_one_by_one() { plan.publishers } else { 1 };
                if self.settled(|record| record.bystands) >= all * u64::from(watched) {
                    self.called = Called::BystandersSettled(now);
                }
            }
            Called::BystandersSettled(since) if now >= since + USUAL => {
                self.called = Called::Everybody;
                self.call_viewers(now);
            }
            Called::BystandersSettled(_) | Called::Everybody => {}
        }
    }

    /// How many have joined or failed.
    fn settled(&self, of: impl Fn(&Record) -> bool) -> u64 {
        let settled = self.records.iter().filter(|r| of(r) && r.state != State::Joining);
        settled.count() as u64
    }

    fn call_viewers(&mut self, now: Instant) {
        if self.plan.ramp.is_some() {
            return self.at(now, Action::Step);
        }
        self.call(now, self.plan.viewers, self.plan.join_over, Kind::Watches);
    }

    /// This many members of each room, one room after the other.
    fn call(&mut self, from: Instant, of_each_room: u32, over: Duration, kind: Kind) {
        let rooms = self.plan.rooms;
        let all = u64::from(rooms) * u64::from(of_each_room);
        let mut number = 0;
        for place in 0..of_each_room {
            for room in 0..rooms {
                let when = from + over.mul_f64(number as f64 / all as f64);
                self.at(when, Action::Join { room, place, kind });
                number += 1;
            }
        }
    }

    /// A new member joins.
    pub(super) fn join(&mut self, room: u32, place: u32, kind: Kind) {
        let name = self.plan.room_name(room);
        let tokens = &self.plan.tokens;
        let turn = self.participants as usize % tokens.len().max(1);
        let token = tokens.get(turn).map(Arc::clone);
        self.participants += 1;
        let participant = format!("p{place}-{}", self.participants);
        let mut bots = Vec::new();
        if let Some(members) = &self.plan.members {
            let publishes = matches!(kind, Kind::Publishes | Kind::Both);
            self.publishers += u32::from(publishes);
            let publisher = publishes.then_some(self.publishers);
            let membership = members.member(self.plan, &participant, place, publisher);
            let (role, url) = (Role::Member(Box::new(membership)), members.url(&name));
            bots.extend(self.start(kind, role, url, token.clone()));
            self.members.push(Member { room, place, kind, participant, token, bots });
            return;
        }
        if matches!(kind, Kind::Publishes | Kind::Both) {
            self.tell_of(room, &name, &participant);
            self.publishers += 1;
            let publisher = self.publishers;
            let audio = self.plan.audio.map(|feed| feed.of(publisher));
            let video = self.plan.video.iter().map(|feed| feed.of(publisher)).collect();
            let role = Role::Publish { publisher, audio, video };
            let url = self.plan.whip_url(&name, &participant);
            bots.extend(self.start(kind, role, url, token.clone()));
        }
        if kind != Kind::Publishes {
            if self.plan.watches_one_by_one() {
                let watched = self.watched(room);
                for watched in watched {
                    let url = self.plan.whep_url(&name, &watched, &participant);
                    bots.extend(self.start(kind, self.watch(1), url, token.clone()));
                }
            } else {
                let others = self.plan.publishers - u32::from(kind == Kind::Both);
                let url = self.plan.whep_url(&name, "", &participant);
                let role = self.watch(others as usize);
                bots.extend(self.start(kind, role, url, token.clone()));
            }
        }
        self.members.push(Member { room, place, kind, participant, token, bots });
    }

    /// The names of the publishers of a room, for viewers that have to know them.
    fn watched(&self, room: u32) -> Vec<String> {
        let in_room = self.members.iter().filter(|m| m.room == room && m.publishes());
        in_room.map(|m| m.participant.clone()).collect()
    }

    /// Viewers that watch single publishers also watch a new one.
    fn tell_of(&mut self, room: u32, name: &str, newcomer: &str) {
        if !self.plan.watches_one_by_one() {
            return;
        }
        for at in 0..self.members.len() {
            let member = &self.members[at];
            if member.room == room && member.kind != Kind::Publishes {
                let url = self.plan.whep_url(name, newcomer, &member.participant);
                let token = member.token.clone();
                let bot = self.start(member.kind, self.watch(1), url, token);
                self.members[at].bots.extend(bot);
            }
        }
    }

    fn watch(&self, publishers: usize) -> Role {
        let slots = publishers.clamp(1, MAX_SLOTS);
        Role::Watch {
            audio: if self.plan.audio.is_some() { slots } else { 0 },
            video: if self.plan.video.is_empty() { 0 } else { slots },
        }
    }

    fn start(
        &mut self,
        kind: Kind,
        role: Role,
        url: Result<url::Url, String>,
        token: Option<Arc<str>>,
    ) -> Option<BotId> {
        // The templates were checked when the plan was made, and the inserted values are plain letters.
        let url = url.ok()?;
        let id = BotId(self.records.len() as u32);
        let publishes = role.publisher().is_some();
        let bystands = kind == Kind::Bystands;
        let faulty = match self.plan.faulty {
            _ if bystands => false,
            Some(share) => !publishes && self.random.unit() < share,
            None => true,
        };
        self.records.push(Record { publishes, bystands, state: State::Joining });
        let faults = if faulty { self.plan.faults } else { Faults::default() };
        let stalls = !publishes && !bystands && self.next_stalls();
        let patience = self.plan.patience;
        let plan = BotPlan { id, role, url, token, faults, patience, bystands, stalls };
        self.swarm.order(id, Order::Join(Box::new(plan)));
        Some(id)
    }

    /// Evenly and not at random, so that a share of a few members is exact too.
    fn next_stalls(&mut self) -> bool {
        self.stall_share += self.plan.stalled;
        let stalls = self.stall_share >= 1.0 - 1e-9;
        self.stall_share -= f64::from(u8::from(stalls));
        stalls
    }

    /// One member leaves, another one joins.
    pub(super) fn churn(&mut self) {
        let mine = |m: &Member| matches!(m.kind, Kind::Watches | Kind::Both);
        let leaving: Vec<usize> = (0..self.members.len())
            .filter(|&at| mine(&self.members[at]) && self.is_up(&self.members[at]))
            .collect();
        if leaving.is_empty() {
            return;
        }
        let at = leaving[self.random.below(leaving.len())];
        let Member { room, place, kind, bots, .. } = self.members.swap_remove(at);
        let silent = self.random.unit() < self.plan.silent;
        self.send_away(bots, silent);
        self.join(room, place, kind);
    }

    /// One member changes networks.
    pub(super) fn move_one(&mut self) {
        let may = |m: &&Member| m.kind != Kind::Bystands && self.is_up(m);
        let up: Vec<BotId> = self.members.iter().filter(may).flat_map(|m| m.bots.clone()).collect();
        if up.is_empty() {
            return;
        }
        let bot = up[self.random.below(up.len())];
        self.bots.moved += 1;
        self.swarm.order(bot, Order::Move { bot });
    }

    fn is_up(&self, member: &Member) -> bool {
        member.bots.iter().all(|bot| self.records[bot.0 as usize].state == State::Up)
    }

    /// Independent events with this average rate.
    pub(super) fn pause(&mut self, rate: f64) -> Duration {
        let unit = self.random.unit().max(1e-9);
        Duration::from_secs_f64((-unit.ln() / rate).min(60.0))
    }

    /// A bot has failed: in scenarios where members come and go, another member takes its place.
    pub(super) fn vacate(&mut self, bot: BotId) {
        if self.plan.churn <= 0.0 {
            return;
        }
        if self.vacant.is_empty() {
            self.at(Instant::now() + REPLACE_AFTER, Action::Replace);
        }
        self.vacant.push_back(bot);
    }

    /// A new member replaces one that failed.
    pub(super) fn replace_one(&mut self, when: Instant) {
        // Members that have left since, or whose place was already vacated by another failed bot of theirs, are
        // skipped.
        while let Some(bot) = self.vacant.pop_front() {
            let has_it = |m: &Member| m.kind != Kind::Bystands && m.bots.contains(&bot);
            let Some(at) = self.members.iter().position(has_it) else { continue };
            let Member { room, place, kind, bots, .. } = self.members.swap_remove(at);
            self.send_away(bots, false);
            self.join(room, place, kind);
            self.bots.replaced += 1;
            break;
        }
        if !self.vacant.is_empty() {
            let pause = REPLACE_AFTER.mul_f64(1.0 / self.plan.churn.max(1.0));
            self.at(when + pause, Action::Replace);
        }
    }

    fn send_away(&mut self, bots: Vec<BotId>, silent: bool) {
        for bot in bots {
            let record = &mut self.records[bot.0 as usize];
            if record.state != State::Over {
                record.state = State::Over;
                self.bots.left += 1;
                self.swarm.order(bot, Order::Leave { bot, silent });
            }
        }
    }
}
