//! Members of a room: what they may do, how others see them, and where their tracks come from.

use std::fmt;
use std::sync::Arc;

/// Where a track comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TrackSource {
    /// A camera.
    Camera,
    /// A microphone.
    Microphone,
    /// A shared screen, window or tab.
    Screen,
    /// The sound of a shared screen, window or tab.
    ScreenAudio,
}

impl TrackSource {
    /// All sources; a source's position is its bit in [`Sources`].
    pub const ALL: [TrackSource; 4] = [
        TrackSource::Camera,
        TrackSource::Microphone,
        TrackSource::Screen,
        TrackSource::ScreenAudio,
    ];

    /// Its name in messages and tokens.
    pub fn as_str(self) -> &'static str {
        match self {
            TrackSource::Camera => "camera",
            TrackSource::Microphone => "microphone",
            TrackSource::Screen => "screen",
            TrackSource::ScreenAudio => "screen-audio",
        }
    }

    /// The source with this name.
    pub fn parse(text: &str) -> Option<TrackSource> {
        TrackSource::ALL.into_iter().find(|source| source.as_str() == text)
    }

    /// Audio or video.
    pub fn kind(self) -> crate::MediaKind {
        match self {
            TrackSource::Camera | TrackSource::Screen => crate::MediaKind::Video,
            TrackSource::Microphone | TrackSource::ScreenAudio => crate::MediaKind::Audio,
        }
    }
}

/// A set of track sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Sources(u8);

impl Sources {
    /// No source.
    pub const NONE: Sources = Sources(0);
    /// Every source.
    pub const ALL: Sources = Sources((1 << TrackSource::ALL.len()) - 1);

    /// The set with this source too.
    #[must_use]
    pub fn with(self, source: TrackSource) -> Self {
        Self(self.0 | 1 << source as u8)
    }

    /// Whether the source is in the set.
    pub fn contains(self, source: TrackSource) -> bool {
        self.0 & 1 << source as u8 != 0
    }

    /// Whether no source is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The sources of the set, in the order of [`TrackSource::ALL`].
    pub fn iter(self) -> impl Iterator<Item = TrackSource> {
        TrackSource::ALL.into_iter().filter(move |source| self.contains(*source))
    }
}

impl FromIterator<TrackSource> for Sources {
    fn from_iter<I: IntoIterator<Item = TrackSource>>(sources: I) -> Self {
        sources.into_iter().fold(Sources::NONE, Sources::with)
    }
}

/// What a member of a room may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// The sources that it may publish.
    pub publish: Sources,
    /// It may receive the tracks of others.
    pub subscribe: bool,
    /// It may send data messages. Everybody receives those that are for them.
    pub data: bool,
    /// It may change its own name and metadata.
    pub update_self: bool,
    /// The others are not told that it is in the room.
    pub hidden: bool,
    /// It may do in the room what the admin API offers.
    pub admin: bool,
}

impl Permissions {
    /// Everything, as when authentication is off; not hidden.
    pub const ALL: Permissions = Permissions {
        publish: Sources::ALL,
        subscribe: true,
        data: true,
        update_self: true,
        hidden: false,
        admin: true,
    };
}

/// How the others see a member.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Profile {
    /// A name for people, at most [`Profile::NAME_MAX`] bytes; empty when there is none.
    pub name: Arc<str>,
    /// Text of the application, which the node does not read; at most [`Profile::METADATA_MAX`] bytes.
    pub metadata: Arc<str>,
}

impl Default for Profile {
    fn default() -> Self {
        Self { name: "".into(), metadata: "".into() }
    }
}

impl Profile {
    /// Most bytes of a name.
    pub const NAME_MAX: usize = 256;
    /// Most bytes of metadata.
    pub const METADATA_MAX: usize = 4_096;
}

/// How a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberKind {
    /// A room session: one peer connection in both directions, with events.
    Session,
    /// A WHIP publisher.
    Whip,
    /// An in-process publisher, as the test card.
    Local,
}

impl MemberKind {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberKind::Session => "session",
            MemberKind::Whip => "whip",
            MemberKind::Local => "local",
        }
    }
}

/// Whether a member's media can come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Presence {
    /// ICE and DTLS are not complete yet.
    Connecting,
    /// Connected.
    Connected,
    /// Nothing authentic came from it for some seconds, or its session ended without a goodbye. It stays in the room
    /// for a time, since it may come back.
    Lost,
}

impl Presence {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Presence::Connecting => "connecting",
            Presence::Connected => "connected",
            Presence::Lost => "lost",
        }
    }
}

/// How good a member's connection is, from loss and round trip in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quality {
    /// Sound breaks up.
    Poor,
    /// Pictures freeze now and then.
    Fair,
    /// No trouble.
    Good,
}

impl Quality {
    /// Its name in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Quality::Poor => "poor",
            Quality::Fair => "fair",
            Quality::Good => "good",
        }
    }
}

impl fmt::Display for TrackSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_sources_holds_what_was_put_in() {
        let set = Sources::NONE.with(TrackSource::Screen).with(TrackSource::Camera);
        assert!(set.contains(TrackSource::Camera) && !set.contains(TrackSource::Microphone));
        assert_eq!(set.iter().collect::<Sources>(), set);
        assert_eq!(Sources::ALL.iter().count(), 4);
        for source in TrackSource::ALL {
            assert_eq!(TrackSource::parse(source.as_str()), Some(source));
        }
    }
}
