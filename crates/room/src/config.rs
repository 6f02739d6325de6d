//! What the node tells its rooms: facts about itself, and limits.

use std::net::SocketAddr;

use crate::RoomSettings;

/// Facts about this node that every answer contains, and the limits.
#[derive(Debug, Clone)]
pub struct RoomConfig {
    /// Addresses at which peers reach the media port, the preferred one first. They are the host candidates of every
    /// answer, and the first one stands in the `c=` and `m=` lines.
    pub candidates: Vec<SocketAddr>,
    /// Value of `a=fingerprint` for the node's certificate: `sha-256 AB:CD:...`; the hash name may be left out.
    pub fingerprint: String,
    /// RTCP CNAME of everything that the node sends (RFC 7022).
    pub cname: String,
    /// Numbers of rooms, participants and sessions that are allowed.
    pub limits: Limits,
    /// The settings of rooms that begin with their first session.
    pub default_settings: RoomSettings,
}

impl RoomConfig {
    /// Value of `a=fingerprint`. RFC 8122 section 5: the hash function stands before the hash.
    pub(crate) fn fingerprint_line(&self) -> String {
        match self.fingerprint.contains(' ') {
            true => self.fingerprint.clone(),
            false => format!("sha-256 {}", self.fingerprint),
        }
    }
}

/// Numbers of rooms, participants and sessions that are allowed. At a limit a new session is refused with
/// [`ErrorKind::Full`](crate::ErrorKind::Full), or with [`ErrorKind::Quota`](crate::ErrorKind::Quota) when it is the
/// limit of its token's subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rooms on this node.
    pub rooms: usize,
    /// Members of one room, whether they publish or not.
    pub participants_per_room: usize,
    /// Sessions on this node, publishers and viewers together.
    pub sessions: usize,
    /// Watching sessions in one room that are not of members; 0: only the limit of the node applies.
    pub viewers_per_room: usize,
    /// Sessions opened with tokens of one subject, in all rooms; 0: only the limit of the node applies.
    pub sessions_per_subject: usize,
    /// Media sections in one offer; never more than [`sdp::MAX_SECTIONS`].
    pub sections_per_session: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            rooms: 1_000,
            participants_per_room: 500,
            sessions: 10_000,
            viewers_per_room: 0,
            sessions_per_subject: 0,
            sections_per_session: 64,
        }
    }
}
