//! What has to hold, at every packet and whenever everything has arrived.

use std::time::{Duration, Instant};

use signaling::messages::{MediaKindName, PresenceName, SlotStateName};

use crate::{
    AUDIBLE,
    cast::{CAST, Part, name},
    member::{Came, Member},
    view::State,
    world::World,
};

/// A packet that left before a track was muted may arrive so long after it.
const UNDER_WAY: Duration = Duration::from_millis(100);
/// So long after a change everybody has what the change brings: the loudest set and the pictures change within 4 s.
const SETTLED: Duration = Duration::from_secs(6);
/// Tracks send every 1.5 s at least.
const FLOWS: Duration = Duration::from_millis(3_200);
/// A data message arrives within this time.
const DELIVERED: Duration = Duration::from_secs(3);
/// A member that vanished is noticed within this time: 30 s without an authentic packet, and some for the timers.
const NOTICED: Duration = Duration::from_secs(36);

impl World {
    /// Each packet that came is of the track that the receiver's events name, and is one that may flow.
    pub(crate) fn check_packets(&mut self) {
        self.note_tracks();
        let mut members = std::mem::take(&mut self.members);
        for (index, member) in &mut members {
            for came in std::mem::take(&mut member.came) {
                self.tally.packets += 1;
                let Some(track) =
                    self.tracks.get(&(came.stamp.sender, came.stamp.life, came.stamp.video))
                else {
                    panic!("{index} got {came:?}, whose sender is not connected")
                };
                let fault = fault(member, &came, track, self.now);
                let slot = member.view.state.slots.get(&came.mid.to_string());
                assert!(fault.is_none(), "{index}: {fault:?}: {came:?} of {track} in {slot:?}");
                let ssrc = *member.ssrcs.entry(came.mid).or_insert(came.ssrc);
                assert_eq!(ssrc, came.ssrc, "{index}: the SSRC of {} changed", came.mid);
            }
        }
        for (index, member) in &members {
            for (&video, &since) in &member.muted_since {
                if self.now > since + UNDER_WAY {
                    let still = members.iter().find(|(_, m)| {
                        let heard = m.flows.values().filter(|(stamp, _)| {
                            (stamp.sender, stamp.life, stamp.video) == (*index, member.life, video)
                        });
                        heard.into_iter().any(|(_, at)| *at > since + UNDER_WAY)
                    });
                    let still = still.map(|(listener, _)| listener);
                    assert!(still.is_none(), "{still:?} gets a muted track of {index}");
                }
            }
        }
        self.members = members;
    }

    /// What the events told each of these members is what the server would say now.
    pub(crate) fn check_views(&mut self, which: impl Fn(u16) -> bool) {
        for (index, member) in self.members.iter().filter(|(index, _)| which(**index)) {
            if member.follower.is_none() || member.view.closed.is_some() {
                continue;
            }
            let snapshot = self.node.logs.snapshot(&self.node.core, member.session);
            let Some(snapshot) = snapshot else { panic!("{index} has no session any more") };
            let truth = State::of(snapshot);
            let wrong = member.view.state.differences(&truth);
            let passed = self.now - self.start;
            assert!(wrong.is_empty(), "{index}, {passed:?} after the start: {wrong:#?}");
            self.check_presence(*index, member);
            self.tally.views += 1;
        }
    }

    /// Who is there is seen, who left is not, who vanished is not for long, and who is hidden is never.
    fn check_presence(&self, index: u16, member: &Member) {
        for other in 0..CAST {
            let seen = member.view.state.members.get(&name(other));
            let hidden = Part::of(other).permissions.hidden && other != index;
            if hidden {
                assert!(seen.is_none(), "{index} sees {other}, which is hidden");
            } else if let Some(there) = self.members.get(&other) {
                let connected = there.is_settled(self.now, Duration::from_secs(1));
                let seen = seen.map(|member| member.presence);
                assert!(!connected || seen == Some(PresenceName::Connected), "{index}, {other}");
            } else if let Some(gone) = self.gone.get(&other) {
                let presence = seen.map(|member| member.presence);
                assert!(!gone.goodbye || seen.is_none(), "{index} sees {other}, which left");
                let late = self.now > gone.at + NOTICED;
                assert!(!late || presence != Some(PresenceName::Connected), "{index}, {other}");
            } else {
                assert!(seen.is_none(), "{index} sees {other}, which never came");
            }
        }
    }

    /// What the slots name as flowing arrives.
    pub(crate) fn check_flows(&mut self) {
        for (index, member) in &self.members {
            if member.follower.is_none() || !member.is_settled(self.now, SETTLED) {
                continue;
            }
            for slot in member.view.state.slots.values() {
                if member.subscribes.is_none() {
                    assert_eq!(slot.state, SlotStateName::Empty, "{index} may not subscribe");
                }
                let steady = self.now > member.view.since[&slot.mid] + SETTLED;
                let video = slot.kind == MediaKindName::Video;
                let sender = self.members.values().find(|m| {
                    m.tracks.get(&video).map(ToString::to_string) == slot.track
                        && slot.track.is_some()
                        && m.is_settled(self.now, SETTLED)
                });
                if !steady || slot.state != SlotStateName::Flowing {
                    continue;
                }
                let Some(sender) = sender else { continue };
                let last = member.flows.iter().find(|(mid, _)| mid.to_string() == slot.mid);
                let what = format!("{index} gets nothing of {} in {slot:?}", sender.part.index);
                let Some((_, (stamp, at))) = last else { panic!("{what}") };
                assert!(self.now <= *at + FLOWS, "{what} since {:?}", self.now - *at);
                assert_eq!(stamp.sender, sender.part.index, "{what}");
                self.tally.flowing += 1;
            }
        }
    }

