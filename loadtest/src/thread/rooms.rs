//! What a thread does for members of rooms beside their media: it reads their events, and carries their later offers to
//! the server.

use std::{os::fd::AsFd, time::Instant};

use rustix::event::epoll;

use super::BotThread;
use crate::{
    bot::{BotEvent, BotId, events::Events},
    signal::{Job, Request},
};

/// Marks the events of the bot in a place, beside its socket for media.
const EVENTS_OF: u64 = 1 << 62;

impl BotThread {
    /// The place whose events are meant; `None`: it is a socket for media.
    pub(super) fn events_of(token: u64) -> Option<usize> {
        (token & EVENTS_OF != 0).then_some((token & !EVENTS_OF) as usize)
    }

    /// Asks for the events of a session that the server has made.
    pub(super) fn ask_for_events(&self, place: usize) {
        let Some(bot) = self.bots[place].as_ref().filter(|bot| bot.plan.role.is_member()) else {
            return;
        };
        let Some(url) = bot.resource.clone() else { return };
        let (bot, token, patience) = (bot.plan.id, bot.plan.token.clone(), bot.plan.patience);
        let (deadline, mailbox) = (Instant::now() + patience, self.mailbox.clone());
        let request = Request::Events { bot, deadline, mailbox };
        self.signaler.send(Job { url, token, request });
    }

    /// The events of a session are open, or could not be opened. If the bot has gone since, they close.
    pub(super) fn take_events(&mut self, id: BotId, result: Result<Box<Events>, String>) {
        let Some(&place) = self.places.get(&id) else { return };
        let Some(bot) = &mut self.bots[place] else { return };
        let result = result.and_then(|events| {
            let data = epoll::EventData::new_u64(place as u64 | EVENTS_OF);
            let watched = epoll::add(&self.epoll, events.as_fd(), data, epoll::EventFlags::IN);
            watched.map_err(|error| format!("swarm: no socket: {error}"))?;
            Ok(events)
        });
        let event = bot.take_events(result);
        if event.is_some() {
            return self.after(place, event);
        }
        // What came with the answer is read already, and would not wake the thread.
        self.read_events(place);
    }

    pub(super) fn read_events(&mut self, place: usize) {
        let Some(Some(bot)) = self.bots.get_mut(place) else { return };
        let tally = &mut self.tallies[usize::from(bot.plan.bystands)];
        let event = bot.read_events(tally);
        self.after(place, event);
        self.offer_again(place);
    }

    /// Sends a later offer, if a bot has one.
    pub(super) fn offer_again(&mut self, place: usize) {
        if self.muted {
            return;
        }
        let Some(Some(bot)) = self.bots.get_mut(place) else { return };
        let Some(url) = bot.resource.clone() else { return };
        let Some(body) = bot.poll_offer(&self.shared) else { return };
        let (id, token, patience) = (bot.plan.id, bot.plan.token.clone(), bot.plan.patience);
        let (deadline, mailbox) = (Instant::now() + patience, self.mailbox.clone());
        let request = Request::Patch { bot: id, body, deadline, mailbox };
        self.signaler.send(Job { url, token, request });
    }

    /// The server's answer to a later offer.
    pub(super) fn take_later_answer(&mut self, id: BotId, result: Result<String, String>) {
        let Some(&place) = self.places.get(&id) else { return };
        let Some(bot) = &mut self.bots[place] else { return };
        let tally = &mut self.tallies[usize::from(bot.plan.bystands)];
        let event: Option<BotEvent> = bot.accept_later(result, &mut tally.counters);
        self.after(place, event);
        self.offer_again(place);
    }
}
