//! How a bot joins: its offer, the server's answer, and what is built once the keys are there.

use std::{net::SocketAddr, time::Instant};

use model::{MediaKind, Rid, Ssrc, StreamSsrc};
use transport::srtp::Keys;
use url::Url;

use super::{
    Bot, BotEvent, Phase, Role, Sends, Shared, Turns,
    attend::{received, receiving_sections},
    ice::Agent,
    member::Conversation,
    publish::{Identity, Publisher, StreamPlan},
    watch::Watcher,
};
use crate::{
    describe::{Answer, AnsweredSection, OfferedSection, OfferedSending},
    media::Feed,
    random::Random,
};

/// Names of simulcast layers, the lowest first.
const RIDS: [&str; 3] = ["l", "m", "h"];
/// Streams that a bot may receive: a meeting of a hundred.
const MAX_STREAMS: u32 = 512;

impl Bot {
    /// The body of the request that joins, with the offer.
    pub(super) fn offer(&mut self, shared: &Shared) -> String {
        let random = &mut self.random;
        self.sections = match &self.plan.role {
            Role::Publish { audio, video, .. } => sending_sections(audio, video, false, random),
            Role::Watch { audio, video } => receiving_sections([*audio, *video]).collect(),
            Role::Member(membership) => {
                let sends = membership.sends.as_ref();
                let sent = sends.map(|s| sending_sections(&s.audio, &s.video, true, random));
                let slots = receiving_sections(membership.slots);
                sent.into_iter().flatten().chain(slots).collect()
            }
        };
        let sdp = self.describe(shared, 1);
        match &self.plan.role {
            Role::Publish { .. } | Role::Watch { .. } => sdp,
            Role::Member(membership) => {
                self.conversation = Some(Box::new(Conversation::new(membership)));
                membership.join_body(&sdp)
            }
        }
    }

