//! A bot as a member of a room: one session that sends and receives, the events beside it, slots that grow, and the
//! choice of another track. The bodies of its requests and its commands are JSON.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{media::Feed, stats::Counters};

/// Tracks of others that a member knows of when it chooses among them. Further ones are not chosen.
const MAX_TRACKS: usize = 1_024;

/// What a member does.
#[derive(Debug, Clone)]
pub(crate) struct Membership {
    pub(crate) identity: String,
    /// It says its identity; otherwise a token does.
    pub(crate) named: bool,
    pub(crate) sends: Option<Sends>,
    /// Slots at the beginning, and the most that it will have: for sound, for pictures.
    pub(crate) slots: [usize; 2],
    pub(crate) most: [usize; 2],
    /// Its sound is muted.
    pub(crate) muted: bool,
    /// When it speaks; `None`: never.
    pub(crate) turns: Option<Turns>,
    /// It will be shown pictures.
    pub(crate) awaits_video: bool,
    /// How often it chooses another track for its only slot for pictures.
    pub(crate) switch_every: Option<Duration>,
}

/// What somebody sends.
#[derive(Debug, Clone)]
pub(crate) struct Sends {
    /// Its number in stamps.
    pub(crate) publisher: u32,
    pub(crate) audio: Option<Feed>,
    /// Layers, the lowest first; one: no simulcast.
    pub(crate) video: Vec<Feed>,
}

/// The publishers of a room speak one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Turns {
    /// How long each speaks.
    pub(crate) every: Duration,
    pub(crate) turn: u32,
    pub(crate) of: u32,
}

impl Turns {
    /// Whether it speaks at this time of the monotonic clock, which is the same for all.
    pub(crate) fn speaks_at(&self, ns: u64) -> bool {
        let turn = u128::from(ns) / self.every.as_nanos().max(1);
        turn % u128::from(self.of.max(1)) == u128::from(self.turn)
    }
}

/// What a member knows of its session over time.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// Slots that the server wants, for sound and for pictures.
    wanted: [usize; 2],
    /// The slots of the last offer.
    slots: [usize; 2],
    /// A later offer is with the server.
    asks: bool,
    /// Its number, as in the o= line.
    version: u32,
    /// Tracks with pictures, by their members.
    tracks: Vec<(String, String)>,
    chosen: usize,
    choice_due: Option<Instant>,
    /// Commands so far.
    choices: u64,
    /// When the last choice was sent, until something of that track comes.
    pub(crate) awaited: Option<Instant>,
}

/// The part of a message that every member reads.
#[derive(Debug, Deserialize)]
struct Heard<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
    audio: Option<usize>,
    video: Option<usize>,
    slots_wanted: Option<Wanted>,
    ok: Option<bool>,
    reason: Option<String>,
    problem: Option<Problem>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Wanted {
    audio: usize,
    video: usize,
}

#[derive(Debug, Deserialize)]
struct Problem {
    title: String,
}

/// The part that is read by those who choose tracks.
#[derive(Debug, Deserialize)]
struct Roster {
    #[serde(default)]
    members: Vec<Member>,
    member: Option<Member>,
    identity: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Member {
    identity: String,
    #[serde(default)]
    tracks: Vec<Track>,
}

#[derive(Debug, Deserialize)]
struct Track {
    id: String,
    kind: String,
}

#[derive(Debug, Serialize)]
struct Section {
    mid: String,
    source: &'static str,
    muted: bool,
}

impl Membership {
    /// The body of the request that joins.
    pub(crate) fn join_body(&self, sdp: &str) -> String {
        let mut body = json!({ "sdp": sdp, "tracks": self.sections() });
        if self.named {
            body["identity"] = self.identity.as_str().into();
        }
        if self.switch_every.is_some() {
            body["subscribe"] = json!({ "policy": "manual", "slots": [] });
        }
        body.to_string()
    }

    /// What its sending sections are: they come first in its offers, sound before pictures.
    fn sections(&self) -> Vec<Section> {
        let Some(sends) = &self.sends else { return Vec::new() };
        let audio = sends.audio.is_some().then_some(("microphone", self.muted));
        let video = (!sends.video.is_empty()).then_some(("camera", false));
        let sections = [audio, video].into_iter().flatten().enumerate();
        let section = |(mid, (source, muted)): (usize, (_, bool))| Section {
            mid: mid.to_string(),
            source,
            muted,
        };
        sections.map(section).collect()
    }
}

impl Conversation {
    pub(crate) fn new(membership: &Membership) -> Conversation {
        Conversation { slots: membership.slots, ..Conversation::default() }
    }

