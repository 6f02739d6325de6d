//! The state of all rooms of this node.

use std::time::Instant;

use model::{Command, Event, ParticipantId, RoomId, SessionId};

use crate::{
    Accepted, Counts, LocalMedia, LocalPublished, Notice, ParticipantInfo, RoomConfig, RoomError,
    RoomInfo, Target, ViewerInfo,
};

/// All rooms of this node. After each call, drain [`Rooms::poll_command`] and [`Rooms::poll_notice`], then ask
/// [`Rooms::poll_timeout`].
pub struct Rooms {}

#[expect(unused_variables, reason = "signatures first")]
impl Rooms {
    /// Empty rooms. `random` fills a buffer from the operating system's generator; credentials and SSRCs come from it.
    pub fn new(config: RoomConfig, random: impl FnMut(&mut [u8]) + Send + 'static) -> Self {
        Self {}
    }

    /// A participant publishes (WHIP). The room is made when it is not there; a session with which the same
    /// participant published before is closed.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`, `Full`. Nothing has changed then.
    pub fn publish(
        &mut self,
        now: Instant,
        room: &RoomId,
        participant: &ParticipantId,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        todo!()
    }

    /// Somebody watches (WHEP). With nobody to watch yet, the session waits, and media begins when a publisher comes.
    ///
    /// # Errors
    /// `BadSdp`, `Unsupported`, `Full`. Nothing has changed then.
    pub fn subscribe(
        &mut self,
        now: Instant,
        room: &RoomId,
        viewer: Option<&ParticipantId>,
        target: Target,
        offer: &str,
    ) -> Result<Accepted, RoomError> {
        todo!()
    }

    /// Takes in an in-process publisher.
    ///
    /// # Errors
    /// `Full`; `Unsupported` when there is no track or a track has no codec.
    pub fn publish_local(
        &mut self,
        room: &RoomId,
        participant: &ParticipantId,
        media: Vec<LocalMedia>,
    ) -> Result<LocalPublished, RoomError> {
        todo!()
    }

    /// A trickle fragment (RFC 8840, PATCH with the session's ETag). Its candidates are of no use to an ICE-lite server.
    ///
    /// # Errors
    /// `NotFound`, `BadSdp`; `Conflict` when it is of another ICE generation.
    pub fn trickle(&mut self, session: SessionId, frag: &str) -> Result<(), RoomError> {
        todo!()
    }

    /// An ICE restart (PATCH with `If-Match: *`): the answer is a fragment with our new credentials and candidates.
    ///
    /// # Errors
    /// `NotFound`, `BadSdp`; `Conflict` when the credentials are not new. The session lives on then as it was.
    pub fn restart(
        &mut self,
        now: Instant,
        session: SessionId,
        frag: &str,
    ) -> Result<String, RoomError> {
        todo!()
    }

    /// Ends a session (DELETE).
    ///
    /// # Errors
    /// `NotFound`.
    pub fn close(&mut self, now: Instant, session: SessionId) -> Result<(), RoomError> {
        todo!()
    }

    /// An event from a worker. Events of sessions that are gone are ignored.
    pub fn handle_event(&mut self, now: Instant, event: Event) {
        todo!()
    }

    /// The next command, to be sent to every worker in this order.
    pub fn poll_command(&mut self) -> Option<Command> {
        todo!()
    }

    /// The next notice.
    pub fn poll_notice(&mut self) -> Option<Notice> {
        todo!()
    }

    /// When [`Rooms::handle_timeout`] has to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        todo!()
    }

    /// Closes sessions that did not connect in time.
    pub fn handle_timeout(&mut self, now: Instant) {
        todo!()
    }

    /// Who publishes in a room, in order of arrival; `None` when there is no such room.
    pub fn participants(&self, room: &RoomId) -> Option<Vec<ParticipantInfo>> {
        todo!()
    }

    /// Who watches in a room, in order of arrival; `None` when there is no such room.
    pub fn viewers(&self, room: &RoomId) -> Option<Vec<ViewerInfo>> {
        todo!()
    }

    /// All rooms, by name.
    pub fn rooms(&self) -> Vec<RoomInfo> {
        todo!()
    }

    /// How much is there.
    pub fn counts(&self) -> Counts {
        todo!()
    }

    /// Whether the session is there.
    pub fn contains(&self, session: SessionId) -> bool {
        todo!()
    }
}
