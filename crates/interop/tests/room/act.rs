//! What members and administrators do, at random.

use std::time::Duration;

use model::{Delivery, Payload, Permissions, Sources, TrackSource};
use room::{AdminCommand, DataRequest, MemberCommand, ProfileChange, SettingsChange, Subscription};

use crate::{
    cast::{Part, identity, name, room},
    world::{Expected, World},
};

/// Members that speak at a time at most; no member has fewer slots for sounds.
const VOICES: usize = 2;
/// Slots for pictures that a member adds at most.
const PICTURES_MAX: usize = 4;

impl World {
    /// One thing that somebody does.
    pub(crate) fn act(&mut self) {
        let present: Vec<u16> = self.members.keys().copied().collect();
        let settled = |m: &crate::member::Member| m.is_settled(self.now, Duration::from_secs(3));
        let ready: Vec<u16> =
            self.members.iter().filter(|(_, m)| settled(m)).map(|(index, _)| *index).collect();
        let Some(index) = self.rng.pick(&ready) else { return };
        match self.rng.below(14) {
            0 => self.go(index, true),
            1 => self.go(index, false),
            2 | 3 => self.mute(index),
            4 | 5 => self.take_more_slots(),
            6..=8 => self.say(index, &ready),
            9 => self.change_permissions(index),
            10 => self.reconnect(index),
            11 => self.rename(index),
            12 => self.pin(index, &present),
            _ => self.change_room(),
        }
    }

    fn command(&mut self, index: u16, command: MemberCommand) {
        let session = self.members[&index].session;
        let done = self.node.core.command(self.now, session, command);
        done.unwrap_or_else(|e| panic!("{index}: {e}"));
    }

    fn administer(&mut self, command: AdminCommand) {
        self.node.core.administer(self.now, &room(), command).unwrap();
    }

    /// A member mutes a track or ends that; at times an administrator does it.
    fn mute(&mut self, index: u16) {
        let tracks: Vec<(bool, model::TrackId)> =
            self.members[&index].tracks.iter().map(|(video, track)| (*video, *track)).collect();
        let Some((video, track)) = self.rng.pick(&tracks) else { return };
        let muted = !self.members[&index].view.state.members[&name(index)]
            .tracks
            .iter()
            .any(|t| t.id == track.to_string() && t.muted);
        if self.members[&index].follower.is_none() {
            return;
        }
        if self.rng.below(4) == 0 {
            self.administer(AdminCommand::Mute { member: identity(index), track, muted });
        } else {
            self.command(
                index,
                MemberCommand::UpdateTrack { track, muted: Some(muted), name: None },
            );
        }
        let (now, member) = (self.now, self.members.get_mut(&index).unwrap());
        if muted {
            member.muted_since.insert(video, now);
        } else {
            member.muted_since.remove(&video);
            member.unmuted_at = Some(now);
        }
        self.tally.mutes += 1;
    }

    /// Those who were told that they could use more slots offer again.
    fn take_more_slots(&mut self) {
        for member in self.members.values_mut() {
            let more = member.view.wanted.1.min(PICTURES_MAX).saturating_sub(member.video_slots);
            let ready = member.is_settled(self.now, Duration::from_secs(1));
            if ready && more > 0 && self.rng.below(3) == 0 {
                member.add_video_slots(&self.node, self.now, more);
                self.tally.offers += 1;
            }
        }
    }

    /// A data message: by a channel, by a command, or from the application.
    fn say(&mut self, index: u16, ready: &[u16]) {
        self.said += 1;
        let text = format!("word {}", self.said);
        let from_application = self.rng.below(5) == 0;
        let member = self.members.get_mut(&index).unwrap();
        let request = DataRequest {
            topic: "chat".into(),
            to: None,
            delivery: Delivery::Reliable,
            payload: Payload::Text(text.as_str().into()),
        };
        let (part, has_channel) = (member.part.clone(), member.channel_open);
        if from_application {
            self.administer(AdminCommand::SendData(request));
        } else if !part.permissions.data {
            let sent = MemberCommand::SendData(request);
            let refused = self.node.core.command(self.now, member.session, sent);
            assert!(refused.is_err(), "{index} may not send");
            return;
        } else if has_channel {
            member.say(self.now, &text);
        } else {
            self.command(index, MemberCommand::SendData(request));
        }
        let nobody = from_application || part.permissions.hidden;
        let from = if nobody { "-".to_owned() } else { name(index) };
        let sender = (!from_application).then_some(index);
        let receivers = ready.iter().filter(|receiver| Some(**receiver) != sender);
        let receivers = receivers.map(|receiver| (*receiver, self.members[receiver].life));
        let receivers = receivers.collect();
        let key = format!("{from}: {text}");
        self.expected.push(Expected { at: self.now, key, receivers, sender });
        self.tally.messages += 1;
    }

