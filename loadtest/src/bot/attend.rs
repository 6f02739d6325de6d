//! How a bot attends a room: its events, later offers with more slots, choices of another track.

use std::{net::SocketAddr, time::Instant};

use model::{Codec, MediaKind};

use super::{
    Bot, BotEvent, Phase, Role, Shared,
    events::Events,
    member::{Membership, renegotiation_body},
};
use crate::{
    describe::{self, Answer, OfferHead, OfferedSection},
    stats::{Counters, Tally},
};

/// Sections that receive: this many of each kind, for sound and for pictures.
pub(super) fn receiving_sections(
    [audio, video]: [usize; 2],
) -> impl Iterator<Item = OfferedSection> {
    let section = |kind, codecs: &[Codec]| OfferedSection {
        kind,
        codecs: codecs.to_vec(),
        sending: None,
        levels: false,
    };
    let audio = (0..audio).map(move |_| section(MediaKind::Audio, &[Codec::Opus]));
    let video = (0..video).map(move |_| section(MediaKind::Video, &[Codec::Vp8, Codec::H264]));
    audio.chain(video)
}

impl Bot {
    /// What it does in a room, when it has a room session.
    pub(super) fn membership(&self) -> Option<&Membership> {
        match &self.plan.role {
            Role::Member(membership) => Some(membership),
            Role::Publish { .. } | Role::Watch { .. } => None,
        }
    }

    /// Its events are open, or could not be opened.
    pub(crate) fn take_events(&mut self, result: Result<Box<Events>, String>) -> Option<BotEvent> {
        match result {
            Ok(events) => {
                self.events = Some(events);
                None
            }
            Err(reason) => self.settle(Some(BotEvent::Failed(reason))),
        }
    }

    /// Reads its events.
    pub(crate) fn read_events(&mut self, tally: &mut Tally) -> Option<BotEvent> {
        let Role::Member(membership) = &self.plan.role else { return None };
        let (Some(events), Some(conversation)) = (&mut self.events, &mut self.conversation) else {
            return None;
        };
        let mut failure = None;
        let read = events.read(|text| {
            // The reason of an end stands before the end of the connection.
            let heard = conversation.hear(text, membership, &mut tally.counters);
            failure = failure.take().or(heard.err());
        });
        let failure = failure.or(read.err());
        self.settle(failure.map(BotEvent::Failed))
    }

    /// The body of a later offer, when the server wants more slots than there are.
    pub(crate) fn poll_offer(&mut self, shared: &Shared) -> Option<String> {
        if self.phase != Phase::Connected {
            return None;
        }
        let Role::Member(membership) = &self.plan.role else { return None };
        let (more, version) = self.conversation.as_mut()?.grow(membership)?;
        self.sections.extend(receiving_sections(more));
        Some(renegotiation_body(&self.describe(shared, version)))
    }

    /// The server's answer to a later offer.
    pub(crate) fn accept_later(
        &mut self,
        result: Result<String, String>,
        counters: &mut Counters,
    ) -> Option<BotEvent> {
        let answer = result.and_then(|text| Answer::parse(&text));
        let (Some(conversation), Some(watcher)) = (&mut self.conversation, &mut self.watcher)
        else {
            return None;
        };
        conversation.grown();
        match answer {
            Ok(answer) => {
                counters.renegotiations += 1;
                watcher.learn(&received(answer, &self.sections));
                None
            }
            Err(reason) => self.settle(Some(BotEvent::Failed(format!("renegotiation: {reason}")))),
        }
    }

    /// Chooses another track, if that is due.
    pub(super) fn choose(&mut self, counters: &mut Counters) -> Option<BotEvent> {
        let every = self.membership()?.switch_every?;
        let mid = self
            .sections
            .iter()
            .position(|section| section.kind == MediaKind::Video && section.sending.is_none())?;
        let (events, conversation) = (self.events.as_mut()?, self.conversation.as_mut()?);
        let command = conversation.choose(Instant::now(), every, &mid.to_string(), counters)?;
        events.send(command).err().map(BotEvent::Failed)
    }

    /// An offer of its sections.
    pub(super) fn describe(&mut self, shared: &Shared, version: u32) -> String {
        let port = self.socket.local_addr().port();
        let head = OfferHead {
            id: self.description,
            version,
            credentials: &self.local,
            fingerprint: &shared.certificate.fingerprint_text(),
            cname: &self.cname(),
            candidate: SocketAddr::new(shared.local.ip(), port),
        };
        describe::offer(head, &self.sections)
    }
}

/// The sections of an answer in which the bot receives.
pub(super) fn received(mut answer: Answer, offered: &[OfferedSection]) -> Answer {
    answer.sections.retain(|section| {
        offered.get(section.index).is_some_and(|offered| offered.sending.is_none())
    });
    answer
}
