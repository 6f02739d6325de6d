//! Who takes part: fifty identities, and what each of them may do and has.

use std::net::{Ipv4Addr, SocketAddr};

use model::{ParticipantId, Permissions, RoomId, Sources, TrackSource};
use sfumato_interop::StillNode;

/// Identities.
pub(crate) const CAST: u16 = 50;

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) index: u16,
    pub(crate) permissions: Permissions,
    pub(crate) microphone: bool,
    pub(crate) camera: bool,
    pub(crate) channel: bool,
    pub(crate) audio_slots: usize,
    pub(crate) video_slots: usize,
}

/// The room of the test.
pub(crate) fn room() -> RoomId {
    StillNode::room("hall")
}

impl Part {
    pub(crate) fn of(index: u16) -> Self {
        let hidden = index % 17 == 7;
        let permissions = Permissions {
            publish: match index % 13 {
                5 => [TrackSource::Microphone].into_iter().collect(),
                _ if hidden => Sources::NONE,
                _ => Sources::ALL,
            },
            subscribe: index % 11 != 3,
            data: index % 10 != 9,
            update_self: true,
            hidden,
            admin: false,
        };
        Self {
            index,
            permissions,
            microphone: !hidden && index % 12 != 8,
            camera: !hidden && permissions.publish.contains(TrackSource::Camera),
            channel: index.is_multiple_of(2),
            audio_slots: 2 + usize::from(index % 3),
            video_slots: 1 + usize::from(index % 2),
        }
    }

    pub(crate) fn id(&self) -> ParticipantId {
        identity(self.index)
    }

    /// Each session of each identity has an address of its own.
    pub(crate) fn address(&self, life: u16) -> SocketAddr {
        let ip = Ipv4Addr::new(203, 0, 113, self.index as u8 + 1);
        SocketAddr::from((ip, 20_000 + life))
    }
}

pub(crate) fn identity(index: u16) -> ParticipantId {
    ParticipantId::parse(&name(index)).unwrap()
}

/// The name of an identity: never part of another one's, so that it can be searched for in texts.
pub(crate) fn name(index: u16) -> String {
    format!("member-{index:02}")
}