    /// Takes a message of the server.
    ///
    /// # Errors
    /// The session is over, or a command was refused.
    pub(crate) fn hear(
        &mut self,
        text: &str,
        membership: &Membership,
        counters: &mut Counters,
    ) -> Result<(), String> {
        counters.event_messages += 1;
        let Ok(heard) = serde_json::from_str::<Heard<'_>>(text) else {
            return Err("events: a message that is none".to_owned());
        };
        match heard.kind.as_ref() {
            "slots_wanted" => {
                self.wanted = [heard.audio.unwrap_or(0), heard.video.unwrap_or(0)];
            }
            "snapshot" => {
                let wanted = heard.slots_wanted.map(|wanted| [wanted.audio, wanted.video]);
                self.wanted = wanted.unwrap_or_default();
            }
            "closed" => {
                let reason = heard.reason.unwrap_or_default();
                return Err(format!("events: the session is closed: {reason}"));
            }
            "reply" if heard.ok == Some(false) => {
                let title = heard.problem.map(|problem| problem.title).unwrap_or_default();
                return Err(format!("events: a command was refused: {title}"));
            }
            _ => {}
        }
        if membership.switch_every.is_some()
            && matches!(heard.kind.as_ref(), "snapshot" | "member" | "member_left")
            && let Ok(roster) = serde_json::from_str(text)
        {
            self.note(&heard.kind, roster, &membership.identity);
        }
        Ok(())
    }

    fn note(&mut self, kind: &str, roster: Roster, own: &str) {
        match kind {
            "snapshot" => self.tracks.clear(),
            "member_left" => {
                self.tracks.retain(|(member, _)| Some(member) != roster.identity.as_ref());
            }
            _ => {}
        }
        for member in roster.members.into_iter().chain(roster.member) {
            self.tracks.retain(|(known, _)| *known != member.identity);
            if member.identity == own {
                continue;
            }
            let room = MAX_TRACKS - self.tracks.len();
            let video = member.tracks.into_iter().filter(|track| track.kind == "video");
            self.tracks.extend(video.take(room).map(|track| (member.identity.clone(), track.id)));
        }
    }

    /// The slots that a later offer should add, for sound and for pictures, and the number of that offer; `None` when
    /// there are enough, or an offer is with the server.
    pub(crate) fn grow(&mut self, membership: &Membership) -> Option<([usize; 2], u32)> {
        let mut more = [0; 2];
        for (kind, more) in more.iter_mut().enumerate() {
            let wanted = self.wanted[kind].min(membership.most[kind]);
            *more = wanted.saturating_sub(self.slots[kind]);
        }
        if self.asks || more == [0; 2] {
            return None;
        }
        self.asks = true;
        self.version += 1;
        self.slots = [self.slots[0] + more[0], self.slots[1] + more[1]];
        Some((more, self.version))
    }

    /// The later offer was answered.
    pub(crate) fn grown(&mut self) {
        self.asks = false;
    }

    /// When [`Conversation::choose`] has to be called.
    pub(crate) fn choice_due(&self) -> Option<Instant> {
        self.choice_due
    }

    /// Begins to choose tracks, `every` so often.
    pub(crate) fn begin_to_choose(&mut self, now: Instant, every: Option<Duration>) {
        self.choice_due = every.map(|every| now + every);
    }

    /// The command that is due: another track for the slot `mid`.
    pub(crate) fn choose(
        &mut self,
        now: Instant,
        every: Duration,
        mid: &str,
        counters: &mut Counters,
    ) -> Option<String> {
        if self.choice_due.is_none_or(|due| now < due) {
            return None;
        }
        self.choice_due = Some(now + every);
        if self.tracks.len() < 2 {
            return None;
        }
        counters.unswitched += u64::from(self.awaited.take().is_some());
        self.chosen = (self.chosen + 1) % self.tracks.len();
        let track = &self.tracks[self.chosen].1;
        // The first choice fills an empty slot and is no switch.
        self.awaited = (self.choices > 0).then_some(now);
        self.choices += 1;
        let slots = json!([{ "mid": mid, "track": track }]);
        let id = self.choices.to_string();
        let command = json!({ "id": id, "type": "subscribe", "policy": "manual", "slots": slots });
        Some(command.to_string())
    }
}