    /// An administrator takes the camera away, or subscribing, or gives everything back.
    fn change_permissions(&mut self, index: u16) {
        let full = Part::of(index).permissions;
        let permissions = match self.rng.below(4) {
            0 => {
                let publish: Sources = [TrackSource::Microphone].into_iter().collect();
                let publish = if full.publish.is_empty() { full.publish } else { publish };
                Permissions { publish, ..full }
            }
            1 => Permissions { subscribe: false, ..full },
            _ => full,
        };
        self.administer(AdminCommand::ChangePermissions(identity(index), permissions));
        let (now, member) = (self.now, self.members.get_mut(&index).unwrap());
        let since = member.subscribes.unwrap_or(now);
        member.subscribes = permissions.subscribe.then_some(since);
        self.tally.permissions += 1;
    }

    /// A member's connection for events breaks, or comes again: with what was missed, or with a snapshot.
    pub(crate) fn reconnect(&mut self, index: u16) {
        let (now, node) = (self.now, &self.node);
        let member = self.members.get_mut(&index).unwrap();
        if member.follower.take().is_some() {
            return;
        }
        let resumed = node.logs.resume(member.session, member.view.last);
        self.tally.resumed += usize::from(resumed.is_some());
        member.follower = resumed.or_else(|| {
            let (follower, number, snapshot) = node.logs.follow(&node.core, member.session)?;
            member.view.restart(number, snapshot, now);
            Some(follower)
        });
        assert!(member.follower.is_some(), "{index} cannot follow its events");
    }

    fn rename(&mut self, index: u16) {
        let (name, metadata) = (format!("name {}", self.said), format!("{{\"n\":{}}}", self.said));
        let change = ProfileChange { name: Some(name.into()), metadata: Some(metadata.into()) };
        match self.rng.below(2) {
            0 => self.command(index, MemberCommand::UpdateProfile(change)),
            _ => self.administer(AdminCommand::ChangeProfile(identity(index), change)),
        }
    }

    fn pin(&mut self, index: u16, present: &[u16]) {
        let pinned = (0..2).filter_map(|_| self.rng.pick(present));
        let mut pinned: Vec<_> = pinned.map(identity).collect();
        pinned.dedup();
        let command = MemberCommand::Subscribe(Subscription::Auto { pinned });
        let member = &self.members[&index];
        if member.subscribes.is_some() {
            return self.command(index, command);
        }
        let refused = self.node.core.command(self.now, member.session, command);
        assert!(refused.is_err(), "{index} may not subscribe");
    }

    fn change_room(&mut self) {
        let metadata = Some(format!("about {}", self.said).into());
        let change = SettingsChange { metadata, ..SettingsChange::default() };
        self.administer(AdminCommand::ChangeRoom(change));
    }

    /// Members take turns at speaking: who spoke long enough ends, and another one begins.
    pub(crate) fn take_turns(&mut self) {
        let now = self.now;
        for member in self.members.values_mut() {
            let over =
                member.speaks.is_some_and(|(_, since)| now > since + Duration::from_secs(10));
            if over && self.rng.below(4) == 0 {
                member.speak(now, None);
            }
        }
        let speaking = self.members.values().filter(|m| m.speaks.is_some()).count();
        let quiet = self.members.iter().filter(|(_, m)| {
            m.part.microphone
                && m.speaks.is_none()
                && !m.muted_since.contains_key(&false)
                && m.is_settled(now, Duration::from_secs(1))
        });
        let quiet: Vec<u16> = quiet.map(|(index, _)| *index).collect();
        if speaking < VOICES
            && let Some(index) = self.rng.pick(&quiet)
        {
            let level = 15 + self.rng.below(20) as u8;
            self.members.get_mut(&index).unwrap().speak(now, Some(level));
        }
    }
}