    /// Who speaks is heard by all who may hear, and named by all events.
    pub(crate) fn check_voices(&mut self) {
        for (speaker, voice) in &self.members {
            let speaks = voice.speaks.is_some_and(|(_, since)| self.now > since + SETTLED);
            if !speaks
                || voice.muted_since.contains_key(&false)
                || voice.unmuted_at.is_some_and(|at| self.now <= at + SETTLED)
                || !voice.is_settled(self.now, SETTLED)
            {
                continue;
            }
            for (index, member) in self.members.iter().filter(|(index, _)| *index != speaker) {
                // Who paused within 4 s keeps its place before others that are not louder by 6 dB.
                if self.recent_voices(*index) > member.part.audio_slots.min(AUDIBLE) {
                    continue;
                }
                let long = member.subscribes.is_some_and(|since| self.now > since + SETTLED);
                if !member.is_settled(self.now, SETTLED) || !long {
                    continue;
                }
                let heard = member.heard.get(&(*speaker, false));
                let recent = heard.is_some_and(|at| self.now <= *at + Duration::from_millis(500));
                assert!(recent, "{index} does not hear {speaker}: {}", self.voices(member));
                if member.follower.is_some() {
                    let named =
                        member.view.state.speakers.iter().any(|s| s.identity == name(*speaker));
                    assert!(named, "{index} is not told that {speaker} speaks");
                }
                self.tally.voices += 1;
            }
        }
    }

    /// How many others speak or did so a moment ago.
    fn recent_voices(&self, listener: u16) -> usize {
        let recent = |at: Option<Instant>| at.is_some_and(|at| self.now <= at + SETTLED);
        let present = self.members.iter().filter(|(index, m)| {
            **index != listener && (m.speaks.is_some() || recent(m.spoke_until))
        });
        present.count() + self.gone.values().filter(|gone| recent(gone.spoke_until)).count()
    }

    /// Who speaks and what a member hears, for the failure of a test.
    fn voices(&self, listener: &Member) -> String {
        let mut all = format!("speakers {:?}\n", listener.view.state.speakers);
        for (index, member) in &self.members {
            if let Some((level, since)) = member.speaks {
                let muted = member.muted_since.get(&false).map(|at| self.now - *at);
                let tracks = &member.tracks;
                let since = self.now - since;
                all += &format!("{index} at {level} for {since:?}, muted {muted:?}, {tracks:?}\n");
            }
        }
        for (mid, slot) in &listener.view.state.slots {
            all += &format!("{slot:?} for {:?}\n", self.now - listener.view.since[mid]);
        }
        all
    }

    /// Each data message came once to everybody who was there, and not to its sender.
    pub(crate) fn check_messages(&mut self) {
        let due = |at: Instant| self.now > at + DELIVERED;
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.expected).into_iter().partition(|e| due(e.at));
        self.expected = waiting;
        for expected in due {
            let count =
                |member: &Member| member.messages.get(&expected.key).copied().unwrap_or_default();
            for (receiver, life) in &expected.receivers {
                // Who left meanwhile is not asked, nor who was away from its events for so long that it began again.
                let missed = |m: &Member| m.view.restarted.is_some_and(|at| at >= expected.at);
                let asked = |m: &&Member| m.life == *life && m.follower.is_some() && !missed(m);
                let Some(member) = self.members.get(receiver).filter(asked) else { continue };
                let open = member.channel_open;
                assert_eq!(count(member), 1, "{receiver} (channel open: {open}), {expected:?}");
                self.tally.received_messages += 1;
            }
            if let Some(sender) = expected.sender.and_then(|sender| self.members.get(&sender)) {
                assert_eq!(count(sender), 0, "a message came back: {}", expected.key);
            }
        }
    }
}

/// Why a packet may not come.
fn fault(member: &Member, came: &Came, track: &str, now: Instant) -> Option<&'static str> {
    let slot = member.view.state.slots.get(&came.mid.to_string());
    if came.stamp.sender == member.part.index {
        return Some("its own media");
    }
    if member.subscribes.is_none() {
        return Some("it may not subscribe");
    }
    // Who does not read its events now cannot know what flows.
    member.follower.as_ref()?;
    if slot.is_none_or(|slot| (slot.kind == MediaKindName::Video) != came.stamp.video) {
        return Some("not a slot of this kind");
    }
    (!member.view.may_flow(&came.mid.to_string(), track, now)).then_some("not what the events name")
}