/// The body of a request with a later offer. What was sent before stays as it is.
pub(crate) fn renegotiation_body(sdp: &str) -> String {
    json!({ "sdp": sdp }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        Membership {
            identity: "me".to_owned(),
            named: true,
            sends: None,
            slots: [1, 1],
            most: [4, 2],
            muted: false,
            turns: None,
            awaits_video: true,
            switch_every: Some(Duration::from_secs(1)),
        }
    }

    fn hear(conversation: &mut Conversation, text: &str) -> Result<(), String> {
        conversation.hear(text, &membership(), &mut Counters::default())
    }

    #[test]
    fn one_speaks_at_a_time() {
        let turns = |turn| Turns { every: Duration::from_secs(2), turn, of: 3 };
        for second in 0..30_u64 {
            let speaks = (0..3).filter(|turn| turns(*turn).speaks_at(second * 1_000_000_000));
            assert_eq!(speaks.collect::<Vec<_>>(), [(second / 2 % 3) as u32]);
        }
    }

    #[test]
    fn slots_grow_as_wanted_up_to_the_most_and_one_offer_at_a_time() {
        let (mut conversation, me) = (Conversation::new(&membership()), membership());
        assert_eq!(conversation.grow(&me), None);
        hear(&mut conversation, r#"{"seq":4,"type":"slots_wanted","audio":2,"video":9}"#).unwrap();
        assert_eq!(conversation.grow(&me), Some(([1, 1], 1)));
        hear(&mut conversation, r#"{"seq":5,"type":"slots_wanted","audio":9,"video":9}"#).unwrap();
        assert_eq!(conversation.grow(&me), None, "the first offer is not answered");
        conversation.grown();
        assert_eq!(conversation.grow(&me), Some(([2, 0], 2)));
        conversation.grown();
        assert_eq!(conversation.grow(&me), None);
    }

    #[test]
    fn tracks_are_chosen_in_turn_and_own_ones_never() {
        let start = Instant::now();
        let every = Duration::from_secs(1);
        let mut conversation = Conversation::new(&membership());
        let mut counters = Counters::default();
        let video = |who: &str, id: &str| {
            format!(
                r#"{{"identity":"{who}","tracks":[{{"id":"{id}","kind":"video"}},{{"id":"9","kind":"audio"}}]}}"#
            )
        };
        let snapshot = format!(
            r#"{{"type":"snapshot","members":[{},{}]}}"#,
            video("a", "1"),
            video("me", "2")
        );
        hear(&mut conversation, &snapshot).unwrap();
        conversation.begin_to_choose(start, Some(every));
        let mut choose = |conversation: &mut Conversation, at| {
            conversation.choose(start + every * at, every, "0", &mut counters)
        };
        assert_eq!(choose(&mut conversation, 1), None, "there is one only");
        let joined = format!(r#"{{"seq":7,"type":"member","member":{}}}"#, video("b", "3"));
        hear(&mut conversation, &joined).unwrap();
        assert!(choose(&mut conversation, 2).unwrap().contains(r#""track":"3""#));
        assert!(conversation.awaited.is_none());
        assert!(choose(&mut conversation, 3).unwrap().contains(r#""track":"1""#));
        assert!(conversation.awaited.is_some());
        choose(&mut conversation, 4).unwrap();
        assert_eq!(counters.unswitched, 1);
        hear(&mut conversation, r#"{"seq":8,"type":"member_left","identity":"b","reason":"x"}"#)
            .unwrap();
        assert_eq!(conversation.tracks, [("a".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn what_ends_a_session_is_an_error_with_its_reason() {
        let mut conversation = Conversation::new(&membership());
        let closed = hear(&mut conversation, r#"{"seq":9,"type":"closed","reason":"removed"}"#);
        assert!(closed.unwrap_err().contains("removed"));
        let refused =
            r#"{"type":"reply","id":"1","ok":false,"problem":{"title":"Not found","status":404}}"#;
        assert!(hear(&mut conversation, refused).unwrap_err().contains("Not found"));
        assert!(hear(&mut conversation, "nonsense").is_err());
        assert!(hear(&mut conversation, r#"{"type":"reply","id":"1","ok":true}"#).is_ok());
    }

    #[test]
    fn a_member_says_what_its_tracks_are() {
        let body = Membership { muted: true, ..membership() }.join_body("v=0");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&body).unwrap(),
            json!({ "sdp": "v=0", "identity": "me", "tracks": [],
                    "subscribe": { "policy": "manual", "slots": [] } })
        );
    }
}
