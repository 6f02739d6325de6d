//! Messages made of the rooms' values.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use model::{
    CloseReason, Delivery, MediaKind, MemberKind, ParticipantId, Payload, Permissions, Presence,
    RoomId, TrackSource,
};
use room::{DataRequest, EndReason, ParticipantRecord, SlotState, SlotView, TrackRecord};

use super::messages as m;

/// A room with its settings.
pub(crate) fn room(id: &RoomId, settings: &room::RoomSettings) -> m::Room {
    m::Room {
        id: id.to_string(),
        metadata: settings.metadata.to_string(),
        settings: m::RoomSettings {
            members_max: settings.members_max,
            audible: settings.audible,
            codecs: settings.codecs.iter().map(|codec| codec.as_str().to_owned()).collect(),
            empty_timeout_seconds: settings.empty_timeout.as_secs(),
            lost_timeout_seconds: settings.lost_timeout.as_secs(),
            lifetime_seconds: settings.lifetime.map(|lifetime| lifetime.as_secs()),
            newer_wins: settings.newer_wins,
        },
    }
}

/// A member as its record describes it.
pub(crate) fn member(record: &ParticipantRecord) -> m::Member {
    m::Member {
        identity: record.id.to_string(),
        name: record.profile.name.to_string(),
        metadata: record.profile.metadata.to_string(),
        kind: match record.kind {
            MemberKind::Session => m::MemberKindName::Session,
            MemberKind::Whip => m::MemberKindName::Whip,
            MemberKind::Local => m::MemberKindName::Local,
        },
        presence: match record.presence() {
            Presence::Connecting => m::PresenceName::Connecting,
            Presence::Connected => m::PresenceName::Connected,
            Presence::Lost => m::PresenceName::Lost,
        },
        tracks: record.published().map(track).collect(),
    }
}

/// A track as its record describes it.
pub(crate) fn track(track: &TrackRecord) -> m::Track {
    let mut codecs: Vec<String> = Vec::new();
    for name in track.codecs.iter().map(|spec| spec.codec.as_str()) {
        if !codecs.iter().any(|known| known == name) {
            codecs.push(name.to_owned());
        }
    }
    m::Track {
        id: track.id.to_string(),
        kind: kind(track.kind),
        source: source(track.source),
        name: track.name.to_string(),
        muted: track.muted,
        active: track.active,
        codecs,
        layers: track.rids.iter().map(|rid| rid.as_str().to_owned()).collect(),
    }
}

fn kind(kind: MediaKind) -> m::MediaKindName {
    match kind {
        MediaKind::Audio => m::MediaKindName::Audio,
        MediaKind::Video => m::MediaKindName::Video,
    }
}

fn source(source: TrackSource) -> m::Source {
    match source {
        TrackSource::Camera => m::Source::Camera,
        TrackSource::Microphone => m::Source::Microphone,
        TrackSource::Screen => m::Source::Screen,
        TrackSource::ScreenAudio => m::Source::ScreenAudio,
    }
}

/// The source with this name in messages.
pub(crate) fn source_of(source: m::Source) -> TrackSource {
    match source {
        m::Source::Camera => TrackSource::Camera,
        m::Source::Microphone => TrackSource::Microphone,
        m::Source::Screen => TrackSource::Screen,
        m::Source::ScreenAudio => TrackSource::ScreenAudio,
    }
}

/// A slot. A member who is not to be named is left out.
pub(super) fn slot(view: &SlotView, may_name: impl Fn(&ParticipantId) -> bool) -> m::Slot {
    let shows = view.shows.as_ref();
    m::Slot {
        mid: view.mid.as_str().to_owned(),
        kind: kind(view.kind),
        track: shows.map(|(track, _)| track.to_string()),
        member: shows.map(|(_, member)| member).filter(|id| may_name(id)).map(|id| id.to_string()),
        state: match view.state {
            SlotState::Empty => m::SlotStateName::Empty,
            SlotState::Flowing => m::SlotStateName::Flowing,
            SlotState::Paused => m::SlotStateName::Paused,
            SlotState::Muted => m::SlotStateName::Muted,
            SlotState::NoCodec => m::SlotStateName::NoCodec,
        },
    }
}

/// What a member may do.
pub(crate) fn permissions(permissions: &Permissions) -> m::PermissionSet {
    m::PermissionSet {
        publish: permissions.publish.iter().map(source).collect(),
        subscribe: permissions.subscribe,
        data: permissions.data,
        update_self: permissions.update_self,
        hidden: permissions.hidden,
        admin: permissions.admin,
    }
}

/// Who speaks; members who are not to be named are left out.
pub(super) fn speakers(
    speakers: &[room::Speaker],
    may_name: impl Fn(&ParticipantId) -> bool,
) -> Vec<m::Speaker> {
    let named = speakers.iter().filter(|speaker| may_name(&speaker.member));
    named.map(|s| m::Speaker { identity: s.member.to_string(), level: s.level }).collect()
}

/// The quality of a connection.
pub(crate) fn quality(quality: model::Quality) -> m::Quality {
    match quality {
        model::Quality::Good => m::Quality::Good,
        model::Quality::Fair => m::Quality::Fair,
        model::Quality::Poor => m::Quality::Poor,
    }
}

/// A data message.
pub(super) fn data(from: Option<&ParticipantId>, message: &DataRequest) -> m::Message {
    let (text, base64) = match &message.payload {
        Payload::Text(text) => (Some(text.to_string()), None),
        Payload::Binary(bytes) => (None, Some(STANDARD.encode(bytes))),
    };
    m::Message::Data {
        from: from.map(ParticipantId::to_string),
        topic: message.topic.to_string(),
        text,
        base64,
        delivery: match message.delivery {
            Delivery::Reliable => m::DeliveryName::Reliable,
            Delivery::Lossy => m::DeliveryName::Lossy,
        },
    }
}

/// A snapshot.
pub(super) fn snapshot(id: &RoomId, snapshot: &room::Snapshot) -> m::Snapshot {
    let named: std::collections::HashSet<&ParticipantId> =
        snapshot.members.iter().map(|record| &record.id).collect();
    let may_name = |id: &ParticipantId| named.contains(id);
    let (audio, video) = snapshot.wanted;
    let qualities = snapshot.qualities.iter().filter(|(id, _)| may_name(id));
    m::Snapshot {
        room: room(id, &snapshot.settings),
        me: snapshot.me.to_string(),
        permissions: permissions(&snapshot.permissions),
        members: snapshot.members.iter().map(|record| member(record)).collect(),
        slots: snapshot.slots.iter().map(|view| slot(view, may_name)).collect(),
        slots_wanted: m::SlotsWanted { audio, video },
        speakers: speakers(&snapshot.speakers, may_name),
        quality: qualities
            .map(|(id, value)| (id.to_string(), quality(*value)))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// The last message of a session.
pub(super) fn closed(reason: EndReason) -> m::Message {
    let detail = match reason {
        EndReason::Deleted => "The member left.",
        EndReason::Replaced => "The same identity joined again.",
        EndReason::Removed => "An administrator removed the member.",
        EndReason::RoomClosed => "The room was closed.",
        EndReason::Expired => "The token expired.",
        EndReason::NeverConnected => "No connection for media came about in time.",
        EndReason::Transport(reason) => match reason {
            CloseReason::PeerClosed => "The client closed its connection for media.",
            _ => "The connection for media was lost.",
        },
    };
    m::Message::Closed { reason: reason.as_str().to_owned(), detail: detail.to_owned() }
}