    /// Takes the server's answer: checks begin.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        resource: Option<Url>,
        answer: &str,
        shared: &Shared,
    ) -> Option<BotEvent> {
        if self.phase != Phase::Asking {
            return None;
        }
        self.resource = resource;
        let answer = match Answer::parse(answer) {
            Ok(answer) => answer,
            Err(reason) => {
                let event = Some(self.fail(reason));
                return self.settle(event);
            }
        };
        let v4 = self.socket.local_addr().is_ipv4();
        let mut candidates: Vec<SocketAddr> =
            answer.candidates.iter().copied().filter(|c| c.is_ipv4() == v4).collect();
        // A stable sort: the server's order stays within equal candidates.
        candidates.sort_by_key(|candidate| Some(candidate.ip()) != shared.server);
        if candidates.is_empty() {
            let event = Some(self.fail("answer: no candidate of our address family"));
            return self.settle(event);
        }
        let (local, random) = (self.local.clone(), self.random.clone());
        let agent = Agent::new(now, local, &answer.credentials, &candidates, random);
        self.agent = Some(Box::new(agent));
        self.answer = Some(Box::new(answer));
        self.phase = Phase::Connecting;
        None
    }

    /// The handshake is done: media begins.
    pub(super) fn connected(&mut self, now: Instant, keys: &Keys, shared: &Shared) -> BotEvent {
        let (Ok(sender), Ok(receiver), Some(answer)) =
            (keys.sender(), keys.receiver(), self.answer.take())
        else {
            return self.fail("dtls: unusable keys");
        };
        self.keys = Some(Box::new((sender, receiver.with_ssrc_limit(MAX_STREAMS))));
        self.phase = Phase::Connected;
        let (sends, turns, receives) = match self.plan.role.clone() {
            Role::Publish { publisher, audio, video } => {
                (Some(Sends { publisher, audio, video }), None, false)
            }
            Role::Watch { .. } => (None, None, true),
            Role::Member(membership) => (membership.sends, membership.turns, true),
        };
        if let Some(sends) = sends
            && let Err(reason) = self.begin_to_send(now, &answer, &sends, turns, shared)
        {
            return self.fail(reason);
        }
        if receives {
            let (own, cname) = (Ssrc(self.random.ssrc()), self.cname());
            let answer = received(*answer, &self.sections);
            self.watcher = Some(Box::new(Watcher::new(now, own, cname, &answer)));
        }
        let switch_every = self.membership().map(|membership| membership.switch_every);
        match &mut self.conversation {
            // A member may offer again.
            Some(conversation) => conversation.begin_to_choose(now, switch_every.flatten()),
            None => self.sections = Vec::new(),
        }
        BotEvent::Joined
    }

    fn begin_to_send(
        &mut self,
        now: Instant,
        answer: &Answer,
        sends: &Sends,
        turns: Option<Turns>,
        shared: &Shared,
    ) -> Result<(), String> {
        let plans = self.stream_plans(answer, sends.audio.as_ref(), &sends.video)?;
        let identity = Identity {
            run: shared.run,
            publisher: sends.publisher,
            cname: self.cname(),
            extensions: answer.extensions.clone(),
            clock: shared.clock,
            turns,
        };
        let random = &mut self.random;
        let publisher = Publisher::new(now, identity, plans, shared.burst, || random.next() as u32);
        self.publisher = Some(Box::new(publisher));
        shared.directory.begin(sends.publisher, shared.clock.ns(now));
        Ok(())
    }

    pub(super) fn cname(&self) -> String {
        format!("bot{}", self.plan.id.0)
    }

    fn stream_plans(
        &mut self,
        answer: &Answer,
        audio: Option<&Feed>,
        video: &[Feed],
    ) -> Result<Vec<StreamPlan>, String> {
        let mut plans = Vec::new();
        for (index, offered) in self.sections.iter().enumerate() {
            let Some(answered) = answer.sections.iter().find(|section| section.index == index)
            else {
                return Err(format!("answer: {} is rejected", offered.kind.as_str()));
            };
            let feeds = match offered.kind {
                MediaKind::Audio => audio.map(std::slice::from_ref).unwrap_or_default(),
                MediaKind::Video => video,
            };
            match &offered.sending {
                Some(OfferedSending::Single(ssrcs)) => {
                    let Some(feed) = feeds.first() else { continue };
                    plans.push(stream_plan(feed, answered, None, *ssrcs)?);
                }
                Some(OfferedSending::Simulcast(rids)) => {
                    // A server that refuses simulcast gets the highest layer alone.
                    let skipped = if answered.simulcast { 0 } else { feeds.len() - 1 };
                    for (feed, rid) in feeds.iter().zip(rids).skip(skipped) {
                        let media = Ssrc(self.random.ssrc());
                        let rtx = Some(Ssrc(self.random.ssrc()));
                        let rid = Rid::parse(rid).ok().filter(|_| answered.simulcast);
                        plans.push(stream_plan(feed, answered, rid, StreamSsrc { media, rtx })?);
                    }
                }
                None => {}
            }
        }
        Ok(plans)
    }
}

/// Sections that send: sound before pictures. `levels`: sound says how loud it is.
fn sending_sections(
    audio: &Option<Feed>,
    video: &[Feed],
    levels: bool,
    random: &mut Random,
) -> Vec<OfferedSection> {
    let audio = audio.iter().map(std::slice::from_ref);
    let video = Some(video).filter(|layers| !layers.is_empty());
    audio.chain(video).map(|feeds| sending_section(feeds, levels, random)).collect()
}

fn sending_section(feeds: &[Feed], levels: bool, random: &mut Random) -> OfferedSection {
    let codec = feeds[0].codec();
    let kind = codec.kind();
    let sending = if feeds.len() > 1 {
        OfferedSending::Simulcast(RIDS[..feeds.len().min(RIDS.len())].to_vec())
    } else {
        let rtx = (kind == MediaKind::Video).then(|| Ssrc(random.ssrc()));
        OfferedSending::Single(StreamSsrc { media: Ssrc(random.ssrc()), rtx })
    };
    let levels = levels && kind == MediaKind::Audio;
    OfferedSection { kind, codecs: vec![codec], sending: Some(sending), levels }
}

fn stream_plan(
    feed: &Feed,
    answered: &AnsweredSection,
    rid: Option<Rid>,
    ssrcs: StreamSsrc,
) -> Result<StreamPlan, String> {
    let codec = feed.codec();
    let agreed = answered.codecs.iter().find(|agreed| agreed.codec == codec);
    let agreed = agreed.ok_or_else(|| format!("answer: {} is not agreed", codec.as_str()))?;
    Ok(StreamPlan {
        feed: *feed,
        mid: answered.mid,
        rid,
        ssrc: ssrcs.media,
        rtx: ssrcs.rtx.zip(agreed.rtx_pt),
        pt: agreed.pt,
    })
}
